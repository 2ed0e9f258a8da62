// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_SERVICE_H_
#define PINWATCH_DAEMON_SERVICE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "daemon/asker.h"
#include "daemon/published.h"
#include "daemon/snapshot.h"

namespace grpc {
class Server;
}

namespace pinwatch {

class HealthService;

struct ServiceOptions {
  // Its directory is made if only that is missing.
  std::string socket_path;
  // Group that may connect; empty: the daemon's own.
  std::string socket_group;
  std::string version;
  std::string revision;  // of git; empty when not built from it
};

// Serves pinwatch.v1.PinwatchService, grpc.health.v1.Health and reflection on
// a Unix socket that its owner and one group may connect to.
class GrpcServer {
  class Service;

 public:
  // `snapshots` must outlive the server, and what the askers refer to must too.
  // An answer may come at any time, even after the server is gone.
  //
  // AlreadyExists when another pinwatchd answers on the socket; NotFound when
  // there is no such group; InvalidArgument when no socket can be there. While
  // it is made, the umask of the process is another.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(
      ServiceOptions options, const Published<Snapshot>* snapshots,
      Askers askers);
  GrpcServer(std::unique_ptr<Service> service,
             std::unique_ptr<HealthService> health);  // for Start alone
  ~GrpcServer();

  // Refuses new calls, ends the open ones within two seconds and removes the
  // socket.
  void Stop();

 private:
  std::unique_ptr<Service> service_;
  std::unique_ptr<HealthService> health_;
  std::unique_ptr<grpc::Server> server_;  // null once stopped
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_SERVICE_H_
