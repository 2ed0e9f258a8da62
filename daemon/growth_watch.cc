// SPDX-License-Identifier: Apache-2.0
#include "daemon/growth_watch.h"

#include <utility>

namespace pinwatch {
namespace {

// A few buffers more are no leak.
constexpr uint32_t kMinRises = 5;

// Pages that are known to be held by the owner.
uint64_t HeldBy(const PinOwner& owner) {
  uint64_t pages = 0;
  for (const PinHolding& holding : owner.holdings)
    if (holding.certainty == Certainty::kHeld ||
        holding.certainty == Certainty::kShared)
      pages += holding.pins.pages;
  return pages;
}

}  // namespace

bool GrowthWatch::IsSuspect(const History& history, Timestamp now) const {
  const auto is_recent = [&](Timestamp time) {
    return now.monotonic_ns - time.monotonic_ns < suspect_after_ns_;
  };
  return history.growth.rises >= kMinRises &&
         !is_recent(history.growth.since) && is_recent(history.last_rise);
}

void GrowthWatch::Update(std::vector<PinOwner>& owners, Timestamp now) {
  std::map<uint32_t, History> still;
  for (PinOwner& owner : owners) {
    const uint64_t pages = HeldBy(owner);
    if (!owner.long_term || pages == 0) continue;
    const auto known = histories_.find(owner.id);
    History history{.growth = {.since = now, .from_pages = pages},
                    .pages = pages,
                    .calls = owner.calls};
    if (known != histories_.end() && pages >= known->second.pages) {
      history = known->second;
      // Looks find out about one large call bit by bit.
      if (pages > history.pages && owner.calls > history.calls) {
        ++history.growth.rises;
        history.calls = owner.calls;
        history.last_rise = now;
      }
      history.pages = pages;
    }
    if (IsSuspect(history, now)) owner.growth = history.growth;
    still.emplace(owner.id, history);
  }
  histories_ = std::move(still);
}

}  // namespace pinwatch
