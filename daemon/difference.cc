// SPDX-License-Identifier: Apache-2.0
#include "daemon/difference.h"

#include <cstring>
#include <functional>
#include <map>
#include <tuple>
#include <type_traits>
#include <utility>

#include "daemon/owner_page.h"

namespace pinwatch {
namespace {

// What tells elements of one kind apart.
auto Key(const Node& node) { return node.nid; }
auto Key(const Zone& zone) { return std::tie(zone.nid, zone.name); }
auto Key(const HotplugAttempt& attempt) {
  return std::tie(attempt.begin.monotonic_ns, attempt.tid, attempt.block_id,
                  attempt.operation);
}
auto Key(const Migrations& migrations) {
  return std::tie(migrations.reason, migrations.mode);
}
auto Key(const SubsystemCalls& calls) {
  return std::tie(calls.subsystem, calls.long_term);
}
auto Key(const PinAttribution& pins) {
  return std::tie(pins.nid, pins.zone, pins.certainty, pins.reason);
}
auto Key(const PinKinds& kinds) { return std::tie(kinds.nid, kinds.zone); }
auto Key(const BlockCount& count) {
  return std::tie(count.nid, count.zone, count.state);
}

auto Key(const VerdictCount& count) {
  return std::tie(count.nid, count.zone, count.verdict);
}
auto Key(const RemovableMemory& memory) { return memory.nid; }
auto Key(const PinRetry& retry) {
  return std::tie(retry.process.pid, retry.begin.monotonic_ns);
}

// Whether it is not worth telling that `a` has become `b`.
template <typename T>
bool IsSame(const T& a, const T& b) {
  return a == b;
}
bool IsSame(Node a, const Node& b) {
  a.drift_time = b.drift_time;
  return a == b;
}
bool IsSame(Zone a, const Zone& b) {
  a.oldest_look = b.oldest_look;
  return a == b;
}
bool IsSame(HotplugAttempt a, const HotplugAttempt& b) {
  if (b.running) a.duration_ns = b.duration_ns;
  return a == b;
}
bool IsSame(PinKinds a, const PinKinds& b) {
  a.long_term_older = b.long_term_older;
  a.short_term_older = b.short_term_older;
  return a == b;
}
bool IsSame(PinRetry a, const PinRetry& b) {
  a.rounds = b.rounds;
  if (a.page && b.page) {
    a.page->refcount = b.page->refcount;
    a.page->times_met = b.page->times_met;
    a.page->first_met = b.page->first_met;
    a.page->last_met = b.page->last_met;
  }
  return a == b;
}
bool IsSame(const Migrations& a, const Migrations& b) {
  static_assert(std::has_unique_object_representations_v<migrate_counters>);
  return !std::memcmp(&a.counters, &b.counters, sizeof(a.counters));
}

template <typename T>
auto ByKey(const std::vector<T>& elements) {
  std::map<decltype(Key(elements[0])), const T*> by_key;
  for (const T& element : elements) by_key.emplace(Key(element), &element);
  return by_key;
}

template <typename T>
std::vector<T> Changed(const std::vector<T>& from, const std::vector<T>& to) {
  const auto before = ByKey(from);
  std::vector<T> changed;
  for (const T& element : to) {
    const auto it = before.find(Key(element));
    if (it == before.end() || !IsSame(*it->second, element))
      changed.push_back(element);
  }
  return changed;
}

template <typename T>
std::vector<T> Gone(const std::vector<T>& from, const std::vector<T>& to) {
  const auto after = ByKey(to);
  std::vector<T> gone;
  for (const T& element : from)
    if (!after.count(Key(element))) gone.push_back(element);
  return gone;
}

// Changed, and with the figure set to nothing what is gone.
template <typename T, typename Figure>
std::vector<T> ChangedOrGone(const std::vector<T>& from,
                             const std::vector<T>& to, Figure T::*figure) {
  std::vector<T> changed = Changed(from, to);
  for (T& gone : Gone(from, to)) {
    gone.*figure = {};
    changed.push_back(std::move(gone));
  }
  return changed;
}

// Those of a page; it was, or is, empty where there is none.
void AddOwners(const OwnerPage* before, const OwnerPage* after,
               Difference& difference) {
  const uint32_t number = (before ? before : after)->number();
  for (uint32_t i = 0; i < OwnerPage::kOwners; ++i) {
    const uint32_t id = number * OwnerPage::kOwners + i;
    const bool was_there = before && before->Has(id);
    if (!after || !after->Has(id)) {
      if (was_there) difference.owners_gone.push_back(id);
      continue;
    }
    PinOwner owner = after->Get(id);
    if (!was_there || before->Get(id) != owner)
      difference.owners.push_back(std::move(owner));
  }
}

// Both are by id, and mostly share their pages.
void AddOwners(const OwnerList& from, const OwnerList& to,
               Difference& difference) {
  auto before = from.pages().begin();
  auto after = to.pages().begin();
  const auto number_of = [](auto page, const OwnerList& list) {
    return page == list.pages().end() ? UINT64_MAX : (*page)->number();
  };
  while (before != from.pages().end() || after != to.pages().end()) {
    const uint64_t old_number = number_of(before, from);
    const uint64_t new_number = number_of(after, to);
    const OwnerPage* old_page =
        old_number <= new_number ? (before++)->get() : nullptr;
    const OwnerPage* new_page =
        new_number <= old_number ? (after++)->get() : nullptr;
    if (old_page != new_page) AddOwners(old_page, new_page, difference);
  }
}

}  // namespace

bool Difference::empty() const {
  return nodes.empty() && zones.empty() && owners.empty() && attempts.empty() &&
         migrations.empty() && attributions.empty() && blocks.empty() &&
         pin_kinds.empty() && calls.empty() && nodes_gone.empty() &&
         owners_gone.empty() && !pause_changed && verdicts.empty() &&
         removable.empty() && pin_retries.empty() && pin_retries_ended.empty();
}

Difference Diff(const Snapshot& from, const Snapshot& to) {
  Difference difference{
      .generation = to.generation,
      .time = to.time,
      .nodes = Changed(from.nodes, to.nodes),
      .zones = Changed(from.zones, to.zones),
      .attempts = Changed(from.attempts, to.attempts),
      .migrations = Changed(from.migrations, to.migrations),
      .calls = Changed(from.calls, to.calls),
      .attributions = ChangedOrGone(from.attributions, to.attributions,
                                    &PinAttribution::pins),
      .pin_kinds = Changed(from.pin_kinds, to.pin_kinds),
      .blocks = ChangedOrGone(from.blocks, to.blocks, &BlockCount::blocks),
      .pause_changed = from.paused_since != to.paused_since,
      .paused_since = to.paused_since,
      .verdicts =
          ChangedOrGone(from.verdicts, to.verdicts, &VerdictCount::blocks),
      .removable = Changed(from.removable, to.removable),
      .pin_retries = Changed(from.pin_retries, to.pin_retries),
      .pin_retries_ended = Gone(from.pin_retries, to.pin_retries),
      .block_size_bytes = to.block_size_bytes,
  };
  for (const PinKinds& kinds : Gone(from.pin_kinds, to.pin_kinds))
    difference.pin_kinds.push_back({.nid = kinds.nid, .zone = kinds.zone});
  for (const Node& node : Gone(from.nodes, to.nodes))
    difference.nodes_gone.push_back(node.nid);
  AddOwners(from.owners, to.owners, difference);
  return difference;
}

}  // namespace pinwatch
