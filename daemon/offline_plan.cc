// SPDX-License-Identifier: Apache-2.0
#include "daemon/offline_plan.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

namespace pinwatch {
namespace {

// Which blocks go first; nothing for those that no plan can use.
std::optional<int> RankOf(const BlockVerdict& block) {
  const BlockEvidence& evidence = block.evidence;
  switch (block.verdict) {
    case Verdict::kRemovable:
      return 0;
    case Verdict::kRemovableAfterMigration:
      return 1;
    case Verdict::kBlockedByShortTermPins:
      if (evidence.plain_references) return std::nullopt;
      return 2;
    case Verdict::kBlockedByLongTermPins:
      if (evidence.unclaimed_pins || evidence.plain_references)
        return std::nullopt;
      return 3;
    default:
      return std::nullopt;
  }
}

// Whoever lets go of a page need not free it.
uint64_t PagesToMove(const BlockEvidence& evidence) {
  return evidence.to_move() + evidence.pins();
}

std::vector<VerdictCount> CountVerdicts(
    const std::vector<BlockVerdict>& blocks) {
  std::map<std::tuple<int, std::string, Verdict>, uint64_t> counts;
  for (const BlockVerdict& block : blocks)
    ++counts[{block.block.nid, block.block.zone, block.verdict}];
  std::vector<VerdictCount> result;
  for (const auto& [key, blocks_of] : counts)
    result.push_back({std::get<int>(key), std::get<std::string>(key),
                      std::get<Verdict>(key), blocks_of});
  return result;
}

}  // namespace

OfflinePlan ChooseBlocks(PlanBasis basis, uint64_t bytes) {
  OfflinePlan plan{.free_pages = basis.free_pages};
  plan.verdicts = CountVerdicts(basis.blocks);
  // Of ZONE_MOVABLE first: that is what it is for, and verdicts there last.
  std::vector<std::tuple<int, bool, uint64_t, uint64_t, BlockVerdict*>> order;
  for (BlockVerdict& block : basis.blocks)
    if (const std::optional<int> rank = RankOf(block))
      order.emplace_back(*rank, block.block.zone != "Movable",
                         block.evidence.pins() + PagesToMove(block.evidence),
                         block.block.id, &block);
  std::sort(order.begin(), order.end());
  for (const auto& [rank, is_kernels, cost, id, block] : order) {
    if (plan.bytes >= bytes) break;
    const uint64_t own = std::min(block->evidence.free, plan.free_pages);
    const uint64_t moves = PagesToMove(block->evidence);
    if (plan.pages_to_move + moves > plan.free_pages - own) {
      ++plan.no_room_blocks;
      continue;
    }
    plan.pages_to_move += moves;
    plan.free_pages -= own;
    plan.bytes += basis.block_size_bytes;
    if (block->look &&
        (!plan.oldest_look ||
         block->look->monotonic_ns < plan.oldest_look->monotonic_ns))
      plan.oldest_look = block->look;
    plan.blocks.push_back({.verdict = std::move(*block), .owners = {}});
  }
  return plan;
}

}  // namespace pinwatch
