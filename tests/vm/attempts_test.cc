// SPDX-License-Identifier: Apache-2.0
//
// Attempts to take memory offline and online: against what the asker was told.
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "tests/vm/guest.h"

namespace pinwatch::guest {
namespace {

using Attempts = GuestTest;

Json ListAttempts() {
  return Json::parse(Ask({"pinwatch", "attempts", "-o", "json"}, seconds(30)));
}

double Ended(const std::string& operation) {
  return Sum(ReadMetrics(), "pinwatch_" + operation + "_attempts_total");
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
      Eventually(seconds(5), [&] { return Ended("offline") >= before + 7; }));
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
  }
}

TEST_F(Attempts, AHostileNameHarmsNeitherTableNorJson) {
  ASSERT_EQ(prctl(PR_SET_NAME, "\xff\x1b[31m\"\n\\x"), 0);
  const int error = FailAtOnce();
  ASSERT_EQ(prctl(PR_SET_NAME, "pinwatch_guest_"), 0);
  ASSERT_NE(error, 0);
  const double before = Sum(ReadMetrics(), "pinwatch_snapshots_total");
  ASSERT_TRUE(Eventually(seconds(5), [&] {
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
      Eventually(seconds(5), [&] { return ok("offline") > offline_before; }));
  EXPECT_EQ(ok("offline"), offline_before + 1);
  EXPECT_EQ(ok("online"), online_before);
  held->CloseInput();
  EXPECT_EQ(held->Wait(kOfflineTimeout), 0);
  EXPECT_TRUE(
      Eventually(seconds(5), [&] { return ok("online") > online_before; }));
  EXPECT_EQ(ok("online"), online_before + 1);
  EXPECT_EQ(ListAttempts().at("attempts").at(0).at("comm"), "memory-block");
}

TEST_F(Attempts, OneThatDoesNotEndIsListedWhileItRuns) {
  constexpr int kTries = 7;
  std::vector<std::unique_ptr<Workload>> ballast;
  for (int i = 0; i < kTries; ++i) {
    auto holder = std::make_unique<Workload>(std::vector<std::string>{
        "hold-vmsplice", "--pages", "1", "--references", "1"});
    const uint64_t block = holder->pfns()[0] / BlockPages();
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
    EXPECT_EQ(attempt.at("outcome"), "");
    EXPECT_FALSE(attempt.contains("error"));
    EXPECT_EQ(Sum(ReadMetrics(), "pinwatch_hotplug_attempts_running",
                  {{"operation", "offline"}}),
              1);

    offline.Signal(SIGTERM);
    ASSERT_EQ(offline.Wait(kOfflineTimeout), 1);
    ASSERT_TRUE(Eventually(seconds(5), [&] {
      attempt = ListAttempts().at("attempts").at(0);
      return !attempt.at("running").get<bool>();
    }));
    EXPECT_EQ(attempt.at("block"), block);
    EXPECT_EQ(attempt.at("outcome"), "EINTR");
    EXPECT_EQ(attempt.at("cgroup"), "/");
    // The one page that is held fails in every round.
    EXPECT_GT(attempt.at("migrate_calls"), 7);
    EXPECT_GT(attempt.at("failed_pages"), 7);
    return;
  }
  FAIL() << "no block with a held page let itself be tried";
}

}  // namespace
}  // namespace pinwatch::guest
