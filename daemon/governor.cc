// SPDX-License-Identifier: Apache-2.0
#include "daemon/governor.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"

namespace pinwatch {
namespace {

// Of the benchmark on Linux v6.12, 3 instructions a nanosecond: what a call of
// a hooked function costs at all, what recording it adds, and a long-term page.
constexpr double kCallNs = 170;
constexpr double kClaimNs = 130;
constexpr double kLongTermPageNs = 10;

// A burst passes.
constexpr int kPatience = 3;

constexpr int64_t kCalmForNs = 60'000'000'000;
constexpr int64_t kMostOffNs = 3'600'000'000'000;

// Short-term calls since the reading before.
std::map<std::string, uint64_t> CallsByDoor(
    const std::vector<OwnerCalls>& calls) {
  std::map<std::string, uint64_t> by_door;
  for (const OwnerCalls& made : calls)
    if (!made.long_term) by_door[made.door] += made.calls.calls;
  return by_door;
}

}  // namespace

Governor::Load Governor::LoadOf(const ClaimTotals& from, const ClaimTotals& to,
                                double seconds) {
  const auto calls =
      static_cast<double>(to.short_term_calls - from.short_term_calls);
  const auto skipped =
      static_cast<double>(to.short_term_skipped - from.short_term_skipped);
  const auto pages =
      static_cast<double>(to.long_term_pages - from.long_term_pages);
  const double ns =
      calls * kCallNs + (calls - skipped) * kClaimNs + pages * kLongTermPageNs;
  state_.cost_seconds += ns / 1e9;
  return {.calls_per_second = calls / seconds,
          .cpu_share = ns / 1e9 / seconds / budget_.cpus};
}

bool Governor::IsOver(const Load& load, double share_of_budget) const {
  return load.cpu_share > budget_.cpu_share * share_of_budget ||
         (budget_.calls_per_second &&
          load.calls_per_second >
              static_cast<double>(budget_.calls_per_second) * share_of_budget);
}

void Governor::Enter(GovernorStage stage, Timestamp now) {
  state_.stage = stage;
  state_.since = now;
  over_ = 0;
  if (stage != GovernorStage::kOff) state_.doors_off.clear();
  if (stage == GovernorStage::kAll) state_.reason.clear();
}

void Governor::LetGo(const std::map<std::string, uint64_t>& calls_by_door,
                     Timestamp now) {
  const std::pair<const std::string, uint64_t>* busiest = nullptr;
  for (const auto& door : calls_by_door)
    if (door.second && !state_.doors_off.count(door.first) &&
        (!busiest || door.second > busiest->second))
      busiest = &door;
  if (!busiest) return;
  if (state_.doors_off.empty())
    off_for_ns_ = std::clamp(2 * off_for_ns_, budget_.off_for_ns, kMostOffNs);
  state_.doors_off.insert(busiest->first);
  Enter(GovernorStage::kOff, now);
}

const GovernorState& Governor::Update(const ClaimReading& reading,
                                      Timestamp now) {
  const auto by_door = CallsByDoor(reading.calls);
  if (!totals_) {
    totals_ = reading.totals;
    time_ = calm_from_ = now;
    return state_;
  }
  const double seconds =
      static_cast<double>(now.monotonic_ns - time_.monotonic_ns) / 1e9;
  // Questions make for readings in between.
  if (seconds < 0.5) return state_;
  const Load load = LoadOf(*totals_, reading.totals, seconds);
  totals_ = reading.totals;
  time_ = now;
  if (IsOver(load, 0.5)) calm_from_ = now;
  over_ = IsOver(load, 1) ? over_ + 1 : 0;
  const bool is_calm = now.monotonic_ns - calm_from_.monotonic_ns >= kCalmForNs;
  if (over_ >= kPatience) {
    state_.reason =
        absl::StrFormat("%.0f short-term calls a second, %.1f %% of the CPUs",
                        load.calls_per_second, 100 * load.cpu_share);
    if (state_.stage == GovernorStage::kAll)
      Enter(GovernorStage::kSampled, now);
    else
      LetGo(by_door, now);
  } else if (state_.stage == GovernorStage::kOff &&
             now.monotonic_ns - state_.since.monotonic_ns >= off_for_ns_) {
    Enter(GovernorStage::kSampled, now);
    calm_from_ = now;
  } else if (state_.stage == GovernorStage::kSampled && is_calm) {
    off_for_ns_ = 0;
    Enter(GovernorStage::kAll, now);
  }
  return state_;
}

void Governor::StayOff(const GovernorState& state) {
  state_ = state;
  off_for_ns_ = INT64_MAX;
}

void Governor::Reset(Timestamp now) {
  if (state_.stage != GovernorStage::kAll) Enter(GovernorStage::kAll, now);
  totals_.reset();
  off_for_ns_ = 0;
}

}  // namespace pinwatch
