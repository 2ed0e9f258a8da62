// SPDX-License-Identifier: Apache-2.0
#include "daemon/loop.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <future>
#include <thread>

#include "daemon/clock.h"
#include "tests/unit/temp_tree.h"

namespace pinwatch {
namespace {

constexpr auto kPatience = std::chrono::seconds(10);

// A host of two memory blocks, each with as many pinned pages as the test says.
class FakeSource : public Source {
 public:
  explicit FakeSource(bool census) {
    facts_ = {{.name = "census", .observable = census},
              {.name = "claims", .observable = true},
              {.name = "hotplug", .observable = true},
              {.name = "node_counters", .observable = true}};
    names_ = {.zones = {"Normal"}, .migratetypes = {"movable"}};
  }

  const std::vector<Fact>& facts() const override { return facts_; }
  const KernelNames& names() const override { return names_; }

  absl::StatusOr<BlockLook> LookAt(uint64_t start_pfn, uint64_t,
                                   bool list_pages) override {
    ++looks;
    if (list_pages) listed_pfn = start_pfn;
    if (fails) return absl::InternalError("the kernel is in a bad mood");
    BlockLook look{.status = CENSUS_OK, .zones = {{.nid = 0, .zone = 0}}};
    look.zones[0].cells[0].pages[PAGE_PINNED_EXACT] = pins_per_block;
    look.zones[0].cells[0].exact_pin_refs = pins_per_block;
    look.lists_pages = list_pages;
    const uint64_t pins = pins_per_block;
    if (pins > 0)
      look.pins = {{.pins_a_page = 1,
                    .claims = {{.owner = 1, .long_term = true}},
                    .ages = {{{0, pins}}},
                    .pins = {pins, pins}}};
    return look;
  }

  absl::StatusOr<std::vector<NodeCounterReading>> ReadNodeCounters(
      const std::vector<int>&) override {
    return std::vector<NodeCounterReading>{
        {.nid = 0, .acquired = 2 * pins_per_block, .exact = true}};
  }

  absl::StatusOr<MigrationReading> ReadMigrations(Timestamp) override {
    return absl::UnavailableError("");
  }

  absl::StatusOr<HotplugReading> ReadHotplug(Timestamp) override {
    HotplugReading reading;
    reading.ended = std::exchange(ended, {});
    return reading;
  }

  absl::StatusOr<std::vector<ReferenceTaker>> FindTakers(
      const std::vector<uint64_t>&, Timestamp) override {
    return absl::UnavailableError("not followed");
  }

  absl::StatusOr<std::vector<page_facts>> ReadPages(
      const std::vector<uint64_t>&) override {
    return absl::UnavailableError("");
  }

  absl::StatusOr<std::vector<MemoryDevice>> ReadMemoryDevices() override {
    return absl::UnavailableError("");
  }
  absl::StatusOr<std::vector<MemmapPiece>> ReadMemmap(uint64_t,
                                                      uint64_t) override {
    return struct_pages;
  }
  absl::StatusOr<PipeReading> FindInPipes(
      const std::vector<uint64_t>&) override {
    return absl::UnavailableError("");
  }

  // One owner, from the first look on: process 42, which is not in /proc.
  absl::StatusOr<ClaimReading> ReadClaims(Timestamp now) override {
    ClaimReading reading;
    if (looks > 0)
      reading.owners = {{.index = 1,
                         .long_term = true,
                         .pid = 42,
                         .first = {.realtime_ns = 1, .monotonic_ns = 1},
                         .last = now}};
    return reading;
  }

  void KeepGaps(const ClaimGaps&) override {}
  void ForgetClaimsOutside(const std::function<bool(uint64_t)>& is_looked_at,
                           Timestamp) override {
    forgets_outside = is_looked_at(32768) && !is_looked_at(65536);
  }
  std::vector<uint32_t> ForgetOwners(const std::vector<uint32_t>&) override {
    return {};
  }
  absl::Status Govern(const GovernorState& state) override {
    governed = state.stage;
    return absl::OkStatus();
  }

  absl::Status DetachHooks() override {
    attached = false;
    return absl::OkStatus();
  }
  absl::Status AttachHooks() override {
    if (!attaches_again) return absl::FailedPreconditionError("restart it");
    attached = true;
    return absl::OkStatus();
  }
  std::vector<int> ready_fds() const override { return {}; }

  std::atomic<GovernorStage> governed = GovernorStage::kAll;
  std::atomic<bool> attached = true;
  std::atomic<bool> attaches_again = true;

  std::atomic<uint64_t> looks = 0;
  std::atomic<uint64_t> listed_pfn = UINT64_MAX;
  std::atomic<uint64_t> pins_per_block = 0;
  std::atomic<bool> fails = false;
  std::atomic<bool> forgets_outside = false;
  // To be set before the loop runs.
  std::vector<MemmapPiece> struct_pages;
  std::vector<HotplugAttempt> ended;

 private:
  std::vector<Fact> facts_;
  KernelNames names_;
};

class LoopTest : public testing::Test {
 protected:
  explicit LoopTest(bool census = true)
      : source_(census),
        loop_({.root = tree_.root()}, &source_,
              Aggregator({}, source_.names(), source_.facts(), Now()),
              &published_) {
    tree_.Write("/proc/vmstat", "compact_success 1\ncompact_fail 0\n");
    tree_.Write("/proc/zoneinfo",
                "Node 0, zone   Normal\n        spanned  65536\n");
    tree_.Write("/sys/devices/system/memory/block_size_bytes", "8000000\n");
    for (const char* block : {"memory0", "memory1"}) {
      tree_.Write(std::string("/sys/devices/system/memory/") + block + "/state",
                  "online\n");
      tree_.MakeDirectory(std::string("/sys/devices/system/node/node0/") +
                          block);
    }
  }

  ~LoopTest() override {
    Stop();
    close(stop_fd_);
  }

  void Start() {
    thread_ = std::thread([this] { loop_.Run(stop_fd_); });
  }

  void Stop() {
    if (!thread_.joinable()) return;
    const uint64_t one = 1;
    ASSERT_EQ(write(stop_fd_, &one, sizeof(one)), 8);
    thread_.join();
  }

  // The answer that `ask` gives its callback; `none` if there is none.
  template <typename T, typename Ask>
  static T Await(T none, Ask ask) {
    std::promise<T> promise;
    auto answer = promise.get_future();
    ask([&](T value) { promise.set_value(std::move(value)); });
    if (answer.wait_for(kPatience) != std::future_status::ready) {
      ADD_FAILURE() << "no answer";
      return none;
    }
    return answer.get();
  }

  std::shared_ptr<const Snapshot> Ask(int64_t max_age_ns) {
    return Await<std::shared_ptr<const Snapshot>>(
        nullptr, [&](Answer answer) { loop_.Ask(max_age_ns, answer); });
  }

  absl::StatusOr<BlockReport> AskAboutBlock(uint64_t block) {
    return Await<absl::StatusOr<BlockReport>>(
        absl::DeadlineExceededError(""),
        [&](BlockAnswer answer) { loop_.AskAboutBlock(block, answer); });
  }

  absl::StatusOr<PageReport> AskAboutPage(uint64_t pfn) {
    return Await<absl::StatusOr<PageReport>>(
        absl::DeadlineExceededError(""),
        [&](PageAnswer answer) { loop_.AskAboutPage(pfn, answer); });
  }

  absl::StatusOr<PauseState> Pause(bool pause) {
    return Await<absl::StatusOr<PauseState>>(
        absl::DeadlineExceededError(""),
        [&](PauseAnswer answer) { loop_.AskToPause(pause, answer); });
  }

  static uint64_t Confirmed(const Snapshot& snapshot) {
    return snapshot.zones.at(0).migratetypes.at(0).confirmed.pages;
  }

  TempTree tree_;
  FakeSource source_;
  Published<Snapshot> published_;
  Loop loop_;
  const int stop_fd_ = eventfd(0, EFD_CLOEXEC);
  std::thread thread_;
};

TEST_F(LoopTest, PublishesFirstWhenEveryBlockWasLookedAt) {
  source_.pins_per_block = 23;
  Start();
  while (!published_.Get()) std::this_thread::yield();
  EXPECT_EQ(Confirmed(*published_.Get()), 46u);
  EXPECT_EQ(published_.Get()->census.rounds, 1u);
  EXPECT_TRUE(published_.Get()->nodes.at(0).census_current);
}

TEST_F(LoopTest, LooksAgainWhenAskedForSomethingFresh) {
  Start();
  ASSERT_NE(Ask(0), nullptr);
  const uint64_t looks = source_.looks;
  source_.pins_per_block = 23;
  const auto snapshot = Ask(0);
  ASSERT_NE(snapshot, nullptr);
  EXPECT_EQ(Confirmed(*snapshot), 46u);
  EXPECT_GE(source_.looks, looks + 2);
}

TEST_F(LoopTest, FollowsACounterThatMovesWithoutBeingAsked) {
  Start();
  ASSERT_NE(Ask(0), nullptr);
  source_.pins_per_block = 23;
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (Confirmed(*published_.Get()) != 46 &&
         std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_EQ(Confirmed(*published_.Get()), 46u);
}

TEST_F(LoopTest, AnswersFromManyThreadsAndTellsThoseLeftThatItStops) {
  Start();
  std::atomic<int> answers = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 7; ++i)
    threads.emplace_back([&] {
      for (int n = 0; n < 23; ++n) loop_.Ask(0, [&](auto) { ++answers; });
    });
  for (std::thread& thread : threads) thread.join();
  Stop();
  EXPECT_EQ(answers, 7 * 23);
  bool told = false;
  loop_.Ask(0, [&](auto snapshot) { told = snapshot == nullptr; });
  EXPECT_TRUE(told);
}

TEST_F(LoopTest, GoesOnAndSaysSoWhenTheCensusFails) {
  source_.fails = true;
  Start();
  const auto snapshot = Ask(0);
  ASSERT_NE(snapshot, nullptr);
  for (const Collector& collector : snapshot->collectors) {
    if (collector.name != "census") continue;
    EXPECT_FALSE(collector.success);
    EXPECT_EQ(collector.error, "the kernel is in a bad mood");
  }
  EXPECT_TRUE(snapshot->zones.at(0).migratetypes.empty());
}

TEST_F(LoopTest, AnAttemptFromBeforeTheFirstTickIsOnItsOwnBlock) {
  source_.ended = {{.operation = "offline", .section_nr = 1}};
  Start();
  const auto snapshot = Ask(0);
  ASSERT_NE(snapshot, nullptr);
  ASSERT_EQ(snapshot->attempts.size(), 1u);
  EXPECT_EQ(snapshot->attempts[0].block_id, 1u);
}

TEST_F(LoopTest, TellsWhoseStructPagesABlockHolds) {
  source_.struct_pages = {{.pfn = 23, .nr_pages = 512, .of_pfn = 32768}};
  Start();
  const absl::StatusOr<BlockReport> report = AskAboutBlock(0);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_THAT(report->struct_pages,
              testing::ElementsAre(testing::Pair(1u, 512u)));
}

TEST_F(LoopTest, LooksAtTheBlockThatIsAskedAbout) {
  source_.pins_per_block = 23;
  Start();
  ASSERT_NE(Ask(0), nullptr);
  ASSERT_EQ(source_.listed_pfn, UINT64_MAX);
  const absl::StatusOr<BlockReport> report = AskAboutBlock(1);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(source_.listed_pfn, 32768u);
  EXPECT_EQ(report->block.id, 1u);
  EXPECT_TRUE(report->look.has_value());
  EXPECT_EQ(report->attributions.at(0).pins, (PinCount{23, 23}));
  // Process 42 has ended as far as anyone can see.
  EXPECT_EQ(report->attributions.at(0).reason, "claimant_ended");
  EXPECT_EQ(report->owners.at(0).process.pid, 42u);
}

TEST_F(LoopTest, LooksAtThePageThatIsAskedAbout) {
  source_.pins_per_block = 1;
  Start();
  ASSERT_NE(Ask(0), nullptr);
  const absl::StatusOr<PageReport> report = AskAboutPage(32768 + 23);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(source_.listed_pfn, 32768u + 23);
  EXPECT_EQ(report->block.id, 1u);
  EXPECT_TRUE(report->look.has_value());
  EXPECT_EQ(report->zone, "Normal");
  EXPECT_EQ(report->migratetype, "movable");
  EXPECT_EQ(report->page, PAGE_PINNED_EXACT);
}

TEST_F(LoopTest, APageOfABlockThatIsOfflineIsNotLookedAt) {
  tree_.Write("/sys/devices/system/memory/memory1/state", "offline\n");
  Start();
  const absl::StatusOr<PageReport> report = AskAboutPage(32768);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_FALSE(report->look.has_value());
  EXPECT_EQ(report->block.state, "offline");
  EXPECT_EQ(source_.listed_pfn, UINT64_MAX);
  EXPECT_EQ(AskAboutPage(2 * 32768).status().code(),
            absl::StatusCode::kNotFound);
  Stop();
  EXPECT_EQ(AskAboutPage(0).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(LoopTest, KnowsTheOwnersThatCameWithTheFirstLook) {
  source_.pins_per_block = 23;
  Start();
  const auto snapshot = Ask(0);
  ASSERT_NE(snapshot, nullptr);
  ASSERT_EQ(snapshot->owners.size(), 1u);
  EXPECT_TRUE(snapshot->owners[0].process.ended);
  EXPECT_EQ(snapshot->attributions.at(0).pins, (PinCount{46, 46}));
}

TEST_F(LoopTest, ClaimsOutsideOfItsBlocksAreForgotten) {
  Start();
  ASSERT_NE(Ask(0), nullptr);
  EXPECT_TRUE(source_.forgets_outside);
}

TEST_F(LoopTest, DoesNotLookAtABlockThatIsOffline) {
  tree_.Write("/sys/devices/system/memory/memory1/state", "offline\n");
  Start();
  const absl::StatusOr<BlockReport> report = AskAboutBlock(1);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->verdict, Verdict::kAlreadyOffline);
  EXPECT_EQ(source_.listed_pfn, UINT64_MAX);
}

TEST_F(LoopTest, LooksAtABlockThatIsOnItsWayOut) {
  tree_.Write("/sys/devices/system/memory/memory1/state", "going-offline\n");
  Start();
  ASSERT_TRUE(AskAboutBlock(1).ok());
  EXPECT_EQ(source_.listed_pfn, 32768u);
}

// Its going shows in no figure of the zones.
TEST_F(LoopTest, TellsAStateThatABlockHasComeToSinceAllWereListed) {
  Start();
  ASSERT_EQ(AskAboutBlock(1)->block.state, "online");
  tree_.Write("/sys/devices/system/memory/memory1/state", "going-offline\n");
  const absl::StatusOr<BlockReport> report = AskAboutBlock(1);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->block.state, "going-offline");
  EXPECT_EQ(report->block.nid, 0);
}

TEST_F(LoopTest, KnowsNoBlockThatTheHostHasNot) {
  Start();
  EXPECT_EQ(AskAboutBlock(99).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(LoopTest, AQuestionAboutABlockIsAnsweredWhenItStops) {
  Start();
  Stop();
  EXPECT_EQ(AskAboutBlock(0).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(LoopTest, APauseHidesWhatRestsOnHooks) {
  source_.pins_per_block = 23;
  Start();
  ASSERT_NE(Ask(0), nullptr);
  const absl::StatusOr<PauseState> paused = Pause(true);
  ASSERT_TRUE(paused.ok()) << paused.status();
  EXPECT_TRUE(paused->since.has_value());
  EXPECT_FALSE(source_.attached);

  const auto snapshot = published_.Get();
  EXPECT_EQ(snapshot->paused_since, paused->since);
  EXPECT_FALSE(snapshot->claims.has_value());
  EXPECT_TRUE(snapshot->owners.empty());
  EXPECT_TRUE(snapshot->attributions.empty());
  for (const Fact& fact : snapshot->facts) {
    const bool hooked = fact.name == "claims" || fact.name == "hotplug";
    EXPECT_EQ(fact.observable, !hooked) << fact.name;
    EXPECT_EQ(fact.by_choice, hooked) << fact.name;
  }
  EXPECT_EQ(Confirmed(*snapshot), 46u) << "the census needs no hook";
}

TEST_F(LoopTest, WhilePausedItLooksOnlyWhenAsked) {
  Start();
  ASSERT_NE(Ask(0), nullptr);
  ASSERT_TRUE(Pause(true).ok());
  const uint64_t looks = source_.looks;
  source_.pins_per_block = 23;
  const uint64_t generation = published_.Get()->generation;
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (published_.Get()->generation < generation + 2 &&
         std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_EQ(source_.looks, looks);
  const auto snapshot = Ask(0);
  ASSERT_NE(snapshot, nullptr);
  EXPECT_EQ(Confirmed(*snapshot), 46u);
}

TEST_F(LoopTest, AfterAPauseOldClaimsAreBelievedLess) {
  source_.pins_per_block = 23;
  Start();
  ASSERT_NE(Ask(0), nullptr);
  ASSERT_EQ(published_.Get()->attributions.at(0).reason, "claimant_ended");
  const absl::StatusOr<PauseState> paused = Pause(true);
  ASSERT_TRUE(paused.ok());
  const absl::StatusOr<PauseState> resumed = Pause(false);
  ASSERT_TRUE(resumed.ok()) << resumed.status();
  EXPECT_TRUE(source_.attached);
  EXPECT_FALSE(resumed->since.has_value());
  EXPECT_GT(resumed->lasted_ns.value_or(0), 0);

  const auto snapshot = published_.Get();
  EXPECT_FALSE(snapshot->paused_since.has_value());
  EXPECT_EQ(snapshot->paused_ns, *resumed->lasted_ns);
  EXPECT_EQ(snapshot->owners.size(), 1u);
  EXPECT_EQ(snapshot->attributions.at(0).reason, "claims_lost");
}

TEST_F(LoopTest, AnOrderThatChangesNothingSucceeds) {
  Start();
  const absl::StatusOr<PauseState> resumed = Pause(false);
  ASSERT_TRUE(resumed.ok());
  EXPECT_FALSE(resumed->lasted_ns.has_value());
  const absl::StatusOr<PauseState> first = Pause(true);
  const absl::StatusOr<PauseState> second = Pause(true);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(second->since, first->since);
}

TEST_F(LoopTest, APauseGoesOnWhereTheKernelDoesNotLetItEnd) {
  source_.attaches_again = false;
  Start();
  ASSERT_TRUE(Pause(true).ok());
  EXPECT_EQ(Pause(false).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(published_.Get() == nullptr || published_.Get()->paused_since);
  const absl::StatusOr<PauseState> still = Pause(true);
  ASSERT_TRUE(still.ok());
  EXPECT_TRUE(still->since.has_value());
}

TEST_F(LoopTest, AnOrderIsAnsweredWhenItStops) {
  Start();
  Stop();
  EXPECT_EQ(Pause(true).status().code(), absl::StatusCode::kUnavailable);
}

class BlindLoopTest : public LoopTest {
 protected:
  BlindLoopTest() : LoopTest(/*census=*/false) {}
};

TEST_F(BlindLoopTest, AnswersAtOnceWithWhatIsLeft) {
  Start();
  const auto snapshot = Ask(0);
  ASSERT_NE(snapshot, nullptr);
  EXPECT_EQ(source_.looks, 0u);
  EXPECT_EQ(snapshot->blocks.at(0).blocks, 2u);
  EXPECT_TRUE(snapshot->zones.at(0).migratetypes.empty());
}

TEST_F(BlindLoopTest, SaysThatBlocksCannotBeExplained) {
  Start();
  EXPECT_EQ(AskAboutBlock(0).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(AskAboutPage(0).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace pinwatch
