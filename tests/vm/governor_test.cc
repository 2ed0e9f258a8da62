// SPDX-License-Identifier: Apache-2.0
//
// That the hooks keep within their budget, by letting go of what costs too
// much.
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "tests/vm/guest.h"

namespace pinwatch::guest {
namespace {

using Governor = OwnDaemonTest;

// Reads its own memory as another process's without a pause.
class Storm {
 public:
  ~Storm() {
    stop_ = true;
    thread_.join();
  }

 private:
  void Run() {
    char from[8] = {}, to[8];
    iovec local{to, sizeof(to)}, remote{from, sizeof(from)};
    while (!stop_)
      process_vm_readv(getpid(), &local, 1, &remote, 1, /*flags=*/0);
  }

  std::atomic<bool> stop_ = false;
  std::thread thread_{[this] { Run(); }};
};

bool IsAt(const std::string& stage) {
  return Sum(ReadMetrics(), "pinwatch_governor_stage", {{"stage", stage}}) == 1;
}

uint64_t ShortTermCalls() {
  return static_cast<uint64_t>(
      Sum(ReadMetrics(), "pinwatch_pin_calls_total", {{"kind", "short_term"}}));
}

TEST_F(Governor, LetsGoOfWhatCostsTooMuchAndTakesItBack) {
  Daemon daemon(
      {"--hooks.calls-per-second", "1000", "--hooks.let-go-for", "5"});
  const size_t links = CountLinks();
  EXPECT_TRUE(IsAt("all"));
  {
    const Storm storm;
    std::this_thread::sleep_for(seconds(2));
    if (ShortTermCalls() == 0) {
      // process_vm_readv() is not followed before Linux v6.5, and costs
      // nothing.
      EXPECT_TRUE(IsAt("all"));
      return;
    }
    ASSERT_TRUE(Eventually(seconds(30), [] { return IsAt("off"); }));
    // A door has a program at its entry and one at its return.
    EXPECT_EQ(CountLinks(), links - 2);
    const Json governor = Status(/*fresh=*/false).at("snapshot").at("governor");
    EXPECT_EQ(governor.at("stage"), "GOVERNOR_STAGE_OFF");
    EXPECT_EQ(governor.at("doors_off"), Json({"pin_user_pages_remote"}));
    // Another door is not touched, but nobody knows who else came through this.
    Workload workload({"pin-iouring", "--pages", "23"});
    FreshSnapshot();
    const std::string top = Ask({"pinwatch", "top"});
    EXPECT_NE(top.find("probable"), std::string::npos) << top;
  }
  ASSERT_TRUE(Eventually(seconds(60), [] { return IsAt("sampled"); }));
  EXPECT_EQ(CountLinks(), links);
  std::this_thread::sleep_for(seconds(2));
  Workload workload({"pin-iouring", "--pages", "29"});
  FreshSnapshot();
  const std::string top = Ask({"pinwatch", "top"});
  EXPECT_NE(top.find(" held "), std::string::npos) << top;
  const uint64_t before = ShortTermCalls();
  Storm storm;
  EXPECT_TRUE(
      Eventually(seconds(10), [&] { return ShortTermCalls() > before; }));
}

}  // namespace
}  // namespace pinwatch::guest
