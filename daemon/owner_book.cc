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

const OwnerPage* OwnerBook::PageOf(uint32_t id) const {
  const size_t at = id / OwnerPage::kOwners;
  const OwnerPage* page = at < slots_.size() ? slots_[at].page.get() : nullptr;
  return page && page->Has(id) ? page : nullptr;
}

OwnerPage& OwnerBook::PageToChange(uint32_t id) {
  const size_t at = id / OwnerPage::kOwners;
  if (slots_.size() <= at) slots_.resize(at + 1);
  Slot& slot = slots_[at];
  if (!slot.page)
    slot.page = std::make_shared<OwnerPage>(static_cast<uint32_t>(at));
  else if (slot.is_listed)
    slot.page = std::make_shared<OwnerPage>(*slot.page);
  slot.is_listed = false;
  list_is_old_ = true;
  return *slot.page;
}

template <typename Change>
void OwnerBook::Edit(uint32_t id, Change change) {
  std::optional<PinOwner> owner = Find(id);
  if (!owner) return;
  change(*owner);
  PageToChange(id).Change(*owner);
}

std::vector<OwnerReading> OwnerBook::Update(
    std::vector<OwnerReading> readings) {
  std::vector<OwnerReading> unknown;
  for (OwnerReading& reading : readings) {
    std::optional<PinOwner> owner = Find(reading.index);
    if (!owner || !IsSame(reading, *owner)) {
      unknown.push_back(std::move(reading));
      continue;
    }
    TakeCounts(reading, *owner);
    PageToChange(reading.index).Change(*owner);
  }
  return unknown;
}

// Most owners have a stack in common with others.
void OwnerBook::Share(Shared<CallStack>& stack) {
  if (stack) stack = stacks_.Take(*stack);
}

void OwnerBook::Add(const OwnerReading& reading, PinOwner identity) {
  TakeCounts(reading, identity);
  Share(identity.kernel_stack);
  Share(identity.user_stack);
  identity.process.pid = reading.pid;
  identity.process.start_boottime_ns = reading.start_boottime_ns;
  ended_.erase(reading.index);
  if (identity.process.ended) ended_.insert(reading.index);
  PageToChange(reading.index)
      .Set(identity, names_.Take(NamesOf(identity)),
           origins_.Take(OriginOf(identity)));
  ++version_;
}

void OwnerBook::Forget(const std::vector<uint32_t>& ids) {
  for (const uint32_t id : ids) {
    if (!Has(id)) continue;
    PageToChange(id).Erase(id);
    ended_.erase(id);
    ++version_;
  }
  names_.DropUnused();
  origins_.DropUnused();
  stacks_.DropUnused();
}

void OwnerBook::SetEnded(uint32_t id) {
  if (!Has(id)) return;
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
  const auto set = [&](uint32_t id, std::vector<PinHolding> holdings) {
    std::optional<PinOwner> owner = Find(id);
    if (!owner || owner->holdings == holdings) return;
    owner->holdings = std::move(holdings);
    PageToChange(id).Change(*owner);
    changed.push_back(id);
  };
  auto next = held.begin();
  for (uint32_t id = 0; id < slots_.size() * OwnerPage::kOwners; ++id) {
    while (next != held.end() && next->first < id) ++next;
    if (next != held.end() && next->first == id)
      set(id, std::move(next->second));
    else if (const OwnerPage* page = PageOf(id); page && page->Holds(id))
      set(id, {});
  }
  return changed;
}

void OwnerBook::SetGrowth(uint32_t id, const std::optional<PinGrowth>& growth) {
  const std::optional<PinOwner> owner = Find(id);
  if (owner && owner->growth != growth)
    Edit(id, [&](PinOwner& changed) { changed.growth = growth; });
}

OwnerState OwnerBook::StateOf(uint32_t id) const {
  const OwnerPage* page = PageOf(id);
  if (!page) return OwnerState::kUnknown;
  return page->HasEnded(id) ? OwnerState::kEnded : OwnerState::kAlive;
}

std::optional<bool> OwnerBook::IsLongTerm(uint32_t id) const {
  if (const OwnerPage* page = PageOf(id)) return page->IsLongTerm(id);
  return std::nullopt;
}

std::optional<OwnerSpan> OwnerBook::SpanOf(uint32_t id) const {
  if (const OwnerPage* page = PageOf(id)) return page->SpanOf(id);
  return std::nullopt;
}

std::optional<PinOwner> OwnerBook::Find(uint32_t id) const {
  if (const OwnerPage* page = PageOf(id)) return page->Get(id);
  return std::nullopt;
}

size_t OwnerBook::nr_holding_processes() const {
  std::vector<uint32_t> pids;
  for (auto owner = owners().begin(); owner != owners().end(); ++owner)
    if (owner.page().Holds(owner.id()))
      pids.push_back(owner.page().SpanOf(owner.id()).pid);
  std::ranges::sort(pids);
  // Not std::ranges::unique: clang 14 cannot read what g++ 12 has it return.
  return static_cast<size_t>(std::unique(pids.begin(), pids.end()) -
                             pids.begin());
}

const OwnerList& OwnerBook::owners() const {
  if (!std::exchange(list_is_old_, false)) return list_;
  OwnerList::Pages pages;
  pages.reserve(slots_.size());
  for (Slot& slot : slots_) {
    slot.is_listed = true;
    if (slot.page && slot.page->size()) pages.push_back(slot.page);
  }
  list_ = OwnerList(std::move(pages));
  return list_;
}

}  // namespace pinwatch
