// SPDX-License-Identifier: Apache-2.0
//
// Long-term pins: memory given to an AF_XDP socket for its packets.

#include <fcntl.h>
#include <linux/if_xdp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "workload.h"

using namespace workload;

int main(int argc, char** argv) {
  size_t nr_pages = 0;
  std::string device;
  CLI::App app(
      "Pins memory long-term by registering it as the umem of an AF_XDP "
      "socket, which needs no network card. The kernel releases the pins in a "
      "worker, some time after the socket is closed.");
  app.add_option("--pages", nr_pages, "4 KiB pages")
      ->required()
      ->check(CLI::Range(1, 1 << 18));
  app.add_option("--device", device,
                 "Memory of this device, such as /dev/dax0.0");
  ParseOrExit(app, argc, argv);

  const int device_fd =
      device.empty() ? -1 : open(device.c_str(), O_RDWR | O_CLOEXEC);
  if (!device.empty() && device_fd < 0) Fail("open " + device, "is it there?");
  char* data =
      device_fd < 0 ? MapAnonymous(nr_pages) : MapShared(device_fd, nr_pages);
  Touch(data, nr_pages);
  DrainLruBatches();
  const std::vector<uint64_t> before = ReadPfns(data, nr_pages);
  const int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
  if (fd < 0)
    Fail("socket(AF_XDP)", "needs CONFIG_XDP_SOCKETS and CAP_NET_RAW");
  xdp_umem_reg umem{};
  umem.addr = reinterpret_cast<uintptr_t>(data);
  umem.len = nr_pages * kPageSize;
  umem.chunk_size = kPageSize;
  if (setsockopt(fd, SOL_XDP, XDP_UMEM_REG, &umem, sizeof(umem)) != 0)
    Fail("setsockopt(XDP_UMEM_REG)", "ask for fewer pages");
  const std::vector<uint64_t> pinned = ReadPfns(data, nr_pages);
  ReportAndHold({{"workload", "pin-xdp"},
                 {"pages", nr_pages},
                 {"moved_pages", CountDifferences(before, pinned)},
                 {"pfns", pinned}});

  const size_t moved = CountDifferences(pinned, ReadPfns(data, nr_pages));
  close(fd);
  Report({{"workload", "pin-xdp"},
          {"released", true},
          {"moved_while_held", moved}});
}
