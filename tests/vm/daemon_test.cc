// SPDX-License-Identifier: Apache-2.0
//
// The life of pinwatchd, from its start to its end.
#include <csignal>
#include <filesystem>
#include <sstream>

#include "tests/vm/guest.h"

namespace pinwatch::guest {
namespace {

using LifeCycle = OwnDaemonTest;

constexpr char kSocket[] = "/run/pinwatch/ro.sock";
constexpr uid_t kNobody = 65534;
constexpr seconds kStartTimeout(60);

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

std::vector<std::string> ErrorLines(const Process& process) {
  std::vector<std::string> lines = Lines(process.Errors());
  std::erase_if(lines, [](const std::string& line) {
    return !line.starts_with("pinwatchd: error: ");
  });
  return lines;
}

// Runs a pinwatchd that cannot start, and returns its error lines.
std::vector<std::string> FailToStart(int status,
                                     const std::vector<std::string>& options) {
  Daemon daemon(options, Daemon::Wait::kNot);
  EXPECT_EQ(daemon.process().Wait(kStartTimeout), status);
  return ErrorLines(daemon.process());
}

void ExpectServes() {
  const auto ready = Get("/-/ready");
  ASSERT_TRUE(ready);
  EXPECT_EQ(ready->status, 200);
  EXPECT_TRUE(Status(/*fresh=*/true).contains("snapshot"));
}

TEST_F(LifeCycle, IsHealthyAtOnceAndReadyWithItsFirstSnapshot) {
  Daemon daemon({}, Daemon::Wait::kNot);
  std::vector<int> ready;  // what /-/ready answered, repetitions left out
  ASSERT_TRUE(Eventually(kStartTimeout, [&] {
    const auto response = Get("/-/ready");
    if (!response) return false;
    if (ready.empty() || ready.back() != response->status)
      ready.push_back(response->status);
    const auto healthy = Get("/-/healthy");
    EXPECT_EQ(healthy->status, 200);
    if (response->status != 200) return false;
    EXPECT_EQ(Get("/metrics")->status, 200);
    return true;
  })) << daemon.process().Errors();
  EXPECT_TRUE(ready == std::vector<int>({200}) ||
              ready == std::vector<int>({503, 200}))
      << testing::PrintToString(ready);
  EXPECT_EQ(Get("/no-such-page")->status, 404);
}

TEST_F(LifeCycle, EndsWithinFiveSecondsOfSigtermAndLeavesNoSocket) {
  Daemon daemon;
  ASSERT_TRUE(std::filesystem::is_socket(kSocket));
  daemon.process().Signal(SIGTERM);
  EXPECT_EQ(daemon.process().Wait(seconds(5)), 0);
  EXPECT_FALSE(std::filesystem::exists(kSocket));
  EXPECT_FALSE(Get("/-/healthy"));
}

TEST_F(LifeCycle, StartsAgainWhereOneWasKilled) {
  {
    Daemon killed;
    killed.process().Signal(SIGKILL);
    ASSERT_EQ(killed.process().Wait(seconds(5)), 128 + SIGKILL);
  }
  ASSERT_TRUE(std::filesystem::is_socket(kSocket));
  const Daemon daemon;
  ExpectServes();
}

TEST_F(LifeCycle, RefusesAnAddressThatAnotherServes) {
  const Daemon first;
  const auto errors = FailToStart(69, {});
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_NE(errors[0].find("127.0.0.1:19620"), std::string::npos) << errors[0];
  EXPECT_NE(errors[0].find("another pinwatchd"), std::string::npos)
      << errors[0];
  ExpectServes();
}

TEST_F(LifeCycle, RefusesASocketThatAnotherServes) {
  const Daemon first;
  const auto errors =
      FailToStart(69, {"--web.listen-address", "127.0.0.1:19621"});
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_NE(errors[0].find(kSocket), std::string::npos) << errors[0];
  EXPECT_NE(errors[0].find("another pinwatchd"), std::string::npos)
      << errors[0];
  EXPECT_TRUE(std::filesystem::is_socket(kSocket));
  ExpectServes();
}

TEST_F(LifeCycle, NamesTheCapabilitiesItLacks) {
  Process process({"pinwatchd"}, {.uid = kNobody});
  EXPECT_EQ(process.Wait(kStartTimeout), 77);
  const auto lines = Lines(process.Errors());
  ASSERT_EQ(lines.size(), 1u) << process.Errors();
  EXPECT_NE(lines[0].find("missing CAP_BPF and CAP_PERFMON:"),
            std::string::npos)
      << lines[0];
}

TEST_F(LifeCycle, RefusesUnknownOptions) {
  Process process({"pinwatchd", "--no-such-option"});
  EXPECT_EQ(process.Wait(kStartTimeout), 64);
  EXPECT_NE(process.Errors(), "");
}

}  // namespace
}  // namespace pinwatch::guest
