// SPDX-License-Identifier: Apache-2.0
#include "daemon/memmap.h"

#include <gmock/gmock.h>

namespace pinwatch {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

constexpr uint64_t kBlockPages = 32768;  // whose struct pages take 512 pages

TEST(Memmap, APageIsOfTheBlockWhoseStructPagesItHolds) {
  // Of memory2 to memory4, one after the other, in memory1.
  const Memmap memmap(
      {{.pfn = 40000, .nr_pages = 3 * 512, .of_pfn = 2 * kBlockPages}},
      kBlockPages);
  EXPECT_EQ(memmap.BlockOf(39999), std::nullopt);
  EXPECT_EQ(memmap.BlockOf(40000), 2u);
  EXPECT_EQ(memmap.BlockOf(40511), 2u);
  EXPECT_EQ(memmap.BlockOf(40512), 3u);
  EXPECT_EQ(memmap.BlockOf(41535), 4u);
  EXPECT_EQ(memmap.BlockOf(41536), std::nullopt);
  EXPECT_THAT(memmap.In(1),
              ElementsAre(Pair(2, 512), Pair(3, 512), Pair(4, 512)));
  EXPECT_THAT(memmap.In(0), IsEmpty());
  EXPECT_THAT(memmap.In(2), IsEmpty());
}

TEST(Memmap, ABlockIsToldOnlyOfWhatStandsInIt) {
  // The pieces come in no order; the second one lies across two blocks.
  const Memmap memmap(
      {{.pfn = 3 * kBlockPages, .nr_pages = 512, .of_pfn = 3 * kBlockPages},
       {.pfn = kBlockPages - 23, .nr_pages = 512, .of_pfn = 7 * kBlockPages}},
      kBlockPages);
  EXPECT_THAT(memmap.In(0), ElementsAre(Pair(7, 23)));
  EXPECT_THAT(memmap.In(1), ElementsAre(Pair(7, 489)));
  EXPECT_THAT(memmap.In(3), ElementsAre(Pair(3, 512)));
  EXPECT_EQ(memmap.BlockOf(3 * kBlockPages + 511), 3u);
}

TEST(Memmap, ABlocksOwnStandInOrderAtItsStart) {
  const Memmap memmap(
      {{.pfn = 3 * kBlockPages, .nr_pages = 512, .of_pfn = 3 * kBlockPages},
       {.pfn = 4 * kBlockPages + 1, .nr_pages = 512, .of_pfn = 4 * kBlockPages},
       {.pfn = 5 * kBlockPages, .nr_pages = 512, .of_pfn = 6 * kBlockPages},
       {.pfn = 7 * kBlockPages, .nr_pages = 511, .of_pfn = 7 * kBlockPages},
       // Those of memory9 go on with those of the memory before it.
       {.pfn = 9 * kBlockPages - 512,
        .nr_pages = 1024,
        .of_pfn = 8 * kBlockPages}},
      kBlockPages);
  EXPECT_EQ(memmap.OwnPages(3), 512u);
  EXPECT_EQ(memmap.OwnPages(9), 512u);
  for (const uint64_t block : {0, 2, 4, 5, 6, 7, 8})
    EXPECT_EQ(memmap.OwnPages(block), 0u) << block;
}

TEST(Memmap, APageThatHoldsThoseOfSeveralIsNobodys) {
  const Memmap memmap({{.pfn = 23, .nr_pages = 1, .of_pfn = kBlockPages},
                       {.pfn = 99, .nr_pages = 1, .of_pfn = kBlockPages + 64},
                       {.pfn = 24, .nr_pages = 1, .of_pfn = 2 * kBlockPages},
                       {.pfn = 99, .nr_pages = 1, .of_pfn = 2 * kBlockPages},
                       {.pfn = 100, .nr_pages = 1, .of_pfn = 3 * kBlockPages},
                       {.pfn = 99, .nr_pages = 1, .of_pfn = 3 * kBlockPages}},
                      kBlockPages);
  EXPECT_EQ(memmap.BlockOf(23), 1u);
  EXPECT_EQ(memmap.BlockOf(24), 2u);
  EXPECT_EQ(memmap.BlockOf(99), std::nullopt);
  EXPECT_EQ(memmap.BlockOf(100), 3u);
  EXPECT_THAT(memmap.In(0), ElementsAre(Pair(1, 1), Pair(2, 1), Pair(3, 1)));
}

TEST(Memmap, OfNothingReadNothingIsKnown) {
  EXPECT_EQ(Memmap().BlockOf(1), std::nullopt);
  EXPECT_EQ(Memmap().OwnPages(0), 0u);
  EXPECT_THAT(Memmap({}, kBlockPages).In(1), IsEmpty());
}

}  // namespace
}  // namespace pinwatch
