// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_CLI_FOLLOW_OFFLINE_H_
#define PINWATCH_CLI_FOLLOW_OFFLINE_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "cli/client.h"
#include "pinwatch/v1/pinwatch.pb.h"

namespace pinwatch {

// What came of `pinwatch offline`.
struct OfflineEnd {
  bool was_offline = false;  // nothing had to be done
  int error = 0;             // errno
  int signal = 0;            // that interrupted it; 0: none
  absl::Duration took;
  // That attempt alone, with the owners it names; no attempt where pinwatchd
  // was not asked or does not tell.
  v1::ListAttemptsResponse story;
};

// Takes the block offline, until that ends or a signal interrupts it: SIGINT,
// SIGTERM, SIGHUP, or SIGPIPE in the name of `tell` when that fails. With a
// question `tell` gets some lines after a second and then less and less often,
// and the end has its story. The errors are those of Offline::Begin: nothing
// was done.
absl::StatusOr<OfflineEnd> FollowOffline(
    const std::string& root, uint64_t block,
    const std::optional<Question>& question,
    const std::function<bool(absl::string_view)>& tell);

// "memory9 did not go offline: EINTR after 3.8 s", and what its story tells.
std::string OfflineEndText(uint64_t block, const OfflineEnd& end);

}  // namespace pinwatch

#endif  // PINWATCH_CLI_FOLLOW_OFFLINE_H_
