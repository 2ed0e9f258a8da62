// SPDX-License-Identifier: Apache-2.0
//
// Memory blocks: against /sys/devices/system/memory.
#include <csignal>

#include "tests/vm/guest.h"

namespace pinwatch::guest {
namespace {

using Blocks = GuestTest;

using BlockCounts = std::map<std::string, uint64_t>;  // by node, zone, state

BlockCounts CountBlocks() {
  BlockCounts counts;
  for (const Block& block : ReadBlocks())
    ++counts[std::to_string(block.nid) + " " + block.zone + " " + block.state];
  return counts;
}

BlockCounts BlocksInMetrics() {
  BlockCounts counts;
  for (const Sample& sample : ReadMetrics())
    if (sample.name == "pinwatch_memory_blocks")
      counts[sample.labels.at("numa_node") + " " +
             sample.labels.at("mem_zone") + " " + sample.labels.at("state")] =
          static_cast<uint64_t>(sample.value);
  return counts;
}

uint64_t CountPages(const Json& snapshot) {
  uint64_t pages = 0;
  for (const ZoneSpan& zone : ReadZones())
    pages += PagesInZone(snapshot, zone.id);
  return pages;
}

TEST_F(Blocks, AreCountedAsSysfsHasThem) {
  const Json snapshot = FreshSnapshot();
  EXPECT_EQ(BlocksInMetrics(), CountBlocks());
  uint64_t blocks = 0;
  for (const Json& count : snapshot.at("blocks"))
    blocks += count.at("blocks").get<uint64_t>();
  EXPECT_EQ(blocks, ReadBlocks().size());
  EXPECT_EQ(snapshot.at("block_size_bytes"), BlockPages() * kPageBytes);
}

TEST_F(Blocks, FollowABlockOfflineAndBack) {
  const BlockCounts before = CountBlocks();
  const uint64_t pages_before = CountPages(FreshSnapshot());

  const std::unique_ptr<Process> offline = HoldSomeBlockOffline();
  const Json while_offline = FreshSnapshot();
  EXPECT_EQ(BlocksInMetrics(), CountBlocks());
  EXPECT_EQ(Sum(ReadMetrics(), "pinwatch_memory_blocks",
                {{"mem_zone", "none"}, {"state", "offline"}}),
            1);
  EXPECT_EQ(CountPages(while_offline), pages_before - BlockPages());

  offline->CloseInput();
  EXPECT_EQ(Json::parse(offline->ReadLine(kOfflineTimeout)).at("released"),
            true);
  EXPECT_EQ(offline->Wait(kOfflineTimeout), 0);
  const Json back_online = FreshSnapshot();
  EXPECT_EQ(BlocksInMetrics(), before);
  EXPECT_EQ(CountBlocks(), before);
  EXPECT_EQ(CountPages(back_online), pages_before);
}

}  // namespace
}  // namespace pinwatch::guest
