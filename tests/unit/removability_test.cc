// SPDX-License-Identifier: Apache-2.0
#include "daemon/removability.h"

#include <gtest/gtest.h>

#include <string>

namespace pinwatch {
namespace {

const MemoryBlock kMovable = {.id = 7, .state = "online", .zone = "Movable"};
const MemoryBlock kNormal = {.id = 7, .state = "online", .zone = "Normal"};
constexpr HostState kRoomy = {.free_pages = 1'000'000};
constexpr int64_t kSecond = 1'000'000'000;

void ExpectVerdict(const MemoryBlock& block, const BlockEvidence& evidence,
                   Verdict verdict, const std::string& reason) {
  EXPECT_EQ(VerdictOf(block, &evidence, true), verdict);
  EXPECT_EQ(ReasonFor(verdict, block, evidence, kRoomy), reason);
}

Confidence ConfidenceOf(const MemoryBlock& block, const BlockEvidence& evidence,
                        int64_t age_ns = 0, bool outdated = false,
                        const HostState& host = kRoomy) {
  return ConfidenceIn(VerdictOf(block, &evidence, true), block, evidence, host,
                      age_ns, outdated);
}

TEST(Removability, AnOfflineBlockIsOffline) {
  MemoryBlock block = kMovable;
  block.state = "offline";
  ExpectVerdict(block, {.kernel = 1}, Verdict::kAlreadyOffline,
                "it is offline");
  EXPECT_EQ(VerdictOf(block, nullptr, true), Verdict::kAlreadyOffline);
  EXPECT_EQ(ConfidenceOf(block, {}, INT64_MAX, true), Confidence::kHigh);
}

TEST(Removability, WithoutALookNothingIsKnown) {
  EXPECT_EQ(VerdictOf(kMovable, nullptr, true), Verdict::kUnknown);
  EXPECT_EQ(ReasonFor(Verdict::kUnknown, kMovable, {}, kRoomy),
            "the census could not look at it");
}

TEST(Removability, AnEmptyBlockGoes) {
  ExpectVerdict(kMovable, {.free = 32768}, Verdict::kRemovable,
                "nothing in it has to move");
}

TEST(Removability, PagesThatMoveMove) {
  ExpectVerdict(kMovable, {.movable = 23}, Verdict::kRemovableAfterMigration,
                "23 pages to move");
  ExpectVerdict(kMovable, {.movable = 23, .hugetlb = 512},
                Verdict::kRemovableAfterMigration,
                "535 pages to move, 512 of them in huge pages, which need "
                "others that are free");
}

TEST(Removability, OnePageOfKernelMemoryIsWorseThanPins) {
  ExpectVerdict(kNormal, {.long_term_pins = 1, .reserved = 1},
                Verdict::kBlockedByKernelMemory, "1 page of kernel memory");
  ExpectVerdict(kNormal, {.long_term_pins = 1, .kernel = 23},
                Verdict::kBlockedByKernelMemory, "23 pages of kernel memory");
}

TEST(Removability, InZoneMovableReservedPagesAreTheKernelsImage) {
  ExpectVerdict(kMovable, {.reserved = 7}, Verdict::kBlockedByKernelMemory,
                "7 pages of kernel memory, reserved at boot: a part of the "
                "kernel's image, or a hole");
}

TEST(Removability, WhoPinsForLongBlocksForLong) {
  ExpectVerdict(kMovable, {.long_term_pins = 1},
                Verdict::kBlockedByLongTermPins, "1 page pinned");
}

TEST(Removability, WhoPinsForShortIsLikelyToPass) {
  ExpectVerdict(kNormal, {.short_term_pins = 1},
                Verdict::kBlockedByShortTermPins, "1 page pinned for short");
}

TEST(Removability, PinsOfNobodyKnownPassInZoneMovableAlone) {
  ExpectVerdict(kMovable, {.unclaimed_pins = 1},
                Verdict::kBlockedByShortTermPins, "1 page pinned for short");
  ExpectVerdict(kNormal, {.unclaimed_pins = 1}, Verdict::kBlockedByLongTermPins,
                "1 page pinned");
}

TEST(Removability, WhereLongTermPinsStayInZoneMovablePinsOfNobodyKnownDo) {
  const BlockEvidence evidence = {.unclaimed_pins = 1};
  EXPECT_EQ(VerdictOf(kMovable, &evidence, /*moves_long_term_pins=*/false),
            Verdict::kBlockedByLongTermPins);
}

TEST(Removability, AShortTermPinDoesNotExcuseOneOfNobodyKnown) {
  ExpectVerdict(kNormal, {.short_term_pins = 1, .unclaimed_pins = 1},
                Verdict::kBlockedByLongTermPins, "2 pages pinned");
}

TEST(Removability, PlainReferencesBlockToo) {
  const BlockEvidence evidence = {.plain_references = 3};
  EXPECT_EQ(VerdictOf(kMovable, &evidence, true),
            Verdict::kBlockedByPlainReferences);
  EXPECT_EQ(
      ReasonFor(Verdict::kBlockedByPlainReferences, kMovable, evidence, kRoomy)
          .substr(0, 24),
      "3 pages with references ");
  EXPECT_EQ(ConfidenceOf(kMovable, evidence), Confidence::kLow);
}

TEST(Removability, WhatIsPoisonedAlreadyIsInNobodysWay) {
  ExpectVerdict(kMovable, {.poisoned = 1}, Verdict::kRemovable,
                "nothing in it has to move");
}

TEST(Removability, WhoHasPagesLogicallyOfflineMayRefuse) {
  ExpectVerdict(kMovable, {.offline = 7}, Verdict::kRemovable,
                "nothing in it has to move; whether the balloon or virtio-mem "
                "lets go of 7 pages is not known");
  EXPECT_EQ(ConfidenceOf(kMovable, {.offline = 7}), Confidence::kLow);
}

TEST(Removability, WhatFindsNoRoomIsSaidSo) {
  const BlockEvidence evidence = {.free = 100, .movable = 23};
  const HostState tight = {.free_pages = 122};
  EXPECT_EQ(
      ReasonFor(Verdict::kRemovableAfterMigration, kMovable, evidence, tight),
      "23 pages to move, more than is free elsewhere: other memory would "
      "have to be reclaimed first");
  EXPECT_EQ(ConfidenceOf(kMovable, evidence, 0, false, tight),
            Confidence::kLow);
  EXPECT_EQ(ConfidenceOf(kMovable, evidence, 0, false, {.free_pages = 123}),
            Confidence::kHigh);
}

TEST(Removability, WhatReadsLikeTheKernelsInZoneMovableMayPass) {
  constexpr Verdict kVerdict = Verdict::kBlockedByKernelMemory;
  EXPECT_TRUE(MayPass(kVerdict, kMovable, {.kernel = 1}));
  EXPECT_FALSE(MayPass(kVerdict, kMovable, {.kernel = 1, .reserved = 1}));
  EXPECT_FALSE(MayPass(kVerdict, kNormal, {.kernel = 1}));
  EXPECT_FALSE(
      MayPass(Verdict::kBlockedByLongTermPins, kMovable, {.kernel = 1}));
}

TEST(Removability, ConfidenceWanesWithTheAgeOfTheLookAndMovedCounters) {
  const BlockEvidence evidence = {.free = 1};
  EXPECT_EQ(ConfidenceOf(kMovable, evidence, 60 * kSecond), Confidence::kHigh);
  EXPECT_EQ(ConfidenceOf(kMovable, evidence, 61 * kSecond),
            Confidence::kMedium);
  EXPECT_EQ(ConfidenceOf(kMovable, evidence, 0, true), Confidence::kMedium);
  EXPECT_EQ(ConfidenceOf(kMovable, evidence, 3601 * kSecond), Confidence::kLow);
  EXPECT_EQ(ConfidenceOf(kNormal, {.reserved = 1}, 3601 * kSecond, true),
            Confidence::kHigh);
}

}  // namespace
}  // namespace pinwatch
