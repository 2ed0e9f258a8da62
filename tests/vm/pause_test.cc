// SPDX-License-Identifier: Apache-2.0
//
// What pinwatch pause leaves in the kernel, which is nothing, and what is known
// after it.
#include <thread>

#include "tests/vm/guest.h"

namespace pinwatch::guest {
namespace {

using Pause = OwnDaemonTest;

struct Outcome {
  std::optional<int> status;
  std::string errors;
};

Outcome Call(const std::vector<std::string>& argv) {
  Process process(argv);
  Outcome outcome;
  outcome.status = process.Wait(seconds(30));
  outcome.errors = process.Errors();
  return outcome;
}

// Pages that process holds, by certainty, after a look at all memory.
std::map<std::string, uint64_t> PagesOf(pid_t pid) {
  std::map<std::string, uint64_t> pages;
  const Json top = FreshOwners();
  for (const Json& owner : top.at("owners"))
    if (owner.at("process").at("pid") == pid)
      for (const Json& holding : owner.at("holdings"))
        pages[holding.at("certainty")] +=
            holding.at("pins").at("pages").get<uint64_t>();
  return pages;
}

using Pages = std::map<std::string, uint64_t>;

TEST_F(Pause, TakesEveryHookOffTheKernelAndPutsItBack) {
  Daemon daemon;
  const size_t links = CountLinks();
  ASSERT_GT(links, 0u);
  Workload before({"pin-iouring", "--pages", "23"});
  EXPECT_EQ(PagesOf(before.pid()), (Pages{{kHeld, 23}}));

  EXPECT_EQ(Call({"pinwatch", "pause"}).status, 0);
  EXPECT_EQ(CountLinks(), 0u);

  Workload meanwhile({"pin-iouring", "--pages", "29"});
  EXPECT_EQ(ConfirmedPages(), 52u) << "the census needs no hook";
  const Outcome top = Call({"pinwatch", "top"});
  EXPECT_EQ(top.status, 70);
  EXPECT_NE(top.errors.find("pinwatchd is paused"), std::string::npos)
      << top.errors;
  const std::vector<Sample> metrics = ReadMetrics();
  EXPECT_EQ(Sum(metrics, "pinwatch_paused"), 1);
  EXPECT_EQ(Sum(metrics, "pinwatch_kernel_feature_info",
                {{"feature", "claims"}, {"state", "by_choice"}}),
            1);
  for (const Sample& sample : metrics) {
    EXPECT_FALSE(sample.name.starts_with("pinwatch_migrate_")) << sample.name;
    EXPECT_NE(sample.name, "pinwatch_pin_calls_total");
  }

  const Outcome resume = Call({"pinwatch", "resume"});
  // What lets a program be attached twice came with the same Linux v5.13.
  if (!MovesLongtermPins()) {
    EXPECT_EQ(resume.status, 70);
    EXPECT_NE(resume.errors.find("restart pinwatchd"), std::string::npos)
        << resume.errors;
    EXPECT_EQ(CountLinks(), 0u);
    EXPECT_EQ(Sum(ReadMetrics(), "pinwatch_paused"), 1);
    return;
  }
  EXPECT_EQ(resume.status, 0) << resume.errors;
  EXPECT_EQ(CountLinks(), links);
  // Claims are made to the second.
  std::this_thread::sleep_for(seconds(2));
  Workload after({"pin-iouring", "--pages", "31"});
  // Who took pins in the pause may hold what was claimed before it, too.
  EXPECT_EQ(PagesOf(before.pid()), (Pages{{kProbable, 23}}));
  EXPECT_EQ(PagesOf(meanwhile.pid()), Pages{});
  EXPECT_EQ(PagesOf(after.pid()), (Pages{{kHeld, 31}}));
  EXPECT_EQ(ConfirmedPages(), 83u);
  EXPECT_GT(Sum(ReadMetrics(), "pinwatch_paused_seconds_total"), 0);
}

TEST_F(Pause, IsForRootAlone) {
  Daemon daemon;
  Process nobody({"pinwatch", "pause"}, {.uid = 65534});
  EXPECT_EQ(nobody.Wait(seconds(30)), 77);
  EXPECT_NE(nobody.Errors().find("only root may order that"), std::string::npos)
      << nobody.Errors();
  EXPECT_GT(CountLinks(), 0u);
}

}  // namespace
}  // namespace pinwatch::guest
