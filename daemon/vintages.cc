// SPDX-License-Identifier: Apache-2.0
#include "daemon/vintages.h"

#include <algorithm>
#include <cstddef>
#include <numeric>

namespace pinwatch {
namespace {

// What claims that grow old are told apart by at first.
constexpr uint64_t kFirstStepNs = 4'000'000'000;

// Claims of one walk need no more, since their ticks come round.
constexpr size_t kNewAWalk =
    PINWATCH_TICKS * uint64_t{1'000'000'000} / kFirstStepNs + 2;

// So many that the next walk finds enough free ones too.
constexpr size_t kKept = PINWATCH_VINTAGES - 2 * kNewAWalk;

}  // namespace

// Of neighbours by age, the place of the older of those two whose ages differ
// least in proportion.
size_t Vintages::ClosestPair(const std::vector<Vintage>& by_age,
                             int64_t now_ns) {
  const auto age = [&](size_t i) {
    return static_cast<double>(now_ns) -
           static_cast<double>(by_age[i].made_ns) + 1;
  };
  size_t closest = 0;
  for (size_t i = 1; i + 1 < by_age.size(); ++i)
    if (age(i) / age(i + 1) < age(closest) / age(closest + 1)) closest = i;
  return closest;
}

void Vintages::BeginWalk(int64_t now_ns) {
  used_.reset();
  std::iota(renewed_.begin(), renewed_.end(), 0);
  std::vector<Vintage> by_age;
  for (uint32_t number = 0; number < PINWATCH_VINTAGES; ++number)
    if (made_ns_[number]) by_age.push_back({made_ns_[number], number});
  std::sort(by_age.begin(), by_age.end(),
            [](const auto& a, const auto& b) { return a.made_ns < b.made_ns; });
  while (by_age.size() > kKept) {
    const size_t older = ClosestPair(by_age, now_ns);
    std::replace(renewed_.begin(), renewed_.end(), by_age[older + 1].number,
                 by_age[older].number);
    by_age.erase(by_age.begin() + static_cast<ptrdiff_t>(older) + 1);
  }
}

uint32_t Vintages::Renew(uint32_t number) {
  used_.set(renewed_[number]);
  return renewed_[number];
}

uint32_t Vintages::NumberFor(int64_t made_ns) {
  const auto made = static_cast<uint64_t>(made_ns);
  const uint64_t rounded =
      std::max<uint64_t>(made - made % kFirstStepNs, uint64_t{1});
  uint32_t number = 0;
  for (uint32_t i = 0; i < PINWATCH_VINTAGES; ++i) {
    if (made_ns_[i] == rounded && renewed_[i] == i) {
      used_.set(i);
      return i;
    }
    if (!made_ns_[i]) number = i;
  }
  made_ns_[number] = rounded;
  used_.set(number);
  return number;
}

void Vintages::EndWalk() {
  for (uint32_t number = 0; number < PINWATCH_VINTAGES; ++number)
    if (!used_[number]) made_ns_[number] = 0;
}

}  // namespace pinwatch
