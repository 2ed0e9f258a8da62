// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_CLI_OFFLINE_H_
#define PINWATCH_CLI_OFFLINE_H_

#include <sys/types.h>

#include <cstdint>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace pinwatch {

// Asks the kernel to take a memory block offline, in a thread of its own, since
// the kernel may try for ever.
class Offline {
 public:
  // Null if the block is offline already. NotFound where there is no such
  // block, PermissionDenied for who is not root. `root` is the folder that the
  // host's files are in, empty but in tests.
  static absl::StatusOr<std::unique_ptr<Offline>> Begin(const std::string& root,
                                                        uint64_t block);
  explicit Offline(int state_fd);  // takes it over; for Begin alone
  // Interrupts it if it has not ended, and waits for the end.
  ~Offline();
  Offline(const Offline&) = delete;
  Offline& operator=(const Offline&) = delete;

  // What came of it, 0 or an errno; nothing if it goes on after that time.
  std::optional<int> Wait(absl::Duration timeout);

  // Has the kernel give up, which it does at the next page.
  void Interrupt();

  // The thread that the kernel takes for the asker.
  pid_t tid() const { return tid_; }

 private:
  std::promise<int> error_;
  std::future<int> result_;
  std::optional<int> ended_;
  pid_t tid_ = 0;
  std::thread thread_;
};

}  // namespace pinwatch

#endif  // PINWATCH_CLI_OFFLINE_H_
