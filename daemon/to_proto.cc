// SPDX-License-Identifier: Apache-2.0
#include "daemon/to_proto.h"

#include <google/protobuf/util/time_util.h>
#include <string.h>

#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "daemon/blocking.h"
#include "daemon/names.h"
#include "daemon/owner_page.h"
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
  if (node.device_pages) out.set_device_pages(*node.device_pages);
  out.set_drift_cause(std::string(node.drift_cause()));
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
  if (migrations.tells_large_split)
    out.set_large_split(migrations.counters.large_split);
  return out;
}

v1::Certainty ToProto(Certainty certainty) {
  static_assert(kNrCertainties == 6, "a certainty has no enumerator");
  switch (certainty) {
    case Certainty::kHeld:
      return v1::CERTAINTY_HELD;
    case Certainty::kShared:
      return v1::CERTAINTY_SHARED;
    case Certainty::kOneOf:
      return v1::CERTAINTY_ONE_OF;
    case Certainty::kProbable:
      return v1::CERTAINTY_PROBABLE;
    case Certainty::kInferred:
      return v1::CERTAINTY_INFERRED;
    case Certainty::kUnattributed:
      return v1::CERTAINTY_UNATTRIBUTED;
  }
  return v1::CERTAINTY_UNSPECIFIED;
}

v1::Verdict ToProto(Verdict verdict) {
  switch (verdict) {
    case Verdict::kUnknown:
      return v1::VERDICT_UNKNOWN;
    case Verdict::kRemovable:
      return v1::VERDICT_REMOVABLE;
    case Verdict::kRemovableAfterMigration:
      return v1::VERDICT_REMOVABLE_AFTER_MIGRATION;
    case Verdict::kBlockedByLongTermPins:
      return v1::VERDICT_BLOCKED_BY_LONG_TERM_PINS;
    case Verdict::kBlockedByShortTermPins:
      return v1::VERDICT_BLOCKED_BY_SHORT_TERM_PINS;
    case Verdict::kBlockedByPlainReferences:
      return v1::VERDICT_BLOCKED_BY_PLAIN_REFERENCES;
    case Verdict::kBlockedByKernelMemory:
      return v1::VERDICT_BLOCKED_BY_KERNEL_MEMORY;
    case Verdict::kAlreadyOffline:
      return v1::VERDICT_ALREADY_OFFLINE;
  }
  return v1::VERDICT_UNSPECIFIED;
}

v1::PinAttribution ToProto(const PinAttribution& attribution) {
  v1::PinAttribution out;
  out.set_nid(attribution.nid);
  out.set_zone(ToUtf8(attribution.zone));
  out.set_certainty(ToProto(attribution.certainty));
  out.set_reason(ToUtf8(attribution.reason));
  *out.mutable_pins() = ToProto(attribution.pins);
  return out;
}

v1::PinKinds ToProto(const PinKinds& kinds) {
  v1::PinKinds out;
  out.set_nid(kinds.nid);
  out.set_zone(ToUtf8(kinds.zone));
  out.set_long_term_pages(kinds.long_term);
  out.set_short_term_pages(kinds.short_term);
  out.set_unknown_pages(kinds.unknown);
  out.set_long_term_cma_pages(kinds.long_term_in_cma);
  out.set_huge_ranges(kinds.huge_ranges);
  for (size_t i = 0; i < kNrPinAges; ++i) {
    v1::OlderPages& older = *out.add_older();
    older.set_older_than(kPinAges[i].name);
    older.set_long_term_pages(kinds.long_term_older[i]);
    older.set_short_term_pages(kinds.short_term_older[i]);
  }
  return out;
}

v1::PinLanding ToProto(const PinLanding& landing) {
  v1::PinLanding out;
  if (landing.nid >= 0) out.set_nid(landing.nid);
  out.set_zone(ToUtf8(landing.zone));
  out.set_pages(landing.pages);
  return out;
}

v1::Process ToProto(const Process& process) {
  v1::Process out;
  out.set_pid(process.pid);
  out.set_start_boottime_ns(process.start_boottime_ns);
  out.set_comm(ToUtf8(process.comm));
  out.set_exe(ToUtf8(process.exe));
  out.set_cgroup(ToUtf8(process.cgroup));
  out.set_unit(ToUtf8(process.unit));
  out.set_ended(process.ended);
  return out;
}

v1::PinHolding ToProto(const PinHolding& holding) {
  v1::PinHolding out;
  out.set_nid(holding.nid);
  out.set_zone(ToUtf8(holding.zone));
  out.set_certainty(ToProto(holding.certainty));
  *out.mutable_pins() = ToProto(holding.pins);
  *out.mutable_since() = ToProto(holding.since);
  out.set_since_exact(holding.since_exact);
  out.set_cma(holding.cma);
  out.set_overdue_pages(holding.overdue_pages);
  out.set_huge_ranges(holding.huge_ranges);
  return out;
}

v1::PinMoves ToProto(const PinMoves& moves) {
  v1::PinMoves out;
  out.set_calls(moves.calls);
  out.set_rounds(moves.rounds);
  for (size_t from = 0; from < NR_PIN_MOVES_FROM; ++from) {
    v1::PinMovedPages* pages = out.add_pages();
    pages->set_from(kPinMovesFrom[from]);
    pages->set_collected_pages(moves.collected[from]);
    pages->set_isolated_pages(moves.isolated[from]);
    pages->set_moved_pages(moves.moved[from]);
    pages->set_copied_bytes(moves.moved[from] * 4096);
  }
  out.set_failed_pages(moves.failed);
  out.set_no_target(moves.no_target);
  *out.mutable_time() =
      TimeUtil::NanosecondsToDuration(static_cast<int64_t>(moves.ns));
  *out.mutable_calls_time() =
      TimeUtil::NanosecondsToDuration(static_cast<int64_t>(moves.calls_ns));
  return out;
}

v1::PinOutcomes ToProto(const PinOutcomes& outcomes) {
  v1::PinOutcomes out;
  out.set_asked_pages(outcomes.asked_pages);
  out.set_partial_calls(outcomes.partial_calls);
  out.set_failed_calls(outcomes.failed_calls);
  for (const PinErrors& some : outcomes.errors) {
    v1::PinErrors* errors = out.add_errors();
    errors->set_name(ErrorName(some.error));
    errors->set_calls(some.calls);
  }
  out.set_measured_calls(outcomes.measured_calls);
  *out.mutable_measured_time() = TimeUtil::NanosecondsToDuration(
      static_cast<int64_t>(outcomes.measured_ns));
  out.set_minor_faults(outcomes.minor_faults);
  out.set_major_faults(outcomes.major_faults);
  if (outcomes.moves) *out.mutable_moves() = ToProto(*outcomes.moves);
  return out;
}

v1::SubsystemCalls ToProto(const SubsystemCalls& some) {
  v1::SubsystemCalls out;
  out.set_subsystem(ToUtf8(some.subsystem));
  out.set_long_term(some.long_term);
  out.set_calls(some.calls.calls);
  out.set_pages(some.calls.pages);
  *out.mutable_outcomes() = ToProto(some.calls.outcomes);
  for (const uint64_t calls : some.calls.latencies)
    out.add_calls_by_time(calls);
  return out;
}

v1::PinOwner ToProto(const PinOwner& owner) {
  v1::PinOwner out;
  out.set_id(owner.id);
  out.set_long_term(owner.long_term);
  *out.mutable_process() = ToProto(owner.process);
  if (owner.via) *out.mutable_via() = ToProto(*owner.via);
  out.set_door(ToUtf8(owner.door));
  out.set_subsystem(ToUtf8(owner.subsystem));
  out.set_call_site(ToUtf8(owner.call_site));
  out.set_devices_known(owner.devices.has_value());
  for (const std::string& device :
       owner.devices.value_or(std::vector<std::string>()))
    out.add_devices(ToUtf8(device));
  if (owner.kernel_stack)
    for (const std::string& frame : *owner.kernel_stack)
      out.add_kernel_stack(ToUtf8(frame));
  if (owner.user_stack)
    for (const std::string& frame : *owner.user_stack)
      out.add_user_stack(ToUtf8(frame));
  out.set_calls(owner.calls);
  out.set_pages(owner.pages);
  *out.mutable_outcomes() = ToProto(owner.outcomes);
  *out.mutable_first() = ToProto(owner.first);
  *out.mutable_last() = ToProto(owner.last);
  for (const PinHolding& holding : owner.holdings)
    *out.add_holdings() = ToProto(holding);
  if (owner.growth) {
    *out.mutable_growth()->mutable_since() = ToProto(owner.growth->since);
    out.mutable_growth()->set_from_pages(owner.growth->from_pages);
    out.mutable_growth()->set_rises(owner.growth->rises);
  }
  return out;
}

v1::InferredHolder ToProto(const InferredHolder& holder) {
  v1::InferredHolder out;
  *out.mutable_process() = ToProto(holder.process);
  for (const std::string& evidence : holder.evidence)
    out.add_evidence(ToUtf8(evidence));
  for (const InferredPages& part : holder.pages) {
    v1::InferredPages& pages = *out.add_pages();
    pages.set_nid(part.nid);
    pages.set_zone(ToUtf8(part.zone));
    pages.set_alone(part.alone);
    *pages.mutable_pins() = ToProto(part.pins);
  }
  return out;
}

v1::Inference ToProto(const InferenceTotals& totals) {
  v1::Inference out;
  out.set_searches(totals.searches);
  out.set_pages_read(totals.pages_read);
  out.set_candidates(totals.candidates);
  out.set_pages_left_out(totals.pages_left_out);
  out.set_processes_left_out(totals.processes_left_out);
  out.set_unclaimed_left_out(totals.unclaimed_left_out);
  return out;
}

v1::ClaimTotals ToProto(const ClaimTotals& totals) {
  v1::ClaimTotals out;
  out.set_long_term_calls(totals.long_term_calls);
  out.set_short_term_calls(totals.short_term_calls);
  out.set_long_term_pages(totals.long_term_pages);
  out.set_short_term_pages(totals.short_term_pages);
  out.set_short_term_skipped(totals.short_term_skipped);
  out.set_lost_busy(totals.lost_busy);
  out.set_lost_recursion(totals.lost_recursion);
  out.set_lost_owners(totals.lost_owners);
  out.set_lost_pages(totals.lost_pages);
  out.set_owners(totals.owners);
  out.set_chunks(totals.chunks);
  out.set_chunk_bytes(totals.chunk_bytes);
  out.set_long_term_asked_pages(totals.long_term_asked_pages);
  out.set_short_term_asked_pages(totals.short_term_asked_pages);
  out.set_long_term_partial_calls(totals.long_term_partial_calls);
  out.set_short_term_partial_calls(totals.short_term_partial_calls);
  out.set_long_term_failed_calls(totals.long_term_failed_calls);
  out.set_short_term_failed_calls(totals.short_term_failed_calls);
  out.set_unmeasured_calls(totals.unmeasured_calls);
  out.set_lost_errors(totals.lost_errors);
  *out.mutable_gap() = TimeUtil::NanosecondsToDuration(totals.unattached_ns);
  out.set_follows_moves(totals.follows_moves);
  out.set_follows_targets(totals.follows_targets);
  out.set_moves_lost(totals.moves_lost);
  out.set_moves_missed(totals.moves_missed);
  return out;
}

v1::Governor ToProto(const GovernorState& state) {
  static_assert(kNrGovernorStages == 3, "a stage has no enumerator");
  v1::Governor out;
  out.set_stage(state.stage == GovernorStage::kAll ? v1::GOVERNOR_STAGE_ALL
                : state.stage == GovernorStage::kSampled
                    ? v1::GOVERNOR_STAGE_SAMPLED
                    : v1::GOVERNOR_STAGE_OFF);
  for (const std::string& door : state.doors_off) out.add_doors_off(door);
  if (state.since.realtime_ns) *out.mutable_since() = ToProto(state.since);
  out.set_reason(ToUtf8(state.reason));
  *out.mutable_cost() = TimeUtil::NanosecondsToDuration(
      static_cast<int64_t>(state.cost_seconds * 1e9));
  return out;
}

v1::ReferenceHolder ToProto(const ReferenceHolder& holder) {
  v1::ReferenceHolder out;
  *out.mutable_process() = ToProto(holder.process);
  out.set_through(holder.through);
  out.set_fd(holder.fd);
  return out;
}

v1::MemoryCgroup ToProto(const MemoryCgroup& cgroup) {
  v1::MemoryCgroup out;
  out.set_id(cgroup.id);
  out.set_path(ToUtf8(cgroup.path));
  out.set_removed(cgroup.removed);
  return out;
}

v1::PageMappers ToProto(const PageMappers& mappers) {
  v1::PageMappers out;
  for (const Process& process : mappers.processes)
    *out.add_processes() = ToProto(process);
  out.set_complete(mappers.complete);
  return out;
}

v1::ReferenceTaker ToProto(const TakenBy& taken_by) {
  v1::ReferenceTaker out;
  *out.mutable_process() = ToProto(taken_by.process);
  *out.mutable_taken() = ToProto(taken_by.taken);
  return out;
}

v1::BlockingPage ToProto(const BlockingPage& page) {
  v1::BlockingPage out;
  out.set_pfn(page.pfn);
  out.set_nr_pages(page.nr_pages);
  out.set_page_class(std::string(kPageClassNames[page.page]));
  out.set_refcount(page.refcount);
  out.set_pins(page.pins);
  out.set_certainty(ToProto(page.certainty));
  for (const uint32_t owner : page.owners) out.add_owners(owner);
  for (const Process& holder : page.holders)
    *out.add_holders() = ToProto(holder);
  if (page.reference_holders)
    for (const ReferenceHolder& holder : *page.reference_holders)
      *out.add_reference_holders() = ToProto(holder);
  if (page.cgroup) *out.mutable_memory_cgroup() = ToProto(*page.cgroup);
  if (page.mapped_by) *out.mutable_mapped_by() = ToProto(*page.mapped_by);
  if (page.taken_by) *out.mutable_taken_by() = ToProto(*page.taken_by);
  if (page.struct_pages_of) out.set_struct_pages_of(*page.struct_pages_of);
  if (page.why.empty()) return out;
  out.set_why(page.why);
  out.set_step(page.step);
  out.set_times_met(page.times_met);
  *out.mutable_first_met() = ToProto(page.first_met);
  *out.mutable_last_met() = ToProto(page.last_met);
  if (page.surplus) out.set_surplus(*page.surplus);
  if (page.mapcount) out.set_mapcount(*page.mapcount);
  out.set_mapping(page.mapping);
  if (page.inode) {
    out.set_inode(page.inode);
    out.set_device(
        absl::StrCat(page.device >> 20, ":", page.device & ((1u << 20) - 1)));
  }
  return out;
}

v1::PinRetry ToProto(const PinRetry& retry) {
  v1::PinRetry out;
  *out.mutable_process() = ToProto(retry.process);
  out.set_door(ToUtf8(retry.door));
  *out.mutable_begin() = ToProto(retry.begin);
  out.set_rounds(retry.rounds);
  if (retry.page) *out.mutable_page() = ToProto(*retry.page);
  return out;
}

v1::MigrationDetails ToProto(const MigrationDetails& details) {
  v1::MigrationDetails out;
  out.set_reason(ToUtf8(details.reason));
  for (size_t i = 0; i < kNrWhysPagesStay; ++i) {
    // Of these the kernel's side does not know.
    if (i == STAYS_PINNED_LONG_TERM || i == STAYS_PINNED_SHORT_TERM) continue;
    v1::MigrationFailures& failed = *out.add_failed();
    failed.set_why(kWhysPagesStay[i]);
    failed.set_pages(details.failed_by_why[i]);
  }
  out.set_unclassified_pages(details.failed_unclassified);
  out.set_measured_calls(details.measured_calls);
  *out.mutable_measured_time() =
      TimeUtil::NanosecondsToDuration(details.measured_ns);
  out.set_unmeasured_calls(details.unmeasured_calls);
  return out;
}

v1::HighOrderCount ToProto(const HighOrderCount& count) {
  v1::HighOrderCount out;
  out.set_what(count.what);
  out.set_succeeded(count.succeeded);
  out.set_failed(count.failed);
  return out;
}

v1::ContigRanges ToProto(const ContigRanges& ranges) {
  v1::ContigRanges out;
  for (const ContigCount& count : ranges.counts) {
    v1::ContigCount& to = *out.add_counts();
    to.set_outcome(count.outcome);
    to.set_attempts(count.attempts);
  }
  for (const CmaArea& area : ranges.cma) {
    v1::CmaArea& to = *out.add_cma();
    to.set_name(ToUtf8(area.name));
    to.set_succeeded(area.succeeded);
    to.set_succeeded_pages(area.succeeded_pages);
    to.set_failed(area.failed);
    to.set_failed_pages(area.failed_pages);
    to.set_busy(area.busy);
  }
  *out.mutable_measured_time() =
      TimeUtil::NanosecondsToDuration(ranges.measured_ns);
  for (const ContigAttempt& attempt : ranges.recent) {
    v1::ContigAttempt& to = *out.add_recent();
    to.set_id(attempt.id);
    *to.mutable_begin() = ToProto(attempt.begin);
    *to.mutable_duration() =
        TimeUtil::NanosecondsToDuration(attempt.duration_ns);
    to.set_start_pfn(attempt.start_pfn);
    to.set_end_pfn(attempt.end_pfn);
    to.set_outcome(attempt.error ? ErrorName(attempt.error) : "ok");
    *to.mutable_process() = ToProto(attempt.process);
    if (attempt.blocker_pfn) to.set_blocker_pfn(*attempt.blocker_pfn);
    to.set_blocker_why(attempt.blocker_why);
  }
  return out;
}

v1::MigrationPlace ToProto(const MigrationPlace& place) {
  v1::MigrationPlace out;
  if (place.nid >= 0) out.set_nid(place.nid);
  out.set_zone(ToUtf8(place.zone));
  out.set_calls(place.calls);
  out.set_succeeded_pages(place.succeeded_pages);
  out.set_failed_pages(place.failed_pages);
  return out;
}

v1::MigrationFailure ToProto(const MigrationFailure& failure) {
  v1::MigrationFailure out;
  out.set_id(failure.id);
  out.set_reason(ToUtf8(failure.reason));
  out.set_mode(ToUtf8(failure.mode));
  *out.mutable_process() = ToProto(failure.process);
  if (failure.nid >= 0) out.set_nid(failure.nid);
  out.set_zone(ToUtf8(failure.zone));
  *out.mutable_page() = ToProto(failure.page);
  return out;
}

v1::Attempt ToProto(const HotplugAttempt& attempt) {
  v1::Attempt out;
  out.set_id(attempt.id);
  for (const uint32_t other : attempt.contends_with)
    out.add_contends_with(other);
  out.set_operation(attempt.operation);
  out.set_block(attempt.block_id);
  *out.mutable_begin() = ToProto(attempt.begin);
  out.set_begin_monotonic_ns(attempt.begin.monotonic_ns);
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
  out.set_unit(ToUtf8(attempt.unit));
  if (attempt.nid >= 0) out.set_nid(attempt.nid);
  out.set_zone(ToUtf8(attempt.zone));
  out.set_migrate_calls(attempt.migrate_calls);
  out.set_succeeded_pages(attempt.succeeded_pages);
  out.set_failed_pages(attempt.failed_pages);
  for (const BlockingPage& page : attempt.blockers)
    *out.add_blockers() = ToProto(page);
  out.set_road(attempt.road);
  out.set_reason(attempt.reason);
  out.set_blockers_lost(attempt.blockers_lost);
  if (attempt.operation != "offline") return out;
  out.set_step(StepName(attempt.step));
  for (int step = 0; step < NR_HOTPLUG_STEPS; ++step) {
    if (!attempt.step_ns[step]) continue;
    v1::AttemptStep& spent = *out.add_steps();
    spent.set_step(StepName(static_cast<hotplug_step>(step)));
    *spent.mutable_duration() =
        TimeUtil::NanosecondsToDuration(attempt.step_ns[step]);
  }
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
v1::BlockVerdict ToProto(const BlockVerdict& verdict);
v1::MemoryDevice ToProto(const MemoryDeviceState& state);
v1::RemovableMemory ToProto(const RemovableMemory& memory);

template <typename From, typename To>
void Convert(const From& from, RepeatedPtrField<To>* to) {
  to->Reserve(static_cast<int>(from.size()));
  for (const auto& element : from) *to->Add() = ToProto(element);
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

v1::Confidence ToProto(Confidence confidence) {
  switch (confidence) {
    case Confidence::kLow:
      return v1::CONFIDENCE_LOW;
    case Confidence::kMedium:
      return v1::CONFIDENCE_MEDIUM;
    case Confidence::kHigh:
      return v1::CONFIDENCE_HIGH;
  }
  return v1::CONFIDENCE_UNSPECIFIED;
}

v1::BlockEvidence ToProto(const BlockEvidence& evidence) {
  v1::BlockEvidence out;
  out.set_free(evidence.free);
  out.set_movable(evidence.movable);
  out.set_hugetlb(evidence.hugetlb);
  out.set_long_term_pins(evidence.long_term_pins);
  out.set_short_term_pins(evidence.short_term_pins);
  out.set_unclaimed_pins(evidence.unclaimed_pins);
  out.set_plain_references(evidence.plain_references);
  out.set_kernel(evidence.kernel);
  out.set_reserved(evidence.reserved);
  out.set_offline(evidence.offline);
  out.set_poisoned(evidence.poisoned);
  out.set_unstable(evidence.unstable);
  out.set_own_struct_pages(evidence.own_struct_pages);
  return out;
}

v1::BlockVerdict ToProto(const BlockVerdict& verdict) {
  v1::BlockVerdict out;
  out.set_block(verdict.block.id);
  out.set_state(ToUtf8(verdict.block.state));
  if (verdict.block.nid >= 0) out.set_nid(verdict.block.nid);
  out.set_zone(ToUtf8(verdict.block.zone));
  out.set_device(ToUtf8(verdict.block.device));
  out.set_verdict(ToProto(verdict.verdict));
  out.set_confidence(ToProto(verdict.confidence));
  out.set_reason(ToUtf8(verdict.reason));
  if (!verdict.look) return out;
  *out.mutable_look() = ToProto(*verdict.look);
  *out.mutable_evidence() = ToProto(verdict.evidence);
  return out;
}

v1::MemoryDevice ToProto(const MemoryDeviceState& state) {
  v1::MemoryDevice out;
  out.set_name(ToUtf8(state.device.name));
  out.set_kind(state.device.kind);
  out.set_start_address(state.device.start);
  out.set_region_bytes(state.device.size);
  out.set_blocks(state.blocks);
  out.set_online_blocks(state.online_blocks);
  out.set_unlooked_blocks(state.unlooked_blocks);
  out.set_unplugged_pages(state.unplugged_pages);
  out.set_partly_plugged_blocks(state.partly_plugged_blocks);
  if (state.plugged_bytes) out.set_plugged_bytes(*state.plugged_bytes);
  if (state.device.requested_bytes)
    out.set_requested_bytes(*state.device.requested_bytes);
  return out;
}

void Convert(const std::vector<VerdictCount>& from, uint64_t block_size_bytes,
             RepeatedPtrField<v1::VerdictCount>* to) {
  for (const VerdictCount& count : from) {
    v1::VerdictCount& out = *to->Add();
    if (count.nid >= 0) out.set_nid(count.nid);
    out.set_zone(ToUtf8(count.zone));
    out.set_verdict(ToProto(count.verdict));
    out.set_blocks(count.blocks);
    out.set_bytes(count.blocks * block_size_bytes);
  }
}

v1::RemovableMemory ToProto(const RemovableMemory& memory) {
  v1::RemovableMemory out;
  if (memory.nid >= 0) out.set_nid(memory.nid);
  out.set_bytes(memory.bytes);
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
  Convert(snapshot.calls, out.mutable_calls());
  *out.mutable_census() = ToProto(snapshot.census);
  Convert(snapshot.facts, out.mutable_facts());
  Convert(snapshot.collectors, out.mutable_collectors());
  Convert(snapshot.attributions, out.mutable_attributions());
  if (snapshot.claims) {
    *out.mutable_claims() = ToProto(*snapshot.claims);
    *out.mutable_governor() = ToProto(snapshot.governor);
  }
  Convert(snapshot.pin_kinds, out.mutable_pin_kinds());
  Convert(snapshot.pin_retries, out.mutable_pin_retries());
  Convert(snapshot.landings, out.mutable_landings());
  if (snapshot.inference)
    *out.mutable_inference() = ToProto(*snapshot.inference);
  if (snapshot.moves_long_term_pins)
    out.set_moves_long_term_pins(*snapshot.moves_long_term_pins);
  if (snapshot.paused_since)
    *out.mutable_paused_since() = ToProto(*snapshot.paused_since);
  Convert(snapshot.verdicts, snapshot.block_size_bytes, out.mutable_verdicts());
  Convert(snapshot.removable, out.mutable_removable());
  return out;
}

v1::Snapshot ToWholeProto(const Snapshot& snapshot) {
  v1::Snapshot out = ToProto(snapshot);
  Convert(snapshot.owners, out.mutable_owners());
  Convert(snapshot.attempts, out.mutable_attempts());
  return out;
}

v1::Difference ToProto(const Difference& difference) {
  v1::Difference out;
  out.set_generation(difference.generation);
  *out.mutable_time() = ToProto(difference.time);
  Convert(difference.nodes, out.mutable_nodes());
  Convert(difference.zones, out.mutable_zones());
  Convert(difference.owners, out.mutable_owners());
  Convert(difference.attributions, out.mutable_attributions());
  Convert(difference.pin_kinds, out.mutable_pin_kinds());
  Convert(difference.pin_retries, out.mutable_pin_retries());
  Convert(difference.pin_retries_ended, out.mutable_pin_retries_ended());
  Convert(difference.attempts, out.mutable_attempts());
  Convert(difference.blocks, out.mutable_blocks());
  Convert(difference.migrations, out.mutable_migrations());
  Convert(difference.calls, out.mutable_calls());
  Convert(difference.verdicts, difference.block_size_bytes,
          out.mutable_verdicts());
  Convert(difference.removable, out.mutable_removable());
  for (const int nid : difference.nodes_gone) out.add_nodes_gone(nid);
  for (const uint32_t id : difference.owners_gone) out.add_owners_gone(id);
  if (difference.pause_changed) {
    v1::PauseChange& pause = *out.mutable_pause();
    if (difference.paused_since)
      *pause.mutable_since() = ToProto(*difference.paused_since);
  }
  return out;
}

v1::ListAttemptsResponse ToAttemptsProto(const Snapshot& snapshot,
                                         uint64_t before_id, size_t size) {
  v1::ListAttemptsResponse out;
  if (before_id == 0) Convert(snapshot.attempt_counts, out.mutable_counts());
  out.set_stories_lost(snapshot.attempts_untold);
  std::set<uint32_t> named;
  for (const HotplugAttempt& attempt : snapshot.attempts) {
    if (before_id && attempt.id >= before_id) continue;
    if (static_cast<size_t>(out.attempts_size()) == size) {
      out.set_next_page_token(std::to_string(out.attempts().rbegin()->id()));
      break;
    }
    *out.add_attempts() = ToProto(attempt);
    for (const BlockingPage& page : attempt.blockers)
      named.insert(page.owners.begin(), page.owners.end());
  }
  for (const uint32_t id : named)
    if (const auto owner = snapshot.owners.Find(id))
      *out.add_owners() = ToProto(*owner);
  return out;
}

namespace {

// Owners whose pages stand in most ranges of 2 MiB, those first.
std::vector<uint32_t> HugeRangeOwners(const OwnerList& owners) {
  constexpr size_t kMost = 10;
  std::vector<std::pair<uint64_t, uint32_t>> most;  // by ranges, then id
  for (auto owner = owners.begin(); owner != owners.end(); ++owner) {
    if (!owner.page().Holds(owner.id())) continue;
    uint64_t ranges = 0;
    for (const PinHolding& holding : (*owner).holdings)
      ranges += holding.huge_ranges;
    if (ranges) most.emplace_back(ranges, owner.id());
  }
  const size_t size = std::min(kMost, most.size());
  std::partial_sort(most.begin(), most.begin() + static_cast<ptrdiff_t>(size),
                    most.end(), [](const auto& a, const auto& b) {
                      return std::pair(b.first, a.second) <
                             std::pair(a.first, b.second);
                    });
  std::vector<uint32_t> ids;
  for (size_t i = 0; i < size; ++i) ids.push_back(most[i].second);
  return ids;
}

void AddForHugePages(const Snapshot& snapshot,
                     v1::ListMigrationsResponse& out) {
  for (const PinKinds& kinds : snapshot.pin_kinds) {
    v1::HugeRanges& ranges = *out.add_huge_ranges();
    ranges.set_nid(kinds.nid);
    ranges.set_zone(ToUtf8(kinds.zone));
    ranges.set_pinned_ranges(kinds.huge_ranges);
  }
  for (const uint32_t id : HugeRangeOwners(snapshot.owners))
    out.add_huge_range_owners(id);
}

void AddPinMoves(const Snapshot& snapshot, v1::ListMigrationsResponse& out) {
  for (const SubsystemCalls& calls : snapshot.calls) {
    if (!calls.calls.outcomes.moves) continue;
    v1::SubsystemMoves& moves = *out.add_pin_moves();
    moves.set_subsystem(ToUtf8(calls.subsystem));
    *moves.mutable_moves() = ToProto(*calls.calls.outcomes.moves);
  }
}

}  // namespace

v1::ListMigrationsResponse ToMigrationsProto(const Snapshot& snapshot,
                                             uint64_t first_id, size_t size) {
  v1::ListMigrationsResponse out;
  if (first_id == 0) {
    Convert(snapshot.migrations, out.mutable_migrations());
    Convert(snapshot.migration_details, out.mutable_details());
    Convert(snapshot.migration_places, out.mutable_places());
    if (snapshot.contig_ranges)
      *out.mutable_contig_ranges() = ToProto(*snapshot.contig_ranges);
    Convert(snapshot.high_order, out.mutable_high_order());
    AddForHugePages(snapshot, out);
    AddPinMoves(snapshot, out);
  }
  out.set_unlisted(snapshot.migration_failures_unlisted);
  std::set<uint32_t> named(out.huge_range_owners().begin(),
                           out.huge_range_owners().end());
  for (const MigrationFailure& failure : snapshot.migration_failures) {
    if (failure.id < first_id) continue;
    if (static_cast<size_t>(out.failures_size()) == size) {
      out.set_next_page_token(std::to_string(out.failures().rbegin()->id()));
      break;
    }
    *out.add_failures() = ToProto(failure);
    named.insert(failure.page.owners.begin(), failure.page.owners.end());
  }
  for (const uint32_t id : named)
    if (const auto owner = snapshot.owners.Find(id))
      *out.add_owners() = ToProto(*owner);
  return out;
}

v1::ListOwnersResponse ToOwnersProto(const Snapshot& snapshot,
                                     uint64_t first_id, size_t size,
                                     bool holding) {
  v1::ListOwnersResponse out;
  Convert(snapshot.attributions, out.mutable_attributions());
  if (snapshot.claims) *out.mutable_claims() = ToProto(*snapshot.claims);
  if (first_id == 0) Convert(snapshot.inferred, out.mutable_inferred());
  for (auto owner = snapshot.owners.From(first_id);
       owner != snapshot.owners.end(); ++owner) {
    if (holding && !owner.page().Holds(owner.id())) continue;
    if (static_cast<size_t>(out.owners_size()) == size) {
      out.set_next_page_token(std::to_string(out.owners().rbegin()->id()));
      break;
    }
    *out.add_owners() = ToProto(*owner);
  }
  return out;
}

v1::ExplainBlockResponse ToProto(const BlockReport& report) {
  v1::ExplainBlockResponse out;
  out.set_block(report.block.id);
  out.set_state(ToUtf8(report.block.state));
  if (report.block.nid >= 0) out.set_nid(report.block.nid);
  out.set_zone(ToUtf8(report.block.zone));
  out.set_device(ToUtf8(report.block.device));
  out.set_verdict(ToProto(report.verdict));
  out.set_reason(ToUtf8(report.reason));
  if (report.look) *out.mutable_look() = ToProto(*report.look);
  Convert(report.migratetypes, out.mutable_migratetypes());
  Convert(report.attributions, out.mutable_attributions());
  Convert(report.owners, out.mutable_owners());
  Convert(report.blockers, out.mutable_blockers());
  Convert(report.inferred, out.mutable_inferred());
  out.set_confidence(ToProto(report.confidence));
  if (report.look) *out.mutable_evidence() = ToProto(report.evidence);
  for (const auto& [block, pages] : report.struct_pages) {
    v1::StructPages& part = *out.add_struct_pages();
    part.set_of_block(block);
    part.set_pages(pages);
  }
  return out;
}

v1::ListBlocksResponse ToBlocksProto(const BlockList& list,
                                     uint64_t block_size_bytes) {
  v1::ListBlocksResponse out;
  out.set_block_size_bytes(block_size_bytes);
  Convert(list.blocks, out.mutable_blocks());
  Convert(list.devices, out.mutable_devices());
  out.set_devices_hidden(ToUtf8(list.devices_hidden));
  if (list.more)
    out.set_next_page_token(std::to_string(list.blocks.back().block.id));
  return out;
}

v1::PlanOfflineResponse ToPlanProto(const OfflinePlan& plan,
                                    uint64_t block_size_bytes, uint64_t bytes) {
  v1::PlanOfflineResponse out;
  out.set_reached(plan.bytes >= bytes);
  for (const PlannedBlock& block : plan.blocks) {
    v1::PlannedBlock& to = *out.add_blocks();
    *to.mutable_verdict() = ToProto(block.verdict);
    for (const uint32_t owner : block.owners) to.add_owners(owner);
  }
  out.set_bytes(plan.bytes);
  out.set_pages_to_move(plan.pages_to_move);
  out.set_free_pages(plan.free_pages);
  out.set_no_room_blocks(plan.no_room_blocks);
  Convert(plan.owners, out.mutable_owners());
  out.set_stopped_owners(plan.stopped_owners);
  out.set_stopped_pages(plan.stopped_pages);
  Convert(plan.verdicts, block_size_bytes, out.mutable_verdicts());
  if (plan.oldest_look) *out.mutable_oldest_look() = ToProto(*plan.oldest_look);
  return out;
}

std::optional<Verdict> FromProto(v1::Verdict verdict) {
  for (int i = 0; i < kNrVerdicts; ++i)
    if (ToProto(static_cast<Verdict>(i)) == verdict)
      return static_cast<Verdict>(i);
  return std::nullopt;
}

v1::ExplainPageResponse ToProto(const PageReport& report) {
  v1::ExplainPageResponse out;
  out.set_pfn(report.pfn);
  out.set_block(report.block.id);
  out.set_state(ToUtf8(report.block.state));
  if (!report.look) return out;
  *out.mutable_look() = ToProto(*report.look);
  out.set_nid(report.nid);
  out.set_zone(ToUtf8(report.zone));
  out.set_migratetype(ToUtf8(report.migratetype));
  out.set_page_class(std::string(kPageClassNames[report.page]));
  if (report.refcount) out.set_refcount(*report.refcount);
  out.set_pins(report.pins);
  if (report.attribution)
    *out.mutable_attribution() = ToProto(*report.attribution);
  Convert(report.owners, out.mutable_owners());
  Convert(report.inferred, out.mutable_inferred());
  for (const ReferenceHolder& holder : report.reference_holders)
    *out.add_reference_holders() = ToProto(holder);
  out.set_pipes_searched(report.pipes_searched);
  if (report.cgroup) *out.mutable_memory_cgroup() = ToProto(*report.cgroup);
  if (report.mapped_by) *out.mutable_mapped_by() = ToProto(*report.mapped_by);
  if (report.taken_by) *out.mutable_taken_by() = ToProto(*report.taken_by);
  out.set_why(report.why);
  if (report.struct_pages_of) out.set_struct_pages_of(*report.struct_pages_of);
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
