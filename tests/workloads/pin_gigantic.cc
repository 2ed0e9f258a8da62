// SPDX-License-Identifier: Apache-2.0
//
// Long-term pins: seven buffers all over a huge page of 1 GiB.

#include <linux/mman.h>
#include <sys/mman.h>

#include <array>

#include "workload.h"

using namespace workload;

namespace {

constexpr size_t kGiB = 1 << 30;
constexpr size_t kPagesPerGiB = kGiB / kPageSize;

// In pages: where a buffer begins, and how many it has. The first lies 20 MiB
// on, past what is looked at in one run; the others in other memory blocks.
constexpr std::array<std::array<size_t, 2>, 7> kBuffers = {{{5120, 23},
                                                            {8191, 3},
                                                            {40000, 37},
                                                            {99999, 1},
                                                            {131073, 101},
                                                            {200001, 5},
                                                            {262137, 7}}};

}  // namespace

int main(int argc, char** argv) {
  size_t nr_buffers = 0;
  CLI::App app(
      "Pins parts of a huge page of 1 GiB, which the kernel's arguments "
      "hugepagesz=1G hugepages=1 set aside, long-term by registering them as "
      "io_uring fixed buffers. pfns is that of the head.");
  app.add_option("--buffers", nr_buffers, "The last so many of seven")
      ->required()
      ->check(CLI::Range(1, 7));
  ParseOrExit(app, argc, argv);

  void* data =
      mmap(nullptr, kGiB, PROT_READ | PROT_WRITE,
           MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_HUGE_1GB, -1, 0);
  if (data == MAP_FAILED)
    Fail("mmap(MAP_HUGE_1GB)", "boot with hugepagesz=1G hugepages=1");
  char* const begin = static_cast<char*>(data);
  Touch(begin, 1);
  const uint64_t head = ReadPfns(begin, 1)[0];
  if (ReadPfns(begin + kGiB - kPageSize, 1)[0] != head + kPagesPerGiB - 1)
    Fail("memory is not one huge page", "report this", EINVAL);

  std::vector<iovec> buffers;
  size_t nr_pages = 0;
  for (size_t i = kBuffers.size() - nr_buffers; i < kBuffers.size(); ++i) {
    const auto [first, count] = kBuffers[i];
    buffers.push_back({begin + first * kPageSize, count * kPageSize});
    nr_pages += count;
  }
  FixedBuffers ring(buffers);
  ReportAndHold({{"workload", "pin-gigantic"},
                 {"pages", kPagesPerGiB},
                 {"registered_pages", nr_pages},
                 {"buffers", ring.nr_buffers()},
                 {"pfns", {head}}});

  const bool moved = ReadPfns(begin, 1)[0] != head;
  ring.Unregister();
  Report({{"workload", "pin-gigantic"},
          {"released", true},
          {"moved_while_held", moved ? kPagesPerGiB : 0}});
}
