// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_GRPC_SOCKET_H_
#define PINWATCH_DAEMON_GRPC_SOCKET_H_

#include <grpcpp/grpcpp.h>
#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace pinwatch {

struct SocketOptions {
  std::string path;   // its directory is made if only that is missing
  std::string group;  // that owns the socket; empty: the daemon's own
  mode_t mode = 0600;
};

// Serves the services, which must outlive the server, and reflection on a Unix
// socket, which goes with the server.
//
// AlreadyExists when another pinwatchd answers there; NotFound when there is no
// such group; InvalidArgument when no socket can be there. While it is made,
// the umask of the process is another.
absl::StatusOr<std::unique_ptr<grpc::Server>> ServeOnSocket(
    const SocketOptions& options, const std::vector<grpc::Service*>& services);

// Refuses new calls, ends the open ones within a second and removes the socket.
void StopServer(std::unique_ptr<grpc::Server>& server);

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_GRPC_SOCKET_H_
