// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_CLOCK_H_
#define PINWATCH_DAEMON_CLOCK_H_

#include <time.h>

#include <cstdint>

#include "daemon/snapshot.h"

namespace pinwatch {

inline int64_t ReadClockNs(clockid_t clock) {
  timespec time;
  clock_gettime(clock, &time);
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

inline Timestamp Now() {
  return {.realtime_ns = ReadClockNs(CLOCK_REALTIME),
          .monotonic_ns = ReadClockNs(CLOCK_MONOTONIC)};
}

// When the monotonic clock showed that, `now` being the present.
inline Timestamp At(uint64_t monotonic_ns, Timestamp now) {
  const auto ns = static_cast<int64_t>(monotonic_ns);
  return {.realtime_ns = now.realtime_ns - (now.monotonic_ns - ns),
          .monotonic_ns = ns};
}

// CPU time of the calling thread.
inline int64_t ThreadCpuNs() { return ReadClockNs(CLOCK_THREAD_CPUTIME_ID); }

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_CLOCK_H_
