// SPDX-License-Identifier: Apache-2.0
#include "daemon/user_symbols.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "daemon/clock.h"

// What the tests ask for by its address.
extern "C" __attribute__((noinline, used)) int PinwatchTestCFunction() {
  return 23;
}

namespace pinwatch {

__attribute__((noinline, used)) int PinwatchTestCppFunction(int value) {
  return value + 1;
}

namespace {

using testing::StartsWith;

template <typename Function>
uint64_t AddressOf(Function* function) {
  return reinterpret_cast<uint64_t>(function);
}

std::string Text(uint64_t address) {
  return ToText(UserSymbols().Resolve(getpid(), {address}).at(0));
}

// The file by which a process that makes code names it.
class PerfMap {
 public:
  PerfMap() : path_("/tmp/perf-" + std::to_string(getpid()) + ".map") {}
  ~PerfMap() { std::filesystem::remove(path_); }
  PerfMap(const PerfMap&) = delete;
  PerfMap& operator=(const PerfMap&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

TEST(UserSymbols, NameTheFunctionOfAProcess) {
  const auto symbols =
      UserSymbols().Resolve(getpid(), {AddressOf(&PinwatchTestCFunction) + 1,
                                       AddressOf(&PinwatchTestCppFunction)});
  ASSERT_EQ(symbols.size(), 2u);
  EXPECT_TRUE(symbols[0].known);
  EXPECT_EQ(symbols[0].function, "PinwatchTestCFunction");
  EXPECT_EQ(symbols[0].module, "unit_tests");
  EXPECT_EQ(symbols[0].offset, 1u);
  EXPECT_EQ(ToText(symbols[0]), "PinwatchTestCFunction+0x1 [unit_tests]");
  EXPECT_EQ(symbols[1].function, "pinwatch::PinwatchTestCppFunction(int)");
}

TEST(UserSymbols, AreTheAddressWhereThereIsNone) {
  EXPECT_EQ(Text(0x10), "0x10");
  EXPECT_EQ(Text(0xffffffff81000000), "0xffffffff81000000");
}

TEST(UserSymbols, AreAddressesForAProcessThatIsGone) {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  for (const pid_t pid : {child, 0, -1}) {
    const auto symbols =
        UserSymbols().Resolve(pid, {AddressOf(&PinwatchTestCFunction), 0x20});
    ASSERT_EQ(symbols.size(), 2u);
    EXPECT_THAT(ToText(symbols[0]), StartsWith("0x"));
    EXPECT_FALSE(symbols[0].known);
    EXPECT_EQ(ToText(symbols[1]), "0x20");
  }
}

TEST(UserSymbols, OfNoAddressAreNone) {
  EXPECT_TRUE(UserSymbols().Resolve(getpid(), {}).empty());
}

TEST(UserSymbols, ComeFromThePerfMapOfAProcessThatMakesCode) {
  const PerfMap map;
  std::ofstream(map.path()) << "1000 40 jitted::code\n";
  EXPECT_THAT(Text(0x1004), StartsWith("jitted::code+0x4 [perf-"));
}

TEST(UserSymbols, HaveNamesOfBoundedLength) {
  const PerfMap map;
  std::ofstream(map.path()) << "1000 40 " << std::string(1 << 20, 'x') << "\n";
  const auto symbols = UserSymbols().Resolve(getpid(), {0x1004});
  EXPECT_EQ(symbols.at(0).function, std::string(255, 'x'));
}

TEST(UserSymbols, GiveUpOnAProcessThatNeverAnswers) {
  const PerfMap map;
  ASSERT_EQ(mkfifo(map.path().c_str(), 0600), 0);
  UserSymbols user_symbols(/*timeout_ms=*/300);
  // More often than there may be children that do not die.
  for (int i = 0; i < 7; ++i) {
    const int64_t begin_ns = ReadClockNs(CLOCK_MONOTONIC);
    const auto symbols = user_symbols.Resolve(getpid(), {0x1004, 0x2004});
    EXPECT_LT(ReadClockNs(CLOCK_MONOTONIC) - begin_ns, 5'000'000'000);
    ASSERT_EQ(symbols.size(), 2u);
    EXPECT_EQ(ToText(symbols[0]), "0x1004");
    EXPECT_EQ(ToText(symbols[1]), "0x2004");
  }
}

TEST(UserSymbols, LeaveNoChildBehind) {
  // Those that other tests had killed.
  while (waitpid(-1, nullptr, 0) > 0) continue;
  UserSymbols().Resolve(getpid(), {AddressOf(&PinwatchTestCFunction), 0x10});
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
}

}  // namespace
}  // namespace pinwatch
