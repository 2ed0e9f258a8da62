// SPDX-License-Identifier: Apache-2.0
//
// More than one node: run by name, in a guest that has two.
#include "tests/vm/guest.h"

namespace pinwatch::guest {
namespace {

class Numa : public GuestTest {
 protected:
  void SetUp() override {
    ASSERT_EQ(ReadNodes(), std::vector<int>({0, 1})) << "boot with two nodes";
    GuestTest::SetUp();
  }
};

Pins PinsOnNode(const PinsByZone& pins, int nid) {
  PinsByZone node;
  for (const auto& [zone, part] : pins)
    if (zone.first == nid) node[zone] = part;
  return Sum(node);
}

TEST_F(Numa, PinsAreConfirmedOnTheNodeOfTheirPages) {
  Workload few({"pin-iouring", "--pages", "23"}, {.memory_node = 1});
  EXPECT_EQ(PinsOnNode(PinsOf(few.pfns()), 1), (Pins{23, 23}));
  {
    const Json snapshot = FreshSnapshot();
    EXPECT_EQ(PinsIn(snapshot, "confirmed"), PinsOf(few.pfns()));
    EXPECT_EQ(PinsIn(snapshot, "possible"), PinsByZone());
    ExpectCountersAgree(snapshot);
  }

  Workload many({"pin-iouring", "--pages", "4097"}, {.memory_node = 0});
  const Json snapshot = FreshSnapshot();
  const PinsByZone confirmed = PinsIn(snapshot, "confirmed");
  EXPECT_EQ(confirmed, PinsOf(few.pfns()) + PinsOf(many.pfns()));
  EXPECT_EQ(PinsOnNode(confirmed, 0), (Pins{4097, 4097}));
  EXPECT_EQ(PinsOnNode(confirmed, 1), (Pins{23, 23}));
  ExpectCountersAgree(snapshot);
}

TEST_F(Numa, ADecoyOnOneNodeLeavesThePinsOfTheOtherConfirmed) {
  Workload decoy({"hold-vmsplice", "--pages", "1", "--references", "1024"},
                 {.memory_node = 0});
  Workload pins({"pin-iouring", "--pages", "23"}, {.memory_node = 1});
  const Json snapshot = FreshSnapshot();
  EXPECT_EQ(PinsIn(snapshot, "confirmed"), PinsOf(pins.pfns()));
  // Node 0 counts no pin, which leaves the decoy no reading as one.
  EXPECT_EQ(PinsIn(snapshot, "possible"), PinsByZone());
  ExpectCountersAgree(snapshot);
}

TEST_F(Numa, MetricsSayOfEachNodeWhatItsCountersSay) {
  Workload workload({"pin-iouring", "--pages", "23"}, {.memory_node = 1});
  FreshSnapshot();
  const std::vector<Sample> metrics = ReadMetrics();
  for (int nid : ReadNodes()) {
    const Labels node = {{"numa_node", std::to_string(nid)}};
    EXPECT_EQ(Sum(metrics, "pinwatch_node_pinned_references", node),
              ReadPinCounters(nid).outstanding());
    EXPECT_EQ(Sum(metrics, "pinwatch_pinned_pages", node), nid == 1 ? 23 : 0);
  }
}

TEST_F(Numa, BlocksAreCountedByNode) {
  FreshSnapshot();
  const std::vector<Sample> metrics = ReadMetrics();
  std::map<int, double> blocks;
  for (const Block& block : ReadBlocks()) ++blocks[block.nid];
  EXPECT_EQ(blocks.size(), 2u);
  for (const auto& [nid, count] : blocks)
    EXPECT_EQ(Sum(metrics, "pinwatch_memory_blocks",
                  {{"numa_node", std::to_string(nid)}}),
              count);
}

}  // namespace
}  // namespace pinwatch::guest
