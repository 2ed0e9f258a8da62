// SPDX-License-Identifier: Apache-2.0

#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <optional>

#include "tests/bench/meter.h"
#include "tests/bench/work.h"

namespace bench {
namespace {

using namespace workload;

// Where the page stands, or -errno.
int MoveTo(char* page, const int* node) {
  void* pages[] = {page};
  int status = -1;
  if (syscall(SYS_move_pages, 0, 1, pages, node, &status,
              node ? MPOL_MF_MOVE : 0) < 0)
    Fail("move_pages", "needs two nodes: --numa 2");
  return status;
}

Result CountMoves(const Options& options, bool held) {
  char* page = MapAnonymous(1);
  Touch(page, 1);
  DrainLruBatches();
  std::optional<PageInPipe> pipe;
  if (held) pipe.emplace(page);
  int node = MoveTo(page, nullptr);
  const std::string counter = held ? "pgmigrate_fail" : "pgmigrate_success";
  const int64_t before = ReadVmstat()[counter];
  int wanted = 0, found = 0;
  // It waits for other CPUs to let go of what they are about to add to lists.
  const Counted count =
      Count(Clock::kThread, options.Samples(1001),
            {.prepare = [&] { wanted = 1 - node; },
             .run = [&] { found = MoveTo(page, &wanted); },
             .undo =
                 [&] {
                   Require(held ? found < 0 : found == wanted,
                           held ? "the page stays" : "the page moves", found);
                   if (!held) node = found;
                 }});
  const int64_t counted = ReadVmstat()[counter] - before;
  Require(
      counted == static_cast<int64_t>(count.runs),
      "each of " + std::to_string(count.runs) + " calls counts in " + counter,
      counted);
  return {count.instructions, {{counter, counted}}};
}

}  // namespace

Result MigratePage(const Options& options) {
  return CountMoves(options, false);
}

Result MigrateHeldPage(const Options& options) {
  return CountMoves(options, true);
}

}  // namespace bench
