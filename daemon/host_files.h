// SPDX-License-Identifier: Apache-2.0
//
// Readers of /proc and /sys. `root` is the directory these are in: "" on a
// live host, a temporary directory in tests. A file that does not have the
// form the kernel gives it is DataLoss, naming the file and the line.
#ifndef PINWATCH_DAEMON_HOST_FILES_H_
#define PINWATCH_DAEMON_HOST_FILES_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/snapshot.h"
#include "daemon/source.h"

namespace pinwatch {

struct Zoneinfo {
  std::vector<std::string> zone_names;  // by enum zone_type
  std::vector<Zone> zones;              // those that span memory
};

// /proc/zoneinfo.
absl::StatusOr<Zoneinfo> ReadZoneinfo(const std::string& root);

struct MemoryBlocks {
  uint64_t block_size_bytes = 0;
  std::vector<MemoryBlock> blocks;    // by id
  std::vector<MemoryDevice> devices;  // that some of them go with
  std::string devices_hidden;         // why there may be more of these
};

// /sys/devices/system/memory and the node directories, with the DIMMs that ACPI
// knows. NotFound where the
// kernel has no memory blocks (CONFIG_MEMORY_HOTPLUG off).
absl::StatusOr<MemoryBlocks> ReadMemoryBlocks(const std::string& root);

// One of them as it is now, without its node; NotFound where it has gone.
absl::StatusOr<MemoryBlock> ReadMemoryBlock(const std::string& root,
                                            uint64_t id);

// Figures of which some change whenever a memory block comes, goes, or changes
// its state. To read them costs little beside ReadMemoryBlocks().
std::vector<uint64_t> MemoryShape(const std::string& root,
                                  const Zoneinfo& info);

// nr_foll_pin_* of each node's vmstat file, never exact.
absl::StatusOr<std::vector<NodeCounterReading>> ReadNodeVmstat(
    const std::string& root, const std::vector<int>& nids);

// How many CPUs the kernel has room for: /sys/devices/system/cpu/possible.
absl::StatusOr<uint32_t> CountPossibleCpus(const std::string& root);

// Host name, kernel release and boot id; empty where they cannot be read.
HostInfo ReadHostInfo(const std::string& root);

// What the control groups (v2) of this process let it have of memory before
// they slow it down or kill it; nothing where they set no limit.
std::optional<uint64_t> ReadMemoryLimit(const std::string& root);

// What the kernel counts in /proc/vmstat of having memory in one piece; without
// the kinds that it does not count.
absl::StatusOr<std::vector<HighOrderCount>> ReadHighOrderCounts(
    const std::string& root);

// The whole of a small file, without its last newline.
absl::StatusOr<std::string> ReadSmallFile(const std::string& path);

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_HOST_FILES_H_
