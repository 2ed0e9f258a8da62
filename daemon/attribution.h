// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_ATTRIBUTION_H_
#define PINWATCH_DAEMON_ATTRIBUTION_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "daemon/snapshot.h"
#include "daemon/source.h"

namespace pinwatch {

// Who holds pages, by their claims and by what their struct pages say.
struct Attribution {
  Certainty certainty = Certainty::kUnattributed;
  std::string reason;  // as in PinAttribution
  std::vector<uint32_t> owners;
};

// A short-term pin has been released after this long, unless nobody else can be
// the reason that the page is pinned.
inline constexpr int64_t kShortTermNs = 2'000'000'000;

enum class OwnerState { kAlive, kEnded, kUnknown };

// The rules are those of docs/architecture.md. `now_ns` is CLOCK_MONOTONIC.
Attribution Attribute(const PinGroup& group,
                      const std::function<OwnerState(uint32_t)>& state_of,
                      const ClaimGaps& gaps, int64_t now_ns);

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_ATTRIBUTION_H_
