// SPDX-License-Identifier: Apache-2.0
//
// What migration achieves, by reason: against pgmigrate_success and
// pgmigrate_fail of /proc/vmstat.
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <sstream>

#include "tests/vm/guest.h"

namespace pinwatch::guest {
namespace {

using Migration = GuestTest;

constexpr seconds kCatchUp(5);

struct Moves {
  uint64_t succeeded_pages = 0;
  uint64_t failed_pages = 0;

  bool operator==(const Moves&) const = default;
  friend std::ostream& operator<<(std::ostream& out, const Moves& moves) {
    return out << moves.succeeded_pages << " succeeded, " << moves.failed_pages
               << " failed";
  }
};

Moves operator-(const Moves& a, const Moves& b) {
  return {a.succeeded_pages - b.succeeded_pages,
          a.failed_pages - b.failed_pages};
}

Moves MovesOfKernel() {
  return {ReadVmstat("pgmigrate_success"), ReadVmstat("pgmigrate_fail")};
}

uint64_t Metric(const std::vector<Sample>& metrics, const std::string& name,
                const Labels& labels) {
  return static_cast<uint64_t>(Sum(metrics, name, labels));
}

Moves MovesOf(const std::vector<Sample>& metrics, const Labels& labels = {}) {
  return {Metric(metrics, "pinwatch_migrate_succeeded_pages_total", labels),
          Metric(metrics, "pinwatch_migrate_failed_pages_total", labels)};
}

// What moves between its making and Settle().
class Window {
 public:
  // Waits until the metrics have caught up with the kernel, or long enough.
  void Settle() {
    Eventually(kCatchUp, [&] {
      kernel_ = MovesOfKernel() - kernel_before_;
      metrics_ = ReadMetrics();
      return All() == kernel_;
    });
    // Whatever the pages are, each that failed is in one class.
    EXPECT_EQ(FailedBecause({}), All().failed_pages);
    EXPECT_EQ(Beginning({}), All());
  }

  Moves Kernel() const { return kernel_; }
  Moves All() const { return MovesOf(metrics_) - MovesOf(metrics_before_); }
  Moves For(const std::string& reason) const {
    return MovesOf(metrics_, {{"reason", reason}}) -
           MovesOf(metrics_before_, {{"reason", reason}});
  }
  // Pages that failed, by reason and why.
  uint64_t FailedBecause(const Labels& labels) const {
    const std::string name = "pinwatch_migrate_failed_pages_by_why_total";
    return Metric(metrics_, name, labels) -
           Metric(metrics_before_, name, labels);
  }
  // Of calls whose first folio stood there.
  Moves Beginning(const Labels& where) const {
    const auto of = [&](const std::vector<Sample>& metrics) {
      const std::string name = "pinwatch_migrate_first_folio_";
      return Moves{Metric(metrics, name + "succeeded_pages_total", where),
                   Metric(metrics, name + "failed_pages_total", where)};
    };
    return of(metrics_) - of(metrics_before_);
  }
  uint64_t MeasuredFor(const std::string& reason) const {
    const std::string name = "pinwatch_migrate_call_seconds_count";
    return Metric(metrics_, name, {{"reason", reason}}) -
           Metric(metrics_before_, name, {{"reason", reason}});
  }
  uint64_t CallsFor(const std::string& reason) const {
    const std::string name = "pinwatch_migrate_attempts_total";
    return Metric(metrics_, name, {{"reason", reason}}) -
           Metric(metrics_before_, name, {{"reason", reason}});
  }

 private:
  const Moves kernel_before_ = MovesOfKernel();
  const std::vector<Sample> metrics_before_ = ReadMetrics();
  Moves kernel_;
  std::vector<Sample> metrics_;
};

TEST_F(Migration, LongtermPinsLeaveZoneMovableOrStayAndEveryMoveIsCounted) {
  const bool moves = MovesLongtermPins();
  Window window;
  Workload workload({"pin-iouring", "--pages", "23"});
  for (uint64_t pfn : workload.held().at("pfns_before"))
    ASSERT_EQ(ZoneOf(pfn).second, "Movable");
  for (uint64_t pfn : workload.pfns())
    EXPECT_EQ(ZoneOf(pfn).second == "Movable", !moves);
  const uint64_t moved = workload.held().at("moved_pages");
  ASSERT_EQ(moved, moves ? 23u : 0u);

  window.Settle();
  EXPECT_EQ(window.All(), window.Kernel());
  if (!moves) return;
  EXPECT_EQ(window.For("longterm_pin"), (Moves{moved, 0}));
  EXPECT_EQ(window.Beginning({{"mem_zone", "Movable"}}), (Moves{moved, 0}));
  EXPECT_GE(window.CallsFor("longterm_pin"), 1u);
  EXPECT_EQ(window.MeasuredFor("longterm_pin"),
            window.CallsFor("longterm_pin"));
}

// What `pinwatch migrations` lists of the page; nothing where it does not.
std::optional<Json> FailureOf(uint64_t pfn) {
  const Json all = Json::parse(Ask({"pinwatch", "migrations", "-o", "json"}));
  for (const Json& failure : all.value("failures", Json::array()))
    if (failure.at("page").at("pfn") == pfn) return failure;
  return std::nullopt;
}

TEST_F(Migration, APageThatLetsALongtermPinFailIsNamedWithItsHolder) {
  Window window;
  Workload holder({"hold-vmsplice", "--pages", "1", "--references", "1",
                   "--register", "4"});
  const uint64_t pfn = holder.pfns()[0];
  ASSERT_EQ(ZoneOf(pfn).second, "Movable");
  window.Settle();
  EXPECT_EQ(window.All(), window.Kernel());
  const bool moves = MovesLongtermPins();
  EXPECT_EQ(holder.held().at("register_error"), moves ? ENOMEM : 0);
  if (!moves) return;
  EXPECT_EQ(window.For("longterm_pin"), (Moves{3, 1}));
  EXPECT_EQ(window.Beginning({{"mem_zone", "Movable"}}), (Moves{3, 1}));
  EXPECT_EQ(window.FailedBecause(
                {{"reason", "longterm_pin"}, {"why", "plain_reference"}}),
            1u);

  std::optional<Json> failure;
  ASSERT_TRUE(Eventually(kCatchUp, [&] {
    failure = FailureOf(pfn);
    return failure && failure->at("page").contains("reference_holders");
  })) << (failure ? failure->dump() : "not listed");
  EXPECT_EQ(failure->at("reason"), "longterm_pin");
  EXPECT_EQ(failure->at("zone"), "Movable");
  EXPECT_EQ(failure->at("process").at("pid"), holder.pid());
  const Json& page = failure->at("page");
  EXPECT_EQ(page.at("why"), "plain_reference");
  EXPECT_EQ(page.at("surplus"), 1);
  EXPECT_EQ(page.at("times_met"), 1);
  EXPECT_EQ(page.at("reference_holders")[0].at("process").at("pid"),
            holder.pid());
  EXPECT_NE(Ask({"pinwatch", "migrations"}).find("in a pipe of hold-vmsplice"),
            std::string::npos);
}

// Tries to take the block offline until the kernel has failed to move pages
// several times over, and stops that. False where the kernel refuses at once,
// as it does for a block with a part of its image in it.
bool FailToOffline(uint64_t block) {
  Process offline({"memory-block", "offline", std::to_string(block)});
  const uint64_t failed_before = ReadVmstat("pgmigrate_fail");
  if (!Eventually(kOfflineTimeout, [&] {
        return offline.Wait(seconds(0)) ||
               ReadVmstat("pgmigrate_fail") > failed_before + 7;
      }))
    Fail("neither refused nor failing");
  const bool refused = offline.Wait(seconds(0)).has_value();
  offline.Signal(SIGTERM);
  const Json line = Json::parse(offline.ReadLine(kOfflineTimeout));
  if (refused) {
    EXPECT_NE(line.at("result"), "ok");
    return false;
  }
  EXPECT_EQ(line.at("result"), "EINTR");
  EXPECT_EQ(line.at("state"), "online");
  EXPECT_EQ(offline.Wait(kOfflineTimeout), 1);
  return true;
}

TEST_F(Migration, PagesThatKeepABlockFromGoingOfflineAreCountedAsFailed) {
  constexpr int kTries = 7;
  std::vector<std::unique_ptr<Workload>> ballast;
  for (int i = 0; i < kTries; ++i) {
    Workload holder({"hold-vmsplice", "--pages", "1", "--references", "1"});
    const uint64_t pfn = holder.pfns()[0];
    ASSERT_EQ(ZoneOf(pfn).second, "Movable");
    Window window;
    if (FailToOffline(pfn / BlockPages())) {
      window.Settle();
      EXPECT_GT(window.Kernel().failed_pages, 7u);
      EXPECT_EQ(window.For("memory_hotplug").failed_pages,
                window.Kernel().failed_pages);
      EXPECT_GT(window.FailedBecause(
                    {{"reason", "memory_hotplug"}, {"why", "plain_reference"}}),
                7u);
      EXPECT_EQ(window.All(), window.Kernel());
      EXPECT_EQ(holder.Release().at("moved_while_held"), 0);
      return;
    }
    // A block's worth of memory, so that the next page is in another.
    ballast.push_back(std::make_unique<Workload>(std::vector<std::string>{
        "lock-memory", "--pages", std::to_string(BlockPages())}));
  }
  FAIL() << "the kernel refuses every block at once";
}

TEST_F(Migration, IsToldAsItHappens) {
  Process watch({"pinwatch", "migrations", "--watch"});
  EXPECT_NE(watch.ReadLine(seconds(10)).find("since pinwatchd started"),
            std::string::npos);
  Workload holder({"hold-vmsplice", "--pages", "1", "--references", "1",
                   "--register", "4"});
  if (!MovesLongtermPins()) return;
  EXPECT_NE(watch.ReadLine(seconds(10))
                .find("longterm_pin, sync: 3 pages moved, 1 failed"),
            std::string::npos);
  const std::string page = watch.ReadLine(seconds(15));
  EXPECT_NE(page.find("in a pipe of hold-vmsplice"), std::string::npos) << page;
  std::ostringstream pfn;
  pfn << "pfn 0x" << std::hex << holder.pfns()[0];
  EXPECT_NE(page.find(pfn.str()), std::string::npos) << page;
}

// What the kernel counts of having memory in one piece, by the names that it
// has for that.
TEST_F(Migration, HugePagesThatAreNotToBeHadAreCounted) {
  const uint64_t had = ReadVmstat("htlb_buddy_alloc_success");
  const uint64_t failed = ReadVmstat("htlb_buddy_alloc_fail");
  {
    const HugePagePool pool(23);
    EXPECT_EQ(ReadVmstat("htlb_buddy_alloc_success"), had + 23);
    // More than there is.
    const HugePagePool larger(1000000);
  }
  EXPECT_GT(ReadVmstat("htlb_buddy_alloc_fail"), failed);
  EXPECT_TRUE(Eventually(kCatchUp, [&] {
    const std::vector<Sample> metrics = ReadMetrics();
    const auto count = [&](const char* what, const char* outcome) {
      return Metric(metrics, "pinwatch_high_order_total",
                    {{"what", what}, {"outcome", outcome}});
    };
    return count("hugetlb", "ok") == ReadVmstat("htlb_buddy_alloc_success") &&
           count("hugetlb", "failed") == ReadVmstat("htlb_buddy_alloc_fail") &&
           count("compaction", "ok") == ReadVmstat("compact_success") &&
           count("compaction", "failed") == ReadVmstat("compact_fail") &&
           count("thp_fault", "ok") == ReadVmstat("thp_fault_alloc") &&
           count("thp_fault", "failed") == ReadVmstat("thp_fault_fallback");
  }));
  EXPECT_NE(Ask({"pinwatch", "migrations"}).find("a huge page for hugetlbfs"),
            std::string::npos);
}

}  // namespace
}  // namespace pinwatch::guest
