// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_HISTORY_H_
#define PINWATCH_DAEMON_HISTORY_H_

#include <functional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/published.h"
#include "daemon/snapshot.h"

namespace pinwatch {

// Attempts that have ended, the newest first.
using AttemptHistory = std::vector<HotplugAttempt>;

// Reads what SaveAttempts wrote, in this boot of the host or an earlier one.
// NotFound: there is no such file. DataLoss: it is none of ours, or cut short;
// then it is put aside as PATH.unreadable.
absl::StatusOr<AttemptHistory> LoadAttempts(const std::string& path,
                                            Timestamp now);

// The file is a serialized pinwatch.v1.ListAttemptsResponse, and is replaced as
// a whole.
absl::Status SaveAttempts(const std::string& path,
                          const AttemptHistory& attempts);

// Saves what is published, in a thread of its own: a disk may take its time.
class HistoryWriter {
 public:
  // `on_saved` is called in that thread, after each try.
  HistoryWriter(std::string path,
                std::function<void(const absl::Status&)> on_saved);
  // Waits until the last is saved.
  ~HistoryWriter();

  void Set(AttemptHistory attempts);

 private:
  void Run(const std::stop_token& stop);

  const std::string path_;
  const std::function<void(const absl::Status&)> on_saved_;
  Published<AttemptHistory> latest_;
  std::jthread thread_;
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_HISTORY_H_
