// SPDX-License-Identifier: Apache-2.0
//
// The kinds of work that bench-pins counts, and what they have in common.

#ifndef PINWATCH_TESTS_BENCH_WORK_H_
#define PINWATCH_TESTS_BENCH_WORK_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

#include "tests/workloads/workload.h"

namespace bench {

struct Options {
  std::string device;
  bool quick = false;

  size_t Samples(size_t usual) const { return quick ? 1 : usual; }
};

struct Result {
  double instructions = 0;  // a unit
  workload::Json truth;     // what the kernel says of it
};

// Ends the program where the kernel says otherwise.
void Require(bool is_so, const std::string& what, int64_t found);

// All of /proc/vmstat, by name, with what each CPU has counted until now.
std::map<std::string, int64_t> ReadVmstat();

// A page more that is queued in a pipe, and so has a reference, while this is.
class PageInPipe {
 public:
  explicit PageInPipe(const char* page);
  ~PageInPipe();
  PageInPipe(const PageInPipe&) = delete;
  PageInPipe& operator=(const PageInPipe&) = delete;

 private:
  int fds_[2] = {-1, -1};
};

// Work with the one memory block that is offline.
Result OfflineFull(const Options& options);
Result OnlineEmpty(const Options& options);
// A round of an attempt that a page in a pipe keeps from its end.
Result RetryOffline(const Options& options);

// A call that moves one page to the other node, one that moves 32, and one that
// fails to move one.
Result MigratePage(const Options& options);
Result MigratePages(const Options& options);
Result MigrateHeldPage(const Options& options);

}  // namespace bench

#endif  // PINWATCH_TESTS_BENCH_WORK_H_
