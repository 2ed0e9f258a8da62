// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_DEVICES_H_
#define PINWATCH_DAEMON_DEVICES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace pinwatch {

// The device files that a process has open of the kind that the subsystem pins
// through, such as /dev/vfio/16, sorted; any of them may be the one. Names are
// the kernel's, not the process's. None where the subsystem has no such files.
// Nothing where the process's files cannot be read. `root` is the directory
// that /proc and /sys are in.
std::optional<std::vector<std::string>> DevicesOf(const std::string& root,
                                                  uint32_t pid,
                                                  absl::string_view subsystem);

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_DEVICES_H_
