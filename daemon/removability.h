// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_REMOVABILITY_H_
#define PINWATCH_DAEMON_REMOVABILITY_H_

#include <cstdint>
#include <functional>
#include <string>

#include "daemon/holdings.h"
#include "daemon/snapshot.h"
#include "daemon/source.h"

namespace pinwatch {

// What of a block's evidence only the rest of the host tells.
struct HostState {
  // Long-term pins leave ZONE_MOVABLE, as from Linux v5.13 on.
  bool moves_long_term_pins = true;
  uint64_t free_pages = 0;  // of all blocks that were looked at
};

// The pages of a look by what they mean. So many of the block hold its own
// struct pages, and go with it. Those that owners for whom `is_stopped` holds
// pin alone are taken to be movable; it may be empty.
BlockEvidence EvidenceOf(const BlockLook& look, const HoldingRules& rules,
                         uint64_t own_struct_pages,
                         const std::function<bool(uint32_t)>& is_stopped = {});

// Whether it rests on what reads like memory of the kernel in ZONE_MOVABLE,
// where none but what is reserved stays: a page on its way into use or out of
// it reads so, too.
bool MayPass(Verdict verdict, const MemoryBlock& block,
             const BlockEvidence& evidence);

// `evidence` is null where the census could not look at the block.
Verdict VerdictOf(const MemoryBlock& block, const BlockEvidence* evidence,
                  bool moves_long_term_pins);

// One sentence: what that verdict rests on.
std::string ReasonFor(Verdict verdict, const MemoryBlock& block,
                      const BlockEvidence& evidence, const HostState& host);

// `age_ns` is the age of the look; it is outdated when a pin counter of the
// block's node has moved since.
Confidence ConfidenceIn(Verdict verdict, const MemoryBlock& block,
                        const BlockEvidence& evidence, const HostState& host,
                        int64_t age_ns, bool outdated);

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_REMOVABILITY_H_
