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
    // It moves pages of its own choice, which count in /proc/vmstat.
    WriteFile("/proc/sys/kernel/numa_balancing", "0");
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

TEST_F(Numa, MovesThatTheKernelCountsWithoutATracepointAreNamed) {
  std::string reason;
  const Json status = Status(/*fresh=*/false);
  for (const Json& fact : status.at("info").at("facts"))
    if (fact.at("name") == "migrations") reason = fact.value("reason", "");
  const bool hidden =
      ReadFile("/proc/kallsyms")
          .find(" T migrate_misplaced_transhuge_page\n") != std::string::npos;
  EXPECT_EQ(reason.find("NUMA balancing") != std::string::npos, hidden)
      << reason;
}

// 23 pages that their holder itself asks to be moved to the other node.
TEST_F(Numa, PinnedPagesThatDoNotMoveAreNamedWithTheirHolder) {
  constexpr char kFailed[] = "pinwatch_migrate_failed_pages_by_why_total";
  const Labels syscall = {{"reason", "syscall"}};
  const Labels pinned = {{"reason", "syscall"}, {"why", "pinned"}};
  const auto before = ReadMetrics();
  const uint64_t failed_before = ReadVmstat("pgmigrate_fail");
  Workload workload({"pin-iouring", "--pages", "23", "--move-to", "1"},
                    {.memory_node = 0});
  // By the system call's own word, by pagemap's and by vmstat's.
  EXPECT_EQ(workload.held().at("moved_to_node"), 0);
  EXPECT_EQ(PinsOnNode(PinsOf(workload.pfns()), 0), (Pins{23, 23}));
  EXPECT_EQ(ReadVmstat("pgmigrate_fail"), failed_before + 23);

  std::map<uint64_t, Json> failures;
  ASSERT_TRUE(Eventually(seconds(10), [&] {
    const Json all = Json::parse(Ask({"pinwatch", "migrations", "-o", "json"}));
    failures.clear();
    for (const Json& failure : all.value("failures", Json::array()))
      if (failure.at("process").at("pid") == workload.pid() &&
          !failure.at("page").at("owners").empty())
        failures[failure.at("page").at("pfn")] = failure;
    return failures.size() == 23;
  })) << failures.size();
  const auto after = ReadMetrics();
  EXPECT_EQ(Sum(after, kFailed, pinned) - Sum(before, kFailed, pinned), 23);
  EXPECT_EQ(Sum(after, kFailed, syscall) - Sum(before, kFailed, syscall), 23);

  const Json owners =
      Json::parse(Ask({"pinwatch", "migrations", "-o", "json"})).at("owners");
  std::map<uint64_t, std::string> zones;
  for (const Block& block : ReadBlocks()) zones[block.id] = block.zone;
  for (const uint64_t pfn : workload.pfns()) {
    ASSERT_TRUE(failures.contains(pfn)) << pfn;
    const Json& failure = failures[pfn];
    const Json& page = failure.at("page");
    SCOPED_TRACE(failure.dump());
    EXPECT_EQ(failure.at("reason"), "syscall");
    // As sysfs has them of its memory block, which may lie in several zones.
    EXPECT_EQ(failure.at("nid"), 0);
    EXPECT_EQ(failure.at("zone"), zones.at(pfn / BlockPages()));
    EXPECT_EQ(page.at("why"), "pinned_long_term");
    EXPECT_EQ(page.at("pins"), 1);
    EXPECT_EQ(page.at("times_met"), 1);
    EXPECT_EQ(page.at("certainty"), "CERTAINTY_HELD");
    ASSERT_EQ(page.at("owners").size(), 1u);
    for (const Json& owner : owners) {
      if (owner.at("id") != page.at("owners")[0]) continue;
      EXPECT_EQ(owner.at("process").at("pid"), workload.pid());
      EXPECT_EQ(owner.at("subsystem"), "io_uring");
      // The one on some kernels, the other on others.
      EXPECT_TRUE(owner.at("call_site") == "io_sqe_buffer_register" ||
                  owner.at("call_site") == "io_pin_pages")
          << owner;
    }
  }
}

}  // namespace
}  // namespace pinwatch::guest
