// SPDX-License-Identifier: Apache-2.0
#include "daemon/process_stats.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace pinwatch {
namespace {

namespace fs = std::filesystem;

// All fields of a 6.12 kernel; comm is to be put in.
std::string StatOf(const std::string& comm) {
  return "4242 (" + comm +
         ") S 1 4242 4242 0 -1 4194560 500 0 3 0 250 150 0 0 20 0 7 0 12345 "
         "987654144 2048 18446744073709551615 1 1 0 0 0 0 0 4096 17 0 0 0 17 "
         "3 0 0 0 0 0 0 0 0 0 0 0 0 0\n";
}

constexpr char kLimits[] =
    "Limit                     Soft Limit           Hard Limit           "
    "Units     \n"
    "Max cpu time              unlimited            unlimited            "
    "seconds   \n"
    "Max open files            1024                 524288               "
    "files     \n";

class ProcessStatsTest : public testing::Test {
 protected:
  ProcessStatsTest() {
    std::string path = testing::TempDir() + "/process_stats.XXXXXX";
    root_ = mkdtemp(path.data());
    Write("proc/self/stat", StatOf("pinwatchd"));
    Write("proc/self/limits", kLimits);
    Write("proc/stat", "cpu  1 2 3\nbtime 1700000000\nprocesses 5\n");
    for (const char* fd : {"0", "1", "2"})
      Write(std::string("proc/self/fd/") + fd, "");
  }
  ~ProcessStatsTest() override { fs::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) {
    const fs::path whole = fs::path(root_) / path;
    fs::create_directories(whole.parent_path());
    std::ofstream(whole) << text;
  }
  void Remove(const std::string& path) {
    fs::remove_all(fs::path(root_) / path);
  }

  std::string root_;
};

double Ticks(uint64_t ticks) {
  return static_cast<double>(ticks) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

TEST_F(ProcessStatsTest, EveryFigureIsReadInItsUnit) {
  const auto stats = ReadProcessStats(root_);
  ASSERT_TRUE(stats.ok()) << stats.status();
  EXPECT_DOUBLE_EQ(stats->cpu_seconds, Ticks(250 + 150));
  EXPECT_EQ(stats->resident_bytes, 2048u * sysconf(_SC_PAGESIZE));
  EXPECT_EQ(stats->virtual_bytes, 987654144u);
  EXPECT_EQ(stats->threads, 7u);
  EXPECT_DOUBLE_EQ(stats->start_time_seconds.value(),
                   1700000000 + Ticks(12345));
  EXPECT_EQ(stats->open_fds, 3u);
  EXPECT_EQ(stats->max_fds, 1024u);
}

TEST_F(ProcessStatsTest, SpacesAndParenthesesInCommShiftNoField) {
  for (const char* comm : {"a b c", "x) S 1 2 (", "((", "))", "", ") (\n"}) {
    Write("proc/self/stat", StatOf(comm));
    const auto stats = ReadProcessStats(root_);
    ASSERT_TRUE(stats.ok()) << comm << ": " << stats.status();
    EXPECT_EQ(stats->threads, 7u) << comm;
    EXPECT_EQ(stats->virtual_bytes, 987654144u) << comm;
  }
}

TEST_F(ProcessStatsTest, MalformedStatIsDataLossThatNamesTheFile) {
  for (const char* text :
       {"", "4242", "4242 (a", "4242 (a)", "4242 (a) S 1 2 3",
        "4242 (a) S 1 2 3 4 5 6 7 8 9 10 x y 13 14 15 16 17 18 19 20 21 22"}) {
    Write("proc/self/stat", text);
    const auto stats = ReadProcessStats(root_);
    EXPECT_EQ(stats.status().code(), absl::StatusCode::kDataLoss) << text;
    EXPECT_NE(stats.status().message().find("/proc/self/stat"),
              absl::string_view::npos);
  }
}

TEST_F(ProcessStatsTest, AMissingStatIsAnError) {
  Remove("proc/self/stat");
  EXPECT_FALSE(ReadProcessStats(root_).ok());
}

TEST_F(ProcessStatsTest, WhatCannotBeReadIsUnsetNotZero) {
  Remove("proc/self/fd");
  Remove("proc/self/limits");
  Remove("proc/stat");
  const auto stats = ReadProcessStats(root_);
  ASSERT_TRUE(stats.ok()) << stats.status();
  EXPECT_EQ(stats->open_fds, std::nullopt);
  EXPECT_EQ(stats->max_fds, std::nullopt);
  EXPECT_EQ(stats->start_time_seconds, std::nullopt);
}

TEST_F(ProcessStatsTest, UnlimitedOrMalformedLimitIsUnset) {
  for (const char* line :
       {"Max open files            unlimited            unlimited    files\n",
        "Max open files            \n", "Max open files -1\n", "Max open\n"}) {
    Write("proc/self/limits", line);
    EXPECT_EQ(ReadProcessStats(root_)->max_fds, std::nullopt) << line;
  }
}

TEST_F(ProcessStatsTest, MalformedBootTimeIsUnset) {
  for (const char* line : {"btime\n", "btime \n", "btime soon\n", "cpu 1\n"}) {
    Write("proc/stat", line);
    EXPECT_EQ(ReadProcessStats(root_)->start_time_seconds, std::nullopt);
  }
}

TEST(ProcessStats, OfThisProcessArePlausible) {
  const auto stats = ReadProcessStats("");
  ASSERT_TRUE(stats.ok()) << stats.status();
  EXPECT_GT(stats->resident_bytes, 0u);
  EXPECT_GE(stats->virtual_bytes, stats->resident_bytes);
  EXPECT_GE(stats->threads, 1u);
  EXPECT_GE(stats->open_fds.value(), 1u);
  EXPECT_GT(stats->start_time_seconds.value(), 1.5e9);
}

}  // namespace
}  // namespace pinwatch
