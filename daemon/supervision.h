// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_SUPERVISION_H_
#define PINWATCH_DAEMON_SUPERVISION_H_

#include <cstdint>
#include <functional>
#include <string>

#include "daemon/snapshot.h"

namespace pinwatch {

// How far the loop has come, after one turn of it.
struct Turn {
  Timestamp now;
  const Snapshot* published = nullptr;  // null before the first
  uint64_t blocks_looked = 0;           // of the round under way
  uint64_t blocks_to_look = 0;
};

// What the daemon is at, in one line for a person.
std::string StatusText(const Turn& turn);

// Tells the service manager, in the lines of sd_notify(3), what a turn of the
// loop shows. Nothing is told between turns: a loop that hangs looks so.
class Supervision {
 public:
  using Send = std::function<void(const std::string& state)>;

  // `watchdog_ns` is how long the manager waits for a sign of life; 0 when it
  // does not wait for any.
  Supervision(int64_t watchdog_ns, Send send);

  void OnTurn(const Turn& turn);

 private:
  const int64_t feed_every_ns_;  // 0: never
  const Send send_;
  bool ready_ = false;
  int64_t next_feed_ns_ = 0;
  int64_t next_status_ns_ = 0;
  std::string told_;
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_SUPERVISION_H_
