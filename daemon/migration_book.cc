// SPDX-License-Identifier: Apache-2.0
#include "daemon/migration_book.h"

#include <algorithm>
#include <iterator>

namespace pinwatch {
namespace {

constexpr size_t kFailuresKept = 128;

bool IsSame(const MigrationFailure& a, const MigrationFailure& b) {
  return a.page.pfn == b.page.pfn && a.reason == b.reason && a.mode == b.mode &&
         a.page.first_met == b.page.first_met;
}

// What is newly said of the page, without losing who was found to hold it.
void Update(MigrationFailure from, MigrationFailure& to) {
  if (to.page.pins == from.page.pins &&
      to.page.refcount == from.page.refcount) {
    to.page.times_met = from.page.times_met;
    to.page.last_met = from.page.last_met;
    to.process = std::move(from.process);
    return;
  }
  from.id = to.id;
  from.nid = to.nid;
  from.zone = to.zone;
  to = std::move(from);
}

}  // namespace

void MigrationBook::Set(MigrationReading reading,
                        const std::function<void(MigrationFailure&)>& place) {
  std::vector<MigrationFailure> met = std::move(reading.failures);
  reading.failures.clear();
  reading_ = std::move(reading);
  std::ranges::sort(met, {}, [](const MigrationFailure& failure) {
    return std::pair(failure.page.first_met.monotonic_ns, failure.page.pfn);
  });
  const int64_t oldest_kept =
      failures_.size() < kFailuresKept
          ? INT64_MIN
          : failures_.front().page.first_met.monotonic_ns;
  for (MigrationFailure& failure : met) {
    const auto known = std::ranges::find_if(
        failures_,
        [&](const MigrationFailure& other) { return IsSame(other, failure); });
    if (known != failures_.end()) {
      Update(std::move(failure), *known);
      continue;
    }
    // One that has been told and left out since.
    if (failure.page.first_met.monotonic_ns < oldest_kept) continue;
    failure.id = ++last_id_;
    place(failure);
    failures_.push_back(std::move(failure));
  }
  if (failures_.size() <= kFailuresKept) return;
  const auto kept = failures_.end() - kFailuresKept;
  failures_.erase(failures_.begin(), kept);
}

std::vector<MigrationPlace> MigrationBook::Places(
    const std::vector<Zone>& zones) const {
  std::vector<MigrationPlace> places = reading_.places;
  if (places.empty()) return places;
  for (const Zone& zone : zones)
    if (std::ranges::none_of(places, [&](const MigrationPlace& place) {
          return place.nid == zone.nid && place.zone == zone.name;
        }))
      places.push_back({.nid = zone.nid, .zone = zone.name});
  // As the zones come in zoneinfo; where it is not known, last.
  const auto rank = [&](const MigrationPlace& place) {
    const auto at = std::ranges::find_if(zones, [&](const Zone& zone) {
      return place.nid == zone.nid && place.zone == zone.name;
    });
    return std::pair(place.nid < 0, at - zones.begin());
  };
  std::ranges::stable_sort(places, {}, rank);
  return places;
}

std::vector<uint64_t> MigrationBook::Unlooked(size_t most) const {
  std::vector<uint64_t> pfns;
  for (auto failure = failures_.rbegin();
       failure != failures_.rend() && pfns.size() < most; ++failure)
    if (failure->page.pins && !failure->looked &&
        std::ranges::find(pfns, failure->page.pfn) == pfns.end())
      pfns.push_back(failure->page.pfn);
  return pfns;
}

void MigrationBook::Look(uint64_t pfn,
                         const std::function<void(BlockingPage&)>& set) {
  for (MigrationFailure& failure : failures_) {
    if (failure.page.pfn != pfn || failure.looked) continue;
    failure.looked = true;
    set(failure.page);
  }
}

void MigrationBook::ForEachPage(
    const std::function<void(BlockingPage&)>& visit) {
  for (MigrationFailure& failure : failures_) visit(failure.page);
}

}  // namespace pinwatch
