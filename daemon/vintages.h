// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_VINTAGES_H_
#define PINWATCH_DAEMON_VINTAGES_H_

#include <array>
#include <bitset>
#include <cstdint>
#include <vector>

#include "bpf/events.h"

namespace pinwatch {

// Times at which old claims were made, by number: a claim has no room for the
// time itself. There are few numbers, so that close times share one, and the
// older a time is the coarser it gets: by at most 8 % of its age.
// Times are only ever taken for earlier than they were.
//
// Numbers that no claim has any more are found by walks over all claims:
// between BeginWalk() and EndWalk() each claim's number is renewed.
class Vintages {
 public:
  // `made_ns` has PINWATCH_VINTAGES times of CLOCK_MONOTONIC by number; 0 where
  // a number is free.
  explicit Vintages(uint64_t* made_ns) : made_ns_(made_ns) {}

  // When claims of that number were made.
  int64_t MadeNs(uint32_t number) const {
    return static_cast<int64_t>(made_ns_[number]);
  }

  void BeginWalk(int64_t now_ns);
  // The number that the claim is to have from now on, most often the same.
  uint32_t Renew(uint32_t number);
  // A number for claims made then.
  uint32_t NumberFor(int64_t made_ns);
  // What no claim was given in this walk is free.
  void EndWalk();

 private:
  struct Vintage {
    uint64_t made_ns;
    uint32_t number;
  };

  static size_t ClosestPair(const std::vector<Vintage>& by_age, int64_t now_ns);

  uint64_t* const made_ns_;
  std::array<uint32_t, PINWATCH_VINTAGES> renewed_{};  // by old number
  std::bitset<PINWATCH_VINTAGES> used_;
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_VINTAGES_H_
