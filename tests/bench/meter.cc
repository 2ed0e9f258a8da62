// SPDX-License-Identifier: Apache-2.0

#include "tests/bench/meter.h"

#include <sys/resource.h>
#include <time.h>
#include <x86intrin.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "tests/workloads/workload.h"

namespace bench {

namespace {

using workload::Fail;

constexpr int kNsPerInstruction = 2;
constexpr size_t kWarmUps = 3;
constexpr size_t kMostDisturbed = 1000;

uint64_t ThreadNs() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 +
         static_cast<uint64_t>(now.tv_nsec);
}

// Under -icount the time stamp counter is the guest's clock in nanoseconds.
uint64_t ReadNs(Clock clock) {
  return clock == Clock::kMachine ? __rdtsc() : ThreadNs();
}

long SwitchesOfThread() {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_nvcsw + usage.ru_nivcsw;
}

// Of what a thread runs in the kernel its clock was seen to miss up to a tick
// where others wake up meanwhile, and never to count too much. So its samples
// have a ceiling and not a middle.
double Quantile(Clock clock) { return clock == Clock::kMachine ? 0.5 : 0.75; }

double AtQuantile(std::vector<double> values, double quantile) {
  const auto rank = static_cast<size_t>(quantile * (values.size() - 1));
  const auto at = values.begin() + static_cast<ptrdiff_t>(rank);
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

void Call(const std::function<void()>& function) {
  if (function) function();
}

// Nanoseconds of one unit, or -1 if the run was disturbed. A run of nothing
// takes `own` nanoseconds.
double Sample(Clock clock, double own, const Work& work) {
  Call(work.prepare);
  const long switches = SwitchesOfThread();
  const uint64_t begin = ReadNs(clock);
  work.run();
  const uint64_t end = ReadNs(clock);
  const bool disturbed =
      clock == Clock::kMachine && SwitchesOfThread() != switches;
  Call(work.undo);
  const double units = work.units ? work.units() : 1;
  return disturbed ? -1 : (static_cast<double>(end - begin) - own) / units;
}

Counted CountWithClock(Clock clock, size_t nr_samples, double own,
                       const Work& work) {
  Counted counted;
  for (; counted.runs < kWarmUps; ++counted.runs) Sample(clock, own, work);
  std::vector<double> samples;
  while (samples.size() < nr_samples) {
    if (counted.runs++ > kWarmUps + nr_samples + kMostDisturbed)
      Fail("run undisturbed",
           "what else takes the CPU, or does the work sleep?", EBUSY);
    const double sample = Sample(clock, own, work);
    if (sample >= 0) samples.push_back(sample);
  }
  counted.instructions =
      AtQuantile(std::move(samples), Quantile(clock)) / kNsPerInstruction;
  return counted;
}

}  // namespace

Counted Count(Clock clock, size_t nr_samples, const Work& work) {
  const Work nothing{.prepare = {}, .run = [] {}, .undo = {}};
  const double own =
      CountWithClock(clock, 101, 0, nothing).instructions * kNsPerInstruction;
  return CountWithClock(clock, nr_samples, own, work);
}

void CheckClocks() {
  constexpr double kTolerance = 0.002;
  // So short that few runs have an interrupt in them: beside the daemon the
  // upper quartile of 200,000 had one on Linux v7.3.
  constexpr uint64_t kInstructions = 40'000;
  const Work loop{.prepare = {},
                  .run =
                      [] {
                        uint64_t left = kInstructions / 2;
                        asm volatile("1: dec %0\n jnz 1b" : "+r"(left));
                      },
                  .undo = {}};
  for (const Clock clock : {Clock::kMachine, Clock::kThread}) {
    const double counted = Count(clock, 51, loop).instructions;
    if (std::abs(counted / kInstructions - 1) > kTolerance)
      Fail("a loop of " + std::to_string(kInstructions) +
               " instructions counts as " +
               std::to_string(std::llround(counted)),
           "start the guest with scripts/vm --icount", EINVAL);
  }
}

}  // namespace bench
