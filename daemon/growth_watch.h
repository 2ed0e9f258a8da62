// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_GROWTH_WATCH_H_
#define PINWATCH_DAEMON_GROWTH_WATCH_H_

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "daemon/snapshot.h"

namespace pinwatch {

// Finds owners that hold more and more pages for long and never fewer. Who
// merely starts up stops growing, and who has a working set lets go at times.
class GrowthWatch {
 public:
  // An owner is suspected after so long, as long as it still grows.
  explicit GrowthWatch(int64_t suspect_after_ns)
      : suspect_after_ns_(suspect_after_ns) {}

  // Takes what each of the owners holds by the last looks, and notes in those
  // who are suspected why. Owners that are missing are forgotten.
  void Update(std::vector<PinOwner>& owners, Timestamp now);

  // What is held was not known for a while.
  void Clear() { histories_.clear(); }

 private:
  struct History {
    PinGrowth growth;
    uint64_t pages = 0;  // held now
    uint64_t calls = 0;  // at the last rise
    Timestamp last_rise;
  };

  bool IsSuspect(const History& history, Timestamp now) const;

  const int64_t suspect_after_ns_;
  std::map<uint32_t, History> histories_;  // by owner's id
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_GROWTH_WATCH_H_
