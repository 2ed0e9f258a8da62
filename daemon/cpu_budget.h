// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_CPU_BUDGET_H_
#define PINWATCH_DAEMON_CPU_BUDGET_H_

#include <algorithm>
#include <cstdint>

namespace pinwatch {

// Keeps background work within a share of one CPU on average. Work may begin
// while anything is left and may overdraw; the debt is then waited out.
class CpuBudget {
 public:
  // `share` of one CPU, 0.001 is 0.1 %; at most `burst_ns` is saved up.
  CpuBudget(double share, int64_t burst_ns)
      : share_(share), burst_ns_(burst_ns), left_ns_(burst_ns) {}

  // Credits the time that has passed since the last call.
  void Refill(int64_t monotonic_ns) {
    if (last_ns_ != 0)
      left_ns_ =
          std::min(burst_ns_, left_ns_ + share_ * (monotonic_ns - last_ns_));
    last_ns_ = monotonic_ns;
  }

  bool HasLeft() const { return left_ns_ > 0; }
  bool IsFull() const { return left_ns_ >= burst_ns_; }
  void Spend(int64_t cpu_ns) { left_ns_ -= cpu_ns; }

 private:
  const double share_;
  const double burst_ns_;
  double left_ns_;
  int64_t last_ns_ = 0;
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_CPU_BUDGET_H_
