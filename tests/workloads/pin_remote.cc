// SPDX-License-Identifier: Apache-2.0
//
// Short-term pins on another process's memory: a process_vm_readv() that does
// not end, since what it reads into is missing.

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "remote_read.h"

using namespace workload;

namespace {

struct Target {
  pid_t pid;
  std::vector<uint64_t> pfns;
};

// A child that has `nr_pages` pages at `data`, and they are its own.
Target StartTarget(char* data, size_t nr_pages) {
  int fds[2];
  if (pipe(fds) != 0) Fail("pipe", "report this");
  const pid_t pid = fork();
  if (pid < 0) Fail("fork", "report this");
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    SetName("pin-remote-tgt");
    Touch(data, nr_pages);
    DrainLruBatches();
    const std::vector<uint64_t> pfns = ReadPfns(data, nr_pages);
    const size_t size = pfns.size() * sizeof(pfns[0]);
    if (write(fds[1], pfns.data(), size) != static_cast<ssize_t>(size))
      Fail("write to a pipe", "report this");
    while (true) pause();
  }
  std::vector<uint64_t> pfns(nr_pages);
  const size_t size = pfns.size() * sizeof(pfns[0]);
  if (read(fds[0], pfns.data(), size) != static_cast<ssize_t>(size))
    Fail("the target says nothing", "see its own words");
  return {pid, pfns};
}

}  // namespace

int main(int argc, char** argv) {
  size_t nr_pages = 0;
  CLI::App app(
      "Pins pages of a child of its own for as long as a process_vm_readv() of "
      "them lasts.");
  app.add_option("--pages", nr_pages, "4 KiB pages")
      ->required()
      ->check(CLI::Range(1, 16));  // process_vm_readv() pins 16 pages at once
  ParseOrExit(app, argc, argv);

  char* data = MapAnonymous(nr_pages);
  const Target target = StartTarget(data, nr_pages);
  HoldByRemoteRead(target.pid, data, nr_pages,
                   {{"workload", "pin-remote"},
                    {"pages", nr_pages},
                    {"target_pid", target.pid},
                    {"pfns", target.pfns}});
  kill(target.pid, SIGKILL);
  waitpid(target.pid, nullptr, 0);
  Report({{"workload", "pin-remote"}, {"released", true}});
}
