// SPDX-License-Identifier: Apache-2.0
#include "daemon/watch.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/difference.h"
#include "daemon/to_proto.h"

namespace pinwatch {

// One call. All but its callbacks run under the mutex of the watchers. It
// deletes itself in OnDone, as gRPC wants it.
class Watchers::Watcher final
    : public grpc::ServerWriteReactor<v1::WatchResponse> {
 public:
  explicit Watcher(Watchers* watchers) : watchers_(watchers) {}

  // Tells what is news to the client, once it has taken what it was told.
  void Update() {
    std::shared_ptr<const Snapshot> snapshot = watchers_->snapshots_->Get();
    if (finished_ || writing_ || snapshot == told_) return;
    if (!told_) {
      *message_.mutable_snapshot() = ToWholeProto(*snapshot);
    } else {
      missed_ += snapshot->generation - told_->generation - 1;
      const Difference difference = Diff(*told_, *snapshot);
      if (!difference.empty())
        *message_.mutable_difference() = ToProto(difference);
    }
    told_ = std::move(snapshot);
    if (message_.has_snapshot() || message_.has_difference()) Write();
  }

  void End(const grpc::Status& status) {
    if (finished_) return;
    finished_ = true;
    told_.reset();
    Finish(status);
  }

  void OnWriteDone(bool ok) override {
    std::lock_guard lock(watchers_->mutex_);
    writing_ = false;
    message_ = {};
    if (ok)
      Update();
    else
      End(grpc::Status::CANCELLED);
  }

  void OnCancel() override {
    std::lock_guard lock(watchers_->mutex_);
    End(grpc::Status::CANCELLED);
  }

  void OnDone() override {
    {
      std::lock_guard lock(watchers_->mutex_);
      watchers_->watchers_.erase(this);
    }
    delete this;
  }

 private:
  void Write() {
    message_.set_sequence(++sequence_);
    message_.set_missed_snapshots(std::exchange(missed_, 0));
    writing_ = true;
    StartWrite(&message_);
  }

  Watchers* const watchers_;
  v1::WatchResponse message_;  // of the write under way
  std::shared_ptr<const Snapshot> told_;
  uint64_t sequence_ = 0;
  uint64_t missed_ = 0;   // since the message before
  bool writing_ = false;  // gRPC takes one write at a time
  bool finished_ = false;
};

Watchers::Watchers(const Published<Snapshot>* snapshots)
    : snapshots_(snapshots),
      follower_([this](std::stop_token stop) { Follow(stop); }) {}

Watchers::~Watchers() = default;

void Watchers::Stop() {
  std::lock_guard lock(mutex_);
  stopped_ = true;
  for (Watcher* watcher : watchers_)
    watcher->End({grpc::StatusCode::UNAVAILABLE, "the daemon is stopping"});
}

grpc::ServerWriteReactor<v1::WatchResponse>* Watchers::Add() {
  auto* const watcher = new Watcher(this);
  std::lock_guard lock(mutex_);
  if (stopped_) {
    watcher->End({grpc::StatusCode::UNAVAILABLE, "the daemon is stopping"});
  } else if (!snapshots_->Get()) {
    watcher->End({grpc::StatusCode::UNAVAILABLE,
                  "no snapshot yet: the first census is under way"});
  } else if (watchers_.size() >= kMax) {
    watcher->End(
        {grpc::StatusCode::RESOURCE_EXHAUSTED,
         absl::StrCat(kMax, " clients watch already: end one of them")});
  } else {
    watchers_.insert(watcher);
    watcher->Update();
  }
  return watcher;
}

void Watchers::Follow(std::stop_token stop) {
  std::shared_ptr<const Snapshot> snapshot;
  while ((snapshot = snapshots_->WaitForOther(snapshot, stop))) {
    std::lock_guard lock(mutex_);
    for (Watcher* watcher : watchers_) watcher->Update();
  }
}

}  // namespace pinwatch
