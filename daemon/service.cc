// SPDX-License-Identifier: Apache-2.0
#include "daemon/service.h"

#include <grp.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "daemon/health.h"
#include "daemon/to_proto.h"
#include "daemon/utf8.h"
#include "daemon/watch.h"
#include "pinwatch/v1/pinwatch.grpc.pb.h"

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

constexpr uint32_t kMaxOwnersAPage = 500;

constexpr mode_t kUmask = 0117;  // a socket of mode 0660
constexpr mode_t kDirectoryMode = 0755;

constexpr int64_t kNsPerSecond = 1'000'000'000;

grpc::Status Unavailable(const char* message) {
  return {grpc::StatusCode::UNAVAILABLE, message};
}

grpc::Status NoSnapshotYet() {
  return Unavailable("no snapshot yet: the first census is under way");
}

// Nothing where the duration is negative or malformed; the largest number of
// nanoseconds where there are more.
std::optional<int64_t> ToNs(const google::protobuf::Duration& duration) {
  if (duration.seconds() < 0 || duration.nanos() < 0 ||
      duration.nanos() >= kNsPerSecond)
    return std::nullopt;
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  if (duration.seconds() >= kMax / kNsPerSecond) return kMax;
  return duration.seconds() * kNsPerSecond + duration.nanos();
}

grpc::Status ToGrpc(const absl::Status& status) {
  return {static_cast<grpc::StatusCode>(status.code()),
          ToUtf8(std::string(status.message()))};
}

// A call that waits for an answer of the thread that owns the state. The call
// may be cancelled, and deleted, before the answer comes: the two share a slot,
// and who takes the call out of it finishes it. It deletes itself in OnDone, as
// gRPC wants it.
template <typename Response>
class WaitingCall final : public grpc::ServerUnaryReactor {
 public:
  using Slot = std::shared_ptr<std::atomic<WaitingCall*>>;

  explicit WaitingCall(Response* response)
      : response_(response),
        slot_(std::make_shared<std::atomic<WaitingCall*>>(this)) {}

  const Slot& slot() const { return slot_; }

  // Finishes the call, if it still waits, with what `fill` makes of its
  // response.
  template <typename Fill>
  static void Answer(const Slot& slot, Fill fill) {
    WaitingCall* const call = slot->exchange(nullptr);
    if (call) call->Finish(fill(call->response_));
  }

  void OnCancel() override {
    if (slot_->exchange(nullptr)) Finish(grpc::Status::CANCELLED);
  }

  void OnDone() override { delete this; }

 private:
  Response* const response_;  // lives until Finish
  const Slot slot_;
};

// OK, or why nothing can be told of what rests on the fact.
grpc::Status RequireFact(const Snapshot& snapshot, absl::string_view name,
                         absl::string_view what) {
  for (const Fact& fact : snapshot.facts)
    if (fact.name == name && !fact.observable)
      return {grpc::StatusCode::FAILED_PRECONDITION,
              ToUtf8(absl::StrCat(what, " are not observable: ", fact.reason))};
  return grpc::Status::OK;
}

// The least id that the page may begin with; nothing for a token we never gave.
std::optional<uint64_t> FirstId(const std::string& page_token) {
  if (page_token.empty()) return 0;
  uint32_t last_id;
  if (!absl::SimpleAtoi(page_token, &last_id) ||
      page_token != absl::StrCat(last_id))
    return std::nullopt;
  return uint64_t{last_id} + 1;
}

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

class GrpcServer::Service final : public v1::PinwatchService::CallbackService {
 public:
  Service(const ServiceOptions& options, const Published<Snapshot>* snapshots,
          AskForLook ask_for_look, AskForBlock ask_for_block)
      : version_(ToUtf8(options.version)),
        revision_(ToUtf8(options.revision)),
        snapshots_(snapshots),
        ask_for_look_(std::move(ask_for_look)),
        ask_for_block_(std::move(ask_for_block)),
        watchers_(snapshots) {}

  grpc::ServerUnaryReactor* GetInfo(grpc::CallbackServerContext* context,
                                    const v1::GetInfoRequest*,
                                    v1::GetInfoResponse* response) override {
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    reactor->Finish(FillInfo(response));
    return reactor;
  }

  grpc::ServerUnaryReactor* ListAttempts(
      grpc::CallbackServerContext* context, const v1::ListAttemptsRequest*,
      v1::ListAttemptsResponse* response) override {
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    reactor->Finish(FillAttempts(response));
    return reactor;
  }

  grpc::ServerUnaryReactor* ListOwners(
      grpc::CallbackServerContext* context,
      const v1::ListOwnersRequest* request,
      v1::ListOwnersResponse* response) override {
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    reactor->Finish(FillOwners(*request, response));
    return reactor;
  }

  grpc::ServerWriteReactor<v1::WatchResponse>* Watch(
      grpc::CallbackServerContext*, const v1::WatchRequest*) override {
    return watchers_.Add();
  }

  // Ends the streams, which would end by themselves only with their clients.
  void Stop() { watchers_.Stop(); }

  grpc::ServerUnaryReactor* ExplainBlock(
      grpc::CallbackServerContext*, const v1::ExplainBlockRequest* request,
      v1::ExplainBlockResponse* response) override {
    using Call = WaitingCall<v1::ExplainBlockResponse>;
    auto* const call = new Call(response);
    ask_for_block_(request->block(),
                   [slot = call->slot()](absl::StatusOr<BlockReport> report) {
                     Call::Answer(slot, [&](v1::ExplainBlockResponse* to) {
                       if (!report.ok()) return ToGrpc(report.status());
                       *to = ToProto(*report);
                       return grpc::Status::OK;
                     });
                   });
    return call;
  }

  grpc::ServerUnaryReactor* GetSnapshot(
      grpc::CallbackServerContext* context,
      const v1::GetSnapshotRequest* request,
      v1::GetSnapshotResponse* response) override {
    if (request->has_max_age())
      if (const auto max_age_ns = ToNs(request->max_age()))
        return WaitForLook(*max_age_ns, response);
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    reactor->Finish(request->has_max_age()
                        ? grpc::Status(grpc::StatusCode::INVALID_ARGUMENT,
                                       "max_age is negative or malformed")
                        : FillPublished(response));
    return reactor;
  }

 private:
  grpc::Status FillInfo(v1::GetInfoResponse* response) const {
    const std::shared_ptr<const Snapshot> snapshot = snapshots_->Get();
    if (!snapshot) return NoSnapshotYet();
    *response = ToInfoProto(*snapshot);
    response->set_version(version_);
    response->set_revision(revision_);
    return grpc::Status::OK;
  }

  grpc::Status FillAttempts(v1::ListAttemptsResponse* response) const {
    const std::shared_ptr<const Snapshot> snapshot = snapshots_->Get();
    if (!snapshot) return NoSnapshotYet();
    if (const auto status = RequireFact(*snapshot, "hotplug", "attempts");
        !status.ok())
      return status;
    *response = ToAttemptsProto(*snapshot);
    return grpc::Status::OK;
  }

  grpc::Status FillOwners(const v1::ListOwnersRequest& request,
                          v1::ListOwnersResponse* response) const {
    const std::optional<uint64_t> first_id = FirstId(request.page_token());
    if (!first_id)
      return {grpc::StatusCode::INVALID_ARGUMENT,
              "page_token is not one of ours: send the next_page_token of the "
              "page before, or none for the first page"};
    const std::shared_ptr<const Snapshot> snapshot = snapshots_->Get();
    if (!snapshot) return NoSnapshotYet();
    if (const auto status = RequireFact(*snapshot, "claims", "owners");
        !status.ok())
      return status;
    const uint32_t size = request.page_size();
    *response =
        ToOwnersProto(*snapshot, *first_id,
                      size ? std::min(size, kMaxOwnersAPage) : kMaxOwnersAPage,
                      request.holding());
    return grpc::Status::OK;
  }

  grpc::Status FillPublished(v1::GetSnapshotResponse* response) const {
    const std::shared_ptr<const Snapshot> snapshot = snapshots_->Get();
    if (!snapshot) return NoSnapshotYet();
    *response->mutable_snapshot() = ToProto(*snapshot);
    return grpc::Status::OK;
  }

  grpc::ServerUnaryReactor* WaitForLook(int64_t max_age_ns,
                                        v1::GetSnapshotResponse* response) {
    using Call = WaitingCall<v1::GetSnapshotResponse>;
    auto* const call = new Call(response);
    ask_for_look_(max_age_ns, [slot = call->slot()](
                                  std::shared_ptr<const Snapshot> snapshot) {
      Call::Answer(slot, [&](v1::GetSnapshotResponse* to) {
        if (!snapshot) return Unavailable("the daemon is stopping");
        *to->mutable_snapshot() = ToProto(*snapshot);
        return grpc::Status::OK;
      });
    });
    return call;
  }

  const std::string version_;
  const std::string revision_;
  const Published<Snapshot>* const snapshots_;
  const AskForLook ask_for_look_;
  const AskForBlock ask_for_block_;
  Watchers watchers_;
};

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(
    ServiceOptions options, const Published<Snapshot>* snapshots,
    AskForLook ask_for_look, AskForBlock ask_for_block) {
  auto server = std::make_unique<GrpcServer>(
      std::make_unique<Service>(options, snapshots, std::move(ask_for_look),
                                std::move(ask_for_block)),
      std::make_unique<HealthService>(snapshots));
  if (absl::Status status = server->Listen(options); !status.ok())
    return status;
  return server;
}

GrpcServer::GrpcServer(std::unique_ptr<Service> service,
                       std::unique_ptr<HealthService> health)
    : service_(std::move(service)), health_(std::move(health)) {}

GrpcServer::~GrpcServer() { Stop(); }

absl::Status GrpcServer::Listen(const ServiceOptions& options) {
  const std::string& path = options.socket_path;
  const absl::StatusOr<gid_t> gid = FindGroup(options.socket_group);
  if (!gid.ok()) return gid.status();
  if (absl::Status status = MakeDirectoryOf(path); !status.ok()) return status;
  if (absl::Status status = RemoveStale(path); !status.ok()) return status;

  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  SetLimits(builder);
  builder.RegisterService(service_.get());
  builder.RegisterService(health_.get());
  // gRPC reads the path as a part of a URI.
  builder.AddListeningPort(
      absl::StrCat("unix:", absl::StrReplaceAll(path, {{"%", "%25"}})),
      grpc::InsecureServerCredentials());
  {
    const ScopedUmask umask(kUmask);
    server_ = builder.BuildAndStart();
  }
  if (!server_)
    return absl::UnavailableError(absl::StrCat("cannot listen on ", path));
  if (lchown(path.c_str(), -1, *gid))
    return absl::ErrnoToStatus(errno, absl::StrCat("chown ", path));
  return absl::OkStatus();
}

void GrpcServer::Stop() {
  if (!server_) return;
  health_->Stop();
  service_->Stop();
  // gRPC removes the socket as it stops to listen.
  server_->Shutdown(std::chrono::system_clock::now() + kGrace);
  server_.reset();
}

}  // namespace pinwatch
