// SPDX-License-Identifier: Apache-2.0
//
// Many processes that each pin many single pages for long: io_uring buffers of
// one page, each pinned by a call of its own.
#include <sys/wait.h>
#include <unistd.h>

#include <vector>

#include "workload.h"

using namespace workload;

namespace {

// Pins, says so by a byte and holds until nobody has the other end any more.
[[noreturn]] void Hold(size_t nr_pages, int ready, int until_closed) {
  char* data = MapAnonymous(nr_pages);
  Touch(data, nr_pages);
  std::vector<iovec> buffers;
  for (size_t i = 0; i < nr_pages; ++i)
    buffers.push_back({data + i * kPageSize, kPageSize});
  io_uring ring{};
  if (const int ret = io_uring_queue_init(1, &ring, 0); ret < 0)
    Fail("io_uring_setup", "too many processes?", -ret);
  if (const int ret = io_uring_register_buffers(
          &ring, buffers.data(), static_cast<unsigned>(buffers.size()));
      ret < 0)
    Fail("register buffers", "is memory short?", -ret);
  char byte = 1;
  if (write(ready, &byte, 1) != 1) _exit(1);
  while (read(until_closed, &byte, 1) > 0) continue;
  _exit(0);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Pins single pages for long in many processes.", "pin-many");
  size_t nr_processes = 0, nr_pages = 0;
  app.add_option("--processes", nr_processes)->required();
  app.add_option("--pages", nr_pages, "Pages of each")->required();
  ParseOrExit(app, argc, argv);

  int ready[2], hold[2];
  if (pipe(ready) || pipe(hold)) Fail("pipe", "report this");
  std::vector<pid_t> pids;
  for (size_t i = 0; i < nr_processes; ++i) {
    const pid_t pid = fork();
    if (pid < 0) Fail("fork", "is memory short?");
    if (pid == 0) {
      close(hold[1]);
      close(ready[0]);
      Hold(nr_pages, ready[1], hold[0]);
    }
    pids.push_back(pid);
    // One after another, so that none waits for memory while others take it.
    char byte;
    if (read(ready[0], &byte, 1) != 1) Fail("a process ended", "see above");
  }
  ReportAndHold({{"workload", "pin-many"},
                 {"pids", pids},
                 {"pages", nr_pages * nr_processes}});
  close(hold[1]);
  for (const pid_t pid : pids) waitpid(pid, nullptr, 0);
  Report({{"workload", "pin-many"}, {"released", true}});
}
