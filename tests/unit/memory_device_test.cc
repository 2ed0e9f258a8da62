// SPDX-License-Identifier: Apache-2.0
#include "cli/memory_device.h"

#include <gmock/gmock.h>

#include "tests/unit/cli_lines.h"
#include "tests/unit/temp_tree.h"

namespace pinwatch {
namespace {

TEST(MemoryDevice, TheLastThatTheLogSaysIsWhatTheHostAsksFor) {
  const TempTree tree;
  tree.Write("/kmsg",
             "6,411,1830000,-;virtio_mem virtio3: requested size: 0x8000000\n"
             " SUBSYSTEM=virtio\n"
             "6,412,1830911,-;virtio_mem virtio3: requested size: 0xc000000\n"
             "6,413,1830911,-;virtio_mem virtio33: requested size: 0x1\n"
             "12,414,1,-;someone: virtio_mem virtio3: requested size: 0x2\n");
  const std::string path = tree.root() + "/kmsg";
  EXPECT_EQ(RequestedBytes(path, "virtio3"), uint64_t{192} << 20);
  EXPECT_EQ(RequestedBytes(path, "virtio4"), std::nullopt);
  EXPECT_EQ(RequestedBytes(tree.root() + "/none", "virtio3"), std::nullopt);
}

TEST(MemoryDevice, TellsHowMuchOfVirtioMemIsThere) {
  auto device = Parse<v1::MemoryDevice>(R"pb(
    name: "virtio3"
    kind: "virtio_mem"
    start_address: 0x140000000
    region_bytes: 268435456
    blocks: 2
    online_blocks: 2
    unplugged_pages: 16384
    partly_plugged_blocks: 1
    plugged_bytes: 201326592
  )pb");
  EXPECT_EQ(
      Checked(DeviceHeader(device, uint64_t{128} << 20)),
      R"(virtio3: virtio-mem, room for 256 MiB at 0x140000000. It has 192 MiB, in 2
  memory blocks, 2 online. 1 block is there in part: 16,384 pages (64 MiB) are
  not plugged, or were taken back. The host asks it to have 128 MiB.
)");
  device.clear_plugged_bytes();
  device.clear_partly_plugged_blocks();
  const std::string text = Checked(DeviceHeader(device, std::nullopt));
  EXPECT_THAT(text, testing::HasSubstr("is not known until all are"));
  EXPECT_THAT(text, testing::HasSubstr("tells in its"));
}

TEST(MemoryDevice, TellsHowToGetADimmFree) {
  EXPECT_THAT(Checked(DeviceHeader(Parse<v1::MemoryDevice>(R"pb(
                                     name: "PNP0C80:01"
                                     kind: "dimm"
                                     blocks: 1
                                     online_blocks: 1
                                   )pb"),
                                   std::nullopt)),
              testing::HasSubstr("a DIMM of ACPI's, 1 memory block, 1 online"));
}

}  // namespace
}  // namespace pinwatch
