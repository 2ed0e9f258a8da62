// SPDX-License-Identifier: Apache-2.0
#include "daemon/history.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

#include "tests/unit/temp_tree.h"

namespace pinwatch {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

HotplugAttempt Attempt() {
  HotplugAttempt attempt{
      .operation = "offline",
      .block_id = 9,
      .nid = 1,
      .zone = "Movable",
      .begin = {.realtime_ns = 1000 * kSecond, .monotonic_ns = 7 * kSecond},
      .duration_ns = 3 * kSecond,
      .error = EINTR,
      .pid = 251,
      .tid = 252,
      .comm = "\xff\x1b",
      .cgroup = "/user.slice",
      .unit = "drain.service",
      .migrate_calls = 1498,
      .succeeded_pages = 23,
      .failed_pages = 1505,
      .road = "sysfs",
      .step = HOTPLUG_MIGRATING,
      .reason = "interrupted",
      .blockers_lost = 3};
  attempt.step_ns[HOTPLUG_ISOLATING] = 5;
  attempt.step_ns[HOTPLUG_MIGRATING] = 2 * kSecond;
  const Process holder{.pid = 254,
                       .start_boottime_ns = 17,
                       .comm = "qemu",
                       .exe = "/usr/bin/qemu",
                       .cgroup = "/machine.slice",
                       .unit = "qemu.service"};
  attempt.blockers = {{.pfn = 0x4c592,
                       .nr_pages = 512,
                       .page = PAGE_PINNED_LARGE,
                       .refcount = 513,
                       .pins = 7,
                       .certainty = Certainty::kHeld,
                       .owners = {4},
                       .holders = {holder},
                       .why = "pinned_long_term",
                       .step = "migrating",
                       .times_met = 1498,
                       .mapping = "anon",
                       .cgroup = MemoryCgroup{4711, "/machine.slice", true}},
                      {.pfn = 0x4c593,
                       .page = PAGE_ELEVATED,
                       .refcount = 3,
                       .why = "plain_reference",
                       .step = "migrating",
                       .times_met = 7,
                       .surplus = 1,
                       .mapcount = 0,
                       .mapping = "file",
                       .inode = 23,
                       .device = 8 << 20 | 1,
                       .reference_holders = {
                           {{.process = holder, .through = "pipe", .fd = 5}}}}};
  return attempt;
}

TEST(History, IsReadAsItWasWritten) {
  const TempTree tree;
  const std::string path = tree.root() + "/attempts";
  HotplugAttempt online = Attempt();
  online.operation = "online";
  online.step = HOTPLUG_STEP_UNKNOWN;
  online.step_ns = {};
  online.error = 0;
  online.reason = "";
  online.blockers.clear();
  ASSERT_TRUE(SaveAttempts(path, {Attempt(), online}).ok());
  // The host has booted since: its monotonic clock began anew.
  const Timestamp now{.realtime_ns = 1100 * kSecond,
                      .monotonic_ns = 10 * kSecond};
  absl::StatusOr<AttemptHistory> read = LoadAttempts(path, now);
  ASSERT_TRUE(read.ok()) << read.status();
  ASSERT_EQ(read->size(), 2u);
  EXPECT_EQ((*read)[0].begin.realtime_ns, 1000 * kSecond);
  EXPECT_EQ((*read)[0].begin.monotonic_ns, -90 * kSecond);

  // Text is as it was sent, ids of owners are no longer known.
  const auto expected = [&](HotplugAttempt attempt) {
    attempt.comm = "\xef\xbf\xbd\x1b";
    attempt.begin.monotonic_ns = -90 * kSecond;
    attempt.of_earlier_daemon = true;
    for (BlockingPage& page : attempt.blockers) {
      page.owners.clear();
      page.first_met =
          page.last_met = {.monotonic_ns = now.monotonic_ns - now.realtime_ns};
    }
    return attempt;
  };
  EXPECT_TRUE((*read)[0] == expected(Attempt()));
  EXPECT_TRUE((*read)[1] == expected(online));
}

TEST(History, OfWhichThereIsNoneIsNotFound) {
  const TempTree tree;
  EXPECT_EQ(LoadAttempts(tree.root() + "/none", {}).status().code(),
            absl::StatusCode::kNotFound);
}

TEST(History, ThatCannotBeReadIsPutAside) {
  const TempTree tree;
  tree.Write("/attempts", "\xff\xff\xff\xff no protocol buffer");
  const absl::Status status =
      LoadAttempts(tree.root() + "/attempts", {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_FALSE(std::filesystem::exists(tree.root() + "/attempts"));
  EXPECT_TRUE(std::filesystem::exists(tree.root() + "/attempts.unreadable"));
}

TEST(History, ThatCannotBeWrittenLeavesTheOldOne) {
  const TempTree tree;
  const std::string path = tree.root() + "/attempts";
  ASSERT_TRUE(SaveAttempts(path, {Attempt()}).ok());
  std::filesystem::create_directory(path + ".new");
  EXPECT_EQ(SaveAttempts(path, {}).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(LoadAttempts(path, {})->size(), 1u);
}

TEST(History, WhatCameLastIsSavedBeforeTheEnd) {
  const TempTree tree;
  const std::string path = tree.root() + "/attempts";
  {
    HistoryWriter writer(path, [](const absl::Status& status) {
      EXPECT_TRUE(status.ok()) << status;
    });
    writer.Set({Attempt()});
    writer.Set({Attempt(), Attempt(), Attempt()});
  }
  EXPECT_EQ(LoadAttempts(path, {})->size(), 3u);
}

}  // namespace
}  // namespace pinwatch
