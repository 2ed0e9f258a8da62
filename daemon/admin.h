// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_ADMIN_H_
#define PINWATCH_DAEMON_ADMIN_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "daemon/asker.h"

namespace grpc {
class Server;
}

namespace pinwatch {

// Serves pinwatch.v1.AdminService on a Unix socket that its owner, and so root,
// may connect to.
class AdminServer {
  class Service;

 public:
  // What `ask_for_pause` refers to must outlive the server; an answer may come
  // even after it is gone. The errors are those of ServeOnSocket.
  static absl::StatusOr<std::unique_ptr<AdminServer>> Start(
      const std::string& socket_path, AskForPause ask_for_pause);
  explicit AdminServer(std::unique_ptr<Service> service);  // for Start alone
  ~AdminServer();

  // Refuses new calls, ends the open ones within a second and removes the
  // socket.
  void Stop();

 private:
  std::unique_ptr<Service> service_;
  std::unique_ptr<grpc::Server> server_;  // null once stopped
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_ADMIN_H_
