// SPDX-License-Identifier: Apache-2.0
#include "daemon/aggregator.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/blocking.h"
#include "daemon/contention.h"
#include "daemon/memory_devices.h"
#include "daemon/offline_plan.h"

namespace pinwatch {
namespace {

// Of x86-64; the kernel numbers memory in sections.
constexpr uint64_t kSectionBytes = 128 << 20;
constexpr uint64_t kPageBytes = 4096;

constexpr size_t kAttemptsKept = 128;

constexpr size_t kBlockersKept = 16;

// Tells an attempt from all others: only one is under way at a time.
std::pair<uint64_t, int64_t> KeyOf(const HotplugAttempt& attempt) {
  return {attempt.section_nr, attempt.begin.monotonic_ns};
}

using StepTimes = std::array<int64_t, NR_HOTPLUG_STEPS>;

// All of its time is of an unknown step where the kernel's are not followed.
StepTimes TimesOf(const HotplugAttempt& attempt) {
  if (attempt.step != HOTPLUG_STEP_UNKNOWN) return attempt.step_ns;
  StepTimes times{};
  times[HOTPLUG_STEP_UNKNOWN] = attempt.duration_ns;
  return times;
}

// Of `count` references, which are `own` of `all` candidates of a node, how
// many must be pins if `room` of all candidates are: those that the other
// candidates cannot account for.
uint64_t Guaranteed(uint64_t room, uint64_t all, uint64_t own) {
  const uint64_t others = all - own;
  return std::min(own, room > others ? room - others : 0);
}

// The pins of a cell's large folios. Their pincount is exact: if a node has
// more than its counter says, some have gone since the look, and only a cell
// that must have kept all of its own is sure.
PinCount ConfirmLarge(const census_cell& cell, uint64_t room, uint64_t all) {
  if (Guaranteed(room, all, cell.large_pin_refs) < cell.large_pin_refs)
    return {};
  return {cell.pages[PAGE_PINNED_LARGE], cell.large_pin_refs};
}

// The pins of a cell's pages of order 0. Each reference that is not guaranteed
// may be all that makes one page look pinned.
PinCount ConfirmExact(const census_cell& cell, uint64_t room, uint64_t all) {
  const uint64_t sure = Guaranteed(room, all, cell.exact_pin_refs);
  const uint64_t unsure = cell.exact_pin_refs - sure;
  const uint64_t pages = cell.pages[PAGE_PINNED_EXACT];
  return {pages > unsure ? pages - unsure : 0, sure};
}

PinCount Candidates(const census_cell& cell) {
  return {cell.pages[PAGE_PINNED_LARGE] + cell.pages[PAGE_PINNED_EXACT] +
              cell.pages[PAGE_PINNED_LOOSE],
          cell.large_pin_refs + cell.exact_pin_refs + cell.loose_pin_refs};
}

PinCount operator+(const PinCount& a, const PinCount& b) {
  return {a.pages + b.pages, a.references + b.references};
}

PinCount operator-(const PinCount& a, const PinCount& b) {
  return {a.pages - b.pages, a.references - b.references};
}

// Splits what reads as pins into confirmed and possible. The confirmed of a
// node never exceed its counter, and where that is zero nothing is pinned.
void AssignPins(const census_cell& cell, uint64_t all_large, uint64_t all_exact,
                std::optional<uint64_t> outstanding, MigratetypePages& out) {
  if (outstanding == 0u) return;
  if (outstanding) {
    const uint64_t room =
        *outstanding > all_large ? *outstanding - all_large : 0;
    out.confirmed = ConfirmLarge(cell, *outstanding, all_large) +
                    ConfirmExact(cell, room, all_exact);
  } else {
    out.confirmed = {cell.pages[PAGE_PINNED_LARGE], cell.large_pin_refs};
  }
  out.possible = Candidates(cell) - out.confirmed;
}

// Folios without a claim that are kept of all looks: 1.5 MiB.
constexpr size_t kMaxUnclaimed = 65'536;

std::vector<UnclaimedFolio> UnclaimedOf(const BlockLook& look) {
  std::vector<UnclaimedFolio> folios;
  for (const PinGroup& group : look.pins)
    folios.insert(folios.end(), group.unclaimed.begin(), group.unclaimed.end());
  std::ranges::sort(folios, {}, &UnclaimedFolio::pfn);
  return folios;
}

constexpr ClaimGaps kAllOfTime = {.long_term_ns = INT64_MAX,
                                  .short_term_ns = INT64_MAX};

// Counts one under its name.
template <typename Names, typename Counts>
void CountOf(std::string_view name, const Names& names, Counts& counts) {
  const auto at = std::ranges::find(names, name);
  if (at != std::end(names)) ++counts[at - std::begin(names)];
}

std::vector<Process> ProcessesOf(const std::vector<uint32_t>& owners,
                                 const OwnerBook& book) {
  std::vector<Process> processes;
  for (const uint32_t id : owners) {
    const std::optional<PinOwner> owner = book.Find(id);
    if (!owner) continue;
    const Process& process = owner->process;
    // One process may own pins of several call sites.
    if (std::ranges::none_of(processes, [&](const Process& other) {
          return other.pid == process.pid &&
                 other.start_boottime_ns == process.start_boottime_ns;
        }))
      processes.push_back(process);
  }
  return processes;
}

// The kind of pins by who holds them.
const char* PinnedHow(const std::vector<uint32_t>& owners,
                      const OwnerBook& book) {
  size_t long_term = 0;
  for (const uint32_t id : owners) {
    const std::optional<bool> is_long_term = book.IsLongTerm(id);
    if (!is_long_term) return "pinned";
    long_term += *is_long_term;
  }
  if (owners.empty()) return "pinned";
  if (long_term == owners.size()) return "pinned_long_term";
  return long_term == 0 ? "pinned_short_term" : "pinned";
}

// What a page that holds struct pages says of itself.
bool MayBeStructPages(const std::string& why) {
  return why == kWhysPagesStay[STAYS_KERNEL_MEMORY] ||
         why == kWhysPagesStay[STAYS_RESERVED];
}

bool IsSearchable(const BlockingPage& page) {
  return page.why == "plain_reference";
}

bool IsOfUnknownHolder(const BlockingPage& page) {
  return page.pins && page.owners.empty();
}

// Facts that rest on hooks.
constexpr const char* kHookedFacts[] = {"claims", "contig_ranges", "hotplug",
                                        "migrations", "references"};

bool IsOf(const Process& process, const StoppedHolder& holder) {
  if (holder.pid) return process.pid == *holder.pid;
  if (!holder.unit.empty()) return process.unit == holder.unit;
  return process.cgroup == holder.cgroup ||
         process.cgroup.starts_with(holder.cgroup + "/");
}

// An attempt to take a block offline may last for ever: until it succeeds, what
// stands in the block is there, pins above all.
bool HasPages(const MemoryBlock& block) {
  return block.state == "online" || block.state == "going-offline";
}

}  // namespace

Aggregator::Aggregator(HostInfo host, KernelNames names,
                       std::vector<Fact> facts, Timestamp started,
                       PinRules pin_rules)
    : host_(std::move(host)),
      names_(std::move(names)),
      facts_(std::move(facts)),
      started_(started),
      pin_rules_(pin_rules),
      verdicts_(MovesLongTermPins()),
      growth_watch_(pin_rules.suspect_after_ns) {}

void Aggregator::SetZones(std::vector<Zone> zones) {
  zones_ = std::move(zones);
  std::stable_sort(zones_.begin(), zones_.end(),
                   [](const Zone& a, const Zone& b) { return a.nid < b.nid; });
}

void Aggregator::SetBlocks(MemoryBlocks blocks) {
  blocks_ = std::move(blocks);
  Looks::Nids online;
  std::map<std::tuple<int, std::string, std::string>, uint64_t> counts;
  for (const MemoryBlock& block : blocks_.blocks) {
    if (HasPages(block)) online.emplace(block.id, block.nid);
    ++counts[{block.nid, block.zone, block.state}];
  }
  for (const uint64_t id : looks_.with_pins())
    if (!online.count(id)) unclaimed_ -= UnclaimedOf(*looks_.Find(id)).size();
  looks_.SetBlocks(std::move(online));
  verdicts_.SetBlocks(blocks_.blocks);
  block_counts_.clear();
  for (const auto& [key, blocks] : counts)
    block_counts_.push_back(
        {std::get<0>(key), std::get<1>(key), std::get<2>(key), blocks});
}

void Aggregator::UpdateBlock(const MemoryBlock& block) {
  const auto known =
      std::ranges::find(blocks_.blocks, block.id, &MemoryBlock::id);
  if (known == blocks_.blocks.end() ||
      (known->state == block.state && known->zone == block.zone))
    return;
  known->state = block.state;
  known->zone = block.zone;
  SetBlocks(std::move(blocks_));
}

void Aggregator::SetNodeCounters(
    Timestamp time, const std::vector<NodeCounterReading>& readings) {
  for (const NodeCounterReading& reading : readings) {
    const auto [it, is_new] = nodes_.try_emplace(reading.nid);
    NodeState& node = it->second;
    if (is_new || node.reading.acquired != reading.acquired ||
        node.reading.released != reading.released)
      node.unchanged_since = time;
    node.reading = reading;
    node.last_read = time;
  }
}

void Aggregator::ForgetNodeCounters() { nodes_.clear(); }

void Aggregator::AddLook(BlockLook look) {
  ++totals_.blocks_looked;
  totals_.blocks_absent += look.status == CENSUS_ABSENT;
  totals_.blocks_changed += look.status == CENSUS_CHANGED;
  totals_.steps += look.steps;
  totals_.cpu_ns += look.cpu_ns;
  for (const ZoneLook& zone : look.zones)
    for (const auto& [migratetype, cell] : zone.cells)
      for (uint64_t pages : cell.pages) totals_.pages += pages;
  NoteUnclaimed(look);
  NoteBlockers(look);
  KeepVerdict(look);
  looks_.Set(look);
}

BlockEvidence Aggregator::EvidenceIn(
    const BlockLook& look, const HoldingRules& rules,
    const std::function<bool(uint32_t)>& is_stopped) const {
  return EvidenceOf(look, rules, memmap_.OwnPages(look.block_id), is_stopped);
}

void Aggregator::NameStructPages(BlockingPage& page) const {
  if (page.page != PAGE_KERNEL && page.page != PAGE_RESERVED) return;
  if (!page.why.empty() && !MayBeStructPages(page.why)) return;
  page.struct_pages_of = memmap_.BlockOf(page.pfn);
  if (page.struct_pages_of && !page.why.empty())
    page.why = kWhysPagesStay[STAYS_VMEMMAP];
}

std::pair<uint64_t, uint64_t> Aggregator::block_span() const {
  uint64_t first = 0, last = 0;
  for (const MemoryBlock& block : blocks_.blocks) {
    first = last ? std::min(first, block.id) : block.id;
    last = std::max(last, block.id + 1);
  }
  return {first, last};
}

void Aggregator::KeepVerdict(const BlockLook& look) {
  unsettled_.erase(look.block_id);
  if (look.status != CENSUS_OK)
    return verdicts_.SetEvidence(look.block_id, std::nullopt);
  verdicts_.SetEvidence(look.block_id, EvidenceIn(look, Rules(look.time)));
  for (const PinGroup& group : look.pins)
    for (const Claim& claim : group.claims)
      if (!owner_book_.Has(claim.owner)) unsettled_.insert(look.block_id);
}

void Aggregator::SettleVerdicts() {
  for (const uint64_t id : std::exchange(unsettled_, {}))
    if (const auto look = looks_.Find(id)) KeepVerdict(*look);
}

// Keeps of the look what holders are inferred for, as far as there is room. A
// folio that had no pin meanwhile may be another's by the next look.
void Aggregator::NoteUnclaimed(BlockLook& look) {
  const auto keep_none = [&] {
    for (PinGroup& group : look.pins) group.unclaimed.clear();
  };
  if (!pin_rules_.infer_holders) return keep_none();
  std::vector<UnclaimedFolio> folios = UnclaimedOf(look);
  std::vector<UnclaimedFolio> before;
  if (const auto known = looks_.Find(look.block_id))
    before = UnclaimedOf(*known);
  unclaimed_ -= before.size();
  if (unclaimed_ + folios.size() > kMaxUnclaimed) {
    folios.clear();
    keep_none();
  }
  unclaimed_ += folios.size();
  if (folios == before) return;
  unclaimed_changed_ = true;
  ++inference_version_;
  for (const UnclaimedFolio& folio : before)
    if (!std::ranges::binary_search(folios, folio.pfn, {},
                                    &UnclaimedFolio::pfn)) {
      inference_.mapped_by.erase(folio.pfn);
      inference_.charged_to.erase(folio.pfn);
    }
}

std::optional<std::vector<UnclaimedFolio>> Aggregator::TakeUnclaimed() {
  if (!std::exchange(unclaimed_changed_, false)) return std::nullopt;
  std::vector<UnclaimedFolio> folios;
  for (const uint64_t id : looks_.with_pins())
    std::ranges::copy(UnclaimedOf(*looks_.Find(id)),
                      std::back_inserter(folios));
  return folios;
}

uint64_t Aggregator::CountUnsearched() const {
  uint64_t pages = 0;
  for (const uint64_t id : looks_.with_pins()) {
    const std::optional<BlockLook> look = looks_.Find(id);
    for (const PinGroup& group : look->pins) {
      if (!group.claims.empty()) continue;
      pages += group.pins.pages;
      for (const UnclaimedFolio& folio : group.unclaimed)
        pages -= folio.nr_pages;
    }
  }
  return pages;
}

void Aggregator::SetInference(Inference inference) {
  inference_ = std::move(inference);
  ++inference_version_;
  ++inference_totals_.searches;
  inference_totals_.pages_read += inference_.pages_read;
  inference_totals_.candidates = inference_.candidates.size();
  inference_totals_.pages_left_out = inference_.pages_left_out;
  inference_totals_.processes_left_out = inference_.processes_left_out;
}

void Aggregator::SetCandidateEnded(size_t candidate) {
  inference_.candidates[candidate].holder.process.ended = true;
  ++inference_version_;
  unclaimed_changed_ = true;
}

std::vector<OwnerReading> Aggregator::SetClaims(Timestamp time,
                                                ClaimReading reading) {
  const ClaimTotals& now = reading.totals;
  const uint64_t short_term_losses =
      now.short_term_skipped + now.lost_busy + now.lost_owners;
  if (!claims_) gaps_ = reading.gaps_at_start;
  if (now.lost_long_term > gaps_.long_term_losses)
    gaps_.long_term_ns = time.monotonic_ns;
  const bool misses_doors = !reading.doors_not_followed.empty();
  if (misses_doors_ && !misses_doors) gaps_.long_term_ns = time.monotonic_ns;
  misses_doors_ = misses_doors;
  if (short_term_losses > gaps_.short_term_losses)
    gaps_.short_term_ns = time.monotonic_ns;
  gaps_.long_term_losses = now.lost_long_term;
  gaps_.short_term_losses = short_term_losses;
  claims_ = now;
  for (const LandedPages& landed : reading.landed) {
    const MemoryBlock* block = FindBlockOf(landed.start_pfn);
    const bool is_known = block && block->nid >= 0 && block->zone != "none";
    (is_known ? landed_[{block->nid, block->zone}] : landed_elsewhere_) +=
        landed.pages;
  }
  unlanded_ = reading.unlanded;
  call_book_.Add(std::move(reading.calls));
  return owner_book_.Update(std::move(reading.owners));
}

// A zone that is gone keeps its count, or that would go backwards.
std::vector<PinLanding> Aggregator::Landings() const {
  std::vector<PinLanding> landings;
  std::map<std::pair<int, std::string>, uint64_t> rest = landed_;
  for (const Zone& zone : zones_) {
    const auto landed = rest.extract({zone.nid, zone.name});
    landings.push_back({.nid = zone.nid,
                        .zone = zone.name,
                        .pages = landed ? landed.mapped() : 0});
  }
  for (const auto& [zone, pages] : rest)
    landings.push_back(
        {.nid = zone.first, .zone = zone.second, .pages = pages});
  landings.push_back({.pages = landed_elsewhere_ + unlanded_});
  return landings;
}

bool Aggregator::IsRetrying(const MovingCall& call, Timestamp now) const {
  const int64_t ns = now.monotonic_ns - call.begin.monotonic_ns;
  return call.rounds > pin_rules_.retry_rounds ||
         (call.rounds > 1 && ns > pin_rules_.retry_after_ns);
}

void Aggregator::NoteHolder(const BlockLook& look, BlockingPage& page) const {
  if (look.status == CENSUS_OK) NoteHolder(HeldPagesOf(look), page);
}

void Aggregator::SetPinRetries(std::vector<PinRetry> retries) {
  std::ranges::sort(retries, {}, [](const PinRetry& retry) {
    return std::pair(retry.process.pid, retry.begin.monotonic_ns);
  });
  pin_retries_ = std::move(retries);
}

ClaimGaps Aggregator::claim_gaps() const {
  ClaimGaps gaps = gaps_;
  if (misses_doors_) gaps.long_term_ns = INT64_MAX;
  return gaps;
}

void Aggregator::SetPaused(std::optional<Timestamp> since, Timestamp now) {
  if (paused_since_ && !since) {
    paused_ns_ += now.monotonic_ns - paused_since_->monotonic_ns;
    gaps_.long_term_ns = now.monotonic_ns;
    gaps_.short_term_ns = now.monotonic_ns;
  }
  paused_since_ = since;
  growth_watch_.Clear();
}

std::vector<uint64_t> Aggregator::BlocksOfAttempts() const {
  std::set<uint64_t> blocks;
  for (const HotplugAttempt& attempt : hotplug_.running)
    if (attempt.operation == "offline") blocks.insert(attempt.block_id);
  for (const HotplugAttempt& attempt : ended_attempts_)
    if (NeedsLook(attempt)) blocks.insert(attempt.block_id);
  return {blocks.begin(), blocks.end()};
}

uint64_t Aggregator::block_pages() const {
  return blocks_.block_size_bytes / kPageBytes;
}

const MemoryBlock* Aggregator::FindBlock(uint64_t block_id) const {
  const auto block =
      std::ranges::lower_bound(blocks_.blocks, block_id, {}, &MemoryBlock::id);
  return block == blocks_.blocks.end() || block->id != block_id ? nullptr
                                                                : &*block;
}

const MemoryBlock* Aggregator::FindBlockOf(uint64_t pfn) const {
  return block_pages() ? FindBlock(pfn / block_pages()) : nullptr;
}

bool Aggregator::CanBeLookedAt(uint64_t block_id) const {
  return looks_.HasPages(block_id);
}

bool Aggregator::IsLookedAtSince(const HotplugAttempt& attempt) const {
  const std::optional<BlockLook> look = looks_.Find(attempt.block_id);
  // What is not online will not be looked at.
  return !look || (look->lists_pages &&
                   look->time.monotonic_ns >=
                       attempt.begin.monotonic_ns + attempt.duration_ns);
}

// Whether a look at the block could still tell what stood in its way, or whose
// that is.
bool Aggregator::NeedsLook(const HotplugAttempt& attempt) const {
  return attempt.operation == "offline" && attempt.error != 0 &&
         !attempt.of_earlier_daemon && IsAboutPages(attempt.reason) &&
         !IsLookedAtSince(attempt) &&
         (attempt.blockers.empty() ||
          std::ranges::any_of(attempt.blockers, &IsOfUnknownHolder));
}

// Of the pages that the kernel met, the census knows who holds them.
void Aggregator::NoteHolder(const std::vector<BlockingPage>& found,
                            BlockingPage& page) const {
  const auto same = std::ranges::find_if(found, [&](const auto& other) {
    return other.pfn <= page.pfn && page.pfn < other.pfn + other.nr_pages;
  });
  if (same == found.end()) return;
  if (IsSearchable(page) && same->reference_holders)
    page.reference_holders = same->reference_holders;
  if (IsSearchable(page) && same->taken_by) page.taken_by = same->taken_by;
  if (!page.pins || same->owners.empty()) return;
  page.certainty = same->certainty;
  page.owners = same->owners;
  page.holders = same->holders;
  page.why = PinnedHow(page.owners, owner_book_);
}

void Aggregator::NoteHolders(const std::vector<BlockingPage>& found,
                             HotplugAttempt& attempt) const {
  for (BlockingPage& page : attempt.blockers)
    if (!page.why.empty()) NoteHolder(found, page);
}

// Without the block's own struct pages, which go with it.
std::vector<BlockingPage> Aggregator::BlockersIn(
    const BlockLook& look, const HoldingRules& rules) const {
  std::vector<BlockingPage> blockers = BlockersOf(look, rules);
  std::ranges::for_each(blockers,
                        [this](BlockingPage& page) { NameStructPages(page); });
  const uint64_t own_end =
      look.block_id * block_pages() + memmap_.OwnPages(look.block_id);
  std::erase_if(blockers, [&](const BlockingPage& page) {
    return page.struct_pages_of == look.block_id && page.pfn < own_end;
  });
  return blockers;
}

std::vector<BlockingPage> Aggregator::HeldPagesOf(const BlockLook& look) const {
  std::vector<BlockingPage> found = BlockersIn(look, Rules(look.time));
  for (BlockingPage& page : found)
    page.holders = ProcessesOf(page.owners, owner_book_);
  return found;
}

void Aggregator::NoteBlockers(const BlockLook& look) {
  if (!look.lists_pages) return;
  std::vector<HotplugAttempt*> running, ended;
  for (HotplugAttempt& attempt : hotplug_.running)
    if (attempt.operation == "offline" && attempt.block_id == look.block_id)
      running.push_back(&attempt);
  for (HotplugAttempt& attempt : ended_attempts_)
    if (attempt.block_id == look.block_id && NeedsLook(attempt))
      ended.push_back(&attempt);
  if (running.empty() && ended.empty()) return;

  const std::vector<BlockingPage> found = HeldPagesOf(look);
  const auto note = [&](std::vector<BlockingPage>& blockers) {
    for (const BlockingPage& page : found) {
      const auto known =
          std::find_if(blockers.begin(), blockers.end(),
                       [&](auto& other) { return other.pfn == page.pfn; });
      if (known != blockers.end())
        *known = page;
      else if (blockers.size() < kBlockersKept)
        blockers.push_back(page);
    }
  };
  for (HotplugAttempt* attempt : running) {
    note(blockers_[KeyOf(*attempt)]);
    NoteHolders(found, *attempt);
  }
  for (HotplugAttempt* attempt : ended) {
    NoteHolders(found, *attempt);
    if (attempt->blockers.empty()) note(attempt->blockers);
    history_changed_ = true;
  }
}

// What the census found while the attempt ran, where the kernel met nothing.
void Aggregator::TakeBlockers(HotplugAttempt& attempt) const {
  const auto noted = blockers_.find(KeyOf(attempt));
  if (noted != blockers_.end() && attempt.blockers.empty())
    attempt.blockers = noted->second;
}

std::vector<uint64_t> Aggregator::UnsearchedReferences() const {
  std::set<uint64_t> pfns;
  const auto add = [&](const HotplugAttempt& attempt) {
    if (attempt.of_earlier_daemon) return;
    for (const BlockingPage& page : attempt.blockers)
      if (IsSearchable(page) && !page.reference_holders) pfns.insert(page.pfn);
  };
  std::ranges::for_each(hotplug_.running, add);
  std::ranges::for_each(ended_attempts_, add);
  for (const MigrationFailure& failure : migrations_.failures())
    if (IsSearchable(failure.page) && !failure.page.reference_holders)
      pfns.insert(failure.page.pfn);
  return {pfns.begin(), pfns.end()};
}

void Aggregator::SetReferenceHolders(const std::vector<uint64_t>& searched,
                                     const FoundReferences& found) {
  const auto set_page = [&](BlockingPage& page) {
    if (!IsSearchable(page) || page.reference_holders ||
        std::ranges::find(searched, page.pfn) == searched.end())
      return;
    page.reference_holders.emplace();
    for (const auto& [pfn, holder] : found.in_pipes)
      if (pfn == page.pfn) page.reference_holders->push_back(holder);
    if (const auto taken = found.taken_by.find(page.pfn);
        taken != found.taken_by.end() && page.reference_holders->empty())
      page.taken_by = taken->second;
  };
  const auto set = [&](HotplugAttempt& attempt) {
    if (!attempt.of_earlier_daemon)
      std::ranges::for_each(attempt.blockers, set_page);
  };
  std::ranges::for_each(hotplug_.running, set);
  std::ranges::for_each(ended_attempts_, set);
  migrations_.ForEachPage(set_page);
  history_changed_ = true;
}

void Aggregator::SetHistory(std::vector<HotplugAttempt> attempts) {
  ended_attempts_.insert(ended_attempts_.end(),
                         std::make_move_iterator(attempts.begin()),
                         std::make_move_iterator(attempts.end()));
  if (ended_attempts_.size() > kAttemptsKept)
    ended_attempts_.resize(kAttemptsKept);
  // The oldest is the last of them.
  last_attempt_id_ = static_cast<uint32_t>(ended_attempts_.size());
  uint32_t id = last_attempt_id_;
  for (HotplugAttempt& attempt : ended_attempts_) attempt.id = id--;
}

std::optional<std::vector<HotplugAttempt>> Aggregator::TakeChangedHistory() {
  if (!std::exchange(history_changed_, false)) return std::nullopt;
  return std::vector<HotplugAttempt>(ended_attempts_.begin(),
                                     ended_attempts_.end());
}

void Aggregator::CountFailure(const HotplugAttempt& attempt) {
  if (attempt.operation != "offline" || attempt.error == 0) return;
  CountOf(attempt.reason, kOfflineReasons, offline_failures_.by_reason);
  for (const BlockingPage& page : attempt.blockers)
    CountOf(page.pins ? "pinned" : page.why, kWhysPagesStay,
            offline_failures_.pages_by_why);
  offline_failures_.blockers_lost += attempt.blockers_lost;
}

// Adds what the attempt has spent since it was last read: one whose story is
// lost at its end has counted until then.
void Aggregator::CountTime(const HotplugAttempt& attempt,
                           const HotplugAttempt* before) {
  if (attempt.operation != "offline") return;
  const StepTimes now = TimesOf(attempt);
  const StepTimes then = before ? TimesOf(*before) : StepTimes{};
  for (size_t step = 0; step < now.size(); ++step)
    offline_step_ns_[step] += std::max<int64_t>(0, now[step] - then[step]);
}

void Aggregator::SetMigrations(MigrationReading reading) {
  if (reading.contig_ranges)
    for (ContigAttempt& attempt : reading.contig_ranges->recent)
      if (attempt.blocker_pfn && MayBeStructPages(attempt.blocker_why) &&
          memmap_.BlockOf(*attempt.blocker_pfn))
        attempt.blocker_why = kWhysPagesStay[STAYS_VMEMMAP];
  migrations_.Set(std::move(reading), [this](MigrationFailure& failure) {
    const MemoryBlock* block = FindBlockOf(failure.page.pfn);
    if (!block) return;
    failure.nid = block->nid;
    failure.zone = block->zone;
  });
}

std::vector<uint64_t> Aggregator::PagesOfUnknownHolder(size_t most) const {
  std::vector<uint64_t> pfns;
  for (const HotplugAttempt& attempt : hotplug_.running)
    for (const BlockingPage& page : attempt.blockers)
      if (IsOfUnknownHolder(page) && pfns.size() < most)
        pfns.push_back(page.pfn);
  std::ranges::copy(migrations_.Unlooked(most - pfns.size()),
                    std::back_inserter(pfns));
  return pfns;
}

std::vector<BlockingPage*> Aggregator::UnchargedPages() {
  std::vector<BlockingPage*> pages;
  for (auto& [attempt, noted] : blockers_)
    for (BlockingPage& page : noted)
      if (!page.cgroup) pages.push_back(&page);
  return pages;
}

void Aggregator::SetPageLook(uint64_t pfn,
                             const std::optional<BlockLook>& look) {
  std::vector<BlockingPage> found;
  if (look && look->status == CENSUS_OK) found = HeldPagesOf(*look);
  for (HotplugAttempt& attempt : hotplug_.running)
    for (BlockingPage& page : attempt.blockers)
      if (page.pfn == pfn) NoteHolder(found, page);
  migrations_.Look(pfn, [&](BlockingPage& page) { NoteHolder(found, page); });
}

void Aggregator::AddHotplug(HotplugReading reading) {
  const auto number = [&](HotplugAttempt& attempt) {
    if (blocks_.block_size_bytes)
      attempt.block_id =
          attempt.section_nr * kSectionBytes / blocks_.block_size_bytes;
  };
  // Where the kernel's memory did not tell, as when it may not be read.
  const auto place = [&](HotplugAttempt& attempt) {
    const MemoryBlock* block = FindBlock(attempt.block_id);
    if (!block) return;
    if (attempt.nid < 0) attempt.nid = block->nid;
    if (attempt.zone.empty() && attempt.operation == "offline" &&
        HasPages(*block))
      attempt.zone = block->zone;
  };
  // Goes on from what was known of it: its id, the time that was counted, and
  // who held the pages in the way when the census last came by.
  const auto follow = [&](HotplugAttempt& attempt) {
    const auto before =
        std::ranges::find(hotplug_.running, KeyOf(attempt), &KeyOf);
    const bool is_new = before == hotplug_.running.end();
    attempt.id = is_new ? ++last_attempt_id_ : before->id;
    if (!is_new) NoteHolders(before->blockers, attempt);
    CountTime(attempt, is_new ? nullptr : &*before);
  };
  const auto name = [this](HotplugAttempt& attempt) {
    for (BlockingPage& page : attempt.blockers) NameStructPages(page);
  };
  for (HotplugAttempt& attempt : reading.ended) {
    number(attempt);
    place(attempt);
    name(attempt);
    follow(attempt);
    attempt.reason = WhyItEnded(attempt);
    CountFailure(attempt);
    // What stood in the way of one that succeeded in the end is gone.
    if (attempt.error == 0)
      attempt.blockers.clear();
    else if (IsAboutPages(attempt.reason))
      TakeBlockers(attempt);
    if (attempt.operation == "offline" && attempt.error != 0)
      last_offline_failure_ = {
          attempt.begin.realtime_ns + attempt.duration_ns,
          attempt.begin.monotonic_ns + attempt.duration_ns};
    ended_attempts_.push_front(std::move(attempt));
    history_changed_ = true;
  }
  reading.ended.clear();
  if (ended_attempts_.size() > kAttemptsKept)
    ended_attempts_.resize(kAttemptsKept);
  // Those that run began after those that have ended.
  for (HotplugAttempt& attempt : reading.running) {
    number(attempt);
    place(attempt);
    name(attempt);
    follow(attempt);
  }
  hotplug_ = std::move(reading);
  std::erase_if(blockers_, [&](const auto& noted) {
    return std::none_of(hotplug_.running.begin(), hotplug_.running.end(),
                        [&](const HotplugAttempt& attempt) {
                          return noted.first == KeyOf(attempt);
                        });
  });
}

void Aggregator::SetCollector(Collector collector) {
  collectors_.insert_or_assign(collector.name, std::move(collector));
}

std::vector<int> Aggregator::nids() const {
  std::set<int> nids;
  for (const Zone& zone : zones_) nids.insert(zone.nid);
  return {nids.begin(), nids.end()};
}

// Looks at blocks of the node, -1 where that is not known, that are older than
// this may no longer tell the pins.
int64_t Aggregator::StaleBefore(int nid) const {
  int64_t before = INT64_MIN;
  for (const auto& [number, node] : nodes_)
    if (nid == -1 || nid == number)
      before = std::max(before, node.unchanged_since.monotonic_ns);
  return before;
}

std::vector<uint64_t> Aggregator::StaleBlocks() const {
  std::vector<std::pair<int64_t, uint64_t>> stale;
  for (const auto& [nid, order] : looks_.orders())
    order.AppendUnseenSince(StaleBefore(nid), stale);
  std::vector<uint64_t> ids;
  for (const auto& [time, id] : stale) ids.push_back(id);
  std::sort(ids.begin(), ids.end());
  return ids;
}

bool Aggregator::IsCurrent(int nid) const {
  const auto node = nodes_.find(nid);
  if (node == nodes_.end() || !node->second.reading.exact) return false;
  return std::all_of(looks_.orders().begin(), looks_.orders().end(),
                     [&](const auto& blocks) {
                       const auto& [of, order] = blocks;
                       if (of != -1 && of != nid) return true;
                       if (!order.unseen.empty()) return false;
                       return order.seen.empty() ||
                              (order.seen.begin()->first >= StaleBefore(of) &&
                               order.seen.rbegin()->first <=
                                   node->second.last_read.monotonic_ns);
                     });
}

Aggregator::NodeCandidates Aggregator::CandidatesOf(int nid) const {
  NodeCandidates all;
  for (const auto& [key, zone] : looks_.totals()) {
    if (key.first != nid) continue;
    for (const census_cell& cell : zone.cells) {
      all.large += cell.large_pin_refs;
      all.exact += cell.exact_pin_refs;
    }
  }
  return all;
}

// No memory block has these pages, so no look reaches them.
std::optional<uint64_t> Aggregator::DevicePagesOf(int nid) const {
  constexpr char kDevice[] = "Device";
  if (std::find(names_.zones.begin(), names_.zones.end(), kDevice) ==
      names_.zones.end())
    return std::nullopt;
  uint64_t pages = 0;
  for (const Zone& zone : zones_)
    if (zone.nid == nid && zone.name == kDevice) pages += zone.spanned_pages;
  return pages;
}

Node Aggregator::BuildNode(int nid, Timestamp now) {
  Node node{.nid = nid, .device_pages = DevicePagesOf(nid)};
  const NodeCandidates all = CandidatesOf(nid);
  if (std::any_of(looks_.totals().begin(), looks_.totals().end(),
                  [&](auto& zone) { return zone.first.first == nid; }))
    node.census_references = all.large + all.exact;
  const auto it = nodes_.find(nid);
  if (it == nodes_.end()) return node;
  NodeState& state = it->second;
  node.acquired = state.reading.acquired;
  node.released = state.reading.released;
  node.counters_exact = state.reading.exact;
  // A counter of zero leaves pages of order 0 no reading as pins.
  if (node.census_references && node.counters_exact && node.outstanding() == 0u)
    node.census_references = all.large;
  node.census_current = node.census_references && IsCurrent(nid);
  if (node.census_current && node.outstanding()) {
    state.drift_references = static_cast<int64_t>(*node.outstanding()) -
                             static_cast<int64_t>(*node.census_references);
    state.drift_time = now;
  }
  node.drift_references = state.drift_references;
  if (state.drift_references) node.drift_time = state.drift_time;
  return node;
}

std::string Aggregator::MigratetypeName(size_t migratetype) const {
  if (migratetype < names_.migratetypes.size() &&
      !names_.migratetypes[migratetype].empty())
    return names_.migratetypes[migratetype];
  return absl::StrCat("migratetype_", migratetype);
}

std::string Aggregator::ZoneName(unsigned zone) const {
  if (zone < names_.zones.size()) return names_.zones[zone];
  return absl::StrCat("zone_", zone);
}

// What the node's counter says is pinned. A counter that lags cannot rule a
// reading out, so it says nothing.
std::optional<uint64_t> Aggregator::OutstandingOf(int nid) const {
  const auto node = nodes_.find(nid);
  if (node == nodes_.end() || !node->second.reading.exact) return std::nullopt;
  return Node{.acquired = node->second.reading.acquired,
              .released = node->second.reading.released}
      .outstanding();
}

std::vector<MigratetypePages> Aggregator::BuildMigratetypes(
    int nid, const Cells& cells) const {
  const NodeCandidates all = CandidatesOf(nid);
  const std::optional<uint64_t> outstanding = OutstandingOf(nid);
  std::vector<MigratetypePages> result;
  for (size_t m = 0; m < cells.size(); ++m) {
    const census_cell& cell = cells[m];
    const auto seen = [](uint64_t pages) { return pages > 0; };
    const bool known =
        m < names_.migratetypes.size() && !names_.migratetypes[m].empty();
    if (!known &&
        std::none_of(std::begin(cell.pages), std::end(cell.pages), seen))
      continue;
    MigratetypePages pages{.migratetype = MigratetypeName(m)};
    std::copy(std::begin(cell.pages), std::end(cell.pages),
              pages.pages.begin());
    AssignPins(cell, all.large, all.exact, outstanding, pages);
    result.push_back(std::move(pages));
  }
  return result;
}

Zone Aggregator::BuildZone(Zone zone) const {
  const auto name =
      std::find(names_.zones.begin(), names_.zones.end(), zone.name);
  const auto total = looks_.totals().find(
      {zone.nid, static_cast<unsigned>(name - names_.zones.begin())});
  if (total == looks_.totals().end()) return zone;
  zone.oldest_look = total->second.oldest_look();
  zone.migratetypes = BuildMigratetypes(zone.nid, total->second.cells);
  return zone;
}

const ClaimGaps& Aggregator::GapsNow() const {
  return paused_since_ || misses_doors_ ? kAllOfTime : gaps_;
}

HoldingRules Aggregator::Rules(Timestamp now) const {
  return {.book = owner_book_,
          .gaps = GapsNow(),
          .zone_name = [this](unsigned zone) { return ZoneName(zone); },
          .is_pinless = [this](int nid) { return OutstandingOf(nid) == 0u; },
          .overdue_ns = pin_rules_.overdue_ns,
          .now = now,
          .inference = pin_rules_.infer_holders ? &inference_ : nullptr};
}

// The change that made them move gave migrations a reason of that name.
bool Aggregator::MovesLongTermPins() const {
  return names_.migrate_reasons.empty() ||
         std::find(names_.migrate_reasons.begin(), names_.migrate_reasons.end(),
                   "longterm_pin") != names_.migrate_reasons.end();
}

HostState Aggregator::HostStateNow() const {
  return {.moves_long_term_pins = MovesLongTermPins(),
          .free_pages = verdicts_.free_pages()};
}

BlockVerdict Aggregator::JudgeBlock(
    const MemoryBlock& block, const std::optional<BlockEvidence>& evidence,
    const HostState& host, Timestamp now) const {
  BlockVerdict result{
      .block = block,
      .verdict = VerdictOf(block, evidence ? &*evidence : nullptr,
                           host.moves_long_term_pins)};
  const std::optional<Timestamp> look = looks_.TimeOf(block.id);
  int64_t age_ns = INT64_MAX;
  bool outdated = true;
  if (evidence) result.evidence = *evidence;
  if (evidence && look) {
    result.look = look;
    age_ns = now.monotonic_ns - look->monotonic_ns;
    outdated = look->monotonic_ns < StaleBefore(block.nid);
  }
  result.confidence = ConfidenceIn(result.verdict, block, result.evidence, host,
                                   age_ns, outdated);
  result.reason = ReasonFor(result.verdict, block, result.evidence, host);
  return result;
}

BlockList Aggregator::ListBlocks(const BlockQuery& query, Timestamp now) {
  SettleVerdicts();
  const HostState host = HostStateNow();
  BlockList list;
  if (query.first_id == 0)
    list.devices =
        StatesOf(blocks_, [&](uint64_t id) { return verdicts_.Find(id); });
  list.devices_hidden = blocks_.devices_hidden;
  for (const MemoryBlock& block : blocks_.blocks) {
    if (block.id < query.first_id || (query.nid && block.nid != *query.nid) ||
        (query.zone && block.zone != *query.zone) ||
        (!query.device.empty() && block.device != query.device))
      continue;
    const std::optional<BlockEvidence> evidence = verdicts_.Find(block.id);
    if (query.verdict && VerdictOf(block, evidence ? &*evidence : nullptr,
                                   host.moves_long_term_pins) != *query.verdict)
      continue;
    if (list.blocks.size() == query.limit) {
      list.more = true;
      break;
    }
    list.blocks.push_back(JudgeBlock(block, evidence, host, now));
  }
  return list;
}

OfflinePlan Aggregator::Plan(const PlanQuery& query, Timestamp now) {
  SettleVerdicts();
  const HostState host = HostStateNow();
  const HoldingRules rules = Rules(now);
  std::set<uint32_t> stopped;
  if (query.stopped)
    for (const PinOwner& owner : owner_book_.owners())
      if (IsOf(owner.process, *query.stopped)) stopped.insert(owner.id);
  PlanBasis basis{.blocks = {},
                  .block_size_bytes = blocks_.block_size_bytes,
                  .free_pages = host.free_pages};
  uint64_t stopped_pages = 0;
  for (const MemoryBlock& block : blocks_.blocks) {
    if (query.nid && block.nid != *query.nid) continue;
    std::optional<BlockEvidence> evidence = verdicts_.Find(block.id);
    if (evidence && !stopped.empty() && looks_.with_pins().count(block.id)) {
      const BlockEvidence without =
          EvidenceIn(*looks_.Find(block.id), rules,
                     [&](uint32_t id) { return stopped.count(id) > 0; });
      stopped_pages +=
          evidence->pins() - std::min(evidence->pins(), without.pins());
      evidence = without;
    }
    basis.blocks.push_back(JudgeBlock(block, evidence, host, now));
  }
  OfflinePlan plan = ChooseBlocks(std::move(basis), query.bytes);
  plan.stopped_owners = stopped.size();
  plan.stopped_pages = stopped_pages;
  NameOwners(plan, now);
  std::erase_if(plan.owners,
                [&](const PinOwner& owner) { return stopped.count(owner.id); });
  return plan;
}

// Who would have to let go in the blocks that somebody pins.
void Aggregator::NameOwners(OfflinePlan& plan, Timestamp now) const {
  Holdings all;
  const HoldingRules rules = Rules(now);
  for (PlannedBlock& block : plan.blocks) {
    if (!block.verdict.evidence.pins()) continue;
    const BlockLook look = *looks_.Find(block.verdict.block.id);
    Holdings holdings;
    AddHoldings(look, rules, holdings);
    for (const auto& [id, held] : holdings.by_owner) block.owners.push_back(id);
    AddHoldings(look, rules, all);
  }
  plan.owners = HoldersOf(all, owner_book_);
}

absl::StatusOr<BlockReport> Aggregator::Explain(uint64_t block_id,
                                                Timestamp now) const {
  const MemoryBlock* block = FindBlock(block_id);
  if (!block)
    return absl::NotFoundError(
        absl::StrCat("this host has no memory block memory", block_id,
                     "; they are listed in /sys/devices/system/memory"));
  BlockReport report{.block = *block};
  const std::optional<BlockLook> look = looks_.Find(block_id);
  std::optional<BlockEvidence> evidence;
  if (look && look->status == CENSUS_OK) {
    report.look = look->time;
    const HoldingRules rules = Rules(now);
    evidence = EvidenceIn(*look, rules);
    for (const ZoneLook& zone : look->zones) {
      Cells cells{};
      for (const auto& [migratetype, cell] : zone.cells)
        cells.at(migratetype) = cell;
      for (MigratetypePages& pages : BuildMigratetypes(zone.nid, cells))
        report.migratetypes.push_back(std::move(pages));
    }
    Holdings holdings;
    AddHoldings(*look, rules, holdings);
    report.attributions = std::move(holdings.attributions);
    report.owners = HoldersOf(holdings, owner_book_);
    report.inferred = InferredHolders(holdings, rules);
    report.blockers = BlockersIn(*look, rules);
    report.struct_pages = memmap_.In(block_id);
  }
  BlockVerdict judged = JudgeBlock(*block, evidence, HostStateNow(), now);
  report.verdict = judged.verdict;
  report.confidence = judged.confidence;
  report.reason = std::move(judged.reason);
  report.evidence = judged.evidence;
  return report;
}

absl::StatusOr<PageReport> Aggregator::ExplainPage(
    uint64_t pfn, const std::optional<BlockLook>& look, Timestamp now) const {
  const MemoryBlock* block = FindBlockOf(pfn);
  if (!block)
    return absl::NotFoundError(
        absl::StrCat("no memory block of this host has pfn ", pfn));
  PageReport report{.pfn = pfn, .block = *block};
  if (!look || look->status != CENSUS_OK || look->zones.empty()) return report;
  report.look = look->time;
  const ZoneLook& zone = look->zones.front();
  report.nid = zone.nid;
  report.zone = ZoneName(zone.zone);
  for (const auto& [migratetype, cell] : zone.cells)
    for (int c = 0; c < NR_PAGE_CLASSES; ++c)
      if (cell.pages[c]) {
        report.migratetype = MigratetypeName(migratetype);
        report.page = static_cast<page_class>(c);
      }
  if (look->listed.empty()) return report;
  const ListedPage& page = look->listed.front();
  report.refcount = page.refcount;
  report.pins = page.pins;
  if (!ReadsAsPinned(page.page)) return report;

  PinGroup group = GroupOf(page);
  group.nid = zone.nid;
  group.zone = zone.zone;
  group.pins = {.pages = 1, .references = page.pins};
  if (page.claims.empty()) group.unclaimed = {{page.pfn, 1, page.pins}};
  Holdings holdings;
  const HoldingRules rules = Rules(now);
  AddHoldings({.time = look->time, .pins = {group}}, rules, holdings);
  if (!holdings.attributions.empty())
    report.attribution = holdings.attributions.front();
  report.inferred = InferredHolders(holdings, rules);
  report.owners = HoldersOf(holdings, owner_book_);
  return report;
}

Aggregator::Basis Aggregator::BasisNow() const {
  const ClaimGaps& gaps = GapsNow();
  Basis basis{.pins_version = looks_.pins_version(),
              .owners_version = owner_book_.version(),
              .inference_version = inference_version_,
              .long_term_gap_ns = gaps.long_term_ns,
              .short_term_gap_ns = gaps.short_term_ns,
              .pinless_nids = {}};
  for (const auto& [nid, node] : nodes_)
    if (OutstandingOf(nid) == 0u) basis.pinless_nids.push_back(nid);
  return basis;
}

// A host may have many owners: mostly nothing has changed since the last time.
void Aggregator::UpdateHoldings(Timestamp now) {
  Basis basis = BasisNow();
  if (basis_ == basis && now.monotonic_ns < holdings_.valid_until_ns) return;
  basis_ = std::move(basis);
  holdings_ = {};
  const HoldingRules rules = Rules(now);
  for (const uint64_t id : looks_.with_pins())
    AddHoldings(*looks_.Find(id), rules, holdings_);
  for (const uint32_t id :
       owner_book_.SetHoldings(std::exchange(holdings_.by_owner, {})))
    growth_watch_.Update(*owner_book_.Find(id), now);
  claiming_processes_ = owner_book_.nr_holding_processes();
}

void Aggregator::UpdateGrowth(Timestamp now) {
  const auto suspects = growth_watch_.Suspects(now);
  for (const uint32_t id : std::exchange(suspects_, {}))
    if (!suspects.count(id)) owner_book_.SetGrowth(id, std::nullopt);
  for (const auto& [id, growth] : suspects) {
    owner_book_.SetGrowth(id, growth);
    suspects_.insert(id);
  }
}

void Aggregator::ForgetOwners(const std::vector<uint32_t>& ids) {
  owner_book_.Forget(ids);
  for (const uint32_t id : ids) growth_watch_.Forget(id);
}

bool Aggregator::HavePinsMovedSince(int64_t monotonic_ns) const {
  return nodes_.empty() || std::ranges::any_of(nodes_, [&](const auto& node) {
           return node.second.unchanged_since.monotonic_ns > monotonic_ns;
         });
}

Snapshot Aggregator::Build(Timestamp now) {
  SettleVerdicts();
  Snapshot snapshot{
      .generation = ++generation_,
      .time = now,
      .started = started_,
      .host = host_,
      .facts = facts_,
      .block_size_bytes = blocks_.block_size_bytes,
      .blocks = block_counts_,
      .migrations = migrations_.reading().totals,
      .migration_details = migrations_.reading().details,
      .migration_places = migrations_.Places(zones_),
      .migration_failures = migrations_.failures(),
      .migration_failures_unlisted = migrations_.reading().unlisted,
      .contig_ranges = migrations_.reading().contig_ranges,
      .high_order = high_order_,
      .census = totals_,
      .attempts = hotplug_.running,
      .attempt_counts = hotplug_.counts,
      .attempts_untold = hotplug_.untold,
      .offline_failures = offline_failures_,
      .offline_step_ns = offline_step_ns_,
      .last_offline_failure = last_offline_failure_,
      .paused_since = paused_since_,
      .paused_ns = paused_ns_,
      .verdicts = verdicts_.counts(),
      .removable = verdicts_.Removable(blocks_.block_size_bytes)};
  for (HotplugAttempt& attempt : snapshot.attempts) TakeBlockers(attempt);
  snapshot.attempts.insert(snapshot.attempts.end(), ended_attempts_.begin(),
                           ended_attempts_.end());
  std::ranges::stable_sort(snapshot.attempts, std::ranges::greater(),
                           &HotplugAttempt::id);
  FindContention(snapshot.attempts);
  for (const auto& [name, collector] : collectors_)
    snapshot.collectors.push_back(collector);
  for (int nid : nids()) snapshot.nodes.push_back(BuildNode(nid, now));
  for (const Zone& zone : zones_) snapshot.zones.push_back(BuildZone(zone));
  if (claims_) {
    UpdateHoldings(now);
    UpdateGrowth(now);
    snapshot.owners = owner_book_.owners();
    snapshot.claiming_processes = claiming_processes_;
    snapshot.attributions = holdings_.attributions;
    snapshot.pin_kinds = KindsAt(holdings_, now);
    snapshot.calls = call_book_.AddUp(owner_book_);
    snapshot.landings = Landings();
    snapshot.inferred = InferredHolders(holdings_, Rules(now));
    if (pin_rules_.infer_holders) {
      snapshot.inference = inference_totals_;
      snapshot.inference->unclaimed_left_out = CountUnsearched();
    }
    snapshot.claims = claims_;
    snapshot.pin_retries = pin_retries_;
    snapshot.governor = governor_;
  }
  if (!names_.migrate_reasons.empty())
    snapshot.moves_long_term_pins = MovesLongTermPins();
  if (paused_since_) HideHooked(snapshot);
  return snapshot;
}

// While no hook is attached counts stand still: that is no news, and no zero.
void Aggregator::HideHooked(Snapshot& snapshot) {
  for (Fact& fact : snapshot.facts) {
    if (!fact.observable ||
        std::find(std::begin(kHookedFacts), std::end(kHookedFacts),
                  fact.name) == std::end(kHookedFacts))
      continue;
    fact = {.name = fact.name,
            .reason = "pinwatchd is paused: see pinwatch resume",
            .by_choice = true};
  }
  snapshot.migrations.clear();
  snapshot.migration_details.clear();
  snapshot.migration_places.clear();
  snapshot.migration_failures.clear();
  snapshot.contig_ranges.reset();
  snapshot.attempts.clear();
  snapshot.attempt_counts.clear();
  snapshot.owners.clear();
  snapshot.attributions.clear();
  snapshot.pin_kinds.clear();
  snapshot.calls.clear();
  snapshot.landings.clear();
  snapshot.inferred.clear();
  snapshot.inference.reset();
  snapshot.claims.reset();
  snapshot.pin_retries.clear();
}

}  // namespace pinwatch
