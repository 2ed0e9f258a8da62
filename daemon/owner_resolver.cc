// SPDX-License-Identifier: Apache-2.0
#include "daemon/owner_resolver.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/host_files.h"

namespace pinwatch {

OwnerResolver::OwnerResolver(std::string root) : root_(std::move(root)) {}

Process OwnerResolver::ReadProcess(uint32_t pid, uint64_t start_boottime_ns,
                                   const std::string& comm) const {
  Process process{
      .pid = pid, .start_boottime_ns = start_boottime_ns, .comm = comm};
  return process;
}

PinOwner OwnerResolver::Identify(const OwnerReading& reading) {
  PinOwner owner{.process = ReadProcess(reading.pid, reading.start_boottime_ns,
                                        reading.comm),
                 .subsystem = "unknown"};
  if (reading.via_pid != 0)
    owner.via = ReadProcess(reading.via_pid, reading.via_start_boottime_ns,
                            reading.via_comm);
  for (const uint64_t address : reading.kernel_stack)
    owner.kernel_stack.push_back(absl::StrCat(absl::Hex(address)));
  return owner;
}

bool OwnerResolver::HasEnded(const Process& process) const {
  return !ReadSmallFile(absl::StrCat(root_, "/proc/", process.pid, "/stat"))
              .ok();
}

}  // namespace pinwatch
