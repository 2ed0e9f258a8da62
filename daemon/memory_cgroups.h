// SPDX-License-Identifier: Apache-2.0
//
// Names of memory cgroups: the kernel tells a page's by the inode number of its
// directory. Names are hostile text: whoever may make a cgroup chooses them.
#ifndef PINWATCH_DAEMON_MEMORY_CGROUPS_H_
#define PINWATCH_DAEMON_MEMORY_CGROUPS_H_

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "daemon/cpu_budget.h"
#include "daemon/snapshot.h"

namespace pinwatch {

// How the cgroup that memory is charged to stands to the one of a process.
enum class CgroupRelation {
  kUnknown,
  kSame,
  kRelated,  // one is below the other
  kOther,
};
CgroupRelation Relate(absl::string_view charged, absl::string_view process);

// Where the memory controller's hierarchy is mounted.
struct CgroupMount {
  std::string path;
  bool unified = true;  // cgroup v2

  bool operator==(const CgroupMount&) const = default;
};

// By /proc/self/mountinfo. An empty path: it is not mounted.
CgroupMount FindMemoryMount(absl::string_view mountinfo);

// For one thread.
class MemoryCgroups {
 public:
  // `root` is the directory that /proc and the mounts are in; `root_inode` the
  // number of the hierarchy's uppermost directory.
  explicit MemoryCgroups(std::string root, uint64_t root_inode = 1);

  // Gives those with an id their paths. One whose directory is gone is marked
  // as removed, and has the path that was known before. Goes through all
  // cgroups where one of them has not been seen yet, but not time and again: it
  // may be without a path for a while.
  void Name(const std::vector<MemoryCgroup*>& cgroups);

  // The path of the one that what the process touches is charged to; empty
  // where it cannot be told. A cgroup without the controller, in v2, has its
  // memory charged to the next one above that has it.
  std::string OfProcess(uint32_t pid) const;

 private:
  void FindMount();
  bool Knows(uint64_t id) const { return paths_.count(id) || gone_.count(id); }
  void Walk();
  bool IsThere(uint64_t id, const std::string& path) const;

  const std::string root_;
  const uint64_t root_inode_;
  CpuBudget walk_budget_;
  CgroupMount mount_;
  std::map<uint64_t, std::string> paths_;  // as they were seen last
  std::set<uint64_t> gone_;                // were not there when looked for
  bool saw_all_ = false;                   // the last walk did
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_MEMORY_CGROUPS_H_
