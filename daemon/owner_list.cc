// SPDX-License-Identifier: Apache-2.0
#include "daemon/owner_list.h"

#include <algorithm>
#include <map>
#include <utility>

#include "daemon/owner_page.h"
#include "daemon/snapshot.h"

namespace pinwatch {
namespace {

template <typename Owners>
OwnerList::Pages PagesOf(const Owners& owners) {
  std::map<uint32_t, OwnerPage> pages;
  for (const PinOwner& owner : owners) {
    const uint32_t number = owner.id / OwnerPage::kOwners;
    pages.try_emplace(number, number)
        .first->second.Set(owner, NamesOf(owner), OriginOf(owner));
  }
  OwnerList::Pages shared;
  for (auto& [number, page] : pages)
    shared.push_back(std::make_shared<const OwnerPage>(std::move(page)));
  return shared;
}

}  // namespace

OwnerList::Iterator::Iterator(const Pages& pages, uint64_t id)
    : pages_(&pages) {
  const uint64_t number = id / OwnerPage::kOwners;
  const auto page = std::ranges::lower_bound(
      pages, number, {}, [](const auto& other) { return other->number(); });
  at_ = static_cast<size_t>(page - pages.begin());
  if (page != pages.end() && (*page)->number() == number)
    row_ = static_cast<uint32_t>(id % OwnerPage::kOwners);
  SkipMissing();
}

void OwnerList::Iterator::SkipMissing() {
  for (; at_ < pages_->size(); ++at_, row_ = 0)
    for (; row_ < OwnerPage::kOwners; ++row_)
      if (page().Has(id())) return;
}

uint32_t OwnerList::Iterator::id() const {
  return page().number() * OwnerPage::kOwners + row_;
}

PinOwner OwnerList::Iterator::operator*() const { return page().Get(id()); }

OwnerList::Iterator& OwnerList::Iterator::operator++() {
  ++row_;
  SkipMissing();
  return *this;
}

OwnerList::Iterator OwnerList::Iterator::operator++(int) {
  return std::exchange(*this, std::next(*this));
}

OwnerList::OwnerList(std::initializer_list<PinOwner> owners)
    : OwnerList(PagesOf(owners)) {}

OwnerList::OwnerList(const std::vector<PinOwner>& owners)
    : OwnerList(PagesOf(owners)) {}

OwnerList::OwnerList(Pages pages)
    : pages_(std::make_shared<const Pages>(std::move(pages))) {
  for (const auto& page : *pages_) size_ += page->size();
}

OwnerList::Iterator OwnerList::end() const { return From(UINT64_MAX); }

std::optional<PinOwner> OwnerList::Find(uint32_t id) const {
  const Iterator owner = From(id);
  if (owner == end() || owner.id() != id) return std::nullopt;
  return *owner;
}

PinOwner OwnerList::operator[](size_t at) const {
  return *std::next(begin(), static_cast<std::ptrdiff_t>(at));
}

size_t OwnerList::nr_suspects() const {
  size_t suspects = 0;
  for (const auto& page : pages()) suspects += page->nr_suspects();
  return suspects;
}

}  // namespace pinwatch
