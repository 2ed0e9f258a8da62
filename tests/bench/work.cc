// SPDX-License-Identifier: Apache-2.0

#include "tests/bench/work.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>

namespace bench {

using namespace workload;

void Require(bool is_so, const std::string& what, int64_t found) {
  if (!is_so)
    Fail(what + ", found " + std::to_string(found),
         "the figure would be of something else", EINVAL);
}

std::map<std::string, int64_t> ReadVmstat() {
  // Until it is asked for, what each CPU counted may be missing.
  std::ofstream("/proc/sys/vm/stat_refresh") << "1";
  std::map<std::string, int64_t> values;
  std::ifstream file("/proc/vmstat");
  std::string name;
  for (int64_t value = 0; file >> name >> value;) values[name] = value;
  return values;
}

PageInPipe::PageInPipe(const char* page) {
  if (pipe2(fds_, O_CLOEXEC) != 0) Fail("pipe", "report this");
  const iovec piece{const_cast<char*>(page), kPageSize};
  if (vmsplice(fds_[1], &piece, 1, 0) != kPageSize)
    Fail("vmsplice", "report this");
}

PageInPipe::~PageInPipe() {
  close(fds_[0]);
  close(fds_[1]);
}

}  // namespace bench
