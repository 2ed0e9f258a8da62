// SPDX-License-Identifier: Apache-2.0
#include "daemon/call_book.h"

#include <iterator>
#include <optional>

namespace pinwatch {

void CallBook::Add(std::vector<OwnerCalls> calls) {
  pending_.insert(pending_.end(), std::make_move_iterator(calls.begin()),
                  std::make_move_iterator(calls.end()));
}

std::vector<SubsystemCalls> CallBook::AddUp(const OwnerBook& owners) {
  for (const OwnerCalls& calls : pending_) {
    const std::optional<PinOwner> owner = owners.Find(calls.owner);
    totals_[{owner ? owner->subsystem : "unknown", calls.long_term}] +=
        calls.calls;
  }
  pending_.clear();
  std::vector<SubsystemCalls> all;
  for (const auto& [key, calls] : totals_)
    all.push_back({key.first, key.second, calls});
  return all;
}

}  // namespace pinwatch
