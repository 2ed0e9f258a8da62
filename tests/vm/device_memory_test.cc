// SPDX-License-Identifier: Apache-2.0
//
// Pages of a device (ZONE_DEVICE), which are in no memory block: run by name,
// in a guest with persistent memory.
#include "tests/vm/guest.h"

namespace pinwatch::guest {
namespace {

using DeviceMemory = GuestTest;

constexpr char kDevice[] = "/dev/dax0.0";
constexpr char kNd[] = "/sys/bus/nd/";

// Makes a character device of the persistent memory, with a struct page for
// each page of it.
void MakeDevice() {
  const std::string nd = kNd;
  const std::string dax = nd + "devices/dax0.0/";
  WriteFile(nd + "drivers/nd_pmem/unbind", "namespace0.0");
  WriteFile(dax + "uuid", ReadFile("/proc/sys/kernel/random/uuid"));
  WriteFile(dax + "mode", "ram");
  WriteFile(dax + "align", "4096");
  WriteFile(dax + "namespace", "namespace0.0");
  WriteFile(nd + "drivers/dax_pmem/bind", "dax0.0");
}

uint64_t DevicePages() {
  // It has no present pages, so that ReadZones() leaves it out.
  const std::string zones = ReadFile("/proc/zoneinfo");
  const size_t at = zones.find("spanned", zones.find("zone   Device"));
  return std::stoull(zones.substr(at + 7));
}

TEST_F(DeviceMemory, IsLeftOutAndNamedInTheDrift) {
  const Json before = FreshSnapshot();
  ExpectCountersAgree(before);
  MakeDevice();
  Workload device({"pin-xdp", "--pages", "23", "--device", kDevice});
  ASSERT_EQ(ReadPinCounters().outstanding(), 23u);
  ASSERT_GT(DevicePages(), 23u);

  const auto expect_drift = [](const Json& snapshot) {
    const Json& node = snapshot.at("nodes").at(0);
    EXPECT_EQ(node.at("outstanding_references"),
              ReadPinCounters().outstanding());
    EXPECT_EQ(node.at("census_current"), true);
    EXPECT_EQ(node.at("drift_references"), 23);
    EXPECT_EQ(node.at("device_pages"), DevicePages());
    EXPECT_EQ(node.at("drift_cause"), "zone_device");
    EXPECT_EQ(PinsIn(snapshot, "possible"), PinsByZone());
  };
  const Json snapshot = FreshSnapshot();
  expect_drift(snapshot);
  EXPECT_EQ(PinsIn(snapshot, "confirmed"), PinsByZone());
  EXPECT_EQ(snapshot.at("blocks"), before.at("blocks"));
  const std::string told = Ask({"pinwatch", "status"});
  EXPECT_NE(told.find("pins on pages of devices (ZONE_DEVICE"),
            std::string::npos)
      << told;

  // Pins elsewhere are told as ever, and theirs alone.
  {
    Workload memory({"pin-iouring", "--pages", "37"});
    ASSERT_EQ(ReadPinCounters().outstanding(), 60u);
    const Json both = FreshSnapshot();
    expect_drift(both);
    EXPECT_EQ(PinsIn(both, "confirmed"), PinsOf(memory.pfns()));
    for (const Json& owner : FreshOwners().at("owners"))
      EXPECT_EQ(owner.at("holdings").empty(),
                owner.at("process").at("pid") != memory.pid())
          << owner;
  }
  EXPECT_EQ(Sum(ReadMetrics(), "pinwatch_node_device_pages"), DevicePages());

  device.Release();
  WaitForNoPins();
  const Json after = FreshSnapshot();
  ExpectCountersAgree(after);
  EXPECT_EQ(after.at("nodes").at(0).at("drift_cause"), "");
}

}  // namespace
}  // namespace pinwatch::guest
