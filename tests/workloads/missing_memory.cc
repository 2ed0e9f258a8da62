// SPDX-License-Identifier: Apache-2.0
#include "missing_memory.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "workload.h"

namespace workload {

MissingMemory::MissingMemory(size_t nr_pages)
    : data_(MapAnonymous(nr_pages)), size_(nr_pages * kPageSize) {
  fd_ = static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC));
  if (fd_ < 0) Fail("userfaultfd", "the kernel needs CONFIG_USERFAULTFD");
  uffdio_api api{.api = UFFD_API, .features = 0, .ioctls = 0};
  if (ioctl(fd_, UFFDIO_API, &api) != 0) Fail("UFFDIO_API", "report this");
  uffdio_register range{
      .range = {.start = reinterpret_cast<uintptr_t>(data_), .len = size_},
      .mode = UFFDIO_REGISTER_MODE_MISSING,
      .ioctls = 0};
  if (ioctl(fd_, UFFDIO_REGISTER, &range) != 0)
    Fail("UFFDIO_REGISTER", "report this");
}

void MissingMemory::WaitUntilTouched() const {
  uffd_msg message;
  if (read(fd_, &message, sizeof(message)) != sizeof(message))
    Fail("read from userfaultfd", "report this");
}

void MissingMemory::Resolve() const {
  uffdio_zeropage range{
      .range = {.start = reinterpret_cast<uintptr_t>(data_), .len = size_},
      .mode = 0,
      .zeropage = 0};
  if (ioctl(fd_, UFFDIO_ZEROPAGE, &range) != 0)
    Fail("UFFDIO_ZEROPAGE", "report this");
}

}  // namespace workload
