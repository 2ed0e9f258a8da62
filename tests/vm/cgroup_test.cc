// SPDX-License-Identifier: Apache-2.0
//
// What pages are charged to: against /proc/kpagecgroup.
#include <unistd.h>

#include <algorithm>

#include "tests/vm/guest.h"

namespace pinwatch::guest {
namespace {

using PageCgroups = GuestTest;

constexpr int kSlab = 7;  // bit of /proc/kpageflags

Json CgroupOf(uint64_t pfn) { return ExplainPage(pfn).at("memory_cgroup"); }

void ExpectCharged(uint64_t pfn, uint64_t inode, const std::string& path) {
  EXPECT_EQ(ReadPageCgroup(pfn), inode) << "the kernel's own word";
  const Json cgroup = CgroupOf(pfn);
  EXPECT_EQ(cgroup.at("id"), inode) << cgroup;
  EXPECT_EQ(cgroup.at("path"), path) << cgroup;
  EXPECT_EQ(cgroup.at("removed"), false) << cgroup;
}

TEST_F(PageCgroups, AreThoseOfWhoTouchedThem) {
  // A name that would change what a terminal shows.
  const Cgroup hostile("red\x1b[31m");
  Workload held(hostile.Command({"pin-iouring", "--pages", "7"}));
  Workload queued(
      hostile.Command({"hold-vmsplice", "--pages", "3", "--references", "1"}));
  Workload huge(hostile.Command({"pin-iouring", "--pages", "1", "--thp"}));
  Workload root({"pin-iouring", "--pages", "1"});
  for (const Workload* workload : {&held, &queued})
    for (const uint64_t pfn : workload->pfns())
      ExpectCharged(pfn, hostile.inode(), hostile.path());
  // The kernel itself says nothing of some tail pages (5.10).
  EXPECT_EQ(ReadPageCgroup(huge.pfns().front()), hostile.inode());
  EXPECT_EQ(CgroupOf(huge.pfns().front() + 411).at("id"), hostile.inode());
  ExpectCharged(root.pfns().front(), 1, "/");

  const uint64_t pfn = held.pfns().front();
  const uint64_t block = pfn / BlockPages();
  const std::vector<std::vector<std::string>> questions = {
      {"pinwatch", "explain", "pfn", std::to_string(pfn)},
      {"pinwatch", "explain", "memory" + std::to_string(block)}};
  EXPECT_NE(Ask(questions[0]).find("Charged to cgroup /red\\x1b[31m"),
            std::string::npos)
      << Ask(questions[0]);
  for (const std::vector<std::string>& question : questions)
    EXPECT_EQ(Ask(question).find('\x1b'), std::string::npos) << Ask(question);
  const Json report = ExplainBlock(block);
  uint64_t found = 0;
  for (const Json& page : report.at("blockers"))
    if (const std::vector<uint64_t> pfns = held.pfns();
        std::ranges::find(pfns, page.at("pfn").get<uint64_t>()) != pfns.end())
      found += page.at("memory_cgroup").at("path") == hostile.path();
  uint64_t in_block = 0;
  for (const uint64_t other : held.pfns())
    in_block += other / BlockPages() == block;
  EXPECT_EQ(found, in_block) << report;
}

TEST_F(PageCgroups, ThatWereRemovedAreSaidToBe) {
  Cgroup gone("gone");
  Workload held(gone.Command({"pin-iouring", "--pages", "3"}));
  const uint64_t pfn = held.pfns().front();
  const uint64_t inode = gone.inode();
  ExpectCharged(pfn, inode, "/gone");
  WriteFile("/sys/fs/cgroup/cgroup.procs", std::to_string(held.pid()));
  gone.Remove();
  const Json cgroup = CgroupOf(pfn);
  // From Linux v7.3 on its memory is charged to the next one above.
  if (cgroup.at("id") != inode) {
    ExpectCharged(pfn, 1, "/");
    return;
  }
  EXPECT_EQ(cgroup.at("path"), "/gone") << cgroup;
  EXPECT_EQ(cgroup.at("removed"), true) << cgroup;
  EXPECT_NE(Ask({"pinwatch", "explain", "pfn", std::to_string(pfn)})
                .find("cgroup /gone, removed since"),
            std::string::npos);
}

TEST_F(PageCgroups, OfSlabsAreNone) {
  const std::optional<uint64_t> slab = FindPageWithFlag(kSlab);
  ASSERT_TRUE(slab);
  EXPECT_EQ(CgroupOf(*slab).at("id"), 0) << ExplainPage(*slab);
}

}  // namespace
}  // namespace pinwatch::guest
