// SPDX-License-Identifier: Apache-2.0
#include "daemon/vintages.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

namespace pinwatch {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

class VintagesTest : public testing::Test {
 protected:
  size_t InUse() const {
    return PINWATCH_VINTAGES -
           std::count(made_ns_.begin(), made_ns_.end(), uint64_t{0});
  }

  std::array<uint64_t, PINWATCH_VINTAGES> made_ns_{};
  Vintages vintages_{made_ns_.data()};
};

TEST_F(VintagesTest, CloseTimesShareANumber) {
  vintages_.BeginWalk(1000 * kSecond);
  const uint32_t number = vintages_.NumberFor(403 * kSecond);
  EXPECT_EQ(vintages_.NumberFor(401 * kSecond), number);
  EXPECT_NE(vintages_.NumberFor(399 * kSecond), number);
  EXPECT_EQ(vintages_.MadeNs(number), 400 * kSecond);
}

TEST_F(VintagesTest, ANumberThatNoClaimHasIsFree) {
  vintages_.BeginWalk(1000 * kSecond);
  const uint32_t kept = vintages_.NumberFor(400 * kSecond);
  vintages_.NumberFor(800 * kSecond);
  vintages_.EndWalk();
  EXPECT_EQ(InUse(), 2u);
  vintages_.BeginWalk(2000 * kSecond);
  EXPECT_EQ(vintages_.Renew(kept), kept);
  vintages_.EndWalk();
  EXPECT_EQ(InUse(), 1u);
  EXPECT_EQ(vintages_.MadeNs(kept), 400 * kSecond);
}

// Claims of two days, all of them held: none is ever said to be younger than it
// is, nor older by more than a few percent.
TEST_F(VintagesTest, NoTimeIsFarFromWhatItWas) {
  constexpr int64_t kWalkEvery = 60, kAgeAfter = 128, kEnd = 200'000;
  std::map<int64_t, uint32_t> claims;  // by second
  for (int64_t now = 1000; now <= kEnd; now += kWalkEvery) {
    vintages_.BeginWalk(now * kSecond);
    for (auto& [made, number] : claims) number = vintages_.Renew(number);
    for (int64_t made = now - kAgeAfter - kWalkEvery; made < now - kAgeAfter;
         made += 7)
      claims[made] = vintages_.NumberFor(made * kSecond);
    vintages_.EndWalk();
    ASSERT_LT(InUse(), size_t{PINWATCH_VINTAGES});
  }
  for (const auto& [made, number] : claims) {
    const double said = static_cast<double>(vintages_.MadeNs(number)) / kSecond;
    const auto was = static_cast<double>(made);
    ASSERT_LE(said, was);
    ASSERT_LE(kEnd - said, (kEnd - was) * 1.08) << "made at " << made;
  }
}

}  // namespace
}  // namespace pinwatch
