// SPDX-License-Identifier: Apache-2.0
#include "daemon/removability.h"

#include <gtest/gtest.h>

#include <utility>

namespace pinwatch {
namespace {

using Pages = std::vector<std::pair<page_class, uint64_t>>;

BlockReport Report(const Pages& pages, const std::string& zone = "Movable") {
  BlockReport report{
      .block = {.state = "online", .zone = zone},
      .look = Timestamp{.realtime_ns = 1, .monotonic_ns = 1},
      .migratetypes = {{.migratetype = "movable"}},
  };
  for (const auto& [page, count] : pages)
    report.migratetypes[0].pages[page] = count;
  return report;
}

// One with a pinned page that an owner of that kind holds.
BlockReport Held(bool long_term, const std::string& zone) {
  BlockReport report = Report({{PAGE_PINNED_EXACT, 1}}, zone);
  report.attributions = {{0, zone, Certainty::kHeld, "", {1, 1}}};
  report.owners = {{.id = 1, .long_term = long_term}};
  return report;
}

BlockReport Unattributed(const std::string& zone) {
  BlockReport report = Report({{PAGE_PINNED_EXACT, 1}}, zone);
  report.attributions = {
      {0, zone, Certainty::kUnattributed, "no_claim", {1, 1}}};
  return report;
}

void ExpectVerdict(BlockReport report, Verdict verdict,
                   const std::string& reason) {
  Judge(report);
  EXPECT_EQ(report.verdict, verdict);
  EXPECT_EQ(report.reason, reason);
}

TEST(Removability, AnOfflineBlockIsOffline) {
  BlockReport report = Report({{PAGE_KERNEL, 1}});
  report.block.state = "offline";
  ExpectVerdict(report, Verdict::kAlreadyOffline, "it is offline");
}

TEST(Removability, WithoutALookNothingIsKnown) {
  BlockReport report = Report({});
  report.look.reset();
  ExpectVerdict(report, Verdict::kUnknown, "the census could not look at it");
}

TEST(Removability, AnEmptyBlockGoes) {
  ExpectVerdict(Report({{PAGE_FREE, 32768}}), Verdict::kRemovable,
                "nothing in it has to move");
}

TEST(Removability, PagesThatMoveMove) {
  ExpectVerdict(Report({{PAGE_MOVABLE, 23}, {PAGE_HUGETLB, 512}}),
                Verdict::kRemovableAfterMigration, "535 pages to move");
}

TEST(Removability, OnePageOfKernelMemoryIsWorseThanPins) {
  BlockReport report = Held(/*long_term=*/true, "Normal");
  report.migratetypes[0].pages[PAGE_RESERVED] = 1;
  ExpectVerdict(report, Verdict::kBlockedByKernelMemory,
                "1 page of kernel memory");
}

TEST(Removability, WhoPinsForLongBlocksForLong) {
  ExpectVerdict(Held(/*long_term=*/true, "Movable"),
                Verdict::kBlockedByLongTermPins, "1 page pinned");
}

TEST(Removability, WhoPinsForShortIsLikelyToPass) {
  ExpectVerdict(Held(/*long_term=*/false, "Normal"),
                Verdict::kBlockedByShortTermPins, "1 page pinned for short");
}

TEST(Removability, PinsOfNobodyKnownPassInZoneMovableAlone) {
  ExpectVerdict(Unattributed("Movable"), Verdict::kBlockedByShortTermPins,
                "1 page pinned for short");
  ExpectVerdict(Unattributed("Normal"), Verdict::kBlockedByLongTermPins,
                "1 page pinned");
}

TEST(Removability, AShortTermPinDoesNotExcuseOneOfNobodyKnown) {
  BlockReport report = Held(/*long_term=*/false, "Normal");
  report.attributions.push_back(
      {0, "Normal", Certainty::kUnattributed, "no_claim", {1, 1}});
  ExpectVerdict(report, Verdict::kBlockedByLongTermPins, "2 pages pinned");
}

TEST(Removability, PlainReferencesBlockToo) {
  BlockReport report = Report({{PAGE_ELEVATED, 2}, {PAGE_BIASED, 1}});
  Judge(report);
  EXPECT_EQ(report.verdict, Verdict::kBlockedByPlainReferences);
  EXPECT_EQ(report.reason.substr(0, 24), "3 pages with references ");
}

TEST(Removability, WhatIsOfflineOrPoisonedAlreadyIsInNobodysWay) {
  ExpectVerdict(Report({{PAGE_OFFLINE, 7}, {PAGE_POISONED, 1}}),
                Verdict::kRemovable, "nothing in it has to move");
}

}  // namespace
}  // namespace pinwatch
