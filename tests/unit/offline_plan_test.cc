// SPDX-License-Identifier: Apache-2.0
#include "daemon/offline_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace pinwatch {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr uint64_t kBlockBytes = 134'217'728;

BlockVerdict Block(uint64_t id, Verdict verdict, BlockEvidence evidence = {},
                   int64_t look_ns = 7) {
  return {.block = {.id = id, .state = "online", .nid = 0, .zone = "Movable"},
          .verdict = verdict,
          .look = Timestamp{look_ns, look_ns},
          .evidence = evidence};
}

std::vector<uint64_t> Ids(const OfflinePlan& plan) {
  std::vector<uint64_t> ids;
  for (const PlannedBlock& block : plan.blocks)
    ids.push_back(block.verdict.block.id);
  return ids;
}

PlanBasis Basis(std::vector<BlockVerdict> blocks, uint64_t free_pages = 1000) {
  return {.blocks = std::move(blocks),
          .block_size_bytes = kBlockBytes,
          .free_pages = free_pages};
}

std::vector<BlockVerdict> OfEveryKind() {
  return {Block(1, Verdict::kBlockedByLongTermPins, {.long_term_pins = 7}),
          Block(2, Verdict::kRemovableAfterMigration, {.movable = 23}),
          Block(3, Verdict::kBlockedByKernelMemory, {.kernel = 1}),
          Block(4, Verdict::kRemovableAfterMigration, {.movable = 7}),
          Block(5, Verdict::kBlockedByShortTermPins, {.short_term_pins = 1}),
          Block(6, Verdict::kRemovable),
          Block(7, Verdict::kAlreadyOffline),
          Block(8, Verdict::kUnknown),
          Block(9, Verdict::kBlockedByPlainReferences, {.plain_references = 1}),
          Block(10, Verdict::kBlockedByLongTermPins, {.long_term_pins = 3})};
}

TEST(OfflinePlan, TakesTheCheapestFirst) {
  const OfflinePlan plan = ChooseBlocks(Basis(OfEveryKind()), 99 * kBlockBytes);
  EXPECT_THAT(Ids(plan), ElementsAre(6, 4, 2, 5, 10, 1));
  EXPECT_EQ(plan.bytes, 6 * kBlockBytes);
  EXPECT_EQ(plan.pages_to_move, 7u + 23 + 1 + 3 + 7);
  EXPECT_EQ(plan.verdicts.size(), 8u);
}

TEST(OfflinePlan, EndsWhereThereIsEnough) {
  const OfflinePlan plan =
      ChooseBlocks(Basis(OfEveryKind()), 2 * kBlockBytes + 1);
  EXPECT_THAT(Ids(plan), ElementsAre(6, 4, 2));
}

TEST(OfflinePlan, DrainsNobodyWhereOtherPinsOrReferencesStay) {
  const OfflinePlan plan = ChooseBlocks(
      Basis({Block(1, Verdict::kBlockedByLongTermPins,
                   {.long_term_pins = 1, .unclaimed_pins = 1}),
             Block(2, Verdict::kBlockedByLongTermPins,
                   {.long_term_pins = 1, .plain_references = 1}),
             Block(3, Verdict::kBlockedByShortTermPins,
                   {.short_term_pins = 1, .plain_references = 1})}),
      kBlockBytes);
  EXPECT_THAT(Ids(plan), IsEmpty());
  EXPECT_EQ(plan.no_room_blocks, 0u);
}

TEST(OfflinePlan, WhatHasToMoveMustFitIntoWhatIsFreeElsewhere) {
  const OfflinePlan plan =
      ChooseBlocks(Basis({Block(1, Verdict::kRemovable, {.free = 50}),
                          Block(2, Verdict::kRemovableAfterMigration,
                                {.free = 20, .movable = 23}),
                          Block(3, Verdict::kRemovableAfterMigration,
                                {.free = 20, .movable = 30})},
                         /*free_pages=*/100),
                   3 * kBlockBytes);
  EXPECT_THAT(Ids(plan), ElementsAre(1, 2));
  EXPECT_EQ(plan.free_pages, 30u);
  EXPECT_EQ(plan.pages_to_move, 23u);
  EXPECT_EQ(plan.no_room_blocks, 1u);
}

TEST(OfflinePlan, TellsTheOldestLookThatItRestsOn) {
  const OfflinePlan plan =
      ChooseBlocks(Basis({Block(1, Verdict::kRemovable, {}, 23),
                          Block(2, Verdict::kRemovable, {}, 7),
                          Block(3, Verdict::kRemovable, {}, 1)}),
                   2 * kBlockBytes);
  EXPECT_EQ(plan.oldest_look->monotonic_ns, 7);
}

}  // namespace
}  // namespace pinwatch
