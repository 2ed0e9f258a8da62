// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_OFFLINE_PLAN_H_
#define PINWATCH_DAEMON_OFFLINE_PLAN_H_

#include <cstdint>
#include <vector>

#include "daemon/snapshot.h"

namespace pinwatch {

// What a plan is made of.
struct PlanBasis {
  std::vector<BlockVerdict> blocks;  // that may be chosen
  uint64_t block_size_bytes = 0;
  uint64_t free_pages = 0;  // of the whole host
};

// Chooses blocks until they come to `bytes`, or none is left: first those in
// which nothing has to move, then those with the least to move, then those that
// wait for short-term pins, then those that nothing but long-term pins of known
// holders keep, the fewest pages first. What has to move must fit into what is
// free outside the chosen blocks. Fills all that needs no owners.
OfflinePlan ChooseBlocks(PlanBasis basis, uint64_t bytes);

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_OFFLINE_PLAN_H_
