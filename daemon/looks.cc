// SPDX-License-Identifier: Apache-2.0
#include "daemon/looks.h"

#include <algorithm>

#include "daemon/packed.h"

namespace pinwatch {

template <typename Archive, Of<census_cell> T>
void Fields(Archive& archive, T& cell) {
  auto& [pages, large_pin_refs, exact_pin_refs, loose_pin_refs] = cell;
  archive(pages, large_pin_refs, exact_pin_refs, loose_pin_refs);
}

template <typename Archive, Of<ZoneLook> T>
void Fields(Archive& archive, T& look) {
  auto& [nid, zone, cells] = look;
  archive(nid, zone, cells.all());
}

template <typename Archive, Of<Claim> T>
void Fields(Archive& archive, T& claim) {
  auto& [owner, long_term, made_ns, exact] = claim;
  archive(owner, long_term, made_ns, exact);
}

template <typename Archive, Of<AgedPages> T>
void Fields(Archive& archive, T& aged) {
  auto& [made_ns, pages] = aged;
  archive(made_ns, pages);
}

template <typename Archive, Of<UnclaimedFolio> T>
void Fields(Archive& archive, T& folio) {
  auto& [pfn, nr_pages, pins] = folio;
  archive(pfn, nr_pages, pins);
}

template <typename Archive, Of<PinGroup> T>
void Fields(Archive& archive, T& group) {
  auto& [nid, zone, page, anon, mapped, cma, pins_a_page, claims, ages, pins,
         unclaimed, huge_ranges] = group;
  archive(nid, zone, page, anon, mapped, cma, pins_a_page, claims, ages, pins,
          unclaimed, huge_ranges);
}

template <typename Archive, Of<ListedPage> T>
void Fields(Archive& archive, T& listed) {
  auto& [pfn, head_pfn, nr_pages, page, refcount, pins, anon, mapped, cma,
         claims] = listed;
  archive(pfn, head_pfn, nr_pages, page, refcount, pins, anon, mapped, cma,
          claims);
}

template <typename Archive, Of<BlockLook> T>
void Fields(Archive& archive, T& look) {
  auto& [block_id, time, status, zones, pins, lists_pages, listed, steps,
         cpu_ns] = look;
  archive(time, block_id, status, zones, pins, lists_pages, listed, steps,
          cpu_ns);
}

namespace {

void Subtract(const census_cell& part, census_cell& from) {
  for (int c = 0; c < NR_PAGE_CLASSES; ++c) from.pages[c] -= part.pages[c];
  from.large_pin_refs -= part.large_pin_refs;
  from.exact_pin_refs -= part.exact_pin_refs;
  from.loose_pin_refs -= part.loose_pin_refs;
}

std::pair<int64_t, int64_t> InOrder(const BlockLook& look) {
  return {look.time.monotonic_ns, look.time.realtime_ns};
}

// How long short-term pins have lasted is told by the look.
bool FoundTheSame(const BlockLook& before, const BlockLook& look) {
  return before.pins == look.pins &&
         std::ranges::none_of(look.pins, [](const PinGroup& group) {
           return std::ranges::any_of(group.claims, [](const Claim& claim) {
             return !claim.long_term;
           });
         });
}

}  // namespace

void Looks::SetBlocks(Nids nid_of) {
  nid_of_ = std::move(nid_of);
  orders_.clear();
  for (auto look = looks_.begin(); look != looks_.end();) {
    if (nid_of_.count(look->first)) {
      ++look;
      continue;
    }
    if (with_pins_.count(look->first)) ++pins_version_;
    Remove(Unpack<BlockLook>(look->second));
    look = looks_.erase(look);
  }
  for (const auto& [id, nid] : nid_of_) {
    if (const auto time = TimeOf(id))
      orders_[nid].seen.emplace(time->monotonic_ns, id);
    else
      orders_[nid].unseen.insert(id);
  }
}

void Looks::Set(const BlockLook& look) {
  const uint64_t id = look.block_id;
  const std::optional<BlockLook> old = Find(id);
  if (const auto block = nid_of_.find(id); block != nid_of_.end()) {
    Order& order = orders_[block->second];
    if (old) order.seen.erase({old->time.monotonic_ns, id});
    order.unseen.erase(id);
    order.seen.emplace(look.time.monotonic_ns, id);
  }
  if (old ? !FoundTheSame(*old, look) : !look.pins.empty()) ++pins_version_;
  if (old) Remove(*old);
  Add(look);
  looks_.insert_or_assign(id, Pack(look));
}

std::optional<BlockLook> Looks::Find(uint64_t block_id) const {
  const auto look = looks_.find(block_id);
  if (look == looks_.end()) return std::nullopt;
  return Unpack<BlockLook>(look->second);
}

// The time stands first.
std::optional<Timestamp> Looks::TimeOf(uint64_t block_id) const {
  const auto look = looks_.find(block_id);
  if (look == looks_.end()) return std::nullopt;
  return Unpack<Timestamp>(look->second);
}

void Looks::Add(const BlockLook& look) {
  if (!look.pins.empty()) with_pins_.insert(look.block_id);
  for (const ZoneLook& zone : look.zones) {
    ZoneTotals& total = totals_[{zone.nid, zone.zone}];
    for (const auto& [migratetype, cell] : zone.cells)
      pinwatch::Add(cell, total.cells.at(migratetype));
    total.times.insert(InOrder(look));
  }
}

void Looks::Remove(const BlockLook& look) {
  with_pins_.erase(look.block_id);
  for (const ZoneLook& zone : look.zones) {
    const auto total = totals_.find({zone.nid, zone.zone});
    for (const auto& [migratetype, cell] : zone.cells)
      Subtract(cell, total->second.cells.at(migratetype));
    total->second.times.erase(total->second.times.find(InOrder(look)));
    if (total->second.times.empty()) totals_.erase(total);
  }
}

void Looks::Order::AppendUnseenSince(
    int64_t monotonic_ns, std::vector<std::pair<int64_t, uint64_t>>& to) const {
  for (const uint64_t id : unseen) to.emplace_back(INT64_MIN, id);
  to.insert(to.end(), seen.begin(), seen.lower_bound({monotonic_ns, 0}));
}

std::vector<uint64_t> Looks::UnseenSince(int64_t monotonic_ns) const {
  std::vector<std::pair<int64_t, uint64_t>> unseen;
  for (const auto& [nid, order] : orders_)
    order.AppendUnseenSince(monotonic_ns, unseen);
  std::sort(unseen.begin(), unseen.end());
  std::vector<uint64_t> ids;
  for (const auto& [time, id] : unseen) ids.push_back(id);
  return ids;
}

std::optional<uint64_t> Looks::LongestUnseen() const {
  std::optional<std::pair<int64_t, uint64_t>> longest;
  const auto offer = [&](std::pair<int64_t, uint64_t> block) {
    longest = std::min(longest.value_or(block), block);
  };
  for (const auto& [nid, order] : orders_) {
    if (!order.unseen.empty()) offer({INT64_MIN, *order.unseen.begin()});
    if (!order.seen.empty()) offer(*order.seen.begin());
  }
  if (!longest) return std::nullopt;
  return longest->second;
}

}  // namespace pinwatch
