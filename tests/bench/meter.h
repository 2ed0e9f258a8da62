// SPDX-License-Identifier: Apache-2.0
//
// Counts the instructions of work in a guest that QEMU runs with
// -icount shift=1,sleep=off: there time advances by 2 ns an instruction.

#ifndef PINWATCH_TESTS_BENCH_METER_H_
#define PINWATCH_TESTS_BENCH_METER_H_

#include <cstddef>
#include <functional>
#include <string>

namespace bench {

enum class Clock {
  // All that the machine ran. For work that does not sleep: a sample during
  // which the thread was switched out is taken again.
  kMachine,
  // What this thread ran, and the interrupts that came meanwhile. For work
  // that waits for others.
  kThread,
};

struct Work {
  std::function<void()> prepare;  // not counted; may be empty
  std::function<void()> run;
  std::function<void()> undo;          // not counted; may be empty
  std::function<double()> units = {};  // of the last run; empty: one
};

struct Counted {
  // Of one unit: the median of the runs, or with the thread's clock the upper
  // quartile.
  double instructions = 0;
  size_t runs = 0;  // with those thrown away
};

// Fails unless the clocks count a loop of known length rightly.
void CheckClocks();

// Runs the work a few times for nothing, then `nr_samples` times (odd).
Counted Count(Clock clock, size_t nr_samples, const Work& work);

}  // namespace bench

#endif  // PINWATCH_TESTS_BENCH_METER_H_
