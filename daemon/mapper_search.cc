// SPDX-License-Identifier: Apache-2.0
#include "daemon/mapper_search.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "daemon/clock.h"
#include "daemon/holder_search.h"
#include "daemon/host_files.h"
#include "daemon/inference.h"
#include "daemon/processes.h"

namespace pinwatch {
namespace {

constexpr uint64_t kPageBytes = 4096;
constexpr uint64_t kPagesAtOnce = 4096;

struct Wanted {
  page_facts page;
  PageMappers mappers;
  int64_t entries = 0;  // of page tables, found so far

  bool FoundAll() const {
    return page.mapcount >= 0 && entries >= page.mapcount;
  }
};

class Search {
 public:
  Search(const std::string& root, const std::map<uint64_t, page_facts>& pages,
         int64_t most_cpu_ns)
      : root_(root), end_ns_(ThreadCpuNs() + most_cpu_ns) {
    for (const auto& [pfn, page] : pages) wanted_[pfn].page = page;
  }

  std::map<uint64_t, PageMappers> LookAtAll(const std::vector<uint32_t>& pids) {
    bool saw_all = true;
    for (const uint32_t pid : pids) {
      if (FoundAll()) break;
      const bool in_time = !IsLate();
      saw_all = in_time && LookAt(pid) && saw_all;
      if (!in_time) break;
    }
    std::map<uint64_t, PageMappers> found;
    for (auto& [pfn, one] : wanted_) {
      // Where it counts more than were found, some were not recognised.
      one.mappers.complete =
          one.FoundAll() || (saw_all && one.page.mapcount < 0);
      found.emplace(pfn, std::move(one.mappers));
    }
    return found;
  }

 private:
  bool IsLate() const { return ThreadCpuNs() >= end_ns_; }

  bool FoundAll() const {
    return std::ranges::all_of(
        wanted_, [](const auto& one) { return one.second.FoundAll(); });
  }

  // False where not all of its memory could be seen.
  bool LookAt(uint32_t pid) {
    const std::string directory = absl::StrCat(root_, "/proc/", pid);
    const absl::StatusOr<std::string> maps = ReadSmallFile(directory + "/maps");
    if (!maps.ok()) return absl::IsNotFound(maps.status());
    for (auto& [pfn, one] : wanted_) {
      if (one.FoundAll()) continue;
      const int64_t before = one.entries;
      const bool complete = CountIn(directory + "/pagemap", *maps, pfn, one);
      if (one.entries > before)
        if (const absl::StatusOr<ProcessInfo> info = ReadProcess(root_, pid);
            info.ok())
          one.mappers.processes.push_back(ToProcess(*info));
      if (!complete) return false;
    }
    return true;
  }

  bool CountIn(const std::string& pagemap, const std::string& maps,
               uint64_t pfn, Wanted& one) const {
    for (const AddressRange& range :
         MappedRanges(MapsThatMayHave(one.page, maps)))
      for (uint64_t at = range.start; at < range.end;
           at += kPagesAtOnce * kPageBytes) {
        if (IsLate()) return false;
        const uint64_t pages =
            std::min(kPagesAtOnce, (range.end - at) / kPageBytes);
        const auto entries = ReadPagemap(pagemap, at / kPageBytes, pages);
        // One that has ended maps nothing.
        if (!entries.ok()) return absl::IsNotFound(entries.status());
        for (const uint64_t entry : *entries)
          one.entries += PfnOf(entry) == pfn;
      }
    return true;
  }

  const std::string root_;
  const int64_t end_ns_;
  std::map<uint64_t, Wanted> wanted_;
};

}  // namespace

std::string MapsThatMayHave(const page_facts& page, absl::string_view maps) {
  const bool is_file = page.mapping == PAGE_MAPPING_FILE;
  const bool is_private =
      page.mapping == PAGE_MAPPING_ANON || page.mapping == PAGE_MAPPING_KSM;
  std::string kept;
  for (absl::string_view line : absl::StrSplit(maps, '\n')) {
    const std::vector<absl::string_view> fields =
        absl::StrSplit(line, absl::MaxSplits(' ', 5));
    if (fields.size() < 5) continue;
    if (is_file && page.ino && fields[4] != absl::StrCat(page.ino)) continue;
    if (is_private && (fields[1].size() < 4 || fields[1][3] != 'p')) continue;
    absl::StrAppend(&kept, line, "\n");
  }
  return kept;
}

std::map<uint64_t, PageMappers> FindMappers(
    const std::string& root, const std::vector<uint32_t>& pids,
    const std::map<uint64_t, page_facts>& pages, int64_t most_cpu_ns) {
  return Search(root, pages, most_cpu_ns).LookAtAll(pids);
}

}  // namespace pinwatch
