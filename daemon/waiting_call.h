// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_WAITING_CALL_H_
#define PINWATCH_DAEMON_WAITING_CALL_H_

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/utf8.h"

namespace pinwatch {

inline grpc::Status ToGrpc(const absl::Status& status) {
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

// A call that waits for the one answer for which `ask` is given a callback. An
// answer that is an error is the call's; `fill` puts another into the response.
template <typename T, typename Response, typename Ask, typename Fill>
grpc::ServerUnaryReactor* WaitFor(Response* response, Ask ask, Fill fill) {
  using Call = WaitingCall<Response>;
  auto* const call = new Call(response);
  ask([slot = call->slot(), fill](absl::StatusOr<T> answer) {
    Call::Answer(slot, [&](Response* to) {
      if (!answer.ok()) return ToGrpc(answer.status());
      fill(*answer, to);
      return grpc::Status::OK;
    });
  });
  return call;
}

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_WAITING_CALL_H_
