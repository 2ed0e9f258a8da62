// SPDX-License-Identifier: Apache-2.0
#include "daemon/removability.h"

#include <algorithm>
#include <array>
#include <string>

#include "absl/strings/str_cat.h"

namespace pinwatch {
namespace {

using Pages = std::array<uint64_t, NR_PAGE_CLASSES>;

Pages AddUp(const BlockReport& report) {
  Pages pages{};
  for (const MigratetypePages& part : report.migratetypes)
    for (size_t c = 0; c < pages.size(); ++c) pages[c] += part.pages[c];
  return pages;
}

// "1 page", "23 pages"
std::string Count(uint64_t pages) {
  return absl::StrCat(pages, pages == 1 ? " page" : " pages");
}

uint64_t Pinned(const BlockReport& report) {
  uint64_t pages = 0;
  for (const PinAttribution& part : report.attributions)
    pages += part.pins.pages;
  return pages;
}

// Pages that somebody who pins for long holds, or may hold.
bool HasLongTermOwner(const BlockReport& report) {
  return std::any_of(report.owners.begin(), report.owners.end(),
                     [](const PinOwner& o) { return o.long_term; });
}

bool LacksClaims(const BlockReport& report) {
  return std::any_of(report.attributions.begin(), report.attributions.end(),
                     [](const PinAttribution& part) {
                       return part.certainty == Certainty::kUnattributed ||
                              part.certainty == Certainty::kInferred;
                     });
}

void Conclude(BlockReport& report, Verdict verdict, std::string reason) {
  report.verdict = verdict;
  report.reason = std::move(reason);
}

}  // namespace

void Judge(BlockReport& report) {
  if (report.block.state == "offline")
    return Conclude(report, Verdict::kAlreadyOffline, "it is offline");
  if (!report.look)
    return Conclude(report, Verdict::kUnknown,
                    "the census could not look at it");
  const Pages pages = AddUp(report);
  const uint64_t kernel = pages[PAGE_KERNEL] + pages[PAGE_RESERVED];
  const uint64_t pinned = Pinned(report);
  const uint64_t held = pages[PAGE_ELEVATED] + pages[PAGE_BIASED];
  if (kernel)
    return Conclude(report, Verdict::kBlockedByKernelMemory,
                    absl::StrCat(Count(kernel), " of kernel memory"));
  // Since Linux v5.13 no long-term pin stays in ZONE_MOVABLE: what nobody is
  // known to hold there will pass. Elsewhere it may stay.
  if (pinned && (HasLongTermOwner(report) ||
                 (LacksClaims(report) && report.block.zone != "Movable")))
    return Conclude(report, Verdict::kBlockedByLongTermPins,
                    absl::StrCat(Count(pinned), " pinned"));
  if (pinned)
    return Conclude(report, Verdict::kBlockedByShortTermPins,
                    absl::StrCat(Count(pinned), " pinned for short"));
  if (held)
    return Conclude(
        report, Verdict::kBlockedByPlainReferences,
        absl::StrCat(Count(held),
                     " with references that are no pins; those of pages on "
                     "their way to an LRU list go away"));
  const uint64_t moving = pages[PAGE_MOVABLE] + pages[PAGE_HUGETLB];
  if (moving)
    return Conclude(report, Verdict::kRemovableAfterMigration,
                    absl::StrCat(Count(moving), " to move"));
  Conclude(report, Verdict::kRemovable, "nothing in it has to move");
}

}  // namespace pinwatch
