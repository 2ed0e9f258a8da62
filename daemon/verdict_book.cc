// SPDX-License-Identifier: Apache-2.0
#include "daemon/verdict_book.h"

#include <algorithm>
#include <utility>

#include "daemon/packed.h"
#include "daemon/removability.h"

namespace pinwatch {

template <typename Archive, Of<BlockEvidence> T>
void Fields(Archive& archive, T& evidence) {
  auto& [free, movable, hugetlb, long_term_pins, short_term_pins,
         unclaimed_pins, plain_references, kernel, reserved, offline, poisoned,
         unstable, own_struct_pages] = evidence;
  archive(free, movable, hugetlb, long_term_pins, short_term_pins,
          unclaimed_pins, plain_references, kernel, reserved, offline, poisoned,
          unstable, own_struct_pages);
}

void VerdictBook::SetBlocks(const std::vector<MemoryBlock>& blocks) {
  blocks_.clear();
  kinds_.clear();
  totals_.clear();
  for (const MemoryBlock& block : blocks)
    blocks_.emplace(
        block.id,
        &kinds_.try_emplace({block.nid, block.zone, block.state}, block)
             .first->second);
  for (auto known = evidence_.begin(); known != evidence_.end();) {
    const auto block = blocks_.find(known->first);
    if (block == blocks_.end() || block->second->state == "offline")
      known = evidence_.erase(known);
    else
      ++known;
  }
  for (const auto& [id, kind] : blocks_) Count(*kind, Find(id), 1);
}

void VerdictBook::SetEvidence(uint64_t block_id,
                              const std::optional<BlockEvidence>& evidence) {
  const auto block = blocks_.find(block_id);
  if (block != blocks_.end()) Count(*block->second, Find(block_id), -1);
  if (evidence)
    evidence_.insert_or_assign(block_id, Pack(*evidence));
  else
    evidence_.erase(block_id);
  if (block != blocks_.end()) Count(*block->second, evidence, 1);
}

std::optional<BlockEvidence> VerdictBook::Find(uint64_t block_id) const {
  const auto evidence = evidence_.find(block_id);
  if (evidence == evidence_.end()) return std::nullopt;
  return Unpack<BlockEvidence>(evidence->second);
}

void VerdictBook::Count(const MemoryBlock& kind,
                        const std::optional<BlockEvidence>& evidence,
                        int blocks) {
  Totals& totals = totals_[{
      kind.nid, kind.zone,
      VerdictOf(kind, evidence ? &*evidence : nullptr, moves_long_term_pins_)}];
  const auto times = static_cast<uint64_t>(blocks);  // -1 takes away
  totals.blocks += times;
  if (!evidence) return;
  totals.free_pages += times * evidence->free;
  totals.pages_to_move += times * evidence->to_move();
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
