// SPDX-License-Identifier: Apache-2.0
#include "daemon/governor.h"

#include <gmock/gmock.h>

namespace pinwatch {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr int64_t kSecond = 1'000'000'000;

// 1,000 calls a second are the budget. Readings come once a second.
class GovernorTest : public testing::Test {
 protected:
  GovernorTest() { Pass(0); }

  // A second with so many calls through pin_user_pages_fast and another door.
  const GovernorState& Pass(uint64_t calls, uint64_t other_calls = 0) {
    now_.monotonic_ns += kSecond;
    now_.realtime_ns += kSecond;
    reading_.totals.short_term_calls += calls + other_calls;
    reading_.calls[0].calls.calls = calls;
    reading_.calls[1].calls.calls = other_calls;
    return governor_.Update(reading_, now_);
  }

  GovernorStage Seconds(int seconds, uint64_t calls) {
    GovernorStage stage = GovernorStage::kAll;
    for (int i = 0; i < seconds; ++i) stage = Pass(calls).stage;
    return stage;
  }

  Governor governor_{{.cpu_share = 1, .calls_per_second = 1000}};
  Timestamp now_{.realtime_ns = 5000 * kSecond, .monotonic_ns = 100 * kSecond};
  ClaimReading reading_{
      .calls = {{.owner = 3, .door = "pin_user_pages_fast"},
                {.owner = 4, .door = "pin_user_pages_remote"}}};
};

TEST_F(GovernorTest, ABurstChangesNothing) {
  EXPECT_EQ(Seconds(2, 5000), GovernorStage::kAll);
  EXPECT_EQ(Seconds(1, 999), GovernorStage::kAll);
  EXPECT_EQ(Seconds(2, 5000), GovernorStage::kAll);
}

TEST_F(GovernorTest, FirstItSamplesThenItLetsTheBusiestDoorGo) {
  EXPECT_EQ(Seconds(3, 1001), GovernorStage::kSampled);
  EXPECT_EQ(Seconds(2, 1001), GovernorStage::kSampled);
  const GovernorState& state = Pass(900, 101);
  EXPECT_EQ(state.stage, GovernorStage::kOff);
  EXPECT_THAT(state.doors_off, ElementsAre("pin_user_pages_fast"));
  EXPECT_THAT(state.reason, HasSubstr("1001 short-term calls a second"));
  EXPECT_EQ(state.since, now_);
}

TEST_F(GovernorTest, WhatComesThroughAnotherDoorMayHaveThatLetGoToo) {
  Seconds(6, 1001);
  Pass(0, 1001);
  Pass(0, 1001);
  EXPECT_THAT(Pass(0, 1001).doors_off,
              ElementsAre("pin_user_pages_fast", "pin_user_pages_remote"));
}

TEST_F(GovernorTest, ItTriesAgainAfterAMinuteThenAfterTwo) {
  EXPECT_EQ(Seconds(6, 1001), GovernorStage::kOff);
  EXPECT_EQ(Seconds(59, 0), GovernorStage::kOff);
  EXPECT_EQ(Seconds(1, 0), GovernorStage::kSampled);
  EXPECT_THAT(Pass(0).doors_off, IsEmpty());
  EXPECT_EQ(Seconds(3, 1001), GovernorStage::kOff);
  EXPECT_EQ(Seconds(119, 0), GovernorStage::kOff);
  EXPECT_EQ(Seconds(1, 0), GovernorStage::kSampled);
}

TEST_F(GovernorTest, AfterACalmMinuteAllIsRecordedAgain) {
  EXPECT_EQ(Seconds(3, 1001), GovernorStage::kSampled);
  EXPECT_EQ(Seconds(30, 501), GovernorStage::kSampled);
  EXPECT_EQ(Seconds(59, 500), GovernorStage::kSampled);
  EXPECT_EQ(Seconds(1, 500), GovernorStage::kAll);
  EXPECT_EQ(Pass(500).reason, "");
}

TEST_F(GovernorTest, TheShareOfTheCpusCounts) {
  Governor governor({.cpu_share = 0.001, .cpus = 2});
  // 2 ms a second of two CPUs: 11,765 calls that are not recorded.
  for (int i = 0; i < 9; ++i) {
    now_.monotonic_ns += kSecond;
    reading_.totals.short_term_calls += 11'700;
    reading_.totals.short_term_skipped += 11'700;
    EXPECT_EQ(governor.Update(reading_, now_).stage, GovernorStage::kAll);
  }
  for (int i = 0; i < 3; ++i) {
    now_.monotonic_ns += kSecond;
    reading_.totals.short_term_calls += 11'800;
    reading_.totals.short_term_skipped += 11'800;
    governor.Update(reading_, now_);
  }
  EXPECT_EQ(governor.Update(reading_, now_).stage, GovernorStage::kSampled);
  EXPECT_NEAR(governor.Update(reading_, now_).cost_seconds,
              (8 * 11'700 + 3 * 11'800) * 170e-9, 1e-9);
}

TEST_F(GovernorTest, QuestionsInBetweenAreNoReadings) {
  Pass(1001);
  Pass(1001);
  now_.monotonic_ns += kSecond / 10;
  reading_.totals.short_term_calls += 901;
  EXPECT_EQ(governor_.Update(reading_, now_).stage, GovernorStage::kAll);
}

TEST_F(GovernorTest, WhatCannotBeHadBackStaysOff) {
  Seconds(6, 1001);
  governor_.StayOff({.stage = GovernorStage::kOff,
                     .doors_off = {"pin_user_pages_fast"},
                     .since = now_});
  EXPECT_EQ(Seconds(7200, 0), GovernorStage::kOff);
}

TEST_F(GovernorTest, AfterAPauseItBeginsAnew) {
  Seconds(6, 1001);
  governor_.Reset(now_);
  EXPECT_EQ(Pass(1'000'000).stage, GovernorStage::kAll);
}

}  // namespace
}  // namespace pinwatch
