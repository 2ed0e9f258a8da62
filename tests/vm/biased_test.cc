// SPDX-License-Identifier: Apache-2.0
//
// References by the thousand that are no pins: the network stack takes them to
// pages of its own.
#include "tests/vm/guest.h"

namespace pinwatch::guest {
namespace {

using Biased = GuestTest;

TEST_F(Biased, PagesOfTheNetworkStackAreAClassOfTheirOwnAndNeverPinned) {
  Process({"modprobe", "tun"}).Wait(seconds(10));
  const uint64_t before = PagesInClass(FreshSnapshot(), "biased");
  Workload pins({"pin-iouring", "--pages", "23"});
  // Each CPU has a page of its own.
  for (int cpu = 0; cpu < 2; ++cpu) {
    Workload workload({"bias-pages", "--cpu", std::to_string(cpu)});
    const uint64_t pages = workload.held().at("pages");
    const uint64_t biased = before + (cpu + 1) * pages;
    const Json snapshot = FreshSnapshot();
    EXPECT_EQ(PagesInClass(snapshot, "biased"), biased);
    EXPECT_EQ(PinsIn(snapshot, "confirmed"), PinsOf(pins.pfns()));
    EXPECT_EQ(PinsIn(snapshot, "possible"), PinsByZone());
    ExpectCountersAgree(snapshot);
    EXPECT_EQ(Sum(ReadMetrics(), "pinwatch_pages", {{"class", "biased"}}),
              biased);
  }
}

}  // namespace
}  // namespace pinwatch::guest
