// SPDX-License-Identifier: Apache-2.0
//
// Calls of the pin functions that come to something different each, and how
// often: what the process asks for, what it gets, and what it waits for.
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <unistd.h>

#include <thread>

#include "missing_memory.h"
#include "workload.h"

using namespace workload;

namespace {

constexpr char kAbout[] =
    "Registers buffers with an io_uring, and lets each go: 9 of 13 pages that\n"
    "are there, 5 of 11 that must be faulted in, 3 of 37 of which the last 18\n"
    "may not be touched, and 7 of 23 of which none may. Says what the kernel\n"
    "counted of faults, and how long it took.";

uint64_t MinorFaults() {
  rusage usage;
  if (getrusage(RUSAGE_THREAD, &usage)) Fail("getrusage", "report this");
  return usage.ru_minflt;
}

// The same as MapAnonymous(), but that its last pages may not be touched.
char* MapWithout(size_t nr_pages, size_t nr_forbidden) {
  char* data = MapAnonymous(nr_pages);
  const size_t nr_allowed = nr_pages - nr_forbidden;
  Touch(data, nr_allowed);
  if (mprotect(data + nr_allowed * kPageSize, nr_forbidden * kPageSize,
               PROT_NONE))
    Fail("mprotect", "report this");
  return data;
}

class Ring {
 public:
  Ring() {
    if (const int error = io_uring_queue_init(1, &ring_, 0))
      Fail("make an io_uring", "report this", -error);
    // Faults of the program's own are over after a call that asks for nothing.
    MinorFaults();
    MonotonicNs();
    io_uring_register_buffers(&ring_, nullptr, 0);
  }

  // Registers the pages as one buffer, `times` over.
  void Register(char* data, size_t nr_pages, int times, int wanted = 0) {
    const iovec buffer = {data, nr_pages * kPageSize};
    for (int i = 0; i < times; ++i) {
      const uint64_t faults = MinorFaults();
      const uint64_t begin = MonotonicNs();
      const int result = io_uring_register_buffers(&ring_, &buffer, 1);
      ns_ += MonotonicNs() - begin;
      faults_ += MinorFaults() - faults;
      if (result != wanted) Fail("register a buffer", "report this", -result);
      if (result == 0 && io_uring_unregister_buffers(&ring_))
        Fail("unregister a buffer", "report this");
    }
  }

  uint64_t ns() const { return ns_; }
  uint64_t faults() const { return faults_; }

 private:
  io_uring ring_;
  uint64_t ns_ = 0;
  uint64_t faults_ = 0;
};

// A page that another thread hands in after a while.
void RegisterLate(Ring& ring) {
  const MissingMemory page(1);
  std::thread helper([&] {
    page.WaitUntilTouched();
    sleep(3);
    page.Resolve();
  });
  ring.Register(page.data(), 1, 1);
  helper.join();
}

void Read(const char* from, size_t nr_pages, int times, bool works) {
  char* to = MapAnonymous(nr_pages);
  Touch(to, nr_pages);
  const iovec local = {to, nr_pages * kPageSize};
  const iovec remote = {const_cast<char*>(from), nr_pages * kPageSize};
  for (int i = 0; i < times; ++i)
    if ((process_vm_readv(getpid(), &local, 1, &remote, 1, 0) ==
         static_cast<ssize_t>(local.iov_len)) != works)
      Fail("process_vm_readv", "report this");
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(kAbout, "pin-outcomes");
  bool late = false, reads = false;
  app.add_flag("--late", late,
               "1 of a page, too, that comes 3 seconds late; before Linux v6.3 "
               "the kernel does not wait for it");
  app.add_flag(
      "--reads", reads,
      "Read by process_vm_readv, too: 23 times 7 pages of its own, and "
      "3 times 7 pages that may not be touched");
  ParseOrExit(app, argc, argv);

  Ring ring;
  char* touched = MapAnonymous(13);
  Touch(touched, 13);
  ring.Register(touched, 13, 9);
  for (int i = 0; i < 5; ++i) ring.Register(MapAnonymous(11), 11, 1);
  ring.Register(MapWithout(37, 18), 37, 3, -EFAULT);
  char* forbidden = MapWithout(23, 23);
  ring.Register(forbidden, 23, 7, -EFAULT);
  if (late) RegisterLate(ring);
  if (reads) {
    StayOnCpu(sched_getcpu());  // the first call of each CPU is a sample
    Read(touched, 7, 23, true);
    Read(forbidden, 7, 3, false);
  }
  ReportAndHold({{"workload", "pin-outcomes"},
                 {"minor_faults", ring.faults()},
                 {"register_ns", ring.ns()}});
  Report({{"workload", "pin-outcomes"}, {"released", true}});
}
