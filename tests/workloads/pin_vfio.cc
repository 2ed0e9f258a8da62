// SPDX-License-Identifier: Apache-2.0
//
// Long-term pins: memory mapped for a device that VFIO gives to user space.

#include <fcntl.h>
#include <linux/vfio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "workload.h"

using namespace workload;

namespace {

namespace fs = std::filesystem;

constexpr uint64_t kIova = 0;

void WriteText(const fs::path& path, const std::string& text,
               const std::string& advice) {
  std::ofstream file(path);
  if (!(file << text << std::flush)) Fail("write " + path.string(), advice);
}

std::string NameOfLink(const fs::path& link) {
  std::error_code error;
  return fs::read_symlink(link, error).filename();
}

// Gives the device to vfio-pci and returns its group, opened.
int OpenGroupOf(const std::string& address) {
  const fs::path device = "/sys/bus/pci/devices/" + address;
  WriteText(device / "driver_override", "vfio-pci", "is there such a device?");
  const std::string driver = NameOfLink(device / "driver");
  if (!driver.empty() && driver != "vfio-pci")
    WriteText(device / "driver/unbind", address, "report this");
  WriteText("/sys/bus/pci/drivers_probe", address, "report this");
  if (NameOfLink(device / "driver") != "vfio-pci")
    Fail("bind " + address + " to vfio-pci", "load the module vfio_pci",
         ENODEV);
  const std::string group = "/dev/vfio/" + NameOfLink(device / "iommu_group");
  const int fd = open(group.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0)
    Fail("open " + group, "needs an IOMMU, and nobody else in the group");
  return fd;
}

int OpenContainer(int group) {
  const int container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
  if (container < 0) Fail("open /dev/vfio/vfio", "load the module vfio");
  if (ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) != 0)
    Fail("VFIO_GROUP_SET_CONTAINER",
         "another device of its group may have a driver of the kernel");
  if (ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) != 0)
    Fail("VFIO_SET_IOMMU", "load the module vfio_iommu_type1");
  return container;
}

}  // namespace

int main(int argc, char** argv) {
  size_t nr_pages = 0;
  std::string address;
  CLI::App app(
      "Pins memory long-term by mapping it for a PCI device, which is taken "
      "from its driver and given to vfio-pci.");
  app.add_option("--pages", nr_pages, "4 KiB pages")
      ->required()
      ->check(CLI::Range(1, 1 << 18));
  app.add_option("--device", address, "Its address, as 0000:00:04.0")
      ->required();
  ParseOrExit(app, argc, argv);

  char* data = MapAnonymous(nr_pages);
  Touch(data, nr_pages);
  DrainLruBatches();
  const std::vector<uint64_t> before = ReadPfns(data, nr_pages);
  const int container = OpenContainer(OpenGroupOf(address));
  vfio_iommu_type1_dma_map map{};
  map.argsz = sizeof(map);
  map.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;
  map.vaddr = reinterpret_cast<uintptr_t>(data);
  map.iova = kIova;
  map.size = nr_pages * kPageSize;
  if (ioctl(container, VFIO_IOMMU_MAP_DMA, &map) != 0)
    Fail("VFIO_IOMMU_MAP_DMA", "ask for fewer pages");
  const std::vector<uint64_t> pinned = ReadPfns(data, nr_pages);
  ReportAndHold({{"workload", "pin-vfio"},
                 {"pages", nr_pages},
                 {"moved_pages", CountDifferences(before, pinned)},
                 {"pfns", pinned}});

  const size_t moved = CountDifferences(pinned, ReadPfns(data, nr_pages));
  vfio_iommu_type1_dma_unmap unmap{};
  unmap.argsz = sizeof(unmap);
  unmap.iova = kIova;
  unmap.size = map.size;
  if (ioctl(container, VFIO_IOMMU_UNMAP_DMA, &unmap) != 0)
    Fail("VFIO_IOMMU_UNMAP_DMA", "end the process");
  Report({{"workload", "pin-vfio"},
          {"released", true},
          {"moved_while_held", moved}});
}
