// SPDX-License-Identifier: Apache-2.0
#include "daemon/owner_book.h"

#include <algorithm>
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

template <typename Change>
void OwnerBook::Edit(uint32_t id, Change change) {
  if (!Find(id)) return;
  PinOwner owner = *by_id_[id];
  change(owner);
  by_id_[id] = std::make_shared<const PinOwner>(std::move(owner));
  list_is_old_ = true;
}

std::vector<OwnerReading> OwnerBook::Update(
    std::vector<OwnerReading> readings) {
  std::vector<OwnerReading> unknown;
  for (OwnerReading& reading : readings) {
    const PinOwner* known = Find(reading.index);
    if (known && IsSame(reading, *known))
      Edit(reading.index, [&](PinOwner& owner) { TakeCounts(reading, owner); });
    else
      unknown.push_back(std::move(reading));
  }
  return unknown;
}

// Most owners have a stack in common with others.
void OwnerBook::Share(Shared<CallStack>& stack) {
  if (stack) stack = *stacks_.insert(stack).first;
}

void OwnerBook::Add(const OwnerReading& reading, PinOwner identity) {
  TakeCounts(reading, identity);
  Share(identity.kernel_stack);
  Share(identity.user_stack);
  identity.process.pid = reading.pid;
  identity.process.start_boottime_ns = reading.start_boottime_ns;
  if (by_id_.size() <= reading.index) by_id_.resize(reading.index + 1);
  ended_.erase(reading.index);
  if (identity.process.ended) ended_.insert(reading.index);
  by_id_[reading.index] = std::make_shared<const PinOwner>(std::move(identity));
  list_is_old_ = true;
  ++version_;
}

void OwnerBook::Forget(const std::vector<uint32_t>& ids) {
  for (const uint32_t id : ids) {
    if (!Find(id)) continue;
    by_id_[id].reset();
    ended_.erase(id);
    list_is_old_ = true;
    ++version_;
  }
  std::erase_if(stacks_, [](const auto& stack) { return !stack.has_copies(); });
}

void OwnerBook::SetEnded(uint32_t id) {
  if (!Find(id)) return;
  Edit(id, [](PinOwner& owner) { owner.process.ended = true; });
  ended_.insert(id);
  ++version_;
}

void OwnerBook::SetViaEnded(uint32_t id) {
  Edit(id, [](PinOwner& owner) {
    if (!owner.via) return;
    Process via = *owner.via;
    via.ended = true;
    owner.via = std::move(via);
  });
}

std::vector<uint32_t> OwnerBook::SetHoldings(Held held) {
  std::vector<uint32_t> changed;
  auto next = held.begin();
  for (uint32_t id = 0; id < by_id_.size(); ++id) {
    if (!by_id_[id]) continue;
    while (next != held.end() && next->first < id) ++next;
    std::vector<PinHolding> holdings;
    if (next != held.end() && next->first == id)
      holdings = std::move(next->second);
    if (holdings == by_id_[id]->holdings) continue;
    Edit(id, [&](PinOwner& owner) { owner.holdings = std::move(holdings); });
    changed.push_back(id);
  }
  return changed;
}

void OwnerBook::SetGrowth(uint32_t id, const std::optional<PinGrowth>& growth) {
  const PinOwner* owner = Find(id);
  if (owner && owner->growth != growth)
    Edit(id, [&](PinOwner& changed) { changed.growth = growth; });
}

OwnerState OwnerBook::StateOf(uint32_t id) const {
  const PinOwner* owner = Find(id);
  if (!owner) return OwnerState::kUnknown;
  return owner->process.ended ? OwnerState::kEnded : OwnerState::kAlive;
}

const PinOwner* OwnerBook::Find(uint32_t id) const {
  return id < by_id_.size() ? by_id_[id].get() : nullptr;
}

const OwnerList& OwnerBook::owners() const {
  if (!std::exchange(list_is_old_, false)) return list_;
  auto owners = std::make_shared<OwnerList::Owners>();
  owners->reserve(list_.size() + 1);
  std::ranges::copy_if(by_id_, std::back_inserter(*owners),
                       [](const auto& owner) { return owner != nullptr; });
  list_ = OwnerList(std::move(owners));
  return list_;
}

}  // namespace pinwatch
