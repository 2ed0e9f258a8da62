// SPDX-License-Identifier: Apache-2.0
#include "daemon/admin.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <utility>
#include <vector>

#include "tests/unit/runs_command.h"

namespace pinwatch {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// The command gives its orders to a server that answers as the test says.
class AdminCommandTest : public RunsCommand {
 protected:
  void Serve() {
    auto server =
        AdminServer::Start(admin_path_, [this](bool pause, PauseAnswer answer) {
          orders_.push_back(pause);
          answer(state_);
        });
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  int Run(std::vector<const char*> arguments) {
    arguments.insert(arguments.begin(), {"--socket", path_.c_str()});
    return RunsCommand::Run(std::move(arguments));
  }

  const std::string admin_path_ = tree_.root() + "/admin.sock";
  absl::StatusOr<PauseState> state_ = PauseState{};
  std::vector<bool> orders_;
  std::unique_ptr<AdminServer> server_;
};

TEST_F(AdminCommandTest, PauseTellsSinceWhen) {
  Serve();
  state_->since = {.realtime_ns = 1'700'000'000'000'000'000};
  EXPECT_EQ(Run({"pause"}), 0);
  EXPECT_THAT(out_.str(), HasSubstr("paused "));
  EXPECT_THAT(out_.str(), HasSubstr("pinwatch resume ends that"));
  EXPECT_EQ(Run({"pause", "-o", "json"}), 0);
  EXPECT_THAT(out_.str(), HasSubstr("\"since\": \"2023-11-14T22:13:20Z\""));
  EXPECT_THAT(orders_, ElementsAre(true, true));
}

TEST_F(AdminCommandTest, ResumeTellsHowLongItLasted) {
  Serve();
  state_->lasted_ns = 23'000'000'000;
  EXPECT_EQ(Run({"resume"}), 0);
  EXPECT_THAT(out_.str(), HasSubstr("resumed after 23 s"));
  state_->lasted_ns.reset();
  EXPECT_EQ(Run({"resume"}), 0);
  EXPECT_EQ(out_.str(), "it was not paused\n");
  EXPECT_THAT(orders_, ElementsAre(false, false));
}

TEST_F(AdminCommandTest, AnOrderThatIsRefusedIsSeventy) {
  Serve();
  state_ = absl::FailedPreconditionError("restart pinwatchd");
  EXPECT_EQ(Run({"resume"}), 70);
  EXPECT_EQ(err_.str(), "pinwatch: FAILED_PRECONDITION: restart pinwatchd\n");
}

TEST_F(AdminCommandTest, WithoutADaemonItIsSixtyNine) {
  EXPECT_EQ(Run({"pause"}), 69);
  EXPECT_THAT(err_.str(), HasSubstr("is pinwatchd running?"));
}

TEST_F(AdminCommandTest, TheSocketMayBeNamed) {
  Serve();
  const std::string other = tree_.root() + "/other.sock";
  std::filesystem::rename(admin_path_, other);
  EXPECT_EQ(Run({"resume"}), 69);
  EXPECT_EQ(Run({"resume", "--admin-socket", other.c_str()}), 0);
}

TEST_F(AdminCommandTest, NobodyButTheOwnerMayConnect) {
  Serve();
  struct stat file;
  ASSERT_EQ(stat(admin_path_.c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 0777, 0600u);
}

}  // namespace
}  // namespace pinwatch
