// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_CLI_MEMORY_DEVICE_H_
#define PINWATCH_CLI_MEMORY_DEVICE_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "pinwatch/v1/pinwatch.pb.h"

namespace pinwatch {

// Null where the first page does not tell of the device.
const v1::MemoryDevice* FindDevice(const v1::ListBlocksResponse& blocks,
                                   absl::string_view name);

// What the host asks a device of virtio-mem to have, in bytes, where the daemon
// cannot tell: by the last that the kernel's log (/dev/kmsg) says of it;
// nothing where it says nothing, or may not be read.
std::optional<uint64_t> RequestedBytes(const std::string& kmsg_path,
                                       const std::string& device);

// What the device is, how much of it is there, and how to get it free: some
// lines of at most 80 columns.
std::string DeviceHeader(const v1::MemoryDevice& device,
                         std::optional<uint64_t> requested_bytes);

}  // namespace pinwatch

#endif  // PINWATCH_CLI_MEMORY_DEVICE_H_
