// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_TESTS_WORKLOADS_REMOTE_READ_H_
#define PINWATCH_TESTS_WORKLOADS_REMOTE_READ_H_

#include <sys/types.h>

#include "workload.h"

namespace workload {

// Keeps pages of a process, at most 16, pinned by a process_vm_readv() that
// does not end: what it reads into is missing, and userfaultfd keeps it so.
// Reports `line` and holds them as ReportAndHold() does.
void HoldByRemoteRead(pid_t pid, char* data, size_t nr_pages, const Json& line);

}  // namespace workload

#endif  // PINWATCH_TESTS_WORKLOADS_REMOTE_READ_H_
