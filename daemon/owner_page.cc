// SPDX-License-Identifier: Apache-2.0
#include "daemon/owner_page.h"

#include <algorithm>
#include <utility>

#include "daemon/packed.h"

namespace pinwatch {

template <typename Archive, Of<PinErrors> T>
void Fields(Archive& archive, T& errors) {
  auto& [error, calls] = errors;
  archive(error, calls);
}

template <typename Archive, Of<PinMoves> T>
void Fields(Archive& archive, T& moves) {
  auto& [calls, rounds, collected, isolated, moved, failed, no_target, ns,
         calls_ns] = moves;
  archive(calls, rounds, collected, isolated, moved, failed, no_target, ns,
          calls_ns);
}

template <typename Archive, Of<PinOutcomes> T>
void Fields(Archive& archive, T& outcomes) {
  auto& [asked_pages, partial_calls, failed_calls, errors, measured_calls,
         measured_ns, minor_faults, major_faults, moves] = outcomes;
  archive(asked_pages, partial_calls, failed_calls, errors, measured_calls,
          measured_ns, minor_faults, major_faults, moves);
}

template <typename Archive, Of<PinHolding> T>
void Fields(Archive& archive, T& holding) {
  auto& [nid, zone, cma, certainty, pins, since, since_exact, overdue_pages,
         huge_ranges] = holding;
  archive(nid, zone, cma, certainty, pins, since, since_exact, overdue_pages,
          huge_ranges);
}

template <typename Archive, Of<PinGrowth> T>
void Fields(Archive& archive, T& growth) {
  auto& [since, from_pages, rises] = growth;
  archive(since, from_pages, rises);
}

template <typename Archive, Of<OwnerSpan> T>
void Fields(Archive& archive, T& span) {
  auto& [pid, first, last] = span;
  archive(pid, first, last);
}

namespace {

// What is the owner's own, but for what stands in its row.
template <typename Archive, Of<PinOwner> T>
void OwnFields(Archive& archive, T& owner) {
  auto& [id, long_term, process, via, door, subsystem, call_site, devices,
         kernel_stack, user_stack, calls, pages, outcomes, first, last,
         holdings, growth] = owner;
  archive(process.pid, first, last);  // an OwnerSpan
  archive(process.start_boottime_ns, calls, pages, outcomes, holdings, growth);
}

}  // namespace

ProcessNames NamesOf(const PinOwner& owner) {
  return {owner.process.comm, owner.process.exe, owner.process.cgroup,
          owner.process.unit};
}

PinOrigin OriginOf(const PinOwner& owner) {
  return {owner.door,    owner.subsystem,    owner.call_site,
          owner.devices, owner.kernel_stack, owner.user_stack};
}

template <typename T>
uint8_t OwnerPage::Places<T>::Take(Shared<T> value) {
  const auto is_same = [&](const Entry& entry) {
    return entry.uses && entry.value == value;
  };
  auto entry = std::ranges::find_if(entries_, is_same);
  if (entry == entries_.end())
    entry = std::ranges::find(entries_, 0, &Entry::uses);
  if (entry == entries_.end()) entry = entries_.emplace(entry);
  if (entry->uses++ == 0) entry->value = std::move(value);
  return static_cast<uint8_t>(entry - entries_.begin());
}

template <typename T>
void OwnerPage::Places<T>::Drop(uint8_t place) {
  if (--entries_[place].uses == 0) entries_[place].value = {};
}

size_t OwnerPage::size() const {
  return static_cast<size_t>(
      std::ranges::count_if(rows_, [](const Row& row) { return row.known; }));
}

size_t OwnerPage::nr_suspects() const {
  return static_cast<size_t>(
      std::ranges::count_if(rows_, [](const Row& row) { return row.suspect; }));
}

size_t OwnerPage::BeginOf(uint32_t id) const {
  return id % kOwners ? rows_[id % kOwners - 1].end : 0;
}

std::string_view OwnerPage::BytesOf(uint32_t id) const {
  const size_t begin = BeginOf(id);
  return std::string_view(bytes_).substr(begin, RowOf(id).end - begin);
}

void OwnerPage::Write(uint32_t id, std::string_view bytes) {
  const std::string_view before = BytesOf(id);
  const auto more = static_cast<uint32_t>(bytes.size() - before.size());
  // Made anew each time: a string that grows takes twice what it needs.
  std::string all;
  all.reserve(bytes_.size() + bytes.size() - before.size());
  all.append(bytes_, 0, BeginOf(id))
      .append(bytes)
      .append(bytes_, RowOf(id).end);
  bytes_ = std::move(all);
  for (size_t i = id % kOwners; i < kOwners; ++i) rows_[i].end += more;
}

OwnerSpan OwnerPage::SpanOf(uint32_t id) const {
  return Unpack<OwnerSpan>(BytesOf(id));
}

PinOwner OwnerPage::Get(uint32_t id) const {
  const Row& row = RowOf(id);
  const ProcessNames& names = *names_.At(row.names);
  const PinOrigin& origin = *origins_.At(row.origin);
  PinOwner owner{.id = id,
                 .long_term = row.long_term,
                 .process = {.comm = names.comm,
                             .exe = names.exe,
                             .cgroup = names.cgroup,
                             .unit = names.unit,
                             .ended = row.ended},
                 .via = vias_.At(row.via),
                 .door = origin.door,
                 .subsystem = origin.subsystem,
                 .call_site = origin.call_site,
                 .devices = origin.devices,
                 .kernel_stack = origin.kernel_stack,
                 .user_stack = origin.user_stack};
  Unpacker unpacker(BytesOf(id));
  OwnFields(unpacker, owner);
  return owner;
}

void OwnerPage::Set(const PinOwner& owner, Shared<ProcessNames> names,
                    Shared<PinOrigin> origin) {
  if (Has(owner.id)) Erase(owner.id);
  Row& row = rows_[owner.id % kOwners];
  row.known = true;
  row.names = names_.Take(std::move(names));
  row.origin = origins_.Take(std::move(origin));
  row.via = vias_.Take(owner.via);
  Change(owner);
}

void OwnerPage::Change(const PinOwner& owner) {
  Row& row = rows_[owner.id % kOwners];
  row.long_term = owner.long_term;
  row.ended = owner.process.ended;
  row.holds = !owner.holdings.empty();
  row.suspect = owner.growth.has_value();
  const uint8_t via = row.via;
  row.via = vias_.Take(owner.via);
  vias_.Drop(via);
  Packer packer;
  OwnFields(packer, owner);
  Write(owner.id, packer.Take());
}

void OwnerPage::Erase(uint32_t id) {
  Write(id, {});
  Row& row = rows_[id % kOwners];
  names_.Drop(row.names);
  origins_.Drop(row.origin);
  vias_.Drop(row.via);
  row = {.end = row.end};
}

}  // namespace pinwatch
