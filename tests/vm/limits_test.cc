// SPDX-License-Identifier: Apache-2.0
//
// Many owners, and tables too small for what there is: nobody is named who does
// not hold, totals stay exact, and what found no room is counted.
#include <algorithm>
#include <list>
#include <set>

#include "tests/vm/guest.h"

namespace pinwatch::guest {
namespace {

using Limits = OwnDaemonTest;
using Crowd = OwnDaemonTest;

struct Named {
  std::map<pid_t, uint64_t> held;      // by the one process, for sure
  std::map<pid_t, uint64_t> probable;  // claimed, but somebody else may hold it
  uint64_t unattributed = 0;
};

Named NamedNow() {
  const Json top = FreshOwners();
  Named named;
  for (const Json& owner : top.at("owners"))
    for (const Json& holding : owner.at("holdings")) {
      const bool held = holding.at("certainty") == kHeld;
      (held ? named.held : named.probable)[owner.at("process").at("pid")] +=
          holding.at("pins").at("pages").get<uint64_t>();
    }
  for (const Json& part : top.at("attributions"))
    if (part.at("certainty") == kUnattributed)
      named.unattributed += part.at("pins").at("pages").get<uint64_t>();
  return named;
}

TEST_F(Limits, OwnersBeyondTheTableAreCountedAndNobodyElseIsNamed) {
  Daemon daemon({"--claims.max-owners", "7"});
  std::list<Workload> workloads;
  std::map<pid_t, uint64_t> first;
  for (int i = 0; i < 11; ++i) {
    workloads.emplace_back(
        std::vector<std::string>{"pin-iouring", "--pages", "3"});
    if (i < 7) first[workloads.back().pid()] = 3;
  }
  EXPECT_EQ(ConfirmedPages(), 33u);
  const Named named = NamedNow();
  // Of those whose calls were lost nothing is known: they might hold any page.
  EXPECT_EQ(named.held, (std::map<pid_t, uint64_t>{}));
  EXPECT_EQ(named.probable, first);
  EXPECT_EQ(named.unattributed, 12u);
  EXPECT_EQ(Sum(ReadMetrics(), "pinwatch_pin_calls_unclaimed_total",
                {{"cause", "owners_full"}}),
            4);
}

TEST_F(Limits, PagesBeyondTheTablesAreCounted) {
  // A run of neighbours has up to 256 pages.
  Daemon daemon({"--claims.max-bytes", "0", "--claims.max-runs", "3"});
  Workload workload({"pin-iouring", "--pages", "997"});
  EXPECT_EQ(ConfirmedPages(), 997u);
  const Named named = NamedNow();
  const auto lost = static_cast<uint64_t>(
      Sum(ReadMetrics(), "pinwatch_pin_pages_unclaimed_total"));
  EXPECT_GE(lost, 997u - 3 * 256);
  EXPECT_LT(lost, 997u);
  EXPECT_EQ(named.unattributed, lost);
  EXPECT_EQ(named.held, (std::map<pid_t, uint64_t>{}));
  EXPECT_EQ(named.probable,
            (std::map<pid_t, uint64_t>{{workload.pid(), 997 - lost}}));
}

TEST_F(Crowd, AThousandProcessesHoldAHundredThousandPages) {
  Daemon daemon;
  Workload workload({"pin-many", "--processes", "1000", "--pages", "100"});
  ASSERT_EQ(ReadPinCounters().outstanding(), 100'000u);
  std::map<pid_t, uint64_t> expected;
  for (const pid_t pid : workload.held().at("pids").get<std::vector<pid_t>>())
    expected[pid] = 100;
  ASSERT_EQ(expected.size(), 1000u);
  EXPECT_EQ(ConfirmedPages(), 100'000u);
  const Named named = NamedNow();
  EXPECT_EQ(named.held, expected);
  EXPECT_EQ(named.probable, (std::map<pid_t, uint64_t>{}));
  EXPECT_EQ(named.unattributed, 0u);
  workload.Release();
  EXPECT_EQ(ConfirmedPages(), 0u);
}

}  // namespace
}  // namespace pinwatch::guest
