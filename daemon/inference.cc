// SPDX-License-Identifier: Apache-2.0
#include "daemon/inference.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace pinwatch {
namespace {

constexpr uint64_t kPageKib = 4;

// The value of a line "NAME:<space>value"; empty where there is none.
absl::string_view ValueOf(absl::string_view text, absl::string_view name) {
  for (absl::string_view line : absl::StrSplit(text, '\n'))
    if (absl::ConsumePrefix(&line, name) && absl::ConsumePrefix(&line, ":"))
      return absl::StripAsciiWhitespace(line);
  return "";
}

}  // namespace

InferredAttribution Inference::Attribute(uint64_t pfn) const {
  const auto folio = mapped_by.find(pfn);
  if (folio == mapped_by.end()) return {.reason = "not_searched"};
  const std::vector<size_t>& who = folio->second;
  if (who.empty()) return {.reason = "no_candidate"};
  // What it held may be gone with it, or be another's: the next search tells.
  if (std::any_of(who.begin(), who.end(), [&](size_t place) {
        return candidates[place].holder.process.ended;
      }))
    return {.reason = "not_searched"};
  if (who.size() > 1)
    return {.certainty = Certainty::kInferred,
            .reason = "mapped_by_several",
            .candidates = who};
  if (candidates[who.front()].MapsMoreThanItPins())
    return {.reason = "maps_more_than_it_pins"};
  // Shared memory is charged to who touched it first: no proof against it.
  const bool elsewhere =
      RelationOf(pfn, candidates[who.front()]) == CgroupRelation::kOther;
  return {.certainty = Certainty::kInferred,
          .reason = !IsComplete() ? "search_incomplete"
                    : elsewhere   ? "charged_elsewhere"
                                  : "mapped_by_one",
          .candidates = who};
}

CgroupRelation Inference::RelationOf(uint64_t pfn,
                                     const Candidate& candidate) const {
  const auto id = charged_to.find(pfn);
  if (id == charged_to.end()) return CgroupRelation::kUnknown;
  const std::string& path = cgroup_paths.at(id->second);
  if (path == "/") return CgroupRelation::kUnknown;
  return Relate(path, candidate.memory_cgroup);
}

uint64_t PinnedPagesOf(absl::string_view status) {
  uint64_t kib = 0;
  const absl::string_view value = ValueOf(status, "VmPin");
  if (!absl::SimpleAtoi(absl::StripSuffix(value, " kB"), &kib)) return 0;
  return kib / kPageKib;
}

bool MayBePinner(absl::string_view target) {
  return target == "anon_inode:[io_uring]" || target == "/dev/iommu" ||
         absl::StartsWith(target, "/dev/vfio/") ||
         absl::StartsWith(target, "/dev/infiniband/uverbs") ||
         absl::StartsWith(target, "/dmabuf:");
}

std::optional<Pinner> PinnerOf(absl::string_view target,
                               absl::string_view fdinfo) {
  if (target == "anon_inode:[io_uring]") {
    uint64_t buffers = 0;
    if (!absl::SimpleAtoi(ValueOf(fdinfo, "UserBufs"), &buffers) || !buffers)
      return std::nullopt;
    return Pinner{"io_uring with registered buffers", true};
  }
  if (target == "/dev/iommu") return Pinner{"iommufd"};
  if (absl::StartsWith(target, "/dev/vfio/")) return Pinner{"vfio"};
  if (absl::StartsWith(target, "/dev/infiniband/uverbs"))
    return Pinner{"rdma", true};
  // Of what other exporters give out, no page is one of a process.
  if (absl::StartsWith(target, "/dmabuf:") &&
      ValueOf(fdinfo, "exp_name") == "udmabuf")
    return Pinner{"udmabuf"};
  return std::nullopt;
}

std::vector<AddressRange> MappedRanges(absl::string_view maps) {
  std::vector<AddressRange> ranges;
  for (absl::string_view line : absl::StrSplit(maps, '\n')) {
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(line, absl::MaxSplits(' ', 1));
    const std::pair<absl::string_view, absl::string_view> ends =
        absl::StrSplit(parts.first, absl::MaxSplits('-', 1));
    AddressRange range;
    if (!absl::SimpleHexAtoi(ends.first, &range.start) ||
        !absl::SimpleHexAtoi(ends.second, &range.end) ||
        range.start >= range.end)
      continue;
    // Reserved addresses are no memory, and may be terabytes.
    if (absl::StartsWith(parts.second, "--")) continue;
    if (absl::EndsWith(line, "[vsyscall]")) continue;
    ranges.push_back(range);
  }
  return ranges;
}

std::optional<uint64_t> PfnOf(uint64_t pagemap_entry) {
  constexpr uint64_t kPresent = uint64_t{1} << 63;
  constexpr uint64_t kPfnMask = (uint64_t{1} << 55) - 1;
  const uint64_t pfn = pagemap_entry & kPfnMask;
  if (!(pagemap_entry & kPresent) || !pfn) return std::nullopt;
  return pfn;
}

}  // namespace pinwatch
