// SPDX-License-Identifier: Apache-2.0
#include "remote_read.h"

#include <sys/uio.h>

#include <thread>

#include "missing_memory.h"

namespace workload {

void HoldByRemoteRead(pid_t pid, char* data, size_t nr_pages,
                      const Json& line) {
  const MissingMemory missing(nr_pages);
  BlockStopSignals();
  std::thread reader([&] {
    const iovec to{missing.data(), nr_pages * kPageSize};
    const iovec from{data, nr_pages * kPageSize};
    if (process_vm_readv(pid, &to, 1, &from, 1, 0) !=
        static_cast<ssize_t>(to.iov_len))
      Fail("process_vm_readv", "report this");
  });
  missing.WaitUntilTouched();
  ReportAndHold(line);
  missing.Resolve();
  reader.join();
}

}  // namespace workload
