// SPDX-License-Identifier: Apache-2.0
//
// What stands in the pages: against /proc/kpageflags and /proc/zoneinfo.
#include <algorithm>

#include "tests/vm/guest.h"

namespace pinwatch::guest {
namespace {

using Pages = GuestTest;
// With memory that is CMA's in kernels that have it.
using CmaPages = GuestTest;

// Bits of /proc/kpageflags.
constexpr int kHuge = 17;
constexpr int kReserved = 32;

// Pages that may come and go on free lists while they are counted.
constexpr uint64_t kNoisePages = 2048;

uint64_t Distance(uint64_t a, uint64_t b) { return a > b ? a - b : b - a; }

TEST_F(Pages, EachPageOfAnOnlineBlockIsInOneClass) {
  const auto blocks = ReadBlocks();
  const auto online =
      std::count_if(blocks.begin(), blocks.end(),
                    [](const Block& block) { return block.state == "online"; });
  const Json snapshot = FreshSnapshot();
  std::map<ZoneId, uint64_t> holes = ReadUnavailablePages();
  uint64_t pages = 0;
  for (const ZoneSpan& zone : ReadZones()) {
    pages += PagesInZone(snapshot, zone.id);
    EXPECT_EQ(PagesInZone(snapshot, zone.id),
              zone.present_pages + holes[zone.id])
        << zone.id.second;
  }
  EXPECT_EQ(pages, static_cast<uint64_t>(online) * BlockPages());
}

TEST_F(Pages, ReservedPagesAreThoseTheKernelReserved) {
  EXPECT_EQ(PagesInClass(FreshSnapshot(), "reserved"),
            CountPagesWithFlag(kReserved));
}

// Of each block 2 MiB, and by newer kernels' own count in all.
TEST_F(Pages, StructPagesStandWhereTheKernelPutThem) {
  uint64_t pages = 0;
  const auto by_block = CountStructPages();
  EXPECT_EQ(by_block.size(), ReadBlocks().size());
  for (const auto& [block, parts] : by_block) {
    uint64_t of_block = 0;
    for (const auto& [where, count] : parts) of_block += count;
    EXPECT_EQ(of_block, BlockPages() / 64) << block;
    pages += of_block;
  }
  // Newer kernels tell.
  if (ReadFile("/proc/vmstat").find("nr_memmap_boot_pages") !=
      std::string::npos) {
    EXPECT_EQ(pages, ReadVmstat("nr_memmap_boot_pages") +
                         ReadVmstat("nr_memmap_pages"));
  }
}

TEST_F(Pages, FreePagesAreThoseOfTheKernelsLists) {
  const Json snapshot = FreshSnapshot();
  for (const ZoneSpan& zone : ReadZones()) {
    const uint64_t free = PagesInClass(snapshot, "free", zone.id);
    EXPECT_LE(Distance(free, zone.free_pages), kNoisePages)
        << zone.id.second << ": " << free << " by the census, "
        << zone.free_pages << " by zoneinfo";
  }
}

TEST_F(CmaPages, PagesOfCmaAreThoseThatTheKernelSetAside) {
  const Json snapshot = FreshSnapshot();
  uint64_t pages = 0, free = 0, batched = 0;
  for (const Json& zone : snapshot.at("zones"))
    for (const Json& part : zone.at("migratetypes")) {
      if (part.at("migratetype") != "cma") continue;
      for (const Json& count : part.at("classes"))
        pages += count.get<uint64_t>();
      free += part.at("classes").at("free").get<uint64_t>();
    }
  EXPECT_EQ(pages, ReadCmaArea().nr_pages);
  // nr_free_cma leaves out what CPUs keep to themselves.
  for (const ZoneSpan& zone : ReadZones()) batched += zone.batched_pages;
  const uint64_t nr_free_cma = ReadVmstat("nr_free_cma");
  EXPECT_LE(nr_free_cma, free + kNoisePages);
  EXPECT_LE(free, nr_free_cma + batched + kNoisePages);
}

TEST_F(Pages, HugePagesOfHugetlbfsAreInAClassOfTheirOwn) {
  ASSERT_EQ(PagesInClass(FreshSnapshot(), "hugetlb"), 0u);
  {
    const HugePagePool pool(3);
    ASSERT_EQ(pool.pages(), 3);
    EXPECT_EQ(PagesInClass(FreshSnapshot(), "hugetlb"), 1536u);
    EXPECT_EQ(CountPagesWithFlag(kHuge), 1536u);
  }
  EXPECT_EQ(PagesInClass(FreshSnapshot(), "hugetlb"), 0u);
}

}  // namespace
}  // namespace pinwatch::guest
