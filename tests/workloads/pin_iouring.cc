// SPDX-License-Identifier: Apache-2.0
//
// Long-term pins: a buffer registered with io_uring.

#include <unistd.h>

#include "workload.h"

using namespace workload;

int main(int argc, char** argv) {
  size_t count = 0;
  bool thp = false, memfd = false, pass_ring = false;
  std::string file;
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
  app.add_option("--file", file,
                 "Pages of this file, which others may share, not anonymous")
      ->excludes(thp_flag);
  app.add_flag(
      "--pass-ring", pass_ring,
      "Leave the ring to a child and end: what it pinned stays pinned");
  ParseOrExit(app, argc, argv);

  const size_t nr_pages = thp ? count * kPagesPerHugePage : count;
  char* data = thp             ? MapHugePages(count)
               : memfd         ? MapShared(CreateMemfd(count), count)
               : !file.empty() ? MapShared(OpenFile(file, count), count)
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
            {"memory", memfd           ? "memfd"
                       : !file.empty() ? "file"
                                       : "anonymous"},
            {"pid", getpid()},
            {"pages", nr_pages},
            {"huge_pages", thp ? count : 0},
            {"page_size", thp ? kHugePageSize : kPageSize},
            {"buffers", buffers.nr_buffers()},
            {"register_ns", buffers.register_ns()},
            {"moved_pages", CountDifferences(before, pinned)},
            {"pfns_before", before},
            {"pfns", pinned}};
  if (!thp) line["pin_references"] = nr_pages;
  if (pass_ring) {
    const pid_t child = fork();
    if (child < 0) Fail("fork", "may there be one more process?");
    if (child > 0) _exit(0);
    line["child_pid"] = getpid();
  }
  ReportAndHold(line);

  // A pinned page never moves.
  const size_t moved_while_held = CountDifferences(pinned, read_pfns());
  buffers.Unregister();
  Report({{"workload", "pin-iouring"},
          {"released", true},
          {"moved_while_held", moved_while_held}});
}
