// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_ASKER_H_
#define PINWATCH_DAEMON_ASKER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "daemon/snapshot.h"

namespace pinwatch {

// Asks the thread that owns the state to look afresh. Any thread may call it.
//
// `answer` is called once, with a snapshot in which no look at a memory block
// is older than max_age_ns, or with the latest one where the census is not
// observable; with null when the daemon ends before that. It runs on the
// owning thread and must not block.
using Answer = std::function<void(std::shared_ptr<const Snapshot>)>;
using AskForLook = std::function<void(int64_t max_age_ns, Answer answer)>;

// Looks at one memory block afresh and tells all that is known of it, on the
// same terms. NotFound where there is no such block, FailedPrecondition where
// blocks or the census are not observable, Unavailable when the daemon ends.
using BlockAnswer = std::function<void(absl::StatusOr<BlockReport>)>;
using AskForBlock = std::function<void(uint64_t block_id, BlockAnswer answer)>;

// Looks at one page afresh, on the same terms.
using PageAnswer = std::function<void(absl::StatusOr<PageReport>)>;
using AskForPage = std::function<void(uint64_t pfn, PageAnswer answer)>;

// Lists the verdicts on memory blocks as of their last looks, on the same
// terms.
using BlocksAnswer = std::function<void(absl::StatusOr<BlockList>)>;
using AskForBlocks = std::function<void(BlockQuery query, BlocksAnswer answer)>;

// Plans what to take offline, as of the last looks, on the same terms.
using PlanAnswer = std::function<void(absl::StatusOr<OfflinePlan>)>;
using AskForPlan = std::function<void(PlanQuery query, PlanAnswer answer)>;

// All that can be asked.
struct Askers {
  AskForLook look;
  AskForBlock block;
  AskForPage page;
  AskForBlocks blocks;
  AskForPlan plan;
};

// Since when it is paused; after a pause has ended by this order, how long it
// lasted.
struct PauseState {
  std::optional<Timestamp> since;
  std::optional<int64_t> lasted_ns;
};

// Detaches every hook and looks at no memory unasked, or ends that, on the same
// terms. FailedPrecondition where the kernel does not let it end.
using PauseAnswer = std::function<void(absl::StatusOr<PauseState>)>;
using AskForPause = std::function<void(bool pause, PauseAnswer answer)>;

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_ASKER_H_
