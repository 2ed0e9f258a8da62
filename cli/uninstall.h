// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_CLI_UNINSTALL_H_
#define PINWATCH_CLI_UNINSTALL_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace pinwatch {

// What was taken out of a directory of bpffs.
struct Removed {
  size_t links = 0;
  size_t programs = 0;
  size_t maps = 0;
};

// Takes all that pinwatchd keeps there out of the directory, and the directory
// away if nothing else is in it. FailedPrecondition while a daemon uses it, and
// where it is in no BPF file system. What is not there is removed already.
absl::StatusOr<Removed> Uninstall(const std::string& directory);

}  // namespace pinwatch

#endif  // PINWATCH_CLI_UNINSTALL_H_
