// SPDX-License-Identifier: Apache-2.0
#include "daemon/memory_devices.h"

#include <filesystem>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace pinwatch {
namespace {

constexpr uint64_t kPageBytes = 4096;

// The devices of the driver: it also has files of other names.
std::set<std::string> VirtioMemDevices(const std::string& root) {
  std::set<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(
           root + "/sys/bus/virtio/drivers/virtio_mem", error)) {
    const std::string name = entry.path().filename();
    if (name.starts_with("virtio")) names.insert(name);
  }
  return names;
}

void Count(const std::optional<BlockEvidence>& evidence,
           MemoryDeviceState& state) {
  ++state.online_blocks;
  if (!evidence) {
    ++state.unlooked_blocks;
    return;
  }
  state.unplugged_pages += evidence->offline;
  state.partly_plugged_blocks += evidence->offline > 0;
}

}  // namespace

void AddVirtioMem(const std::string& root,
                  const absl::StatusOr<std::vector<MemoryDevice>>& ranges,
                  MemoryBlocks& blocks) {
  std::set<std::string> names = VirtioMemDevices(root);
  if (names.empty()) return;
  if (!ranges.ok()) {
    blocks.devices_hidden = std::string(ranges.status().message());
    return;
  }
  for (const MemoryDevice& range : *ranges) {
    if (!names.erase(range.name)) continue;
    MemoryDevice& device = blocks.devices.emplace_back(range);
    device.kind = "virtio_mem";
    for (MemoryBlock& block : blocks.blocks) {
      const uint64_t start = block.id * blocks.block_size_bytes;
      if (start >= range.start &&
          start + blocks.block_size_bytes <= range.start + range.size)
        block.device = range.name;
    }
  }
  if (!names.empty())
    blocks.devices_hidden =
        absl::StrCat("the kernel's map of physical memory has no range of ",
                     absl::StrJoin(names, ", "));
}

std::vector<MemoryDeviceState> StatesOf(
    const MemoryBlocks& blocks,
    const std::function<std::optional<BlockEvidence>(uint64_t block_id)>&
        evidence) {
  std::map<std::string, MemoryDeviceState> by_name;
  for (const MemoryDevice& device : blocks.devices)
    by_name[device.name].device = device;
  for (const MemoryBlock& block : blocks.blocks) {
    const auto device = by_name.find(block.device);
    if (device == by_name.end()) continue;
    ++device->second.blocks;
    if (block.state == "online" || block.state == "going-offline")
      Count(evidence(block.id), device->second);
  }
  std::vector<MemoryDeviceState> states;
  for (auto& [name, state] : by_name) {
    // What virtio-mem has in a block that is offline shows nowhere.
    if (state.device.kind == "virtio_mem" &&
        state.online_blocks == state.blocks && !state.unlooked_blocks)
      state.plugged_bytes = state.blocks * blocks.block_size_bytes -
                            state.unplugged_pages * kPageBytes;
    states.push_back(std::move(state));
  }
  return states;
}

}  // namespace pinwatch
