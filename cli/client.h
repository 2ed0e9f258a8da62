// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_CLI_CLIENT_H_
#define PINWATCH_CLI_CLIENT_H_

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
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

// Asks for the attempts to take memory blocks offline and online. The errors
// are those of Ask, and FailedPrecondition where the kernel hides attempts.
absl::StatusOr<v1::ListAttemptsResponse> AskAttempts(const Question& question);

}  // namespace pinwatch

#endif  // PINWATCH_CLI_CLIENT_H_
