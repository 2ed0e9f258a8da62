// SPDX-License-Identifier: Apache-2.0
//
// Attempts to take memory offline and online: against what the asker was told.
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <sstream>

#include "tests/vm/guest.h"

namespace pinwatch::guest {
namespace {

using Attempts = GuestTest;
using OwnAttempts = OwnDaemonTest;

// The first attempt has the daemon read the names of all kernel functions,
// which takes a while in a guest that has the CPU not to itself.
constexpr seconds kToldTimeout(30);

// The kernel's own word for where a block is.
Block FindBlock(uint64_t id) {
  for (Block& block : ReadBlocks())
    if (block.id == id) return std::move(block);
  Fail("no memory block of that number");
}

void ExpectPlace(const Json& attempt, const Block& block) {
  EXPECT_EQ(attempt.at("nid"), block.nid) << attempt;
  EXPECT_EQ(attempt.at("zone"), block.zone) << attempt;
}

double Ended(const std::string& operation) {
  return Sum(ReadMetrics(), "pinwatch_" + operation + "_attempts_total");
}

// Bits of /proc/kpageflags, see linux/kernel-page-flags.h.
constexpr int kLru = 5;
constexpr int kSlab = 7;
constexpr int kBuddy = 10;
constexpr int kPageTable = 26;
constexpr int kReserved = 32;

// Asks for the block to go offline: the name of the errno, or "ok" and then it
// is online again. One that does not end is interrupted.
std::string AskFor(uint64_t block) {
  Process offline({"memory-block", "offline", std::to_string(block), "--hold"});
  offline.CloseInput();
  if (!offline.Wait(seconds(10))) offline.Signal(SIGTERM);
  return Json::parse(offline.ReadLine(kOfflineTimeout)).at("result");
}

// Where the kernel's image stands, which never moves; then what else the kernel
// prefers for itself.
std::vector<uint64_t> BlocksOfTheKernel() {
  std::vector<uint64_t> blocks;
  std::istringstream iomem(ReadFile("/proc/iomem"));
  for (std::string line; std::getline(iomem, line);)
    if (line.find(" : Kernel ") != std::string::npos)
      blocks.push_back(std::stoull(line, nullptr, 16) / kPageBytes /
                       BlockPages());
  for (const Block& block : ReadBlocks())
    if (block.state == "online" && block.zone != "Movable")
      blocks.push_back(block.id);
  return blocks;
}

// Asks in this process for memory0 to go offline, which every kernel refuses at
// once: it holds reserved pages. The errno.
int FailAtOnce() {
  errno = 0;
  FILE* file = fopen("/sys/devices/system/memory/memory0/state", "w");
  if (!file) Fail("open the state of memory0");
  setbuf(file, nullptr);
  const int error = fputs("offline", file) < 0 ? errno : 0;
  fclose(file);
  return error;
}

TEST_F(Attempts, SevenFailedOfflinesAreCountedAsSeven) {
  const std::vector<Sample> metrics_before = ReadMetrics();
  const double before = Ended("offline");
  int error = 0;
  for (int i = 0; i < 7; ++i) {
    error = FailAtOnce();
    ASSERT_NE(error, 0);
  }
  EXPECT_TRUE(
      Eventually(kToldTimeout, [&] { return Ended("offline") >= before + 7; }));
  EXPECT_EQ(Ended("offline"), before + 7);
  const Labels outcome = {{"outcome", strerrorname_np(error)}};
  EXPECT_EQ(
      Sum(ReadMetrics(), "pinwatch_offline_attempts_total", outcome),
      Sum(metrics_before, "pinwatch_offline_attempts_total", outcome) + 7);
  EXPECT_EQ(Sum(ReadMetrics(), "pinwatch_hotplug_stories_lost_total"), 0);

  const Json attempts = ListAttempts().at("attempts");
  ASSERT_GE(attempts.size(), 7u);
  for (int i = 0; i < 7; ++i) {
    const Json& attempt = attempts.at(i);
    EXPECT_EQ(attempt.at("operation"), "offline");
    EXPECT_EQ(attempt.at("block"), 0);
    EXPECT_EQ(attempt.at("running"), false);
    EXPECT_EQ(attempt.at("error"), error);
    EXPECT_EQ(attempt.at("outcome"), strerrorname_np(error));
    EXPECT_EQ(attempt.at("pid"), getpid());
    EXPECT_EQ(attempt.at("comm"), "pinwatch_guest_");
    ExpectPlace(attempt, FindBlock(0));
  }
}

TEST_F(Attempts, TwoAskersForOneBlockAreToldOfEachOther) {
  ASSERT_NE(FailAtOnce(), 0);
  const pid_t other = fork();
  if (other == 0) _exit(FailAtOnce() ? 0 : 1);
  int status = -1;
  ASSERT_EQ(waitpid(other, &status, 0), other);
  ASSERT_EQ(status, 0);
  Json attempts;
  ASSERT_TRUE(Eventually(kToldTimeout, [&] {
    attempts = ListAttempts().at("attempts");
    return attempts.size() > 1 && attempts.at(0).at("pid") == other;
  })) << attempts;
  const Json& first = attempts.at(1);
  const Json& second = attempts.at(0);
  EXPECT_EQ(first.at("pid"), getpid());
  EXPECT_EQ(first.at("contends_with"), Json::array({second.at("id")}));
  EXPECT_EQ(second.at("contends_with"), Json::array({first.at("id")}));
}

TEST_F(Attempts, AHostileNameHarmsNeitherTableNorJson) {
  ASSERT_EQ(prctl(PR_SET_NAME, "\xff\x1b[31m\"\n\\x"), 0);
  const int error = FailAtOnce();
  ASSERT_EQ(prctl(PR_SET_NAME, "pinwatch_guest_"), 0);
  ASSERT_NE(error, 0);
  const double before = Sum(ReadMetrics(), "pinwatch_snapshots_total");
  ASSERT_TRUE(Eventually(kToldTimeout, [&] {
    return Sum(ReadMetrics(), "pinwatch_snapshots_total") > before + 1;
  }));
  EXPECT_EQ(ListAttempts().at("attempts").at(0).at("comm"),
            "\xef\xbf\xbd\x1b[31m\"\n\\x");
  Process process({"pinwatch", "attempts"});
  for (const char c : process.ReadAll(seconds(30)))
    EXPECT_TRUE(c == '\n' || (c >= ' ' && c <= '~')) << static_cast<int>(c);
}

TEST_F(Attempts, ThatSucceedAreCounted) {
  const auto ok = [](const std::string& operation) {
    return Sum(ReadMetrics(), "pinwatch_" + operation + "_attempts_total",
               {{"outcome", "ok"}});
  };
  const double offline_before = ok("offline");
  const double online_before = ok("online");
  const std::unique_ptr<Process> held = HoldSomeBlockOffline();
  EXPECT_TRUE(
      Eventually(kToldTimeout, [&] { return ok("offline") > offline_before; }));
  EXPECT_EQ(ok("offline"), offline_before + 1);
  EXPECT_EQ(ok("online"), online_before);
  held->CloseInput();
  EXPECT_EQ(held->Wait(kOfflineTimeout), 0);
  EXPECT_TRUE(
      Eventually(kToldTimeout, [&] { return ok("online") > online_before; }));
  EXPECT_EQ(ok("online"), online_before + 1);
  const Json attempts = ListAttempts().at("attempts");
  const Json& online = attempts.at(0);
  EXPECT_EQ(online.at("comm"), "memory-block");
  EXPECT_EQ(online.at("operation"), "online");
  // Where it stands now; and it went there from the same place.
  ExpectPlace(online, FindBlock(online.at("block")));
  const auto offline = std::ranges::find_if(attempts, [](const Json& attempt) {
    return attempt.at("operation") == "offline";
  });
  ASSERT_NE(offline, attempts.end());
  ExpectPlace(*offline, FindBlock(online.at("block")));
}

// That the page of the holder is the one that stayed, and in its pipe.
void ExpectHeldInPipe(const Json& attempt, const Workload& holder) {
  const uint64_t pfn = holder.pfns().at(0);
  uint64_t times_met = 0;
  for (const Json& page : attempt.at("blockers")) {
    times_met += page.at("times_met").get<uint64_t>();
    if (page.at("pfn") != pfn) {
      // Met once or twice, and moved then.
      EXPECT_TRUE(page.value("reference_holders", Json::array()).empty())
          << page;
      continue;
    }
    EXPECT_EQ(page.at("why"), "plain_reference") << page;
    EXPECT_EQ(page.at("surplus"), 1) << page;
    EXPECT_EQ(page.at("mapcount"), 1) << page;
    EXPECT_EQ(page.at("mapping"), "anon") << page;
    EXPECT_EQ(page.at("memory_cgroup").at("path"), "/holder") << page;
    EXPECT_EQ(page.at("step"), "migrating") << page;
    // Both ends of the pipe.
    ASSERT_EQ(page.at("reference_holders").size(), 2u) << page;
    for (const Json& end : page.at("reference_holders")) {
      EXPECT_EQ(end.at("process").at("pid"), holder.pid());
      EXPECT_EQ(end.at("process").at("comm"), "hold-vmsplice");
      EXPECT_EQ(end.at("through"), "pipe");
    }
    EXPECT_GT(page.at("times_met"), 7);
  }
  // Every failure is of a page that was noted, and none was counted twice.
  EXPECT_EQ(times_met, attempt.at("failed_pages")) << attempt;
}

TEST_F(Attempts, SevenThatAPageRefusesAtOnceNameIt) {
  const auto refused = [] {
    return Sum(ReadMetrics(), "pinwatch_offline_failures_total",
               {{"reason", "unmovable_page"}});
  };
  const std::vector<uint64_t> blocks = BlocksOfTheKernel();
  const auto block = std::ranges::find_if(
      blocks, [](uint64_t id) { return AskFor(id) == "EBUSY"; });
  ASSERT_NE(block, blocks.end()) << "no block is refused at once";
  poll(nullptr, 0, 2000);
  const double before = refused();
  for (int i = 0; i < 7; ++i) ASSERT_EQ(AskFor(*block), "EBUSY");
  ASSERT_TRUE(
      Eventually(kToldTimeout, [&] { return refused() >= before + 7; }));
  EXPECT_EQ(refused(), before + 7);
  const Json attempts = ListAttempts().at("attempts");
  for (int i = 0; i < 7; ++i) {
    const Json& attempt = attempts.at(i);
    EXPECT_EQ(attempt.at("reason"), "unmovable_page") << attempt;
    EXPECT_EQ(attempt.at("step"), "isolating") << attempt;
    ASSERT_EQ(attempt.at("blockers").size(), 1u) << attempt;
    const Json& page = attempt.at("blockers").at(0);
    const uint64_t pfn = page.at("pfn");
    EXPECT_EQ(pfn / BlockPages(), *block);
    EXPECT_EQ(page.at("times_met"), 1) << page;
    // By the kernel's own word it is on no list of user pages, and not free.
    const uint64_t flags = PageFlags(pfn);
    EXPECT_FALSE(flags & (1 << kLru | 1 << kBuddy)) << page << flags;
    const std::string why = page.at("why");
    EXPECT_EQ(why == "slab", (flags >> kSlab & 1) != 0) << page << flags;
    EXPECT_EQ(why == "reserved", (flags >> kReserved & 1) != 0)
        << page << flags;
    EXPECT_EQ(why == "page_table", (flags >> kPageTable & 1) != 0)
        << page << flags;
  }
}

TEST_F(Attempts, OneThatDoesNotEndIsListedWhileItRuns) {
  constexpr int kTries = 7;
  const Cgroup cgroup("holder");
  std::vector<std::unique_ptr<Workload>> ballast;
  for (int i = 0; i < kTries; ++i) {
    auto holder = std::make_unique<Workload>(
        cgroup.Command({"hold-vmsplice", "--pages", "1", "--references", "1"}));
    const uint64_t block = holder->pfns()[0] / BlockPages();
    const Block place = FindBlock(block);
    Process offline({"memory-block", "offline", std::to_string(block)});
    Json attempt;
    // Linux v5.10 makes one round of a block, which may be full of ballast.
    const bool seen = Eventually(kOfflineTimeout, [&] {
      if (offline.Wait(seconds(0))) return true;
      const Json attempts = ListAttempts().at("attempts");
      if (attempts.empty() || !attempts.at(0).at("running")) return false;
      attempt = attempts.at(0);
      return attempt.at("migrate_calls") > 7;
    });
    ASSERT_TRUE(seen) << attempt;
    if (offline.Wait(seconds(0))) {
      // Refused at once: a part of the kernel's image stands in the block.
      ballast.push_back(std::move(holder));
      ballast.push_back(std::make_unique<Workload>(std::vector<std::string>{
          "lock-memory", "--pages", std::to_string(BlockPages() / 2 + 1)}));
      continue;
    }
    EXPECT_EQ(attempt.at("block"), block);
    EXPECT_EQ(attempt.at("operation"), "offline");
    EXPECT_EQ(attempt.at("comm"), "memory-block");
    EXPECT_EQ(attempt.at("step"), "migrating");
    EXPECT_EQ(attempt.at("outcome"), "");
    ExpectPlace(attempt, place);
    // It counts while it runs.
    const auto migrating = [] {
      return Sum(ReadMetrics(), "pinwatch_offline_seconds_total",
                 {{"step", "migrating"}});
    };
    const double so_far = migrating();
    EXPECT_TRUE(
        Eventually(seconds(10), [&] { return migrating() > so_far + 1; }));
    EXPECT_FALSE(attempt.contains("error"));
    EXPECT_EQ(Sum(ReadMetrics(), "pinwatch_hotplug_attempts_running",
                  {{"operation", "offline"}}),
              1);

    offline.Signal(SIGTERM);
    ASSERT_EQ(offline.Wait(kOfflineTimeout), 1);
    ASSERT_TRUE(Eventually(kToldTimeout, [&] {
      attempt = ListAttempts().at("attempts").at(0);
      return !attempt.at("running").get<bool>();
    }));
    EXPECT_EQ(attempt.at("block"), block);
    EXPECT_EQ(attempt.at("outcome"), "EINTR");
    EXPECT_EQ(attempt.at("cgroup"), "/");
    // The one page that is held fails in every round.
    EXPECT_GT(attempt.at("migrate_calls"), 7);
    EXPECT_GT(attempt.at("failed_pages"), 7);
    EXPECT_EQ(attempt.at("reason"), "interrupted");
    EXPECT_EQ(attempt.at("road"), "sysfs");
    EXPECT_EQ(attempt.at("blockers_lost"), 0);
    ExpectHeldInPipe(attempt, *holder);
    return;
  }
  FAIL() << "no block with a held page let itself be tried";
}

TEST_F(OwnAttempts, AreToldByTheNextDaemonToo) {
  const std::vector<std::string> options = {"--history.file",
                                            "/tmp/past-attempts"};
  Json before;
  {
    const Daemon daemon(options);
    for (int i = 0; i < 3; ++i) ASSERT_NE(FailAtOnce(), 0);
    ASSERT_TRUE(Eventually(kToldTimeout, [&] {
      before = ListAttempts().at("attempts");
      return before.size() == 3;
    })) << before;
  }
  const Daemon daemon(options);
  EXPECT_EQ(ListAttempts().at("attempts").size(), 3u);
  EXPECT_EQ(Ended("offline"), 0);
  ASSERT_NE(FailAtOnce(), 0);
  Json after;
  ASSERT_TRUE(Eventually(kToldTimeout, [&] {
    after = ListAttempts().at("attempts");
    return after.size() == 4;
  })) << after;
  for (int i = 0; i < 3; ++i)
    for (const char* field : {"begin", "block", "comm", "error", "operation",
                              "outcome", "pid", "reason", "road", "step"})
      EXPECT_EQ(after.at(i + 1).at(field), before.at(i).at(field)) << field;
}

}  // namespace
}  // namespace pinwatch::guest
