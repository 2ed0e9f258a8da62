// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_CLI_DAX_DEVICE_H_
#define PINWATCH_CLI_DAX_DEVICE_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "pinwatch/v1/pinwatch.pb.h"

namespace pinwatch {

// Physical addresses.
struct PhysicalRange {
  uint64_t start = 0;
  uint64_t size = 0;  // bytes
};

// Where the memory of a device such as "dax0.0" is, from
// ROOT/sys/bus/dax/devices. NotFound when there is no such device,
// PermissionDenied when its address is hidden from all but root.
absl::StatusOr<PhysicalRange> DaxRange(const std::string& root,
                                       const std::string& device);

// Leaves out the blocks that have nothing of the range.
void KeepBlocksIn(const PhysicalRange& range, v1::ListBlocksResponse& blocks);

// What the device has to do with these blocks, and how to get it free: some
// lines of at most 80 columns.
std::string DaxHeader(const std::string& device, const PhysicalRange& range,
                      const v1::ListBlocksResponse& blocks);

}  // namespace pinwatch

#endif  // PINWATCH_CLI_DAX_DEVICE_H_
