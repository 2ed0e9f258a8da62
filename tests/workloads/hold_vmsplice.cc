// SPDX-License-Identifier: Apache-2.0
//
// Plain references: pages queued in pipes.

#include <fcntl.h>
#include <liburing.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>

#include "workload.h"

using namespace workload;

namespace {

constexpr size_t kSlotsPerPipe = 256;  // The default pipe-max-size, in pages.

struct Pipe {
  int read_fd;
  int write_fd;
};

Pipe OpenPipe() {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0)
    Fail("pipe", "raise the hard limit of open files (ulimit -Hn)");
  if (fcntl(fds[1], F_SETPIPE_SZ, kSlotsPerPipe * kPageSize) < 0)
    Fail("fcntl(F_SETPIPE_SZ)", "raise /proc/sys/fs/pipe-user-pages-soft");
  return {fds[0], fds[1]};
}

// Queues references `begin` and following, as many as the pipe takes, and
// returns the number. References [p*M, (p+1)*M) are those of page p.
size_t FillPipe(const Pipe& pipe, char* data, size_t begin, size_t end,
                size_t references) {
  size_t done = begin;
  while (done < end) {
    std::vector<iovec> pieces;
    for (size_t i = done; i < std::min(end, done + kSlotsPerPipe); ++i)
      pieces.push_back({data + i / references * kPageSize, kPageSize});
    const ssize_t size = vmsplice(pipe.write_fd, pieces.data(), pieces.size(),
                                  SPLICE_F_NONBLOCK);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && errno == EAGAIN) break;
    if (size < 0) Fail("vmsplice", "ask for fewer references");
    // The rest of a page would need a second reference.
    if (size % kPageSize != 0)
      Fail("vmsplice took part of a page", "run it again", EIO);
    done += static_cast<size_t>(size) / kPageSize;
  }
  return done - begin;
}

size_t QueuedPages(const Pipe& pipe) {
  int size = 0;
  if (ioctl(pipe.read_fd, FIONREAD, &size) != 0)
    Fail("ioctl(FIONREAD)", "report this");
  return static_cast<size_t>(size) / kPageSize;
}

// The errno that io_uring refuses the memory with as a fixed buffer, or 0.
int TryToRegister(char* data, size_t nr_pages) {
  io_uring ring;
  if (const int error = io_uring_queue_init(1, &ring, 0))
    Fail("io_uring_queue_init", "enable io_uring", -error);
  const iovec buffer{data, nr_pages * kPageSize};
  const int result = io_uring_register_buffers(&ring, &buffer, 1);
  io_uring_queue_exit(&ring);
  return -result;
}

void RaiseOpenFileLimit() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

int main(int argc, char** argv) {
  size_t nr_pages = 0, references = 0, nr_registered = 0;
  bool register_later = false;
  CLI::App app(
      "Takes plain references, which are no pins, to anonymous pages by "
      "putting "
      "each of them into pipes with vmsplice.");
  app.add_option("--pages", nr_pages, "Distinct pages")
      ->required()
      ->check(CLI::Range(1, 1 << 24));
  app.add_option("--references", references, "References to each page")
      ->required()
      ->check(CLI::Range(1, 1 << 24));
  app.add_option("--register", nr_registered,
                 "Then try to register so many pages, these and more, with "
                 "io_uring; reports the errno as register_error")
      ->check(CLI::Range(1, 1 << 18));
  app.add_flag("--later", register_later,
               "Register only when told, after a first report");
  ParseOrExit(app, argc, argv);

  RaiseOpenFileLimit();
  const size_t nr_mapped = std::max(nr_pages, nr_registered);
  char* data = MapAnonymous(nr_mapped);
  Touch(data, nr_mapped);
  DrainLruBatches();

  std::vector<Pipe> pipes;
  const size_t total = nr_pages * references;
  size_t queued = 0;
  for (size_t done = 0; done < total;) {
    pipes.push_back(OpenPipe());
    const size_t added = FillPipe(pipes.back(), data, done, total, references);
    if (added == 0) Fail("an empty pipe takes nothing", "report this", EAGAIN);
    done += added;
    queued += QueuedPages(pipes.back());
  }
  if (queued != total) Fail("pipes hold another number", "report this", EIO);

  const std::vector<uint64_t> pfns = ReadPfns(data, nr_pages);
  Json line{{"workload", "hold-vmsplice"},
            {"pages", nr_pages},
            {"references", references},
            {"pipes", pipes.size()},
            {"pfns", pfns}};
  if (register_later) ReportAndHold(line);
  if (nr_registered)
    line["register_error"] = TryToRegister(data, nr_registered);
  ReportAndHold(line);

  const size_t moved = CountDifferences(pfns, ReadPfns(data, nr_pages));
  for (const Pipe& pipe : pipes) {
    close(pipe.write_fd);
    close(pipe.read_fd);
  }
  Report({{"workload", "hold-vmsplice"},
          {"released", true},
          {"moved_while_held", moved}});
}
