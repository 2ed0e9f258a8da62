// SPDX-License-Identifier: Apache-2.0
#include "cli/block_map.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "absl/strings/str_split.h"
#include "cli/dax_device.h"
#include "tests/unit/cli_lines.h"
#include "tests/unit/temp_tree.h"

namespace pinwatch {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr uint64_t kBlockBytes = 134'217'728;

void Add(v1::ListBlocksResponse& blocks, uint64_t first, uint64_t count,
         v1::Verdict verdict, const std::string& zone = "Movable") {
  blocks.set_block_size_bytes(kBlockBytes);
  for (uint64_t id = first; id < first + count; ++id) {
    v1::BlockVerdict& block = *blocks.add_blocks();
    block.set_block(id);
    block.set_state("online");
    block.set_nid(0);
    block.set_zone(zone);
    block.set_verdict(verdict);
    block.set_confidence(v1::CONFIDENCE_HIGH);
    block.mutable_look()->set_seconds(1'000);
  }
}

TEST(BlockMap, ShowsAGlyphABlockByNodeAndZone) {
  v1::ListBlocksResponse blocks;
  Add(blocks, 0, 1, v1::VERDICT_BLOCKED_BY_KERNEL_MEMORY, "Normal");
  Add(blocks, 1, 2, v1::VERDICT_BLOCKED_BY_LONG_TERM_PINS, "Normal");
  Add(blocks, 8, 23, v1::VERDICT_REMOVABLE);
  Add(blocks, 31, 1, v1::VERDICT_ALREADY_OFFLINE);
  EXPECT_EQ(
      Checked(BlockMap(blocks, false)),
      R"(node 0, zone Movable: 24 blocks, 3 GiB: 23 removable, 1 already offline
memory8     .......................-

node 0, zone Normal: 3 blocks, 384 MiB: 2 blocked by long term pins, 1 blocked
  by kernel memory
memory0     KPP

.  removable
P  blocked by long term pins
K  blocked by kernel memory
-  already offline
)");
}

TEST(BlockMap, ManyBlocksThatAreAlikeAreOneLine) {
  v1::ListBlocksResponse blocks;
  Add(blocks, 0, 8'000, v1::VERDICT_REMOVABLE);
  Add(blocks, 8'000, 7, v1::VERDICT_BLOCKED_BY_SHORT_TERM_PINS);
  Add(blocks, 8'007, 8'377, v1::VERDICT_BLOCKED_BY_KERNEL_MEMORY);
  const std::string map = Checked(BlockMap(blocks, false));
  EXPECT_THAT(map, HasSubstr("to memory7999, 8,000 blocks alike\n"));
  EXPECT_THAT(map, HasSubstr("memory8000  pppppppKKKKK"));
  EXPECT_THAT(map, HasSubstr("to memory16383, 8,320 blocks alike\n"));
  const std::vector<std::string> lines = absl::StrSplit(map, '\n');
  EXPECT_LE(lines.size(), 13u) << map;
}

TEST(BlockMap, AGapBeginsARow) {
  v1::ListBlocksResponse blocks;
  Add(blocks, 0, 64, v1::VERDICT_REMOVABLE);
  Add(blocks, 70, 64, v1::VERDICT_REMOVABLE);
  const std::string map = BlockMap(blocks, false);
  EXPECT_THAT(map, HasSubstr("memory0     ......"));
  EXPECT_THAT(map, HasSubstr("memory70    ......"));
  EXPECT_THAT(map, Not(HasSubstr("alike")));
}

TEST(BlockMap, EveryVerdictHasAGlyphAndWordsOfItsOwn) {
  std::set<std::string> maps;
  for (int v = v1::VERDICT_UNKNOWN; v <= v1::Verdict_MAX; ++v) {
    v1::ListBlocksResponse blocks;
    Add(blocks, 7, 1, static_cast<v1::Verdict>(v));
    EXPECT_TRUE(maps.insert(BlockMap(blocks, false)).second) << v;
    EXPECT_THAT(BlockMap(blocks, false), Not(HasSubstr("\x1b")));
    EXPECT_THAT(BlockMap(blocks, true), HasSubstr("\x1b["));
  }
}

TEST(BlockMap, ALineABlock) {
  v1::ListBlocksResponse blocks;
  Add(blocks, 23, 1, v1::VERDICT_BLOCKED_BY_PLAIN_REFERENCES);
  Add(blocks, 16'383, 1, v1::VERDICT_UNKNOWN, "\x1b[31m");
  blocks.mutable_blocks(1)->clear_look();
  blocks.mutable_blocks(1)->clear_nid();
  const std::string lines =
      Checked(BlockLines(blocks, absl::FromUnixSeconds(1'007)));
  EXPECT_THAT(
      lines,
      HasSubstr("memory23        0  Movable   blocked by plain references  "
                "high           7.0 s\n"));
  EXPECT_THAT(lines, HasSubstr("memory16383     ?  \\x1b[31m"));
}

TEST(DaxDevice, ItsBlocksAreThoseThatHaveSomeOfIt) {
  v1::ListBlocksResponse blocks;
  Add(blocks, 0, 40, v1::VERDICT_REMOVABLE);
  KeepBlocksIn({.start = 32 * kBlockBytes, .size = 3 * kBlockBytes}, blocks);
  ASSERT_EQ(blocks.blocks_size(), 3);
  EXPECT_EQ(blocks.blocks(0).block(), 32u);
  EXPECT_EQ(blocks.blocks(2).block(), 34u);
  EXPECT_EQ(blocks.block_size_bytes(), kBlockBytes);
}

TEST(DaxDevice, IsWhereSysfsSays) {
  TempTree tree;
  tree.Write("/sys/bus/dax/devices/dax0.0/resource", "0x140000000\n");
  tree.Write("/sys/bus/dax/devices/dax0.0/size", "4294967296\n");
  tree.Write("/sys/bus/dax/devices/dax1.0/size", "4294967296\n");
  const auto range = DaxRange(tree.root(), "dax0.0");
  ASSERT_TRUE(range.ok()) << range.status();
  EXPECT_EQ(range->start, 0x140000000u);
  EXPECT_EQ(range->size, 4294967296u);
  EXPECT_TRUE(
      absl::IsPermissionDenied(DaxRange(tree.root(), "dax1.0").status()));
  EXPECT_TRUE(absl::IsNotFound(DaxRange(tree.root(), "dax7.0").status()));
  EXPECT_TRUE(
      absl::IsNotFound(DaxRange(tree.root(), "dax/../dax0.0").status()));
}

}  // namespace
}  // namespace pinwatch
