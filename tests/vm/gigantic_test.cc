// SPDX-License-Identifier: Apache-2.0
//
// A huge page of 1 GiB, which spans eight memory blocks: run by name, in a
// guest whose kernel has set one aside.
#include <sys/mman.h>
#include <sys/utsname.h>

#include <csignal>
#include <cstring>

#include "tests/vm/guest.h"

namespace pinwatch::guest {
namespace {

constexpr uint64_t kPagesPerGiB = 1 << 18;

class Gigantic : public GuestTest {
 protected:
  void SetUp() override {
    ASSERT_EQ(ReadFile("/sys/kernel/mm/hugepages/hugepages-1048576kB/"
                       "nr_hugepages"),
              "1\n")
        << "boot with hugepagesz=1G hugepages=1";
    GuestTest::SetUp();
  }
};

// The pins that the answer's owners hold, each of which must be this process.
Pins HeldOnlyBy(pid_t pid, const Json& answer) {
  Pins held;
  for (const Json& owner : answer.at("owners")) {
    if (owner.at("holdings").empty()) continue;
    EXPECT_EQ(owner.at("process").at("pid"), pid) << owner;
    for (const Json& holding : owner.at("holdings")) {
      EXPECT_EQ(holding.at("certainty"), kHeld) << owner;
      held.pages += holding.at("pins").at("pages").get<uint64_t>();
      held.references += holding.at("pins").at("references").get<uint64_t>();
    }
  }
  return held;
}

// Whichever parts of the page are registered.
void ExpectHeldAsAWhole(const std::string& buffers) {
  Workload workload({"pin-gigantic", "--buffers", buffers});
  const uint64_t head = workload.pfns().at(0);
  // A pin for each page on some kernels, one for each buffer on others.
  const uint64_t references = ReadPinCounters().outstanding();
  ASSERT_TRUE(references == workload.held().at("registered_pages") ||
              references == workload.held().at("buffers"))
      << references;

  const Json snapshot = FreshSnapshot();
  EXPECT_EQ(PinsIn(snapshot, "confirmed"),
            PinsOf({head}, {kPagesPerGiB, references}));
  EXPECT_EQ(PinsIn(snapshot, "possible"), PinsByZone());
  EXPECT_EQ(PagesInClass(snapshot, "pinned_large"), kPagesPerGiB);
  EXPECT_EQ(PagesInClass(snapshot, "hugetlb"), 0u);
  ExpectCountersAgree(snapshot);
  EXPECT_EQ(HeldOnlyBy(workload.pid(), FreshOwners()),
            (Pins{kPagesPerGiB, references}));

  // Each block has its share of the pages; the pins count with the head.
  for (uint64_t pfn = head; pfn < head + kPagesPerGiB; pfn += BlockPages()) {
    const uint64_t block = pfn / BlockPages();
    SCOPED_TRACE(block);
    EXPECT_EQ(HeldOnlyBy(workload.pid(), ExplainBlock(block)),
              (Pins{BlockPages(), pfn == head ? references : 0}));
  }
  // Registered ones and others, where runs and blocks begin and end.
  for (const uint64_t offset :
       {0, 4095, 4096, 5120, 32767, 32768, 99999, 131073, 200003, 262143}) {
    const Json page = ExplainPage(head + offset);
    SCOPED_TRACE(page.dump());
    EXPECT_EQ(page.at("page_class"), "pinned_large");
    EXPECT_EQ(page.at("attribution").at("certainty"), kHeld);
    ASSERT_EQ(page.at("owners").size(), 1u);
    EXPECT_EQ(page.at("owners")[0].at("process").at("pid"), workload.pid());
  }
  EXPECT_EQ(workload.Release().at("moved_while_held"), 0);
  WaitForNoPins();
  EXPECT_EQ(PagesInClass(FreshSnapshot(), "hugetlb"), kPagesPerGiB);
}

TEST_F(Gigantic, SevenBuffersHoldItAsAWhole) { ExpectHeldAsAWhole("7"); }

TEST_F(Gigantic, OneBufferAtItsEndHoldsItAsAWhole) { ExpectHeldAsAWhole("1"); }

// The kernel makes no page of that size to move one to.
TEST_F(Gigantic, OneInUseHasNowhereToGoAndTheAttemptSaysSo) {
  constexpr size_t kBytes = kPagesPerGiB * kPageBytes;
  constexpr int k1GiB = 30 << MAP_HUGE_SHIFT;
  char* const data = static_cast<char*>(
      mmap(nullptr, kBytes, PROT_READ | PROT_WRITE,
           MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | k1GiB, -1, 0));
  ASSERT_NE(data, MAP_FAILED) << strerror(errno);
  data[0] = 'x';
  const uint64_t head = PfnOf(data);
  ASSERT_NE(head, 0u);
  const uint64_t block = head / BlockPages();
  Process offline({"memory-block", "offline", std::to_string(block)});
  Json attempt;
  const bool told = Eventually(kOfflineTimeout, [&] {
    const Json attempts = ListAttempts().at("attempts");
    if (attempts.empty()) return false;
    attempt = attempts.at(0);
    if (attempt.at("block") != block) return false;
    for (const Json& page : attempt.at("blockers"))
      if (page.at("why") == "no_target_memory") return true;
    return !attempt.at("running").get<bool>();
  });
  offline.Signal(SIGTERM);
  const std::string result =
      Json::parse(offline.ReadLine(kOfflineTimeout)).at("result");
  EXPECT_TRUE(told) << attempt;
  utsname kernel;
  uname(&kernel);
  if (std::string(kernel.release).starts_with("6.1.")) {
    // It does not isolate a part of such a page, and so does not try to move
    // it.
    EXPECT_EQ(result, "EBUSY") << attempt;
    EXPECT_EQ(attempt.at("step"), "isolating");
    EXPECT_EQ(attempt.at("reason"), "unmovable_page");
    ASSERT_EQ(attempt.at("blockers").size(), 1u) << attempt;
    const Json& page = attempt.at("blockers").at(0);
    EXPECT_EQ(page.at("pfn"), block * BlockPages()) << page;
    EXPECT_EQ(page.at("why"), "hugetlb") << page;
    munmap(data, kBytes);
    return;
  }
  EXPECT_EQ(result, "EINTR") << attempt;
  size_t pages = 0;
  for (const Json& page : attempt.at("blockers")) {
    if (page.at("pfn") != head) continue;
    ++pages;
    EXPECT_EQ(page.at("why"), "no_target_memory") << page;
    EXPECT_EQ(page.at("page_class"), "hugetlb") << page;
  }
  EXPECT_EQ(pages, 1u) << attempt;
  EXPECT_EQ(PfnOf(data), head);
  munmap(data, kBytes);
}

}  // namespace
}  // namespace pinwatch::guest
