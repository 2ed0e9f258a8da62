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
#include <chrono>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "pinwatch/v1/admin.grpc.pb.h"
#include "pinwatch/v1/pinwatch.grpc.pb.h"

namespace pinwatch {
namespace {

using Stub = v1::PinwatchService::Stub;

// Some ten thousand owners with their stacks.
constexpr int kMaxReceiveBytes = 64 * 1024 * 1024;

constexpr char kIsItRunning[] =
    "is pinwatchd running? systemctl status pinwatchd";

// Why a user may not connect, as far as the owner of the socket can be seen.
std::string WhyDenied(const std::string& path) {
  struct stat file;
  if (stat(path.c_str(), &file)) return "you are not in group pinwatch";
  if (!(file.st_mode & S_IWGRP)) return "only root may order that";
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

// A stub of that service.
template <typename Service = v1::PinwatchService>
absl::StatusOr<std::unique_ptr<typename Service::Stub>> Connect(
    const std::string& path) {
  const absl::StatusOr<int> fd = OpenSocket(path);
  if (!fd.ok()) return fd.status();
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxReceiveBytes);
  return Service::NewStub(
      grpc::CreateCustomInsecureChannelFromFd("pinwatchd", *fd, arguments));
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

std::chrono::system_clock::time_point Deadline(const Question& question) {
  return absl::ToChronoTime(absl::Now() + question.timeout);
}

// One call of the stub's `method`.
template <typename Stub, typename Request, typename Response>
absl::Status Call(Stub& stub,
                  grpc::Status (Stub::*method)(grpc::ClientContext*,
                                               const Request&, Response*),
                  const Question& question,
                  std::chrono::system_clock::time_point deadline,
                  const Request& request, Response* response) {
  grpc::ClientContext context;
  context.set_deadline(deadline);
  return CallError((stub.*method)(&context, request, response), question);
}

// Connects for one call of a service's `method`.
template <typename Service, typename Request, typename Response>
absl::StatusOr<Response> CallOnce(
    grpc::Status (Service::Stub::*method)(grpc::ClientContext*, const Request&,
                                          Response*),
    const Question& question, const Request& request) {
  const auto stub = Connect<Service>(question.socket_path);
  if (!stub.ok()) return stub.status();
  Response response;
  const absl::Status status =
      Call(**stub, method, question, Deadline(question), request, &response);
  if (!status.ok()) return status;
  return response;
}

// Calls `method` for all pages of a list. What every page tells, `clear` takes
// away before the next is added, so that the last one's counts.
template <typename Stub, typename Request, typename Response>
absl::StatusOr<Response> CallForPages(
    Stub& stub,
    grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                 Response*),
    const Question& question, std::chrono::system_clock::time_point deadline,
    Request request, void (Response::*clear)() = nullptr) {
  Response all;
  do {
    Response page;
    const absl::Status status =
        Call(stub, method, question, deadline, request, &page);
    if (!status.ok()) return status;
    if (clear) (all.*clear)();
    all.MergeFrom(page);
    all.set_next_page_token(page.next_page_token());
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return all;
}

void SetMaxAge(absl::Duration age, google::protobuf::Duration* max_age) {
  max_age->set_seconds(absl::IDivDuration(age, absl::Seconds(1), &age));
  max_age->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(age)));
}

// What is asked for next rests on looks no older than the question allows.
absl::Status LookAgain(Stub& stub, const Question& question,
                       std::chrono::system_clock::time_point deadline) {
  if (!question.max_age) return absl::OkStatus();
  v1::GetSnapshotRequest request;
  SetMaxAge(*question.max_age, request.mutable_max_age());
  v1::GetSnapshotResponse ignored;
  return Call(stub, &Stub::GetSnapshot, question, deadline, request, &ignored);
}

}  // namespace

absl::StatusOr<Answers> Ask(const Question& question) {
  const auto deadline = Deadline(question);
  const auto stub = Connect(question.socket_path);
  if (!stub.ok()) return stub.status();

  v1::GetSnapshotRequest request;
  if (question.max_age) SetMaxAge(*question.max_age, request.mutable_max_age());
  v1::GetSnapshotResponse response;
  absl::Status status =
      Call(**stub, &Stub::GetSnapshot, question, deadline, request, &response);
  if (!status.ok()) return status;

  Answers answers;
  answers.snapshot = std::move(*response.mutable_snapshot());
  status = Call(**stub, &Stub::GetInfo, question, deadline, {}, &answers.info);
  if (!status.ok()) return status;
  return answers;
}

absl::StatusOr<v1::PauseResponse> OrderPause(const Question& question) {
  return CallOnce<v1::AdminService>(&v1::AdminService::Stub::Pause, question,
                                    v1::PauseRequest());
}

absl::StatusOr<v1::ResumeResponse> OrderResume(const Question& question) {
  return CallOnce<v1::AdminService>(&v1::AdminService::Stub::Resume, question,
                                    v1::ResumeRequest());
}

absl::StatusOr<v1::ListAttemptsResponse> AskAttempts(const Question& question) {
  const auto deadline = Deadline(question);
  const auto stub = Connect(question.socket_path);
  if (!stub.ok()) return stub.status();
  return CallForPages(**stub, &Stub::ListAttempts, question, deadline,
                      v1::ListAttemptsRequest());
}

absl::StatusOr<v1::ListOwnersResponse> AskOwners(const Question& question,
                                                 bool holding) {
  const auto deadline = Deadline(question);
  const auto stub = Connect(question.socket_path);
  if (!stub.ok()) return stub.status();
  v1::ListOwnersRequest request;
  request.set_holding(holding);
  return CallForPages(**stub, &Stub::ListOwners, question, deadline, request,
                      &v1::ListOwnersResponse::clear_attributions);
}

absl::StatusOr<v1::ListMigrationsResponse> AskMigrations(
    const Question& question) {
  const auto deadline = Deadline(question);
  const auto stub = Connect(question.socket_path);
  if (!stub.ok()) return stub.status();
  return CallForPages(**stub, &Stub::ListMigrations, question, deadline,
                      v1::ListMigrationsRequest());
}

absl::StatusOr<v1::ListBlocksResponse> AskBlocks(
    const Question& question, v1::ListBlocksRequest request) {
  const auto deadline = Deadline(question);
  const auto stub = Connect(question.socket_path);
  if (!stub.ok()) return stub.status();
  if (absl::Status status = LookAgain(**stub, question, deadline); !status.ok())
    return status;
  return CallForPages(**stub, &Stub::ListBlocks, question, deadline,
                      std::move(request));
}

absl::StatusOr<v1::PlanOfflineResponse> AskPlan(
    const Question& question, const v1::PlanOfflineRequest& request) {
  const auto deadline = Deadline(question);
  const auto stub = Connect(question.socket_path);
  if (!stub.ok()) return stub.status();
  if (absl::Status status = LookAgain(**stub, question, deadline); !status.ok())
    return status;
  v1::PlanOfflineResponse plan;
  const absl::Status status =
      Call(**stub, &Stub::PlanOffline, question, deadline, request, &plan);
  if (!status.ok()) return status;
  return plan;
}

absl::StatusOr<v1::ExplainBlockResponse> AskBlock(const Question& question,
                                                  uint64_t block) {
  v1::ExplainBlockRequest request;
  request.set_block(block);
  return CallOnce<v1::PinwatchService>(&Stub::ExplainBlock, question, request);
}

absl::StatusOr<v1::ExplainPageResponse> AskPage(const Question& question,
                                                uint64_t pfn) {
  v1::ExplainPageRequest request;
  request.set_pfn(pfn);
  return CallOnce<v1::PinwatchService>(&Stub::ExplainPage, question, request);
}

absl::Status Watch(
    const Question& question,
    const std::function<absl::Status(const v1::WatchResponse&)>& tell) {
  const auto stub = Connect(question.socket_path);
  if (!stub.ok()) return stub.status();
  // A daemon that answers this in time will send the first message too; after
  // that there may be nothing to tell for hours.
  v1::GetInfoResponse info;
  absl::Status status =
      Call(**stub, &Stub::GetInfo, question, Deadline(question), {}, &info);
  if (!status.ok()) return status;

  grpc::ClientContext context;
  const auto reader = (*stub)->Watch(&context, {});
  v1::WatchResponse message;
  while (status.ok() && reader->Read(&message)) status = tell(message);
  if (!status.ok()) {
    context.TryCancel();
    reader->Finish();
    return status;
  }
  const grpc::Status end = reader->Finish();
  if (end.ok() || end.error_code() == grpc::StatusCode::UNAVAILABLE)
    return absl::UnavailableError(
        absl::StrCat("pinwatchd on ", question.socket_path,
                     " has gone: ", end.error_message()));
  return CallError(end, question);
}

}  // namespace pinwatch
