// SPDX-License-Identifier: Apache-2.0
#include "daemon/packed.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

namespace pinwatch {
namespace {

using testing::ElementsAre;

template <typename T>
T ThereAndBack(const T& value) {
  return Unpack<T>(Pack(value));
}

TEST(Packed, NumbersComeBackAsTheyWere) {
  for (const uint64_t number : {uint64_t{0}, uint64_t{1}, uint64_t{127},
                                uint64_t{128}, uint64_t{16'384}, UINT64_MAX})
    EXPECT_EQ(ThereAndBack(number), number);
  for (const int64_t number : {int64_t{0}, int64_t{-1}, int64_t{63},
                               int64_t{-64}, INT64_MIN, INT64_MAX})
    EXPECT_EQ(ThereAndBack(number), number);
  EXPECT_EQ(ThereAndBack(Certainty::kInferred), Certainty::kInferred);
  EXPECT_TRUE(ThereAndBack(true));
}

TEST(Packed, SmallNumbersTakeOneByte) {
  EXPECT_EQ(Pack(uint64_t{127}).size(), 1u);
  EXPECT_EQ(Pack(uint64_t{128}).size(), 2u);
  EXPECT_EQ(Pack(int64_t{-64}).size(), 1u);
  EXPECT_EQ(Pack(int64_t{64}).size(), 2u);
  EXPECT_EQ(Pack(UINT64_MAX).size(), 10u);
}

TEST(Packed, TextsListsAndWhatIsMissingComeBackAsTheyWere) {
  const std::string text("a\0\xff b", 5);
  EXPECT_EQ(ThereAndBack(text), text);
  EXPECT_EQ(ThereAndBack(std::string()), "");
  EXPECT_THAT(ThereAndBack(std::vector<PinCount>{{23, 46}, {0, 7}}),
              ElementsAre(PinCount{23, 46}, PinCount{0, 7}));
  EXPECT_EQ(ThereAndBack(std::optional<int>()), std::nullopt);
  EXPECT_EQ(ThereAndBack(std::optional<int>(-23)), -23);
}

TEST(Packed, TimesAreToldByTheOneBefore) {
  const std::vector<Timestamp> times = {
      {1'700'000'000'000'000'000, 23'000'000'000},
      {1'700'000'001'000'000'000, 24'000'000'000},
      {1'600'000'001'000'000'000, 24'000'000'000},  // the wall clock was set
      {INT64_MAX, INT64_MIN},
      {INT64_MIN, INT64_MAX}};
  const std::vector<Timestamp> back = ThereAndBack(times);
  ASSERT_EQ(back.size(), times.size());
  for (size_t i = 0; i < times.size(); ++i) {
    EXPECT_EQ(back[i].realtime_ns, times[i].realtime_ns) << i;
    EXPECT_EQ(back[i].monotonic_ns, times[i].monotonic_ns) << i;
  }
  EXPECT_LT(Pack(std::vector<Timestamp>(100, times[0])).size(), 250u);
}

}  // namespace
}  // namespace pinwatch
