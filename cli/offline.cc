// SPDX-License-Identifier: Apache-2.0
#include "cli/offline.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <fstream>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace pinwatch {
namespace {

// It only has to be delivered: what waits in the kernel then returns.
void InstallWakeUp() {
  struct sigaction action = {};
  action.sa_handler = [](int) {};
  sigaction(SIGUSR1, &action, nullptr);  // no SA_RESTART
}

int WriteOffline(int fd) {
  constexpr char kOffline[] = "offline";
  const ssize_t written = write(fd, kOffline, sizeof(kOffline) - 1);
  const int error = written < 0 ? errno : 0;
  close(fd);
  return error;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Offline>> Offline::Begin(const std::string& root,
                                                        uint64_t block) {
  const std::string path =
      absl::StrCat(root, "/sys/devices/system/memory/memory", block, "/state");
  std::string state;
  if (!(std::ifstream(path) >> state))
    return absl::NotFoundError(
        absl::StrCat("this host has no memory block memory", block,
                     "; they are listed in /sys/devices/system/memory"));
  if (state == "offline") return nullptr;
  const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0 && (errno == EACCES || errno == EPERM))
    return absl::PermissionDeniedError(
        "only root may take memory offline; nothing was done");
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("open ", path));
  return std::make_unique<Offline>(fd);
}

Offline::Offline(int state_fd) : result_(error_.get_future()) {
  InstallWakeUp();
  std::promise<pid_t> promise;
  std::future<pid_t> tid = promise.get_future();
  thread_ =
      std::thread([this, state_fd, promise = std::move(promise)]() mutable {
        promise.set_value(gettid());
        error_.set_value(WriteOffline(state_fd));
      });
  tid_ = tid.get();
}

Offline::~Offline() {
  // A signal that comes before the kernel has begun is lost.
  while (!Wait(absl::Milliseconds(50))) Interrupt();
  thread_.join();
}

std::optional<int> Offline::Wait(absl::Duration timeout) {
  if (result_.valid() && result_.wait_for(absl::ToChronoMilliseconds(
                             timeout)) == std::future_status::ready)
    ended_ = result_.get();
  return ended_;
}

void Offline::Interrupt() { pthread_kill(thread_.native_handle(), SIGUSR1); }

}  // namespace pinwatch
