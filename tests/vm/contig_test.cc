// SPDX-License-Identifier: Apache-2.0
//
// Ranges of memory that are wanted as a whole, for huge pages of 1 GiB: run by
// name, in a guest with more than one such range. A probe of the kernel's own
// tells how often it tried, and what came of it. And areas of CMA, in a guest
// with one for such pages.
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

using HugetlbCma = OwnDaemonTest;

// By its name.
Json CmaArea(const std::string& name) {
  const Json migrations =
      Json::parse(Ask({"pinwatch", "migrations", "-o", "json"}));
  for (const Json& area : migrations.at("contig_ranges").at("cma"))
    if (area.at("name") == name) return area;
  return {};
}

uint64_t KernelsPages(const std::string& which) {
  return std::stoull(ReadFile("/sys/kernel/mm/cma/hugetlb0/" + which));
}

TEST_F(HugetlbCma, WhatAnAreaGaveAndRefusedIsWhatTheKernelCounts) {
  const Daemon daemon;
  EXPECT_EQ(CmaArea("hugetlb0").at("succeeded"), 0) << "there from the start";
  const uint64_t had_before = KernelsPages("alloc_pages_success");
  const uint64_t failed_before = KernelsPages("alloc_pages_fail");
  // The area has one; others may come from elsewhere.
  WriteFile(kPool, "3");
  WriteFile(kPool, "0");
  EXPECT_TRUE(Eventually(
      seconds(5), [&] { return CmaArea("hugetlb0").at("succeeded") == 1; }));
  const Json area = CmaArea("hugetlb0");
  EXPECT_EQ(KernelsPages("alloc_pages_success") - had_before, kPagesPerGiB);
  EXPECT_EQ(area.at("succeeded_pages"), kPagesPerGiB) << area;
  EXPECT_GE(area.at("failed"), 1) << area;
  EXPECT_EQ(area.at("failed_pages"),
            KernelsPages("alloc_pages_fail") - failed_before)
      << area;
  EXPECT_EQ(Sum(ReadMetrics(), "pinwatch_cma_allocation_pages_total",
                {{"area", "hugetlb0"}, {"outcome", "ok"}}),
            static_cast<double>(kPagesPerGiB));
}

// A huge page of 1 GiB in CMA may not be pinned for long where it is, and there
// is never another to move it to.
TEST_F(HugetlbCma, ALongTermPinFindsNoMemoryToMoveTo) {
  const Daemon daemon({"--pins.follow-moves"});
  WriteFile(kPool, "1");
  ASSERT_TRUE(Eventually(
      seconds(5), [] { return CmaArea("hugetlb0").at("succeeded") == 1; }));
  Process refused({"pin-gigantic", "--buffers", "1"});
  refused.CloseInput();
  EXPECT_EQ(refused.Wait(seconds(60)), 1);
  EXPECT_NE(refused.Errors().find("Cannot allocate memory"), std::string::npos)
      << refused.Errors();
  const Json snapshot = FreshSnapshot();
  EXPECT_TRUE(snapshot.at("claims").at("follows_targets"));
  for (const Json& some : snapshot.at("calls")) {
    if (some.at("subsystem") != "io_uring") continue;
    const Json& moves = some.at("outcomes").at("moves");
    EXPECT_EQ(moves.at("no_target"), 1) << moves;
    EXPECT_EQ(moves.at("failed_pages"), kPagesPerGiB) << moves;
    for (const Json& pages : moves.at("pages"))
      EXPECT_EQ(pages.at("isolated_pages"),
                pages.at("from") == "cma" ? kPagesPerGiB : 0)
          << moves;
    WriteFile(kPool, "0");
    return;
  }
  ADD_FAILURE() << "no call of io_uring was told";
}

}  // namespace
}  // namespace pinwatch::guest
