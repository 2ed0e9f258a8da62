// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_VERDICT_BOOK_H_
#define PINWATCH_DAEMON_VERDICT_BOOK_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "daemon/snapshot.h"

namespace pinwatch {

// The verdict on every memory block, and what these add up to. It is kept up to
// date with each look: a host has many blocks, of which few change.
class VerdictBook {
 public:
  explicit VerdictBook(bool moves_long_term_pins)
      : moves_long_term_pins_(moves_long_term_pins) {}

  // Evidence of blocks that are none of these, or are offline, is forgotten.
  void SetBlocks(const std::vector<MemoryBlock>& blocks);

  // What a look found; nothing where the census could not look.
  void SetEvidence(uint64_t block_id, std::optional<BlockEvidence> evidence);

  // Null where there is none.
  const BlockEvidence* Find(uint64_t block_id) const;

  std::vector<VerdictCount> counts() const;
  uint64_t free_pages() const;  // of all blocks
  std::vector<RemovableMemory> Removable(uint64_t block_size_bytes) const;

 private:
  struct Totals {
    uint64_t blocks = 0;
    uint64_t free_pages = 0;
    uint64_t pages_to_move = 0;
  };

  Totals& TotalsOf(const MemoryBlock& block);
  void Count(const MemoryBlock& block);
  void Uncount(const MemoryBlock& block);

  const bool moves_long_term_pins_;
  std::map<uint64_t, MemoryBlock> blocks_;
  std::map<uint64_t, BlockEvidence> evidence_;
  std::map<std::tuple<int, std::string, Verdict>, Totals> totals_;
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_VERDICT_BOOK_H_
