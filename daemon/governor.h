// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_GOVERNOR_H_
#define PINWATCH_DAEMON_GOVERNOR_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "daemon/snapshot.h"
#include "daemon/source.h"

namespace pinwatch {

// What the hooks on the pin functions may cost.
struct GovernorBudget {
  double cpu_share = 0.02;        // of all CPUs together
  uint64_t calls_per_second = 0;  // 0: as many as there are
  unsigned cpus = 1;
  // For how long a function is let go at first; twice as long each time.
  int64_t off_for_ns = 60'000'000'000;
};

// Keeps the hooks within their budget: of too many short-term calls fewer are
// recorded, and if these cost too much all the same, the pin function that they
// come through most is let go for a while. Has no clock and does no I/O.
class Governor {
 public:
  explicit Governor(GovernorBudget budget) : budget_(budget) {}

  // To be told of each reading of the claims, about once a second. The result
  // is what is to be from now on; `since` is when it was decided.
  const GovernorState& Update(const ClaimReading& reading, Timestamp now);

  // All hooks have been attached again: begins anew.
  void Reset(Timestamp now);

  // What was let go cannot be had back: it stays at that.
  void StayOff(const GovernorState& state);

 private:
  struct Load {
    double calls_per_second = 0;
    double cpu_share = 0;
  };

  Load LoadOf(const ClaimTotals& from, const ClaimTotals& to, double seconds);
  bool IsOver(const Load& load, double share_of_budget) const;
  void LetGo(const std::map<std::string, uint64_t>& calls_by_door,
             Timestamp now);
  void Enter(GovernorStage stage, Timestamp now);

  const GovernorBudget budget_;
  GovernorState state_;
  std::optional<ClaimTotals> totals_;
  Timestamp time_;
  int over_ = 0;            // readings in a row beyond the budget
  Timestamp calm_from_;     // below half of the budget since then
  int64_t off_for_ns_ = 0;  // 0: not tried since it was calm
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_GOVERNOR_H_
