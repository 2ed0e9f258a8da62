// SPDX-License-Identifier: Apache-2.0
#include "daemon/verdict_book.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace pinwatch {
namespace {

using testing::ElementsAre;

constexpr uint64_t kBlockBytes = 134'217'728;
constexpr uint64_t kBlockPages = 32'768;

MemoryBlock Block(uint64_t id, const std::string& state = "online",
                  int nid = 0) {
  return {.id = id, .state = state, .nid = nid, .zone = "Movable"};
}

TEST(VerdictBook, CountsEveryBlockOnce) {
  VerdictBook book(true);
  book.SetBlocks({Block(1), Block(2), Block(3), Block(4, "offline")});
  book.SetEvidence(1, BlockEvidence{.free = kBlockPages});
  book.SetEvidence(2, BlockEvidence{.movable = 23});
  EXPECT_THAT(
      book.counts(),
      ElementsAre(
          VerdictCount{0, "Movable", Verdict::kUnknown, 1},
          VerdictCount{0, "Movable", Verdict::kRemovable, 1},
          VerdictCount{0, "Movable", Verdict::kRemovableAfterMigration, 1},
          VerdictCount{0, "Movable", Verdict::kAlreadyOffline, 1}));
}

TEST(VerdictBook, ALaterLookTakesThePlaceOfTheOneBefore) {
  VerdictBook book(true);
  book.SetBlocks({Block(1), Block(2)});
  for (const uint64_t id : {1, 2})
    book.SetEvidence(id, BlockEvidence{.free = 700, .kernel = 7});
  book.SetEvidence(1, BlockEvidence{.free = 23, .long_term_pins = 7});
  EXPECT_THAT(
      book.counts(),
      ElementsAre(
          VerdictCount{0, "Movable", Verdict::kBlockedByLongTermPins, 1},
          VerdictCount{0, "Movable", Verdict::kBlockedByKernelMemory, 1}));
  EXPECT_EQ(book.free_pages(), 723u);
  book.SetEvidence(1, std::nullopt);
  EXPECT_EQ(book.free_pages(), 700u);
  EXPECT_FALSE(book.Find(1));
}

TEST(VerdictBook, ALookAtABlockThatIsListedLaterCounts) {
  VerdictBook book(true);
  book.SetEvidence(5, BlockEvidence{.free = 7});
  EXPECT_TRUE(book.counts().empty());
  book.SetBlocks({Block(5)});
  EXPECT_THAT(book.counts(),
              ElementsAre(VerdictCount{0, "Movable", Verdict::kRemovable, 1}));
}

TEST(VerdictBook, WhatWentOfflineIsForgottenAndNotRemovableAnyMore) {
  VerdictBook book(true);
  book.SetBlocks({Block(1)});
  book.SetEvidence(1, BlockEvidence{.free = kBlockPages});
  EXPECT_THAT(book.Removable(kBlockBytes),
              ElementsAre(RemovableMemory{0, kBlockBytes}));
  book.SetBlocks({Block(1, "offline")});
  EXPECT_THAT(book.Removable(kBlockBytes), ElementsAre(RemovableMemory{0, 0}));
  EXPECT_FALSE(book.Find(1));
}

// Each of 24 blocks holds 3/4 of its pages: what six hold fills the others.
TEST(VerdictBook, WhatHasToMoveMustFindRoom) {
  VerdictBook book(true);
  std::vector<MemoryBlock> blocks;
  for (uint64_t id = 1; id <= 24; ++id) blocks.push_back(Block(id));
  book.SetBlocks(blocks);
  for (uint64_t id = 1; id <= 24; ++id)
    book.SetEvidence(id, BlockEvidence{.free = kBlockPages / 4,
                                       .movable = kBlockPages / 4 * 3});
  EXPECT_THAT(book.Removable(kBlockBytes),
              ElementsAre(RemovableMemory{0, 6 * kBlockBytes}));
}

TEST(VerdictBook, AnotherNodeHasRoom) {
  VerdictBook book(true);
  book.SetBlocks({Block(1), Block(2, "online", 1)});
  book.SetEvidence(1, BlockEvidence{.movable = kBlockPages});
  book.SetEvidence(2, BlockEvidence{.free = kBlockPages, .kernel = 1});
  EXPECT_THAT(
      book.Removable(kBlockBytes),
      ElementsAre(RemovableMemory{0, kBlockBytes}, RemovableMemory{1, 0}));
}

}  // namespace
}  // namespace pinwatch
