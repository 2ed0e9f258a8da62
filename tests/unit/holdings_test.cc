// SPDX-License-Identifier: Apache-2.0
#include "daemon/holdings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pinwatch {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr int64_t kSecond = 1'000'000'000;

Timestamp At(int64_t seconds) {
  return {.realtime_ns = (1'000'000 + seconds) * kSecond,
          .monotonic_ns = seconds * kSecond};
}

Claim LongTerm(uint32_t owner, int64_t seconds) {
  return {.owner = owner, .long_term = true, .made_ns = seconds * kSecond};
}

PinGroup Group(uint64_t pages, std::vector<Claim> claims, unsigned zone = 0) {
  PinGroup group{.zone = zone,
                 .pins_a_page = 1,
                 .claims = std::move(claims),
                 .pins = {pages, pages}};
  for (const Claim& claim : group.claims)
    group.ages.push_back({{claim.made_ns, pages}});
  return group;
}

// Owners 1 and 2 live since the tenth second.
class HoldingsTest : public testing::Test {
 protected:
  HoldingsTest() {
    for (const uint32_t id : {1u, 2u})
      book_.Add({.index = id, .pid = 40 + id, .first = At(10), .last = At(99)},
                {});
  }

  HoldingRules Rules() {
    return {
        .book = book_,
        .gaps = gaps_,
        .zone_name = [](unsigned zone) { return zone ? "Movable" : "Normal"; },
        .is_pinless = [this](int nid) { return nid == pinless_; },
        .overdue_ns = 5 * kSecond,
        .now = now_};
  }

  Holdings Hold(std::vector<PinGroup> groups) {
    Holdings holdings;
    AddHoldings({.time = look_, .pins = std::move(groups)}, Rules(), holdings);
    return holdings;
  }

  std::vector<PinKinds> Kinds(const Holdings& holdings) const {
    return KindsAt(holdings, now_);
  }

  OwnerBook book_;
  ClaimGaps gaps_;
  int pinless_ = -1;
  Timestamp look_ = At(100);
  Timestamp now_ = At(100);
};

TEST_F(HoldingsTest, PagesOfAZoneHeldAlikeAddUp) {
  const Holdings holdings =
      Hold({Group(23, {LongTerm(1, 50)}), Group(7, {LongTerm(1, 40)}),
            Group(3, {LongTerm(1, 60)}, 1)});
  EXPECT_THAT(
      holdings.attributions,
      ElementsAre(PinAttribution{0, "Normal", Certainty::kHeld, "", {30, 30}},
                  PinAttribution{0, "Movable", Certainty::kHeld, "", {3, 3}}));
  EXPECT_THAT(
      holdings.by_owner.at(1),
      ElementsAre(
          PinHolding{.zone = "Normal", .pins = {30, 30}, .since = At(40)},
          PinHolding{.zone = "Movable", .pins = {3, 3}, .since = At(60)}));
}

TEST_F(HoldingsTest, EachPageCountsOnceInAttributionsAndWithEachClaimant) {
  PinGroup shared = Group(23, {LongTerm(1, 50), LongTerm(2, 60)});
  shared.pins_a_page = 2;
  shared.pins.references = 46;
  const Holdings holdings = Hold({shared});
  EXPECT_THAT(holdings.attributions,
              ElementsAre(PinAttribution{
                  0, "Normal", Certainty::kShared, "", {23, 46}}));
  EXPECT_EQ(holdings.by_owner.at(1)[0].pins, (PinCount{23, 46}));
  EXPECT_EQ(holdings.by_owner.at(2)[0].pins, (PinCount{23, 46}));
  EXPECT_EQ(holdings.by_owner.at(2)[0].since, At(60));
}

TEST_F(HoldingsTest, PagesAreOfTheKindOfThoseWhoHoldThem) {
  Claim brief = LongTerm(2, 99);
  brief.long_term = false;
  PinGroup shared = Group(7, {LongTerm(1, 50), brief});
  shared.pins_a_page = 2;
  const PinGroup one_of = Group(11, {LongTerm(1, 50), LongTerm(2, 50)});
  const PinGroup either = Group(13, {LongTerm(1, 50), brief});
  const Holdings holdings =
      Hold({Group(23, {LongTerm(1, 50)}), Group(3, {brief}), shared, one_of,
            either, Group(17, {}), Group(5, {LongTerm(1, 50)}, 1)});
  ASSERT_EQ(Kinds(holdings).size(), 2u);
  const PinKinds normal = Kinds(holdings)[0];
  EXPECT_EQ(normal.zone, "Normal");
  EXPECT_EQ(normal.long_term, 23u + 7u + 11u);
  EXPECT_EQ(normal.short_term, 3u);
  EXPECT_EQ(normal.unknown, 13u + 17u);
  EXPECT_EQ(Kinds(holdings)[1].zone, "Movable");
  EXPECT_EQ(Kinds(holdings)[1].long_term, 5u);
}

// 1s, 10s, 1m, 10m, 1h, 1d, 7d.
using Older = std::array<uint64_t, kNrPinAges>;

TEST_F(HoldingsTest, PagesCountWithEachAgeThatTheyCertainlyHave) {
  now_ = At(4000);
  PinGroup group = Group(23 + 7 + 3, {LongTerm(1, 40)});
  group.ages = {{{40 * kSecond, 23}, {3939 * kSecond, 7}, {3998 * kSecond, 3}}};
  const PinKinds kinds = Kinds(Hold({group})).at(0);
  // A claim of the second 3939 may have been made at its end.
  EXPECT_EQ(kinds.long_term_older, (Older{30, 30, 23, 23, 23}));
  EXPECT_EQ(kinds.short_term_older, Older{});
}

TEST_F(HoldingsTest, OfSeveralHoldersTheFirstTellsTheAge) {
  PinGroup shared = Group(7, {LongTerm(1, 90), LongTerm(2, 20)});
  shared.pins_a_page = 2;
  EXPECT_EQ(Kinds(Hold({shared})).at(0).long_term_older, (Older{7, 7, 7}));
}

TEST_F(HoldingsTest, AShortTermPinIsAsOldAsTheLookSawIt) {
  Claim brief = LongTerm(1, 88);
  brief.long_term = false;
  now_ = At(4000);
  const Holdings holdings = Hold({Group(3, {brief})});
  EXPECT_EQ(Kinds(holdings).at(0).short_term_older, (Older{3}));
  EXPECT_EQ(holdings.by_owner.at(1)[0].overdue_pages, 3u);
}

TEST_F(HoldingsTest, AShortTermPinOfTheLastSecondsIsNotOverdue) {
  Claim brief = LongTerm(1, 93);
  brief.long_term = false;
  const Holdings holdings = Hold({Group(3, {brief})});
  EXPECT_EQ(holdings.by_owner.at(1)[0].overdue_pages, 0u);
}

TEST_F(HoldingsTest, WhatNobodyHoldsForSureHasNoAge) {
  Claim ended = LongTerm(1, 20);
  book_.SetEnded(1);
  const PinKinds kinds = Kinds(Hold({Group(7, {ended})})).at(0);
  EXPECT_EQ(kinds.unknown, 7u);
  EXPECT_EQ(kinds.long_term_older, Older{});
}

TEST_F(HoldingsTest, ARangeOf2MiBCountsOnceForTheZoneAndForEachHolder) {
  PinGroup first = Group(3, {LongTerm(1, 50)});
  first.huge_ranges = {4, 5};
  // Of the same owner, but in another holding.
  PinGroup second = Group(2, {LongTerm(1, 50)});
  second.cma = true;
  second.huge_ranges = {5, 9};
  PinGroup other = Group(1, {LongTerm(2, 50)});
  other.huge_ranges = {9};
  Holdings holdings = Hold({first, second, other});
  EXPECT_EQ(Kinds(holdings).at(0).huge_ranges, 3u);
  ASSERT_EQ(holdings.by_owner.at(1).size(), 2u);
  EXPECT_EQ(holdings.by_owner.at(1)[0].huge_ranges, 2u);
  EXPECT_EQ(holdings.by_owner.at(1)[1].huge_ranges, 1u);
  EXPECT_EQ(holdings.by_owner.at(2).at(0).huge_ranges, 1u);
  // Another block has others.
  AddHoldings({.time = look_, .pins = {other}}, Rules(), holdings);
  EXPECT_EQ(Kinds(holdings).at(0).huge_ranges, 4u);
  EXPECT_EQ(holdings.by_owner.at(2).at(0).huge_ranges, 2u);
}

TEST_F(HoldingsTest, PagesOfCmaAreToldApart) {
  PinGroup cma = Group(7, {LongTerm(1, 50)});
  cma.cma = true;
  const Holdings holdings = Hold({Group(23, {LongTerm(1, 50)}), cma});
  EXPECT_EQ(Kinds(holdings).at(0).long_term, 30u);
  EXPECT_EQ(Kinds(holdings).at(0).long_term_in_cma, 7u);
  ASSERT_EQ(holdings.by_owner.at(1).size(), 2u);
  EXPECT_FALSE(holdings.by_owner.at(1)[0].cma);
  EXPECT_TRUE(holdings.by_owner.at(1)[1].cma);
  EXPECT_EQ(holdings.by_owner.at(1)[1].pins.pages, 7u);
}

TEST_F(HoldingsTest, UnattributedPagesAreNobodys) {
  const Holdings holdings = Hold({Group(23, {}), Group(7, {LongTerm(99, 50)})});
  EXPECT_THAT(holdings.by_owner, IsEmpty());
  EXPECT_THAT(
      holdings.attributions,
      ElementsAre(
          PinAttribution{
              0, "Normal", Certainty::kUnattributed, "no_claim", {23, 23}},
          PinAttribution{
              0, "Normal", Certainty::kUnattributed, "owner_unknown", {7, 7}}));
}

TEST_F(HoldingsTest, WhoIsInferredIsNoOwnerAndTotalsStillAddUp) {
  Inference inference{.candidates = {{.holder = {.process = {.pid = 51}}},
                                     {.holder = {.process = {.pid = 50}}}},
                      .mapped_by = {{700, {0}}, {1024, {0, 1}}, {900, {}}}};
  PinGroup unclaimed = Group(3 + 512, {});
  unclaimed.pins.references = 4;
  unclaimed.unclaimed = {{700, 1, 1}, {1024, 512, 1}, {900, 1, 1}};
  HoldingRules rules = Rules();
  rules.inference = &inference;
  Holdings holdings;
  AddHoldings({.time = look_, .pins = {Group(7, {LongTerm(1, 50)}), unclaimed}},
              rules, holdings);
  EXPECT_THAT(
      holdings.attributions,
      ElementsAre(
          PinAttribution{0, "Normal", Certainty::kHeld, "", {7, 7}},
          PinAttribution{
              0, "Normal", Certainty::kInferred, "mapped_by_one", {1, 1}},
          PinAttribution{
              0, "Normal", Certainty::kInferred, "mapped_by_several", {512, 1}},
          PinAttribution{
              0, "Normal", Certainty::kUnattributed, "no_candidate", {1, 1}},
          PinAttribution{
              0, "Normal", Certainty::kUnattributed, "not_searched", {1, 1}}));
  EXPECT_EQ(holdings.by_owner.size(), 1u);
  EXPECT_EQ(Kinds(holdings).at(0).unknown, 3u + 512u);
  const std::vector<InferredHolder> holders = InferredHolders(holdings, rules);
  ASSERT_EQ(holders.size(), 2u);
  EXPECT_EQ(holders[0].process.pid, 50u);
  EXPECT_THAT(holders[0].pages,
              ElementsAre(InferredPages{0, "Normal", false, {512, 1}}));
  EXPECT_THAT(holders[1].pages,
              ElementsAre(InferredPages{0, "Normal", true, {1, 1}},
                          InferredPages{0, "Normal", false, {512, 1}}));
}

TEST_F(HoldingsTest, NothingIsHeldOnANodeWhoseCounterIsZero) {
  pinless_ = 0;
  EXPECT_THAT(Hold({Group(23, {LongTerm(1, 50)})}).attributions, IsEmpty());
}

TEST_F(HoldingsTest, NothingIsHeldForLongerThanItsOwnerIsKnown) {
  const Holdings holdings = Hold({Group(23, {LongTerm(1, 9)})});
  EXPECT_EQ(holdings.by_owner.at(1)[0].since, At(10));
  EXPECT_TRUE(holdings.by_owner.at(1)[0].since_exact);
}

TEST_F(HoldingsTest, OneAgeThatIsNotExactMakesTheSumsNotExact) {
  Claim old = LongTerm(1, 20);
  old.exact = false;
  const Holdings holdings =
      Hold({Group(23, {LongTerm(1, 50)}), Group(7, {old})});
  EXPECT_EQ(holdings.by_owner.at(1)[0].since, At(20));
  EXPECT_FALSE(holdings.by_owner.at(1)[0].since_exact);
}

TEST_F(HoldingsTest, ThoseWhoHoldNothingAreNoHolders) {
  const Holdings holdings = Hold({Group(23, {LongTerm(2, 50)})});
  const std::vector<PinOwner> holders = HoldersOf(holdings, book_);
  ASSERT_EQ(holders.size(), 1u);
  EXPECT_EQ(holders[0].id, 2u);
  EXPECT_EQ(holders[0].holdings.size(), 1u);
}

TEST_F(HoldingsTest, BlockersAreTheListedPagesThatDoNotMove) {
  BlockLook look;
  look.listed = {{.pfn = 1, .page = PAGE_KERNEL, .refcount = 1},
                 {.pfn = 2, .page = PAGE_HUGETLB},
                 {.pfn = 3, .page = PAGE_UNSTABLE},
                 {.pfn = 4, .page = PAGE_OFFLINE},
                 {.pfn = 5,
                  .page = PAGE_PINNED_EXACT,
                  .refcount = 1025,
                  .pins = 1,
                  .claims = {LongTerm(1, 50)}},
                 {.pfn = 6, .page = PAGE_PINNED_EXACT, .pins = 1}};
  const std::vector<BlockingPage> blockers = BlockersOf(look, Rules());
  ASSERT_EQ(blockers.size(), 3u);
  EXPECT_EQ(blockers[0].pfn, 1u);
  EXPECT_EQ(blockers[0].certainty, Certainty::kUnattributed);
  EXPECT_EQ(blockers[1], (BlockingPage{.pfn = 5,
                                       .page = PAGE_PINNED_EXACT,
                                       .refcount = 1025,
                                       .pins = 1,
                                       .certainty = Certainty::kHeld,
                                       .owners = {1}}));
  EXPECT_EQ(blockers[2].pfn, 6u);
  EXPECT_THAT(blockers[2].owners, IsEmpty());
}

}  // namespace
}  // namespace pinwatch
