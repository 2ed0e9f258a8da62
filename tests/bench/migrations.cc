// SPDX-License-Identifier: Apache-2.0

#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "tests/bench/meter.h"
#include "tests/bench/work.h"

namespace bench {
namespace {

using namespace workload;

// Moves the pages of one array by one call of migrate_pages, whichever stand on
// another node.
class Mover {
 public:
  Mover(char* data, size_t pages) : nodes_(pages), statuses_(pages) {
    for (size_t i = 0; i < pages; ++i) pages_.push_back(data + i * kPageSize);
  }

  // Where the first page stands, or -errno.
  int NodeNow() { return Call(nullptr, 0); }

  int MoveTo(int node) {
    std::ranges::fill(nodes_, node);
    return Call(nodes_.data(), MPOL_MF_MOVE);
  }

 private:
  int Call(const int* nodes, int flags) {
    // What the kernel does not move it may not tell of.
    std::ranges::fill(statuses_, -1);
    if (syscall(SYS_move_pages, 0, pages_.size(), pages_.data(), nodes,
                statuses_.data(), flags) < 0)
      Fail("move_pages", "needs two nodes: --numa 2");
    return statuses_[0];
  }

  std::vector<void*> pages_;
  std::vector<int> nodes_;
  std::vector<int> statuses_;
};

// Instructions a page.
Result CountMoves(const Options& options, size_t pages, bool held) {
  char* data = MapAnonymous(pages);
  Touch(data, pages);
  DrainLruBatches();
  std::optional<PageInPipe> pipe;
  if (held) pipe.emplace(data);
  Mover mover(data, pages);
  int node = mover.NodeNow();
  const std::string counter = held ? "pgmigrate_fail" : "pgmigrate_success";
  const int64_t before = ReadVmstat()[counter];
  int wanted = 0, found = 0;
  // It waits for other CPUs to let go of what they are about to add to lists.
  const Counted count =
      Count(Clock::kThread, options.Samples(1001),
            {.prepare = [&] { wanted = 1 - node; },
             .run = [&] { found = mover.MoveTo(wanted); },
             .undo =
                 [&] {
                   Require(held ? found < 0 : found == wanted,
                           held ? "the page stays" : "the page moves", found);
                   if (!held) node = found;
                 }});
  const int64_t counted = ReadVmstat()[counter] - before;
  Require(counted == static_cast<int64_t>(count.runs * pages),
          "each page of " + std::to_string(count.runs) + " calls counts in " +
              counter,
          counted);
  return {count.instructions / static_cast<double>(pages),
          {{counter, counted}}};
}

// What compaction moves at once.
constexpr size_t kPagesOfCompaction = 32;

}  // namespace

Result MigratePage(const Options& options) {
  return CountMoves(options, 1, false);
}

Result MigratePages(const Options& options) {
  return CountMoves(options, kPagesOfCompaction, false);
}

Result MigrateHeldPage(const Options& options) {
  return CountMoves(options, 1, true);
}

}  // namespace bench
