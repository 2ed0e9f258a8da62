// SPDX-License-Identifier: Apache-2.0

#include "tests/bench/memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <random>
#include <string>

#include "tests/workloads/workload.h"

namespace bench {

namespace {

using namespace workload;

constexpr uint64_t kKpfCompound = 3ULL << 15;  // head or tail

void RequireOrderZero(const char* data, size_t nr_pages) {
  const int fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
  if (fd < 0) Fail("open /proc/kpageflags", "needs CAP_SYS_ADMIN");
  for (const uint64_t pfn : ReadPfns(data, nr_pages)) {
    uint64_t flags = 0;
    const off_t offset = static_cast<off_t>(pfn * sizeof(flags));
    if (pread(fd, &flags, sizeof(flags), offset) != sizeof(flags))
      Fail("read /proc/kpageflags", "needs CAP_SYS_ADMIN");
    if (flags & kKpfCompound)
      Fail("a page is part of a large folio", "it was not split", EINVAL);
  }
  close(fd);
}

double AverageRun(const std::vector<uint64_t>& pfns) {
  size_t runs = 1;
  for (size_t i = 1; i < pfns.size(); ++i) runs += pfns[i] != pfns[i - 1] + 1;
  return static_cast<double>(pfns.size()) / static_cast<double>(runs);
}

}  // namespace

char* MapContiguous(size_t nr_pages) {
  const size_t nr_huge_pages = nr_pages / kPagesPerHugePage;
  char* data = MapHugePages(nr_huge_pages);
  Touch(data, nr_pages);
  ReadHeadPfns(data, nr_huge_pages);
  // Advice for a part of a huge page splits it, and the frames stay.
  for (size_t huge = 0; huge < nr_huge_pages; ++huge)
    if (madvise(data + huge * kHugePageSize, kPageSize, MADV_COLD) != 0)
      Fail("madvise(MADV_COLD)", "the kernel is older than 5.4");
  if (madvise(data, nr_pages * kPageSize, MADV_NOHUGEPAGE) != 0)
    Fail("madvise(MADV_NOHUGEPAGE)", "report this");
  DrainLruBatches();
  RequireOrderZero(data, nr_pages);
  const double run = AverageRun(ReadPfns(data, nr_pages));
  if (run < kPagesPerHugePage)
    Fail("memory comes in runs of " + std::to_string(run) + " pages",
         "is memory fragmented?", EINVAL);
  return data;
}

char* MapScattered(size_t nr_pages) {
  constexpr size_t kSpread = 4;
  // Free frames that have no free neighbour, in an order without sense: these
  // are what the next pages are made of.
  char* ground = MapContiguous(nr_pages * kSpread);
  std::vector<size_t> holes(nr_pages * kSpread / 2);
  for (size_t i = 0; i < holes.size(); ++i) holes[i] = 2 * i;
  // NOLINTNEXTLINE(cert-msc51-cpp): the same order each time is wanted.
  std::shuffle(holes.begin(), holes.end(), std::mt19937(1));
  for (size_t i = 0; i < nr_pages; ++i)
    if (madvise(ground + holes[i] * kPageSize, kPageSize, MADV_DONTNEED) != 0)
      Fail("madvise(MADV_DONTNEED)", "report this");
  char* data = MapAnonymous(nr_pages);
  Touch(data, nr_pages);
  DrainLruBatches();
  RequireOrderZero(data, nr_pages);
  const double run = AverageRun(ReadPfns(data, nr_pages));
  if (run > 1.05)
    Fail("memory comes in runs of " + std::to_string(run) + " pages",
         "scattered memory was wanted", EINVAL);
  return data;
}

size_t CountWithin(const std::vector<uint64_t>& pfns, uint64_t begin,
                   uint64_t end) {
  return static_cast<size_t>(
      std::count_if(pfns.begin(), pfns.end(),
                    [&](uint64_t pfn) { return begin <= pfn && pfn < end; }));
}

}  // namespace bench
