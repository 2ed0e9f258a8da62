// SPDX-License-Identifier: Apache-2.0
//
// How many pages are pinned, and where: against the kernel's own counters and
// the zones that the workload's pages are in. Decoys hold as many references
// as pins would, and are none.
#include <iterator>
#include <sstream>

#include "tests/vm/guest.h"

namespace pinwatch::guest {
namespace {

using Census = GuestTest;
using Decoys = GuestTest;
using Direct = GuestTest;
using OldPins = OwnDaemonTest;

const PinsByZone kNone;

void ExpectNothingPinned() {
  WaitForNoPins();
  const Json snapshot = FreshSnapshot();
  EXPECT_EQ(PinsIn(snapshot, "confirmed"), kNone);
  EXPECT_EQ(PinsIn(snapshot, "possible"), kNone);
  ExpectCountersAgree(snapshot);
}

// Pins `nr_pages` pages of order 0, as the workload says by `options`, and
// expects exactly those to be found while they are held.
void ExpectPinsAreConfirmed(uint64_t nr_pages,
                            const std::vector<std::string>& options = {}) {
  std::vector<std::string> argv = {"pin-iouring", "--pages",
                                   std::to_string(nr_pages)};
  argv.insert(argv.end(), options.begin(), options.end());
  Workload workload(argv);
  ASSERT_EQ(ReadPinCounters().outstanding(), nr_pages);

  const Json snapshot = FreshSnapshot();
  EXPECT_EQ(PinsIn(snapshot, "confirmed"), PinsOf(workload.pfns()));
  EXPECT_EQ(PinsIn(snapshot, "possible"), kNone);
  ExpectCountersAgree(snapshot);

  EXPECT_EQ(workload.Release().at("moved_while_held"), 0);
  ExpectNothingPinned();
}

TEST_F(Census, TwentyThreePinnedPagesAreConfirmedWhereTheyStand) {
  ExpectPinsAreConfirmed(23);
}

TEST_F(Census, FourThousandAndNinetySevenPinnedPagesAreConfirmed) {
  ExpectPinsAreConfirmed(4097);
}

TEST_F(Census, PinnedPagesOfAMemfdAreConfirmed) {
  ExpectPinsAreConfirmed(23, {"--memfd"});
}

TEST_F(Census, PinsOfTwoProcessesAddUp) {
  Workload few({"pin-iouring", "--pages", "23"});
  Workload many({"pin-iouring", "--pages", "4097"});
  ASSERT_EQ(ReadPinCounters().outstanding(), 4120u);

  const Json both = FreshSnapshot();
  EXPECT_EQ(PinsIn(both, "confirmed"),
            PinsOf(few.pfns()) + PinsOf(many.pfns()));
  EXPECT_EQ(PinsIn(both, "possible"), kNone);
  ExpectCountersAgree(both);

  many.Release();
  const Json one = FreshSnapshot();
  EXPECT_EQ(PinsIn(one, "confirmed"), PinsOf(few.pfns()));
  ExpectCountersAgree(one);

  few.Release();
  ExpectNothingPinned();
}

TEST_F(Census, APinnedHugePageIsPinnedAsAWhole) {
  Workload workload({"pin-iouring", "--thp", "--pages", "3"});
  // A huge page has 512 pins on some kernels, one on others: the kernel's own
  // counter knows.
  const uint64_t references = ReadPinCounters().outstanding();
  ASSERT_GT(references, 0u);
  ASSERT_EQ(references % 3, 0u);

  const Json snapshot = FreshSnapshot();
  const PinsByZone confirmed = PinsIn(snapshot, "confirmed");
  EXPECT_EQ(confirmed,
            PinsOf(workload.pfns(), {kPagesPerHugePage, references / 3}));
  EXPECT_EQ(Sum(confirmed).pages, 1536u);
  EXPECT_EQ(PagesInClass(snapshot, "pinned_large"), 1536u);
  EXPECT_EQ(PinsIn(snapshot, "possible"), kNone);
  ExpectCountersAgree(snapshot);

  workload.Release();
  ExpectNothingPinned();
}

// So few are below what a CPU keeps to itself before it adds it to its node's
// counter; the kernel adds all a second later at most, hence several rounds.
TEST_F(Census, PinsThatACpuHasNotAddedToTheCounterYetAreCounted) {
  for (int round = 0; round < 7; ++round) {
    Workload workload({"pin-iouring", "--pages", "7"});
    const Json held = FreshSnapshot();
    EXPECT_EQ(PinsIn(held, "confirmed"), PinsOf(workload.pfns()));
    EXPECT_EQ(PinsIn(held, "possible"), kNone);
    workload.Release();
    const Json released = FreshSnapshot();
    EXPECT_EQ(PinsIn(released, "confirmed"), kNone);
    // Only now does the test make the CPUs add what they have.
    ExpectCountersAgree(released);
  }
}

TEST_F(Census, PinsOfTheZeroPageAreConfirmedIfTheKernelCountsThem) {
  Workload workload({"pin-zero-page", "--pages", "3"});
  const uint64_t zero_pfn = workload.pfns()[0];
  ASSERT_EQ(workload.pfns(), std::vector<uint64_t>(3, zero_pfn));
  const uint64_t outstanding = ReadPinCounters().outstanding();
  ASSERT_TRUE(outstanding == 3 || outstanding == 0) << outstanding;

  const Json snapshot = FreshSnapshot();
  EXPECT_EQ(PinsIn(snapshot, "confirmed"),
            outstanding ? PinsOf({zero_pfn}, {1, 3}) : kNone);
  EXPECT_EQ(PinsIn(snapshot, "possible"), kNone);
  ExpectCountersAgree(snapshot);

  workload.Release();
  ExpectNothingPinned();
}

TEST_F(Census, PinsOfAKilledProcessAreGone) {
  Workload workload({"pin-iouring", "--pages", "23"});
  ASSERT_EQ(Sum(PinsIn(FreshSnapshot(), "confirmed")), (Pins{23, 23}));
  workload.Kill();
  ExpectNothingPinned();
}

TEST_F(OldPins, AreConfirmedByADaemonThatStartsAfterThem) {
  Workload workload({"pin-iouring", "--pages", "23"});
  const Daemon daemon;
  const Json snapshot = Status(/*fresh=*/false).at("snapshot");
  EXPECT_EQ(PinsIn(snapshot, "confirmed"), PinsOf(workload.pfns()));
  ExpectCountersAgree(snapshot);
}

// `decoy` reads as nothing, neither alone nor beside pins.
void ExpectNoPinsOf(const Workload& /*decoy*/) {
  ExpectNothingPinned();
  Workload pins({"pin-iouring", "--pages", "23"});
  ASSERT_EQ(ReadPinCounters().outstanding(), 23u);
  const Json snapshot = FreshSnapshot();
  EXPECT_EQ(PinsIn(snapshot, "confirmed"), PinsOf(pins.pfns()));
  EXPECT_EQ(PinsIn(snapshot, "possible"), kNone);
  ExpectCountersAgree(snapshot);
}

TEST_F(Decoys, APageMappedElevenHundredTimesIsNotPinned) {
  ExpectNoPinsOf(Workload({"map-many", "--mappings", "1100"}));
}

TEST_F(Decoys, LockedPagesAreNotPinned) {
  ExpectNoPinsOf(Workload({"lock-memory", "--pages", "4097"}));
}

TEST_F(Decoys, PlainReferencesAreNoPinsWhereTheKernelCountsNone) {
  Workload decoy({"hold-vmsplice", "--pages", "1", "--references", "1100"});
  ExpectNothingPinned();
  EXPECT_EQ(decoy.Release().at("moved_while_held"), 0);
}

TEST_F(Decoys, OnePinOnAPageMappedFifteenHundredTimesIsOne) {
  Workload workload({"map-many", "--mappings", "1500", "--pin"});
  ASSERT_EQ(ReadPinCounters().outstanding(), 1u);
  const Json snapshot = FreshSnapshot();
  EXPECT_EQ(PinsIn(snapshot, "confirmed"), PinsOf({workload.held().at("pfn")}));
  EXPECT_EQ(PinsIn(snapshot, "possible"), kNone);
  ExpectCountersAgree(snapshot);
  workload.Release();
  ExpectNothingPinned();
}

TEST_F(Decoys, PlainReferencesBesidePinsStayOnlyPossible) {
  Workload decoy({"hold-vmsplice", "--pages", "1", "--references", "1100"});
  Workload pins({"pin-iouring", "--pages", "23"});
  ASSERT_EQ(ReadPinCounters().outstanding(), 23u);
  const PinsByZone decoy_page = PinsOf(decoy.pfns());
  ASSERT_EQ(PinsOf(pins.pfns()).contains(decoy_page.begin()->first),
            !MovesLongtermPins());

  const Json snapshot = FreshSnapshot();
  EXPECT_EQ(PinsIn(snapshot, "confirmed"), PinsOf(pins.pfns()));
  EXPECT_EQ(PinsIn(snapshot, "possible"), decoy_page);
  EXPECT_EQ(PagesInClass(snapshot, "pinned_loose"), 1u);
  ExpectCountersAgree(snapshot);
}

TEST_F(Decoys, ReferencesInTheExactShapeOfAPinAreNeverConfirmed) {
  Workload decoy({"hold-vmsplice", "--pages", "1", "--references", "1024"});
  Workload pins({"pin-iouring", "--pages", "23"});
  ASSERT_EQ(ReadPinCounters().outstanding(), 23u);
  const ZoneId decoy_zone = ZoneOf(decoy.pfns()[0]);
  ASSERT_EQ(PinsOf(pins.pfns()).contains(decoy_zone), !MovesLongtermPins());

  const Json snapshot = FreshSnapshot();
  const PinsByZone confirmed = PinsIn(snapshot, "confirmed");
  const PinsByZone possible = PinsIn(snapshot, "possible");
  EXPECT_LE(Sum(confirmed).references, 23u);
  EXPECT_LE(Sum(confirmed).pages, 23u);
  if (!MovesLongtermPins()) {
    // All 24 candidates are in one zone, and the counter vouches for 23.
    EXPECT_EQ(confirmed, PinsOf(pins.pfns()));
    EXPECT_EQ(possible, PinsOf(decoy.pfns()));
    return;
  }
  EXPECT_FALSE(confirmed.contains(decoy_zone));
  ASSERT_TRUE(possible.contains(decoy_zone));
  EXPECT_EQ(possible.at(decoy_zone), (Pins{1, 1}));
  EXPECT_EQ(confirmed + possible, PinsOf(pins.pfns()) + PinsOf(decoy.pfns()));
}

// The first figures of /sys/block/DISK/stat are reads completed and, the ninth,
// requests in flight.
struct DiskReads {
  uint64_t completed = 0;
  uint64_t in_flight = 0;

  bool operator==(const DiskReads&) const = default;
};

DiskReads ReadDisk() {
  std::istringstream text(ReadFile("/sys/block/nvme0n1/stat"));
  std::vector<uint64_t> figures{std::istream_iterator<uint64_t>(text), {}};
  return {figures.at(0), figures.at(8)};
}

TEST_F(Direct, PagesOfADirectReadArePinnedIfTheKernelCountsThem) {
  Workload workload(
      {"odirect-loop", "--device", "/dev/nvme0n1", "--pages", "23"});
  // Only a look during which one and the same read was under way tells.
  Json snapshot;
  uint64_t outstanding = 0;
  ASSERT_TRUE(Eventually(seconds(120), [&] {
    const DiskReads before = ReadDisk();
    const PinCounters counters = ReadPinCounters();
    snapshot = FreshSnapshot();
    outstanding = counters.outstanding();
    return before.in_flight == 1 && ReadPinCounters() == counters &&
           ReadDisk() == before;
  })) << "no read lasts as long as a look: is the disk throttled?";

  // Older kernels take plain references, which they do not count.
  ASSERT_TRUE(outstanding == 23 || outstanding == 0) << outstanding;
  EXPECT_EQ(PinsIn(snapshot, "confirmed"),
            outstanding ? PinsOf(workload.pfns()) : kNone);
  EXPECT_EQ(PinsIn(snapshot, "possible"), kNone);
}

}  // namespace
}  // namespace pinwatch::guest
