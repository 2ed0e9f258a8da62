// SPDX-License-Identifier: Apache-2.0
#include "daemon/verdict_book.h"

#include <algorithm>
#include <utility>

#include "daemon/removability.h"

namespace pinwatch {

void VerdictBook::SetBlocks(const std::vector<MemoryBlock>& blocks) {
  blocks_.clear();
  totals_.clear();
  for (const MemoryBlock& block : blocks) blocks_.emplace(block.id, block);
  std::erase_if(evidence_, [&](const auto& known) {
    const auto block = blocks_.find(known.first);
    return block == blocks_.end() || block->second.state == "offline";
  });
  for (const auto& [id, block] : blocks_) Count(block);
}

void VerdictBook::SetEvidence(uint64_t block_id,
                              std::optional<BlockEvidence> evidence) {
  const auto block = blocks_.find(block_id);
  if (block != blocks_.end()) Uncount(block->second);
  if (evidence)
    evidence_.insert_or_assign(block_id, *evidence);
  else
    evidence_.erase(block_id);
  if (block != blocks_.end()) Count(block->second);
}

const BlockEvidence* VerdictBook::Find(uint64_t block_id) const {
  const auto evidence = evidence_.find(block_id);
  return evidence == evidence_.end() ? nullptr : &evidence->second;
}

VerdictBook::Totals& VerdictBook::TotalsOf(const MemoryBlock& block) {
  return totals_[{block.nid, block.zone,
                  VerdictOf(block, Find(block.id), moves_long_term_pins_)}];
}

void VerdictBook::Count(const MemoryBlock& block) {
  Totals& totals = TotalsOf(block);
  ++totals.blocks;
  if (const BlockEvidence* evidence = Find(block.id)) {
    totals.free_pages += evidence->free;
    totals.pages_to_move += evidence->to_move();
  }
}

void VerdictBook::Uncount(const MemoryBlock& block) {
  Totals& totals = TotalsOf(block);
  --totals.blocks;
  if (const BlockEvidence* evidence = Find(block.id)) {
    totals.free_pages -= evidence->free;
    totals.pages_to_move -= evidence->to_move();
  }
}

std::vector<VerdictCount> VerdictBook::counts() const {
  std::vector<VerdictCount> counts;
  for (const auto& [key, totals] : totals_)
    if (totals.blocks)
      counts.push_back({std::get<int>(key), std::get<std::string>(key),
                        std::get<Verdict>(key), totals.blocks});
  return counts;
}

uint64_t VerdictBook::free_pages() const {
  uint64_t pages = 0;
  for (const auto& [key, totals] : totals_) pages += totals.free_pages;
  return pages;
}

std::vector<RemovableMemory> VerdictBook::Removable(
    uint64_t block_size_bytes) const {
  struct Parts {
    Totals removable;
    Totals movable;
  };
  std::map<int, Parts> nodes;
  for (const auto& [key, totals] : totals_) {
    const auto& [nid, zone, verdict] = key;
    Parts& node = nodes[nid];
    if (verdict == Verdict::kRemovable ||
        verdict == Verdict::kRemovableAfterMigration) {
      Totals& part =
          verdict == Verdict::kRemovable ? node.removable : node.movable;
      part.blocks += totals.blocks;
      part.free_pages += totals.free_pages;
      part.pages_to_move += totals.pages_to_move;
    }
  }
  const uint64_t all_free = free_pages();
  std::vector<RemovableMemory> result;
  for (const auto& [nid, node] : nodes) {
    // If a share of the blocks that have to move something goes, that share of
    // what they hold must fit into what is free in the others and elsewhere.
    const uint64_t room = all_free - node.removable.free_pages;
    const uint64_t whole = node.movable.pages_to_move + node.movable.free_pages;
    const uint64_t blocks =
        whole <= room
            ? node.movable.blocks
            : static_cast<uint64_t>(static_cast<double>(node.movable.blocks) *
                                    static_cast<double>(room) /
                                    static_cast<double>(whole));
    result.push_back(
        {nid, (node.removable.blocks + blocks) * block_size_bytes});
  }
  return result;
}

}  // namespace pinwatch
