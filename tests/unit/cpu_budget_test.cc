// SPDX-License-Identifier: Apache-2.0
#include "daemon/cpu_budget.h"

#include <gtest/gtest.h>

namespace pinwatch {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

TEST(CpuBudget, BeginsFull) {
  CpuBudget budget(0.001, kSecond);
  EXPECT_TRUE(budget.IsFull());
  EXPECT_TRUE(budget.HasLeft());
}

TEST(CpuBudget, MayBeOverdrawnOnceAndIsThenPaidBackAtItsShare) {
  CpuBudget budget(0.001, kSecond);
  budget.Refill(5 * kSecond);
  budget.Spend(3 * kSecond);
  EXPECT_FALSE(budget.HasLeft());
  // Two seconds of debt at one thousandth take 2,000 s.
  budget.Refill(2004 * kSecond);
  EXPECT_FALSE(budget.HasLeft());
  budget.Refill(2006 * kSecond);
  EXPECT_TRUE(budget.HasLeft());
  EXPECT_FALSE(budget.IsFull());
}

TEST(CpuBudget, SavesNoMoreThanTheBurst) {
  CpuBudget budget(0.5, kSecond);
  budget.Refill(1);
  budget.Refill(1000 * kSecond);
  budget.Spend(kSecond);
  EXPECT_FALSE(budget.HasLeft());
}

TEST(CpuBudget, FirstRefillOnlySetsTheClock) {
  CpuBudget budget(1.0, kSecond);
  budget.Spend(2 * kSecond);
  budget.Refill(1'000'000 * kSecond);
  EXPECT_FALSE(budget.HasLeft());
}

}  // namespace
}  // namespace pinwatch
