// SPDX-License-Identifier: Apache-2.0
#include "daemon/holdings.h"

#include <algorithm>
#include <string>
#include <utility>

namespace pinwatch {
namespace {

Attribution AttributeBy(const PinGroup& group, const HoldingRules& rules) {
  return Attribute(
      group, [&](uint32_t id) { return rules.book.StateOf(id); }, rules.gaps,
      rules.now.monotonic_ns);
}

// Whether the claim is one that it goes by.
bool Has(const Attribution& who, const Claim& claim) {
  return std::find(who.owners.begin(), who.owners.end(), claim.owner) !=
         who.owners.end();
}

void Add(const PinCount& from, PinCount& to) {
  to.pages += from.pages;
  to.references += from.references;
}

void AddAttribution(const PinAttribution& part,
                    std::vector<PinAttribution>& to) {
  const auto same = std::find_if(to.begin(), to.end(), [&](auto& other) {
    return other.nid == part.nid && other.zone == part.zone &&
           other.certainty == part.certainty && other.reason == part.reason;
  });
  if (same == to.end())
    to.push_back(part);
  else
    Add(part.pins, same->pins);
}

// Who is shared with another holds it for as long as either does.
void AddKind(const PinGroup& group, const Attribution& who,
             const std::string& zone, std::vector<PinKinds>& to) {
  bool any_long = false;
  bool any_short = false;
  for (const Claim& claim : group.claims) {
    if (!Has(who, claim)) continue;
    any_long = any_long || claim.long_term;
    any_short = any_short || !claim.long_term;
  }
  const bool sure =
      who.certainty == Certainty::kHeld ||
      who.certainty == Certainty::kShared ||
      (who.certainty == Certainty::kOneOf && any_long != any_short);
  auto same = std::find_if(to.begin(), to.end(), [&](const PinKinds& other) {
    return other.nid == group.nid && other.zone == zone;
  });
  if (same == to.end())
    same = to.insert(to.end(), {.nid = group.nid, .zone = zone});
  (!sure      ? same->unknown
   : any_long ? same->long_term
              : same->short_term) += group.pins.pages;
}

void AddHolding(const PinHolding& part, std::vector<PinHolding>& to) {
  const auto same = std::find_if(to.begin(), to.end(), [&](auto& other) {
    return other.nid == part.nid && other.zone == part.zone &&
           other.certainty == part.certainty;
  });
  if (same == to.end()) {
    to.push_back(part);
    return;
  }
  Add(part.pins, same->pins);
  same->since_exact = same->since_exact && part.since_exact;
  if (part.since.monotonic_ns < same->since.monotonic_ns)
    same->since = part.since;
}

// Claims are made to the second; none is older than its owner.
Timestamp SinceOf(const Claim& claim, const HoldingRules& rules) {
  const auto owner = rules.book.owners().find(claim.owner);
  const int64_t first_ns =
      owner == rules.book.owners().end() ? 0 : owner->second.first.monotonic_ns;
  const int64_t made_ns = std::max(claim.made_ns, first_ns);
  return {
      .realtime_ns = rules.now.realtime_ns - (rules.now.monotonic_ns - made_ns),
      .monotonic_ns = made_ns};
}

bool Blocks(page_class page) {
  return page != PAGE_HUGETLB && page != PAGE_UNSTABLE && page != PAGE_OFFLINE;
}

}  // namespace

void AddHoldings(const BlockLook& look, const HoldingRules& rules,
                 Holdings& to) {
  for (const PinGroup& group : look.pins) {
    if (rules.is_pinless(group.nid)) continue;
    const Attribution who = AttributeBy(group, rules);
    const std::string zone = rules.zone_name(group.zone);
    AddAttribution({group.nid, zone, who.certainty, who.reason, group.pins},
                   to.attributions);
    AddKind(group, who, zone, to.kinds);
    for (const Claim& claim : group.claims) {
      if (!Has(who, claim)) continue;
      AddHolding({.nid = group.nid,
                  .zone = zone,
                  .certainty = who.certainty,
                  .pins = group.pins,
                  .since = SinceOf(claim, rules),
                  .since_exact = claim.exact},
                 to.by_owner[claim.owner]);
    }
  }
}

std::vector<PinOwner> OwnersWith(const Holdings& holdings,
                                 const OwnerBook& book, bool only_holders) {
  std::vector<PinOwner> owners;
  for (const auto& [id, owner] : book.owners()) {
    const auto held = holdings.by_owner.find(id);
    if (held == holdings.by_owner.end() && only_holders) continue;
    owners.push_back(owner);
    if (held != holdings.by_owner.end()) owners.back().holdings = held->second;
  }
  return owners;
}

PinGroup GroupOf(const ListedPage& page) {
  return {.page = page.page,
          .anon = page.anon,
          .mapped = page.mapped,
          .pins_a_page = page.pins,
          .claims = page.claims};
}

std::vector<BlockingPage> BlockersOf(const BlockLook& look,
                                     const HoldingRules& rules) {
  std::vector<BlockingPage> blockers;
  for (const ListedPage& page : look.listed) {
    if (!Blocks(page.page)) continue;
    BlockingPage blocker{.pfn = page.pfn,
                         .nr_pages = page.nr_pages,
                         .page = page.page,
                         .refcount = page.refcount,
                         .pins = page.pins};
    if (ReadsAsPinned(page.page)) {
      Attribution who = AttributeBy(GroupOf(page), rules);
      blocker.certainty = who.certainty;
      blocker.owners = std::move(who.owners);
    }
    blockers.push_back(std::move(blocker));
  }
  return blockers;
}

}  // namespace pinwatch
