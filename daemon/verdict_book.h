// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_VERDICT_BOOK_H_
#define PINWATCH_DAEMON_VERDICT_BOOK_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "absl/container/btree_map.h"
#include "daemon/snapshot.h"

namespace pinwatch {

// The verdict on every memory block, and what these add up to. It is kept up to
// date with each look: a host has many blocks, of which few change. What many
// of them have in common is there once, and the evidence is packed.
class VerdictBook {
 public:
  explicit VerdictBook(bool moves_long_term_pins)
      : moves_long_term_pins_(moves_long_term_pins) {}

  // Evidence of blocks that are none of these, or are offline, is forgotten.
  void SetBlocks(const std::vector<MemoryBlock>& blocks);

  // What a look found; nothing where the census could not look.
  void SetEvidence(uint64_t block_id,
                   const std::optional<BlockEvidence>& evidence);

  // Nothing where there is none.
  std::optional<BlockEvidence> Find(uint64_t block_id) const;

  std::vector<VerdictCount> counts() const;
  uint64_t free_pages() const;  // of all blocks
  std::vector<RemovableMemory> Removable(uint64_t block_size_bytes) const;

 private:
  struct Totals {
    uint64_t blocks = 0;
    uint64_t free_pages = 0;
    uint64_t pages_to_move = 0;
  };

  // A block but for its number.
  using Kind = std::tuple<int, std::string, std::string>;  // nid, zone, state

  // Adds one of that kind, or takes it away: 1 or -1 blocks.
  void Count(const MemoryBlock& kind,
             const std::optional<BlockEvidence>& evidence, int blocks);

  const bool moves_long_term_pins_;
  std::map<Kind, MemoryBlock> kinds_;
  absl::btree_map<uint64_t, const MemoryBlock*> blocks_;  // of these
  absl::btree_map<uint64_t, std::string> evidence_;       // packed
  std::map<std::tuple<int, std::string, Verdict>, Totals> totals_;
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_VERDICT_BOOK_H_
