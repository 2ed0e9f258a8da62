// SPDX-License-Identifier: Apache-2.0
//
// For how long pages are held: against processes that pinned at known times.
#include <thread>

#include "tests/vm/guest.h"

namespace pinwatch::guest {
namespace {

// Pages of all zones held for longer than that by pins of the kind.
uint64_t PagesOlder(const Json& snapshot, const std::string& than,
                    const std::string& kind) {
  uint64_t pages = 0;
  for (const Json& zone : snapshot.value("pin_kinds", Json::array()))
    for (const Json& older : zone.at("older"))
      if (older.at("older_than") == than)
        pages += older.at(kind + "_pages").get<uint64_t>();
  return pages;
}

// What of it lasts longer than it should, by process.
std::map<pid_t, uint64_t> Overdue() {
  std::map<pid_t, uint64_t> overdue;
  const Json owners = FreshOwners();
  for (const Json& owner : owners.at("owners"))
    for (const Json& holding : owner.at("holdings"))
      if (const uint64_t pages = holding.at("overdue_pages"))
        overdue[owner.at("process").at("pid")] += pages;
  return overdue;
}

using Ages = GuestTest;
using OwnAges = OwnDaemonTest;

TEST_F(Ages, PagesCountWithEachAgeTheyHave) {
  Workload old({"pin-iouring", "--pages", "23"});
  std::this_thread::sleep_for(seconds(13));
  Workload young({"pin-iouring", "--pages", "7"});
  const Json snapshot = FreshSnapshot();
  EXPECT_EQ(PagesOlder(snapshot, "10s", "long_term"), 23u);
  EXPECT_EQ(PagesOlder(snapshot, "1m", "long_term"), 0u);
  EXPECT_TRUE(Eventually(seconds(9), [] {
    return PagesOlder(FreshSnapshot(), "1s", "long_term") == 23u + 7u;
  }));
  EXPECT_EQ(PagesOlder(FreshSnapshot(), "10s", "long_term"), 23u);
  EXPECT_EQ(PagesOlder(FreshSnapshot(), "1s", "short_term"), 0u);
  old.Release();
  EXPECT_EQ(PagesOlder(FreshSnapshot(), "10s", "long_term"), 0u);
}

// A process_vm_readv() that does not end, of another process's memory.
TEST_F(Ages, ShortTermPinsThatLastAreNamed) {
  Workload reader({"pin-remote", "--pages", "7"});
  const pid_t target = reader.held().at("target_pid");
  std::map<pid_t, uint64_t> expected;
  // Before Linux v6.5 such pins are not followed.
  if (DirectReadsPin()) expected[target] = 7;
  std::this_thread::sleep_for(seconds(5));
  EXPECT_EQ(Overdue(), expected);
  const Json snapshot = FreshSnapshot();
  EXPECT_EQ(PagesOlder(snapshot, "1s", "short_term"), expected[target]);
  EXPECT_EQ(PagesOlder(snapshot, "10s", "short_term"), 0u);
  const std::string top = Ask({"pinwatch", "top"});
  EXPECT_EQ(
      top.find("short-term acting long-term: 7 pages") != std::string::npos,
      expected[target] == 7)
      << top;
}

TEST_F(OwnAges, WhoPinsMoreAndMoreIsASuspectedLeak) {
  Daemon daemon({"--pins.suspect-after", "7"});
  Workload steady({"pin-iouring", "--pages", "23"});
  Workload leak({"pin-growing", "--pages", "7", "--times", "23"});
  const auto growth = [&](pid_t pid) -> Json {
    const Json owners = FreshOwners();
    for (const Json& owner : owners.at("owners"))
      if (owner.at("process").at("pid") == pid && owner.contains("growth"))
        return owner.at("growth");
    return nullptr;
  };
  Json seen;
  ASSERT_TRUE(Eventually(
      seconds(60), [&] { return !(seen = growth(leak.pid())).is_null(); }));
  EXPECT_EQ(seen.at("from_pages").get<int>() % 7, 0);
  EXPECT_GE(seen.at("rises"), 5);
  EXPECT_TRUE(growth(steady.pid()).is_null());
  const std::string top = Ask({"pinwatch", "top"});
  EXPECT_NE(top.find("): suspected leak: from "), std::string::npos) << top;
  // Who grows no more has filled up.
  EXPECT_TRUE(
      Eventually(seconds(60), [&] { return growth(leak.pid()).is_null(); }));
}

}  // namespace
}  // namespace pinwatch::guest
