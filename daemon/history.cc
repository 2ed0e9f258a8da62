// SPDX-License-Identifier: Apache-2.0
#include "daemon/history.h"

#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "daemon/blocking.h"
#include "daemon/names.h"
#include "daemon/to_proto.h"
#include "pinwatch/v1/pinwatch.pb.h"

namespace pinwatch {
namespace {

using google::protobuf::util::TimeUtil;

// The monotonic clock of an earlier boot would say nothing now.
Timestamp FromProto(const google::protobuf::Timestamp& time, Timestamp now) {
  const int64_t realtime_ns = TimeUtil::TimestampToNanoseconds(time);
  return {.realtime_ns = realtime_ns,
          .monotonic_ns = now.monotonic_ns - (now.realtime_ns - realtime_ns)};
}

hotplug_step StepOf(const std::string& name) {
  for (int step = 0; step < NR_HOTPLUG_STEPS; ++step)
    if (name == StepName(static_cast<hotplug_step>(step)))
      return static_cast<hotplug_step>(step);
  return HOTPLUG_STEP_UNKNOWN;
}

page_class PageClassOf(const std::string& name) {
  const auto at = std::ranges::find(kPageClassNames, name);
  return at == std::end(kPageClassNames)
             ? PAGE_UNSTABLE
             : static_cast<page_class>(at - std::begin(kPageClassNames));
}

Certainty CertaintyOf(v1::Certainty certainty) {
  switch (certainty) {
    case v1::CERTAINTY_HELD:
      return Certainty::kHeld;
    case v1::CERTAINTY_SHARED:
      return Certainty::kShared;
    case v1::CERTAINTY_ONE_OF:
      return Certainty::kOneOf;
    case v1::CERTAINTY_PROBABLE:
      return Certainty::kProbable;
    case v1::CERTAINTY_INFERRED:
      return Certainty::kInferred;
    default:
      return Certainty::kUnattributed;
  }
}

Process FromProto(const v1::Process& process) {
  return {.pid = process.pid(),
          .start_boottime_ns = process.start_boottime_ns(),
          .comm = process.comm(),
          .exe = process.exe(),
          .cgroup = process.cgroup(),
          .unit = process.unit(),
          .ended = process.ended()};
}

// "8:1"
uint32_t DeviceOf(const std::string& text) {
  const std::pair<std::string, std::string> parts =
      absl::StrSplit(text, absl::MaxSplits(':', 1));
  uint32_t major = 0, minor = 0;
  if (!absl::SimpleAtoi(parts.first, &major) ||
      !absl::SimpleAtoi(parts.second, &minor))
    return 0;
  return major << 20 | minor;
}

// Without the owners' ids, which another daemon may give anew.
BlockingPage FromProto(const v1::BlockingPage& from, Timestamp now) {
  BlockingPage page{.pfn = from.pfn(),
                    .nr_pages = from.nr_pages(),
                    .page = PageClassOf(from.page_class()),
                    .refcount = from.refcount(),
                    .pins = from.pins(),
                    .certainty = CertaintyOf(from.certainty()),
                    .why = from.why(),
                    .step = from.step(),
                    .times_met = from.times_met(),
                    .first_met = FromProto(from.first_met(), now),
                    .last_met = FromProto(from.last_met(), now),
                    .mapping = from.mapping(),
                    .inode = from.inode(),
                    .device = DeviceOf(from.device())};
  for (const v1::Process& holder : from.holders())
    page.holders.push_back(FromProto(holder));
  if (from.has_surplus()) page.surplus = from.surplus();
  if (from.has_mapcount()) page.mapcount = from.mapcount();
  if (from.has_struct_pages_of()) page.struct_pages_of = from.struct_pages_of();
  if (from.has_memory_cgroup())
    page.cgroup = MemoryCgroup{.id = from.memory_cgroup().id(),
                               .path = from.memory_cgroup().path(),
                               .removed = from.memory_cgroup().removed()};
  if (from.has_taken_by())
    page.taken_by = TakenBy{.process = FromProto(from.taken_by().process()),
                            .taken = FromProto(from.taken_by().taken(), now)};
  if (from.reference_holders().empty()) return page;
  page.reference_holders.emplace();
  for (const v1::ReferenceHolder& holder : from.reference_holders())
    page.reference_holders->push_back({.process = FromProto(holder.process()),
                                       .through = holder.through(),
                                       .fd = holder.fd()});
  return page;
}

HotplugAttempt FromProto(const v1::Attempt& from, Timestamp now) {
  HotplugAttempt attempt{
      .operation = from.operation(),
      .block_id = from.block(),
      .nid = from.has_nid() ? static_cast<int>(from.nid()) : -1,
      .zone = from.zone(),
      .begin = FromProto(from.begin(), now),
      .duration_ns = TimeUtil::DurationToNanoseconds(from.duration()),
      .error = from.error(),
      .pid = from.pid(),
      .tid = from.tid(),
      .comm = from.comm(),
      .cgroup = from.cgroup(),
      .unit = from.unit(),
      .migrate_calls = from.migrate_calls(),
      .succeeded_pages = from.succeeded_pages(),
      .failed_pages = from.failed_pages(),
      .road = from.road(),
      .step = StepOf(from.step()),
      .reason = from.reason(),
      .blockers_lost = from.blockers_lost(),
      .of_earlier_daemon = true};
  for (const v1::AttemptStep& spent : from.steps())
    attempt.step_ns[StepOf(spent.step())] =
        TimeUtil::DurationToNanoseconds(spent.duration());
  for (const v1::BlockingPage& page : from.blockers())
    attempt.blockers.push_back(FromProto(page, now));
  return attempt;
}

}  // namespace

absl::StatusOr<AttemptHistory> LoadAttempts(const std::string& path,
                                            Timestamp now) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat("there is no ", path));
  v1::ListAttemptsResponse saved;
  if (!saved.ParseFromIstream(&file)) {
    const std::string aside = path + ".unreadable";
    std::error_code error;
    std::filesystem::rename(path, aside, error);
    return absl::DataLossError(
        absl::StrCat(path, " is not as pinwatchd writes it",
                     error ? "" : absl::StrCat(": put aside as ", aside)));
  }
  AttemptHistory attempts;
  for (const v1::Attempt& attempt : saved.attempts())
    attempts.push_back(FromProto(attempt, now));
  return attempts;
}

absl::Status SaveAttempts(const std::string& path,
                          const AttemptHistory& attempts) {
  const v1::ListAttemptsResponse saved =
      ToAttemptsProto(Snapshot{.attempts = attempts}, 0, attempts.size());
  const std::string fresh = path + ".new";
  std::ofstream file(fresh, std::ios::binary | std::ios::trunc);
  const bool written = file && saved.SerializeToOstream(&file);
  file.close();
  if (!written || !file)
    return absl::UnavailableError(
        absl::StrCat("cannot write ", fresh, ": past attempts are not kept"));
  if (std::rename(fresh.c_str(), path.c_str()) != 0)
    return absl::ErrnoToStatus(errno, absl::StrCat("rename ", fresh));
  return absl::OkStatus();
}

HistoryWriter::HistoryWriter(std::string path,
                             std::function<void(const absl::Status&)> on_saved)
    : path_(std::move(path)),
      on_saved_(std::move(on_saved)),
      thread_([this](const std::stop_token& stop) { Run(stop); }) {}

HistoryWriter::~HistoryWriter() {
  thread_.request_stop();
  thread_.join();
}

void HistoryWriter::Set(AttemptHistory attempts) {
  latest_.Set(std::make_shared<const AttemptHistory>(std::move(attempts)));
}

void HistoryWriter::Run(const std::stop_token& stop) {
  std::shared_ptr<const AttemptHistory> saved;
  for (;;) {
    latest_.WaitForOther(saved, stop);
    // Also what came last before the end.
    const std::shared_ptr<const AttemptHistory> latest = latest_.Get();
    if (latest == saved) return;
    on_saved_(SaveAttempts(path_, *latest));
    saved = latest;
  }
}

}  // namespace pinwatch
