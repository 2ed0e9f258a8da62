// SPDX-License-Identifier: Apache-2.0
#include "daemon/service.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "daemon/grpc_socket.h"
#include "daemon/health.h"
#include "daemon/to_proto.h"
#include "daemon/utf8.h"
#include "daemon/waiting_call.h"
#include "daemon/watch.h"
#include "pinwatch/v1/pinwatch.grpc.pb.h"

namespace pinwatch {
namespace {

constexpr uint32_t kMaxOwnersAPage = 500;
constexpr uint32_t kMaxAttemptsAPage = 256;
constexpr uint32_t kMaxFailuresAPage = 128;
constexpr uint32_t kMaxBlocksAPage = 4096;  // below 2 MiB

constexpr mode_t kSocketMode = 0660;

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
  uint32_t last_id;  // of an owner, a memory block, an attempt or a failure
  if (!absl::SimpleAtoi(page_token, &last_id) ||
      page_token != absl::StrCat(last_id))
    return std::nullopt;
  return uint64_t{last_id} + 1;
}

grpc::Status BadToken() {
  return {grpc::StatusCode::INVALID_ARGUMENT,
          "page_token is not one of ours: send the next_page_token of the "
          "page before, or none for the first page"};
}

// The blocks of one page; `first_id` is of its token.
BlockQuery ToQuery(const v1::ListBlocksRequest& request, uint64_t first_id) {
  const uint32_t size = request.page_size();
  BlockQuery query{
      .first_id = first_id,
      .limit = size ? std::min(size, kMaxBlocksAPage) : kMaxBlocksAPage};
  if (request.has_nid()) query.nid = static_cast<int>(request.nid());
  if (!request.zone().empty()) query.zone = request.zone();
  query.verdict = FromProto(request.verdict());
  query.device = request.device();
  return query;
}

PlanQuery ToQuery(const v1::PlanOfflineRequest& request) {
  PlanQuery query{.bytes = request.bytes()};
  if (request.has_nid()) query.nid = static_cast<int>(request.nid());
  if (request.stopped_case() == v1::PlanOfflineRequest::STOPPED_NOT_SET)
    return query;
  StoppedHolder stopped;
  if (request.has_stopped_pid()) stopped.pid = request.stopped_pid();
  stopped.unit = request.stopped_unit();
  stopped.cgroup = request.stopped_cgroup();
  query.stopped = std::move(stopped);
  return query;
}

}  // namespace

class GrpcServer::Service final : public v1::PinwatchService::CallbackService {
 public:
  Service(const ServiceOptions& options, const Published<Snapshot>* snapshots,
          Askers askers)
      : version_(ToUtf8(options.version)),
        revision_(ToUtf8(options.revision)),
        snapshots_(snapshots),
        ask_for_look_(std::move(askers.look)),
        ask_for_block_(std::move(askers.block)),
        ask_for_page_(std::move(askers.page)),
        ask_for_blocks_(std::move(askers.blocks)),
        ask_for_plan_(std::move(askers.plan)),
        watchers_(snapshots) {}

  grpc::ServerUnaryReactor* GetInfo(grpc::CallbackServerContext* context,
                                    const v1::GetInfoRequest*,
                                    v1::GetInfoResponse* response) override {
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    reactor->Finish(FillInfo(response));
    return reactor;
  }

  grpc::ServerUnaryReactor* ListAttempts(
      grpc::CallbackServerContext* context,
      const v1::ListAttemptsRequest* request,
      v1::ListAttemptsResponse* response) override {
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    reactor->Finish(FillAttempts(*request, response));
    return reactor;
  }

  grpc::ServerUnaryReactor* ListMigrations(
      grpc::CallbackServerContext* context,
      const v1::ListMigrationsRequest* request,
      v1::ListMigrationsResponse* response) override {
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    reactor->Finish(FillMigrations(*request, response));
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
    return WaitFor<BlockReport>(
        response,
        [&](BlockAnswer answer) {
          ask_for_block_(request->block(), std::move(answer));
        },
        [](const BlockReport& report, auto* to) { *to = ToProto(report); });
  }

  grpc::ServerUnaryReactor* ExplainPage(
      grpc::CallbackServerContext*, const v1::ExplainPageRequest* request,
      v1::ExplainPageResponse* response) override {
    return WaitFor<PageReport>(
        response,
        [&](PageAnswer answer) {
          ask_for_page_(request->pfn(), std::move(answer));
        },
        [](const PageReport& report, auto* to) { *to = ToProto(report); });
  }

  grpc::ServerUnaryReactor* ListBlocks(
      grpc::CallbackServerContext* context,
      const v1::ListBlocksRequest* request,
      v1::ListBlocksResponse* response) override {
    const std::optional<uint64_t> first_id = FirstId(request->page_token());
    if (!first_id) return Refuse(context, BadToken());
    const std::shared_ptr<const Snapshot> snapshot = snapshots_->Get();
    if (!snapshot) return Refuse(context, NoSnapshotYet());
    return WaitFor<BlockList>(
        response,
        [&](BlocksAnswer answer) {
          ask_for_blocks_(ToQuery(*request, *first_id), std::move(answer));
        },
        [bytes = snapshot->block_size_bytes](const BlockList& list, auto* to) {
          *to = ToBlocksProto(list, bytes);
        });
  }

  grpc::ServerUnaryReactor* PlanOffline(
      grpc::CallbackServerContext* context,
      const v1::PlanOfflineRequest* request,
      v1::PlanOfflineResponse* response) override {
    if (request->bytes() == 0)
      return Refuse(context,
                    {grpc::StatusCode::INVALID_ARGUMENT, "bytes is 0"});
    const std::shared_ptr<const Snapshot> snapshot = snapshots_->Get();
    if (!snapshot) return Refuse(context, NoSnapshotYet());
    return WaitFor<OfflinePlan>(
        response,
        [&](PlanAnswer answer) {
          ask_for_plan_(ToQuery(*request), std::move(answer));
        },
        [block_size_bytes = snapshot->block_size_bytes,
         bytes = request->bytes()](const OfflinePlan& plan, auto* to) {
          *to = ToPlanProto(plan, block_size_bytes, bytes);
        });
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
  static grpc::ServerUnaryReactor* Refuse(grpc::CallbackServerContext* context,
                                          const grpc::Status& status) {
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    reactor->Finish(status);
    return reactor;
  }

  grpc::Status FillInfo(v1::GetInfoResponse* response) const {
    const std::shared_ptr<const Snapshot> snapshot = snapshots_->Get();
    if (!snapshot) return NoSnapshotYet();
    *response = ToInfoProto(*snapshot);
    response->set_version(version_);
    response->set_revision(revision_);
    return grpc::Status::OK;
  }

  grpc::Status FillAttempts(const v1::ListAttemptsRequest& request,
                            v1::ListAttemptsResponse* response) const {
    // The newest come first: the page has those before the last of the other.
    const std::optional<uint64_t> after_last = FirstId(request.page_token());
    if (!after_last || *after_last == 1) return BadToken();  // no id is 0
    const std::shared_ptr<const Snapshot> snapshot = snapshots_->Get();
    if (!snapshot) return NoSnapshotYet();
    if (const auto status = RequireFact(*snapshot, "hotplug", "attempts");
        !status.ok())
      return status;
    const uint32_t size = request.page_size();
    *response = ToAttemptsProto(
        *snapshot, *after_last ? *after_last - 1 : 0,
        size ? std::min(size, kMaxAttemptsAPage) : kMaxAttemptsAPage);
    return grpc::Status::OK;
  }

  grpc::Status FillMigrations(const v1::ListMigrationsRequest& request,
                              v1::ListMigrationsResponse* response) const {
    const std::optional<uint64_t> first_id = FirstId(request.page_token());
    if (!first_id) return BadToken();
    const std::shared_ptr<const Snapshot> snapshot = snapshots_->Get();
    if (!snapshot) return NoSnapshotYet();
    if (const auto status = RequireFact(*snapshot, "migrations", "migrations");
        !status.ok())
      return status;
    const uint32_t size = request.page_size();
    *response = ToMigrationsProto(
        *snapshot, *first_id,
        size ? std::min(size, kMaxFailuresAPage) : kMaxFailuresAPage);
    return grpc::Status::OK;
  }

  grpc::Status FillOwners(const v1::ListOwnersRequest& request,
                          v1::ListOwnersResponse* response) const {
    const std::optional<uint64_t> first_id = FirstId(request.page_token());
    if (!first_id) return BadToken();
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
  const AskForPage ask_for_page_;
  const AskForBlocks ask_for_blocks_;
  const AskForPlan ask_for_plan_;
  Watchers watchers_;
};

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(
    ServiceOptions options, const Published<Snapshot>* snapshots,
    Askers askers) {
  auto server = std::make_unique<GrpcServer>(
      std::make_unique<Service>(options, snapshots, std::move(askers)),
      std::make_unique<HealthService>(snapshots));
  absl::StatusOr<std::unique_ptr<grpc::Server>> listening =
      ServeOnSocket({.path = options.socket_path,
                     .group = options.socket_group,
                     .mode = kSocketMode},
                    {server->service_.get(), server->health_.get()});
  if (!listening.ok()) return listening.status();
  server->server_ = *std::move(listening);
  return server;
}

GrpcServer::GrpcServer(std::unique_ptr<Service> service,
                       std::unique_ptr<HealthService> health)
    : service_(std::move(service)), health_(std::move(health)) {}

GrpcServer::~GrpcServer() { Stop(); }

void GrpcServer::Stop() {
  if (!server_) return;
  health_->Stop();
  service_->Stop();
  StopServer(server_);
}

}  // namespace pinwatch
