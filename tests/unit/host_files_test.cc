// SPDX-License-Identifier: Apache-2.0
#include "daemon/host_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "tests/unit/temp_tree.h"

namespace pinwatch {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr char kZoneinfo[] =
    "Node 0, zone      DMA\n"
    "  per-node stats\n"
    "      nr_inactive_anon 3\n"
    "  pages free     3840\n"
    "        boost    0\n"
    "        spanned  4095\n"
    "        present  3998\n"
    "        managed  3840\n"
    "        protection: (0, 2014, 2014, 2014, 2014)\n"
    "  start_pfn:           1\n"
    "Node 0, zone  Movable\n"
    "  pages free     0\n"
    "        spanned  0\n"
    "        present  0\n"
    "        managed  0\n"
    "Node 1, zone      DMA\n"
    "        spanned  0\n"
    "        present  0\n"
    "        managed  0\n"
    "Node 1, zone  Movable\n"
    "        spanned  262144\n"
    "        present  262144\n"
    "        managed  262000\n"
    "  start_pfn:           786432\n";

TEST(Zoneinfo, GivesEveryZoneThatSpansMemoryAndEveryName) {
  TempTree tree;
  tree.Write("/proc/zoneinfo", kZoneinfo);
  const auto info = ReadZoneinfo(tree.root());
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_THAT(info->zone_names, ElementsAre("DMA", "Movable"));
  ASSERT_EQ(info->zones.size(), 2u);
  EXPECT_EQ(info->zones[0].nid, 0);
  EXPECT_EQ(info->zones[0].name, "DMA");
  EXPECT_EQ(info->zones[0].start_pfn, 1u);
  EXPECT_EQ(info->zones[0].spanned_pages, 4095u);
  EXPECT_EQ(info->zones[0].present_pages, 3998u);
  EXPECT_EQ(info->zones[0].managed_pages, 3840u);
  EXPECT_EQ(info->zones[1].nid, 1);
  EXPECT_EQ(info->zones[1].name, "Movable");
  EXPECT_EQ(info->zones[1].start_pfn, 786432u);
}

TEST(Zoneinfo, NamesFileAndLineOfWhatIsMalformed) {
  TempTree tree;
  tree.Write("/proc/zoneinfo", "Node 0, zone DMA\n        spanned  many\n");
  const auto info = ReadZoneinfo(tree.root());
  EXPECT_EQ(info.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(info.status().message()),
              HasSubstr("/proc/zoneinfo line 2"));
}

TEST(Zoneinfo, RefusesAHeaderWithoutANode) {
  TempTree tree;
  tree.Write("/proc/zoneinfo", "Node x, zone DMA\n");
  EXPECT_EQ(ReadZoneinfo(tree.root()).status().code(),
            absl::StatusCode::kDataLoss);
}

TEST(Zoneinfo, RefusesAFileWithoutZones) {
  TempTree tree;
  tree.Write("/proc/zoneinfo", "");
  EXPECT_EQ(ReadZoneinfo(tree.root()).status().code(),
            absl::StatusCode::kDataLoss);
}

TEST(Zoneinfo, SaysWhichFileIsMissing) {
  TempTree tree;
  const auto info = ReadZoneinfo(tree.root());
  EXPECT_EQ(info.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(info.status().message()),
              HasSubstr("open " + tree.root() + "/proc/zoneinfo"));
}

constexpr char kMemory[] = "/sys/devices/system/memory";

void WriteBlock(const TempTree& tree, const std::string& name,
                const std::string& state, const std::string& zones) {
  tree.Write(std::string(kMemory) + "/" + name + "/state", state + "\n");
  tree.Write(std::string(kMemory) + "/" + name + "/valid_zones", zones + "\n");
}

TEST(MemoryBlocks, HaveTheirStateZoneAndNode) {
  TempTree tree;
  tree.Write(std::string(kMemory) + "/block_size_bytes", "8000000\n");
  WriteBlock(tree, "memory10", "online", "Movable");
  WriteBlock(tree, "memory9", "offline", "Normal Movable");
  WriteBlock(tree, "memory0", "online", "none");
  WriteBlock(tree, "memory11", "going-offline", "Movable");
  tree.MakeDirectory("/sys/devices/system/node/node1/memory10");
  tree.MakeDirectory("/sys/devices/system/node/node0/memory0");
  tree.Write(std::string(kMemory) + "/auto_online_blocks", "online\n");

  const auto blocks = ReadMemoryBlocks(tree.root());
  ASSERT_TRUE(blocks.ok()) << blocks.status();
  EXPECT_EQ(blocks->block_size_bytes, 134217728u);
  ASSERT_EQ(blocks->blocks.size(), 4u);
  EXPECT_EQ(blocks->blocks[0].id, 0u);
  EXPECT_EQ(blocks->blocks[0].zone, "none");
  EXPECT_EQ(blocks->blocks[0].nid, 0);
  EXPECT_EQ(blocks->blocks[1].id, 9u);
  EXPECT_EQ(blocks->blocks[1].state, "offline");
  EXPECT_EQ(blocks->blocks[1].zone, "none");
  EXPECT_EQ(blocks->blocks[1].nid, -1);
  EXPECT_EQ(blocks->blocks[2].id, 10u);
  EXPECT_EQ(blocks->blocks[2].zone, "Movable");
  EXPECT_EQ(blocks->blocks[2].nid, 1);
  EXPECT_EQ(blocks->blocks[3].state, "going-offline");
}

TEST(MemoryShape, ChangesWithABlockAndWithTheMemoryOfAZone) {
  TempTree tree;
  tree.Write("/sys/devices/system/memory/memory0/state", "online\n");
  const Zoneinfo info{
      .zones = {{.spanned_pages = 65536, .present_pages = 65536}}};
  const std::vector<uint64_t> before = MemoryShape(tree.root(), info);
  EXPECT_EQ(MemoryShape(tree.root(), info), before);
  Zoneinfo less = info;
  less.zones[0].present_pages = 32768;
  EXPECT_NE(MemoryShape(tree.root(), less), before);
  tree.Write("/sys/devices/system/memory/memory1/state", "offline\n");
  EXPECT_NE(MemoryShape(tree.root(), info), before);
}

TEST(MemoryBlocks, ThatVanishWhileReadAreLeftOut) {
  TempTree tree;
  tree.Write(std::string(kMemory) + "/block_size_bytes", "8000000\n");
  tree.MakeDirectory(std::string(kMemory) + "/memory7");
  const auto blocks = ReadMemoryBlocks(tree.root());
  ASSERT_TRUE(blocks.ok()) << blocks.status();
  EXPECT_TRUE(blocks->blocks.empty());
}

TEST(MemoryBlocks, RefuseASizeThatIsNoNumberOrZero) {
  for (const char* size : {"large\n", "0\n", ""}) {
    TempTree tree;
    tree.Write(std::string(kMemory) + "/block_size_bytes", size);
    EXPECT_EQ(ReadMemoryBlocks(tree.root()).status().code(),
              absl::StatusCode::kDataLoss)
        << size;
  }
}

TEST(MemoryBlocks, AreNotFoundWhereTheKernelHasNone) {
  TempTree tree;
  EXPECT_EQ(ReadMemoryBlocks(tree.root()).status().code(),
            absl::StatusCode::kNotFound);
}

constexpr char kVmstat[] = "/sys/devices/system/node/node1/vmstat";

TEST(MemoryBlocks, AtTheBorderOfTwoNodesAreOfNeither) {
  TempTree tree;
  tree.Write(std::string(kMemory) + "/block_size_bytes", "80000000\n");
  WriteBlock(tree, "memory3", "online", "Normal");
  tree.MakeDirectory("/sys/devices/system/node/node0/memory3");
  tree.MakeDirectory("/sys/devices/system/node/node1/memory3");
  const auto blocks = ReadMemoryBlocks(tree.root());
  ASSERT_TRUE(blocks.ok()) << blocks.status();
  EXPECT_EQ(blocks->blocks.at(0).nid, -1);
}

TEST(ReadSmallFile, SaysWhenAFileCannotBeRead) {
  TempTree tree;
  EXPECT_FALSE(ReadSmallFile(tree.root()).ok()) << "it is a directory";
}

TEST(ReadSmallFile, TakesLongFilesWholeAndTheLastNewlineOff) {
  TempTree tree;
  tree.Write("/long", std::string(10'001, 'x') + "\n");
  EXPECT_EQ(ReadSmallFile(tree.root() + "/long").value(),
            std::string(10'001, 'x'));
}

TEST(NodeVmstat, GivesBothCountersOfTheNodeAskedForAndIsNotExact) {
  TempTree tree;
  tree.Write(kVmstat,
             "nr_free_pages 12\nnr_foll_pin_acquired 4120\n"
             "nr_foll_pin_released 23\n");
  const auto readings = ReadNodeVmstat(tree.root(), {1});
  ASSERT_TRUE(readings.ok()) << readings.status();
  ASSERT_EQ(readings->size(), 1u);
  EXPECT_EQ(readings->front().nid, 1);
  EXPECT_EQ(readings->front().acquired, 4120u);
  EXPECT_EQ(readings->front().released, 23u);
  EXPECT_FALSE(readings->front().exact);
}

TEST(NodeVmstat, IsNotFoundWithoutTheCounters) {
  TempTree tree;
  tree.Write(kVmstat, "nr_free_pages 12\nnr_foll_pin_acquired 4120\n");
  EXPECT_EQ(ReadNodeVmstat(tree.root(), {1}).status().code(),
            absl::StatusCode::kNotFound);
}

TEST(NodeVmstat, RefusesACounterThatIsNoNumber) {
  TempTree tree;
  tree.Write(kVmstat, "nr_foll_pin_acquired -3\nnr_foll_pin_released 0\n");
  const auto readings = ReadNodeVmstat(tree.root(), {1});
  EXPECT_EQ(readings.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(readings.status().message()), HasSubstr("line 1"));
}

TEST(HighOrderCounts, AreThoseThatTheKernelHas) {
  TempTree tree;
  tree.Write("/proc/vmstat",
             "nr_free_pages 12\ncompact_fail 7\ncompact_success 23\n"
             "thp_fault_alloc 5\nhtlb_buddy_alloc_success 3\n"
             "htlb_buddy_alloc_fail 1\n");
  const auto counts = ReadHighOrderCounts(tree.root());
  ASSERT_TRUE(counts.ok()) << counts.status();
  EXPECT_EQ(*counts, (std::vector<HighOrderCount>{{"compaction", 23, 7},
                                                  {"hugetlb", 3, 1}}));
}

TEST(HighOrderCounts, RefuseWhatIsNoNumber) {
  TempTree tree;
  tree.Write("/proc/vmstat", "nr_free_pages 12\ncompact_fail x\n");
  EXPECT_THAT(std::string(ReadHighOrderCounts(tree.root()).status().message()),
              HasSubstr("line 2"));
}

TEST(PossibleCpus, AreOneMoreThanTheHighest) {
  for (const auto& [text, count] :
       {std::pair{"0\n", 1u}, {"0-3\n", 4u}, {"0-3,8-11\n", 12u}}) {
    TempTree tree;
    tree.Write("/sys/devices/system/cpu/possible", text);
    EXPECT_EQ(CountPossibleCpus(tree.root()).value(), count) << text;
  }
}

TEST(PossibleCpus, RefusesWhatIsNoList) {
  for (const char* text : {"", "all\n", "0-\n", "0-99999999\n"}) {
    TempTree tree;
    tree.Write("/sys/devices/system/cpu/possible", text);
    EXPECT_EQ(CountPossibleCpus(tree.root()).status().code(),
              absl::StatusCode::kDataLoss)
        << text;
  }
}

TEST(HostInfo, IsEmptyWhereItCannotBeRead) {
  TempTree tree;
  tree.Write("/proc/sys/kernel/osrelease", "6.12.0\n");
  const HostInfo info = ReadHostInfo(tree.root());
  EXPECT_EQ(info.kernel_release, "6.12.0");
  EXPECT_EQ(info.hostname, "");
  EXPECT_EQ(info.boot_id, "");
}

TEST(MemoryBlocks, GoWithTheDimmThatAcpiTiesThemTo) {
  TempTree tree;
  const std::string memory = "/sys/devices/system/memory";
  tree.Write(memory + "/block_size_bytes", "8000000\n");
  for (const int block : {32, 33, 34})
    tree.Write(memory + "/memory" + std::to_string(block) + "/state",
               "offline\n");
  for (const int block : {33, 34})
    std::filesystem::create_symlink(
        "../../../LNXSYSTM:00/LNXSYBUS:00/PNP0A06:01/PNP0C80:01",
        tree.root() + memory + "/memory" + std::to_string(block) +
            "/firmware_node");
  const auto blocks = ReadMemoryBlocks(tree.root());
  ASSERT_TRUE(blocks.ok()) << blocks.status();
  ASSERT_EQ(blocks->blocks.size(), 3u);
  EXPECT_EQ(blocks->blocks[0].device, "");
  EXPECT_EQ(blocks->blocks[1].device, "PNP0C80:01");
  EXPECT_THAT(blocks->devices,
              ElementsAre(MemoryDevice{.name = "PNP0C80:01", .kind = "dimm"}));
}

TEST(MemoryLimit, IsTheLeastOfTheControlGroupAndThoseAbove) {
  TempTree tree;
  tree.Write("/proc/self/cgroup", "0::/system.slice/pinwatchd.service\n");
  const std::string slice = "/sys/fs/cgroup/system.slice/";
  tree.Write(slice + "memory.high", "max\n");
  tree.Write(slice + "memory.max", "300000000\n");
  EXPECT_EQ(ReadMemoryLimit(tree.root()), 300'000'000u);
  tree.Write(slice + "pinwatchd.service/memory.high", "201326592\n");
  tree.Write(slice + "pinwatchd.service/memory.max", "268435456\n");
  EXPECT_EQ(ReadMemoryLimit(tree.root()), 201'326'592u);
}

TEST(MemoryLimit, IsNoneWhereNoneIsSet) {
  TempTree tree;
  EXPECT_EQ(ReadMemoryLimit(tree.root()), std::nullopt);
  tree.Write("/proc/self/cgroup", "0::/\n");
  EXPECT_EQ(ReadMemoryLimit(tree.root()), std::nullopt);
  tree.Write("/proc/self/cgroup", "0::/user.slice\n");
  tree.Write("/sys/fs/cgroup/user.slice/memory.max", "max\n");
  EXPECT_EQ(ReadMemoryLimit(tree.root()), std::nullopt);
  tree.Write("/proc/self/cgroup", "5:memory:/user.slice\n");
  EXPECT_EQ(ReadMemoryLimit(tree.root()), std::nullopt);
}

}  // namespace
}  // namespace pinwatch
