// SPDX-License-Identifier: Apache-2.0
//
// Many mappings of one page: a high reference count without a pin, or with one.

#include <sys/mman.h>

#include <optional>

#include "workload.h"

using namespace workload;

namespace {

// Every mapping must show the same page.
uint64_t ReadCommonPfn(const std::vector<char*>& mappings) {
  const uint64_t pfn = ReadPfns(mappings.front(), 1)[0];
  for (const char* mapping : mappings)
    if (ReadPfns(mapping, 1)[0] != pfn)
      Fail("mappings show different pages", "the page moved; run it again",
           EAGAIN);
  return pfn;
}

}  // namespace

int main(int argc, char** argv) {
  size_t nr_mappings = 0;
  bool pin = false;
  CLI::App app(
      "Maps one page of a memfd many times into this process; with --pin it is "
      "also pinned once.");
  app.add_option("--mappings", nr_mappings, "Mappings of the page")
      ->required()
      ->check(CLI::Range(1, 1 << 24));
  app.add_flag("--pin", pin, "Pin the page long-term once, through io_uring");
  ParseOrExit(app, argc, argv);

  const int fd = CreateMemfd(1);
  std::vector<char*> mappings;
  for (size_t i = 0; i < nr_mappings; ++i) {
    mappings.push_back(MapShared(fd, 1));
    Touch(mappings.back(), 1);
  }
  DrainLruBatches();
  const uint64_t pfn_before = ReadCommonPfn(mappings);
  std::optional<FixedBuffers> buffers;
  if (pin) buffers.emplace(mappings.front(), kPageSize);
  const uint64_t pfn = ReadCommonPfn(mappings);

  ReportAndHold({{"workload", "map-many"},
                 {"pages", 1},
                 {"mappings", nr_mappings},
                 {"pin_references", pin ? 1 : 0},
                 {"pfn_before", pfn_before},
                 {"pfn", pfn}});

  const bool moved = ReadCommonPfn(mappings) != pfn;
  if (buffers) buffers->Unregister();
  for (char* mapping : mappings) munmap(mapping, kPageSize);
  Report({{"workload", "map-many"},
          {"released", true},
          {"moved_while_held", moved ? 1 : 0}});
}
