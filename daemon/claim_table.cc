// SPDX-License-Identifier: Apache-2.0
#include "daemon/claim_table.h"

#include <algorithm>
#include <atomic>
#include <functional>
#include <numeric>

namespace pinwatch {
namespace {

constexpr int64_t kNsPerSecond = 1'000'000'000;

// A claim younger than this may have been made again under the look, with the
// same word: it is left for the next look.
constexpr int64_t kMinAgeToClearNs = 2 * kNsPerSecond;

// By then the list of memory blocks has what was added before the claim.
constexpr int64_t kForgetAfterNs = 60 * kNsPerSecond;

// Far enough from where ticks come round.
constexpr int64_t kAgeAfterNs = 128 * kNsPerSecond;

// From then on a tick may be of this round or of the one before.
constexpr int64_t kTooLateNs =
    PINWATCH_TICKS * kNsPerSecond - kAgeAfterNs - 2 * kNsPerSecond;

// Folios without a claim that a group of pages lists.
constexpr size_t kMaxUnclaimed = 16'384;

// Of a look, so many pages are listed, those that may be pinned first.
constexpr size_t kListedPages = 16;

uint32_t OwnerOf(uint32_t word) { return word >> PINWATCH_TICK_BITS; }

uint32_t TickOf(uint32_t word) {
  return word & ((1u << PINWATCH_TICK_BITS) - 1);
}

uint32_t WordOf(const ClaimRun& run) {
  return static_cast<uint32_t>(run.first.owner) << PINWATCH_TICK_BITS |
         run.second.tick;
}

std::array<uint64_t, 4> IdentityOf(const ClaimRun& run) {
  return {run.first.pfn, run.first.owner, run.second.nr_pages, run.second.tick};
}

template <typename T>
T Read(T& slot) {
  return std::atomic_ref<T>(slot).load(std::memory_order_relaxed);
}

// Unless a BPF program has written there meanwhile.
template <typename T>
void Replace(T& slot, T expected, T desired) {
  std::atomic_ref<T>(slot).compare_exchange_strong(expected, desired);
}

// Most memory has no claims: what has none leaves `to` empty. Each word is read
// whole, whoever writes to it meanwhile.
template <typename T>
void CopyUnlessEmpty(const T* from, size_t size, std::vector<T>& to) {
  if (std::reduce(from, from + size, T{0}, std::bit_or<>()))
    to.assign(from, from + size);
}

page_class ClassOf(const census_page& page) {
  return static_cast<page_class>(page.page_class);
}

// Of what else is held no claim is worth anything, but none is proved wrong.
bool KeepsClaims(page_class page) {
  return ReadsAsPinned(page) || page == PAGE_BIASED || page == PAGE_UNSTABLE;
}

void AddAge(const AgedPages& part, std::vector<AgedPages>& to) {
  const auto same = std::find_if(
      to.begin(), to.end(),
      [&](const AgedPages& other) { return other.made_ns == part.made_ns; });
  if (same == to.end())
    to.push_back(part);
  else
    same->pages += part.pages;
}

// Pages come by pfn.
void AddToGroups(PinGroup page, std::vector<PinGroup>& groups) {
  const auto same_owners = [](const Claim& a, const Claim& b) {
    return a.owner == b.owner && a.long_term == b.long_term;
  };
  const auto group = std::find_if(groups.begin(), groups.end(), [&](auto& g) {
    return g.nid == page.nid && g.zone == page.zone && g.page == page.page &&
           g.anon == page.anon && g.mapped == page.mapped &&
           g.cma == page.cma && g.pins_a_page == page.pins_a_page &&
           std::equal(g.claims.begin(), g.claims.end(), page.claims.begin(),
                      page.claims.end(), same_owners);
  });
  if (group == groups.end()) {
    for (const Claim& claim : page.claims)
      page.ages.push_back({{claim.made_ns, page.pins.pages}});
    groups.push_back(std::move(page));
    return;
  }
  for (const uint64_t range : page.huge_ranges)
    if (group->huge_ranges.empty() || group->huge_ranges.back() != range)
      group->huge_ranges.push_back(range);
  group->pins.pages += page.pins.pages;
  group->pins.references += page.pins.references;
  if (group->unclaimed.size() < kMaxUnclaimed)
    group->unclaimed.insert(group->unclaimed.end(), page.unclaimed.begin(),
                            page.unclaimed.end());
  for (size_t i = 0; i < group->claims.size(); ++i) {
    Claim& oldest = group->claims[i];
    oldest.made_ns = std::min(oldest.made_ns, page.claims[i].made_ns);
    oldest.exact = oldest.exact && page.claims[i].exact;
    AddAge({page.claims[i].made_ns, page.pins.pages}, group->ages[i]);
  }
}

void AddToList(const census_page& page, const std::vector<Claim>& claims,
               std::vector<ListedPage>& listed) {
  if (listed.size() >= kListedPages) {
    // One that may be pinned takes the place of the last that may not.
    if (!ReadsAsPinned(ClassOf(page))) return;
    const auto other = std::find_if(
        listed.rbegin(), listed.rend(),
        [&](const ListedPage& l) { return !ReadsAsPinned(l.page); });
    if (other == listed.rend()) return;
    listed.erase(std::next(other).base());
  }
  listed.push_back({.pfn = page.pfn,
                    .head_pfn = page.head_pfn,
                    .nr_pages = page.nr_pages,
                    .page = ClassOf(page),
                    .refcount = page.refcount,
                    .pins = static_cast<uint64_t>(page.pins),
                    .anon = (page.flags & CENSUS_PAGE_ANON) != 0,
                    .mapped = (page.flags & CENSUS_PAGE_MAPPED) != 0,
                    .cma = (page.flags & CENSUS_PAGE_CMA) != 0,
                    .claims = claims});
}

}  // namespace

uint32_t TickAt(int64_t now_ns) {
  return 1 + now_ns / kNsPerSecond % PINWATCH_TICKS;
}

void ClaimTable::AddChunk(uint64_t section, claim_chunk* chunk) {
  chunks_[section] = chunk;
}

void ClaimTable::SetRuns(std::vector<ClaimRun> runs) {
  runs_ = std::move(runs);
  std::sort(runs_.begin(), runs_.end(),
            [](const ClaimRun& a, const ClaimRun& b) {
              return a.first.pfn < b.first.pfn;
            });
  std::map<std::array<uint64_t, 4>, uint64_t> still;
  for (const ClaimRun& run : runs_)
    if (auto known = settled_pfns_.extract(IdentityOf(run)))
      still.insert(std::move(known));
  settled_pfns_ = std::move(still);
}

std::vector<ClaimRun> ClaimTable::TakeDeadRuns() {
  return std::exchange(dead_runs_, {});
}

std::vector<ClaimRun> ClaimTable::TakeAgedRuns() {
  return std::exchange(aged_runs_, {});
}

// When a claim with that tick was made, of tick 0 at the latest. A tick of the
// second that has just begun is not one of a round ago.
int64_t ClaimTable::MadeNs(uint32_t tick, int64_t now_ns) const {
  if (tick == 0) return long_ago_ns_;
  if (tick > PINWATCH_TICKS)
    return vintages_->MadeNs(tick - PINWATCH_TICKS - 1);
  const int64_t now_s = now_ns / kNsPerSecond;
  int64_t age_s =
      (int64_t{TickAt(now_ns)} - tick + PINWATCH_TICKS) % PINWATCH_TICKS;
  if (age_s == PINWATCH_TICKS - 1) age_s = 0;
  return (now_s - age_s) * kNsPerSecond;
}

bool ClaimTable::IsOld(uint32_t word, int64_t now_ns, int64_t age_ns) const {
  return MadeNs(TickOf(word), now_ns) <= now_ns - age_ns;
}

void ClaimTable::AddClaim(uint32_t word, bool long_term, int64_t now_ns,
                          std::vector<Claim>& claims) const {
  if (OwnerOf(word) == 0) return;
  const Claim claim{.owner = OwnerOf(word),
                    .long_term = long_term,
                    .made_ns = MadeNs(TickOf(word), now_ns),
                    .exact = TickOf(word) != 0};
  const auto same = std::find_if(claims.begin(), claims.end(), [&](auto& c) {
    return c.owner == claim.owner;
  });
  if (same == claims.end()) {
    claims.push_back(claim);
  } else if (claim.made_ns < same->made_ns) {
    same->made_ns = claim.made_ns;
    same->exact = claim.exact;
  }
}

// Pins are by folio and claims are by page: whichever of its pages lie in the
// run, those of all are asked. Of a folio of several runs that is done once.
const std::vector<Claim>& ClaimTable::ClaimsOn(const census_page& page,
                                               int64_t now_ns) {
  const uint64_t nr_pages = uint64_t{1} << page.order;
  if (nr_pages <= PINWATCH_CENSUS_PAGES || !folio_ ||
      folio_->first != page.head_pfn)
    folio_.emplace(page.head_pfn, ClaimsOf(page.head_pfn, nr_pages, now_ns));
  return folio_->second;
}

std::vector<Claim> ClaimTable::ClaimsOf(uint64_t pfn, uint64_t nr_pages,
                                        int64_t now_ns) const {
  std::vector<Claim> claims;
  const uint64_t end_pfn = pfn + nr_pages;
  for (uint64_t p = pfn; p < end_pfn;) {
    const uint64_t section = p / PINWATCH_CHUNK_PAGES;
    const uint64_t end =
        std::min(end_pfn, (section + 1) * PINWATCH_CHUNK_PAGES);
    const auto chunk = chunks_.find(section);
    // Neighbours mostly have the same claim.
    uint32_t last = 0;
    for (; p < end; ++p) {
      const uint32_t word =
          chunk == chunks_.end()
              ? 0
              : Read(chunk->second->claim[p % PINWATCH_CHUNK_PAGES]);
      if (word != last) AddClaim(word, true, now_ns, claims);
      last = word;
      if (!short_claims_) continue;
      const uint64_t slot = Read(short_claims_[p % PINWATCH_SHORT_CLAIMS]);
      if (slot >> 32 == p / PINWATCH_SHORT_CLAIMS)
        AddClaim(static_cast<uint32_t>(slot), false, now_ns, claims);
    }
  }
  // No run is longer than what is claimed at once.
  const uint64_t first = pfn < PINWATCH_PIN_BULK ? 0 : pfn - PINWATCH_PIN_BULK;
  for (auto entry = std::lower_bound(
           runs_.begin(), runs_.end(), first,
           [](const ClaimRun&r, uint64_t p) { return r.first.pfn < p; });
       entry != runs_.end() && entry->first.pfn < end_pfn; ++entry)
    if (pfn < entry->first.pfn + entry->second.nr_pages)
      AddClaim(WordOf(*entry), true, now_ns, claims);
  std::sort(claims.begin(), claims.end(),
            [](const Claim& a, const Claim& b) { return a.owner < b.owner; });
  return claims;
}

void ClaimTable::BeginLook(uint64_t start_pfn, uint64_t end_pfn) {
  const uint64_t nr_pages = end_pfn - start_pfn;
  before_.start_pfn = start_pfn;
  before_.nr_pages = nr_pages;
  const auto chunk = chunks_.find(start_pfn / PINWATCH_CHUNK_PAGES);
  before_.long_term.clear();
  if (chunk != chunks_.end())
    CopyUnlessEmpty(chunk->second->claim + start_pfn % PINWATCH_CHUNK_PAGES,
                    nr_pages, before_.long_term);
  before_.short_term.clear();
  if (short_claims_)
    CopyUnlessEmpty(short_claims_ + start_pfn % PINWATCH_SHORT_CLAIMS, nr_pages,
                    before_.short_term);
}

void ClaimTable::FinishLook(uint64_t end_pfn,
                            std::span<const census_page> pages,
                            const census_result& result, int64_t now_ns,
                            bool list_pages, BlockLook& look) {
  std::vector<bool> kept(before_.nr_pages);
  for (const census_page& page : pages) {
    const bool large = page.flags & CENSUS_PAGE_LARGE;
    std::vector<Claim> claims;
    if (KeepsClaims(ClassOf(page)))
      for (uint64_t p = page.pfn; p < page.pfn + page.nr_pages; ++p)
        if (p - before_.start_pfn < kept.size())
          kept[p - before_.start_pfn] = true;
    if (ReadsAsPinned(ClassOf(page))) {
      claims = ClaimsOn(page, now_ns);
      const bool counts = !large || page.head_pfn == page.pfn;
      std::vector<uint64_t> huge_ranges;
      if (!large || uint64_t{1} << page.order < kHugePages)
        huge_ranges = {page.pfn / kHugePages};
      std::vector<UnclaimedFolio> unclaimed;
      if (claims.empty())
        unclaimed = {{.pfn = page.pfn,
                      .nr_pages = page.nr_pages,
                      .pins = counts ? static_cast<uint64_t>(page.pins) : 0}};
      AddToGroups(
          {.nid = static_cast<int>(result.nid),
           .zone = result.zone,
           .page = ClassOf(page),
           .anon = (page.flags & CENSUS_PAGE_ANON) != 0,
           .mapped = (page.flags & CENSUS_PAGE_MAPPED) != 0,
           .cma = (page.flags & CENSUS_PAGE_CMA) != 0,
           .pins_a_page = std::min<uint64_t>(page.pins, claims.size() + 1),
           .claims = claims,
           .pins = {page.nr_pages,
                    counts ? static_cast<uint64_t>(page.pins) : 0},
           .unclaimed = std::move(unclaimed),
           .huge_ranges = std::move(huge_ranges)},
          look.pins);
    }
    if (list_pages) AddToList(page, claims, look.listed);
  }
  ClearBelow(end_pfn, kept, now_ns);
  SettleRuns(end_pfn, kept, now_ns);
}

void ClaimTable::ClearBelow(uint64_t end_pfn, const std::vector<bool>& kept,
                            int64_t now_ns) {
  const uint64_t start_pfn = before_.start_pfn;
  const uint64_t nr_pages =
      std::min<uint64_t>(end_pfn - start_pfn, kept.size());
  for (uint64_t i = 0; !before_.long_term.empty() && i < nr_pages; ++i) {
    const uint32_t claim = before_.long_term[i];
    if (!claim || kept[i] || !IsOld(claim, now_ns, kMinAgeToClearNs)) continue;
    claim_chunk* chunk = chunks_.at(start_pfn / PINWATCH_CHUNK_PAGES);
    Replace(chunk->claim[(start_pfn + i) % PINWATCH_CHUNK_PAGES], claim, 0u);
  }
  for (uint64_t i = 0; !before_.short_term.empty() && i < nr_pages; ++i) {
    const uint64_t pfn = start_pfn + i;
    const uint64_t slot = before_.short_term[i];
    if (!slot || kept[i] || slot >> 32 != pfn / PINWATCH_SHORT_CLAIMS) continue;
    if (IsOld(static_cast<uint32_t>(slot), now_ns, kMinAgeToClearNs))
      Replace<uint64_t>(short_claims_[pfn % PINWATCH_SHORT_CLAIMS], slot, 0);
  }
}

// Gives the claims of runs room in a chunk where there is some by now, and puts
// an end to runs whose pages were all found without a pin.
void ClaimTable::SettleRuns(uint64_t end_pfn, const std::vector<bool>& kept,
                            int64_t now_ns) {
  const uint64_t start_pfn = before_.start_pfn;
  std::erase_if(runs_, [&](const ClaimRun& run) {
    const uint64_t first = run.first.pfn;
    const uint64_t end = first + run.second.nr_pages;
    const uint64_t start_here = std::max(first, start_pfn);
    const uint64_t end_here = std::min(end, end_pfn);
    if (start_here >= end_here) return false;
    if (!IsOld(WordOf(run), now_ns, kMinAgeToClearNs)) return false;
    const auto known = settled_pfns_.find(IdentityOf(run));
    const uint64_t settled =
        known == settled_pfns_.end() ? first : known->second;
    const bool is_settled = Settle(run, start_here, end_here, kept);
    if (is_settled && start_here <= settled && end_here == end) {
      if (known != settled_pfns_.end()) settled_pfns_.erase(known);
      dead_runs_.push_back(run);
      return true;
    }
    if (!is_settled)
      settled_pfns_.erase(IdentityOf(run));
    else if (start_here <= settled)
      settled_pfns_[IdentityOf(run)] = std::max(settled, end_here);
    return false;
  });
}

// Whether the run is of no more use for its pages [start_pfn, end_pfn).
bool ClaimTable::Settle(const ClaimRun& run, uint64_t start_pfn,
                        uint64_t end_pfn, const std::vector<bool>& kept) {
  bool is_settled = true;
  for (uint64_t pfn = start_pfn; pfn < end_pfn; ++pfn) {
    if (!kept[pfn - before_.start_pfn]) continue;
    const auto chunk = chunks_.find(pfn / PINWATCH_CHUNK_PAGES);
    if (chunk == chunks_.end()) {
      is_settled = false;
      continue;
    }
    uint32_t& slot = chunk->second->claim[pfn % PINWATCH_CHUNK_PAGES];
    Replace(slot, 0u, WordOf(run));
    if (OwnerOf(Read(slot)) != run.first.owner) is_settled = false;
  }
  return is_settled;
}

void ClaimTable::ForgetOutside(
    const std::function<bool(uint64_t pfn)>& is_looked_at, int64_t now_ns) {
  for (const auto& [section, chunk] : chunks_) {
    if (is_looked_at(section * PINWATCH_CHUNK_PAGES)) continue;
    for (uint32_t& slot : chunk->claim) {
      const uint32_t word = Read(slot);
      if (word && IsOld(word, now_ns, kForgetAfterNs)) Replace(slot, word, 0u);
    }
  }
  std::erase_if(runs_, [&](const ClaimRun& run) {
    const uint64_t last = run.first.pfn + run.second.nr_pages - 1;
    if (is_looked_at(run.first.pfn) || is_looked_at(last) ||
        !IsOld(WordOf(run), now_ns, kForgetAfterNs))
      return false;
    dead_runs_.push_back(run);
    return true;
  });
}

void ClaimTable::Age(int64_t now_ns) {
  const bool late = aged_ns_ && now_ns - aged_ns_ > kTooLateNs;
  aged_ns_ = now_ns;
  if (late) long_ago_ns_ = now_ns;
  vintages_->BeginWalk(now_ns);
  // By tick, once asked for.
  std::array<uint32_t, PINWATCH_TICKS + 1> numbers{};
  const auto aged = [&](uint32_t word) {
    const uint32_t tick = TickOf(word);
    uint32_t now = tick;
    if (tick > PINWATCH_TICKS) {
      now = PINWATCH_TICKS + 1 + vintages_->Renew(tick - PINWATCH_TICKS - 1);
    } else if (late) {
      now = 0;
    } else if (tick && IsOld(word, now_ns, kAgeAfterNs)) {
      if (!numbers[tick])
        numbers[tick] =
            PINWATCH_TICKS + 1 + vintages_->NumberFor(MadeNs(tick, now_ns));
      now = numbers[tick];
    }
    return OwnerOf(word) << PINWATCH_TICK_BITS | now;
  };
  for (const auto& [section, chunk] : chunks_)
    for (uint32_t& slot : chunk->claim)
      if (const uint32_t word = Read(slot))
        if (const uint32_t now = aged(word); now != word)
          Replace(slot, word, now);
  for (const ClaimRun& run : runs_) {
    const uint32_t word = aged(WordOf(run));
    if (word == WordOf(run)) continue;
    aged_runs_.push_back(run);
    aged_runs_.back().second.tick = TickOf(word);
  }
  vintages_->EndWalk();
  // A short-term claim that old is of no use to anyone.
  for (size_t i = 0; short_claims_ && i < PINWATCH_SHORT_CLAIMS; ++i) {
    const uint64_t slot = Read(short_claims_[i]);
    if (slot &&
        (late || IsOld(static_cast<uint32_t>(slot), now_ns, kAgeAfterNs)))
      Replace<uint64_t>(short_claims_[i], slot, 0);
  }
}

void ClaimTable::TakeOver(int64_t aged_ns, int64_t long_ago_ns,
                          int64_t now_ns) {
  aged_ns_ = aged_ns;
  long_ago_ns_ = long_ago_ns;
  Age(now_ns);
}

std::vector<bool> ClaimTable::OwnersWithClaims() const {
  std::vector<bool> owners(PINWATCH_MAX_OWNERS + 1);
  const auto mark = [&](uint64_t owner) {
    if (owner < owners.size()) owners[owner] = true;
  };
  for (const auto& [section, chunk] : chunks_)
    for (uint32_t& slot : chunk->claim) mark(OwnerOf(Read(slot)));
  for (const auto& [key, run] : runs_) mark(key.owner);
  for (size_t i = 0; short_claims_ && i < PINWATCH_SHORT_CLAIMS; ++i)
    mark(OwnerOf(static_cast<uint32_t>(Read(short_claims_[i]))));
  return owners;
}

}  // namespace pinwatch
