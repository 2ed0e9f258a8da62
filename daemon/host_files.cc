// SPDX-License-Identifier: Apache-2.0
#include "daemon/host_files.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace pinwatch {
namespace {

namespace fs = std::filesystem;

absl::Status Malformed(const std::string& path, size_t line,
                       absl::string_view text) {
  return absl::DataLossError(absl::StrCat(
      path, " line ", line, ": not understood: \"", text.substr(0, 80), "\""));
}

// Matches "Node 0, zone    DMA32".
bool ParseZoneHeader(absl::string_view line, int* nid, std::string* zone) {
  if (!absl::ConsumePrefix(&line, "Node ")) return false;
  const std::vector<absl::string_view> halves =
      absl::StrSplit(line, absl::MaxSplits(", zone", 1));
  if (halves.size() != 2 || !absl::SimpleAtoi(halves[0], nid)) return false;
  *zone = std::string(absl::StripAsciiWhitespace(halves[1]));
  return !zone->empty();
}

// The zone's field that `key` names, or null for the many we do not read.
uint64_t* FieldOf(Zone& zone, absl::string_view key) {
  if (key == "spanned") return &zone.spanned_pages;
  if (key == "present") return &zone.present_pages;
  if (key == "managed") return &zone.managed_pages;
  if (key == "start_pfn:") return &zone.start_pfn;
  return nullptr;
}

// The N of a directory entry PREFIXN, or nothing.
std::optional<uint64_t> NumberAfter(absl::string_view prefix,
                                    absl::string_view name) {
  uint64_t number;
  if (!absl::ConsumePrefix(&name, prefix) || !absl::SimpleAtoi(name, &number))
    return std::nullopt;
  return number;
}

// Which node each memory block is on, from the links in the node directories:
// one directory a node instead of one a block.
std::map<uint64_t, int> NodesOfBlocks(const std::string& root) {
  std::map<uint64_t, int> nodes;
  std::error_code error;
  for (const auto& node :
       fs::directory_iterator(root + "/sys/devices/system/node", error)) {
    const auto nid = NumberAfter("node", node.path().filename().string());
    if (!nid) continue;
    for (const auto& entry : fs::directory_iterator(node.path(), error)) {
      const auto id = NumberAfter("memory", entry.path().filename().string());
      if (!id) continue;
      const auto [node, is_new] = nodes.try_emplace(*id, *nid);
      // A block at the border of two nodes is linked by both: of neither.
      if (!is_new) node->second = -1;
    }
  }
  return nodes;
}

// The zone of an online block. An offline one lists the zones it could join,
// which is no fact about it; a block over two zones reads "none".
std::string ZoneOfBlock(const std::string& directory,
                        const std::string& state) {
  if (state != "online") return "none";
  const absl::StatusOr<std::string> zones =
      ReadSmallFile(directory + "/valid_zones");
  if (!zones.ok() || zones->empty()) return "none";
  return std::vector<std::string>(absl::StrSplit(*zones, ' '))[0];
}

// ACPI ties each block to the memory device it came with, which may be one of
// those that were there at boot; empty where there is none.
std::string DimmOfBlock(const fs::path& directory) {
  std::error_code error;
  const std::string name =
      fs::read_symlink(directory / "firmware_node", error).filename();
  return absl::StartsWith(name, "PNP0C80:") ? name : "";
}

}  // namespace

absl::StatusOr<std::string> ReadSmallFile(const std::string& path) {
  std::ifstream file(path);
  if (!file) return absl::ErrnoToStatus(errno, absl::StrCat("open ", path));
  std::string content;
  char chunk[4096];
  errno = 0;
  while (file.read(chunk, sizeof(chunk)) || file.gcount() > 0)
    content.append(chunk, file.gcount());
  if (file.bad())
    return absl::ErrnoToStatus(errno ? errno : EIO,
                               absl::StrCat("read ", path));
  if (!content.empty() && content.back() == '\n') content.pop_back();
  return content;
}

absl::StatusOr<Zoneinfo> ReadZoneinfo(const std::string& root) {
  const std::string path = root + "/proc/zoneinfo";
  const absl::StatusOr<std::string> text = ReadSmallFile(path);
  if (!text.ok()) return text.status();

  Zoneinfo info;
  std::vector<Zone> all;
  size_t number = 0;
  for (absl::string_view line : absl::StrSplit(*text, '\n')) {
    ++number;
    if (absl::StartsWith(line, "Node ")) {
      Zone zone;
      if (!ParseZoneHeader(line, &zone.nid, &zone.name))
        return Malformed(path, number, line);
      if (all.empty() || zone.nid == all.front().nid)
        info.zone_names.push_back(zone.name);
      all.push_back(std::move(zone));
      continue;
    }
    const std::vector<absl::string_view> words =
        absl::StrSplit(line, ' ', absl::SkipWhitespace());
    if (words.size() != 2 || all.empty()) continue;
    uint64_t* field = FieldOf(all.back(), words[0]);
    if (field && !absl::SimpleAtoi(words[1], field))
      return Malformed(path, number, line);
  }
  if (all.empty())
    return absl::DataLossError(absl::StrCat(path, ": names no zone"));
  std::copy_if(all.begin(), all.end(), std::back_inserter(info.zones),
               [](const Zone& zone) { return zone.spanned_pages > 0; });
  return info;
}

absl::StatusOr<MemoryBlock> ReadMemoryBlock(const std::string& root,
                                            uint64_t id) {
  const std::string directory =
      absl::StrCat(root, "/sys/devices/system/memory/memory", id);
  const absl::StatusOr<std::string> state = ReadSmallFile(directory + "/state");
  if (!state.ok()) return state.status();
  return MemoryBlock{.id = id,
                     .state = *state,
                     .zone = ZoneOfBlock(directory, *state),
                     .device = DimmOfBlock(directory)};
}

absl::StatusOr<MemoryBlocks> ReadMemoryBlocks(const std::string& root) {
  const std::string directory = root + "/sys/devices/system/memory";
  MemoryBlocks result;
  const absl::StatusOr<std::string> size =
      ReadSmallFile(directory + "/block_size_bytes");
  if (!size.ok()) return size.status();
  if (!absl::SimpleHexAtoi(*size, &result.block_size_bytes) ||
      result.block_size_bytes == 0)
    return Malformed(directory + "/block_size_bytes", 1, *size);

  const std::map<uint64_t, int> nodes = NodesOfBlocks(root);
  std::set<std::string> dimms;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory, error)) {
    const auto id = NumberAfter("memory", entry.path().filename().string());
    if (!id) continue;
    absl::StatusOr<MemoryBlock> read = ReadMemoryBlock(root, *id);
    // A block can be removed while we read: it is gone, and no error.
    if (!read.ok()) continue;
    MemoryBlock& block = *read;
    if (const auto node = nodes.find(*id); node != nodes.end())
      block.nid = node->second;
    if (!block.device.empty()) dimms.insert(block.device);
    result.blocks.push_back(std::move(block));
  }
  if (error)
    return absl::ErrnoToStatus(error.value(), absl::StrCat("list ", directory));
  std::sort(
      result.blocks.begin(), result.blocks.end(),
      [](const MemoryBlock& a, const MemoryBlock& b) { return a.id < b.id; });
  for (const std::string& dimm : dimms)
    result.devices.push_back({.name = dimm, .kind = "dimm"});
  return result;
}

std::vector<uint64_t> MemoryShape(const std::string& root,
                                  const Zoneinfo& info) {
  // A directory has a link for each directory in it.
  struct stat blocks {};
  stat((root + "/sys/devices/system/memory").c_str(), &blocks);
  std::vector<uint64_t> shape = {blocks.st_nlink};
  for (const Zone& zone : info.zones)
    shape.insert(shape.end(),
                 {zone.start_pfn, zone.spanned_pages, zone.present_pages});
  return shape;
}

absl::StatusOr<std::vector<NodeCounterReading>> ReadNodeVmstat(
    const std::string& root, const std::vector<int>& nids) {
  std::vector<NodeCounterReading> readings;
  for (int nid : nids) {
    const std::string path =
        absl::StrCat(root, "/sys/devices/system/node/node", nid, "/vmstat");
    const absl::StatusOr<std::string> text = ReadSmallFile(path);
    if (!text.ok()) return text.status();
    NodeCounterReading reading{.nid = nid};
    int found = 0;
    size_t number = 0;
    for (absl::string_view line : absl::StrSplit(*text, '\n')) {
      ++number;
      const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
      uint64_t* field = words[0] == "nr_foll_pin_acquired"   ? &reading.acquired
                        : words[0] == "nr_foll_pin_released" ? &reading.released
                                                             : nullptr;
      if (!field) continue;
      if (words.size() != 2 || !absl::SimpleAtoi(words[1], field))
        return Malformed(path, number, line);
      ++found;
    }
    if (found != 2)
      return absl::NotFoundError(
          absl::StrCat(path, ": has no nr_foll_pin_acquired and _released"));
    readings.push_back(reading);
  }
  return readings;
}

namespace {

struct HighOrderKind {
  const char* what;
  const char* succeeded;
  const char* failed;
};

constexpr HighOrderKind kHighOrderKinds[] = {
    {"compaction", "compact_success", "compact_fail"},
    {"hugetlb", "htlb_buddy_alloc_success", "htlb_buddy_alloc_fail"},
    {"thp_fault", "thp_fault_alloc", "thp_fault_fallback"},
    {"cma", "cma_alloc_success", "cma_alloc_fail"},
};

}  // namespace

absl::StatusOr<std::vector<HighOrderCount>> ReadHighOrderCounts(
    const std::string& root) {
  const std::string path = root + "/proc/vmstat";
  const absl::StatusOr<std::string> text = ReadSmallFile(path);
  if (!text.ok()) return text.status();
  std::map<absl::string_view, uint64_t> counters;
  size_t number = 0;
  for (absl::string_view line : absl::StrSplit(*text, '\n')) {
    ++number;
    const std::pair<absl::string_view, absl::string_view> words =
        absl::StrSplit(line, ' ');
    if (!absl::SimpleAtoi(words.second, &counters[words.first]))
      return Malformed(path, number, line);
  }
  std::vector<HighOrderCount> counts;
  for (const HighOrderKind& kind : kHighOrderKinds) {
    const auto succeeded = counters.find(kind.succeeded);
    const auto failed = counters.find(kind.failed);
    if (succeeded != counters.end() && failed != counters.end())
      counts.push_back({kind.what, succeeded->second, failed->second});
  }
  return counts;
}

absl::StatusOr<uint32_t> CountPossibleCpus(const std::string& root) {
  const std::string path = root + "/sys/devices/system/cpu/possible";
  const absl::StatusOr<std::string> text = ReadSmallFile(path);
  if (!text.ok()) return text.status();
  // "0-3" or "0": a list of ranges whose last number is the highest CPU.
  const std::vector<std::string> numbers =
      absl::StrSplit(*text, absl::ByAnyChar("-,"));
  uint32_t last;
  if (!absl::SimpleAtoi(numbers.back(), &last) || last >= 1u << 16)
    return Malformed(path, 1, *text);
  return last + 1;
}

HostInfo ReadHostInfo(const std::string& root) {
  const std::string kernel = root + "/proc/sys/kernel/";
  return {
      .hostname = ReadSmallFile(kernel + "hostname").value_or(""),
      .kernel_release = ReadSmallFile(kernel + "osrelease").value_or(""),
      .boot_id = ReadSmallFile(kernel + "random/boot_id").value_or(""),
  };
}

std::optional<uint64_t> ReadMemoryLimit(const std::string& root) {
  const std::string own =
      ReadSmallFile(root + "/proc/self/cgroup").value_or("");
  std::optional<uint64_t> limit;
  if (!absl::StartsWith(own, "0::/")) return limit;
  // Up to the root, which has no such file.
  for (std::string path = own.substr(3); path != "/" && !path.empty();
       path = path.substr(0, path.rfind('/')))
    for (const char* file : {"/memory.high", "/memory.max"}) {
      uint64_t bytes;
      if (absl::SimpleAtoi(
              ReadSmallFile(absl::StrCat(root, "/sys/fs/cgroup", path, file))
                  .value_or(""),
              &bytes))
        limit = std::min(limit.value_or(bytes), bytes);
    }
  return limit;
}

}  // namespace pinwatch
