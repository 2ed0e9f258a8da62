// SPDX-License-Identifier: Apache-2.0
//
// Who a process is, from /proc. `root` is the directory /proc is in: "" on a
// live host, a temporary directory in tests. All names are hostile text: a
// process chooses its own. A process that is gone is NotFound.
#ifndef PINWATCH_DAEMON_PROCESSES_H_
#define PINWATCH_DAEMON_PROCESSES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace pinwatch {

// One reading of a stat file, such as /proc/PID/stat.
class ProcStat {
 public:
  // DataLoss if the file holds no comm.
  static absl::StatusOr<ProcStat> Read(const std::string& path);

  // Up to 15 bytes of any value; the kernel's workers have longer ones.
  const std::string& comm() const { return comm_; }

  // The field by its number in proc(5), from the third on. False if it is not
  // there or negative.
  bool Get(size_t number, uint64_t* value) const;

 private:
  std::string comm_;
  std::vector<std::string> fields_;
};

// In place of a path that one may not see.
inline constexpr char kHiddenExe[] = "[exe hidden]";

struct ProcessInfo {
  uint32_t pid = 0;
  uint64_t start_ticks = 0;  // with the pid, unique since boot
  std::string comm;
  std::string exe;     // ends in " (deleted)" if it is; or kHiddenExe
  std::string cgroup;  // as ReadCgroup has it
  std::string unit;    // as UnitOfCgroup has it
};

// When a process started, in clock ticks since boot, suspend included: field
// 22 of /proc/PID/stat.
absl::StatusOr<uint64_t> ReadStartTicks(const std::string& root, uint32_t pid);

// NotFound also if the pid was given to another process while this read: the
// record is never of two. What exec(2) changes meanwhile can be of both sides.
absl::StatusOr<ProcessInfo> ReadProcess(const std::string& root, uint32_t pid);

// The process's cgroup in the unified hierarchy, such as
// "/system.slice/cron.service". Where nothing is kept there (cgroup v1), the
// one in systemd's own hierarchy. Empty if it cannot be read.
std::string ReadCgroup(const std::string& root, uint32_t pid);

// The systemd unit of a cgroup, found as systemd does: the slices are left out,
// then comes the service or scope. What is below it is the service's own and
// may bear any name, so the first one counts; only in user@UID.service it is
// the user's unit, if there is one. Empty if the cgroup is in no unit.
std::string UnitOfCgroup(absl::string_view cgroup);

// Whether a task's start_boottime (ns, as in its task_struct) is what /proc
// shows as `start_ticks` to a reader in the first time namespace.
bool IsSameProcess(uint64_t start_ticks, uint64_t start_boottime_ns);

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_PROCESSES_H_
