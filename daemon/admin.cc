// SPDX-License-Identifier: Apache-2.0
#include "daemon/admin.h"

#include <google/protobuf/util/time_util.h>
#include <grpcpp/grpcpp.h>

#include <utility>

#include "daemon/grpc_socket.h"
#include "daemon/waiting_call.h"
#include "pinwatch/v1/admin.grpc.pb.h"

namespace pinwatch {
namespace {

using google::protobuf::util::TimeUtil;

}  // namespace

class AdminServer::Service final : public v1::AdminService::CallbackService {
 public:
  explicit Service(AskForPause ask_for_pause)
      : ask_for_pause_(std::move(ask_for_pause)) {}

  grpc::ServerUnaryReactor* Pause(grpc::CallbackServerContext*,
                                  const v1::PauseRequest*,
                                  v1::PauseResponse* response) override {
    return Ask(true, response, [](const PauseState& state, auto* to) {
      if (state.since)
        *to->mutable_since() =
            TimeUtil::NanosecondsToTimestamp(state.since->realtime_ns);
    });
  }

  grpc::ServerUnaryReactor* Resume(grpc::CallbackServerContext*,
                                   const v1::ResumeRequest*,
                                   v1::ResumeResponse* response) override {
    return Ask(false, response, [](const PauseState& state, auto* to) {
      if (state.lasted_ns)
        *to->mutable_paused() =
            TimeUtil::NanosecondsToDuration(*state.lasted_ns);
    });
  }

 private:
  template <typename Response, typename Fill>
  grpc::ServerUnaryReactor* Ask(bool pause, Response* response, Fill fill) {
    return WaitFor<PauseState>(
        response,
        [&](PauseAnswer answer) { ask_for_pause_(pause, std::move(answer)); },
        fill);
  }

  const AskForPause ask_for_pause_;
};

absl::StatusOr<std::unique_ptr<AdminServer>> AdminServer::Start(
    const std::string& socket_path, AskForPause ask_for_pause) {
  auto admin = std::make_unique<AdminServer>(
      std::make_unique<Service>(std::move(ask_for_pause)));
  absl::StatusOr<std::unique_ptr<grpc::Server>> server =
      ServeOnSocket({.path = socket_path}, {admin->service_.get()});
  if (!server.ok()) return server.status();
  admin->server_ = *std::move(server);
  return admin;
}

AdminServer::AdminServer(std::unique_ptr<Service> service)
    : service_(std::move(service)) {}

AdminServer::~AdminServer() { Stop(); }

void AdminServer::Stop() {
  if (!server_) return;
  StopServer(server_);
}

}  // namespace pinwatch
