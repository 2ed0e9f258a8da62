// SPDX-License-Identifier: Apache-2.0
#include "daemon/holdings.h"

#include <algorithm>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

namespace pinwatch {
namespace {

// What the ages of pins are counted to, the claims' uncertainty taken off: they
// are made to the second, those for short by a clock that may lag another.
constexpr int64_t kSecondNs = 1'000'000'000;

int64_t LongTermUntil(Timestamp now) { return now.monotonic_ns - kSecondNs; }

// Whether a short-term pin has lasted after the look is anybody's guess.
int64_t ShortTermUntil(const BlockLook& look) {
  return look.time.monotonic_ns - 2 * kSecondNs;
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

// Pages of the group that were claimed before `made_ns` by the claimant at that
// place.
uint64_t ClaimedBefore(const PinGroup& group, size_t claimant,
                       int64_t made_ns) {
  uint64_t pages = 0;
  for (const AgedPages& part : group.ages.at(claimant))
    if (part.made_ns < made_ns) pages += part.pages;
  return pages;
}

// The place of the claim that holds the pages, of several the first one made;
// claims that are meant for long go before others.
size_t FirstHolder(const PinGroup& group, const Attribution& who) {
  size_t first = group.claims.size();
  for (size_t i = 0; i < group.claims.size(); ++i) {
    const Claim& claim = group.claims[i];
    if (!Has(who, claim)) continue;
    if (first == group.claims.size() ||
        std::tuple(!claim.long_term, claim.made_ns) <
            std::tuple(!group.claims[first].long_term,
                       group.claims[first].made_ns))
      first = i;
  }
  return first;
}

void AddAges(const PinGroup& group, size_t holder, int64_t now_ns,
             std::array<uint64_t, kNrPinAges>& to) {
  for (size_t i = 0; i < kNrPinAges; ++i)
    to[i] += ClaimedBefore(group, holder, now_ns - kPinAges[i].ns);
}

// Ranges of one look: each counts once for whom it counts, at the first of the
// places that have pages there.
class RangesOf {
 public:
  void Add(size_t whom, size_t place, const std::vector<uint64_t>& ranges) {
    auto& places = by_whom_[whom];
    for (const uint64_t range : ranges) places.emplace_back(range, place);
  }
  // With whom and place of each.
  template <typename Count>
  void ForEach(const Count& count) {
    for (auto& [whom, places] : by_whom_) {
      std::sort(places.begin(), places.end());
      std::optional<uint64_t> last;
      for (const auto& [range, place] : places)
        if (std::exchange(last, range) != range) count(whom, place);
    }
  }

 private:
  std::map<size_t, std::vector<std::pair<uint64_t, size_t>>> by_whom_;
};

// Who is shared with another holds it for as long as either does. The result is
// the place among the kinds.
size_t AddKind(const PinGroup& group, const Attribution& who,
               const std::string& zone, int64_t short_term_until_ns,
               Holdings& holdings) {
  std::vector<PinKinds>& to = holdings.kinds;
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
  holdings.long_term_made.resize(to.size());
  const auto place = static_cast<size_t>(same - to.begin());
  auto& made = holdings.long_term_made[place];
  (!sure      ? same->unknown
   : any_long ? same->long_term
              : same->short_term) += group.pins.pages;
  if (!sure) return place;
  const size_t holder = FirstHolder(group, who);
  if (any_long)
    for (const AgedPages& part : group.ages.at(holder))
      made[part.made_ns] += part.pages;
  else
    AddAges(group, holder, short_term_until_ns, same->short_term_older);
  if (any_long && group.cma) same->long_term_in_cma += group.pins.pages;
  return place;
}

// The result is its place.
size_t AddHolding(const PinHolding& part, std::vector<PinHolding>& to) {
  const auto same = std::find_if(to.begin(), to.end(), [&](auto& other) {
    return other.nid == part.nid && other.zone == part.zone &&
           other.cma == part.cma && other.certainty == part.certainty;
  });
  if (same == to.end()) {
    to.push_back(part);
    return to.size() - 1;
  }
  Add(part.pins, same->pins);
  same->overdue_pages += part.overdue_pages;
  same->since_exact = same->since_exact && part.since_exact;
  if (part.since.monotonic_ns < same->since.monotonic_ns)
    same->since = part.since;
  return static_cast<size_t>(same - to.begin());
}

void AddInferredPages(const InferredPages& part,
                      std::vector<InferredPages>& to) {
  const auto same = std::find_if(to.begin(), to.end(), [&](auto& other) {
    return other.nid == part.nid && other.zone == part.zone &&
           other.alone == part.alone;
  });
  if (same == to.end())
    to.push_back(part);
  else
    Add(part.pins, same->pins);
}

// Pages without a claim: each is attributed once, by what was found of its
// folio. Those beyond the bound of the look were not searched for.
void AddUnclaimed(const PinGroup& group, const std::string& zone,
                  const Inference& inference, Holdings& to) {
  PinCount rest = group.pins;
  for (const UnclaimedFolio& folio : group.unclaimed) {
    const PinCount pins{folio.nr_pages, folio.pins};
    const InferredAttribution who = inference.Attribute(folio.pfn);
    AddAttribution({group.nid, zone, who.certainty, who.reason, pins},
                   to.attributions);
    for (const size_t candidate : who.candidates)
      AddInferredPages({group.nid, zone, who.candidates.size() == 1, pins},
                       to.by_candidate[candidate]);
    rest.pages -= pins.pages;
    rest.references -= pins.references;
  }
  if (rest.pages)
    AddAttribution(
        {group.nid, zone, Certainty::kUnattributed, "not_searched", rest},
        to.attributions);
}

// Claims are made to the second; none is older than its owner, nor younger than
// that one's last call.
Timestamp SinceOf(const Claim& claim, const HoldingRules& rules) {
  const std::optional<OwnerSpan> owner = rules.book.SpanOf(claim.owner);
  int64_t made_ns = claim.made_ns;
  if (owner) {
    if (!claim.exact) made_ns = std::min(made_ns, owner->last.monotonic_ns);
    made_ns = std::max(made_ns, owner->first.monotonic_ns);
  }
  return {
      .realtime_ns = rules.now.realtime_ns - (rules.now.monotonic_ns - made_ns),
      .monotonic_ns = made_ns};
}

bool Blocks(page_class page) {
  return page != PAGE_HUGETLB && page != PAGE_UNSTABLE && page != PAGE_OFFLINE;
}

}  // namespace

Attribution AttributeBy(const PinGroup& group, const HoldingRules& rules) {
  return Attribute(
      group, [&](uint32_t id) { return rules.book.StateOf(id); }, rules.gaps,
      rules.now.monotonic_ns);
}

void AddHoldings(const BlockLook& look, const HoldingRules& rules,
                 Holdings& to) {
  const int64_t short_term_until_ns = ShortTermUntil(look);
  RangesOf of_kinds;
  RangesOf of_owners;
  for (const PinGroup& group : look.pins) {
    if (rules.is_pinless(group.nid)) continue;
    const Attribution who = AttributeBy(group, rules);
    const std::string zone = rules.zone_name(group.zone);
    if (rules.inference && group.claims.empty())
      AddUnclaimed(group, zone, *rules.inference, to);
    else
      AddAttribution({group.nid, zone, who.certainty, who.reason, group.pins},
                     to.attributions);
    const size_t kind = AddKind(group, who, zone, short_term_until_ns, to);
    of_kinds.Add(kind, kind, group.huge_ranges);
    for (size_t i = 0; i < group.claims.size(); ++i) {
      const Claim& claim = group.claims[i];
      const int64_t past_ns = claim.made_ns + kShortTermNs + 1;
      if (!claim.long_term && past_ns > rules.now.monotonic_ns)
        to.valid_until_ns = std::min(to.valid_until_ns, past_ns);
      if (!Has(who, claim)) continue;
      const bool alone = who.certainty == Certainty::kHeld;
      const size_t place = AddHolding(
          {.nid = group.nid,
           .zone = zone,
           .cma = group.cma,
           .certainty = who.certainty,
           .pins = group.pins,
           .since = SinceOf(claim, rules),
           .since_exact = claim.exact,
           .overdue_pages =
               alone && !claim.long_term
                   ? ClaimedBefore(group, i,
                                   short_term_until_ns - rules.overdue_ns)
                   : 0},
          to.by_owner[claim.owner]);
      of_owners.Add(claim.owner, place, group.huge_ranges);
    }
  }
  of_kinds.ForEach(
      [&](size_t, size_t place) { ++to.kinds[place].huge_ranges; });
  of_owners.ForEach([&](size_t owner, size_t place) {
    ++to.by_owner[static_cast<uint32_t>(owner)][place].huge_ranges;
  });
}

std::vector<PinKinds> KindsAt(const Holdings& holdings, Timestamp now) {
  std::vector<PinKinds> kinds = holdings.kinds;
  for (size_t k = 0; k < kinds.size(); ++k)
    for (const auto& [made_ns, pages] : holdings.long_term_made[k])
      for (size_t i = 0; i < kNrPinAges; ++i)
        if (made_ns < LongTermUntil(now) - kPinAges[i].ns)
          kinds[k].long_term_older[i] += pages;
  return kinds;
}

std::vector<PinOwner> HoldersOf(const Holdings& holdings,
                                const OwnerBook& book) {
  std::vector<PinOwner> owners;
  for (const auto& [id, held] : holdings.by_owner) {
    std::optional<PinOwner> owner = book.Find(id);
    if (!owner) continue;
    owners.push_back(*std::move(owner));
    owners.back().holdings = held;
    owners.back().growth.reset();
  }
  return owners;
}

std::vector<InferredHolder> InferredHolders(const Holdings& holdings,
                                            const HoldingRules& rules) {
  std::vector<InferredHolder> holders;
  for (const auto& [candidate, pages] : holdings.by_candidate) {
    holders.push_back(rules.inference->candidates[candidate].holder);
    holders.back().pages = pages;
  }
  std::sort(holders.begin(), holders.end(),
            [](const InferredHolder& a, const InferredHolder& b) {
              return a.process.pid < b.process.pid;
            });
  return holders;
}

PinGroup GroupOf(const ListedPage& page) {
  PinGroup group{.page = page.page,
                 .anon = page.anon,
                 .mapped = page.mapped,
                 .cma = page.cma,
                 .pins_a_page = page.pins,
                 .claims = page.claims};
  for (const Claim& claim : page.claims)
    group.ages.push_back({{claim.made_ns, 1}});
  return group;
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
