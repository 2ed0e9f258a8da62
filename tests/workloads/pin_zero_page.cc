// SPDX-License-Identifier: Apache-2.0
//
// Pins of the zero page, by a process_vm_readv() that does not end: the memory
// it reads into is missing, and userfaultfd keeps it so. Such pins are
// short-term by name, which makes no difference to the page.

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <thread>

#include "workload.h"

using namespace workload;

namespace {

// Memory that waits for Resolve() when it is touched first.
class MissingMemory {
 public:
  explicit MissingMemory(size_t nr_pages)
      : data_(MapAnonymous(nr_pages)), size_(nr_pages * kPageSize) {
    fd_ = static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC));
    if (fd_ < 0) Fail("userfaultfd", "the kernel needs CONFIG_USERFAULTFD");
    uffdio_api api{.api = UFFD_API, .features = 0, .ioctls = 0};
    if (ioctl(fd_, UFFDIO_API, &api) != 0) Fail("UFFDIO_API", "report this");
    uffdio_register range{
        .range = Range(), .mode = UFFDIO_REGISTER_MODE_MISSING, .ioctls = 0};
    if (ioctl(fd_, UFFDIO_REGISTER, &range) != 0)
      Fail("UFFDIO_REGISTER", "report this");
  }

  char* data() const { return data_; }

  void WaitUntilTouched() const {
    uffd_msg message;
    if (read(fd_, &message, sizeof(message)) != sizeof(message))
      Fail("read from userfaultfd", "report this");
  }

  void Resolve() const {
    uffdio_zeropage range{.range = Range(), .mode = 0, .zeropage = 0};
    if (ioctl(fd_, UFFDIO_ZEROPAGE, &range) != 0)
      Fail("UFFDIO_ZEROPAGE", "report this");
  }

 private:
  uffdio_range Range() const {
    return {.start = reinterpret_cast<uintptr_t>(data_), .len = size_};
  }

  char* const data_;
  const size_t size_;
  int fd_ = -1;
};

}  // namespace

int main(int argc, char** argv) {
  size_t nr_pages = 0;
  CLI::App app(
      "Pins the zero page as often as it stands in memory that was only read. "
      "Linux v6.5 and later stable kernels do not count these pins.");
  app.add_option("--pages", nr_pages, "Pages of such memory")
      ->required()
      ->check(CLI::Range(1, 16));  // process_vm_readv() pins 16 pages at once
  ParseOrExit(app, argc, argv);

  char* zeroes = MapAnonymous(nr_pages);
  for (size_t i = 0; i < nr_pages; ++i)
    static_cast<void>(*static_cast<volatile char*>(zeroes + i * kPageSize));
  const MissingMemory missing(nr_pages);
  BlockStopSignals();
  std::thread reader([&] {
    const iovec to{missing.data(), nr_pages * kPageSize};
    const iovec from{zeroes, nr_pages * kPageSize};
    if (process_vm_readv(getpid(), &to, 1, &from, 1, 0) !=
        static_cast<ssize_t>(to.iov_len))
      Fail("process_vm_readv", "report this");
  });
  missing.WaitUntilTouched();
  ReportAndHold({{"workload", "pin-zero-page"},
                 {"pages", nr_pages},
                 {"pfns", ReadPfns(zeroes, nr_pages)}});
  missing.Resolve();
  reader.join();
  Report({{"workload", "pin-zero-page"}, {"released", true}});
}
