// SPDX-License-Identifier: Apache-2.0
//
// Who holds the pinned pages: against processes that know what they pinned. A
// page of which the holder is not known is no mistake where the test allows it;
// one with a wrong name is, anywhere.
#include <poll.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "tests/vm/guest.h"

namespace pinwatch::guest {
namespace {

constexpr char kShared[] = "CERTAINTY_SHARED";
constexpr char kOneOf[] = "CERTAINTY_ONE_OF";

constexpr char kPciDevice[] = "0000:00:10.0";

// Pages by process and certainty.
using Holders = std::map<pid_t, std::map<std::string, Pins>>;

void Add(const Json& pins, Pins& to) {
  to.pages += pins.at("pages").get<uint64_t>();
  to.references += pins.at("references").get<uint64_t>();
}

Holders HoldersIn(const Json& owners) {
  Holders holders;
  for (const Json& owner : owners.at("owners"))
    for (const Json& holding : owner.at("holdings"))
      Add(holding.at("pins"),
          holders[owner.at("process").at("pid")][holding.at("certainty")]);
  return holders;
}

// What one process holds for sure, by zone.
PinsByZone HeldBy(pid_t pid, const Json& owners) {
  PinsByZone held;
  for (const Json& owner : owners.at("owners"))
    for (const Json& holding : owner.at("holdings"))
      if (owner.at("process").at("pid") == pid &&
          holding.at("certainty") == kHeld)
        Add(holding.at("pins"), held[{holding.at("nid"), holding.at("zone")}]);
  return held;
}

// All pinned pages, each once, by certainty and reason.
using Attributions = std::map<std::pair<std::string, std::string>, Pins>;

Attributions AttributionsIn(const Json& owners) {
  Attributions result;
  for (const Json& part : owners.at("attributions"))
    Add(part.at("pins"), result[{part.at("certainty"), part.at("reason")}]);
  return result;
}

Json OwnersOf(pid_t pid, const Json& owners) {
  Json found = Json::array();
  for (const Json& owner : owners.at("owners"))
    if (owner.at("process").at("pid") == pid) found.push_back(owner);
  return found;
}

// Pages by zone and kind.
std::map<std::pair<ZoneId, std::string>, uint64_t> KindsIn(
    const Json& snapshot) {
  std::map<std::pair<ZoneId, std::string>, uint64_t> kinds;
  for (const Json& part : snapshot.value("pin_kinds", Json::array()))
    for (const char* kind : {"long_term", "short_term", "unknown"})
      if (const uint64_t pages = part.at(std::string(kind) + "_pages"))
        kinds[{{part.at("nid"), part.at("zone")}, kind}] = pages;
  return kinds;
}

// All pages of the process, and no other, are held by it alone, for long. Where
// the kernel keeps such pages out of ZONE_MOVABLE, none stands there.
void ExpectAllHeldBy(pid_t pid, const std::vector<uint64_t>& pfns,
                     Pins each = {1, 1}) {
  const PinsByZone pins = PinsOf(pfns, each);
  std::map<std::pair<ZoneId, std::string>, uint64_t> kinds;
  for (const auto& [zone, held] : pins) {
    kinds[{zone, "long_term"}] = held.pages;
    EXPECT_TRUE(zone.second != "Movable" || !MovesLongtermPins());
  }
  EXPECT_EQ(KindsIn(FreshSnapshot()), kinds);
  const Json owners = FreshOwners();
  EXPECT_EQ(HeldBy(pid, owners), pins);
  EXPECT_EQ(HoldersIn(owners), (Holders{{pid, {{kHeld, Sum(pins)}}}}));
  EXPECT_EQ(AttributionsIn(owners), (Attributions{{{kHeld, ""}, Sum(pins)}}));
  EXPECT_EQ(ReadPinCounters().outstanding(), Sum(pins).references);
}

void ExpectNobodyHoldsAnything() {
  WaitForNoPins();
  const Json owners = FreshOwners();
  EXPECT_EQ(HoldersIn(owners), Holders{});
  EXPECT_EQ(AttributionsIn(owners), Attributions{});
}

std::string Address(const Workload& workload) {
  return std::to_string(workload.pid()) + ":" +
         std::to_string(workload.held().at("fd").get<int>());
}

class Claims : public GuestTest {
 protected:
  void TearDown() override {
    ExpectNobodyHoldsAnything();
    GuestTest::TearDown();
  }
};

using OwnClaims = OwnDaemonTest;

// For kernels that have /dev/udmabuf.
using Udmabuf = Claims;
using OwnUdmabuf = OwnDaemonTest;
using Hugetlb = Claims;

// For kernels that clone the buffers of a ring.
using ClonedRing = Claims;
// With the program rdma, for kernels that have rdma_rxe.
using Rdma = Claims;
// With an IOMMU and a device behind it that no driver wants.
using Vfio = Claims;
// With memory that is CMA's in kernels that have it.
using CmaClaims = Claims;
// What the series promises that Linux v5.13 has: pages leave ZONE_MOVABLE and
// CMA before they are pinned for long, whoever faulted them in. Before it they
// are pinned where they stand.
using Acceptance = Claims;
using CmaAcceptance = Claims;

TEST_F(Claims, FourThousandAndNinetySevenPagesAreHeldByWhoRegisteredThem) {
  Workload workload({"pin-iouring", "--pages", "4097"});
  ASSERT_EQ(ReadPinCounters().outstanding(), 4097u);
  ExpectAllHeldBy(workload.pid(), workload.pfns());

  std::map<uint64_t, std::set<uint64_t>> by_block;
  for (const uint64_t pfn : workload.pfns())
    by_block[pfn / BlockPages()].insert(pfn);
  for (const auto& [block, pfns] : by_block) {
    const Json told = ExplainBlock(block);
    EXPECT_EQ(
        HoldersIn(told),
        (Holders{{workload.pid(), {{kHeld, Pins{pfns.size(), pfns.size()}}}}}));
    for (const Json& page : told.at("blockers"))
      EXPECT_TRUE(page.at("pins") == 0 || pfns.contains(page.at("pfn")));
  }
}

TEST_F(Claims, WhoHoldsIsToldWithItsNameKindAndDoor) {
  Workload workload({"pin-iouring", "--pages", "23", "--comm", "the holder"});
  const Json owners = OwnersOf(workload.pid(), FreshOwners());
  ASSERT_EQ(owners.size(), 1u);
  const Json& owner = owners[0];
  EXPECT_EQ(owner.at("process").at("comm"), "the holder");
  EXPECT_EQ(owner.at("process").at("exe"), "/usr/bin/pin-iouring");
  EXPECT_EQ(owner.at("process").at("cgroup"), "/");
  EXPECT_EQ(owner.at("process").at("ended"), false);
  EXPECT_EQ(owner.at("long_term"), true);
  EXPECT_EQ(owner.at("subsystem"), "io_uring");
  // The one on some kernels, the other on others.
  EXPECT_TRUE(owner.at("door") == "pin_user_pages" ||
              owner.at("door") == "pin_user_pages_fast")
      << owner;
  EXPECT_EQ(owner.at("calls"), 1);
  EXPECT_EQ(owner.at("pages"), 23);
  EXPECT_EQ(owner.at("holdings").at(0).at("since_exact"), true);
  EXPECT_GT(owner.at("kernel_stack").size(), 3u);
}

TEST_F(Claims, HugePagesAreHeldAsAWhole) {
  Workload workload({"pin-iouring", "--thp", "--pages", "3"});
  // 512 a huge page on some kernels, one on others.
  const uint64_t references = ReadPinCounters().outstanding();
  ASSERT_EQ(references % 3, 0u);
  ExpectAllHeldBy(workload.pid(), workload.pfns(),
                  {kPagesPerHugePage, references / 3});
}

TEST_F(Claims, AHugePageOfWhichTwentyThreePagesAreRegisteredIsHeld) {
  Workload workload({"pin-iouring", "--thp", "--pages", "1", "--first", "23"});
  const uint64_t references = ReadPinCounters().outstanding();
  ASSERT_TRUE(references == 23 || references == 1) << references;
  ExpectAllHeldBy(workload.pid(), workload.pfns(),
                  {kPagesPerHugePage, references});
}

// All pages of the workload, and no other, are held by it alone, and one of
// these functions of the kernel's subsystem has pinned them.
void ExpectAllHeldThrough(const Workload& workload,
                          const std::string& subsystem,
                          const std::set<std::string>& call_sites) {
  ExpectAllHeldBy(workload.pid(), workload.pfns());
  const Json owners = OwnersOf(workload.pid(), FreshOwners());
  ASSERT_EQ(owners.size(), 1u) << owners;
  EXPECT_EQ(owners[0].at("subsystem"), subsystem) << owners;
  EXPECT_TRUE(call_sites.contains(owners[0].at("call_site"))) << owners;
}

// And it is through this device that they are.
void ExpectThroughDevice(const Workload& workload, const std::string& device) {
  const Json owners = OwnersOf(workload.pid(), FreshOwners());
  ASSERT_EQ(owners.size(), 1u) << owners;
  EXPECT_EQ(owners[0].at("devices"), Json({device})) << owners;
  EXPECT_EQ(owners[0].at("devices_known"), true);
  const std::string table = Ask({"pinwatch", "top", "--by", "device"});
  EXPECT_NE(table.find("\n" + device + " "), std::string::npos) << table;
}

TEST_F(Claims, MemoryOfAnXdpSocketIsHeld) {
  {
    const Workload workload({"pin-xdp", "--pages", "1023"});
    ExpectAllHeldThrough(workload, "af_xdp", {"xdp_umem_create"});
  }
  // A worker releases them, without us being told.
  ExpectNobodyHoldsAnything();
}

// What `argv` prints.
std::string OutputOf(const std::vector<std::string>& argv) {
  Process process(argv);
  const std::string text = process.ReadAll(seconds(10));
  if (process.Wait(seconds(10)) != 0) Fail(argv[0] + ": " + process.Errors());
  return text;
}

// Makes the first RDMA device, which needs no hardware, if it is not there.
void MakeRdmaDevice() {
  if (!OutputOf({"rdma", "link"}).empty()) return;
  OutputOf({"modprobe", "-a", "rdma_rxe", "ib_uverbs"});
  OutputOf({"rdma", "link", "add", "rxe0", "type", "rxe", "netdev", "lo"});
}

TEST_F(Rdma, AMemoryRegionIsHeld) {
  MakeRdmaDevice();
  Workload workload({"pin-rdma", "--pages", "1023"});
  ExpectAllHeldThrough(workload, "rdma", {"ib_umem_get", "__ib_umem_get_va"});
  ExpectThroughDevice(workload, "/dev/infiniband/uverbs0");
  EXPECT_EQ(workload.Release().at("moved_while_held"), 0);
}

TEST_F(Rdma, NothingIsLeftOfAMemoryRegionWhoseOwnerIsKilled) {
  MakeRdmaDevice();
  Workload workload({"pin-rdma", "--pages", "23"});
  ExpectAllHeldBy(workload.pid(), workload.pfns());
  workload.Kill();
}

std::vector<std::string> PinVfio(const std::string& pages) {
  OutputOf({"modprobe", "-a", "vfio_pci", "vfio_iommu_type1"});
  return {"pin-vfio", "--pages", pages, "--device", kPciDevice};
}

TEST_F(Vfio, MemoryMappedForADeviceIsHeld) {
  Workload workload(PinVfio("1023"));
  ExpectAllHeldThrough(workload, "vfio", {"vaddr_get_pfn", "vaddr_get_pfns"});
  const std::filesystem::path group = std::filesystem::read_symlink(
      std::string("/sys/bus/pci/devices/") + kPciDevice + "/iommu_group");
  ExpectThroughDevice(workload, "/dev/vfio/" + group.filename().string());
  EXPECT_EQ(workload.Release().at("moved_while_held"), 0);
}

TEST_F(Vfio, NothingIsLeftOfAMappingWhoseOwnerIsKilled) {
  Workload workload(PinVfio("23"));
  ExpectAllHeldBy(workload.pid(), workload.pfns());
  workload.Kill();
}

TEST_F(Hugetlb, ReservedHugePagesAreHeldAsAWhole) {
  const std::string reserved = "/proc/sys/vm/nr_hugepages";
  WriteFile(reserved, "7");
  ASSERT_EQ(ReadFile(reserved), "7\n");
  {
    Workload workload({"pin-iouring", "--hugetlb", "--pages", "3"});
    const uint64_t references = ReadPinCounters().outstanding();
    ASSERT_EQ(references % 3, 0u);
    ExpectAllHeldBy(workload.pid(), workload.pfns(),
                    {kPagesPerHugePage, references / 3});
    const Json snapshot = FreshSnapshot();
    EXPECT_EQ(PagesInClass(snapshot, "pinned_large"), 3 * kPagesPerHugePage);
    EXPECT_EQ(PagesInClass(snapshot, "hugetlb"), 4 * kPagesPerHugePage);
  }
  ExpectNobodyHoldsAnything();
  EXPECT_EQ(PagesInClass(FreshSnapshot(), "hugetlb"), 7 * kPagesPerHugePage);
  WriteFile(reserved, "0");
}

// Every kind of page that a process knows the pfn of, one at a time.
TEST_F(Claims, APageIsExplainedByItself) {
  Workload small({"pin-iouring", "--pages", "23"});
  Workload huge({"pin-iouring", "--thp", "--pages", "1", "--first", "23"});
  for (const auto* workload : {&small, &huge})
    for (const uint64_t pfn :
         {workload->pfns().front(), workload->pfns().back()}) {
      const Json page = ExplainPage(pfn);
      SCOPED_TRACE(page.dump());
      EXPECT_EQ(page.at("attribution").at("certainty"), kHeld);
      ASSERT_EQ(page.at("owners").size(), 1u);
      EXPECT_EQ(page.at("owners")[0].at("process").at("pid"), workload->pid());
      EXPECT_EQ(page.at("block"), pfn / BlockPages());
      EXPECT_EQ(ZoneOf(pfn), ZoneId(page.at("nid"), page.at("zone")));
      EXPECT_EQ(page.at("page_class"),
                workload == &small ? "pinned_exact" : "pinned_large");
    }
  // A tail that was not registered belongs to the same folio.
  const Json tail = ExplainPage(huge.pfns().front() + 511);
  EXPECT_EQ(tail.at("owners")[0].at("process").at("pid"), huge.pid());

  Workload mapped({"lock-memory", "--pages", "23"});
  const Json free_to_move = ExplainPage(mapped.pfns().front());
  EXPECT_EQ(free_to_move.at("page_class"), "movable");
  EXPECT_FALSE(free_to_move.contains("attribution"));

  FreshSnapshot();  // what a process holds is as old as the last looks
  const Json process =
      Json::parse(Ask({"pinwatch", "explain", "pid",
                       std::to_string(small.pid()), "-o", "json"}));
  EXPECT_EQ(HoldersIn(process), (Holders{{small.pid(), {{kHeld, {23, 23}}}}}));
}

TEST_F(Claims, TwoProcessesHoldEachTheirOwn) {
  Workload few({"pin-iouring", "--pages", "23"});
  Workload many({"pin-iouring", "--pages", "4097"});
  const Json owners = FreshOwners();
  EXPECT_EQ(HoldersIn(owners),
            (Holders{{few.pid(), {{kHeld, Pins{23, 23}}}},
                     {many.pid(), {{kHeld, Pins{4097, 4097}}}}}));
  EXPECT_EQ(HeldBy(few.pid(), owners), PinsOf(few.pfns()));
  EXPECT_EQ(HeldBy(many.pid(), owners), PinsOf(many.pfns()));
  many.Release();
  ExpectAllHeldBy(few.pid(), few.pfns());
}

TEST_F(Claims, SevenThatPinAtOnceHoldEachTheirOwn) {
  std::vector<std::unique_ptr<Process>> processes;
  for (int i = 0; i < 7; ++i)
    processes.push_back(std::make_unique<Process>(
        std::vector<std::string>{"pin-iouring", "--pages", "4097"}));
  Holders expected;
  std::map<pid_t, PinsByZone> pins;
  for (const auto& process : processes) {
    const Json held = Json::parse(process->ReadLine(seconds(60)));
    expected[held.at("pid")] = {{kHeld, Pins{4097, 4097}}};
    pins[held.at("pid")] = PinsOf(held.at("pfns"));
  }
  const Json owners = FreshOwners();
  EXPECT_EQ(HoldersIn(owners), expected);
  for (const auto& [pid, by_zone] : pins)
    EXPECT_EQ(HeldBy(pid, owners), by_zone);
}

TEST_F(Claims, ADirectReadIntoHeldPagesTakesNoneFromTheirHolder) {
  Workload holder({"pin-iouring", "--pages", "7", "--memfd"});
  Workload reader({"odirect-loop", "--device", kSlowDisk, "--pages", "7",
                   "--into", Address(holder), "--count", "1"});
  ASSERT_EQ(reader.pfns(), holder.pfns());
  // The reader's claim is as new as the holder's is old: either may be the one
  // that a single pin stands for, until the reader's is too old for its kind.
  const Holders holders = HoldersIn(FreshOwners());
  ASSERT_TRUE(holders.contains(holder.pid()));
  if (holders.contains(reader.pid())) {
    EXPECT_EQ(holders.at(reader.pid()),
              (std::map<std::string, Pins>{{kOneOf, Pins{7, 7}}}));
  }
  EXPECT_TRUE(Eventually(seconds(10), [&] {
    return HoldersIn(FreshOwners()) ==
           Holders{{holder.pid(), {{kHeld, Pins{7, 7}}}}};
  }));
  reader.Release();
  ExpectAllHeldBy(holder.pid(), holder.pfns());
}

TEST_F(Claims, AReaderThatHasExitedIsNoHolder) {
  Workload holder({"pin-iouring", "--pages", "23", "--memfd"});
  Workload reader({"odirect-loop", "--device", kSlowDisk, "--pages", "23",
                   "--into", Address(holder), "--count", "1"});
  EXPECT_EQ(reader.Release().at("reads"), 1);
  ExpectAllHeldBy(holder.pid(), holder.pfns());
}

TEST_F(Claims, AReadIntoPagesPinnedTwiceByOneHolderDoesNotMakeTheReaderOne) {
  Workload holder(
      {"pin-iouring", "--pages", "7", "--memfd", "--registrations", "2"});
  Workload reader({"odirect-loop", "--device", kSlowDisk, "--pages", "7",
                   "--into", Address(holder), "--count", "1"});
  ASSERT_EQ(ReadPinCounters().outstanding(), 14u);
  EXPECT_TRUE(Eventually(seconds(10), [&] {
    return HoldersIn(FreshOwners()) ==
           Holders{{holder.pid(), {{kHeld, Pins{7, 14}}}}};
  })) << FreshOwners();
}

enum class Leaves { kFirst, kSecond };
enum class By { kExit, kUnregister };

class SharedPages : public Claims,
                    public testing::WithParamInterface<std::tuple<Leaves, By>> {
};

TEST_P(SharedPages, AreNeverHeldByWhoHasLeft) {
  const auto [leaves, by] = GetParam();
  Workload first({"pin-iouring", "--pages", "23", "--memfd", "--linger"});
  Workload second({"pin-iouring", "--pages", "23", "--share-with",
                   Address(first), "--linger"});
  ASSERT_EQ(first.pfns(), second.pfns());
  ASSERT_EQ(ReadPinCounters().outstanding(), 46u);
  const Json both = FreshOwners();
  EXPECT_EQ(HoldersIn(both),
            (Holders{{first.pid(), {{kShared, Pins{23, 46}}}},
                     {second.pid(), {{kShared, Pins{23, 46}}}}}));
  EXPECT_EQ(AttributionsIn(both),
            (Attributions{{{kShared, ""}, Pins{23, 46}}}));

  Workload& gone = leaves == Leaves::kFirst ? first : second;
  const Workload& stays = leaves == Leaves::kFirst ? second : first;
  if (by == By::kExit)
    gone.Kill();
  else
    gone.LetGo();
  ASSERT_TRUE(Eventually(seconds(10),
                         [] { return ReadPinCounters().outstanding() == 23; }));
  if (by == By::kExit) {
    ExpectAllHeldBy(stays.pid(), stays.pfns());
    return;
  }
  // Nothing tells which of two living claimants has left.
  const Json one = FreshOwners();
  EXPECT_EQ(HoldersIn(one),
            (Holders{{first.pid(), {{kOneOf, Pins{23, 23}}}},
                     {second.pid(), {{kOneOf, Pins{23, 23}}}}}));
  gone.Kill();
  ExpectAllHeldBy(stays.pid(), stays.pfns());
}

INSTANTIATE_TEST_SUITE_P(
    Leaving, SharedPages,
    testing::Combine(testing::Values(Leaves::kFirst, Leaves::kSecond),
                     testing::Values(By::kExit, By::kUnregister)),
    [](const auto& test) {
      return std::string(std::get<0>(test.param) == Leaves::kFirst
                             ? "TheFirst"
                             : "TheSecond") +
             (std::get<1>(test.param) == By::kExit ? "Exits" : "Unregisters");
    });

// Starts holders as `argv` says until one has got some of the pages, which may
// take several; that one stays. The others keep what they have until then, or
// the next would have the same pages again.
std::unique_ptr<Workload> HoldSomeOf(const std::vector<uint64_t>& pfns,
                                     const std::vector<std::string>& argv) {
  const std::set<uint64_t> wanted(pfns.begin(), pfns.end());
  std::vector<std::unique_ptr<Workload>> holders;
  for (int i = 0; i < 7; ++i) {
    holders.push_back(std::make_unique<Workload>(argv));
    if (std::ranges::none_of(holders.back()->pfns(), [&](uint64_t pfn) {
          return wanted.contains(pfn);
        }))
      continue;
    auto found = std::move(holders.back());
    holders.pop_back();
    for (const auto& holder : holders) holder->Release();
    return found;
  }
  Fail("freed pages are not used again");
}

TEST_F(Claims, PagesFreedByOneAndPinnedByAnotherAreTheOthers) {
  Workload before({"pin-iouring", "--pages", "4097", "--linger"});
  const std::vector<uint64_t> pfns = before.pfns();
  before.LetGo();
  const auto after = HoldSomeOf(pfns, {"pin-iouring", "--pages", "4097"});
  ExpectAllHeldBy(after->pid(), after->pfns());
}

TEST_F(Claims, PagesOfOneWhoExitedThatAnotherPinnedAreTheOthers) {
  Workload before({"pin-iouring", "--pages", "4097"});
  const std::vector<uint64_t> pfns = before.pfns();
  before.Release();
  const auto after = HoldSomeOf(pfns, {"pin-iouring", "--pages", "4097"});
  ExpectAllHeldBy(after->pid(), after->pfns());
}

TEST_F(Claims, HugePagesFreedByOneAndPinnedByAnotherAreTheOthers) {
  Workload before({"pin-iouring", "--thp", "--pages", "23", "--linger"});
  const std::vector<uint64_t> pfns = before.pfns();
  before.LetGo();
  const auto after =
      HoldSomeOf(pfns, {"pin-iouring", "--thp", "--pages", "23"});
  EXPECT_EQ(HoldersIn(FreshOwners()).size(), 1u);
  ExpectAllHeldBy(after->pid(), after->pfns(),
                  {kPagesPerHugePage, ReadPinCounters().outstanding() / 23});
}

// The pins of a ring that a process left to its child are, as far as can be
// told, of the one that took them and has ended.
void ExpectPassedOn(std::vector<std::string> options) {
  options.insert(options.begin(),
                 {"pin-iouring", "--pages", "23", "--pass-ring"});
  Workload workload(options);
  workload.WaitForEnd();
  const pid_t pinner = workload.held().at("pinner_pid");
  ASSERT_EQ(ReadPinCounters().outstanding(), 23u);
  const Json owners = FreshOwners();
  EXPECT_EQ(HoldersIn(owners),
            (Holders{{pinner, {{kProbable, Pins{23, 23}}}}}));
  EXPECT_EQ(AttributionsIn(owners),
            (Attributions{{{kProbable, "claimant_ended"}, Pins{23, 23}}}));
  EXPECT_EQ(OwnersOf(pinner, owners).at(0).at("process").at("ended"), true);
  workload.Release();
  WaitForNoPins();
}

TEST_F(Claims, ARingThatWasPassedOnIsNoLivingProcesssDoing) {
  ExpectPassedOn({});
  ExpectPassedOn({"--memfd"});
}

TEST_F(ClonedRing, BuffersAreHeldByWhoRegisteredThemWithAnotherRing) {
  Workload workload({"pin-iouring", "--pages", "1023", "--clone"});
  ExpectAllHeldThrough(workload, "io_uring", {"io_pin_pages"});
  EXPECT_EQ(workload.Release().at("moved_while_held"), 0);
}

TEST_F(ClonedRing, HugePagesAreHeldOnce) {
  Workload workload({"pin-iouring", "--thp", "--pages", "3", "--clone"});
  ASSERT_EQ(ReadPinCounters().outstanding(), 3u);
  ExpectAllHeldBy(workload.pid(), workload.pfns(), {kPagesPerHugePage, 1});
}

TEST_F(ClonedRing, ThatWasPassedOnIsNoLivingProcesssDoing) {
  ExpectPassedOn({"--clone"});
  ExpectPassedOn({"--clone", "--memfd"});
}

size_t CountWithin(const CmaArea& area, const std::vector<uint64_t>& pfns) {
  return static_cast<size_t>(std::ranges::count_if(pfns, [&](uint64_t pfn) {
    return area.start_pfn <= pfn && pfn < area.start_pfn + area.nr_pages;
  }));
}

TEST_F(CmaClaims, PagesLeaveCmaBeforeTheyArePinnedForLong) {
  const CmaArea area = ReadCmaArea();
  // As many as are not all to be had of what CPUs keep to themselves.
  Workload workload({"pin-iouring", "--pages", "40961"});
  const std::vector<uint64_t> before = workload.held().at("pfns_before");
  ASSERT_GT(CountWithin(area, before), 1023u);
  EXPECT_EQ(CountWithin(area, workload.pfns()), 0u);
  EXPECT_GE(workload.held().at("moved_pages"), CountWithin(area, before));
  ExpectAllHeldBy(workload.pid(), workload.pfns());
  for (const Json& zone : FreshSnapshot().at("zones"))
    for (const Json& part : zone.at("migratetypes"))
      EXPECT_TRUE(part.at("migratetype") != "cma" ||
                  part.at("confirmed").at("pages") == 0)
          << part;
}

// Metrics, explain, top, pagemap and zoneinfo agree on where the pages are. A
// page is as large as `pages_each`.
void ExpectPinnedWhereTheyMayBe(const Workload& workload,
                                uint64_t pages_each = 1) {
  const std::vector<uint64_t> pfns = workload.pfns();
  const uint64_t references = ReadPinCounters().outstanding();
  ASSERT_EQ(references % pfns.size(), 0u);
  ExpectAllHeldBy(workload.pid(), pfns, {pages_each, references / pfns.size()});
  const uint64_t in_movable = MovesLongtermPins() ? 0 : pfns.size();
  EXPECT_EQ(
      std::ranges::count_if(
          pfns, [](uint64_t pfn) { return ZoneOf(pfn).second == "Movable"; }),
      in_movable);
  const auto metrics = ReadMetrics();
  const auto pinned = [&](const Labels& where) {
    const double pages = Sum(metrics, "pinwatch_pinned_pages", where);
    // Not a number where the kernel has no such zone, or no CMA.
    return std::isnan(pages) ? 0 : pages;
  };
  EXPECT_EQ(pinned({}), pfns.size() * pages_each);
  EXPECT_EQ(pinned({{"mem_zone", "Movable"}}), in_movable * pages_each);
  EXPECT_EQ(pinned({{"migratetype", "cma"}}), 0);
  for (const uint64_t pfn : {pfns.front(), pfns.back()}) {
    const Json page = ExplainPage(pfn + pages_each - 1);
    SCOPED_TRACE(page.dump());
    EXPECT_EQ(ZoneOf(pfn), ZoneId(page.at("nid"), page.at("zone")));
    EXPECT_NE(page.at("migratetype"), "cma");
    EXPECT_EQ(page.at("attribution").at("certainty"), kHeld);
    EXPECT_EQ(page.at("owners").at(0).at("process").at("pid"), workload.pid());
  }
}

TEST_F(Acceptance, PagesThatUserSpaceFaultedIn) {
  ExpectPinnedWhereTheyMayBe(Workload({"pin-iouring", "--pages", "1023"}));
}

TEST_F(Acceptance, PagesThatThePinFaultedIn) {
  ExpectPinnedWhereTheyMayBe(
      Workload({"pin-iouring", "--untouched", "--pages", "1023"}));
}

TEST_F(Acceptance, HugePagesThatUserSpaceFaultedIn) {
  ExpectPinnedWhereTheyMayBe(Workload({"pin-iouring", "--thp", "--pages", "7"}),
                             kPagesPerHugePage);
}

TEST_F(Acceptance, HugePagesThatThePinFaultedIn) {
  ExpectPinnedWhereTheyMayBe(
      Workload({"pin-iouring", "--thp", "--untouched", "--pages", "7"}),
      kPagesPerHugePage);
}

// Linux v6.1 moves no huge page of hugetlbfs for a pin, and refuses that in
// follow_hugetlb_page(), which later ones no longer have.
bool RefusesHugetlb() {
  return MovesLongtermPins() &&
         ReadFile("/proc/kallsyms").find(" follow_hugetlb_page\n") !=
             std::string::npos;
}

// Of seven reserved huge pages, which all stand in ZONE_MOVABLE at first.
const std::vector<std::string> kPinReserved = {"pin-iouring", "--hugetlb",
                                               "--pages", "3"};
const std::vector<std::string> kPinReservedUntouched = {
    "pin-iouring", "--hugetlb", "--pages", "3", "--untouched"};

class HugetlbAcceptance : public Claims {
 protected:
  void SetUp() override {
    Claims::SetUp();
    WriteFile(kReserved, "7");
    ASSERT_EQ(ReadFile(kReserved), "7\n");
  }
  void TearDown() override {
    WriteFile(kReserved, "0");
    Claims::TearDown();
  }

 private:
  static constexpr char kReserved[] = "/proc/sys/vm/nr_hugepages";
};

// The kernel refuses it with that error, moves nothing and pins nothing.
void ExpectRefused(const std::vector<std::string>& argv,
                   const std::string& error) {
  const uint64_t failed_before = ReadVmstat("pgmigrate_fail");
  Process refused(argv);
  refused.CloseInput();
  EXPECT_EQ(refused.Wait(seconds(30)), 1);
  EXPECT_NE(refused.Errors().find(error), std::string::npos)
      << refused.Errors();
  EXPECT_EQ(ReadVmstat("pgmigrate_fail"), failed_before);
  const Json snapshot = FreshSnapshot();
  EXPECT_EQ(PinsIn(snapshot, "confirmed"), PinsByZone());
  EXPECT_EQ(PinsIn(snapshot, "possible"), PinsByZone());
}

TEST_F(HugetlbAcceptance, HugePagesThatUserSpaceFaultedIn) {
  if (RefusesHugetlb())
    ExpectRefused(kPinReserved, "Cannot allocate memory");
  else
    ExpectPinnedWhereTheyMayBe(Workload(kPinReserved), kPagesPerHugePage);
}

TEST_F(HugetlbAcceptance, HugePagesThatThePinFaultedIn) {
  // None of them may be faulted in for it while they stand in ZONE_MOVABLE.
  if (MovesLongtermPins()) ExpectRefused(kPinReservedUntouched, "Bad address");
  if (RefusesHugetlb()) return;
  // This leaves three behind where it had them moved to.
  if (MovesLongtermPins()) Workload(kPinReserved).Release();
  WaitForNoPins();
  ExpectPinnedWhereTheyMayBe(Workload(kPinReservedUntouched),
                             kPagesPerHugePage);
}

// Pages that the process's calls moved out of CMA before they pinned.
uint64_t MovedOutOfCma(pid_t pid) {
  uint64_t moved = 0;
  for (const Json& owner : OwnersOf(pid, FreshOwners()))
    for (const Json& pages : owner.at("outcomes").at("moves").at("pages"))
      if (pages.at("from") == "cma")
        moved += pages.at("moved_pages").get<uint64_t>();
  return moved;
}

// Of those that user space faults in many are CMA's.
TEST_F(CmaAcceptance, PagesThatThePinFaultedIn) {
  Workload workload({"pin-iouring", "--untouched", "--pages", "40961"});
  EXPECT_EQ(CountWithin(ReadCmaArea(), workload.pfns()), 0u);
  ExpectPinnedWhereTheyMayBe(workload);
}

TEST_F(CmaAcceptance, HugePagesThatUserSpaceFaultedIn) {
  Workload workload({"pin-iouring", "--thp", "--pages", "101"});
  const CmaArea area = ReadCmaArea();
  const size_t left = CountWithin(area, workload.held().at("pfns_before"));
  ASSERT_GT(left, 0u);
  EXPECT_EQ(CountWithin(area, workload.pfns()), 0u);
  EXPECT_EQ(MovedOutOfCma(workload.pid()), left * kPagesPerHugePage);
  ExpectPinnedWhereTheyMayBe(workload, kPagesPerHugePage);
}

TEST_F(CmaAcceptance, HugePagesThatThePinFaultedIn) {
  Workload workload({"pin-iouring", "--thp", "--untouched", "--pages", "101"});
  EXPECT_EQ(CountWithin(ReadCmaArea(), workload.pfns()), 0u);
  ExpectPinnedWhereTheyMayBe(workload, kPagesPerHugePage);
}

// Starts a holder that gets this pid. Others start processes, too.
std::unique_ptr<Workload> HoldWithPid(pid_t pid) {
  for (int i = 0; i < 23; ++i) {
    WriteFile("/proc/sys/kernel/ns_last_pid", std::to_string(pid - 1));
    auto holder = std::make_unique<Workload>(
        std::vector<std::string>{"pin-iouring", "--pages", "23"});
    if (holder->pid() == pid) return holder;
    holder->Release();
  }
  Fail("the pid is not to be had");
}

TEST_F(Claims, AnotherProcessWithTheSamePidIsAnotherOwner) {
  Workload passed({"pin-iouring", "--pages", "7", "--pass-ring"});
  passed.WaitForEnd();
  const pid_t pid = passed.held().at("pinner_pid");
  const auto again = HoldWithPid(pid);
  const Json all = FreshOwners();
  Json probable, held;
  for (const Json& owner : OwnersOf(pid, all)) {
    if (owner.at("holdings").empty()) continue;
    (owner.at("process").at("ended") == true ? probable : held) = owner;
  }
  ASSERT_FALSE(probable.is_null()) << all;
  ASSERT_FALSE(held.is_null()) << all;
  EXPECT_NE(probable.at("id"), held.at("id"));
  EXPECT_LT(probable.at("process").at("start_boottime_ns"),
            held.at("process").at("start_boottime_ns"));
  EXPECT_EQ(HoldersIn({{"owners", {probable}}}),
            (Holders{{pid, {{kProbable, Pins{7, 7}}}}}));
  EXPECT_EQ(HoldersIn({{"owners", {held}}}),
            (Holders{{pid, {{kHeld, Pins{23, 23}}}}}));
}

TEST_F(Claims, NoWrongHolderIsNamedWhilePinsAreTaken) {
  constexpr uint64_t kPages = 40961;
  std::atomic<bool> done = false;
  std::atomic<size_t> looks = 0;
  std::vector<Json> seen;
  // Children die with the thread that started them: the workload's is this one.
  std::thread census([&] {
    while (!done) {
      seen.push_back(FreshOwners());
      ++looks;
    }
  });
  std::unique_ptr<Workload> workload;
  size_t rounds = 0;
  // More of them where pinning moves no page and so takes no time.
  for (; rounds < 3 || looks < 3; ++rounds) {
    if (workload) workload->Release();
    workload = std::make_unique<Workload>(std::vector<std::string>{
        "pin-iouring", "--pages", std::to_string(kPages)});
  }
  done = true;
  census.join();
  ExpectAllHeldBy(workload->pid(), workload->pfns());
  std::set<pid_t> held;
  for (const Json& owners : seen)
    for (const auto& [pid, how] : HoldersIn(owners)) {
      for (const auto& [certainty, pins] : how) {
        EXPECT_EQ(certainty, kHeld) << owners;
        EXPECT_LE(pins.pages, kPages);
      }
      held.insert(pid);
    }
  // Each of them at most, and of those looked at while they pinned some.
  EXPECT_LE(held.size(), rounds);
  EXPECT_GE(seen.size(), 3u);
}

TEST_F(Claims, AHostileNameHarmsNeitherTableNorJson) {
  Workload workload(
      {"pin-iouring", "--pages", "23", "--comm", "\xff\x1b[31m\"\n\\x"});
  const Json owners = FreshOwners();
  EXPECT_EQ(OwnersOf(workload.pid(), owners).at(0).at("process").at("comm"),
            "\xef\xbf\xbd\x1b[31m\"\n\\x");
  const uint64_t block = workload.pfns()[0] / BlockPages();
  for (const std::vector<std::string>& argv :
       std::vector<std::vector<std::string>>{
           {"pinwatch", "top"},
           {"pinwatch", "top", "--by", "process"},
           {"pinwatch", "top", "-o", "json"},
           {"pinwatch", "explain", "memory" + std::to_string(block)}}) {
    const std::string text = Ask(argv);
    for (const char c : text)
      EXPECT_TRUE(c == '\n' || (c >= ' ' && c <= '~')) << static_cast<int>(c);
  }
}

TEST_F(Claims, PinsOnAnotherProcesssMemoryAreItsOwnOrUnattributed) {
  // It may get pages that the test before has just let go of: their claims go
  // with a look once they are two seconds old.
  std::this_thread::sleep_for(seconds(3));
  FreshSnapshot();
  Workload workload({"pin-remote", "--pages", "7"});
  const pid_t target = workload.held().at("target_pid");
  ASSERT_EQ(ReadPinCounters().outstanding(), 7u);
  const Json owners = FreshOwners();
  if (!DirectReadsPin()) {
    // Nor are short-term remote pins followed before Linux v6.5.
    EXPECT_EQ(AttributionsIn(owners),
              (Attributions{{{kUnattributed, "no_claim"}, Pins{7, 7}}}));
    return;
  }
  EXPECT_EQ(HoldersIn(owners), (Holders{{target, {{kHeld, Pins{7, 7}}}}}));
  const Json owner = OwnersOf(target, owners).at(0);
  EXPECT_EQ(owner.at("long_term"), false);
  EXPECT_EQ(owner.at("process").at("comm"), "pin-remote-tgt");
  EXPECT_EQ(owner.at("via").at("pid"), workload.pid());
}

TEST_F(Claims, PagesOfADirectReadAreHeldForShortWhileItIsUnderWay) {
  Workload workload({"odirect-loop", "--device", kSlowDisk, "--pages", "23",
                     "--readers", "3"});
  if (!DirectReadsPin()) {
    ExpectNobodyHoldsAnything();
    return;
  }
  for (int i = 0; i < 3; ++i) {
    const Json owners = FreshOwners();
    EXPECT_EQ(HeldBy(workload.pid(), owners).size(), 1u) << owners;
    EXPECT_EQ(Sum(HeldBy(workload.pid(), owners)).pages, 23u);
    EXPECT_EQ(HoldersIn(owners).size(), 1u);
    for (const Json& owner : OwnersOf(workload.pid(), owners))
      EXPECT_EQ(owner.at("long_term"), false);
    EXPECT_EQ(AttributionsIn(owners).size(), 1u);
  }
}

TEST_F(Udmabuf, PinsAreHeld) {
  Workload workload({"pin-udmabuf", "--pages", "23"});
  ASSERT_EQ(ReadPinCounters().outstanding(), 23u);
  ExpectAllHeldBy(workload.pid(), workload.pfns());
  ExpectThroughDevice(workload, "/dev/udmabuf");
}

// An offline that direct reads hold up.
class HeldUpOffline {
 public:
  HeldUpOffline() {
    for (int i = 0; i < 7; ++i) {
      reader_ = std::make_unique<Workload>(
          std::vector<std::string>{"odirect-loop", "--device", kSlowDisk,
                                   "--pages", "7", "--readers", "3"});
      block_ = reader_->pfns()[0] / BlockPages();
      offline_ = std::make_unique<Process>(std::vector<std::string>{
          "memory-block", "offline", std::to_string(block_), "--hold"});
      if (!offline_->Wait(seconds(3))) return;
      // Refused at once: a part of the kernel's image stands in the block. The
      // reader goes, for pages of it may stand in the next block, and what it
      // had is taken first by what keeps the next one out of this block.
      reader_.reset();
      ballast_.push_back(std::make_unique<Workload>(std::vector<std::string>{
          "lock-memory", "--pages", std::to_string(BlockPages() / 2 + 1)}));
    }
    Fail("no block with a pinned page let itself be tried");
  }

  uint64_t block() const { return block_; }
  Workload& reader() { return *reader_; }
  Process& offline() { return *offline_; }

  // What `pinwatch attempts` says of it.
  Json Attempt() const {
    const Json list = ListAttempts();
    for (const Json& one : list.at("attempts"))
      if (one.at("block") == block_) return one;
    Fail("the attempt is not listed");
  }

 private:
  std::vector<std::unique_ptr<Workload>> ballast_;
  std::unique_ptr<Workload> reader_;
  std::unique_ptr<Process> offline_;
  uint64_t block_ = 0;
};

// Whether the process is named, by its id among the owners, for some page.
bool Names(pid_t pid, const Json& blockers, const Json& owners) {
  std::set<Json> ids;
  for (const Json& owner : OwnersOf(pid, owners)) ids.insert(owner.at("id"));
  for (const Json& page : blockers)
    for (const Json& id : page.at("owners"))
      if (ids.contains(id)) return true;
  return false;
}

TEST_F(Claims, AnOfflineHeldUpByDirectReadsIsExplainedUntilTheyStop) {
  const bool pins = DirectReadsPin();
  HeldUpOffline held_up;
  const pid_t reader = held_up.reader().pid();
  const Json told = ExplainBlock(held_up.block());
  EXPECT_EQ(told.at("state"), "going-offline") << told;
  EXPECT_EQ(told.at("verdict"), pins ? "VERDICT_BLOCKED_BY_SHORT_TERM_PINS"
                                     : "VERDICT_BLOCKED_BY_PLAIN_REFERENCES")
      << told;
  EXPECT_EQ(Names(reader, told.at("blockers"), told), pins) << told;
  EXPECT_TRUE(Eventually(seconds(10), [&] {
    const Json blockers = held_up.Attempt().at("blockers");
    return !blockers.empty() && Names(reader, blockers, FreshOwners()) == pins;
  })) << held_up.Attempt();
  EXPECT_EQ(held_up.Attempt().at("running"), true);

  held_up.reader().Release();
  ASSERT_TRUE(
      Eventually(kOfflineTimeout,
                 [&] { return held_up.Attempt().at("running") == false; }))
      << held_up.Attempt() << ExplainBlock(held_up.block());
  EXPECT_EQ(
      Json::parse(held_up.offline().ReadLine(kOfflineTimeout)).at("result"),
      "ok");
  EXPECT_TRUE(Eventually(seconds(5), [&] {
    return held_up.Attempt().at("outcome") == "ok";
  })) << held_up.Attempt();
  EXPECT_TRUE(held_up.Attempt().at("blockers").empty()) << held_up.Attempt();
  held_up.offline().CloseInput();
  EXPECT_EQ(held_up.offline().Wait(kOfflineTimeout), 0);
}

TEST_F(OwnClaims, MadeWhereNoTableWasAreKeptAndMoveIntoOne) {
  const Daemon daemon({"--claims.bytes-at-start", "0"});
  Workload workload({"pin-iouring", "--pages", "4097"});
  ExpectAllHeldBy(workload.pid(), workload.pfns());
  // Claims settle into their table once they are two seconds old.
  poll(nullptr, 0, 3000);
  ExpectAllHeldBy(workload.pid(), workload.pfns());
  const Json totals = FreshOwners().at("claims");
  EXPECT_GT(totals.at("chunks"), 0);
  EXPECT_EQ(totals.at("lost_pages"), 0);
  workload.Release();
  ExpectNobodyHoldsAnything();
}

// Through the doors that io_uring takes on one kernel or another.
const std::vector<std::string> kWithoutDoors = {
    "--claims.without", "pin_user_pages", "--claims.without",
    "pin_user_pages_fast"};

TEST_F(OwnClaims, PinsThroughADoorThatIsNotFollowedAreUnattributed) {
  const Daemon daemon(kWithoutDoors);
  Workload workload({"pin-iouring", "--pages", "23"});
  const Json owners = FreshOwners();
  EXPECT_EQ(HoldersIn(owners), Holders{});
  EXPECT_EQ(AttributionsIn(owners),
            (Attributions{{{kUnattributed, "no_claim"}, Pins{23, 23}}}));
}

TEST_F(OwnUdmabuf, AnOldClaimIsNoNameForPinsThatAreNotFollowed) {
  const Daemon daemon(kWithoutDoors);
  Workload claimant({"pin-udmabuf", "--pages", "23", "--linger"});
  const Holders sole = HoldersIn(FreshOwners());
  EXPECT_EQ(sole, (Holders{{claimant.pid(), {{kProbable, Pins{23, 23}}}}}));
  Workload unseen(
      {"pin-iouring", "--pages", "23", "--share-with", Address(claimant)});
  ASSERT_EQ(unseen.pfns(), claimant.pfns());
  claimant.LetGo();
  ASSERT_EQ(ReadPinCounters().outstanding(), 23u);
  for (const auto& [pid, how] : HoldersIn(FreshOwners()))
    for (const auto& [certainty, pins] : how) EXPECT_EQ(certainty, kProbable);

  claimant.Kill();
  const Json owners = FreshOwners();
  EXPECT_EQ(HoldersIn(owners), Holders{});
  EXPECT_EQ(AttributionsIn(owners),
            (Attributions{{{kUnattributed, "claims_lost"}, Pins{23, 23}}}));
}

}  // namespace
}  // namespace pinwatch::guest
