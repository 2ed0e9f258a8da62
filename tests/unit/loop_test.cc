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
              {.name = "node_counters", .observable = true}};
    names_ = {.zones = {"Normal"}, .migratetypes = {"movable"}};
  }

  const std::vector<Fact>& facts() const override { return facts_; }
  const KernelNames& names() const override { return names_; }

  absl::StatusOr<BlockLook> LookAt(uint64_t, uint64_t, bool) override {
    ++looks;
    if (fails) return absl::InternalError("the kernel is in a bad mood");
    BlockLook look{.status = CENSUS_OK, .zones = {{.nid = 0, .zone = 0}}};
    look.zones[0].cells[0].pages[PAGE_PINNED_EXACT] = pins_per_block;
    look.zones[0].cells[0].exact_pin_refs = pins_per_block;
    return look;
  }

  absl::StatusOr<std::vector<NodeCounterReading>> ReadNodeCounters(
      const std::vector<int>&) override {
    return std::vector<NodeCounterReading>{
        {.nid = 0, .acquired = 2 * pins_per_block, .exact = true}};
  }

  absl::StatusOr<std::vector<Migrations>> ReadMigrations() override {
    return absl::UnavailableError("");
  }

  absl::StatusOr<HotplugReading> ReadHotplug(Timestamp) override {
    return absl::UnavailableError("");
  }

  absl::StatusOr<ClaimReading> ReadClaims(Timestamp) override {
    return absl::UnavailableError("");
  }

  void ForgetOwners(const std::vector<uint32_t>&) override {}
  std::vector<int> ready_fds() const override { return {}; }

  std::atomic<uint64_t> looks = 0;
  std::atomic<uint64_t> pins_per_block = 0;
  std::atomic<bool> fails = false;

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

  std::shared_ptr<const Snapshot> Ask(int64_t max_age_ns) {
    std::promise<std::shared_ptr<const Snapshot>> promise;
    auto answer = promise.get_future();
    loop_.Ask(max_age_ns, [&](auto snapshot) { promise.set_value(snapshot); });
    if (answer.wait_for(kPatience) != std::future_status::ready) {
      ADD_FAILURE() << "no answer";
      return nullptr;
    }
    return answer.get();
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

}  // namespace
}  // namespace pinwatch
