// SPDX-License-Identifier: Apache-2.0
//
// A memory block with a hole in it: run by name, in a guest where the kernel's
// argument memmap= has punched one.
#include <regex>

#include "tests/vm/guest.h"

namespace pinwatch::guest {
namespace {

using Holes = GuestTest;

struct Hole {
  uint64_t start_pfn = 0;
  uint64_t end_pfn = 0;
};

Hole ReadHole() {
  static const std::regex kArgument(R"(memmap=(\d+)M\$(\d+)M)");
  const std::string line = ReadFile("/proc/cmdline");
  std::smatch parts;
  if (!std::regex_search(line, parts, kArgument))
    Fail("boot with memmap=13M$1200M");
  constexpr uint64_t kPagesPerMiB = (1 << 20) / kPageBytes;
  const uint64_t start = std::stoull(parts[2]) * kPagesPerMiB;
  return {start, start + std::stoull(parts[1]) * kPagesPerMiB};
}

std::string Window(uint64_t start_pfn, uint64_t end_pfn, int pages) {
  return std::to_string(start_pfn) + ":" + std::to_string(end_pfn) + ":" +
         std::to_string(pages);
}

TEST_F(Holes, PinsOnEitherSideOfOneAreTold) {
  const Hole hole = ReadHole();
  const uint64_t block = hole.start_pfn / BlockPages();
  ASSERT_EQ((hole.end_pfn - 1) / BlockPages(), block);
  // As near as what a CPU keeps to itself allows.
  Workload workload({"pin-at", "--window",
                     Window(hole.start_pfn - 512, hole.start_pfn, 11),
                     "--window", Window(hole.end_pfn, hole.end_pfn + 512, 12)});
  ASSERT_EQ(workload.held().at("moved_pages"), 0);
  ASSERT_EQ(ReadPinCounters().outstanding(), 23u);

  const Json snapshot = FreshSnapshot();
  EXPECT_EQ(PinsIn(snapshot, "confirmed"), PinsOf(workload.pfns()));
  EXPECT_EQ(PinsIn(snapshot, "possible"), PinsByZone());
  ExpectCountersAgree(snapshot);
  std::map<ZoneId, uint64_t> unavailable = ReadUnavailablePages();
  EXPECT_GE(unavailable[ZoneOf(hole.start_pfn)], hole.end_pfn - hole.start_pfn);
  for (const ZoneSpan& zone : ReadZones())
    EXPECT_EQ(PagesInZone(snapshot, zone.id),
              zone.present_pages + unavailable[zone.id])
        << zone.id.second;

  // Of the block all is told, the hole with it.
  const Json told = ExplainBlock(block);
  uint64_t pages = 0, pinned = 0, reserved = 0;
  for (const Json& part : told.at("migratetypes")) {
    for (const Json& count : part.at("classes")) pages += count.get<uint64_t>();
    pinned += part.at("confirmed").at("pages").get<uint64_t>();
    reserved += part.at("classes").at("reserved").get<uint64_t>();
  }
  EXPECT_EQ(pages, BlockPages());
  EXPECT_EQ(pinned, 23u);
  EXPECT_GE(reserved, hole.end_pfn - hole.start_pfn);
  EXPECT_EQ(workload.Release().at("moved_while_held"), 0);
}

}  // namespace
}  // namespace pinwatch::guest
