// SPDX-License-Identifier: Apache-2.0
//
// Verdicts on memory blocks: against what comes of real attempts to take them
// offline.
#include <algorithm>
#include <csignal>

#include "tests/vm/guest.h"

namespace pinwatch::guest {
namespace {

using Verdicts = GuestTest;

// An attempt that waits for pages to be let go does so until it is interrupted.
constexpr seconds kPatience(10);

Json ListBlocks() {
  return Json::parse(
             Ask({"pinwatch", "blocks", "--fresh", "-o", "json"}, seconds(60)))
      .at("blocks");
}

Json VerdictOn(uint64_t block) {
  for (const Json& one : ListBlocks())
    if (one.at("block") == block) return one;
  Fail("no verdict on memory" + std::to_string(block));
}

bool IsOffline(uint64_t block) {
  return ReadFile("/sys/devices/system/memory/memory" + std::to_string(block) +
                  "/state")
      .starts_with("offline");
}

// What comes of it: "ok", the errno's name, or "EINTR" for one that has to be
// interrupted. A block that went offline is brought back.
std::string TryOffline(uint64_t block) {
  Process offline({"memory-block", "offline", std::to_string(block), "--hold"});
  const bool ended = Eventually(
      kPatience, [&] { return offline.Wait(seconds(0)) || IsOffline(block); });
  if (!ended) offline.Signal(SIGTERM);
  const std::string result =
      Json::parse(offline.ReadLine(kOfflineTimeout)).at("result");
  if (result == "ok") offline.CloseInput();
  if (offline.Wait(kOfflineTimeout) != (result == "ok" ? 0 : 1))
    Fail("memory-block did not end as it should");
  return result;
}

// At once: for a page in it, or because it has holes or lies in two zones.
void ExpectRefused(uint64_t block) {
  const std::string result = TryOffline(block);
  EXPECT_TRUE(result == "EBUSY" || result == "EINVAL")
      << "memory" << block << ": " << result;
}

// The blocks that hold pages of the workload, by how many.
std::map<uint64_t, uint64_t> BlocksOf(const std::vector<uint64_t>& pfns) {
  std::map<uint64_t, uint64_t> blocks;
  for (const uint64_t pfn : pfns) ++blocks[pfn / BlockPages()];
  return blocks;
}

TEST_F(Verdicts, EveryBlockHasOneAndTheCountsAgree) {
  const Json blocks = ListBlocks();
  const std::vector<Block> sysfs = ReadBlocks();
  EXPECT_EQ(blocks.size(), sysfs.size());
  std::map<std::string, uint64_t> listed;
  for (const Json& block : blocks) {
    EXPECT_NE(block.at("verdict"), "VERDICT_UNSPECIFIED");
    EXPECT_NE(block.at("verdict"), "VERDICT_UNKNOWN") << block;
    EXPECT_EQ(block.contains("look"), block.at("state") != "offline");
    ++listed[block.at("verdict")];
  }
  std::map<std::string, uint64_t> counted;
  const Json snapshot = FreshSnapshot();
  for (const Json& count : snapshot.at("verdicts"))
    counted[count.at("verdict")] += count.at("blocks").get<uint64_t>();
  uint64_t blocks_counted = 0;
  for (const auto& [verdict, number] : counted) blocks_counted += number;
  EXPECT_EQ(blocks_counted, sysfs.size());
  EXPECT_EQ(Sum(ReadMetrics(), "pinwatch_memory_block_verdicts"), sysfs.size());
  // The kernel never lets go of the block it was loaded to first.
  EXPECT_EQ(VerdictOn(0).at("verdict"), "VERDICT_BLOCKED_BY_KERNEL_MEMORY");
  EXPECT_EQ(VerdictOn(0).at("confidence"), "CONFIDENCE_HIGH");
  ExpectRefused(0);
}

TEST_F(Verdicts, ABlockOfZoneMovableThatNothingKeepsGoes) {
  uint64_t tried = 0;
  for (const Json& block : ListBlocks()) {
    if (block.at("zone") != "Movable" || block.at("state") != "online")
      continue;
    const std::string verdict = block.at("verdict");
    if (verdict != "VERDICT_REMOVABLE" &&
        verdict != "VERDICT_REMOVABLE_AFTER_MIGRATION")
      continue;
    EXPECT_EQ(TryOffline(block.at("block")), "ok") << block;
    if (++tried == 3) return;
  }
  FAIL() << "only " << tried << " blocks would go";
}

TEST_F(Verdicts, ABlockOfZoneMovableWithTheKernelsImageRefuses) {
  for (const Json& block : ListBlocks()) {
    if (block.at("zone") != "Movable" ||
        block.at("verdict") != "VERDICT_BLOCKED_BY_KERNEL_MEMORY")
      continue;
    ExpectRefused(block.at("block"));
  }
}

TEST_F(Verdicts, MemoryThatAProcessMerelyUsesMoves) {
  Workload user({"lock-memory", "--pages", "5888"});  // 23 MiB
  const Json blocks = ListBlocks();
  uint64_t tried = 0;
  for (const Json& block : blocks) {
    if (block.at("zone") != "Movable" ||
        block.at("verdict") != "VERDICT_REMOVABLE_AFTER_MIGRATION")
      continue;
    EXPECT_GT(block.at("evidence").at("movable"), 0);
    EXPECT_EQ(TryOffline(block.at("block")), "ok") << block;
    if (++tried == 2) break;
  }
  EXPECT_GT(tried, 0u);
}

TEST_F(Verdicts, TwentyThreeVmsplicedPagesKeepTheirBlock) {
  Workload holder({"hold-vmsplice", "--pages", "23", "--references", "1"});
  for (const auto& [id, pages] : BlocksOf(holder.pfns())) {
    const Json verdict = VerdictOn(id);
    EXPECT_GE(verdict.at("evidence").at("plain_references"), pages);
    if (verdict.at("verdict") == "VERDICT_BLOCKED_BY_KERNEL_MEMORY") {
      ExpectRefused(id);
      continue;
    }
    EXPECT_EQ(verdict.at("verdict"), "VERDICT_BLOCKED_BY_PLAIN_REFERENCES");
    EXPECT_EQ(TryOffline(id), "EINTR") << verdict;
  }
}

TEST_F(Verdicts, TwentyThreeLongTermPinsKeepTheirBlock) {
  Workload holder({"pin-iouring", "--pages", "23"});
  uint64_t pages_pinned = 0;
  for (const auto& [id, pages] : BlocksOf(holder.pfns())) {
    const Json verdict = VerdictOn(id);
    const Json& evidence = verdict.at("evidence");
    EXPECT_EQ(evidence.at("long_term_pins"), pages);
    pages_pinned += evidence.at("long_term_pins").get<uint64_t>();
    const bool kernel =
        evidence.at("kernel") != 0 || evidence.at("reserved") != 0;
    EXPECT_EQ(verdict.at("verdict"), kernel
                                         ? "VERDICT_BLOCKED_BY_KERNEL_MEMORY"
                                         : "VERDICT_BLOCKED_BY_LONG_TERM_PINS");
    // Where long-term pins leave it, they are in the kernel's own zones.
    if (MovesLongtermPins()) {
      EXPECT_NE(verdict.at("zone"), "Movable");
    }
    if (kernel)
      ExpectRefused(id);
    else
      EXPECT_EQ(TryOffline(id), "EINTR") << verdict;
  }
  EXPECT_EQ(pages_pinned, 23u);

  const Json plan = Json::parse(
      Ask({"pinwatch", "plan", "--bytes", "128M", "--what-if-stopped",
           std::to_string(holder.pid()), "-o", "json"}));
  EXPECT_EQ(plan.at("stopped_pages"), 23);
  EXPECT_EQ(plan.at("reached"), true);
}

}  // namespace
}  // namespace pinwatch::guest
