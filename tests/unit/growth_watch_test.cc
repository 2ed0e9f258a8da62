// SPDX-License-Identifier: Apache-2.0
#include "daemon/growth_watch.h"

#include <gtest/gtest.h>

namespace pinwatch {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

// One owner that pins for long, asked about every ten seconds.
class GrowthWatchTest : public testing::Test {
 protected:
  // What is suspected of it once it holds so many pages after one call more.
  std::optional<PinGrowth> Hold(uint64_t pages, bool calls = true) {
    owner_.calls += calls;
    owner_.holdings = {{.certainty = Certainty::kHeld, .pins = {pages, pages}}};
    now_.monotonic_ns += 10 * kSecond;
    watch_.Update(owner_, now_);
    return Growth();
  }

  std::optional<PinGrowth> Growth() const {
    const auto suspects = watch_.Suspects(now_);
    const auto suspect = suspects.find(owner_.id);
    if (suspect == suspects.end()) return std::nullopt;
    return suspect->second;
  }

  GrowthWatch watch_{60 * kSecond};
  PinOwner owner_{.id = 5, .long_term = true};
  Timestamp now_;
};

TEST_F(GrowthWatchTest, WhoGrowsForLongEnoughIsSuspected) {
  for (uint64_t i = 0; i < 6; ++i) EXPECT_FALSE(Hold(23 + 7 * i)) << i;
  const std::optional<PinGrowth> growth = Hold(23 + 7 * 6);
  ASSERT_TRUE(growth);
  EXPECT_EQ(growth->from_pages, 23u);
  EXPECT_EQ(growth->rises, 6u);
  EXPECT_EQ(growth->since.monotonic_ns, 10 * kSecond);
}

TEST_F(GrowthWatchTest, WhoLetsGoOnceBeginsAnew) {
  for (uint64_t i = 0; i < 5; ++i) Hold(23 + 7 * i);
  Hold(22);
  EXPECT_FALSE(Hold(99));
}

TEST_F(GrowthWatchTest, WhoStopsGrowingIsSuspectedNoMore) {
  for (uint64_t i = 0; i < 7; ++i) Hold(23 + 7 * i);
  for (uint64_t i = 0; i < 5; ++i) EXPECT_TRUE(Hold(65, false)) << i;
  EXPECT_FALSE(Hold(65, false));
}

TEST_F(GrowthWatchTest, TimeAloneEndsASuspicion) {
  for (uint64_t i = 0; i < 7; ++i) Hold(23 + 7 * i);
  EXPECT_TRUE(Growth());
  now_.monotonic_ns += 60 * kSecond;
  EXPECT_FALSE(Growth());
}

TEST_F(GrowthWatchTest, LooksThatFindMoreOfOneCallAreNoGrowth) {
  for (uint64_t i = 0; i < 12; ++i) EXPECT_FALSE(Hold(23 + 7 * i, i == 0));
}

TEST_F(GrowthWatchTest, ShortTermPinsDoNotLeak) {
  owner_.long_term = false;
  for (uint64_t i = 0; i < 12; ++i) EXPECT_FALSE(Hold(23 + 7 * i));
}

TEST_F(GrowthWatchTest, WhatIsOnlyProbablyHeldDoesNotCount) {
  for (uint64_t i = 0; i < 6; ++i) Hold(23 + 7 * i);
  owner_.holdings = {{.certainty = Certainty::kProbable, .pins = {99, 99}}};
  watch_.Update(owner_, now_);
  EXPECT_FALSE(Growth());
}

TEST_F(GrowthWatchTest, AfterAGapItBeginsAnew) {
  for (uint64_t i = 0; i < 7; ++i) Hold(23 + 7 * i);
  watch_.Clear();
  EXPECT_FALSE(Hold(99));
}

}  // namespace
}  // namespace pinwatch
