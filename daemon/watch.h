// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_WATCH_H_
#define PINWATCH_DAEMON_WATCH_H_

#include <grpcpp/support/server_callback.h>

#include <memory>
#include <mutex>
#include <set>
#include <stop_token>
#include <thread>

#include "daemon/published.h"
#include "daemon/snapshot.h"
#include "pinwatch/v1/pinwatch.pb.h"

namespace pinwatch {

// The calls of Watch that are open. For each it keeps one snapshot, the last it
// told of, and one message at most.
class Watchers {
 public:
  static constexpr size_t kMax = 32;

  // `snapshots` must outlive it.
  explicit Watchers(const Published<Snapshot>* snapshots);
  ~Watchers();

  // Ends every call, now and from now on, so that none holds up the server.
  void Stop();

  // A new call, which gRPC owns.
  grpc::ServerWriteReactor<v1::WatchResponse>* Add();

 private:
  class Watcher;

  void Follow(std::stop_token stop);

  const Published<Snapshot>* const snapshots_;
  std::mutex mutex_;  // also guards what the watchers hold
  std::set<Watcher*> watchers_;
  bool stopped_ = false;
  std::jthread follower_;
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_WATCH_H_
