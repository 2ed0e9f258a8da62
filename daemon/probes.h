// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_PROBES_H_
#define PINWATCH_DAEMON_PROBES_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/doors.h"
#include "daemon/snapshot.h"

struct btf;

namespace pinwatch {

// What the programs must know of this kernel before they are loaded, from its
// own type information: no version number is ever compared.
struct KernelLayout {
  uint32_t nid_shift = 0;   // where page->flags holds the node
  uint32_t zone_shift = 0;  // and the zone
  uint32_t zone_mask = 0;
  // Whether it has BPF_PROG_TYPE_SYSCALL and bpf_loop().
  bool syscall_programs = false;
  // Whether it has bpf_loop(), bpf_get_func_arg() and
  // bpf_get_current_task_btf().
  bool pin_helpers = false;
  int migrate_args = -1;  // of the tracepoint mm_migrate_pages; -1: none such
  int cma_args = -1;      // the same of cma_alloc_finish
  PinFunctions pin_functions;
  // Those by which it is followed what long-term calls move, and whether the
  // first two kinds of them tell by true what they have isolated.
  std::set<std::string> move_functions;
  bool isolate_lru_tells_true = false;
  bool isolate_hugetlb_tells_true = false;
  bool has_rdonly_cast = false;
  bool has_get_user_pages_fast = false;  // of the form that is followed
  // Whether NUMA balancing moves huge pages by a function of its own, which
  // counts in /proc/vmstat and has no tracepoint.
  bool moves_misplaced_thp_alone = false;
  // Those that hotplug programs can be attached to, and how many parameters
  // each has.
  std::map<std::string, uint32_t> hotplug_functions;
  uint32_t foll_longterm = 0;  // the GUP flags' values
  uint32_t foll_pin = 0;
  // By value; holes are empty. Lower case, without the enum's prefix.
  std::vector<std::string> migratetypes;
  std::vector<std::string> migrate_reasons;
  std::vector<std::string> migrate_modes;
};

// FailedPrecondition, naming what is missing, where the type information does
// not have what the programs go by.
absl::StatusOr<KernelLayout> ReadLayout(const btf* types);

// What programs are to be opened with: the file of this kernel's types, null
// where there is none. A libbpf before 1.3 that has it does not look for a type
// in the modules, which takes CAP_SYS_ADMIN.
const char* KernelTypesPath();

// Ok unless the kernel is locked down to confidentiality, which refuses every
// read of kernel memory by a BPF program.
absl::Status RequireKernelReads(const std::string& root);

// Ok when the process may load tracing programs; otherwise PermissionDenied
// in one line that names what is missing and how to give it.
absl::Status RequireCapabilities();

// Gives up the capabilities that only loading took. Call it before another
// thread starts, since each has its own. Who infers holders keeps
// CAP_SYS_ADMIN. Root keeps them: it owns the host's files without any.
absl::Status DropCapabilities(bool infers_holders);

// Whether executables of all processes, and names in their stacks, can be read.
Fact ExecutablesFact();

// Whether likely holders can be inferred of pages that nobody claimed, and if
// not, which capabilities are missing. `wanted`: by who started the daemon.
Fact InferredHoldersFact(bool wanted);

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_PROBES_H_
