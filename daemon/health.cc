// SPDX-License-Identifier: Apache-2.0
#include "daemon/health.h"

#include <optional>
#include <string>

#include "pinwatch/v1/pinwatch.grpc.pb.h"

namespace pinwatch {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

bool IsHere(const std::string& service) {
  return service.empty() || service == v1::PinwatchService::service_full_name();
}

}  // namespace

// One call of Watch. All but its callbacks run under the mutex of the service.
// It deletes itself in OnDone, as gRPC wants it.
class HealthService::Watcher final
    : public grpc::ServerWriteReactor<HealthCheckResponse> {
 public:
  Watcher(HealthService* service, bool is_here)
      : service_(service), is_here_(is_here) {}

  // Sends the state if it is news to the client.
  void Update() {
    const auto status =
        is_here_ ? service_->Status() : HealthCheckResponse::SERVICE_UNKNOWN;
    if (finished_ || writing_ || sent_ == status) return;
    writing_ = true;
    sent_ = status;
    response_.set_status(status);
    StartWrite(&response_);
  }

  void End(const grpc::Status& status) {
    if (finished_) return;
    finished_ = true;
    Finish(status);
  }

  void OnWriteDone(bool ok) override {
    std::lock_guard lock(service_->mutex_);
    writing_ = false;
    if (ok)
      Update();
    else
      End(grpc::Status::CANCELLED);
  }

  void OnCancel() override {
    std::lock_guard lock(service_->mutex_);
    End(grpc::Status::CANCELLED);
  }

  void OnDone() override {
    {
      std::lock_guard lock(service_->mutex_);
      service_->watchers_.erase(this);
    }
    delete this;
  }

 private:
  HealthService* const service_;
  const bool is_here_;
  HealthCheckResponse response_;
  std::optional<HealthCheckResponse::ServingStatus> sent_;
  bool writing_ = false;  // gRPC takes one write at a time
  bool finished_ = false;
};

HealthService::HealthService(const Published<Snapshot>* snapshots)
    : snapshots_(snapshots),
      waiter_([this](std::stop_token stop) { WaitForSnapshot(stop); }) {}

HealthService::~HealthService() = default;

void HealthService::Stop() {
  std::lock_guard lock(mutex_);
  stopped_ = true;
  for (Watcher* watcher : watchers_)
    watcher->End({grpc::StatusCode::UNAVAILABLE, "the daemon is stopping"});
}

grpc::ServerUnaryReactor* HealthService::Check(
    grpc::CallbackServerContext* context, const HealthCheckRequest* request,
    HealthCheckResponse* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  response->set_status(Status());
  reactor->Finish(
      IsHere(request->service())
          ? grpc::Status::OK
          : grpc::Status(grpc::StatusCode::NOT_FOUND, "no such service"));
  return reactor;
}

grpc::ServerWriteReactor<HealthCheckResponse>* HealthService::Watch(
    grpc::CallbackServerContext*, const HealthCheckRequest* request) {
  auto* const watcher = new Watcher(this, IsHere(request->service()));
  std::lock_guard lock(mutex_);
  watchers_.insert(watcher);
  if (stopped_)
    watcher->End({grpc::StatusCode::UNAVAILABLE, "the daemon is stopping"});
  else
    watcher->Update();
  return watcher;
}

HealthCheckResponse::ServingStatus HealthService::Status() const {
  return snapshots_->Get() ? HealthCheckResponse::SERVING
                           : HealthCheckResponse::NOT_SERVING;
}

void HealthService::WaitForSnapshot(std::stop_token stop) {
  snapshots_->WaitForOther(nullptr, stop);
  std::lock_guard lock(mutex_);
  for (Watcher* watcher : watchers_) watcher->Update();
}

}  // namespace pinwatch
