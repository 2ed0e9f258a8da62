// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_LOOKS_H_
#define PINWATCH_DAEMON_LOOKS_H_

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "daemon/snapshot.h"
#include "daemon/source.h"

namespace pinwatch {

// The last look at each memory block, and what these add up to. A host has many
// blocks: what is asked each second is kept up to date with each look, and the
// looks themselves are packed.
class Looks {
 public:
  using Cells = std::array<census_cell, PINWATCH_MAX_MIGRATETYPES>;

  // All looks at one zone of a node, added up.
  struct ZoneTotals {
    Cells cells{};
    // Of each look, CLOCK_MONOTONIC and then CLOCK_REALTIME.
    absl::btree_multiset<std::pair<int64_t, int64_t>> times;

    Timestamp oldest_look() const {
      return {.realtime_ns = times.begin()->second,
              .monotonic_ns = times.begin()->first};
    }
  };
  using Totals = std::map<std::pair<int, unsigned>, ZoneTotals>;  // nid, zone

  // When blocks were last looked at.
  struct Order {
    // CLOCK_MONOTONIC, block id
    absl::btree_set<std::pair<int64_t, uint64_t>> seen;
    absl::btree_set<uint64_t> unseen;  // never looked at

    // Appends those whose last look is older than that, with its time; what was
    // never looked at has INT64_MIN.
    void AppendUnseenSince(int64_t monotonic_ns,
                           std::vector<std::pair<int64_t, uint64_t>>& to) const;
  };

  // Nodes by block, -1 where that is not known.
  using Nids = absl::btree_map<uint64_t, int>;

  // The blocks that have pages. Looks at others are forgotten.
  void SetBlocks(Nids nid_of);

  void Set(const BlockLook& look);

  // Nothing where there is none.
  std::optional<BlockLook> Find(uint64_t block_id) const;
  std::optional<Timestamp> TimeOf(uint64_t block_id) const;

  const Totals& totals() const { return totals_; }
  // Blocks in which something reads as pinned.
  const absl::btree_set<uint64_t>& with_pins() const { return with_pins_; }
  // Rises when what looks found of pins is no longer the same.
  uint64_t pins_version() const { return pins_version_; }
  // Of the blocks that have pages, by node.
  const std::map<int, Order>& orders() const { return orders_; }
  size_t nr_blocks() const { return nid_of_.size(); }
  bool HasPages(uint64_t block_id) const { return nid_of_.count(block_id); }

  // Blocks whose last look is older than that, the longest unseen first.
  std::vector<uint64_t> UnseenSince(int64_t monotonic_ns) const;
  std::optional<uint64_t> LongestUnseen() const;

 private:
  void Add(const BlockLook& look);
  void Remove(const BlockLook& look);

  Nids nid_of_;
  absl::btree_map<uint64_t, std::string> looks_;  // packed
  Totals totals_;
  absl::btree_set<uint64_t> with_pins_;
  uint64_t pins_version_ = 0;
  std::map<int, Order> orders_;
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_LOOKS_H_
