// SPDX-License-Identifier: Apache-2.0
#include "daemon/memory_devices.h"

#include <gmock/gmock.h>

#include <map>

#include "tests/unit/temp_tree.h"

namespace pinwatch {
namespace {

using testing::IsEmpty;
using testing::SizeIs;

constexpr uint64_t kBlock = 128 << 20;

MemoryBlocks FourBlocks() {
  return {.block_size_bytes = kBlock,
          .blocks = {{.id = 7, .state = "online"},
                     {.id = 8, .state = "online"},
                     {.id = 9, .state = "going-offline"},
                     {.id = 10, .state = "online"}}};
}

TEST(MemoryDevices, TheRangeOfVirtioMemTellsItsBlocks) {
  const TempTree tree;
  tree.Write("/sys/bus/virtio/drivers/virtio_mem/virtio3/uevent", "");
  MemoryBlocks blocks = FourBlocks();
  // Another driver of virtio keeps memory too.
  AddVirtioMem(tree.root(),
               std::vector<MemoryDevice>{
                   {.name = "virtio3", .start = 8 * kBlock, .size = 2 * kBlock},
                   {.name = "virtio4", .start = 7 * kBlock, .size = kBlock}},
               blocks);
  ASSERT_THAT(blocks.devices, SizeIs(1));
  EXPECT_EQ(blocks.devices[0].kind, "virtio_mem");
  EXPECT_EQ(blocks.blocks[0].device, "");
  EXPECT_EQ(blocks.blocks[1].device, "virtio3");
  EXPECT_EQ(blocks.blocks[2].device, "virtio3");
  EXPECT_EQ(blocks.blocks[3].device, "");
  EXPECT_EQ(blocks.devices_hidden, "");
}

TEST(MemoryDevices, AreSaidToBeHiddenWhereTheKernelHidesThem) {
  const TempTree tree;
  MemoryBlocks blocks = FourBlocks();
  const absl::Status hidden = absl::UnavailableError("locked down");
  AddVirtioMem(tree.root(), hidden, blocks);
  EXPECT_EQ(blocks.devices_hidden, "");  // there is none to hide
  tree.Write("/sys/bus/virtio/drivers/virtio_mem/virtio3/uevent", "");
  AddVirtioMem(tree.root(), hidden, blocks);
  EXPECT_THAT(blocks.devices, IsEmpty());
  EXPECT_EQ(blocks.devices_hidden, "locked down");
  AddVirtioMem(tree.root(), std::vector<MemoryDevice>{}, blocks);
  EXPECT_EQ(blocks.devices_hidden,
            "the kernel's map of physical memory has no range of virtio3");
}

TEST(MemoryDevices, WhatIsPluggedIsWhatIsNotOfflineInItsBlocks) {
  MemoryBlocks blocks = FourBlocks();
  blocks.devices = {{.name = "virtio3", .kind = "virtio_mem"},
                    {.name = "PNP0C80:00", .kind = "dimm"}};
  blocks.blocks[0].device = "PNP0C80:00";
  blocks.blocks[1].device = blocks.blocks[2].device = "virtio3";
  std::map<uint64_t, BlockEvidence> seen = {
      {7, {}}, {8, {.offline = 16384}}, {9, {}}};
  const auto find = [&](uint64_t id) {
    const auto at = seen.find(id);
    return at == seen.end() ? std::nullopt : std::optional(at->second);
  };
  std::vector<MemoryDeviceState> states = StatesOf(blocks, find);
  ASSERT_THAT(states, SizeIs(2));
  EXPECT_EQ(states[0].device.name, "PNP0C80:00");
  EXPECT_EQ(states[0].blocks, 1u);
  EXPECT_EQ(states[0].online_blocks, 1u);
  EXPECT_EQ(states[0].plugged_bytes, std::nullopt);
  EXPECT_EQ(states[1].blocks, 2u);
  EXPECT_EQ(states[1].online_blocks, 2u);
  EXPECT_EQ(states[1].unplugged_pages, 16384u);
  EXPECT_EQ(states[1].partly_plugged_blocks, 1u);
  EXPECT_EQ(states[1].plugged_bytes, uint64_t{192} << 20);

  // Of what was not looked at, or is offline, nothing is known.
  seen.erase(9);
  states = StatesOf(blocks, find);
  EXPECT_EQ(states[1].unlooked_blocks, 1u);
  EXPECT_EQ(states[1].plugged_bytes, std::nullopt);
  blocks.blocks[2].state = "offline";
  states = StatesOf(blocks, find);
  EXPECT_EQ(states[1].online_blocks, 1u);
  EXPECT_EQ(states[1].plugged_bytes, std::nullopt);
}

}  // namespace
}  // namespace pinwatch
