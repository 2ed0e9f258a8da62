// SPDX-License-Identifier: Apache-2.0
//
// Pins of the zero page, by a process_vm_readv() that does not end: the memory
// it reads into is missing, and userfaultfd keeps it so. Such pins are
// short-term by name, which makes no difference to the page.

#include <unistd.h>

#include "remote_read.h"

using namespace workload;

int main(int argc, char** argv) {
  size_t nr_pages = 0;
  CLI::App app(
      "Pins the zero page as often as it stands in memory that was only read. "
      "Linux v6.5 and later stable kernels do not count these pins.");
  app.add_option("--pages", nr_pages, "Pages of such memory")
      ->required()
      ->check(CLI::Range(1, 16));  // process_vm_readv() pins 16 pages at once
  ParseOrExit(app, argc, argv);

  char* zeroes = MapAnonymous(nr_pages);
  for (size_t i = 0; i < nr_pages; ++i)
    static_cast<void>(*static_cast<volatile char*>(zeroes + i * kPageSize));
  HoldByRemoteRead(getpid(), zeroes, nr_pages,
                   {{"workload", "pin-zero-page"},
                    {"pages", nr_pages},
                    {"pfns", ReadPfns(zeroes, nr_pages)}});
  Report({{"workload", "pin-zero-page"}, {"released", true}});
}
