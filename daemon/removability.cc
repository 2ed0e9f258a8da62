// SPDX-License-Identifier: Apache-2.0
#include "daemon/removability.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"

namespace pinwatch {
namespace {

constexpr int64_t kFreshNs = 60'000'000'000;
constexpr int64_t kOldNs = 3'600'000'000'000;

constexpr char kMovable[] = "Movable";

// "1 page", "23 pages"
std::string Count(uint64_t pages) {
  return absl::StrCat(pages, pages == 1 ? " page" : " pages");
}

void AddPages(const census_cell& cell, BlockEvidence& to) {
  to.free += cell.pages[PAGE_FREE];
  to.movable += cell.pages[PAGE_MOVABLE];
  to.hugetlb += cell.pages[PAGE_HUGETLB];
  to.plain_references += cell.pages[PAGE_ELEVATED] + cell.pages[PAGE_BIASED];
  to.kernel += cell.pages[PAGE_KERNEL];
  to.reserved += cell.pages[PAGE_RESERVED];
  to.offline += cell.pages[PAGE_OFFLINE];
  to.poisoned += cell.pages[PAGE_POISONED];
  to.unstable += cell.pages[PAGE_UNSTABLE];
}

uint64_t& PlaceOf(const PinGroup& group, const HoldingRules& rules,
                  const std::function<bool(uint32_t)>& is_stopped,
                  BlockEvidence& in) {
  // Where the counter says that nothing is pinned, these are references.
  if (rules.is_pinless(group.nid)) return in.plain_references;
  const Attribution who = AttributeBy(group, rules);
  if (who.certainty == Certainty::kUnattributed || who.owners.empty())
    return in.unclaimed_pins;
  if (is_stopped && who.certainty != Certainty::kProbable &&
      std::ranges::all_of(who.owners, is_stopped))
    return in.movable;
  const auto pins_for_long = [&](const Claim& claim) {
    return claim.long_term && std::ranges::count(who.owners, claim.owner);
  };
  return std::ranges::any_of(group.claims, pins_for_long) ? in.long_term_pins
                                                          : in.short_term_pins;
}

// What has to move finds no free page outside the block.
bool LacksRoom(const BlockEvidence& evidence, const HostState& host) {
  const uint64_t own = std::min(evidence.free, host.free_pages);
  return evidence.to_move() > host.free_pages - own;
}

// The evidence alone, as if it were of now.
Confidence Basis(Verdict verdict, const MemoryBlock& block,
                 const BlockEvidence& evidence, const HostState& host) {
  switch (verdict) {
    case Verdict::kAlreadyOffline:
      return Confidence::kHigh;
    case Verdict::kBlockedByKernelMemory:
      return MayPass(verdict, block, evidence) ? Confidence::kMedium
                                               : Confidence::kHigh;
    case Verdict::kBlockedByLongTermPins:
      return evidence.long_term_pins ? Confidence::kHigh : Confidence::kMedium;
    case Verdict::kBlockedByShortTermPins:
      return Confidence::kMedium;
    case Verdict::kRemovable:
    case Verdict::kRemovableAfterMigration:
      if (evidence.offline || evidence.unstable || LacksRoom(evidence, host))
        return Confidence::kLow;
      // The kernel may put memory of its own anywhere else at any time.
      return block.zone == kMovable && !evidence.hugetlb ? Confidence::kHigh
                                                         : Confidence::kMedium;
    case Verdict::kBlockedByPlainReferences:
    case Verdict::kUnknown:
      break;
  }
  return Confidence::kLow;
}

}  // namespace

BlockEvidence EvidenceOf(const BlockLook& look, const HoldingRules& rules,
                         uint64_t own_struct_pages,
                         const std::function<bool(uint32_t)>& is_stopped) {
  BlockEvidence evidence;
  for (const ZoneLook& zone : look.zones)
    for (const auto& [migratetype, cell] : zone.cells) AddPages(cell, evidence);
  for (const PinGroup& group : look.pins)
    PlaceOf(group, rules, is_stopped, evidence) += group.pins.pages;
  // Older kernels, as v6.1, reserve them.
  evidence.own_struct_pages =
      std::min(own_struct_pages, evidence.kernel + evidence.reserved);
  const uint64_t kernel = std::min(evidence.own_struct_pages, evidence.kernel);
  evidence.kernel -= kernel;
  evidence.reserved -= evidence.own_struct_pages - kernel;
  return evidence;
}

bool MayPass(Verdict verdict, const MemoryBlock& block,
             const BlockEvidence& evidence) {
  return verdict == Verdict::kBlockedByKernelMemory && block.zone == kMovable &&
         !evidence.reserved;
}

Verdict VerdictOf(const MemoryBlock& block, const BlockEvidence* evidence,
                  bool moves_long_term_pins) {
  if (block.state == "offline") return Verdict::kAlreadyOffline;
  if (!evidence) return Verdict::kUnknown;
  if (evidence->kernel || evidence->reserved)
    return Verdict::kBlockedByKernelMemory;
  // Since Linux v5.13 no long-term pin stays in ZONE_MOVABLE: what nobody is
  // known to hold there will pass. Elsewhere it may stay.
  const bool unclaimed_stay = block.zone != kMovable || !moves_long_term_pins;
  if (evidence->long_term_pins || (evidence->unclaimed_pins && unclaimed_stay))
    return Verdict::kBlockedByLongTermPins;
  if (evidence->pins()) return Verdict::kBlockedByShortTermPins;
  if (evidence->plain_references) return Verdict::kBlockedByPlainReferences;
  return evidence->to_move() ? Verdict::kRemovableAfterMigration
                             : Verdict::kRemovable;
}

std::string ReasonFor(Verdict verdict, const MemoryBlock& block,
                      const BlockEvidence& evidence, const HostState& host) {
  switch (verdict) {
    case Verdict::kUnknown:
      return "the census could not look at it";
    case Verdict::kAlreadyOffline:
      return "it is offline";
    case Verdict::kBlockedByKernelMemory:
      return absl::StrCat(
          Count(evidence.kernel + evidence.reserved), " of kernel memory",
          evidence.reserved && block.zone == kMovable
              ? ", reserved at boot: a part of the kernel's image, or a hole"
              : "");
    case Verdict::kBlockedByLongTermPins:
      return absl::StrCat(Count(evidence.pins()), " pinned");
    case Verdict::kBlockedByShortTermPins:
      return absl::StrCat(Count(evidence.pins()), " pinned for short");
    case Verdict::kBlockedByPlainReferences:
      return absl::StrCat(
          Count(evidence.plain_references),
          " with references that are no pins; those of pages on "
          "their way to an LRU list go away");
    case Verdict::kRemovable:
    case Verdict::kRemovableAfterMigration:
      break;
  }
  std::string reason = evidence.to_move()
                           ? absl::StrCat(Count(evidence.to_move()), " to move")
                           : "nothing in it has to move";
  if (evidence.hugetlb)
    absl::StrAppend(&reason, ", ", evidence.hugetlb,
                    " of them in huge pages, which need others that are free");
  if (LacksRoom(evidence, host))
    absl::StrAppend(&reason,
                    ", more than is free elsewhere: other memory would have "
                    "to be reclaimed first");
  if (evidence.offline)
    absl::StrAppend(&reason, "; whether the balloon or virtio-mem lets go of ",
                    Count(evidence.offline), " is not known");
  return reason;
}

Confidence ConfidenceIn(Verdict verdict, const MemoryBlock& block,
                        const BlockEvidence& evidence, const HostState& host,
                        int64_t age_ns, bool outdated) {
  const Confidence basis = Basis(verdict, block, evidence, host);
  if (verdict == Verdict::kAlreadyOffline) return basis;
  // What was reserved at boot does not change.
  if (verdict == Verdict::kBlockedByKernelMemory && evidence.reserved)
    return basis;
  if (age_ns > kOldNs) return Confidence::kLow;
  if (age_ns > kFreshNs || outdated)
    return std::min(basis, Confidence::kMedium);
  return basis;
}

}  // namespace pinwatch
