// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_PROCESS_STATS_H_
#define PINWATCH_DAEMON_PROCESS_STATS_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

namespace pinwatch {

// What this process uses of the host, as the Prometheus client libraries
// report it; prometheus-cpp does not.
struct ProcessStats {
  double cpu_seconds = 0;  // user and system, since the start
  uint64_t resident_bytes = 0;
  uint64_t virtual_bytes = 0;
  uint64_t threads = 0;
  // Unset where their file cannot be read (a process that changed its
  // credentials may not list its own descriptors) or has another form.
  std::optional<double> start_time_seconds;  // of CLOCK_REALTIME
  std::optional<uint64_t> open_fds;  // with the one that lists the others
  std::optional<uint64_t> max_fds;   // soft limit; unset if unlimited
};

// Reads `root`/proc/self and the boot time in `root`/proc/stat. `root` is ""
// on a live host. An error if /proc/self/stat is missing or malformed.
absl::StatusOr<ProcessStats> ReadProcessStats(const std::string& root);

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_PROCESS_STATS_H_
