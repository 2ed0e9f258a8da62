// SPDX-License-Identifier: Apache-2.0
//
// Long-term pins of pages in certain places of physical memory.

#include <sys/mman.h>
#include <sys/prctl.h>

#include <algorithm>
#include <cstdio>

#include "workload.h"

using namespace workload;

namespace {

constexpr size_t kStep = 16384;  // pages that are tried at once

struct Window {
  uint64_t start_pfn = 0;
  uint64_t end_pfn = 0;
  size_t nr_pages = 0;  // wanted
};

// Faults from within take much less time than one each. Huge pages are off.
char* MapPopulated(size_t nr_pages) {
  void* data = mmap(nullptr, nr_pages * kPageSize, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (data == MAP_FAILED) Fail("mmap", "memory short?");
  return static_cast<char*>(data);
}

Window ParseWindow(const std::string& text) {
  Window window;
  if (std::sscanf(text.c_str(), "%lu:%lu:%zu", &window.start_pfn,
                  &window.end_pfn, &window.nr_pages) != 3)
    Fail(text, "give START:END:PAGES", EINVAL);
  return window;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> texts;
  CLI::App app(
      "Takes memory until it has pages in each window of page frames, gives "
      "the rest back, and pins these long-term by registering them as io_uring "
      "fixed buffers.");
  app.add_option("--window", texts,
                 "START:END:PAGES, of page frames from START up to END so many")
      ->required();
  ParseOrExit(app, argc, argv);
  std::vector<Window> windows;
  for (const std::string& text : texts) windows.push_back(ParseWindow(text));

  if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) != 0)
    Fail("prctl(PR_SET_THP_DISABLE)", "report this");
  std::vector<iovec> buffers;
  std::vector<uint64_t> before;
  std::vector<iovec> rest;
  while (std::any_of(windows.begin(), windows.end(),
                     [](const Window& w) { return w.nr_pages > 0; })) {
    char* const data = MapPopulated(kStep);
    const std::vector<uint64_t> pfns = ReadPfns(data, kStep);
    char* from = data;
    const auto add_rest = [&](char* to) {
      if (to > from) rest.push_back({from, static_cast<size_t>(to - from)});
      from = to + kPageSize;
    };
    for (size_t i = 0; i < kStep; ++i) {
      char* page = data + i * kPageSize;
      const auto window =
          std::find_if(windows.begin(), windows.end(), [&](const Window& w) {
            return w.nr_pages && w.start_pfn <= pfns[i] && pfns[i] < w.end_pfn;
          });
      if (window == windows.end()) continue;
      --window->nr_pages;
      buffers.push_back({page, kPageSize});
      before.push_back(pfns[i]);
      add_rest(page);
    }
    add_rest(data + kStep * kPageSize);
  }
  for (const iovec& pages : rest) munmap(pages.iov_base, pages.iov_len);
  DrainLruBatches();
  FixedBuffers ring(buffers);
  const auto read_pfns = [&] {
    std::vector<uint64_t> pfns;
    for (const iovec& page : buffers)
      pfns.push_back(ReadPfns(static_cast<char*>(page.iov_base), 1)[0]);
    return pfns;
  };
  const std::vector<uint64_t> pinned = read_pfns();
  ReportAndHold({{"workload", "pin-at"},
                 {"pages", buffers.size()},
                 {"moved_pages", CountDifferences(before, pinned)},
                 {"pfns", pinned}});

  const size_t moved = CountDifferences(pinned, read_pfns());
  ring.Unregister();
  Report({{"workload", "pin-at"},
          {"released", true},
          {"moved_while_held", moved}});
}
