// SPDX-License-Identifier: Apache-2.0
#include "daemon/looks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pinwatch {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// A look at a time in seconds, at one zone with so many pinned pages.
BlockLook Look(uint64_t block, int64_t seconds, uint64_t pinned,
               unsigned zone = 2) {
  BlockLook look{.block_id = block,
                 .time = {.realtime_ns = seconds * 7, .monotonic_ns = seconds},
                 .status = CENSUS_OK,
                 .zones = {{.nid = 0, .zone = zone}}};
  look.zones[0].cells[1].pages[PAGE_PINNED_EXACT] = pinned;
  look.zones[0].cells[1].exact_pin_refs = 2 * pinned;
  look.zones[0].cells[1].large_pin_refs = 3 * pinned;
  look.zones[0].cells[1].loose_pin_refs = 4 * pinned;
  if (pinned) look.pins.resize(1);
  return look;
}

TEST(Looks, AddUpByZone) {
  Looks looks;
  looks.SetBlocks({{1, 0}, {2, 0}, {3, 0}});
  looks.Set(Look(1, 10, 23));
  looks.Set(Look(2, 5, 7));
  looks.Set(Look(3, 20, 0, 3));
  ASSERT_EQ(looks.totals().size(), 2u);
  const Looks::ZoneTotals& zone = looks.totals().at({0, 2});
  EXPECT_EQ(zone.cells[1].pages[PAGE_PINNED_EXACT], 30u);
  EXPECT_EQ(zone.cells[1].exact_pin_refs, 60u);
  EXPECT_EQ(zone.oldest_look().monotonic_ns, 5);
  EXPECT_EQ(zone.oldest_look().realtime_ns, 35);
  EXPECT_THAT(looks.with_pins(), ElementsAre(1, 2));
}

TEST(Looks, AnotherTakesThePlaceOfTheLast) {
  Looks looks;
  looks.SetBlocks({{1, 0}, {2, 0}});
  looks.Set(Look(1, 10, 23));
  looks.Set(Look(2, 5, 7));
  looks.Set(Look(2, 30, 0));
  const Looks::ZoneTotals& zone = looks.totals().at({0, 2});
  EXPECT_EQ(zone.cells[1].pages[PAGE_PINNED_EXACT], 23u);
  EXPECT_EQ(zone.cells[1].exact_pin_refs, 46u);
  EXPECT_EQ(zone.cells[1].large_pin_refs, 69u);
  EXPECT_EQ(zone.cells[1].loose_pin_refs, 92u);
  EXPECT_EQ(zone.oldest_look().monotonic_ns, 10);
  EXPECT_THAT(looks.with_pins(), ElementsAre(1));
  EXPECT_THAT(looks.UnseenSince(100), ElementsAre(1, 2));
}

TEST(Looks, OfBlocksThatHaveGoneAreForgotten) {
  Looks looks;
  looks.SetBlocks({{1, 0}, {2, 0}});
  looks.Set(Look(1, 10, 23));
  looks.Set(Look(2, 5, 7, 3));
  looks.SetBlocks({{1, 0}});
  EXPECT_FALSE(looks.Find(2));
  EXPECT_EQ(looks.totals().size(), 1u);
  EXPECT_THAT(looks.with_pins(), ElementsAre(1));
  EXPECT_THAT(looks.UnseenSince(100), ElementsAre(1));
}

TEST(Looks, BlocksNeverLookedAtComeFirst) {
  Looks looks;
  looks.SetBlocks({{1, 0}, {2, 1}, {3, -1}, {4, 0}});
  looks.Set(Look(1, 10, 0));
  looks.Set(Look(4, 5, 0));
  EXPECT_THAT(looks.UnseenSince(10), ElementsAre(2, 3, 4));
  EXPECT_THAT(looks.UnseenSince(11), ElementsAre(2, 3, 4, 1));
  EXPECT_EQ(looks.LongestUnseen(), 2u);
  looks.Set(Look(2, 7, 0));
  looks.Set(Look(3, 8, 0));
  EXPECT_EQ(looks.LongestUnseen(), 4u);
  EXPECT_EQ(looks.nr_blocks(), 4u);
}

TEST(Looks, AreKeptOfBlocksThatAreNotListedYet) {
  Looks looks;
  looks.Set(Look(1, 10, 23));
  EXPECT_THAT(looks.UnseenSince(100), IsEmpty());
  EXPECT_EQ(looks.LongestUnseen(), std::nullopt);
  ASSERT_TRUE(looks.Find(1));
  looks.SetBlocks({{1, 0}});
  EXPECT_THAT(looks.UnseenSince(100), ElementsAre(1));
}

}  // namespace
}  // namespace pinwatch
