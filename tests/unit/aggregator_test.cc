// SPDX-License-Identifier: Apache-2.0
#include "daemon/aggregator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pinwatch {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

constexpr size_t kMovable = 1;  // index into the migratetypes below
constexpr unsigned kNormalZone = 0;
constexpr unsigned kMovableZone = 1;

Timestamp At(int64_t seconds) {
  return {.realtime_ns = seconds * 1'000'000'000,
          .monotonic_ns = seconds * 1'000'000'000};
}

// Two nodes; node 0 has a Normal and a Movable zone of two blocks each, blocks
// 0 to 3; node 1 a Movable zone, block 4.
class AggregatorTest : public testing::Test {
 protected:
  AggregatorTest() {
    aggregator_.SetZones({{.nid = 0, .name = "Normal", .managed_pages = 65536},
                          {.nid = 0, .name = "Movable", .managed_pages = 65536},
                          {.nid = 1, .name = "Movable"}});
    SetBlocks({"online", "online", "online", "online", "online"});
  }

  void SetBlocks(const std::vector<std::string>& states) {
    MemoryBlocks blocks{.block_size_bytes = 128 << 20};
    for (uint64_t id = 0; id < states.size(); ++id)
      blocks.blocks.push_back({.id = id,
                               .state = states[id],
                               .nid = id == 4 ? 1 : 0,
                               .zone = states[id] == "online"
                                           ? (id < 2 ? "Normal" : "Movable")
                                           : "none"});
    aggregator_.SetBlocks(std::move(blocks));
  }

  void SetCounters(int64_t seconds, uint64_t acquired, uint64_t released,
                   bool exact = true) {
    aggregator_.SetNodeCounters(
        At(seconds),
        {{.nid = 0, .acquired = acquired, .released = released, .exact = exact},
         {.nid = 1, .exact = exact}});
  }

  void AddLook(uint64_t block, int64_t seconds, const census_cell& cell = {}) {
    BlockLook look{.block_id = block,
                   .time = At(seconds),
                   .status = CENSUS_OK,
                   .zones = {{.nid = block == 4 ? 1 : 0,
                              .zone = block < 2 ? kNormalZone : kMovableZone}}};
    look.zones[0].cells[kMovable] = cell;
    aggregator_.AddLook(std::move(look));
  }

  // The movable pages of a zone of node 0 in a fresh snapshot.
  MigratetypePages Pages(const std::string& zone, int64_t seconds = 9) {
    for (const Zone& z : aggregator_.Build(At(seconds)).zones)
      if (z.nid == 0 && z.name == zone)
        for (const MigratetypePages& m : z.migratetypes)
          if (m.migratetype == "movable") return m;
    ADD_FAILURE() << "no movable pages in " << zone;
    return {};
  }

  Node Node0(int64_t seconds = 9) {
    return aggregator_.Build(At(seconds)).nodes.at(0);
  }

  Aggregator aggregator_{{.hostname = "host"},
                         {.zones = {"Normal", "Movable", "Device"},
                          .migratetypes = {"unmovable", "movable"}},
                         {{.name = "census", .observable = true}},
                         At(1)};
};

census_cell Large(uint64_t pages, uint64_t references) {
  census_cell cell{};
  cell.pages[PAGE_PINNED_LARGE] = pages;
  cell.large_pin_refs = references;
  return cell;
}

census_cell Exact(uint64_t pages, uint64_t references) {
  census_cell cell{};
  cell.pages[PAGE_PINNED_EXACT] = pages;
  cell.exact_pin_refs = references;
  return cell;
}

census_cell Loose(uint64_t pages, uint64_t references) {
  census_cell cell{};
  cell.pages[PAGE_PINNED_LOOSE] = pages;
  cell.loose_pin_refs = references;
  return cell;
}

TEST_F(AggregatorTest, ConfirmsPinsThatTheCounterHasRoomFor) {
  SetCounters(1, 46, 23);
  AddLook(0, 2, Exact(23, 23));
  EXPECT_EQ(Pages("Normal").confirmed, (PinCount{23, 23}));
  EXPECT_EQ(Pages("Normal").possible, (PinCount{}));
}

TEST_F(AggregatorTest, CountsALargeFolioByItsPagesAndItsOwnPincount) {
  SetCounters(1, 3, 0);
  AddLook(0, 2, Large(1536, 3));
  EXPECT_EQ(Pages("Normal").confirmed, (PinCount{1536, 3}));
}

TEST_F(AggregatorTest, FindsNothingPinnedWhereTheCounterIsZero) {
  SetCounters(1, 1000, 1000);
  AddLook(0, 2, Exact(1, 1));
  AddLook(1, 2, Loose(1, 1));
  EXPECT_EQ(Pages("Normal").confirmed, (PinCount{}));
  EXPECT_EQ(Pages("Normal").possible, (PinCount{}));
  EXPECT_EQ(Node0().census_references, 0u);
}

TEST_F(AggregatorTest, NeverConfirmsAPageWhoseSurplusHasNotTheShapeOfPins) {
  SetCounters(1, 24, 0);
  AddLook(0, 2, Exact(23, 23));
  AddLook(2, 2, Loose(1, 1));
  EXPECT_EQ(Pages("Normal").confirmed, (PinCount{23, 23}));
  EXPECT_EQ(Pages("Movable").confirmed, (PinCount{}));
  EXPECT_EQ(Pages("Movable").possible, (PinCount{1, 1}));
}

TEST_F(AggregatorTest, ConfirmsOnlyWhatOtherCandidatesCannotAccountFor) {
  SetCounters(1, 23, 0);
  AddLook(0, 2, Exact(23, 23));
  AddLook(2, 2, Exact(1, 1));  // 1,024 plain references look like this
  EXPECT_EQ(Pages("Normal").confirmed, (PinCount{22, 22}));
  EXPECT_EQ(Pages("Normal").possible, (PinCount{1, 1}));
  EXPECT_EQ(Pages("Movable").confirmed, (PinCount{}));
  EXPECT_EQ(Pages("Movable").possible, (PinCount{1, 1}));
}

TEST_F(AggregatorTest, ConfirmsNoLargeFolioThatMayHaveBeenUnpinnedSince) {
  SetCounters(1, 2, 0);
  AddLook(0, 2, Large(512, 1));
  AddLook(2, 2, Large(1024, 2));
  EXPECT_EQ(Pages("Normal").confirmed, (PinCount{}));
  EXPECT_EQ(Pages("Normal").possible, (PinCount{512, 1}));
  EXPECT_EQ(Pages("Movable").confirmed, (PinCount{}));
}

TEST_F(AggregatorTest, LetsLargeFoliosTakeTheirShareOfTheCounterFirst) {
  SetCounters(1, 5, 0);
  AddLook(0, 2, Large(512, 4));
  AddLook(2, 2, Exact(3, 3));
  EXPECT_EQ(Pages("Normal").confirmed, (PinCount{512, 4}));
  EXPECT_EQ(Pages("Movable").confirmed, (PinCount{1, 1}));
  EXPECT_EQ(Pages("Movable").possible, (PinCount{2, 2}));
}

TEST_F(AggregatorTest, ConfirmedNeverExceedTheCounter) {
  for (uint64_t outstanding = 0; outstanding < 40; ++outstanding) {
    SetCounters(1, outstanding, 0);
    census_cell cell = Exact(7, 11);
    cell.pages[PAGE_PINNED_LARGE] = 512;
    cell.large_pin_refs = 5;
    AddLook(0, 2, cell);
    AddLook(2, 2, Exact(3, 13));
    const uint64_t confirmed = Pages("Normal").confirmed.references +
                               Pages("Movable").confirmed.references;
    EXPECT_LE(confirmed, outstanding);
  }
}

TEST_F(AggregatorTest, WithoutACounterOnlyLargeFoliosAreSure) {
  AddLook(0, 2, Large(512, 1));
  AddLook(2, 2, Exact(23, 23));
  EXPECT_EQ(Pages("Normal").confirmed, (PinCount{512, 1}));
  EXPECT_EQ(Pages("Movable").confirmed, (PinCount{}));
  EXPECT_EQ(Pages("Movable").possible, (PinCount{23, 23}));
  EXPECT_EQ(Node0().outstanding(), std::nullopt);
}

TEST_F(AggregatorTest, ACounterThatLagsRulesNothingOut) {
  SetCounters(1, 0, 0, /*exact=*/false);
  AddLook(0, 2, Exact(23, 23));
  EXPECT_EQ(Pages("Normal").possible, (PinCount{23, 23}));
  EXPECT_FALSE(Node0().census_current);
}

TEST_F(AggregatorTest, CountersOfOneNodeSayNothingOfAnother) {
  SetCounters(1, 23, 0);
  AddLook(4, 2, Exact(23, 23));
  const Snapshot snapshot = aggregator_.Build(At(9));
  EXPECT_EQ(snapshot.zones[2].nid, 1);
  EXPECT_EQ(snapshot.zones[2].migratetypes[kMovable].confirmed, (PinCount{}));
  EXPECT_EQ(snapshot.nodes[1].outstanding(), 0u);
}

TEST_F(AggregatorTest, ReleasedAheadOfAcquiredSaysNothingOfWhatIsPinned) {
  SetCounters(1, 3, 5);
  AddLook(0, 2, Large(512, 1));
  AddLook(1, 2, Exact(1, 1));
  EXPECT_EQ(Node0().outstanding(), std::nullopt);
  EXPECT_EQ(Pages("Normal").confirmed, (PinCount{512, 1}));
  EXPECT_EQ(Pages("Normal").possible, (PinCount{1, 1}));
}

TEST_F(AggregatorTest, MeasuresDriftOnlyOverLooksDuringWhichNoCounterMoved) {
  SetCounters(1, 30, 0);
  for (uint64_t block = 0; block < 5; ++block)
    AddLook(block, 2, block == 0 ? Exact(23, 23) : census_cell{});
  EXPECT_FALSE(Node0().census_current) << "no reading after the looks yet";
  SetCounters(3, 30, 0);
  EXPECT_TRUE(Node0(4).census_current);
  EXPECT_EQ(Node0(4).drift_references, 7);
  EXPECT_EQ(Node0(4).drift_time->monotonic_ns, At(4).monotonic_ns);

  SetCounters(5, 31, 1);  // as many pins, but not the same ones
  EXPECT_FALSE(Node0(6).census_current);
  EXPECT_EQ(Node0(6).drift_references, 7) << "the last one measured stands";
  EXPECT_EQ(Node0(6).drift_time->monotonic_ns, At(4).monotonic_ns);
}

TEST_F(AggregatorTest, NamesDevicePagesAsTheCauseOfADriftAboveZero) {
  const auto measure = [&](int64_t seconds, uint64_t pins,
                           uint64_t device_pages) {
    aggregator_.SetZones(
        {{.nid = 0, .name = "Normal", .managed_pages = 65536},
         {.nid = 0, .name = "Device", .spanned_pages = device_pages},
         {.nid = 1, .name = "Device", .spanned_pages = 7}});
    SetCounters(seconds, pins, 0);
    for (uint64_t block = 0; block < 5; ++block)
      AddLook(block, seconds, block == 0 ? Exact(23, 23) : census_cell{});
    SetCounters(seconds + 1, pins, 0);
    return Node0(seconds + 1);
  };
  EXPECT_EQ(measure(1, 30, 512).device_pages, 512u);
  EXPECT_EQ(measure(3, 30, 512).drift_cause(), "zone_device");
  EXPECT_EQ(measure(5, 30, 0).drift_cause(), "");
  EXPECT_EQ(measure(7, 23, 512).drift_cause(), "");
  EXPECT_EQ(measure(9, 20, 512).drift_cause(), "");
}

TEST_F(AggregatorTest, KnowsNoDriftBeforeEveryBlockWasLookedAt) {
  SetCounters(1, 0, 0);
  AddLook(0, 2);
  SetCounters(3, 0, 0);
  EXPECT_EQ(Node0().drift_references, std::nullopt);
}

TEST_F(AggregatorTest, BlocksAreStaleUntilLookedAtAndWhenTheirNodeMoves) {
  SetCounters(1, 0, 0);
  EXPECT_THAT(aggregator_.StaleBlocks(), ElementsAre(0, 1, 2, 3, 4));
  for (uint64_t block = 0; block < 5; ++block) AddLook(block, 2);
  EXPECT_THAT(aggregator_.StaleBlocks(), IsEmpty());
  SetCounters(3, 1, 0);
  EXPECT_THAT(aggregator_.StaleBlocks(), ElementsAre(0, 1, 2, 3));
}

TEST_F(AggregatorTest, GivesTheLongestUnseenBlockFirst) {
  AddLook(0, 7);
  AddLook(2, 5);
  AddLook(3, 6);
  EXPECT_THAT(aggregator_.BlocksUnseenSince(At(7).monotonic_ns),
              ElementsAre(1, 4, 2, 3));
}

TEST_F(AggregatorTest, ForgetsTheLooksOfABlockThatWentOffline) {
  SetCounters(1, 23, 0);
  AddLook(2, 2, Exact(23, 23));
  SetBlocks({"online", "online", "offline", "online", "online"});
  EXPECT_TRUE(aggregator_.Build(At(9)).zones[1].migratetypes.empty())
      << "not looked at is not zero";
  SetBlocks({"online", "online", "online", "online", "online"});
  EXPECT_THAT(aggregator_.BlocksUnseenSince(INT64_MIN),
              ElementsAre(0, 1, 2, 3, 4));
}

TEST_F(AggregatorTest, KeepsLookingAtABlockThatIsGoingOffline) {
  SetCounters(1, 23, 0);
  AddLook(2, 2, Exact(23, 23));
  SetBlocks({"online", "online", "going-offline", "online", "online"});
  EXPECT_EQ(Pages("Movable").confirmed, (PinCount{23, 23}));
  EXPECT_THAT(aggregator_.BlocksUnseenSince(INT64_MIN),
              ElementsAre(0, 1, 3, 4));
  EXPECT_THAT(aggregator_.BlocksUnseenSince(At(3).monotonic_ns),
              ElementsAre(0, 1, 3, 4, 2));
}

TEST_F(AggregatorTest, ANewLookReplacesTheOldOneOfTheSameBlock) {
  SetCounters(1, 99, 0);
  AddLook(0, 2, Exact(23, 23));
  AddLook(0, 3, Exact(5, 5));
  AddLook(1, 4, Exact(1, 1));
  EXPECT_EQ(Pages("Normal").confirmed, (PinCount{6, 6}));
  EXPECT_EQ(aggregator_.Build(At(9)).zones[0].oldest_look->monotonic_ns,
            At(3).monotonic_ns);
}

TEST_F(AggregatorTest, CountsBlocksByNodeZoneAndState) {
  SetBlocks({"online", "online", "offline", "online", "going-offline"});
  std::vector<std::string> rows;
  for (const BlockCount& count : aggregator_.Build(At(9)).blocks)
    rows.push_back(std::to_string(count.nid) + " " + count.zone + " " +
                   count.state + " " + std::to_string(count.blocks));
  EXPECT_THAT(rows, ElementsAre("0 Movable online 1", "0 Normal online 2",
                                "0 none offline 1", "1 none going-offline 1"));
}

TEST_F(AggregatorTest, KeepsTotalsOfWhatTheCensusMet) {
  AddLook(0, 2, Exact(23, 23));
  aggregator_.AddLook(
      {.block_id = 1, .time = At(2), .status = CENSUS_CHANGED, .steps = 7});
  aggregator_.AddLook({.block_id = 2, .time = At(2), .cpu_ns = 1500});
  aggregator_.FinishRound();
  const CensusTotals totals = aggregator_.Build(At(9)).census;
  EXPECT_EQ(totals.rounds, 1u);
  EXPECT_EQ(totals.blocks_looked, 3u);
  EXPECT_EQ(totals.blocks_changed, 1u);
  EXPECT_EQ(totals.blocks_absent, 1u);
  EXPECT_EQ(totals.pages, 23u);
  EXPECT_EQ(totals.steps, 7u);
  EXPECT_EQ(totals.cpu_ns, 1500);
}

TEST_F(AggregatorTest, NamesAMigratetypeThatTheKernelHasNoWordFor) {
  BlockLook look{.block_id = 0, .time = At(2), .status = CENSUS_OK};
  look.zones = {{.nid = 0, .zone = kNormalZone}};
  look.zones[0].cells[6].pages[PAGE_FREE] = 512;
  aggregator_.AddLook(look);
  const Zone zone = aggregator_.Build(At(9)).zones[0];
  ASSERT_EQ(zone.migratetypes.size(), 3u);
  EXPECT_EQ(zone.migratetypes[2].migratetype, "migratetype_6");
  EXPECT_EQ(zone.migratetypes[2].pages[PAGE_FREE], 512u);
}

HotplugAttempt Attempt(uint64_t section, bool running, int error) {
  return {.operation = "offline",
          .section_nr = section,
          .begin = At(2),
          .duration_ns = 500'000'000,
          .running = running,
          .error = error};
}

TEST_F(AggregatorTest, ListsRunningAttemptsFirstAndThenTheNewest) {
  aggregator_.AddHotplug({.ended = {Attempt(3, false, 16)}});
  aggregator_.AddHotplug(
      {.running = {Attempt(7, true, 0)},
       .ended = {Attempt(4, false, 4), Attempt(5, false, 0)}});
  std::vector<uint64_t> blocks;
  for (const HotplugAttempt& attempt : aggregator_.Build(At(9)).attempts)
    blocks.push_back(attempt.block_id);
  EXPECT_THAT(blocks, ElementsAre(7, 5, 4, 3));
}

TEST_F(AggregatorTest, AnAttemptKeepsItsIdAndTellsWhomItContendsWith) {
  HotplugAttempt past = Attempt(9, false, 16);
  past.of_earlier_daemon = true;
  aggregator_.SetHistory({past, past});
  HotplugAttempt first = Attempt(3, true, 0), second = Attempt(3, true, 0);
  first.pid = 251;
  first.duration_ns = 900'000'000;
  second.pid = 77;
  second.begin = At(3);
  aggregator_.AddHotplug({.running = {first}});
  EXPECT_EQ(aggregator_.Build(At(3)).attempts.at(0).id, 3u);
  first.running = false;
  aggregator_.AddHotplug({.running = {second}, .ended = {first}});
  const std::vector<HotplugAttempt> told = aggregator_.Build(At(4)).attempts;
  ASSERT_EQ(told.size(), 4u);
  EXPECT_EQ(told[0].id, 4u);
  EXPECT_EQ(told[1].id, 3u);
  EXPECT_THAT(told[0].contends_with, ElementsAre(3));
  EXPECT_THAT(told[1].contends_with, ElementsAre(4));
  EXPECT_EQ(told[3].id, 1u);
}

TEST_F(AggregatorTest, TheTimeOfOfflineAttemptsAddsUpByStepWhileTheyRun) {
  HotplugAttempt attempt = Attempt(3, true, 0);
  attempt.step = HOTPLUG_MIGRATING;
  attempt.step_ns[HOTPLUG_ISOLATING] = 3;
  attempt.step_ns[HOTPLUG_MIGRATING] = 23;
  aggregator_.AddHotplug({.running = {attempt}});
  EXPECT_EQ(aggregator_.Build(At(3)).offline_step_ns[HOTPLUG_MIGRATING], 23);
  // Its story is lost at the end.
  attempt.step_ns[HOTPLUG_MIGRATING] = 97;
  aggregator_.AddHotplug({.running = {attempt}});
  aggregator_.AddHotplug({});
  // Another, of which no step is told, and one that is none of these.
  HotplugAttempt other = Attempt(4, false, EINTR), online = other;
  other.duration_ns = 107;
  online.operation = "online";
  aggregator_.AddHotplug({.ended = {other, online}});
  const auto step_ns = aggregator_.Build(At(5)).offline_step_ns;
  EXPECT_EQ(step_ns[HOTPLUG_ISOLATING], 3);
  EXPECT_EQ(step_ns[HOTPLUG_MIGRATING], 97);
  EXPECT_EQ(step_ns[HOTPLUG_STEP_UNKNOWN], 107);
}

TEST_F(AggregatorTest, ListsTheBlocksOfADeviceAndAllDevicesBeside) {
  aggregator_.SetBlocks(
      {.block_size_bytes = 128 << 20,
       .blocks = {{.id = 3, .state = "online", .device = "PNP0C80:00"},
                  {.id = 4, .state = "online", .device = "virtio3"}},
       .devices = {{.name = "PNP0C80:00", .kind = "dimm"},
                   {.name = "virtio3", .kind = "virtio_mem"}}});
  BlockList list =
      aggregator_.ListBlocks({.limit = 23, .device = "virtio3"}, At(9));
  ASSERT_EQ(list.blocks.size(), 1u);
  EXPECT_EQ(list.blocks[0].block.id, 4u);
  EXPECT_EQ(list.devices.size(), 2u);
  list = aggregator_.ListBlocks({.first_id = 1, .limit = 23}, At(9));
  EXPECT_EQ(list.blocks.size(), 2u);
  EXPECT_THAT(list.devices, IsEmpty());
}

TEST_F(AggregatorTest, NumbersTheBlockOfAnAttemptByTheSizeOfBlocks) {
  aggregator_.SetBlocks({.block_size_bytes = uint64_t{2} << 30});
  aggregator_.AddHotplug({.ended = {Attempt(33, false, 16)}});
  EXPECT_EQ(aggregator_.Build(At(9)).attempts.at(0).block_id, 2u);
}

TEST_F(AggregatorTest, ABlocksOwnStructPagesAreNotInItsWay) {
  // Of memory1 in itself, and of memory4 in memory1 and memory0.
  aggregator_.SetMemmap(
      Memmap({{.pfn = 32768, .nr_pages = 512, .of_pfn = 32768},
              {.pfn = 40000, .nr_pages = 23, .of_pfn = 4 * 32768},
              {.pfn = 23, .nr_pages = 1, .of_pfn = 4 * 32768}},
             32768));
  census_cell cell{};
  cell.pages[PAGE_KERNEL] = 512;
  AddLook(1, 2, cell);
  BlockReport report = *aggregator_.Explain(1, At(2));
  EXPECT_EQ(report.verdict, Verdict::kRemovable);
  EXPECT_EQ(report.evidence.kernel, 0u);
  EXPECT_EQ(report.evidence.own_struct_pages, 512u);
  EXPECT_THAT(report.struct_pages, ElementsAre(Pair(1, 512), Pair(4, 23)));

  cell.pages[PAGE_KERNEL] = 512 + 23;
  AddLook(1, 3, cell);
  report = *aggregator_.Explain(1, At(3));
  EXPECT_EQ(report.verdict, Verdict::kBlockedByKernelMemory);
  EXPECT_EQ(report.evidence.kernel, 23u);

  // Some kernels reserve its own.
  cell.pages[PAGE_KERNEL] = 0;
  cell.pages[PAGE_RESERVED] = 512 + 7;
  AddLook(1, 4, cell);
  report = *aggregator_.Explain(1, At(4));
  EXPECT_EQ(report.verdict, Verdict::kBlockedByKernelMemory);
  EXPECT_EQ(report.evidence.reserved, 7u);
}

TEST_F(AggregatorTest, KernelMemoryInAnAttemptsWayIsToldToBeStructPages) {
  aggregator_.SetMemmap(
      Memmap({{.pfn = 23, .nr_pages = 1, .of_pfn = 4 * 32768}}, 32768));
  const auto blocker = [](uint64_t pfn, page_class page, const char* why) {
    return BlockingPage{.pfn = pfn, .page = page, .why = why};
  };
  HotplugReading reading{
      .ended = {{.operation = "offline",
                 .error = 16,
                 .step = HOTPLUG_ISOLATING,
                 .blockers = {blocker(22, PAGE_KERNEL, "kernel_memory"),
                              blocker(23, PAGE_KERNEL, "kernel_memory")}},
                {.operation = "offline",
                 .error = 16,
                 .step = HOTPLUG_ISOLATING,
                 .blockers = {blocker(23, PAGE_KERNEL, "slab")}}}};
  aggregator_.AddHotplug(std::move(reading));
  const Snapshot snapshot = aggregator_.Build(At(9));
  // The newest comes first.
  EXPECT_EQ(snapshot.attempts[0].blockers[0].why, "slab");
  EXPECT_FALSE(snapshot.attempts[0].blockers[0].struct_pages_of.has_value());
  EXPECT_EQ(snapshot.attempts[1].blockers[0].why, "kernel_memory");
  EXPECT_EQ(snapshot.attempts[1].blockers[1].why, "vmemmap");
  EXPECT_EQ(snapshot.attempts[1].blockers[1].struct_pages_of, 4u);
}

TEST_F(AggregatorTest, TakesThePlaceOfAnAttemptFromItsBlockWhereNoneIsTold) {
  aggregator_.SetBlocks(
      {.block_size_bytes = 128 << 20,
       .blocks = {{.id = 3, .state = "online", .nid = 1, .zone = "Movable"},
                  {.id = 4, .state = "offline", .nid = 1, .zone = "none"}}});
  HotplugAttempt told = Attempt(3, false, 16);
  told.nid = 0;
  told.zone = "Normal";
  HotplugAttempt online = Attempt(3, false, 16);
  online.operation = "online";
  aggregator_.AddHotplug(
      {.ended = {told, Attempt(3, false, 16), Attempt(4, false, 16), online}});
  std::vector<std::pair<int, std::string>> places;
  for (const HotplugAttempt& attempt : aggregator_.Build(At(9)).attempts)
    places.emplace_back(attempt.nid, attempt.zone);
  // The newest first. What is not online is in no zone that is known.
  EXPECT_THAT(places,
              ElementsAre(std::pair(1, ""), std::pair(1, ""),
                          std::pair(1, "Movable"), std::pair(0, "Normal")));
}

TEST_F(AggregatorTest, RemembersWhenAnOfflineLastFailedAndNothingElse) {
  HotplugAttempt online = Attempt(3, false, 16);
  online.operation = "online";
  aggregator_.AddHotplug({.ended = {online, Attempt(3, false, 0)}});
  EXPECT_EQ(aggregator_.Build(At(9)).last_offline_failure, std::nullopt);
  aggregator_.AddHotplug({.ended = {Attempt(3, false, 16)}});
  EXPECT_EQ(aggregator_.Build(At(9)).last_offline_failure->realtime_ns,
            2'500'000'000);
}

TEST_F(AggregatorTest, KeepsTheStoriesOfTheLast128AttemptsAndAllCounts) {
  std::vector<HotplugAttempt> ended;
  for (uint64_t section = 0; section < 137; ++section)
    ended.push_back(Attempt(section, false, 16));
  aggregator_.AddHotplug(
      {.ended = ended, .counts = {{"offline", "EBUSY", 137}}, .untold = 1});
  const Snapshot snapshot = aggregator_.Build(At(9));
  EXPECT_EQ(snapshot.attempts.size(), 128u);
  EXPECT_EQ(snapshot.attempts.front().block_id, 136u);
  EXPECT_EQ(snapshot.attempts.back().block_id, 9u);
  EXPECT_THAT(snapshot.attempt_counts,
              ElementsAre(HotplugCount{"offline", "EBUSY", 137}));
  EXPECT_EQ(snapshot.attempts_untold, 1u);
}

TEST_F(AggregatorTest, ANodeWithoutBlocksHasNoCensusAndIsNeverCurrent) {
  aggregator_.SetBlocks({});
  SetCounters(1, 0, 0);
  EXPECT_EQ(Node0().census_references, std::nullopt);
  EXPECT_FALSE(Node0().census_current);
}

TEST_F(AggregatorTest, GenerationRisesByOneWithEachSnapshot) {
  EXPECT_EQ(aggregator_.Build(At(2)).generation, 1u);
  EXPECT_EQ(aggregator_.Build(At(3)).generation, 2u);
}

// Who holds what. Node 0 has 23 pins; owner 1 is known, and is process 42.
class ClaimedTest : public AggregatorTest {
 protected:
  ClaimedTest() { SetCounters(1, 23, 0); }

  static OwnerReading Owner(bool long_term = true) {
    return {.index = 1,
            .long_term = long_term,
            .pid = 42,
            .start_boottime_ns = 7,
            .first = At(1),
            .last = At(1)};
  }

  void SetClaims(int64_t seconds, ClaimTotals totals = {},
                 std::vector<std::string> doors_not_followed = {},
                 bool long_term = true) {
    for (const OwnerReading& owner : aggregator_.SetClaims(
             At(seconds), {.owners = {Owner(long_term)},
                          .totals = totals,
                          .doors_not_followed = doors_not_followed}))
      aggregator_.owner_book().Add(owner, {.process = {.comm = "holder"}});
  }

  // A look at block 0 that finds 23 pages, claimed by owner 1.
  void LookAtClaims(int64_t seconds, int64_t claimed, bool long_term = true) {
    BlockLook look{
        .block_id = 0,
        .time = At(seconds),
        .status = CENSUS_OK,
        .zones = {{.nid = 0, .zone = kNormalZone}},
        .pins = {{.zone = kNormalZone,
                  .pins_a_page = 1,
                  .claims = {{.owner = 1,
                              .long_term = long_term,
                              .made_ns = At(claimed).monotonic_ns}},
                  .ages = {{{At(claimed).monotonic_ns, 23}}},
                  .pins = {23, 23}}},
        .lists_pages = true,
        .listed = {{.pfn = 99,
                    .page = PAGE_PINNED_EXACT,
                    .pins = 1,
                    .claims = {{.owner = 1,
                                .long_term = long_term,
                                .made_ns = At(claimed).monotonic_ns}}}}};
    look.zones[0].cells[kMovable] = Exact(23, 23);
    aggregator_.AddLook(std::move(look));
  }

  PinAttribution Only() {
    const Snapshot snapshot = aggregator_.Build(At(9));
    if (snapshot.attributions.size() != 1) {
      ADD_FAILURE() << snapshot.attributions.size() << " attributions";
      return {};
    }
    return snapshot.attributions[0];
  }
};

TEST_F(ClaimedTest, WhoClaimsAPinnedPageHoldsIt) {
  SetClaims(2);
  LookAtClaims(3, 2);
  const Snapshot snapshot = aggregator_.Build(At(9));
  ASSERT_EQ(snapshot.owners.size(), 1u);
  EXPECT_EQ(snapshot.owners[0].process.pid, 42u);
  EXPECT_EQ(snapshot.owners[0].process.comm, "holder");
  EXPECT_THAT(snapshot.owners[0].holdings,
              ElementsAre(PinHolding{
                  .zone = "Normal", .pins = {23, 23}, .since = At(2)}));
  EXPECT_EQ(Only(),
            (PinAttribution{0, "Normal", Certainty::kHeld, "", {23, 23}}));
  EXPECT_EQ(snapshot.claims->lost_long_term, 0u);
}

TEST_F(ClaimedTest, PagesLandInTheZoneOfTheirBlockAndTheRestIsNotKnownWhere) {
  aggregator_.SetClaims(At(2), {.landed = {{.start_pfn = 0, .pages = 23},
                                           {.start_pfn = 1 << 30, .pages = 3}},
                                .unlanded = 2});
  aggregator_.SetClaims(
      At(3), {.landed = {{.start_pfn = 0, .pages = 7}}, .unlanded = 4});
  std::map<std::string, uint64_t> pages;
  const std::vector<PinLanding> landings = aggregator_.Build(At(4)).landings;
  for (const PinLanding& landing : landings)
    pages[landing.zone] += landing.pages;
  EXPECT_EQ(pages.at("Normal"), 30u);
  EXPECT_EQ(pages.at("Movable"), 0u) << "every zone from the start";
  EXPECT_EQ(landings.back(), (PinLanding{.pages = 3 + 4}));

  // A zone that is gone does not count backwards.
  aggregator_.SetZones({{.nid = 0, .name = "Movable"}});
  const std::vector<PinLanding> later = aggregator_.Build(At(5)).landings;
  EXPECT_THAT(later,
              ElementsAre(PinLanding{.nid = 0, .zone = "Movable"},
                          PinLanding{0, "Normal", 30}, PinLanding{.pages = 7}));
}

TEST_F(ClaimedTest, WithoutClaimsNobodyIsToldOf) {
  LookAtClaims(3, 2);
  const Snapshot snapshot = aggregator_.Build(At(9));
  EXPECT_THAT(snapshot.owners, IsEmpty());
  EXPECT_THAT(snapshot.attributions, IsEmpty());
  EXPECT_FALSE(snapshot.claims.has_value());
}

TEST_F(ClaimedTest, WhereTheCounterIsZeroNobodyHoldsAnything) {
  SetCounters(2, 23, 23);
  SetClaims(2);
  LookAtClaims(3, 2);
  const Snapshot snapshot = aggregator_.Build(At(9));
  EXPECT_THAT(snapshot.attributions, IsEmpty());
  EXPECT_THAT(snapshot.owners[0].holdings, IsEmpty());
}

TEST_F(ClaimedTest, ClaimsFromBeforeALossAreProbableAndLaterOnesAreNot) {
  SetClaims(2);
  SetClaims(5, {.lost_long_term = 1});
  LookAtClaims(6, 4);
  EXPECT_EQ(Only().certainty, Certainty::kProbable);
  EXPECT_EQ(Only().reason, "claims_lost");
  SetClaims(7, {.lost_long_term = 1});
  LookAtClaims(8, 6);
  EXPECT_EQ(Only().certainty, Certainty::kHeld);
}

TEST_F(ClaimedTest, WhatDoesNotChangeIsSharedByTheSnapshots) {
  SetClaims(2);
  LookAtClaims(3, 2);
  const Snapshot first = aggregator_.Build(At(5));
  LookAtClaims(5, 2);
  SetClaims(6);
  const Snapshot same = aggregator_.Build(At(6));
  EXPECT_EQ(first.owners[0].holdings, same.owners[0].holdings);
  EXPECT_EQ(first.claiming_processes, 1u);
  EXPECT_EQ(first.pin_kinds.at(0).long_term_older[0], 23u);
  EXPECT_EQ(first.pin_kinds.at(0).long_term_older[1], 0u);
  // Ages go on all the same.
  EXPECT_EQ(aggregator_.Build(At(14)).pin_kinds.at(0).long_term_older[1], 23u);
  EXPECT_EQ(aggregator_.Build(At(15)).owners.pages()[0],
            same.owners.pages()[0]);
  aggregator_.ForgetOwners({1});
  const Snapshot later = aggregator_.Build(At(16));
  EXPECT_TRUE(later.owners.empty());
  EXPECT_EQ(later.claiming_processes, 0u);
  EXPECT_EQ(later.attributions.at(0).reason, "owner_unknown");
  EXPECT_EQ(same.owners.size(), 1u);
}

TEST_F(ClaimedTest, WhatWasLostBeforeTheFirstReadingCounts) {
  SetClaims(5, {.lost_long_term = 1});
  LookAtClaims(6, 4);
  EXPECT_EQ(Only().certainty, Certainty::kProbable);
}

TEST_F(ClaimedTest, LossesThatADaemonBeforeAllowedForTouchNoClaimMadeSince) {
  ClaimReading reading{.owners = {Owner()},
                       .totals = {.lost_long_term = 3},
                       .gaps_at_start = {.long_term_ns = At(3).monotonic_ns,
                                         .long_term_losses = 3}};
  for (const OwnerReading& owner : aggregator_.SetClaims(At(7), reading))
    aggregator_.owner_book().Add(owner, {});
  LookAtClaims(8, 4);
  EXPECT_EQ(Only().certainty, Certainty::kHeld);
  LookAtClaims(9, 2);
  EXPECT_EQ(Only().certainty, Certainty::kProbable);
  EXPECT_EQ(aggregator_.claim_gaps().long_term_losses, 3u);
}

TEST_F(ClaimedTest, ADoorThatIsNotFollowedLeavesEveryClaimProbable) {
  SetClaims(2, {}, {"pin_user_pages"});
  LookAtClaims(3, 2);
  EXPECT_EQ(Only().reason, "claims_lost");
}

TEST_F(ClaimedTest, ADoorThatIsFollowedAgainLeavesLaterClaimsHeld) {
  SetClaims(2, {}, {"pin_user_pages"});
  SetClaims(5);
  LookAtClaims(6, 4);
  EXPECT_EQ(Only().reason, "claims_lost");
  LookAtClaims(8, 7);
  EXPECT_EQ(Only().certainty, Certainty::kHeld);
}

TEST_F(ClaimedTest, SkippedShortTermCallsTouchNoLongTermClaim) {
  SetClaims(5, {.short_term_skipped = 1});
  LookAtClaims(6, 4);
  EXPECT_EQ(Only().certainty, Certainty::kHeld);
}

TEST_F(ClaimedTest, SkippedShortTermCallsMakeShortTermClaimsProbable) {
  SetClaims(5, {.short_term_skipped = 1}, {}, /*long_term=*/false);
  LookAtClaims(6, 4, /*long_term=*/false);
  EXPECT_EQ(Only().reason, "claims_lost");
}

TEST_F(ClaimedTest, ExplainsABlockByWhatStandsInItAndWhoHoldsThat) {
  SetClaims(2);
  LookAtClaims(3, 2);
  const absl::StatusOr<BlockReport> report = aggregator_.Explain(0, At(9));
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->block.zone, "Normal");
  EXPECT_EQ(report->look, At(3));
  EXPECT_EQ(report->verdict, Verdict::kBlockedByLongTermPins);
  EXPECT_EQ(report->reason, "23 pages pinned");
  ASSERT_EQ(report->owners.size(), 1u);
  EXPECT_EQ(report->owners[0].holdings.at(0).pins, (PinCount{23, 23}));
  ASSERT_EQ(report->blockers.size(), 1u);
  EXPECT_EQ(report->blockers[0].pfn, 99u);
  EXPECT_THAT(report->blockers[0].owners, ElementsAre(1));
}

TEST_F(ClaimedTest, ListsTheVerdictThatExplainGives) {
  SetClaims(2);
  LookAtClaims(3, 2);
  const BlockList list = aggregator_.ListBlocks({.limit = 23}, At(9));
  ASSERT_FALSE(list.blocks.empty());
  EXPECT_EQ(list.blocks[0].block.id, 0u);
  EXPECT_EQ(list.blocks[0].verdict, Verdict::kBlockedByLongTermPins);
  EXPECT_EQ(list.blocks[0].evidence.long_term_pins, 23u);
  EXPECT_EQ(list.blocks[0].confidence, Confidence::kHigh);
  uint64_t blocks = 0;
  for (const VerdictCount& count : aggregator_.Build(At(9)).verdicts)
    blocks += count.blocks;
  EXPECT_EQ(blocks, list.blocks.size());
  EXPECT_TRUE(
      aggregator_
          .ListBlocks({.limit = 23, .verdict = Verdict::kRemovable}, At(9))
          .blocks.empty());
}

TEST_F(ClaimedTest, AnOwnerWhoIsKnownAfterTheLookMendsTheVerdict) {
  LookAtClaims(3, 2);
  EXPECT_EQ(aggregator_.ListBlocks({.limit = 1}, At(4))
                .blocks.at(0)
                .evidence.unclaimed_pins,
            23u);
  SetClaims(5);
  EXPECT_EQ(aggregator_.ListBlocks({.limit = 1}, At(6))
                .blocks.at(0)
                .evidence.long_term_pins,
            23u);
}

TEST_F(ClaimedTest, APlanTakesThePinsOfWhoIsStoppedToBeGone) {
  SetClaims(2);
  LookAtClaims(3, 2);
  const OfflinePlan other =
      aggregator_.Plan({.bytes = 1, .stopped = StoppedHolder{.pid = 7}}, At(9));
  EXPECT_EQ(other.stopped_owners, 0u);
  EXPECT_EQ(other.stopped_pages, 0u);
  for (const VerdictCount& count : other.verdicts)
    EXPECT_NE(count.verdict, Verdict::kRemovableAfterMigration);
  const OfflinePlan plan = aggregator_.Plan(
      {.bytes = 1, .stopped = StoppedHolder{.pid = 42}}, At(9));
  EXPECT_EQ(plan.stopped_owners, 1u);
  EXPECT_EQ(plan.stopped_pages, 23u);
  EXPECT_TRUE(plan.owners.empty());
}

TEST_F(ClaimedTest, ExplainsABlockThatNobodyLookedAtAsUnknown) {
  const absl::StatusOr<BlockReport> report = aggregator_.Explain(1, At(9));
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->verdict, Verdict::kUnknown);
  EXPECT_FALSE(report->look.has_value());
}

TEST_F(ClaimedTest, CannotExplainABlockThatIsNotThere) {
  EXPECT_EQ(aggregator_.Explain(99, At(9)).status().code(),
            absl::StatusCode::kNotFound);
}

TEST_F(ClaimedTest, ABlockOnItsWayOutIsLookedAtAndOneThatIsOutIsNot) {
  SetBlocks({"going-offline", "offline"});
  EXPECT_TRUE(aggregator_.CanBeLookedAt(0));
  EXPECT_FALSE(aggregator_.CanBeLookedAt(1));
  EXPECT_FALSE(aggregator_.CanBeLookedAt(99));
}

TEST_F(ClaimedTest, WhatIsInTheWayOfARunningAttemptIsToldWithItsHolder) {
  SetClaims(2);
  aggregator_.AddHotplug({.running = {Attempt(0, true, 0)}});
  EXPECT_THAT(aggregator_.BlocksOfAttempts(), ElementsAre(0));
  LookAtClaims(3, 2);
  const HotplugAttempt told = aggregator_.Build(At(4)).attempts.at(0);
  ASSERT_EQ(told.blockers.size(), 1u);
  EXPECT_EQ(told.blockers[0].pfn, 99u);
  EXPECT_EQ(told.blockers[0].certainty, Certainty::kHeld);
  EXPECT_THAT(told.blockers[0].owners, ElementsAre(1));
}

TEST_F(ClaimedTest, AnAttemptThatFailsKeepsWhatWasInItsWay) {
  SetClaims(2);
  aggregator_.AddHotplug({.running = {Attempt(0, true, 0)}});
  LookAtClaims(3, 2);
  aggregator_.AddHotplug({.ended = {Attempt(0, false, 4)}});
  EXPECT_EQ(aggregator_.Build(At(4)).attempts.at(0).blockers.size(), 1u);
  EXPECT_THAT(aggregator_.BlocksOfAttempts(), IsEmpty());
}

TEST_F(ClaimedTest, NothingIsInTheWayOfAnAttemptThatSucceeded) {
  SetClaims(2);
  aggregator_.AddHotplug({.running = {Attempt(0, true, 0)}});
  LookAtClaims(3, 2);
  aggregator_.AddHotplug({.ended = {Attempt(0, false, 0)}});
  EXPECT_THAT(aggregator_.Build(At(4)).attempts.at(0).blockers, IsEmpty());
  EXPECT_THAT(aggregator_.BlocksOfAttempts(), IsEmpty());
}

TEST_F(ClaimedTest, ABlockIsLookedAtOnceForAnAttemptThatFailedUnseen) {
  SetClaims(2);
  LookAtClaims(1, 1);
  aggregator_.AddHotplug({.ended = {Attempt(0, false, 16)}});
  EXPECT_THAT(aggregator_.BlocksOfAttempts(), ElementsAre(0));
  LookAtClaims(5, 2);
  EXPECT_EQ(aggregator_.Build(At(6)).attempts.at(0).blockers.size(), 1u);
  EXPECT_THAT(aggregator_.BlocksOfAttempts(), IsEmpty());
}

BlockingPage Met(uint64_t pfn, const char* why, uint64_t pins = 0) {
  return {.pfn = pfn, .pins = pins, .why = why, .times_met = 7};
}

TEST_F(ClaimedTest, ThePagesThatTheKernelMetAreToldWithTheirHolders) {
  SetClaims(2);
  HotplugAttempt attempt = Attempt(0, true, 0);
  attempt.blockers = {Met(7, "slab"), Met(99, "pinned", 1)};
  aggregator_.AddHotplug({.running = {attempt}});
  LookAtClaims(3, 2);
  const auto told = [&] {
    return aggregator_.Build(At(4)).attempts.at(0).blockers;
  };
  ASSERT_EQ(told().size(), 2u);
  EXPECT_EQ(told()[0].why, "slab");
  EXPECT_EQ(told()[1].why, "pinned_long_term");
  EXPECT_EQ(told()[1].certainty, Certainty::kHeld);
  EXPECT_THAT(told()[1].owners, ElementsAre(1));

  // Also by later readings, which come without a look.
  attempt.blockers[1].times_met = 23;
  aggregator_.AddHotplug({.running = {attempt}});
  EXPECT_EQ(told()[1].times_met, 23u);
  EXPECT_THAT(told()[1].owners, ElementsAre(1));
  attempt.running = false;
  attempt.error = EINTR;
  attempt.step = HOTPLUG_MIGRATING;
  aggregator_.AddHotplug({.ended = {attempt}});
  EXPECT_THAT(told()[1].owners, ElementsAre(1));
  EXPECT_THAT(aggregator_.BlocksOfAttempts(), IsEmpty());

  const OfflineFailures failures = aggregator_.Build(At(5)).offline_failures;
  for (size_t i = 0; i < kNrOfflineReasons; ++i)
    EXPECT_EQ(failures.by_reason[i],
              std::string_view(kOfflineReasons[i]) == "interrupted");
  for (size_t i = 0; i < kNrWhysPagesStay; ++i) {
    const std::string_view why = kWhysPagesStay[i];
    EXPECT_EQ(failures.pages_by_why[i], why == "slab" || why == "pinned");
  }
}

TEST_F(ClaimedTest, APageThatALookAtItsBlockDoesNotListIsLookedAtItself) {
  SetClaims(2);
  HotplugAttempt attempt = Attempt(0, true, 0);
  attempt.blockers = {Met(7, "slab"), Met(99, "pinned", 1),
                      Met(100, "pinned", 1)};
  aggregator_.AddHotplug({.running = {attempt}});
  EXPECT_THAT(aggregator_.PagesOfUnknownHolder(64), ElementsAre(99, 100));
  EXPECT_THAT(aggregator_.PagesOfUnknownHolder(1), ElementsAre(99));
  aggregator_.SetPageLook(
      100, BlockLook{.status = CENSUS_OK,
                     .lists_pages = true,
                     .listed = {{.pfn = 100,
                                 .nr_pages = 1,
                                 .page = PAGE_PINNED_EXACT,
                                 .pins = 1,
                                 .claims = {{1, true, 2, true}}}}});
  aggregator_.SetPageLook(99, std::nullopt);
  EXPECT_THAT(aggregator_.PagesOfUnknownHolder(64), ElementsAre(99));
  const auto blockers = aggregator_.Build(At(4)).attempts.at(0).blockers;
  EXPECT_THAT(blockers.at(2).owners, ElementsAre(1));
  EXPECT_EQ(blockers.at(2).why, "pinned_long_term");
  EXPECT_EQ(blockers.at(1).why, "pinned");
}

TEST_F(ClaimedTest, ABlockIsLookedAtForTheHoldersOfWhatTheKernelMet) {
  SetClaims(2);
  LookAtClaims(1, 1);
  HotplugAttempt attempt = Attempt(0, false, EBUSY);
  attempt.step = HOTPLUG_MIGRATING;
  attempt.blockers = {Met(99, "pinned", 1)};
  aggregator_.AddHotplug({.ended = {attempt}});
  EXPECT_THAT(aggregator_.BlocksOfAttempts(), ElementsAre(0));
  LookAtClaims(5, 2);
  EXPECT_THAT(aggregator_.Build(At(6)).attempts.at(0).blockers.at(0).owners,
              ElementsAre(1));
  EXPECT_THAT(aggregator_.BlocksOfAttempts(), IsEmpty());
}

TEST_F(ClaimedTest, PagesAreNotInTheWayOfWhatFailedForAnotherReason) {
  SetClaims(2);
  LookAtClaims(1, 1);
  HotplugAttempt attempt = Attempt(0, false, EINVAL);
  attempt.step = HOTPLUG_REQUESTED;
  aggregator_.AddHotplug({.ended = {attempt}});
  EXPECT_THAT(aggregator_.BlocksOfAttempts(), IsEmpty());
}

TEST_F(ClaimedTest, PlainReferencesAreSearchedForOnce) {
  HotplugAttempt attempt = Attempt(0, true, 0);
  attempt.blockers = {Met(7, "plain_reference"), Met(8, "plain_reference"),
                      Met(99, "pinned", 1)};
  aggregator_.AddHotplug({.running = {attempt}});
  EXPECT_THAT(aggregator_.UnsearchedReferences(), ElementsAre(7, 8));
  const ReferenceHolder holder{
      .process = {.pid = 42}, .through = "pipe", .fd = 5};
  const TakenBy taken{.process = {.pid = 43}, .taken = At(1)};
  aggregator_.SetReferenceHolders(
      {7, 8},
      {.in_pipes = {{8, holder}}, .taken_by = {{7, taken}, {8, taken}}});
  EXPECT_THAT(aggregator_.UnsearchedReferences(), IsEmpty());
  aggregator_.AddHotplug({.running = {attempt}});
  EXPECT_THAT(aggregator_.UnsearchedReferences(), IsEmpty());
  const auto blockers = aggregator_.Build(At(4)).attempts.at(0).blockers;
  EXPECT_TRUE(blockers.at(0).reference_holders->empty());
  EXPECT_EQ(blockers.at(0).taken_by, taken);
  EXPECT_THAT(*blockers.at(1).reference_holders, ElementsAre(holder));
  EXPECT_FALSE(blockers.at(1).taken_by.has_value());
  EXPECT_FALSE(blockers.at(2).reference_holders.has_value());
}

// Memory of one block in which these folios have pins and no claim.
class InferringTest : public testing::Test {
 protected:
  InferringTest() {
    aggregator_.SetZones({{.nid = 0, .name = "Normal"}});
    aggregator_.SetBlocks(
        {.block_size_bytes = 128 << 20,
         .blocks = {{.id = 0, .state = "online", .nid = 0, .zone = "Normal"}}});
    aggregator_.SetClaims(At(1), {});
  }

  void Look(const std::vector<UnclaimedFolio>& folios) {
    BlockLook look{.status = CENSUS_OK, .pins = {{.zone = kNormalZone}}};
    look.pins[0].unclaimed = folios;
    for (const UnclaimedFolio& folio : folios) {
      look.pins[0].pins.pages += folio.nr_pages;
      look.pins[0].pins.references += folio.pins;
    }
    aggregator_.AddLook(std::move(look));
  }

  void Find(std::map<uint64_t, std::vector<size_t>> mapped_by) {
    aggregator_.SetInference(
        {.candidates = {{.holder = {.process = {.pid = 42}}}},
         .mapped_by = std::move(mapped_by)});
  }

  std::vector<std::string> Reasons() {
    std::vector<std::string> reasons;
    for (const PinAttribution& part : aggregator_.Build(At(9)).attributions)
      reasons.push_back(part.reason);
    return reasons;
  }

  Aggregator aggregator_{{},
                         {.zones = {"DMA", "Normal", "Movable"}},
                         {},
                         {},
                         {.infer_holders = true}};
};

TEST_F(InferringTest, AsksForASearchOnlyAfterAChange) {
  Look({{700, 1, 1}});
  EXPECT_THAT(aggregator_.TakeUnclaimed(),
              testing::Optional(ElementsAre(UnclaimedFolio{700, 1, 1})));
  Find({{700, {0}}});
  Look({{700, 1, 1}});
  EXPECT_EQ(aggregator_.TakeUnclaimed(), std::nullopt);
  EXPECT_THAT(Reasons(), ElementsAre("mapped_by_one"));
  EXPECT_EQ(aggregator_.Build(At(9)).inferred.at(0).process.pid, 42u);
  aggregator_.SetCandidateEnded(0);
  EXPECT_THAT(Reasons(), ElementsAre("not_searched"));
  EXPECT_TRUE(aggregator_.TakeUnclaimed());
}

TEST_F(InferringTest, NamesNobodyForAPageThatWasWithoutAPinMeanwhile) {
  Look({{700, 1, 1}, {900, 1, 1}});
  Find({{700, {0}}, {900, {0}}});
  Look({{900, 1, 1}});
  EXPECT_THAT(Reasons(), ElementsAre("mapped_by_one"));
  Look({{700, 1, 1}, {900, 1, 1}});
  EXPECT_THAT(Reasons(), ElementsAre("not_searched", "mapped_by_one"));
}

TEST_F(InferringTest, CountsWhatIsTooMuchToBeSearchedFor) {
  std::vector<UnclaimedFolio> folios(65'537);
  for (size_t i = 0; i < folios.size(); ++i) folios[i].pfn = 2 * i;
  Look(folios);
  const Snapshot snapshot = aggregator_.Build(At(9));
  EXPECT_EQ(snapshot.inference->unclaimed_left_out, 65'537u);
  ASSERT_EQ(snapshot.attributions.size(), 1u);
  EXPECT_EQ(snapshot.attributions[0].reason, "not_searched");
  EXPECT_EQ(snapshot.attributions[0].pins.pages, 65'537u);
}

}  // namespace
}  // namespace pinwatch
