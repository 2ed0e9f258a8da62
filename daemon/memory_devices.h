// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_MEMORY_DEVICES_H_
#define PINWATCH_DAEMON_MEMORY_DEVICES_H_

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/host_files.h"
#include "daemon/snapshot.h"

namespace pinwatch {

// Adds those of the ranges that are virtio-mem's, by
// ROOT/sys/bus/virtio/drivers, to the devices of the blocks, and tells each
// block that lies in one.
void AddVirtioMem(const std::string& root,
                  const absl::StatusOr<std::vector<MemoryDevice>>& ranges,
                  MemoryBlocks& blocks);

// What the last looks say of each device; `evidence` has nothing where a
// block has none.
std::vector<MemoryDeviceState> StatesOf(
    const MemoryBlocks& blocks,
    const std::function<std::optional<BlockEvidence>(uint64_t block_id)>&
        evidence);

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_MEMORY_DEVICES_H_
