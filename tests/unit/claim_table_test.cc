// SPDX-License-Identifier: Apache-2.0
#include "daemon/claim_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <memory>

namespace pinwatch {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr int64_t kSecond = 1'000'000'000;

// Ticks at 2,000 s and before are not yet those of one round ago.
constexpr int64_t kNow = 2000;

uint32_t Tick(int64_t seconds) {
  return static_cast<uint32_t>(1 + seconds % PINWATCH_TICKS);
}

uint32_t Word(uint32_t owner, int64_t seconds) {
  return owner << PINWATCH_TICK_BITS | Tick(seconds);
}

Claim LongTerm(uint32_t owner, int64_t seconds) {
  return {.owner = owner, .long_term = true, .made_ns = seconds * kSecond};
}

Claim ShortTerm(uint32_t owner, int64_t seconds) {
  return {.owner = owner, .long_term = false, .made_ns = seconds * kSecond};
}

ClaimRun RunOf(uint64_t pfn, uint32_t nr_pages, uint32_t owner,
               int64_t seconds) {
  return {{.pfn = pfn, .owner = owner},
          {.nr_pages = nr_pages, .tick = Tick(seconds)}};
}

census_page Page(uint64_t pfn, page_class page = PAGE_PINNED_EXACT,
                 int32_t pins = 1) {
  return {.pfn = pfn,
          .head_pfn = pfn,
          .pins = pins,
          .refcount = 1025,
          .nr_pages = 1,
          .page_class = static_cast<__u8>(page)};
}

census_page Folio(uint64_t pfn, uint16_t nr_pages, int32_t pins) {
  census_page page = Page(pfn, PAGE_PINNED_LARGE, pins);
  page.nr_pages = nr_pages;
  page.order = std::countr_zero(nr_pages);
  page.flags = CENSUS_PAGE_LARGE | CENSUS_PAGE_ANON;
  return page;
}

// Claims on the first two sections; the second has no chunk unless the test
// gives it one.
class ClaimTableTest : public testing::Test {
 protected:
  ClaimTableTest() {
    table_.AddChunk(0, chunk_.get());
    table_.SetShortClaims(short_claims_.data());
  }

  // What a look at 4,096 pages finds that began at kNow.
  BlockLook Look(const std::vector<census_page>& pages,
                 int64_t seconds = kNow) {
    table_.BeginLook(0, 4096);
    return Finish(pages, seconds);
  }

  BlockLook Finish(const std::vector<census_page>& pages,
                   int64_t seconds = kNow, uint64_t end_pfn = 4096) {
    BlockLook look;
    table_.FinishLook(end_pfn, pages, {.nid = 0, .zone = 1}, seconds * kSecond,
                      /*list_pages=*/true, look);
    return look;
  }

  void ClaimForShort(uint64_t pfn, uint32_t word) {
    short_claims_[pfn % PINWATCH_SHORT_CLAIMS] =
        pfn / PINWATCH_SHORT_CLAIMS << 32 | word;
  }

  uint32_t& claim(uint64_t pfn) { return chunk_->claim[pfn]; }
  uint64_t& short_claim(uint64_t pfn) {
    return short_claims_[pfn % PINWATCH_SHORT_CLAIMS];
  }

  std::unique_ptr<claim_chunk> chunk_ = std::make_unique<claim_chunk>();
  std::unique_ptr<claim_chunk> second_chunk_ = std::make_unique<claim_chunk>();
  std::vector<uint64_t> short_claims_ =
      std::vector<uint64_t>(PINWATCH_SHORT_CLAIMS);
  ClaimTable table_;
};

TEST_F(ClaimTableTest, AClaimOnAPinnedPageIsJoinedWithItsPins) {
  claim(23) = Word(5, kNow - 7);
  const BlockLook look = Look({Page(23)});
  ASSERT_EQ(look.pins.size(), 1u);
  EXPECT_THAT(look.pins[0].claims, ElementsAre(LongTerm(5, kNow - 7)));
  EXPECT_EQ(look.pins[0].pins, (PinCount{1, 1}));
  EXPECT_EQ(look.pins[0].zone, 1u);
  EXPECT_EQ(claim(23), Word(5, kNow - 7));
}

TEST_F(ClaimTableTest, APinnedPageWithoutAClaimHasNoClaimant) {
  const BlockLook look = Look({Page(23)});
  ASSERT_EQ(look.pins.size(), 1u);
  EXPECT_THAT(look.pins[0].claims, IsEmpty());
}

TEST_F(ClaimTableTest, PagesAlikeMakeOneGroupWhoseAgeIsTheOldest) {
  claim(23) = Word(5, kNow - 7);
  claim(24) = Word(5, kNow - 9);
  claim(25) = Word(6, kNow - 7);
  const BlockLook look = Look({Page(23), Page(24), Page(25)});
  ASSERT_EQ(look.pins.size(), 2u);
  EXPECT_THAT(look.pins[0].claims, ElementsAre(LongTerm(5, kNow - 9)));
  EXPECT_EQ(look.pins[0].pins, (PinCount{2, 2}));
  EXPECT_THAT(look.pins[1].claims, ElementsAre(LongTerm(6, kNow - 7)));
}

TEST_F(ClaimTableTest, AGroupKnowsTheAgesOfItsPages) {
  claim(23) = Word(5, kNow - 7);
  claim(24) = Word(5, kNow - 9);
  claim(25) = Word(5, kNow - 7);
  const BlockLook look = Look({Page(23), Page(24), Page(25)});
  ASSERT_EQ(look.pins.size(), 1u);
  ASSERT_EQ(look.pins[0].ages.size(), 1u);
  EXPECT_THAT(look.pins[0].ages[0],
              ElementsAre(AgedPages{(kNow - 7) * kSecond, 2},
                          AgedPages{(kNow - 9) * kSecond, 1}));
}

TEST_F(ClaimTableTest, PagesOfCmaAreAGroupOfTheirOwn) {
  claim(23) = claim(24) = Word(5, kNow - 7);
  census_page cma = Page(24);
  cma.flags |= CENSUS_PAGE_CMA;
  const BlockLook look = Look({Page(23), cma});
  ASSERT_EQ(look.pins.size(), 2u);
  EXPECT_FALSE(look.pins[0].cma);
  EXPECT_TRUE(look.pins[1].cma);
  EXPECT_TRUE(look.listed.at(1).cma);
}

TEST_F(ClaimTableTest, AGroupKnowsTheRangesOf2MiBItsPagesBreak) {
  const BlockLook look =
      Look({Page(23), Page(511), Page(512), Page(2048), Page(2049)});
  ASSERT_EQ(look.pins.size(), 1u);
  EXPECT_THAT(look.pins[0].huge_ranges, ElementsAre(0, 1, 4));
}

TEST_F(ClaimTableTest, AHugePageThatIsPinnedAsAWholeBreaksNone) {
  const BlockLook look = Look({Folio(512, 512, 1), Folio(1024, 256, 1)});
  std::vector<uint64_t> ranges;
  for (const PinGroup& group : look.pins)
    ranges.insert(ranges.end(), group.huge_ranges.begin(),
                  group.huge_ranges.end());
  EXPECT_THAT(ranges, ElementsAre(2));
}

TEST_F(ClaimTableTest, PinsBeyondOneMoreThanTheClaimsMakeNoGroupOfTheirOwn) {
  claim(23) = Word(5, kNow - 7);
  claim(24) = Word(5, kNow - 7);
  const BlockLook look =
      Look({Page(23, PAGE_PINNED_EXACT, 2), Page(24, PAGE_PINNED_EXACT, 7)});
  ASSERT_EQ(look.pins.size(), 1u);
  EXPECT_EQ(look.pins[0].pins_a_page, 2u);
  EXPECT_EQ(look.pins[0].pins, (PinCount{2, 9}));
}

TEST_F(ClaimTableTest, AClaimOnAPageFoundUnpinnedIsClearedAfterTwoSeconds) {
  claim(23) = Word(5, kNow - 1);
  claim(24) = Word(5, kNow - 2);
  Look({});
  EXPECT_EQ(claim(23), Word(5, kNow - 1));
  EXPECT_EQ(claim(24), 0u);
}

TEST_F(ClaimTableTest, AClaimMadeUnderTheLookSurvivesIt) {
  claim(23) = Word(5, kNow - 7);
  claim(24) = 0;
  table_.BeginLook(0, 4096);
  claim(23) = Word(6, kNow);
  claim(24) = Word(6, kNow);
  Finish({});
  EXPECT_EQ(claim(23), Word(6, kNow));
  EXPECT_EQ(claim(24), Word(6, kNow));
}

TEST_F(ClaimTableTest, AShortTermClaimMadeUnderTheLookSurvivesIt) {
  ClaimForShort(23, Word(5, kNow - 7));
  table_.BeginLook(0, 4096);
  ClaimForShort(23, Word(6, kNow));
  Finish({});
  EXPECT_EQ(short_claim(23), Word(6, kNow));
}

TEST_F(ClaimTableTest, BiasedAndUnstablePagesKeepTheirClaimsWithoutAHolder) {
  claim(23) = Word(5, kNow - 7);
  claim(24) = Word(5, kNow - 7);
  const BlockLook look =
      Look({Page(23, PAGE_BIASED, 0), Page(24, PAGE_UNSTABLE, 0)});
  EXPECT_THAT(look.pins, IsEmpty());
  EXPECT_EQ(claim(23), Word(5, kNow - 7));
  EXPECT_EQ(claim(24), Word(5, kNow - 7));
}

TEST_F(ClaimTableTest, AListedPageOfAnotherClassKeepsNoClaim) {
  claim(23) = Word(5, kNow - 7);
  Look({Page(23, PAGE_ELEVATED, 0)});
  EXPECT_EQ(claim(23), 0u);
}

TEST_F(ClaimTableTest, WhatTheLookDidNotReachKeepsItsClaim) {
  claim(23) = Word(5, kNow - 7);
  claim(1024) = Word(5, kNow - 7);
  table_.BeginLook(0, 4096);
  Finish({}, kNow, /*end_pfn=*/1024);
  EXPECT_EQ(claim(23), 0u);
  EXPECT_EQ(claim(1024), Word(5, kNow - 7));
}

TEST_F(ClaimTableTest, ATickOfOneRoundAgoIsToldFromOneOfNow) {
  claim(23) = Word(5, kNow - PINWATCH_TICKS + 2);
  const BlockLook look = Look({Page(23)});
  EXPECT_THAT(look.pins[0].claims,
              ElementsAre(LongTerm(5, kNow - PINWATCH_TICKS + 2)));
}

TEST_F(ClaimTableTest, ATickOfTheSecondThatHasJustBegunIsNew) {
  claim(23) = Word(5, kNow + 1);
  const BlockLook look = Look({Page(23)});
  EXPECT_THAT(look.pins[0].claims, ElementsAre(LongTerm(5, kNow)));
}

TEST_F(ClaimTableTest, TicksComeRoundAfterFiveHundredAndElevenSeconds) {
  const int64_t last = 2 * PINWATCH_TICKS - 1;  // its tick is the highest
  ASSERT_EQ(Tick(last), 511u);
  ASSERT_EQ(Tick(last + 1), 1u);
  claim(23) = Word(5, last);
  claim(24) = Word(5, last + 1);
  const BlockLook look = Look({Page(23), Page(24)}, last + 1);
  ASSERT_EQ(look.pins.size(), 1u);
  EXPECT_THAT(look.pins[0].claims, ElementsAre(LongTerm(5, last)));
}

TEST_F(ClaimTableTest, AnOldClaimKeepsItsAgeWhenTicksComeRound) {
  claim(23) = Word(5, kNow - 130);
  claim(24) = Word(5, kNow - 7);
  table_.Age(kNow * kSecond);
  EXPECT_EQ(claim(24), Word(5, kNow - 7));
  for (int64_t later = kNow; later <= kNow + 6000; later += 60)
    table_.Age(later * kSecond);
  const BlockLook look = Look({Page(23)}, kNow + 6000);
  // To four seconds.
  EXPECT_THAT(look.pins[0].claims, ElementsAre(LongTerm(5, kNow - 132)));
}

TEST_F(ClaimTableTest, ClaimsOfOneOwnerKeepAgesOfTheirOwn) {
  claim(23) = Word(5, kNow - 400);
  claim(24) = Word(5, kNow - 200);
  table_.Age(kNow * kSecond);
  const BlockLook look = Look({Page(23), Page(24)});
  EXPECT_THAT(look.listed.at(0).claims, ElementsAre(LongTerm(5, kNow - 400)));
  EXPECT_THAT(look.listed.at(1).claims, ElementsAre(LongTerm(5, kNow - 200)));
}

TEST_F(ClaimTableTest, WithoutAgeingForTooLongAClaimIsOldAndNoMore) {
  claim(22) = Word(5, kNow - 130);
  table_.Age(kNow * kSecond);
  claim(23) = Word(5, kNow + 7);
  table_.Age((kNow + PINWATCH_TICKS) * kSecond);
  Claim expected = LongTerm(5, kNow + PINWATCH_TICKS);
  expected.exact = false;
  const BlockLook look = Look({Page(22), Page(23)}, kNow + 5000);
  // What had an age by then keeps it.
  EXPECT_THAT(look.listed.at(0).claims, ElementsAre(LongTerm(5, kNow - 132)));
  EXPECT_THAT(look.listed.at(1).claims, ElementsAre(expected));
}

TEST_F(ClaimTableTest, OldShortTermClaimsAreForgotten) {
  ClaimForShort(23, Word(5, kNow - 300));
  ClaimForShort(24, Word(5, kNow - 7));
  table_.Age(kNow * kSecond);
  EXPECT_EQ(short_claim(23), 0u);
  EXPECT_EQ(short_claim(24), Word(5, kNow - 7));
}

TEST_F(ClaimTableTest, AClaimOfLongAgoIsClearedLikeAnyOther) {
  claim(23) = 5u << PINWATCH_TICK_BITS;
  Look({});
  EXPECT_EQ(claim(23), 0u);
}

TEST_F(ClaimTableTest, OfClaimsTakenOverTheAgesThatTicksStillTellAreKept) {
  claim(23) = Word(5, kNow - 120);
  claim(24) = Word(5, kNow + 200);  // while there was no daemon
  table_.TakeOver(kNow * kSecond, 0, (kNow + 300) * kSecond);
  const BlockLook look = Look({Page(23), Page(24)}, kNow + 300);
  EXPECT_THAT(look.listed.at(0).claims, ElementsAre(LongTerm(5, kNow - 120)));
  EXPECT_THAT(look.listed.at(1).claims, ElementsAre(LongTerm(5, kNow + 200)));
}

TEST_F(ClaimTableTest, OfClaimsTakenOverTicksThatMayHaveComeRoundSayNoMore) {
  std::array<uint64_t, PINWATCH_VINTAGES> vintages{};
  vintages[7] = 400 * kSecond;
  table_.SetVintages(vintages.data());
  claim(22) = 5u << PINWATCH_TICK_BITS | (PINWATCH_TICKS + 1 + 7);
  claim(23) = Word(5, kNow - 120);
  claim(24) = 5u << PINWATCH_TICK_BITS;
  ClaimForShort(25, Word(5, kNow));
  table_.TakeOver(kNow * kSecond, 300 * kSecond, (kNow + 400) * kSecond);
  EXPECT_EQ(table_.long_ago_ns(), (kNow + 400) * kSecond);
  const BlockLook look = Look({Page(22), Page(23), Page(24)}, kNow + 500);
  EXPECT_THAT(look.listed.at(0).claims, ElementsAre(LongTerm(5, 400)));
  Claim expected = LongTerm(5, kNow + 400);
  expected.exact = false;
  EXPECT_THAT(look.listed.at(1).claims, ElementsAre(expected));
  EXPECT_THAT(look.listed.at(2).claims, ElementsAre(expected));
  EXPECT_EQ(short_claim(25), 0u);
}

TEST_F(ClaimTableTest, ARunIsAClaimOnEachOfItsPagesAndOnNoOther) {
  table_.SetRuns({RunOf(23, 7, 5, kNow - 7)});
  const BlockLook look = Look({Page(22), Page(23), Page(29), Page(30)});
  ASSERT_EQ(look.pins.size(), 2u);
  EXPECT_THAT(look.pins[0].claims, IsEmpty());
  EXPECT_EQ(look.pins[0].pins, (PinCount{2, 2}));
  EXPECT_THAT(look.pins[1].claims, ElementsAre(LongTerm(5, kNow - 7)));
  EXPECT_EQ(look.pins[1].pins, (PinCount{2, 2}));
}

TEST_F(ClaimTableTest, ARunBesideAClaimMakesTwoClaimants) {
  claim(23) = Word(6, kNow - 9);
  table_.SetRuns({RunOf(23, 1, 5, kNow - 7)});
  const BlockLook look = Look({Page(23, PAGE_PINNED_EXACT, 2)});
  EXPECT_THAT(look.pins[0].claims,
              ElementsAre(LongTerm(5, kNow - 7), LongTerm(6, kNow - 9)));
  EXPECT_THAT(table_.TakeDeadRuns(), IsEmpty());
}

TEST_F(ClaimTableTest, ARunSettlesInAChunkThatHasRoom) {
  table_.SetRuns({RunOf(23, 2, 5, kNow - 7)});
  Look({Page(23), Page(24)});
  EXPECT_EQ(claim(23), Word(5, kNow - 7));
  EXPECT_EQ(claim(24), Word(5, kNow - 7));
  EXPECT_EQ(table_.TakeDeadRuns().size(), 1u);
  EXPECT_THAT(table_.TakeDeadRuns(), IsEmpty());
  EXPECT_THAT(table_.runs(), IsEmpty());
}

TEST_F(ClaimTableTest, ARunWhosePagesAreFoundUnpinnedDies) {
  table_.SetRuns({RunOf(23, 7, 5, kNow - 7)});
  Look({});
  EXPECT_EQ(table_.TakeDeadRuns().size(), 1u);
  EXPECT_EQ(claim(23), 0u);
}

TEST_F(ClaimTableTest, AYoungRunIsLeftForTheNextLook) {
  table_.SetRuns({RunOf(23, 7, 5, kNow - 1)});
  Look({});
  EXPECT_THAT(table_.TakeDeadRuns(), IsEmpty());
  EXPECT_EQ(table_.runs().size(), 1u);
}

TEST_F(ClaimTableTest, ARunWithoutAChunkLivesAsLongAsOneOfItsPagesIsPinned) {
  table_.SetRuns({RunOf(32768, 7, 5, kNow - 7)});
  table_.BeginLook(32768, 36864);
  const BlockLook look = Finish({Page(32770)}, kNow, 36864);
  EXPECT_THAT(look.pins[0].claims, ElementsAre(LongTerm(5, kNow - 7)));
  EXPECT_THAT(table_.TakeDeadRuns(), IsEmpty());
}

TEST_F(ClaimTableTest, ARunInSeveralLooksDiesOnceAllOfThemHaveSeenIt) {
  table_.SetRuns({RunOf(4000, 200, 5, kNow - 7)});
  Look({});
  EXPECT_THAT(table_.TakeDeadRuns(), IsEmpty());
  table_.SetRuns({RunOf(4000, 200, 5, kNow - 7)});
  table_.BeginLook(4096, 8192);
  Finish({}, kNow, 8192);
  EXPECT_EQ(table_.TakeDeadRuns().size(), 1u);
}

TEST_F(ClaimTableTest, ARunInSeveralLooksLivesWhenOneOfThemFindsAPin) {
  table_.AddChunk(0, chunk_.get());
  claim(4001) = Word(6, kNow - 9);
  table_.SetRuns({RunOf(4000, 200, 5, kNow - 7)});
  Look({Page(4001, PAGE_PINNED_EXACT, 2)});
  table_.BeginLook(4096, 8192);
  Finish({}, kNow, 8192);
  EXPECT_THAT(table_.TakeDeadRuns(), IsEmpty());
}

TEST_F(ClaimTableTest, ARunMadeAgainBetweenItsLooksBeginsAnew) {
  table_.SetRuns({RunOf(4000, 200, 5, kNow - 7)});
  Look({});
  table_.SetRuns({RunOf(4000, 200, 5, kNow - 3)});
  table_.BeginLook(4096, 8192);
  Finish({}, kNow, 8192);
  EXPECT_THAT(table_.TakeDeadRuns(), IsEmpty());
}

TEST_F(ClaimTableTest, AnOldRunIsToHaveAnotherTick) {
  table_.SetRuns({RunOf(23, 7, 5, kNow - 300), RunOf(99, 7, 6, kNow - 7)});
  table_.Age(kNow * kSecond);
  const std::vector<ClaimRun> aged = table_.TakeAgedRuns();
  ASSERT_EQ(aged.size(), 1u);
  EXPECT_EQ(aged[0].first.owner, 5u);
  EXPECT_THAT(table_.TakeAgedRuns(), IsEmpty());
  table_.SetRuns(aged);
  EXPECT_THAT(Look({Page(23)}, kNow + 5000).pins.at(0).claims,
              ElementsAre(LongTerm(5, kNow - 300)));
}

TEST_F(ClaimTableTest, AShortTermClaimIsKnownByItsTag) {
  ClaimForShort(23, Word(5, kNow - 1));
  ClaimForShort(65536 + 24, Word(6, kNow - 1));
  const BlockLook look = Look({Page(23), Page(24)});
  ASSERT_EQ(look.pins.size(), 2u);
  EXPECT_THAT(look.pins[0].claims, ElementsAre(ShortTerm(5, kNow - 1)));
  EXPECT_THAT(look.pins[1].claims, IsEmpty());
}

TEST_F(ClaimTableTest, AnotherPagesShortTermClaimIsNotCleared) {
  ClaimForShort(65536 + 24, Word(6, kNow - 7));
  ClaimForShort(25, Word(6, kNow - 7));
  Look({});
  EXPECT_NE(short_claim(24), 0u);
  EXPECT_EQ(short_claim(25), 0u);
}

TEST_F(ClaimTableTest, AShortTermClaimLeavesTheLongTermOneInPlace) {
  claim(23) = Word(5, kNow - 7);
  ClaimForShort(23, Word(6, kNow - 1));
  const BlockLook look = Look({Page(23, PAGE_PINNED_EXACT, 2)});
  EXPECT_THAT(look.pins[0].claims,
              ElementsAre(LongTerm(5, kNow - 7), ShortTerm(6, kNow - 1)));
}

TEST_F(ClaimTableTest, ALargeFolioGathersTheClaimsOnAllOfItsPages) {
  claim(512) = Word(5, kNow - 7);
  claim(513) = Word(5, kNow - 9);
  claim(1023) = Word(6, kNow - 7);
  claim(1024) = Word(7, kNow - 7);
  const BlockLook look = Look({Folio(512, 512, 512)});
  ASSERT_EQ(look.pins.size(), 1u);
  EXPECT_THAT(look.pins[0].claims,
              ElementsAre(LongTerm(5, kNow - 9), LongTerm(6, kNow - 7)));
  EXPECT_EQ(look.pins[0].pins, (PinCount{512, 512}));
  EXPECT_TRUE(look.pins[0].anon);
}

// A folio of 1 GiB in runs of 4,096 pages.
TEST_F(ClaimTableTest, EachPartOfAGiantFolioHasTheClaimsOnAllOfIt) {
  table_.AddChunk(1, second_chunk_.get());
  claim(5000) = Word(5, kNow - 7);
  second_chunk_->claim[23] = Word(6, kNow - 9);
  ClaimForShort(70000, Word(7, kNow - 1));
  table_.SetRuns({RunOf(200000, 23, 8, kNow - 7)});
  census_page part = Folio(0, 4096, 7);
  part.order = 18;
  table_.ForgetFolio();
  BlockLook look = Look({part});
  part.pfn = 4096;
  table_.BeginLook(4096, 8192);
  table_.FinishLook(8192, std::span(&part, 1), {.nid = 0, .zone = 1},
                    kNow * kSecond, /*list_pages=*/true, look);
  ASSERT_EQ(look.pins.size(), 1u);
  EXPECT_THAT(look.pins[0].claims,
              ElementsAre(LongTerm(5, kNow - 7), LongTerm(6, kNow - 9),
                          ShortTerm(7, kNow - 1), LongTerm(8, kNow - 7)));
  EXPECT_EQ(look.pins[0].pins, (PinCount{8192, 7}));
}

TEST_F(ClaimTableTest, AnotherLookAsksForTheClaimsOnAGiantFolioAnew) {
  census_page part = Folio(0, 4096, 7);
  part.order = 18;
  EXPECT_TRUE(Look({part}).pins.at(0).claims.empty());
  claim(5000) = Word(5, kNow - 7);
  EXPECT_TRUE(Look({part}).pins.at(0).claims.empty());
  table_.ForgetFolio();
  EXPECT_THAT(Look({part}).pins.at(0).claims,
              ElementsAre(LongTerm(5, kNow - 7)));
}

TEST_F(ClaimTableTest, PinsOfALargeFolioCountWhereItsHeadStands) {
  census_page rest = Folio(0, 512, 3);
  rest.head_pfn = 1 << 18;
  const BlockLook look = Look({rest});
  EXPECT_EQ(look.pins[0].pins, (PinCount{512, 0}));
  EXPECT_EQ(look.pins[0].pins_a_page, 1u);
}

TEST_F(ClaimTableTest, PagesThatMayBePinnedAreListedBeforeOthers) {
  std::vector<census_page> pages;
  for (uint64_t pfn = 0; pfn < 16; ++pfn)
    pages.push_back(Page(pfn, PAGE_KERNEL, 0));
  pages.push_back(Page(99));
  claim(99) = Word(5, kNow - 7);
  const BlockLook look = Look(pages);
  ASSERT_EQ(look.listed.size(), 16u);
  EXPECT_EQ(look.listed[14].pfn, 14u);
  EXPECT_EQ(look.listed[15].pfn, 99u);
  EXPECT_THAT(look.listed[15].claims, ElementsAre(LongTerm(5, kNow - 7)));
}

TEST_F(ClaimTableTest, OldClaimsOnPagesThatNoLookReachesAreForgotten) {
  table_.AddChunk(1, second_chunk_.get());
  claim(23) = Word(5, kNow - 99);
  second_chunk_->claim[0] = Word(6, kNow - 99);
  second_chunk_->claim[1] = Word(7, kNow - 7);
  const uint64_t beyond = 3 * PINWATCH_CHUNK_PAGES;
  table_.SetRuns({RunOf(24, 1, 8, kNow - 99), RunOf(beyond, 3, 9, kNow - 99),
                  RunOf(beyond + 7, 3, 10, kNow - 7)});
  table_.ForgetOutside([](uint64_t pfn) { return pfn < PINWATCH_CHUNK_PAGES; },
                       kNow * kSecond);
  const std::vector<bool> in_use = table_.OwnersWithClaims();
  for (const uint32_t owner : {5, 7, 8, 10}) EXPECT_TRUE(in_use[owner]);
  for (const uint32_t owner : {6, 9}) EXPECT_FALSE(in_use[owner]) << owner;
  const std::vector<ClaimRun> dead = table_.TakeDeadRuns();
  ASSERT_EQ(dead.size(), 1u);
  EXPECT_EQ(dead[0].first.pfn, beyond);
}

TEST_F(ClaimTableTest, OwnersWithAClaimOfAnyKindAreInUse) {
  table_.AddChunk(1, second_chunk_.get());
  second_chunk_->claim[0] = 3u << PINWATCH_TICK_BITS;
  claim(23) = Word(5, kNow);
  ClaimForShort(24, Word(6, kNow));
  table_.SetRuns({RunOf(25, 1, 7, kNow)});
  const std::vector<bool> in_use = table_.OwnersWithClaims();
  for (uint32_t owner = 1; owner <= 9; ++owner)
    EXPECT_EQ(in_use[owner],
              owner == 3 || owner == 5 || owner == 6 || owner == 7)
        << owner;
}

}  // namespace
}  // namespace pinwatch
