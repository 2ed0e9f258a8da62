// SPDX-License-Identifier: Apache-2.0
#include "cli/client.h"

#include <grp.h>
#include <grpcpp/create_channel_posix.h>
#include <grpcpp/grpcpp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "pinwatch/v1/pinwatch.grpc.pb.h"

namespace pinwatch {
namespace {

constexpr char kIsItRunning[] =
    "is pinwatchd running? systemctl status pinwatchd";

// Why a user may not connect, as far as the owner of the socket can be seen.
std::string WhyDenied(const std::string& path) {
  struct stat file;
  if (stat(path.c_str(), &file)) return "you are not in group pinwatch";
  if (file.st_gid == 0)
    return "only root may ask; see --grpc.socket-group of pinwatchd";
  const group* entry = getgrgid(file.st_gid);
  return absl::StrCat("you are not in group ",
                      entry ? entry->gr_name : absl::StrCat(file.st_gid));
}

absl::Status ConnectError(int error, const std::string& path) {
  if (error == EACCES || error == EPERM)
    return absl::PermissionDeniedError(
        absl::StrCat("permission denied on ", path, ": ", WhyDenied(path)));
  const char* why = error == ENOENT         ? "there is no such socket"
                    : error == ECONNREFUSED ? "nobody answers"
                    : error == EAGAIN       ? "too many clients wait"
                                            : nullptr;
  return absl::UnavailableError(
      absl::StrCat("cannot reach pinwatchd on ", path, ": ",
                   why ? why : absl::ErrnoToStatus(error, "connect").message(),
                   "; ", kIsItRunning));
}

// Connected by hand, not by gRPC, for the errno and for paths that are no URI.
absl::StatusOr<int> OpenSocket(const std::string& path) {
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  if (path.empty() || path.size() >= sizeof(address.sun_path))
    return ConnectError(ENAMETOOLONG, path);
  std::copy(path.begin(), path.end(), address.sun_path);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return ConnectError(errno, path);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address),
              sizeof(address))) {
    const int error = errno;
    close(fd);
    return ConnectError(error, path);
  }
  return fd;
}

absl::StatusOr<std::unique_ptr<v1::PinwatchService::Stub>> Connect(
    const std::string& path) {
  const absl::StatusOr<int> fd = OpenSocket(path);
  if (!fd.ok()) return fd.status();
  return v1::PinwatchService::NewStub(
      grpc::CreateInsecureChannelFromFd("pinwatchd", *fd));
}

absl::Status CallError(const grpc::Status& status, const Question& question) {
  switch (status.error_code()) {
    case grpc::StatusCode::OK:
      return absl::OkStatus();
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return absl::UnavailableError(absl::StrCat(
          "pinwatchd on ", question.socket_path, " has not answered within ",
          absl::FormatDuration(question.timeout),
          "; see --timeout and systemctl status pinwatchd"));
    case grpc::StatusCode::UNAVAILABLE:
      return absl::UnavailableError(
          absl::StrCat("pinwatchd on ", question.socket_path,
                       " cannot answer: ", status.error_message()));
    default:
      return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                          status.error_message());
  }
}

void SetMaxAge(absl::Duration age, google::protobuf::Duration* max_age) {
  max_age->set_seconds(absl::IDivDuration(age, absl::Seconds(1), &age));
  max_age->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(age)));
}

}  // namespace

absl::StatusOr<v1::ListAttemptsResponse> AskAttempts(const Question& question) {
  const auto stub = Connect(question.socket_path);
  if (!stub.ok()) return stub.status();
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + question.timeout));
  v1::ListAttemptsResponse response;
  const grpc::Status status = (*stub)->ListAttempts(&context, {}, &response);
  if (!status.ok()) return CallError(status, question);
  return response;
}

absl::StatusOr<Answers> Ask(const Question& question) {
  const auto deadline = absl::ToChronoTime(absl::Now() + question.timeout);
  const auto stub = Connect(question.socket_path);
  if (!stub.ok()) return stub.status();

  v1::GetSnapshotRequest request;
  if (question.max_age) SetMaxAge(*question.max_age, request.mutable_max_age());
  v1::GetSnapshotResponse response;
  grpc::ClientContext snapshot_context;
  snapshot_context.set_deadline(deadline);
  grpc::Status status =
      (*stub)->GetSnapshot(&snapshot_context, request, &response);
  if (!status.ok()) return CallError(status, question);

  Answers answers;
  answers.snapshot = std::move(*response.mutable_snapshot());
  grpc::ClientContext info_context;
  info_context.set_deadline(deadline);
  status = (*stub)->GetInfo(&info_context, {}, &answers.info);
  if (!status.ok()) return CallError(status, question);
  return answers;
}

}  // namespace pinwatch
