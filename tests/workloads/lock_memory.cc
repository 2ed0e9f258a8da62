// SPDX-License-Identifier: Apache-2.0
//
// Locked memory: it stays in memory, yet it may be moved.

#include <sys/mman.h>

#include "workload.h"

using namespace workload;

int main(int argc, char** argv) {
  size_t nr_pages = 0;
  CLI::App app("Locks anonymous pages with mlock, which pins nothing.");
  app.add_option("--pages", nr_pages, "4 KiB pages")
      ->required()
      ->check(CLI::Range(1, 1 << 24));
  ParseOrExit(app, argc, argv);

  char* data = MapAnonymous(nr_pages);
  Touch(data, nr_pages);
  if (mlock(data, nr_pages * kPageSize) != 0)
    Fail("mlock", "raise RLIMIT_MEMLOCK or run with CAP_IPC_LOCK");
  DrainLruBatches();
  const std::vector<uint64_t> pfns = ReadPfns(data, nr_pages);
  ReportAndHold(
      {{"workload", "lock-memory"}, {"pages", nr_pages}, {"pfns", pfns}});

  const size_t moved = CountDifferences(pfns, ReadPfns(data, nr_pages));
  if (munlock(data, nr_pages * kPageSize) != 0) Fail("munlock", "report this");
  Report({{"workload", "lock-memory"},
          {"released", true},
          {"moved_while_held", moved}});
}
