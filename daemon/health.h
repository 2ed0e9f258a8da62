// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_HEALTH_H_
#define PINWATCH_DAEMON_HEALTH_H_

#include <mutex>
#include <set>
#include <stop_token>
#include <thread>

#include "daemon/published.h"
#include "daemon/snapshot.h"
#include "grpc/health/v1/health.grpc.pb.h"

namespace pinwatch {

// grpc.health.v1.Health: the server is up once a snapshot is published.
class HealthService final : public grpc::health::v1::Health::CallbackService {
 public:
  // `snapshots` must outlive the service.
  explicit HealthService(const Published<Snapshot>* snapshots);
  ~HealthService() override;

  // Ends every Watch, now and from now on, so that none holds up the server.
  void Stop();

  grpc::ServerUnaryReactor* Check(
      grpc::CallbackServerContext* context,
      const grpc::health::v1::HealthCheckRequest* request,
      grpc::health::v1::HealthCheckResponse* response) override;

  grpc::ServerWriteReactor<grpc::health::v1::HealthCheckResponse>* Watch(
      grpc::CallbackServerContext* context,
      const grpc::health::v1::HealthCheckRequest* request) override;

 private:
  class Watcher;

  grpc::health::v1::HealthCheckResponse::ServingStatus Status() const;
  void WaitForSnapshot(std::stop_token stop);

  const Published<Snapshot>* const snapshots_;
  std::mutex mutex_;  // also guards what the watchers hold
  std::set<Watcher*> watchers_;
  bool stopped_ = false;
  std::jthread waiter_;  // ends with the first snapshot: none is taken back
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_HEALTH_H_
