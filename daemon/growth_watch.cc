// SPDX-License-Identifier: Apache-2.0
#include "daemon/growth_watch.h"

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

void GrowthWatch::Update(const PinOwner& owner, Timestamp now) {
  const uint64_t pages = HeldBy(owner);
  if (!owner.long_term || pages == 0) return Forget(owner.id);
  const auto known = histories_.find(owner.id);
  if (known == histories_.end() || pages < known->second.pages) {
    Forget(owner.id);
    histories_[owner.id] = {.growth = {.since = now, .from_pages = pages},
                            .pages = pages,
                            .calls = owner.calls};
    return;
  }
  History& history = known->second;
  // Looks find out about one large call bit by bit.
  if (pages > history.pages && owner.calls > history.calls) {
    history.calls = owner.calls;
    history.last_rise = now;
    if (++history.growth.rises >= kMinRises) growing_.insert(owner.id);
  }
  history.pages = pages;
}

void GrowthWatch::Forget(uint32_t owner) {
  histories_.erase(owner);
  growing_.erase(owner);
}

void GrowthWatch::Clear() {
  histories_.clear();
  growing_.clear();
}

std::map<uint32_t, PinGrowth> GrowthWatch::Suspects(Timestamp now) const {
  std::map<uint32_t, PinGrowth> suspects;
  for (const uint32_t id : growing_) {
    const History& history = histories_.at(id);
    if (IsSuspect(history, now)) suspects.emplace(id, history.growth);
  }
  return suspects;
}

}  // namespace pinwatch
