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

}  // namespace
}  // namespace pinwatch::guest
