// SPDX-License-Identifier: Apache-2.0
#include "daemon/contention.h"

#include <map>

namespace pinwatch {
namespace {

// The kernel lets one have its way at a time. Who waits for its lock tries
// again every 5 ms, so his attempt follows right after.
constexpr int64_t kRightAfterNs = 500'000'000;

bool IsOfDriver(const HotplugAttempt& attempt) {
  return attempt.road == "acpi" || attempt.road == "virtio_mem";
}

bool IsSameAsker(const HotplugAttempt& a, const HotplugAttempt& b) {
  return a.pid == b.pid || (IsOfDriver(a) && a.road == b.road);
}

bool IsRightAfter(const HotplugAttempt& first, const HotplugAttempt& then) {
  return then.begin.monotonic_ns >= first.begin.monotonic_ns &&
         then.begin.monotonic_ns <
             first.begin.monotonic_ns + first.duration_ns + kRightAfterNs;
}

}  // namespace

void FindContention(std::vector<HotplugAttempt>& attempts) {
  std::map<uint64_t, std::vector<HotplugAttempt*>> by_block;
  for (HotplugAttempt& attempt : attempts) {
    attempt.contends_with.clear();
    std::vector<HotplugAttempt*>& others = by_block[attempt.block_id];
    for (HotplugAttempt* other : others) {
      if (IsSameAsker(attempt, *other) ||
          (!IsRightAfter(attempt, *other) && !IsRightAfter(*other, attempt)))
        continue;
      attempt.contends_with.push_back(other->id);
      other->contends_with.push_back(attempt.id);
    }
    others.push_back(&attempt);
  }
}

}  // namespace pinwatch
