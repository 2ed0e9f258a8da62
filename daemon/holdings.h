// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_HOLDINGS_H_
#define PINWATCH_DAEMON_HOLDINGS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <vector>

#include "daemon/attribution.h"
#include "daemon/inference.h"
#include "daemon/owner_book.h"
#include "daemon/snapshot.h"
#include "daemon/source.h"

namespace pinwatch {

// What attribution goes by, beside the look itself.
struct HoldingRules {
  const OwnerBook& book;
  const ClaimGaps& gaps;
  std::function<std::string(unsigned zone)> zone_name;
  // Whether a node's counter says that nothing of it is pinned.
  std::function<bool(int nid)> is_pinless;
  int64_t overdue_ns = 0;  // how long a short-term pin may last
  Timestamp now;
  const Inference* inference = nullptr;  // null: holders are not inferred
};

// How pages are attributed, and what each owner holds of them.
struct Holdings {
  std::vector<PinAttribution> attributions;
  // Without the ages of long-term pins, which grow by themselves: see KindsAt.
  std::vector<PinKinds> kinds;
  // Of each of the kinds, long-term pages by when they were claimed.
  std::vector<std::map<int64_t, uint64_t>> long_term_made;
  OwnerBook::Held by_owner;
  // By place in Inference::candidates.
  std::map<size_t, std::vector<InferredPages>> by_candidate;
  // CLOCK_MONOTONIC; from then on time alone makes this another.
  int64_t valid_until_ns = INT64_MAX;
};

// Who holds the pages of one group.
Attribution AttributeBy(const PinGroup& group, const HoldingRules& rules);

void AddHoldings(const BlockLook& look, const HoldingRules& rules,
                 Holdings& to);

// The kinds as of now.
std::vector<PinKinds> KindsAt(const Holdings& holdings, Timestamp now);

// Those who hold something, with that alone, by id.
std::vector<PinOwner> HoldersOf(const Holdings& holdings,
                                const OwnerBook& book);

// The candidates that may hold something, by pid.
std::vector<InferredHolder> InferredHolders(const Holdings& holdings,
                                            const HoldingRules& rules);

// What a page is attributed by, without where it stands and how many it is.
PinGroup GroupOf(const ListedPage& page);

// The listed pages that keep their block from going offline.
std::vector<BlockingPage> BlockersOf(const BlockLook& look,
                                     const HoldingRules& rules);

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_HOLDINGS_H_
