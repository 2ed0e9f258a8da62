// SPDX-License-Identifier: Apache-2.0
#include "daemon/processes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <thread>

#include "tests/unit/temp_tree.h"

namespace pinwatch {
namespace {

using testing::HasSubstr;

// A stat file up to field 23; the start time is field 22.
std::string Stat(const std::string& comm, uint64_t start_ticks) {
  return "812 (" + comm +
         ") S 1 812 812 0 -1 4194560 7 0 0 0 3 5 0 0 20 0 9 0 " +
         std::to_string(start_ticks) + " 1000\n";
}

void Link(const TempTree& tree, const std::string& to, const std::string& at) {
  ASSERT_EQ(symlink(to.c_str(), (tree.root() + at).c_str()), 0);
}

TEST(StartTicks, AreField22WhateverTheCommIs) {
  for (const char* comm : {"qemu", "a) R 1 (b", "tab\tor two\n", ")", "((", "",
                           ") S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 0 0 0 0 99 "}) {
    TempTree tree;
    tree.Write("/proc/812/stat", Stat(comm, 4127));
    EXPECT_EQ(ReadStartTicks(tree.root(), 812).value(), 4127u) << comm;
  }
}

TEST(StartTicks, AreDataLossWhereTheFileIsCutShort) {
  for (const char* text :
       {"", "812", "812 (qemu", "812 qemu) S 1", ")(", "812 (qemu) S 1 812",
        "812 (q) S 1 8 8 0 -1 4 7 0 0 0 3 5 0 0 20 0 9 0 soon 1"}) {
    TempTree tree;
    tree.Write("/proc/812/stat", text);
    EXPECT_EQ(ReadStartTicks(tree.root(), 812).status().code(),
              absl::StatusCode::kDataLoss)
        << text;
  }
}

TEST(StartTicks, OfAProcessThatIsGoneAreNotFound) {
  TempTree tree;
  EXPECT_EQ(ReadStartTicks(tree.root(), 812).status().code(),
            absl::StatusCode::kNotFound);
}

TEST(Process, IsReadWhole) {
  TempTree tree;
  tree.Write("/proc/812/stat", Stat("a) R 1 (b", 4127));
  tree.Write("/proc/812/cgroup", "0::/system.slice/libvirtd.service/vm\n");
  Link(tree, "/usr/bin/qemu (deleted)", "/proc/812/exe");
  const auto process = ReadProcess(tree.root(), 812);
  ASSERT_TRUE(process.ok()) << process.status();
  EXPECT_EQ(process->pid, 812u);
  EXPECT_EQ(process->start_ticks, 4127u);
  EXPECT_EQ(process->comm, "a) R 1 (b");
  EXPECT_EQ(process->exe, "/usr/bin/qemu (deleted)");
  EXPECT_EQ(process->cgroup, "/system.slice/libvirtd.service/vm");
  EXPECT_EQ(process->unit, "libvirtd.service");
}

TEST(Process, WithoutExeOrCgroupHasThemEmpty) {
  TempTree tree;
  tree.Write("/proc/2/stat", Stat("kthreadd", 0));
  const auto process = ReadProcess(tree.root(), 2);
  ASSERT_TRUE(process.ok()) << process.status();
  EXPECT_EQ(process->comm, "kthreadd");
  EXPECT_EQ(process->start_ticks, 0u);
  EXPECT_EQ(process->exe, "");
  EXPECT_EQ(process->cgroup, "");
  EXPECT_EQ(process->unit, "");
}

// The cgroup file is a pipe, so that the test acts while it is read.
class ProcessReadMidway : public testing::Test {
 protected:
  ProcessReadMidway() {
    tree_.Write("/proc/812/stat", Stat("first", 4127));
    EXPECT_EQ(mkfifo((tree_.root() + "/proc/812/cgroup").c_str(), 0600), 0);
  }

  template <typename Act>
  absl::StatusOr<ProcessInfo> ReadWhile(Act act) {
    std::thread other([&] {
      std::ofstream cgroup(tree_.root() + "/proc/812/cgroup");
      act();
      cgroup << "0::/second.slice\n";
    });
    const auto process = ReadProcess(tree_.root(), 812);
    other.join();
    return process;
  }

  TempTree tree_;
};

TEST_F(ProcessReadMidway, IsNotFoundWhenItsPidWasGivenAway) {
  const auto process =
      ReadWhile([&] { tree_.Write("/proc/812/stat", Stat("second", 4128)); });
  EXPECT_EQ(process.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(process.status().message()),
              HasSubstr("/proc/812: given to another process"));
}

TEST_F(ProcessReadMidway, IsNotFoundWhenItWentAway) {
  const auto process =
      ReadWhile([&] { unlink((tree_.root() + "/proc/812/stat").c_str()); });
  EXPECT_EQ(process.status().code(), absl::StatusCode::kNotFound);
}

TEST_F(ProcessReadMidway, IsTheSameUnderItsNewNameAfterExec) {
  const auto process =
      ReadWhile([&] { tree_.Write("/proc/812/stat", Stat("other", 4127)); });
  ASSERT_TRUE(process.ok()) << process.status();
  EXPECT_EQ(process->comm, "other");
}

TEST(Process, OfThisTestIsWhatTheKernelSaysItIs) {
  const auto process = ReadProcess("", static_cast<uint32_t>(getpid()));
  ASSERT_TRUE(process.ok()) << process.status();
  EXPECT_THAT(process->exe, HasSubstr("unit_tests"));
  timespec now;
  clock_gettime(CLOCK_BOOTTIME, &now);
  const uint64_t now_ns =
      static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
  EXPECT_LE(process->start_ticks, now_ns / 10'000'000);
}

std::string CgroupIn(const char* text) {
  TempTree tree;
  tree.Write("/proc/812/cgroup", text);
  return ReadCgroup(tree.root(), 812);
}

TEST(Cgroup, IsTheOneOfTheUnifiedHierarchy) {
  EXPECT_EQ(CgroupIn("0::/system.slice/cron.service\n"),
            "/system.slice/cron.service");
  EXPECT_EQ(CgroupIn("0::/\n"), "/");
  EXPECT_EQ(CgroupIn("0::/a:b::c\n"), "/a:b::c");
}

TEST(Cgroup, IsSystemdsWhereTheUnifiedHierarchyIsNotUsed) {
  EXPECT_EQ(CgroupIn("10:cpu,cpuacct:/x\n1:name=systemd:/a.slice/b.scope\n"
                     "0::/\n"),
            "/a.slice/b.scope");
  EXPECT_EQ(CgroupIn("1:name=systemd:/a.slice/b.scope\n0::/u.slice\n"),
            "/u.slice");
  EXPECT_EQ(CgroupIn("1:name=systemd:/old.scope\n"), "/old.scope");
}

TEST(Cgroup, IsEmptyWhereTheFileSaysNothing) {
  EXPECT_EQ(CgroupIn(""), "");
  EXPECT_EQ(CgroupIn("\n0\n0:\n10:0:/not\n"), "");
}

TEST(Unit, IsTheServiceOrScopeBelowTheSlices) {
  EXPECT_EQ(UnitOfCgroup("/system.slice/cron.service"), "cron.service");
  EXPECT_EQ(UnitOfCgroup("/init.scope"), "init.scope");
  EXPECT_EQ(UnitOfCgroup("/a.slice/a-b.slice/cri-1f.scope/init"),
            "cri-1f.scope");
  EXPECT_EQ(UnitOfCgroup("/user.slice/user-1000.slice/session-3.scope"),
            "session-3.scope");
  EXPECT_EQ(UnitOfCgroup("/system.slice/cron.service (deleted)"),
            "cron.service");
}

TEST(Unit, IsTheUsersOwnInAUserManager) {
  const std::string manager = "/user.slice/user-1000.slice/user@1000.service";
  EXPECT_EQ(UnitOfCgroup(manager + "/app.slice/foo.service"), "foo.service");
  EXPECT_EQ(UnitOfCgroup(manager + "/app.slice/a-b.slice/vm.scope/x.service"),
            "vm.scope");
  EXPECT_EQ(UnitOfCgroup(manager + "/init.scope"), "user@1000.service");
  EXPECT_EQ(UnitOfCgroup(manager + "/app.slice"), "user@1000.service");
  EXPECT_EQ(UnitOfCgroup(manager), "user@1000.service");
}

TEST(Unit, CannotBeForgedBelowAUnit) {
  EXPECT_EQ(UnitOfCgroup("/system.slice/evil.service/system.slice/ssh.service"),
            "evil.service");
  EXPECT_EQ(UnitOfCgroup("/docker/1f/ssh.service"), "");
}

TEST(Unit, IsEmptyWhereThereIsNone) {
  for (const char* cgroup :
       {"", "/", "/system.slice", "/.service", "/a.slice/.scope", "/../..",
        "/system.slice/cron.service2", "/.slice/a.service"})
    EXPECT_EQ(UnitOfCgroup(cgroup), "") << cgroup;
}

TEST(IsSameProcess, ComparesInClockTicksRoundedDown) {
  ASSERT_EQ(sysconf(_SC_CLK_TCK), 100) << "as on every Linux";
  EXPECT_TRUE(IsSameProcess(4127, 41'270'000'000));
  EXPECT_TRUE(IsSameProcess(4127, 41'279'999'999));
  EXPECT_FALSE(IsSameProcess(4127, 41'280'000'000));
  EXPECT_FALSE(IsSameProcess(4127, 41'269'999'999));
  EXPECT_TRUE(IsSameProcess(0, 9'999'999));
}

}  // namespace
}  // namespace pinwatch
