// SPDX-License-Identifier: Apache-2.0
//
// Ranges of memory that are wanted as a whole, for huge pages of 1 GiB: run by
// name, in a guest with more than one such range. A probe of the kernel's own
// tells how often it tried, and what came of it.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <set>
#include <sstream>

#include "tests/vm/guest.h"

namespace pinwatch::guest {
namespace {

constexpr uint64_t kPagesPerGiB = 1 << 18;
constexpr int kHugeFlag = 17;  // of /proc/kpageflags
constexpr char kPool[] =
    "/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages";
constexpr char kTracing[] = "/sys/kernel/tracing/";

// The innermost of the functions, which all others call.
std::string Function() {
  const std::string symbols = ReadFile("/proc/kallsyms");
  for (const char* name :
       {"alloc_contig_frozen_range_noprof", "alloc_contig_range_noprof"})
    if (symbols.find(std::string(" ") + name + "\n") != std::string::npos)
      return name;
  return "alloc_contig_range";
}

// What the kernel returned, by result, while this was there.
class Returns {
 public:
  Returns() {
    WriteFile(File("trace"), "");
    WriteFile(File("kprobe_events"),
              "r:contig/returns " + Function() + " result=$retval:s32\n");
    WriteFile(File("events/contig/returns/enable"), "1");
  }
  ~Returns() {
    WriteFile(File("events/contig/returns/enable"), "0");
    WriteFile(File("kprobe_events"), "");
  }
  std::map<int, uint64_t> Read() const {
    std::map<int, uint64_t> by_result;
    std::istringstream trace(ReadFile(File("trace")));
    for (std::string line; std::getline(trace, line);)
      if (const size_t at = line.find(" result="); at != std::string::npos)
        ++by_result[std::stoi(line.substr(at + 8))];
    return by_result;
  }

 private:
  static std::string File(const std::string& name) { return kTracing + name; }
};

class Contig : public GuestTest {
 protected:
  void SetUp() override {
    ASSERT_TRUE(std::filesystem::exists(kPool)) << "of a CPU with pdpe1gb";
    GuestTest::SetUp();
    WriteFile(kPool, "0");
  }
  void TearDown() override {
    WriteFile(kPool, "0");
    GuestTest::TearDown();
  }

  // As many as there are in the end.
  static int AskFor(int pages) {
    WriteFile(kPool, std::to_string(pages));
    return std::stoi(ReadFile(kPool));
  }
};

// Attempts by outcome.
std::map<std::string, double> Attempts() {
  const auto metrics = ReadMetrics();
  std::map<std::string, double> by_outcome;
  for (const char* outcome :
       {"ok", "EBUSY", "EINTR", "EINVAL", "ENOMEM", "other"})
    by_outcome[outcome] = Sum(metrics, "pinwatch_contig_range_attempts_total",
                              {{"outcome", outcome}});
  return by_outcome;
}

// More of them than before, as many as the kernel returned.
void ExpectAttempts(const std::map<int, uint64_t>& returned,
                    std::map<std::string, double> before) {
  std::map<std::string, double> expected = std::move(before);
  for (const auto& [result, calls] : returned)
    expected[result == 0         ? "ok"
             : result == -EBUSY  ? "EBUSY"
             : result == -EINTR  ? "EINTR"
             : result == -EINVAL ? "EINVAL"
             : result == -ENOMEM ? "ENOMEM"
                                 : "other"] += static_cast<double>(calls);
  EXPECT_TRUE(Eventually(seconds(5), [&] { return Attempts() == expected; }))
      << testing::PrintToString(Attempts()) << ", not "
      << testing::PrintToString(expected);
}

Json RecentAttempts() {
  return Json::parse(Ask({"pinwatch", "migrations", "-o", "json"}))
      .at("contig_ranges")
      .at("recent");
}

// Where pages of the pool begin.
std::set<uint64_t> PoolPages() {
  std::set<uint64_t> heads;
  const int fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
  uint64_t flags = 0;
  for (uint64_t pfn = 0;
       pread(fd, &flags, sizeof(flags),
             static_cast<off_t>(pfn * sizeof(flags))) == sizeof(flags);
       pfn += kPagesPerGiB)
    if (flags >> kHugeFlag & 1) heads.insert(pfn);
  close(fd);
  return heads;
}

TEST_F(Contig, AttemptsAreCountedAndTimedAsTheKernelReturns) {
  const auto before = Attempts();
  const Returns returns;
  // More than there are: each that is had is one, and so is each that is not.
  const int had = AskFor(9);
  ASSERT_GE(had, 1) << "no range of 1 GiB is to be had: boot with more memory";
  const std::map<int, uint64_t> returned = returns.Read();
  EXPECT_EQ(returned.at(0), static_cast<uint64_t>(had));
  ExpectAttempts(returned, before);
  std::set<uint64_t> told;
  for (const Json& attempt : RecentAttempts())
    if (attempt.at("outcome") == "ok") {
      told.insert(attempt.at("start_pfn").get<uint64_t>());
      EXPECT_EQ(attempt.at("end_pfn"),
                attempt.at("start_pfn").get<uint64_t>() + kPagesPerGiB);
    }
  for (const uint64_t head : PoolPages()) EXPECT_TRUE(told.contains(head));
}

// Seven times, since a page of a pipe stands in the only range left.
TEST_F(Contig, APageInTheWayIsNamedWithItsHolder) {
  const auto before = Attempts();
  const Returns returns;
  const int all = AskFor(9);
  ASSERT_GE(all, 1);
  const std::set<uint64_t> had = PoolPages();
  ASSERT_EQ(had.size(), static_cast<size_t>(all));
  ASSERT_EQ(AskFor(all - 1), all - 1);
  std::set<uint64_t> left = had;
  for (const uint64_t head : PoolPages()) left.erase(head);
  ASSERT_EQ(left.size(), 1u);
  const uint64_t range = *left.begin();
  const auto is_in_range = [&](uint64_t pfn) {
    return range <= pfn && pfn < range + kPagesPerGiB;
  };

  // Somewhere in it, as soon as what is free elsewhere has been used up.
  std::vector<std::unique_ptr<Workload>> ballast;
  std::optional<uint64_t> blocker;
  for (int i = 0; i < 23 && !blocker; ++i) {
    ballast.push_back(std::make_unique<Workload>(std::vector<std::string>{
        "hold-vmsplice", "--pages", "1", "--references", "1"}));
    if (is_in_range(ballast.back()->pfns()[0]))
      blocker = ballast.back()->pfns()[0];
    else
      ballast.push_back(std::make_unique<Workload>(
          std::vector<std::string>{"lock-memory", "--pages", "32768"}));
  }
  ASSERT_TRUE(blocker) << "no page of that range is to be had";
  const std::unique_ptr<Workload> holder = std::move(ballast.back());
  ballast.clear();

  const uint64_t last_id = RecentAttempts().back().at("id");
  for (int i = 0; i < 7; ++i) ASSERT_EQ(AskFor(all), all - 1);
  ExpectAttempts(returns.Read(), before);
  int failed = 0;
  for (const Json& attempt : RecentAttempts()) {
    if (attempt.at("start_pfn") != range || attempt.at("id") <= last_id)
      continue;
    ++failed;
    SCOPED_TRACE(attempt.dump());
    EXPECT_EQ(attempt.at("outcome"), "EBUSY");
    EXPECT_EQ(attempt.at("process").at("comm"), "pinwatch_guest_");
    EXPECT_EQ(attempt.at("blocker_pfn"), *blocker);
    EXPECT_EQ(attempt.at("blocker_why"), "plain_reference");
  }
  // Before Linux v5.13 a range with any page in use is passed over.
  const bool tries = MovesLongtermPins();
  EXPECT_EQ(failed, tries ? 7 : 0);
  if (!tries) return;

  // The kernel does not try to move it, so migration does not tell of it.
  const Json page = Json::parse(Ask(
      {"pinwatch", "explain", "pfn", std::to_string(*blocker), "-o", "json"}));
  EXPECT_EQ(page.at("reference_holders").at(0).at("process").at("pid"),
            holder->pid())
      << page;
}

}  // namespace
}  // namespace pinwatch::guest
