// SPDX-License-Identifier: Apache-2.0
//
// Long-term pins: a buffer registered with io_uring.

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "workload.h"

using namespace workload;

namespace {

struct Options {
  size_t count = 0;
  size_t first = 0;
  bool thp = false;
  bool hugetlb = false;
  bool memfd = false;
  bool untouched = false;
  int move_to = -1;
  std::string share_with;
  std::string name;
  size_t registrations = 1;
  bool clone = false;
  bool pass_ring = false;
  bool pass_later = false;
  bool linger = false;
};

Options Parse(int argc, char** argv) {
  Options options;
  CLI::App app(
      "Pins memory long-term by registering it as an io_uring fixed buffer "
      "(one "
      "buffer for each GiB begun). With --thp pfns are those of the heads, and "
      "pin_references is left out: it is 512 a huge page on some kernels and 1 "
      "on others.");
  app.add_option("--pages", options.count,
                 "4 KiB pages, with --thp huge pages of 2 MiB")
      ->required()
      ->check(CLI::Range(1, 1 << 24));
  auto* thp = app.add_flag("--thp", options.thp, "Transparent huge pages");
  auto* hugetlb = app.add_flag("--hugetlb", options.hugetlb,
                               "Huge pages as with --thp, but those that "
                               "vm.nr_hugepages reserves")
                      ->excludes(thp);
  app.add_option("--first", options.first,
                 "Register only so many 4 KiB pages, from the first on")
      ->needs(thp);
  auto* memfd =
      app.add_flag("--memfd", options.memfd,
                   "Shared pages of a memfd, not anonymous ones; reports fd")
          ->excludes(thp)
          ->excludes(hugetlb);
  app.add_option("--share-with", options.share_with,
                 "PID:FD, the memfd of another process")
      ->excludes(thp)
      ->excludes(hugetlb)
      ->excludes(memfd);
  app.add_flag(
      "--untouched", options.untouched,
      "Leave it to the kernel to fault the pages in when it pins them; "
      "pfns_before is left out");
  app.add_option("--move-to", options.move_to,
                 "Then ask for all 4 KiB pages to be moved to that node; "
                 "reports how many the kernel says did as moved_to_node")
      ->excludes(thp)
      ->excludes(hugetlb);
  app.add_option("--registrations", options.registrations,
                 "Rings that each register the same memory")
      ->check(CLI::Range(1, 16));
  app.add_flag("--clone", options.clone,
               "Clone the buffers of each ring into another and let go of the "
               "first (Linux v6.12 and later)");
  app.add_option("--comm", options.name, "Name to go by");
  app.add_flag("--pass-ring", options.pass_ring,
               "Hand the ring to a child, which holds it, and exit; reports "
               "the pid of the child as holder_pid");
  app.add_flag("--pass-later", options.pass_later,
               "The same, but only when told");
  app.add_flag("--linger", options.linger,
               "Live on when the pins and the memory are released, until told "
               "again");
  ParseOrExit(app, argc, argv);
  return options;
}

// Returns in the child alone, which has the ring from its parent.
void PassOn(Json& line) {
  line["pinner_pid"] = getpid();
  const pid_t pid = fork();
  if (pid < 0) Fail("fork", "report this");
  if (pid > 0) _exit(0);
  line["holder_pid"] = getpid();
}

// The number of pages that the kernel says are on the node afterwards.
size_t MoveTo(int node, char* data, size_t nr_pages) {
  std::vector<void*> pages;
  for (size_t i = 0; i < nr_pages; ++i) pages.push_back(data + i * kPageSize);
  const std::vector<int> nodes(nr_pages, node);
  std::vector<int> status(nr_pages);
  if (syscall(SYS_move_pages, 0, nr_pages, pages.data(), nodes.data(),
              status.data(), 1 << 1 /* MPOL_MF_MOVE */) < 0)
    Fail("move_pages", "is there such a node?");
  return static_cast<size_t>(std::ranges::count(status, node));
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = Parse(argc, argv);
  if (!options.name.empty()) SetName(options.name);
  const size_t count = options.count;
  const bool huge = options.thp || options.hugetlb;
  const size_t nr_pages = huge ? count * kPagesPerHugePage : count;
  int fd = -1;
  if (options.memfd) fd = CreateMemfd(count);
  if (!options.share_with.empty()) fd = OpenMemfdOf(options.share_with);
  char* data = options.thp       ? MapHugePages(count)
               : options.hugetlb ? MapReservedHugePages(count)
               : fd >= 0         ? MapShared(fd, count)
                                 : MapAnonymous(count);
  const HugePages kind =
      options.hugetlb ? HugePages::kReserved : HugePages::kTransparent;
  auto read_pfns = [&] {
    return huge ? ReadHeadPfns(data, count, kind) : ReadPfns(data, count);
  };
  std::vector<uint64_t> before;
  if (!options.untouched) {
    Touch(data, nr_pages);
    DrainLruBatches();
    before = read_pfns();
  }
  const size_t nr_registered = options.first ? options.first : nr_pages;
  std::vector<std::unique_ptr<FixedBuffers>> rings;
  for (size_t i = 0; i < options.registrations; ++i)
    rings.push_back(
        std::make_unique<FixedBuffers>(data, nr_registered * kPageSize));
  if (options.clone)
    for (const auto& ring : rings) ring->MoveToClone();
  const std::vector<uint64_t> pinned = read_pfns();

  Json line{{"workload", "pin-iouring"},
            {"memory", fd >= 0 ? "memfd" : "anonymous"},
            {"fd", fd},
            {"pages", nr_pages},
            {"registered_pages", nr_registered},
            {"huge_pages", huge ? count : 0},
            {"page_size", huge ? kHugePageSize : kPageSize},
            {"buffers", rings[0]->nr_buffers()},
            {"register_ns", rings[0]->register_ns()},
            {"moved_pages", CountDifferences(before, pinned)},
            {"pfns_before", before},
            {"pfns", pinned}};
  if (options.untouched) line.erase("pfns_before");
  if (!huge) line["pin_references"] = nr_pages * rings.size();
  if (options.move_to >= 0)
    line["moved_to_node"] = MoveTo(options.move_to, data, nr_pages);
  if (options.pass_later) ReportAndHold(line);
  if (options.pass_ring || options.pass_later) PassOn(line);
  ReportAndHold(line);

  // A pinned page never moves. A child's anonymous pages are copies.
  const bool is_copy = (options.pass_ring || options.pass_later) && fd < 0;
  const size_t moved_while_held =
      is_copy ? 0 : CountDifferences(pinned, read_pfns());
  for (const auto& ring : rings) ring->Unregister();
  const Json last{{"workload", "pin-iouring"},
                  {"released", true},
                  {"moved_while_held", moved_while_held}};
  if (!options.linger) {
    Report(last);
    return 0;
  }
  munmap(data, nr_pages * kPageSize);
  ReportAndHold(last);
}
