// SPDX-License-Identifier: Apache-2.0
//
// What the workload programs share. Each does one thing to memory, says on one
// line of JSON what it did, holds it until it is told to stop, undoes it and
// says so. Every function here ends the program with one line on stderr when
// the system refuses: a workload that half worked is no ground truth.

#ifndef PINWATCH_TESTS_WORKLOADS_WORKLOAD_H_
#define PINWATCH_TESTS_WORKLOADS_WORKLOAD_H_

#include <liburing.h>
#include <sys/uio.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace workload {

using Json = nlohmann::ordered_json;

inline constexpr size_t kPageSize = 4096;
inline constexpr size_t kPagesPerHugePage = 512;
inline constexpr size_t kHugePageSize = kPageSize * kPagesPerHugePage;

// Prints "NAME: what: strerror(error) (advice)" and exits 1.
[[noreturn]] void Fail(const std::string& what, const std::string& advice,
                       int error = errno);

// Exits 0 after --help and 2 after a usage error.
void ParseOrExit(CLI::App& app, int argc, char** argv);

uint64_t MonotonicNs();

// Page-aligned anonymous memory of exactly `nr_pages` order-0 pages, not yet
// touched. It stays mapped until the program ends.
char* MapAnonymous(size_t nr_pages);

// The same for the first `nr_pages` pages of `fd`, shared.
char* MapShared(int fd, size_t nr_pages);

// Anonymous memory, not yet touched, for whole transparent huge pages.
char* MapHugePages(size_t nr_huge_pages);

// The same of hugetlbfs: huge pages that vm.nr_hugepages reserves.
char* MapReservedHugePages(size_t nr_huge_pages);

// A memfd of `nr_pages` pages.
int CreateMemfd(size_t nr_pages);

// "PID:FD", a memfd of another process, opened here.
int OpenMemfdOf(const std::string& pid_and_fd);

// Writes something different into every page, so that each is present, is not
// the zero page and equals no other.
void Touch(char* data, size_t nr_pages);

// Runs the calling thread on this CPU alone.
void StayOnCpu(int cpu);

// Empties the per-CPU batches of pages on their way to an LRU list: each page
// waiting in one carries a reference that is none of the workload's doing.
void DrainLruBatches();

// The pfns of present pages, from /proc/self/pagemap.
std::vector<uint64_t> ReadPfns(const char* data, size_t nr_pages);

enum class HugePages { kTransparent, kReserved };

// The head pfns of memory that must consist of whole huge pages of that kind.
std::vector<uint64_t> ReadHeadPfns(const char* data, size_t nr_huge_pages,
                                   HugePages kind = HugePages::kTransparent);

size_t CountDifferences(const std::vector<uint64_t>& a,
                        const std::vector<uint64_t>& b);

// Long-term pins: memory registered as fixed buffers of an io_uring, one buffer
// for each GiB begun, which is the most a buffer may have.
class FixedBuffers {
 public:
  FixedBuffers(char* data, size_t size);
  explicit FixedBuffers(const std::vector<iovec>& buffers);
  FixedBuffers(const FixedBuffers&) = delete;
  FixedBuffers& operator=(const FixedBuffers&) = delete;

  // Clones the buffers into a second ring and lets the first go: the pins are
  // the same, of a ring that never asked for pages.
  void MoveToClone();

  // The pins are gone when this returns.
  void Unregister();

  size_t nr_buffers() const { return nr_buffers_; }
  uint64_t register_ns() const { return register_ns_; }

 private:
  io_uring ring_;
  size_t nr_buffers_ = 0;
  uint64_t register_ns_ = 0;
};

// One line on stdout, flushed.
void Report(const Json& line);

// From here on SIGTERM and SIGINT interrupt system calls instead of killing.
void CatchStopSignals();

// Keeps SIGTERM and SIGINT from this thread and those it starts; the wait of
// ReportAndHold still sees them.
void BlockStopSignals();

// Gives this process the name that the kernel shows for it.
void SetName(const std::string& name);

// Reports, and its own pid with it, then waits for a line or the end of stdin,
// SIGTERM or SIGINT (one that was caught earlier counts). What follows is not
// interrupted by them.
void ReportAndHold(const Json& line);

}  // namespace workload

#endif  // PINWATCH_TESTS_WORKLOADS_WORKLOAD_H_
