// SPDX-License-Identifier: Apache-2.0
//
// Long-term pins: a buffer registered with io_uring.

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "workload.h"

using namespace workload;

namespace {

constexpr uint64_t kKpfCompoundHead = 1ULL << 15;
constexpr uint64_t kKpfThp = 1ULL << 22;

char* MapHugePages(size_t nr_huge_pages) {
  const size_t size = nr_huge_pages * kHugePageSize;
  void* data = mmap(nullptr, size + kHugePageSize, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) Fail("mmap", "ask for fewer pages");
  const uintptr_t address = reinterpret_cast<uintptr_t>(data);
  char* aligned = static_cast<char*>(data) + (-address & (kHugePageSize - 1));
  if (madvise(aligned, size, MADV_HUGEPAGE) != 0)
    Fail("madvise(MADV_HUGEPAGE)",
         "the kernel needs CONFIG_TRANSPARENT_HUGEPAGE");
  return aligned;
}

// The head pfns of memory that must consist of whole transparent huge pages.
std::vector<uint64_t> ReadHeadPfns(const char* data, size_t nr_huge_pages) {
  const std::string advice =
      "is transparent_hugepage/enabled never, or memory fragmented?";
  const int fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
  if (fd < 0) Fail("open /proc/kpageflags", "needs CAP_SYS_ADMIN");
  std::vector<uint64_t> heads;
  for (size_t huge = 0; huge < nr_huge_pages; ++huge) {
    const std::vector<uint64_t> pfns =
        ReadPfns(data + huge * kHugePageSize, kPagesPerHugePage);
    for (size_t i = 0; i < pfns.size(); ++i)
      if (pfns[i] != pfns[0] + i || pfns[0] % kPagesPerHugePage != 0)
        Fail("memory is not one huge page", advice, EINVAL);
    uint64_t flags = 0;
    const off_t offset = static_cast<off_t>(pfns[0] * sizeof(flags));
    if (pread(fd, &flags, sizeof(flags), offset) != sizeof(flags))
      Fail("read /proc/kpageflags", "needs CAP_SYS_ADMIN");
    if (!(flags & kKpfThp) || !(flags & kKpfCompoundHead))
      Fail("memory is contiguous but no huge page", advice, EINVAL);
    heads.push_back(pfns[0]);
  }
  close(fd);
  return heads;
}

}  // namespace

int main(int argc, char** argv) {
  size_t count = 0;
  bool thp = false, memfd = false;
  CLI::App app(
      "Pins memory long-term by registering it as an io_uring fixed buffer "
      "(one "
      "buffer for each GiB begun). With --thp pfns are those of the heads, and "
      "pin_references is left out: it is 512 a huge page on some kernels and 1 "
      "on others.");
  app.add_option("--pages", count,
                 "4 KiB pages, with --thp huge pages of 2 MiB")
      ->required()
      ->check(CLI::Range(1, 1 << 24));
  auto* thp_flag = app.add_flag("--thp", thp, "Transparent huge pages");
  app.add_flag("--memfd", memfd, "Shared pages of a memfd, not anonymous ones")
      ->excludes(thp_flag);
  ParseOrExit(app, argc, argv);

  const size_t nr_pages = thp ? count * kPagesPerHugePage : count;
  char* data = thp     ? MapHugePages(count)
               : memfd ? MapShared(CreateMemfd(count), count)
                       : MapAnonymous(count);
  auto read_pfns = [&] {
    return thp ? ReadHeadPfns(data, count) : ReadPfns(data, count);
  };
  Touch(data, nr_pages);
  DrainLruBatches();
  const std::vector<uint64_t> before = read_pfns();
  FixedBuffers buffers(data, nr_pages * kPageSize);
  const std::vector<uint64_t> pinned = read_pfns();

  Json line{{"workload", "pin-iouring"},
            {"memory", memfd ? "memfd" : "anonymous"},
            {"pages", nr_pages},
            {"huge_pages", thp ? count : 0},
            {"page_size", thp ? kHugePageSize : kPageSize},
            {"buffers", buffers.nr_buffers()},
            {"register_ns", buffers.register_ns()},
            {"moved_pages", CountDifferences(before, pinned)},
            {"pfns_before", before},
            {"pfns", pinned}};
  if (!thp) line["pin_references"] = nr_pages;
  ReportAndHold(line);

  // A pinned page never moves.
  const size_t moved_while_held = CountDifferences(pinned, read_pfns());
  buffers.Unregister();
  Report({{"workload", "pin-iouring"},
          {"released", true},
          {"moved_while_held", moved_while_held}});
}
