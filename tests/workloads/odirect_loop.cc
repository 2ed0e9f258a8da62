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

// Reads the device from its beginning to its end, again and again, or `count`
// times unless that is 0. Does not look at `stop` while a read is in flight.
Reads ReadUntil(const std::atomic<bool>& stop, uint64_t count, int fd,
                off_t device_size, char* data, size_t size) {
  Reads reads;
  off_t offset = 0;
  while (!stop && (count == 0 || reads.done + reads.failed < count)) {
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
  std::string device, into;
  size_t nr_pages = 0, nr_readers = 1;
  uint64_t count = 0;
  CLI::App app(
      "Reads a block device with O_DIRECT into the same pages in a loop, so "
      "that they are held as long as each read is in flight.");
  app.add_option("--device", device, "Block device or file")->required();
  app.add_option("--pages", nr_pages, "4 KiB pages a read")
      ->required()
      ->check(CLI::Range(1, 1 << 18));
  app.add_option("--into", into,
                 "PID:FD, the memfd of another process; without it anonymous "
                 "pages");
  app.add_option("--count", count,
                 "Reads, all made before this reports; without it they go on "
                 "while it holds");
  app.add_option("--readers", nr_readers,
                 "Threads that read, all into the same pages: with several a "
                 "slow device leaves no moment between two reads")
      ->check(CLI::Range(1, 16));
  ParseOrExit(app, argc, argv);

  const size_t size = nr_pages * kPageSize;
  const int fd = open(device.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC);
  if (fd < 0) Fail("open " + device, "is it a block device?");
  const off_t device_size = lseek(fd, 0, SEEK_END);
  if (device_size < static_cast<off_t>(size))
    Fail(device + " is smaller than one read", "ask for fewer pages", EINVAL);

  char* data = into.empty() ? MapAnonymous(nr_pages)
                            : MapShared(OpenMemfdOf(into), nr_pages);
  Touch(data, nr_pages);
  DrainLruBatches();
  const std::vector<uint64_t> pfns = ReadPfns(data, nr_pages);

  BlockStopSignals();
  std::atomic<bool> stop = false;
  std::vector<Reads> reads(nr_readers);
  std::vector<std::thread> readers;
  for (Reads& mine : reads)
    readers.emplace_back(
        [&] { mine = ReadUntil(stop, count, fd, device_size, data, size); });
  const auto join = [&] {
    for (std::thread& reader : readers) reader.join();
    readers.clear();
  };
  if (count > 0) join();
  ReportAndHold({{"workload", "odirect-loop"},
                 {"pages", nr_pages},
                 {"device", device},
                 {"pfns", pfns}});

  stop = true;
  join();
  Reads all;
  for (const Reads& mine : reads) {
    all.done += mine.done;
    all.short_reads += mine.short_reads;
    all.failed += mine.failed;
    if (mine.last_error != 0) all.last_error = mine.last_error;
  }
  const size_t moved = CountDifferences(pfns, ReadPfns(data, nr_pages));
  Report(
      {{"workload", "odirect-loop"},
       {"released", true},
       {"reads", all.done},
       {"short_reads", all.short_reads},
       {"failed_reads", all.failed},
       {"last_errno", all.last_error},
       {"last_error",
        all.last_error == 0 ? Json() : Json(strerrorname_np(all.last_error))},
       {"moved_while_held", moved}});
}
