// SPDX-License-Identifier: Apache-2.0
#include "daemon/to_proto.h"

#include <google/protobuf/util/time_util.h>
#include <string.h>

#include <string>
#include <vector>

#include "daemon/utf8.h"

namespace pinwatch {
namespace {

using google::protobuf::RepeatedPtrField;
using google::protobuf::util::TimeUtil;

google::protobuf::Timestamp ToProto(const Timestamp& time) {
  return TimeUtil::NanosecondsToTimestamp(time.realtime_ns);
}

v1::Fact ToProto(const Fact& fact) {
  v1::Fact out;
  out.set_name(ToUtf8(fact.name));
  out.set_observable(fact.observable);
  out.set_source(ToUtf8(fact.source));
  out.set_reason(ToUtf8(fact.reason));
  return out;
}

v1::Collector ToProto(const Collector& collector) {
  v1::Collector out;
  out.set_name(ToUtf8(collector.name));
  out.set_success(collector.success);
  *out.mutable_duration() =
      TimeUtil::NanosecondsToDuration(collector.duration_ns);
  out.set_error(ToUtf8(collector.error));
  return out;
}

// "ok", "EBUSY", or "errno 999" for one without a name.
std::string ErrorName(int error) {
  if (error == 0) return "ok";
  const char* name = strerrorname_np(error);
  return name ? name : "errno " + std::to_string(error);
}

v1::Node ToProto(const Node& node) {
  v1::Node out;
  out.set_nid(node.nid);
  if (node.acquired) out.set_acquired_references(*node.acquired);
  if (node.released) out.set_released_references(*node.released);
  if (const auto outstanding = node.outstanding())
    out.set_outstanding_references(*outstanding);
  out.set_counters_exact(node.counters_exact);
  if (node.census_references)
    out.set_census_references(*node.census_references);
  out.set_census_current(node.census_current);
  if (node.drift_references) out.set_drift_references(*node.drift_references);
  if (node.drift_time) *out.mutable_drift_time() = ToProto(*node.drift_time);
  return out;
}

v1::PinCount ToProto(const PinCount& count) {
  v1::PinCount out;
  out.set_pages(count.pages);
  out.set_references(count.references);
  return out;
}

v1::PageClasses ToProto(const std::array<uint64_t, NR_PAGE_CLASSES>& pages) {
  static_assert(NR_PAGE_CLASSES == 13, "a page class has no field");
  v1::PageClasses out;
  out.set_free(pages[PAGE_FREE]);
  out.set_movable(pages[PAGE_MOVABLE]);
  out.set_pinned_large(pages[PAGE_PINNED_LARGE]);
  out.set_pinned_exact(pages[PAGE_PINNED_EXACT]);
  out.set_pinned_loose(pages[PAGE_PINNED_LOOSE]);
  out.set_elevated(pages[PAGE_ELEVATED]);
  out.set_biased(pages[PAGE_BIASED]);
  out.set_kernel(pages[PAGE_KERNEL]);
  out.set_hugetlb(pages[PAGE_HUGETLB]);
  out.set_reserved(pages[PAGE_RESERVED]);
  out.set_offline(pages[PAGE_OFFLINE]);
  out.set_poisoned(pages[PAGE_POISONED]);
  out.set_unstable(pages[PAGE_UNSTABLE]);
  return out;
}

v1::MigratetypePages ToProto(const MigratetypePages& pages) {
  v1::MigratetypePages out;
  out.set_migratetype(ToUtf8(pages.migratetype));
  *out.mutable_confirmed() = ToProto(pages.confirmed);
  *out.mutable_possible() = ToProto(pages.possible);
  *out.mutable_classes() = ToProto(pages.pages);
  return out;
}

v1::BlockCount ToProto(const BlockCount& count) {
  v1::BlockCount out;
  if (count.nid >= 0) out.set_nid(count.nid);
  out.set_zone(ToUtf8(count.zone));
  out.set_state(ToUtf8(count.state));
  out.set_blocks(count.blocks);
  return out;
}

v1::Migrations ToProto(const Migrations& migrations) {
  v1::Migrations out;
  out.set_reason(ToUtf8(migrations.reason));
  out.set_mode(ToUtf8(migrations.mode));
  out.set_calls(migrations.counters.calls);
  out.set_succeeded_pages(migrations.counters.succeeded_pages);
  out.set_failed_pages(migrations.counters.failed_pages);
  out.set_thp_succeeded(migrations.counters.thp_succeeded);
  out.set_thp_failed(migrations.counters.thp_failed);
  out.set_thp_split(migrations.counters.thp_split);
  return out;
}

v1::Attempt ToProto(const HotplugAttempt& attempt) {
  v1::Attempt out;
  out.set_operation(attempt.operation);
  out.set_block(attempt.block_id);
  *out.mutable_begin() = ToProto(attempt.begin);
  *out.mutable_duration() =
      TimeUtil::NanosecondsToDuration(attempt.duration_ns);
  out.set_running(attempt.running);
  if (!attempt.running) {
    out.set_error(attempt.error);
    out.set_outcome(ErrorName(attempt.error));
  }
  out.set_pid(attempt.pid);
  out.set_tid(attempt.tid);
  out.set_comm(ToUtf8(attempt.comm));
  out.set_cgroup(ToUtf8(attempt.cgroup));
  out.set_migrate_calls(attempt.migrate_calls);
  out.set_succeeded_pages(attempt.succeeded_pages);
  out.set_failed_pages(attempt.failed_pages);
  return out;
}

v1::AttemptCount ToProto(const HotplugCount& count) {
  v1::AttemptCount out;
  out.set_operation(count.operation);
  out.set_outcome(count.outcome);
  out.set_attempts(count.attempts);
  return out;
}

v1::CensusTotals ToProto(const CensusTotals& totals) {
  v1::CensusTotals out;
  out.set_rounds(totals.rounds);
  out.set_blocks_looked(totals.blocks_looked);
  out.set_blocks_absent(totals.blocks_absent);
  out.set_blocks_changed(totals.blocks_changed);
  out.set_pages(totals.pages);
  out.set_steps(totals.steps);
  *out.mutable_cpu() = TimeUtil::NanosecondsToDuration(totals.cpu_ns);
  return out;
}

v1::Zone ToProto(const Zone& zone);

template <typename From, typename To>
void Convert(const std::vector<From>& from, RepeatedPtrField<To>* to) {
  to->Reserve(static_cast<int>(from.size()));
  for (const From& element : from) *to->Add() = ToProto(element);
}

v1::Zone ToProto(const Zone& zone) {
  v1::Zone out;
  out.set_nid(zone.nid);
  out.set_name(ToUtf8(zone.name));
  out.set_start_pfn(zone.start_pfn);
  out.set_spanned_pages(zone.spanned_pages);
  out.set_present_pages(zone.present_pages);
  out.set_managed_pages(zone.managed_pages);
  Convert(zone.migratetypes, out.mutable_migratetypes());
  if (zone.oldest_look) *out.mutable_oldest_look() = ToProto(*zone.oldest_look);
  return out;
}

}  // namespace

v1::Snapshot ToProto(const Snapshot& snapshot) {
  v1::Snapshot out;
  out.set_generation(snapshot.generation);
  *out.mutable_time() = ToProto(snapshot.time);
  Convert(snapshot.nodes, out.mutable_nodes());
  Convert(snapshot.zones, out.mutable_zones());
  out.set_block_size_bytes(snapshot.block_size_bytes);
  Convert(snapshot.blocks, out.mutable_blocks());
  Convert(snapshot.migrations, out.mutable_migrations());
  *out.mutable_census() = ToProto(snapshot.census);
  Convert(snapshot.facts, out.mutable_facts());
  Convert(snapshot.collectors, out.mutable_collectors());
  return out;
}

v1::ListAttemptsResponse ToAttemptsProto(const Snapshot& snapshot) {
  v1::ListAttemptsResponse out;
  Convert(snapshot.attempts, out.mutable_attempts());
  Convert(snapshot.attempt_counts, out.mutable_counts());
  out.set_stories_lost(snapshot.attempts_untold);
  return out;
}

v1::GetInfoResponse ToInfoProto(const Snapshot& snapshot) {
  v1::GetInfoResponse out;
  out.set_hostname(ToUtf8(snapshot.host.hostname));
  out.set_kernel_release(ToUtf8(snapshot.host.kernel_release));
  out.set_boot_id(ToUtf8(snapshot.host.boot_id));
  *out.mutable_started() = ToProto(snapshot.started);
  Convert(snapshot.facts, out.mutable_facts());
  return out;
}

}  // namespace pinwatch
