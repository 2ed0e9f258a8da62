// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_GROWTH_WATCH_H_
#define PINWATCH_DAEMON_GROWTH_WATCH_H_

#include <cstdint>
#include <map>
#include <set>

#include "absl/container/btree_map.h"
#include "daemon/snapshot.h"

namespace pinwatch {

// Finds owners that hold more and more pages for long and never fewer. Who
// merely starts up stops growing, and who has a working set lets go at times.
class GrowthWatch {
 public:
  // An owner is suspected after so long, as long as it still grows.
  explicit GrowthWatch(int64_t suspect_after_ns)
      : suspect_after_ns_(suspect_after_ns) {}

  // Takes what the owner holds by the last looks, whenever that has changed.
  void Update(const PinOwner& owner, Timestamp now);
  void Forget(uint32_t owner);

  // Those who are suspected now, and why.
  std::map<uint32_t, PinGrowth> Suspects(Timestamp now) const;

  // What is held was not known for a while.
  void Clear();

 private:
  struct History {
    PinGrowth growth;
    uint64_t pages = 0;  // held now
    uint64_t calls = 0;  // at the last rise
    Timestamp last_rise;
  };

  bool IsSuspect(const History& history, Timestamp now) const;

  const int64_t suspect_after_ns_;
  absl::btree_map<uint32_t, History> histories_;  // by owner's id
  std::set<uint32_t> growing_;                    // of these, with enough rises
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_GROWTH_WATCH_H_
