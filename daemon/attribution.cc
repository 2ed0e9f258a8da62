// SPDX-License-Identifier: Apache-2.0
#include "daemon/attribution.h"

#include <algorithm>

namespace pinwatch {
namespace {

std::vector<uint32_t> OwnersOf(const std::vector<Claim>& claims) {
  std::vector<uint32_t> owners;
  for (const Claim& claim : claims) owners.push_back(claim.owner);
  return owners;
}

// Whether a pin without a claim may have taken the place of the claimed one.
bool IsOutdated(const Claim& claim, const ClaimGaps& gaps) {
  return claim.made_ns <= gaps.long_term_ns ||
         (!claim.long_term && claim.made_ns <= gaps.short_term_ns);
}

Attribution AttributeToLiving(std::vector<Claim> living, const PinGroup& group,
                              const ClaimGaps& gaps) {
  Attribution result{.owners = OwnersOf(living)};
  if (group.pins_a_page < living.size()) {
    result.certainty = Certainty::kOneOf;
    result.reason = "fewer_pins_than_claims";
  } else if (group.page == PAGE_PINNED_LARGE && living.size() > 1) {
    // One claimant takes up to a pin for each page of the folio: their number
    // says nothing of how many claimants are left.
    result.certainty = Certainty::kOneOf;
    result.reason = "large_folio";
  } else if (group.page == PAGE_PINNED_LOOSE) {
    result.certainty = Certainty::kProbable;
    result.reason = "many_references";
  } else if (std::any_of(living.begin(), living.end(),
                         [&](const Claim& c) { return IsOutdated(c, gaps); })) {
    result.certainty = Certainty::kProbable;
    result.reason = "claims_lost";
  } else {
    result.certainty =
        living.size() == 1 ? Certainty::kHeld : Certainty::kShared;
  }
  return result;
}

// Pins outlive the process that took them where it passed on what holds them,
// such as a ring. But who has ended maps no memory.
Attribution AttributeToEnded(const std::vector<Claim>& ended,
                             const PinGroup& group, const ClaimGaps& gaps) {
  if (ended.empty()) return {.reason = "no_claim"};
  if (group.anon && group.mapped) return {.reason = "page_reused"};
  if (std::any_of(ended.begin(), ended.end(),
                  [&](const Claim& c) { return IsOutdated(c, gaps); }))
    return {.reason = "claims_lost"};
  return {.certainty = Certainty::kProbable,
          .reason = "claimant_ended",
          .owners = OwnersOf(ended)};
}

}  // namespace

Attribution Attribute(const PinGroup& group,
                      const std::function<OwnerState(uint32_t)>& state_of,
                      const ClaimGaps& gaps, int64_t now_ns) {
  std::vector<Claim> living, ended;
  for (const Claim& claim : group.claims) {
    const OwnerState state = state_of(claim.owner);
    if (state == OwnerState::kUnknown) return {.reason = "owner_unknown"};
    if (state == OwnerState::kAlive)
      living.push_back(claim);
    else if (claim.long_term)
      ended.push_back(claim);
  }
  const auto is_past = [&](const Claim& claim) {
    return !claim.long_term && claim.made_ns < now_ns - kShortTermNs;
  };
  if (!std::all_of(living.begin(), living.end(), is_past))
    std::erase_if(living, is_past);
  if (!living.empty()) return AttributeToLiving(living, group, gaps);
  return AttributeToEnded(ended, group, gaps);
}

}  // namespace pinwatch
