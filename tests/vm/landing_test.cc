// SPDX-License-Identifier: Apache-2.0
//
// Where long-term pins land, and what they keep from being huge pages: against
// the page frames of processes that know what they pinned.
#include <map>
#include <set>

#include "tests/vm/guest.h"

namespace pinwatch::guest {
namespace {

using Landing = OwnDaemonTest;

constexpr uint64_t kHugePages = 512;
// Of so many pages of a call all count where the first one stands.
constexpr size_t kBulk = 256;

// Of memory blocks in several zones it is not known where.
std::map<std::string, uint64_t> LandedIn(
    const std::vector<const Workload*>& workloads) {
  std::map<uint64_t, std::string> zones;
  for (const Block& block : ReadBlocks())
    zones[block.id] = block.zone == "none" ? "" : block.zone;
  std::map<std::string, uint64_t> landed;
  for (const Workload* workload : workloads) {
    const std::vector<uint64_t> pfns = workload->pfns();
    for (size_t i = 0; i < pfns.size(); i += kBulk)
      landed[zones.at(pfns[i] / BlockPages())] +=
          std::min(kBulk, pfns.size() - i);
  }
  return landed;
}

TEST_F(Landing, PagesOfLongTermCallsCountWhereTheFirstOneStands) {
  const Daemon daemon;
  Workload few({"pin-iouring", "--pages", "23"});
  Workload many({"pin-iouring", "--pages", "1563"});
  many.Release();
  std::map<std::string, uint64_t> landed;
  const auto read = [&] {
    landed.clear();
    const Json snapshot = FreshSnapshot();
    for (const Json& landing : snapshot.at("landings"))
      if (landing.at("pages") != 0)
        landed[landing.at("zone")] += landing.at("pages").get<uint64_t>();
    return landed;
  };
  const std::map<std::string, uint64_t> expected = LandedIn({&few, &many});
  EXPECT_TRUE(Eventually(seconds(5), [&] { return read() == expected; }))
      << Json(landed) << " is not " << Json(expected);

  const std::vector<Sample> metrics = ReadMetrics();
  const std::string name = "pinwatch_long_term_landed_pages_total";
  EXPECT_EQ(Sum(metrics, name), 23 + 1563) << "whether held or not";
  for (const auto& [zone, pages] : expected)
    EXPECT_EQ(
        Sum(metrics, name, {{"mem_zone", zone.empty() ? "unknown" : zone}}),
        pages)
        << zone;
  EXPECT_NE(Ask({"pinwatch", "calls"}).find("pages pinned for long, by where"),
            std::string::npos);
}

TEST_F(Landing, RangesThatPinsKeepFromBeingHugePagesAreThoseOfTheirPages) {
  const Daemon daemon;
  const auto before = ReadMetrics();
  Workload few({"pin-iouring", "--pages", "23"});
  Workload many({"pin-iouring", "--pages", "4097"});
  // They are huge pages themselves.
  Workload huge({"pin-iouring", "--thp", "--pages", "3"});
  FreshSnapshot();
  std::map<std::string, std::set<uint64_t>> in_zones;
  const auto ranges_of = [&](const Workload& workload) {
    std::set<uint64_t> ranges;
    for (const uint64_t pfn : workload.pfns()) {
      ranges.insert(pfn / kHugePages);
      in_zones[ZoneOf(pfn).second].insert(pfn / kHugePages);
    }
    return ranges.size();
  };
  const std::map<uint32_t, uint64_t> expected = {{few.pid(), ranges_of(few)},
                                                 {many.pid(), ranges_of(many)}};
  EXPECT_GE(expected.at(many.pid()), 9u);

  const auto after = ReadMetrics();
  for (const auto& [zone, ranges] : in_zones)
    EXPECT_EQ(
        Sum(after, "pinwatch_pinned_huge_ranges", {{"mem_zone", zone}}) -
            Sum(before, "pinwatch_pinned_huge_ranges", {{"mem_zone", zone}}),
        ranges.size())
        << zone;

  const Json all = Json::parse(Ask({"pinwatch", "migrations", "-o", "json"}));
  std::map<uint32_t, std::map<uint32_t, uint64_t>> by_id;
  for (const Json& owner : all.at("owners")) {
    uint64_t ranges = 0;
    for (const Json& holding : owner.at("holdings"))
      ranges += holding.at("huge_ranges").get<uint64_t>();
    by_id[owner.at("id")] = {{owner.at("process").at("pid"), ranges}};
  }
  std::map<uint32_t, uint64_t> named;
  for (const uint32_t id : all.at("huge_range_owners"))
    named.insert(by_id.at(id).begin(), by_id.at(id).end());
  EXPECT_EQ(named, expected) << all.at("owners");
  const uint32_t first = all.at("huge_range_owners").at(0);
  EXPECT_TRUE(by_id.at(first).contains(many.pid())) << all.at("owners");
  EXPECT_NE(Ask({"pinwatch", "migrations"})
                .find("by pin-iouring(" + std::to_string(many.pid()) + ")"),
            std::string::npos);
}

}  // namespace
}  // namespace pinwatch::guest
