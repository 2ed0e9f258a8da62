// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_CLI_CLIENT_H_
#define PINWATCH_CLI_CLIENT_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "pinwatch/v1/admin.pb.h"
#include "pinwatch/v1/pinwatch.pb.h"

namespace pinwatch {

struct Question {
  std::string socket_path;
  absl::Duration timeout;  // for all of it
  // When set: look again at what was last looked at longer ago.
  std::optional<absl::Duration> max_age;
};

struct Answers {
  v1::GetInfoResponse info;
  v1::Snapshot snapshot;
};

// Asks the daemon. Unavailable when it does not run, does not answer in time
// or is not ready, PermissionDenied where the socket may not be opened; else
// the code of the call that failed. The message tells a user what to do.
absl::StatusOr<Answers> Ask(const Question& question);

// Asks for the owners, all pages of them, or for those that hold something now.
// The errors are those of Ask, and FailedPrecondition where claims are not
// observable.
absl::StatusOr<v1::ListOwnersResponse> AskOwners(const Question& question,
                                                 bool holding);

// Asks for a look at one memory block. The errors are those of Ask, NotFound
// where there is no such block, and FailedPrecondition where blocks or the
// census are not observable.
absl::StatusOr<v1::ExplainBlockResponse> AskBlock(const Question& question,
                                                  uint64_t block);

// The same for one page.
absl::StatusOr<v1::ExplainPageResponse> AskPage(const Question& question,
                                                uint64_t pfn);

// Asks for the verdicts on memory blocks, all pages of them. `request` has the
// filters. The errors are those of Ask, and FailedPrecondition where the census
// is not observable. With Question::max_age it looks again before.
absl::StatusOr<v1::ListBlocksResponse> AskBlocks(const Question& question,
                                                 v1::ListBlocksRequest request);

// Asks what to take offline; the same errors, and the same of the age.
absl::StatusOr<v1::PlanOfflineResponse> AskPlan(
    const Question& question, const v1::PlanOfflineRequest& request);

// Calls `tell` with each message of a stream of changes, until it returns an
// error, which is then the answer, or the stream ends. The timeout is for the
// daemon to answer at all. The errors are those of Ask; Unavailable also when
// the daemon goes, ResourceExhausted when too many watch already.
absl::Status Watch(
    const Question& question,
    const std::function<absl::Status(const v1::WatchResponse&)>& tell);

// Orders a pause, or its end, on the socket of orders. The errors are those of
// Ask, and FailedPrecondition where the kernel does not let a pause end.
absl::StatusOr<v1::PauseResponse> OrderPause(const Question& question);
absl::StatusOr<v1::ResumeResponse> OrderResume(const Question& question);

// Asks for what migration has come to, all pages of it. The errors are those of
// Ask, and FailedPrecondition where the kernel hides migrations.
absl::StatusOr<v1::ListMigrationsResponse> AskMigrations(
    const Question& question);

// Asks for the attempts to take memory blocks offline and online, all pages of
// them. The errors are those of Ask, and FailedPrecondition where the kernel
// hides attempts.
absl::StatusOr<v1::ListAttemptsResponse> AskAttempts(const Question& question);

}  // namespace pinwatch

#endif  // PINWATCH_CLI_CLIENT_H_
