// SPDX-License-Identifier: Apache-2.0
#include "daemon/owner_book.h"

#include <set>
#include <utility>

namespace pinwatch {
namespace {

void TakeCounts(const OwnerReading& reading, PinOwner& owner) {
  owner.id = reading.index;
  owner.long_term = reading.long_term;
  owner.door = reading.door;
  owner.calls = reading.calls;
  owner.pages = reading.pages;
  owner.outcomes = reading.outcomes;
  owner.first = reading.first;
  owner.last = reading.last;
}

// An index is used again once nothing has a claim of the owner it stood for.
bool IsSame(const OwnerReading& reading, const PinOwner& owner) {
  return owner.first.monotonic_ns == reading.first.monotonic_ns &&
         owner.process.pid == reading.pid &&
         owner.process.start_boottime_ns == reading.start_boottime_ns;
}

}  // namespace

std::vector<OwnerReading> OwnerBook::Update(
    const std::vector<OwnerReading>& readings) {
  std::vector<OwnerReading> unknown;
  std::set<uint32_t> present;
  for (const OwnerReading& reading : readings) {
    present.insert(reading.index);
    const auto known = owners_.find(reading.index);
    if (known != owners_.end() && IsSame(reading, known->second))
      TakeCounts(reading, known->second);
    else
      unknown.push_back(reading);
  }
  std::erase_if(owners_, [&](auto& o) { return !present.count(o.first); });
  return unknown;
}

void OwnerBook::Add(const OwnerReading& reading, PinOwner identity) {
  TakeCounts(reading, identity);
  identity.process.pid = reading.pid;
  identity.process.start_boottime_ns = reading.start_boottime_ns;
  owners_.insert_or_assign(reading.index, std::move(identity));
}

void OwnerBook::SetEnded(uint32_t id) {
  const auto owner = owners_.find(id);
  if (owner != owners_.end()) owner->second.process.ended = true;
}

void OwnerBook::SetViaEnded(uint32_t id) {
  const auto owner = owners_.find(id);
  if (owner != owners_.end() && owner->second.via)
    owner->second.via->ended = true;
}

OwnerState OwnerBook::StateOf(uint32_t id) const {
  const auto owner = owners_.find(id);
  if (owner == owners_.end()) return OwnerState::kUnknown;
  return owner->second.process.ended ? OwnerState::kEnded : OwnerState::kAlive;
}

std::vector<uint32_t> OwnerBook::Ended() const {
  std::vector<uint32_t> ended;
  for (const auto& [id, owner] : owners_)
    if (owner.process.ended) ended.push_back(id);
  return ended;
}

}  // namespace pinwatch
