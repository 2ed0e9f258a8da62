// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_DIFFERENCE_H_
#define PINWATCH_DAEMON_DIFFERENCE_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "daemon/snapshot.h"

namespace pinwatch {

// What leads from one snapshot to a later one of the same daemon. Times of
// looks and how long an attempt has run are no difference by themselves.
struct Difference {
  uint64_t generation = 0;  // of the snapshot it leads to, as is the time
  Timestamp time;
  // What is new or changed.
  std::vector<Node> nodes;
  std::vector<Zone> zones;
  std::vector<PinOwner> owners;
  std::vector<HotplugAttempt> attempts;
  std::vector<Migrations> migrations;
  std::vector<SubsystemCalls> calls;
  // The same; what is gone has 0 pages, or 0 blocks. Ages are no difference.
  std::vector<PinAttribution> attributions;
  std::vector<PinKinds> pin_kinds;
  std::vector<BlockCount> blocks;
  // What is gone. Zones go with their node; attempts that are no longer kept
  // are not told.
  std::vector<int> nodes_gone;
  std::vector<uint32_t> owners_gone;
  bool pause_changed = false;
  std::optional<Timestamp> paused_since;
  // New or changed; a verdict that is gone has 0 blocks.
  std::vector<VerdictCount> verdicts;
  std::vector<RemovableMemory> removable;
  // Calls that are new among these, or of whose page something else is known;
  // and those that are not among them any more.
  std::vector<PinRetry> pin_retries;
  std::vector<PinRetry> pin_retries_ended;
  uint64_t block_size_bytes = 0;

  // Whether nothing is told but generation and time.
  bool empty() const;
};

Difference Diff(const Snapshot& from, const Snapshot& to);

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_DIFFERENCE_H_
