// SPDX-License-Identifier: Apache-2.0
//
// Who holds pinned pages: against workloads that know what they pinned. A page
// may be without a known holder where a test says so; a wrong one there must
// never be.
#include <sys/prctl.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>

#include "tests/vm/guest.h"

namespace pinwatch::guest {
namespace {

using Claims = GuestTest;
using OwnClaims = OwnDaemonTest;

// What each process holds, as "PID certainty", and what is attributed to
// nobody, as "reason"; in pages.
using Held = std::map<std::string, uint64_t>;

Json Ask(const std::vector<std::string>& argv) {
  Process process(argv);
  const std::string text = process.ReadAll(seconds(30));
  if (process.Wait(seconds(30)) != 0)
    Fail(argv[1] + " failed and said: " + process.Errors());
  return Json::parse(text);
}

Json ListOwners() {
  FreshSnapshot();
  return Ask({"pinwatch", "top", "-o", "json"});
}

Held HeldIn(const Json& owners) {
  Held held;
  for (const Json& owner : owners.at("owners")) {
    const std::string pid =
        std::to_string(owner.at("process").at("pid").get<int>());
    for (const Json& holding : owner.at("holdings"))
      held[pid + " " + holding.at("certainty").get<std::string>()] +=
          holding.at("pins").at("pages").get<uint64_t>();
  }
  for (const Json& part : owners.at("attributions"))
    if (part.at("certainty") == "CERTAINTY_UNATTRIBUTED")
      held[part.at("reason")] += part.at("pins").at("pages").get<uint64_t>();
  return held;
}

std::string PidOf(const Workload& workload) {
  return std::to_string(workload.held().at("pid").get<int>());
}

const Json& OwnerWithPid(const Json& owners, const std::string& pid) {
  for (const Json& owner : owners.at("owners"))
    if (std::to_string(owner.at("process").at("pid").get<int>()) == pid)
      return owner;
  Fail("no owner has pid " + pid);
}

// A file in shared memory that goes with the test.
class SharedFile {
 public:
  SharedFile() { remove(); }
  ~SharedFile() { remove(); }
  std::string path() const { return "/tmp/shared"; }

 private:
  void remove() const { unlink(path().c_str()); }
};

// Pages that nobody looked at since their last claim still bear it: a look
// clears what is two seconds old.
void WaitUntilClaimsCanBeCleared() {
  sleep(3);
  FreshSnapshot();
}

TEST_F(Claims, AProcessHoldsTheFourThousandAndNinetySevenPagesItPinned) {
  Workload workload({"pin-iouring", "--pages", "4097"});
  const Json owners = ListOwners();
  EXPECT_EQ(HeldIn(owners),
            (Held{{PidOf(workload) + " CERTAINTY_HELD", 4097}}));
  const Json& owner = OwnerWithPid(owners, PidOf(workload));
  EXPECT_EQ(owner.at("long_term"), true);
  EXPECT_EQ(owner.at("pages"), 4097);
  EXPECT_EQ(owner.at("subsystem"), "io_uring");
  EXPECT_EQ(owner.at("process").at("comm"), "pin-iouring");
  EXPECT_EQ(owner.at("process").at("exe"), "/usr/bin/pin-iouring");
  EXPECT_EQ(owner.at("process").at("cgroup"), "/");
  EXPECT_GT(owner.at("kernel_stack").size(), 3u);

  workload.Release();
  WaitForNoPins();
  EXPECT_EQ(HeldIn(ListOwners()), Held{});
}

TEST_F(Claims, AHugePageIsHeldAsAWhole) {
  Workload workload({"pin-iouring", "--thp", "--pages", "3"});
  EXPECT_EQ(HeldIn(ListOwners()),
            (Held{{PidOf(workload) + " CERTAINTY_HELD", 1536}}));
}

TEST_F(Claims, TwoProcessesHoldEachItsOwn) {
  Workload few({"pin-iouring", "--pages", "23"});
  Workload many({"pin-iouring", "--pages", "4097"});
  EXPECT_EQ(HeldIn(ListOwners()),
            (Held{{PidOf(few) + " CERTAINTY_HELD", 23},
                  {PidOf(many) + " CERTAINTY_HELD", 4097}}));
}

TEST_F(Claims, OfTwoOnTheSamePagesTheOneThatStaysIsLeftWhenOneEnds) {
  const SharedFile file;
  Workload first({"pin-iouring", "--pages", "23", "--file", file.path()});
  Workload second({"pin-iouring", "--pages", "23", "--file", file.path()});
  ASSERT_EQ(first.pfns(), second.pfns());
  EXPECT_EQ(HeldIn(ListOwners()),
            (Held{{PidOf(first) + " CERTAINTY_SHARED", 23},
                  {PidOf(second) + " CERTAINTY_SHARED", 23}}));

  first.Release();
  ASSERT_TRUE(Eventually(seconds(10),
                         [] { return ReadPinCounters().outstanding() == 23; }));
  EXPECT_EQ(HeldIn(ListOwners()),
            (Held{{PidOf(second) + " CERTAINTY_HELD", 23}}));
}

TEST_F(Claims, TheFirstOfTwoIsLeftWhenTheSecondEnds) {
  const SharedFile file;
  Workload first({"pin-iouring", "--pages", "23", "--file", file.path()});
  Workload second({"pin-iouring", "--pages", "23", "--file", file.path()});
  second.Kill();
  ASSERT_TRUE(Eventually(seconds(10),
                         [] { return ReadPinCounters().outstanding() == 23; }));
  EXPECT_EQ(HeldIn(ListOwners()),
            (Held{{PidOf(first) + " CERTAINTY_HELD", 23}}));
}

// On Linux v6.1 direct reads take plain references and no pins.
TEST_F(Claims, AReaderIntoMemoryThatAnotherRegisteredHoldsNothingOnceItEnded) {
  const SharedFile file;
  Workload holder({"pin-iouring", "--pages", "23", "--file", file.path()});
  {
    Workload reader({"odirect-loop", "--device", "/dev/nvme0n1", "--pages",
                     "23", "--file", file.path()});
    ASSERT_EQ(reader.pfns(), holder.pfns());
    for (const auto& [who, pages] : HeldIn(ListOwners())) {
      EXPECT_TRUE(who.starts_with(PidOf(holder)) ||
                  who.starts_with(PidOf(reader)))
          << who << " holds " << pages << " pages";
    }
    reader.Release();
  }
  ASSERT_TRUE(Eventually(seconds(10),
                         [] { return ReadPinCounters().outstanding() == 23; }));
  EXPECT_EQ(HeldIn(ListOwners()),
            (Held{{PidOf(holder) + " CERTAINTY_HELD", 23}}));
}

TEST_F(Claims, PagesThatAreFreedAndPinnedAgainAreTheNewProcesss) {
  for (int round = 0; round < 3; ++round) {
    Workload first({"pin-iouring", "--pages", "4097"});
    first.Kill();
    WaitForNoPins();
    // Without a look in between, as likely as not on the same page frames.
    Workload second({"pin-iouring", "--pages", "4097"});
    EXPECT_EQ(HeldIn(ListOwners()),
              (Held{{PidOf(second) + " CERTAINTY_HELD", 4097}}));
    second.Kill();
    WaitForNoPins();
  }
}

TEST_F(Claims, ARingThatWasPassedOnIsProbablyOfWhoPinned) {
  Process process({"pin-iouring", "--pages", "23", "--pass-ring"});
  const Json held = Json::parse(process.ReadLine(seconds(30)));
  ASSERT_EQ(process.Wait(seconds(30)), 0);
  const std::string pinner = std::to_string(held.at("pid").get<int>());
  const Json owners = ListOwners();
  EXPECT_EQ(HeldIn(owners), (Held{{pinner + " CERTAINTY_PROBABLE", 23}}));
  EXPECT_EQ(OwnerWithPid(owners, pinner).at("process").at("ended"), true);
  process.CloseInput();
  WaitForNoPins();
}

TEST_F(Claims, AHostileNameHarmsNeitherTableNorJson) {
  // The name of the process, which a program that is started takes from its
  // file.
  const std::string path = "/tmp/\x1b[31m\xff\"\n\\x";
  ASSERT_EQ(symlink("/usr/bin/pin-iouring", path.c_str()), 0);
  {
    Workload workload({path, "--pages", "23"});
    const Json owners = ListOwners();
    EXPECT_EQ(OwnerWithPid(owners, PidOf(workload)).at("process").at("comm"),
              "\x1b[31m\xef\xbf\xbd\"\n\\x");
    Process table({"pinwatch", "top"});
    for (const char c : table.ReadAll(seconds(30)))
      EXPECT_TRUE(c == '\n' || (c >= ' ' && c <= '~')) << static_cast<int>(c);
  }
  unlink(path.c_str());
}

TEST_F(Claims, WhileASlowPinMovesPagesOutNobodyElseIsNamed) {
  Process process({"pin-iouring", "--pages", "60001"});
  std::string line;
  int looks = 0;
  for (; looks < 7; ++looks)
    for (const auto& [who, pages] : HeldIn(ListOwners()))
      EXPECT_TRUE(who == "no_claim" || who.ends_with("CERTAINTY_HELD"))
          << who << ": " << pages;
  const Json held = Json::parse(process.ReadLine(seconds(60)));
  const std::string pid = std::to_string(held.at("pid").get<int>());
  EXPECT_EQ(HeldIn(ListOwners()), (Held{{pid + " CERTAINTY_HELD", 60001}}));
}

TEST_F(OwnClaims, PinsOlderThanTheDaemonHaveNoHolder) {
  Workload workload({"pin-iouring", "--pages", "23"});
  Daemon daemon;
  EXPECT_EQ(HeldIn(ListOwners()), (Held{{"no_claim", 23}}));
}

TEST_F(OwnClaims, ThroughADoorThatIsNotFollowedNobodyIsNamed) {
  // io_uring pins through the one or the other.
  Daemon daemon({"--claims.without", "pin_user_pages_fast", "--claims.without",
                 "pin_user_pages"});
  Workload workload({"pin-iouring", "--pages", "23"});
  EXPECT_EQ(HeldIn(ListOwners()), (Held{{"no_claim", 23}}));
}

TEST_F(OwnClaims, MemoryWithoutATableOfClaimsGetsOneWhenItIsPinned) {
  Daemon daemon({"--claims.bytes-at-start", "0"});
  Workload workload({"pin-iouring", "--pages", "4097"});
  // At once they are in the table for what has no room elsewhere.
  EXPECT_EQ(HeldIn(ListOwners()),
            (Held{{PidOf(workload) + " CERTAINTY_HELD", 4097}}));
  WaitUntilClaimsCanBeCleared();
  const Json owners = ListOwners();
  EXPECT_EQ(HeldIn(owners),
            (Held{{PidOf(workload) + " CERTAINTY_HELD", 4097}}));
  EXPECT_GT(owners.at("claims").at("chunks"), 0);
  EXPECT_EQ(owners.at("claims").at("lost_pages"), 0);
}

}  // namespace
}  // namespace pinwatch::guest
