// SPDX-License-Identifier: Apache-2.0
#include "daemon/attribution.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pinwatch {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kNow = 100 * kSecond;

// Owners below 10 live, below 20 have ended, others are not known.
OwnerState StateOf(uint32_t owner) {
  return owner < 10   ? OwnerState::kAlive
         : owner < 20 ? OwnerState::kEnded
                      : OwnerState::kUnknown;
}

Claim LongTerm(uint32_t owner, int64_t seconds_ago = 50) {
  return {.owner = owner,
          .long_term = true,
          .made_ns = kNow - seconds_ago * kSecond};
}

Claim ShortTerm(uint32_t owner, int64_t seconds_ago = 1) {
  return {.owner = owner,
          .long_term = false,
          .made_ns = kNow - seconds_ago * kSecond};
}

PinGroup Group(uint64_t pins_a_page, std::vector<Claim> claims) {
  return {.pins_a_page = pins_a_page, .claims = std::move(claims)};
}

Attribution Attribute(const PinGroup& group, const ClaimGaps& gaps = {}) {
  return Attribute(group, StateOf, gaps, kNow);
}

void ExpectThat(const Attribution& who, Certainty certainty,
                const std::string& reason,
                const std::vector<uint32_t>& owners) {
  EXPECT_EQ(who.certainty, certainty);
  EXPECT_EQ(who.reason, reason);
  EXPECT_EQ(who.owners, owners);
}

TEST(Attribution, TheOnlyClaimantHolds) {
  ExpectThat(Attribute(Group(1, {LongTerm(1)})), Certainty::kHeld, "", {1});
  ExpectThat(Attribute(Group(1, {ShortTerm(1)})), Certainty::kHeld, "", {1});
  ExpectThat(Attribute(Group(2, {LongTerm(1)})), Certainty::kHeld, "", {1});
}

TEST(Attribution, AsManyPinsAsClaimantsAreShared) {
  ExpectThat(Attribute(Group(2, {LongTerm(1), LongTerm(2)})),
             Certainty::kShared, "", {1, 2});
  ExpectThat(Attribute(Group(2, {LongTerm(1), ShortTerm(2)})),
             Certainty::kShared, "", {1, 2});
}

TEST(Attribution, FewerPinsThanClaimantsAreOneOfThem) {
  ExpectThat(Attribute(Group(1, {LongTerm(1), LongTerm(2)})), Certainty::kOneOf,
             "fewer_pins_than_claims", {1, 2});
}

TEST(Attribution, PinsOfALargeFolioDoNotTellHowManyOfItsClaimantsAreLeft) {
  PinGroup group = Group(3, {LongTerm(1), LongTerm(2)});
  group.page = PAGE_PINNED_LARGE;
  ExpectThat(Attribute(group), Certainty::kOneOf, "large_folio", {1, 2});
  group.claims = {LongTerm(1), LongTerm(12)};
  ExpectThat(Attribute(group), Certainty::kHeld, "", {1});
}

TEST(Attribution, ManyReferencesMakeAClaimProbableOnly) {
  PinGroup group = Group(1, {LongTerm(1)});
  group.page = PAGE_PINNED_LOOSE;
  ExpectThat(Attribute(group), Certainty::kProbable, "many_references", {1});
}

TEST(Attribution, WithoutAClaimNobodyIsNamed) {
  ExpectThat(Attribute(Group(1, {})), Certainty::kUnattributed, "no_claim", {});
}

TEST(Attribution, AnOwnerWhoIsNotKnownYetIsNotGuessed) {
  ExpectThat(Attribute(Group(2, {LongTerm(1), LongTerm(23)})),
             Certainty::kUnattributed, "owner_unknown", {});
}

TEST(Attribution, AShortTermClaimOfOverTwoSecondsYieldsToAnyOther) {
  ExpectThat(Attribute(Group(1, {LongTerm(1), ShortTerm(2, 3)})),
             Certainty::kHeld, "", {1});
  ExpectThat(Attribute(Group(2, {LongTerm(1), ShortTerm(2, 3)})),
             Certainty::kHeld, "", {1});
  ExpectThat(Attribute(Group(2, {ShortTerm(1), ShortTerm(2, 3)})),
             Certainty::kHeld, "", {1});
  ExpectThat(Attribute(Group(1, {LongTerm(1), ShortTerm(2, 1)})),
             Certainty::kOneOf, "fewer_pins_than_claims", {1, 2});
}

TEST(Attribution, AnOldShortTermClaimStandsWhereThereIsNoOther) {
  ExpectThat(Attribute(Group(1, {ShortTerm(1, 7)})), Certainty::kHeld, "", {1});
}

TEST(Attribution, TheLivingHoldWhatTheEndedClaimed) {
  ExpectThat(Attribute(Group(1, {LongTerm(1), LongTerm(12)})), Certainty::kHeld,
             "", {1});
}

TEST(Attribution, AnEndedClaimantIsProbable) {
  ExpectThat(Attribute(Group(1, {LongTerm(12)})), Certainty::kProbable,
             "claimant_ended", {12});
}

TEST(Attribution, AnEndedClaimantForShortIsNobody) {
  ExpectThat(Attribute(Group(1, {ShortTerm(12)})), Certainty::kUnattributed,
             "no_claim", {});
}

TEST(Attribution, AMappedAnonymousPageIsNotThatOfWhoHasEnded) {
  PinGroup group = Group(1, {LongTerm(12)});
  group.anon = true;
  ExpectThat(Attribute(group), Certainty::kProbable, "claimant_ended", {12});
  group.mapped = true;
  ExpectThat(Attribute(group), Certainty::kUnattributed, "page_reused", {});
  group.claims = {LongTerm(1)};
  ExpectThat(Attribute(group), Certainty::kHeld, "", {1});
}

TEST(Attribution, AClaimFromBeforePinsWereMissedIsProbable) {
  const ClaimGaps gaps{.long_term_ns = kNow - 30 * kSecond};
  ExpectThat(Attribute(Group(1, {LongTerm(1, 50)}), gaps), Certainty::kProbable,
             "claims_lost", {1});
  ExpectThat(Attribute(Group(1, {LongTerm(1, 20)}), gaps), Certainty::kHeld, "",
             {1});
}

TEST(Attribution, ShortTermPinsThatWereMissedDoNotTouchLongTermClaims) {
  const ClaimGaps gaps{.short_term_ns = kNow};
  ExpectThat(Attribute(Group(1, {LongTerm(1)}), gaps), Certainty::kHeld, "",
             {1});
  ExpectThat(Attribute(Group(1, {ShortTerm(1)}), gaps), Certainty::kProbable,
             "claims_lost", {1});
}

TEST(Attribution, AnEndedClaimantFromBeforePinsWereMissedIsNobody) {
  const ClaimGaps gaps{.long_term_ns = kNow - 30 * kSecond};
  ExpectThat(Attribute(Group(1, {LongTerm(12, 50)}), gaps),
             Certainty::kUnattributed, "claims_lost", {});
}

}  // namespace
}  // namespace pinwatch
