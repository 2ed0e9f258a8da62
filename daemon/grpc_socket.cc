// SPDX-License-Identifier: Apache-2.0
#include "daemon/grpc_socket.h"

#include <grp.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace pinwatch {
namespace {

constexpr int kMaxReceiveBytes = 64 * 1024;
constexpr int kMaxStreams = 32;  // a connection
constexpr size_t kMaxMemoryBytes = 32 * 1024 * 1024;
constexpr int kHandshakeTimeoutMs = 5'000;
constexpr int kKeepaliveTimeMs = 60'000;
constexpr int kKeepaliveTimeoutMs = 20'000;
constexpr int kMinPingIntervalMs = 10'000;

constexpr std::chrono::seconds kGrace(1);  // for open calls when it stops

constexpr mode_t kDirectoryMode = 0755;

// Sets the umask of the process while it lives.
class ScopedUmask {
 public:
  explicit ScopedUmask(mode_t mask) : old_(umask(mask)) {}
  ~ScopedUmask() { umask(old_); }
  ScopedUmask(const ScopedUmask&) = delete;
  ScopedUmask& operator=(const ScopedUmask&) = delete;

 private:
  const mode_t old_;
};

// The group's id; the one that leaves a file's group alone for no name.
absl::StatusOr<gid_t> FindGroup(const std::string& name) {
  if (name.empty()) return static_cast<gid_t>(-1);
  std::vector<char> buffer(4096);
  group entry;
  group* found = nullptr;
  int error;
  while ((error = getgrnam_r(name.c_str(), &entry, buffer.data(), buffer.size(),
                             &found)) == ERANGE)
    buffer.resize(buffer.size() * 2);
  if (error)
    return absl::ErrnoToStatus(error, absl::StrCat("look up group ", name));
  if (!found)
    return absl::NotFoundError(
        absl::StrCat("socket group ", name, " does not exist"));
  return entry.gr_gid;
}

absl::Status MakeDirectoryOf(const std::string& path) {
  const std::string directory =
      std::filesystem::path(path).parent_path().string();
  if (directory.empty()) return absl::OkStatus();
  // With chmod: the mode of mkdir loses what the umask says.
  if (mkdir(directory.c_str(), kDirectoryMode) == 0)
    return chmod(directory.c_str(), kDirectoryMode) == 0
               ? absl::OkStatus()
               : absl::ErrnoToStatus(errno, absl::StrCat("chmod ", directory));
  return errno == EEXIST
             ? absl::OkStatus()
             : absl::ErrnoToStatus(errno, absl::StrCat("mkdir ", directory));
}

absl::StatusOr<sockaddr_un> SocketAddress(const std::string& path) {
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  if (path.empty() || path.size() >= sizeof(address.sun_path))
    return absl::InvalidArgumentError(
        absl::StrCat("socket path must have 1 to ",
                     sizeof(address.sun_path) - 1, " bytes: ", path));
  std::copy(path.begin(), path.end(), address.sun_path);
  return address;
}

// 0, or the errno of an attempt to connect.
int TryConnect(const sockaddr_un& address) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return errno;
  const int error =
      connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address))
          ? errno
          : 0;
  close(fd);
  return error;
}

// Clears the way for a socket: removes that of a daemon which is dead.
absl::Status RemoveStale(const std::string& path) {
  const absl::StatusOr<sockaddr_un> address = SocketAddress(path);
  if (!address.ok()) return address.status();
  struct stat file;
  if (lstat(path.c_str(), &file))
    return errno == ENOENT
               ? absl::OkStatus()
               : absl::ErrnoToStatus(errno, absl::StrCat("stat ", path));
  if (!S_ISSOCK(file.st_mode))
    return absl::InvalidArgumentError(
        absl::StrCat(path, " exists and is no socket"));
  // EAGAIN: it lives, and more clients wait than it takes.
  const int error = TryConnect(*address);
  if (!error || error == EAGAIN)
    return absl::AlreadyExistsError(
        absl::StrCat("another pinwatchd answers on ", path));
  if (error != ECONNREFUSED)
    return absl::ErrnoToStatus(error, absl::StrCat("connect ", path));
  if (unlink(path.c_str()))
    return absl::ErrnoToStatus(errno, absl::StrCat("unlink ", path));
  return absl::OkStatus();
}

void SetLimits(grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(kMaxReceiveBytes);
  builder.SetResourceQuota(
      grpc::ResourceQuota("pinwatchd").Resize(kMaxMemoryBytes));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxStreams);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS,
                             kHandshakeTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveTimeMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
                             kKeepaliveTimeoutMs);
  builder.AddChannelArgument(
      GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
      kMinPingIntervalMs);
}

}  // namespace

absl::StatusOr<std::unique_ptr<grpc::Server>> ServeOnSocket(
    const SocketOptions& options, const std::vector<grpc::Service*>& services) {
  const std::string& path = options.path;
  const absl::StatusOr<gid_t> gid = FindGroup(options.group);
  if (!gid.ok()) return gid.status();
  if (absl::Status status = MakeDirectoryOf(path); !status.ok()) return status;
  if (absl::Status status = RemoveStale(path); !status.ok()) return status;

  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  SetLimits(builder);
  for (grpc::Service* service : services) builder.RegisterService(service);
  // gRPC reads the path as a part of a URI.
  builder.AddListeningPort(
      absl::StrCat("unix:", absl::StrReplaceAll(path, {{"%", "%25"}})),
      grpc::InsecureServerCredentials());
  std::unique_ptr<grpc::Server> server;
  {
    // A socket is made with mode 0777.
    const ScopedUmask umask(0777 & ~options.mode);
    server = builder.BuildAndStart();
  }
  if (!server)
    return absl::UnavailableError(absl::StrCat("cannot listen on ", path));
  if (lchown(path.c_str(), -1, *gid))
    return absl::ErrnoToStatus(errno, absl::StrCat("chown ", path));
  return server;
}

void StopServer(std::unique_ptr<grpc::Server>& server) {
  // gRPC removes the socket as it stops to listen.
  server->Shutdown(std::chrono::system_clock::now() + kGrace);
  server.reset();
}

}  // namespace pinwatch
