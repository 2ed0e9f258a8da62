// SPDX-License-Identifier: Apache-2.0
//
// Short-term pins, or on older kernels plain references: direct reads.

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>

#include "workload.h"

using namespace workload;

namespace {

struct Reads {
  uint64_t done = 0;
  uint64_t short_reads = 0;
  uint64_t failed = 0;
  int last_error = 0;
};

// Reads the device from its beginning to its end, again and again. Does not
// look at `stop` while a read is in flight.
Reads ReadUntil(const std::atomic<bool>& stop, int fd, off_t device_size,
                char* data, size_t size) {
  Reads reads;
  off_t offset = 0;
  while (!stop) {
    if (offset + static_cast<off_t>(size) > device_size) offset = 0;
    const ssize_t got = pread(fd, data, size, offset);
    if (got < 0) {
      ++reads.failed;
      reads.last_error = errno;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      continue;
    }
    ++reads.done;
    if (static_cast<size_t>(got) < size) ++reads.short_reads;
    offset += static_cast<off_t>(size);
  }
  return reads;
}

}  // namespace

int main(int argc, char** argv) {
  std::string device, file;
  size_t nr_pages = 0;
  CLI::App app(
      "Reads a block device with O_DIRECT into the same pages in a "
      "loop, so that they are held as long as each read is in flight.");
  app.add_option("--device", device, "Block device or file")->required();
  app.add_option("--pages", nr_pages, "4 KiB pages a read")
      ->required()
      ->check(CLI::Range(1, 1 << 18));
  app.add_option("--file", file,
                 "Into pages of this file, which others may share, instead");
  ParseOrExit(app, argc, argv);

  const size_t size = nr_pages * kPageSize;
  const int fd = open(device.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC);
  if (fd < 0) Fail("open " + device, "is it a block device?");
  const off_t device_size = lseek(fd, 0, SEEK_END);
  if (device_size < static_cast<off_t>(size))
    Fail(device + " is smaller than one read", "ask for fewer pages", EINVAL);

  char* data = file.empty() ? MapAnonymous(nr_pages)
                            : MapShared(OpenFile(file, nr_pages), nr_pages);
  Touch(data, nr_pages);
  DrainLruBatches();
  const std::vector<uint64_t> pfns = ReadPfns(data, nr_pages);

  BlockStopSignals();
  std::atomic<bool> stop = false;
  Reads reads;
  std::thread reader(
      [&] { reads = ReadUntil(stop, fd, device_size, data, size); });
  ReportAndHold({{"workload", "odirect-loop"},
                 {"pages", nr_pages},
                 {"pid", getpid()},
                 {"device", device},
                 {"pfns", pfns}});

  stop = true;
  reader.join();
  const size_t moved = CountDifferences(pfns, ReadPfns(data, nr_pages));
  Report({{"workload", "odirect-loop"},
          {"released", true},
          {"reads", reads.done},
          {"short_reads", reads.short_reads},
          {"failed_reads", reads.failed},
          {"last_errno", reads.last_error},
          {"last_error", reads.last_error == 0
                             ? Json()
                             : Json(strerrorname_np(reads.last_error))},
          {"moved_while_held", moved}});
}
