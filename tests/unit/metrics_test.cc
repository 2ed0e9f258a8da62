// SPDX-License-Identifier: Apache-2.0
#include "daemon/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "daemon/http.h"

namespace pinwatch {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Not;

const BuildInfo kBuild = {.version = "0.1.0",
                          .revision = "abc",
                          .compiler = "g++ 12",
                          .libbpf = "1.1"};

MigratetypePages Pages(const char* migratetype, PinCount confirmed,
                       PinCount possible) {
  MigratetypePages pages{
      .migratetype = migratetype, .confirmed = confirmed, .possible = possible};
  pages.pages[PAGE_FREE] = 100;
  pages.pages[PAGE_PINNED_EXACT] = confirmed.pages;
  return pages;
}

// One of everything, two of what is summed.
Snapshot FullSnapshot() {
  Snapshot snapshot{
      .generation = 7,
      .time = {.realtime_ns = 1'700'000'000'500'000'000,
               .monotonic_ns = 20'000'000'000},
      .facts = {{.name = "census", .observable = true},
                {.name = "claims", .by_choice = true},
                {.name = "migrations", .observable = false}},
      .collectors = {{.name = "blocks",
                      .success = true,
                      .duration_ns = 2'500'000},
                     {.name = "zones", .success = false}},
      .nodes = {{.nid = 0,
                 .acquired = 20000,
                 .released = 3616,
                 .counters_exact = true,
                 .census_references = 16380,
                 .census_current = true,
                 .drift_references = -4,
                 .drift_time =
                     Timestamp{.realtime_ns = 1'600'000'000'000'000'000},
                 .device_pages = 32768}},
      .zones = {{.nid = 0,
                 .name = "Normal",
                 .present_pages = 70000,
                 .managed_pages = 65000,
                 .migratetypes = {Pages("unmovable", {16384, 16390}, {2, 3}),
                                  Pages("movable", {1, 1}, {}),
                                  {.migratetype = "cma"}},
                 .oldest_look =
                     Timestamp{.realtime_ns = 1'650'000'000'000'000'000}}},
      .block_size_bytes = 134217728,
      .blocks = {{.nid = 0, .zone = "Normal", .state = "online", .blocks = 5},
                 {.nid = -1, .zone = "none", .state = "offline", .blocks = 2}},
      .migrations = {{.reason = "longterm_pin",
                      .mode = "sync",
                      .counters = {.calls = 6,
                                   .succeeded_pages = 5,
                                   .failed_pages = 4,
                                   .thp_succeeded = 3,
                                   .thp_failed = 2,
                                   .thp_split = 1}},
                     {.reason = "compaction",
                      .mode = "async",
                      .counters = {.large_split = 7},
                      .tells_large_split = true}},
      .migration_details = {{.reason = "longterm_pin",
                             .failed_by_why = {3},
                             .failed_unclassified = 1,
                             .latencies = {0, 2},
                             .measured_ns = 3000,
                             .measured_calls = 2,
                             .unmeasured_calls = 4}},
      .migration_places = {{.nid = 0,
                            .zone = "Normal",
                            .calls = 3,
                            .succeeded_pages = 23,
                            .failed_pages = 7},
                           {.calls = 1}},
      .migration_failures_unlisted = 5,
      .contig_ranges = ContigRanges{.counts = {{"ok", 1}, {"EBUSY", 7}},
                                    .cma = {{"reserved", 1, 512, 7, 3584, 9}},
                                    .latencies = {0, 8},
                                    .measured_ns = 12000},
      .high_order = {{"hugetlb", 23, 7}},
      .census = {.rounds = 2,
                 .blocks_looked = 12,
                 .blocks_absent = 3,
                 .blocks_changed = 1,
                 .pages = 4096,
                 .steps = 55,
                 .cpu_ns = 1'250'000},
      .attempts = {{.operation = "offline",
                    .begin = {.realtime_ns = 1'690'000'000'000'000'000},
                    .running = true},
                   {.operation = "online", .running = false}},
      .attempt_counts = {{"offline", "ok", 23},
                         {"offline", "EBUSY", 7},
                         {"online", "ok", 5}},
      .attempts_untold = 2,
      .last_offline_failure =
          Timestamp{.realtime_ns = 1'680'000'000'000'000'000},
      .owners = {{.id = 3, .growth = PinGrowth{.rises = 5}}, {.id = 4}},
      .attributions = {{.nid = 0,
                        .zone = "Normal",
                        .certainty = Certainty::kHeld,
                        .pins = {16000, 16006}},
                       {.nid = 0,
                        .zone = "Normal",
                        .certainty = Certainty::kUnattributed,
                        .reason = "no_claim",
                        .pins = {300, 300}},
                       {.nid = 0,
                        .zone = "Normal",
                        .certainty = Certainty::kUnattributed,
                        .reason = "older",
                        .pins = {87, 87}}},
      .pin_kinds = {{.nid = 0,
                     .zone = "Normal",
                     .long_term = 15977,
                     .short_term = 23,
                     .unknown = 387,
                     .long_term_older = {9007, 9006, 9005, 9004, 9003, 9002,
                                         9001},
                     .short_term_older = {21, 3},
                     .long_term_in_cma = 7,
                     .huge_ranges = 17}},
      .calls = {{"vfio",
                 true,
                 {.calls = 61,
                  .pages = 62,
                  .outcomes = {.asked_pages = 63,
                               .partial_calls = 64,
                               .failed_calls = 7,
                               .errors = {{ENOMEM, 6}, {ENXIO, 1}},
                               .measured_calls = 10,
                               .measured_ns = 2'500'000'000,
                               .minor_faults = 65,
                               .major_faults = 66},
                  .latencies = {1, 2, 3}}},
                {"some_module", false, {.calls = 7}}},
      .landings = {{.nid = 0, .zone = "Normal", .pages = 31}, {.pages = 2}},
      .claims = ClaimTotals{.long_term_calls = 31,
                            .short_term_calls = 32,
                            .long_term_pages = 33,
                            .short_term_pages = 34,
                            .long_term_asked_pages = 51,
                            .short_term_asked_pages = 52,
                            .long_term_partial_calls = 53,
                            .short_term_partial_calls = 54,
                            .long_term_failed_calls = 55,
                            .short_term_failed_calls = 56,
                            .unmeasured_calls = 57,
                            .lost_errors = 58,
                            .short_term_skipped = 35,
                            .lost_busy = 36,
                            .lost_recursion = 37,
                            .lost_owners = 38,
                            .lost_pages = 39,
                            .owners = 40,
                            .chunks = 41,
                            .chunk_bytes = 42,
                            .unattached_ns = 43'500'000'000,
                            .follows_moves = true,
                            .follows_targets = true},
      .governor = {.stage = GovernorStage::kSampled, .cost_seconds = 1.25},
      .moves_long_term_pins = true,
      .paused_since = Timestamp{.monotonic_ns = 10'000'000'000},
      .paused_ns = 2'500'000'000,
      .verdicts = {{1, "Movable", Verdict::kBlockedByLongTermPins, 7}},
      .removable = {{1, 23}},
  };
  snapshot.calls[0].calls.latencies.back() = 4;
  return snapshot;
}

const ProcessStats kProcess = {.cpu_seconds = 1.5,
                               .resident_bytes = 1048576,
                               .virtual_bytes = 2097152,
                               .threads = 3,
                               .start_time_seconds = 1.7e9,
                               .open_fds = 9,
                               .max_fds = 1024};

std::string Text(const Snapshot& snapshot,
                 uint64_t max_series = kDefaultMaxSeries) {
  return ToPrometheusText(CollectMetrics(
      {.snapshot = snapshot, .build = kBuild, .process = kProcess},
      max_series));
}

std::vector<std::string> Lines(const std::string& text) {
  return absl::StrSplit(text, '\n', absl::SkipEmpty());
}

size_t CountSeries(const std::string& text) {
  const std::vector<std::string> lines = Lines(text);
  return std::ranges::count_if(
      lines, [](const std::string& line) { return !line.starts_with('#'); });
}

TEST(Metrics, EveryFigureOfASnapshotHasItsLine) {
  const std::vector<std::string> lines = Lines(Text(FullSnapshot()));
  for (
      const char* line : {
          R"(pinwatch_build_info{version="0.1.0",revision="abc",compiler="g++ 12",libbpf="1.1"} 1)",
          R"(pinwatch_kernel_feature_info{feature="census",state="observable"} 1)",
          R"(pinwatch_kernel_feature_info{feature="claims",state="by_choice"} 1)",
          R"(pinwatch_kernel_feature_info{feature="migrations",state="not_observable"} 1)",
          R"(pinwatch_collector_success{collector="blocks"} 1)",
          R"(pinwatch_collector_success{collector="zones"} 0)",
          R"(pinwatch_collector_success{collector="process"} 1)",
          R"(pinwatch_collector_duration_seconds{collector="blocks"} 0.0025)",
          R"(pinwatch_failed_scrapes_total 0)",
          R"(pinwatch_snapshot_timestamp_seconds 1700000000.5)",
          R"(pinwatch_snapshots_total 7)",
          R"(pinwatch_paused 1)",
          R"(pinwatch_paused_seconds_total 12.5)",
          R"(process_cpu_seconds_total 1.5)",
          R"(process_resident_memory_bytes 1048576)",
          R"(process_virtual_memory_bytes 2097152)",
          R"(process_open_fds 9)",
          R"(process_max_fds 1024)",
          R"(process_start_time_seconds 1700000000)",
          R"(process_threads 3)",
          R"(pinwatch_node_pin_acquires_total{numa_node="0"} 20000)",
          R"(pinwatch_node_pin_releases_total{numa_node="0"} 3616)",
          R"(pinwatch_node_pinned_references{numa_node="0"} 16384)",
          R"(pinwatch_node_counters_exact{numa_node="0"} 1)",
          R"(pinwatch_census_references{numa_node="0"} 16380)",
          R"(pinwatch_census_current{numa_node="0"} 1)",
          R"(pinwatch_census_drift_references{numa_node="0"} -4)",
          R"(pinwatch_census_drift_timestamp_seconds{numa_node="0"} 1600000000)",
          R"(pinwatch_node_device_pages{numa_node="0"} 32768)",
          R"(pinwatch_census_rounds_total 2)",
          R"(pinwatch_census_looks_total{result="ok"} 8)",
          R"(pinwatch_census_looks_total{result="absent"} 3)",
          R"(pinwatch_census_looks_total{result="changed"} 1)",
          R"(pinwatch_census_pages_total 4096)",
          R"(pinwatch_census_steps_total 55)",
          R"(pinwatch_census_cpu_seconds_total 0.00125)",
          R"(pinwatch_census_oldest_look_timestamp_seconds{numa_node="0",mem_zone="Normal"} 1650000000)",
          R"(pinwatch_zone_managed_pages{numa_node="0",mem_zone="Normal"} 65000)",
          R"(pinwatch_zone_present_pages{numa_node="0",mem_zone="Normal"} 70000)",
          R"(pinwatch_memory_block_size_bytes 134217728)",
          R"(pinwatch_memory_blocks{numa_node="0",mem_zone="Normal",state="online"} 5)",
          R"(pinwatch_memory_blocks{numa_node="unknown",mem_zone="none",state="offline"} 2)",
          R"(pinwatch_pinned_pages{numa_node="0",mem_zone="Normal",migratetype="unmovable"} 16384)",
          R"(pinwatch_pinned_pages{numa_node="0",mem_zone="Normal",migratetype="movable"} 1)",
          R"(pinwatch_pinned_bytes{numa_node="0",mem_zone="Normal",migratetype="unmovable"} 67108864)",
          R"(pinwatch_pinned_references{numa_node="0",mem_zone="Normal",migratetype="unmovable"} 16390)",
          R"(pinwatch_possible_pinned_pages{numa_node="0",mem_zone="Normal",migratetype="unmovable"} 2)",
          R"(pinwatch_possible_pinned_references{numa_node="0",mem_zone="Normal",migratetype="unmovable"} 3)",
          R"(pinwatch_pages{numa_node="0",mem_zone="Normal",class="free"} 200)",
          R"(pinwatch_pages{numa_node="0",mem_zone="Normal",class="pinned_exact"} 16385)",
          R"(pinwatch_pages{numa_node="0",mem_zone="Normal",class="unstable"} 0)",
          R"(pinwatch_attributed_pages{numa_node="0",mem_zone="Normal",certainty="held"} 16000)",
          R"(pinwatch_attributed_pages{numa_node="0",mem_zone="Normal",certainty="shared"} 0)",
          R"(pinwatch_attributed_pages{numa_node="0",mem_zone="Normal",certainty="one_of"} 0)",
          R"(pinwatch_attributed_pages{numa_node="0",mem_zone="Normal",certainty="probable"} 0)",
          R"(pinwatch_attributed_pages{numa_node="0",mem_zone="Normal",certainty="inferred"} 0)",
          R"(pinwatch_attributed_pages{numa_node="0",mem_zone="Normal",certainty="unattributed"} 387)",
          R"(pinwatch_attributed_pages_by_kind{numa_node="0",mem_zone="Normal",kind="long_term"} 15977)",
          R"(pinwatch_attributed_pages_by_kind{numa_node="0",mem_zone="Normal",kind="short_term"} 23)",
          R"(pinwatch_attributed_pages_by_kind{numa_node="0",mem_zone="Normal",kind="unknown"} 387)",
          R"(pinwatch_pin_age_pages{numa_node="0",mem_zone="Normal",kind="long_term",older_than="1s"} 9007)",
          R"(pinwatch_pin_age_pages{numa_node="0",mem_zone="Normal",kind="short_term",older_than="1s"} 21)",
          R"(pinwatch_pin_age_pages{numa_node="0",mem_zone="Normal",kind="long_term",older_than="10s"} 9006)",
          R"(pinwatch_pin_age_pages{numa_node="0",mem_zone="Normal",kind="short_term",older_than="10s"} 3)",
          R"(pinwatch_pin_age_pages{numa_node="0",mem_zone="Normal",kind="long_term",older_than="1m"} 9005)",
          R"(pinwatch_pin_age_pages{numa_node="0",mem_zone="Normal",kind="short_term",older_than="1m"} 0)",
          R"(pinwatch_pin_age_pages{numa_node="0",mem_zone="Normal",kind="long_term",older_than="10m"} 9004)",
          R"(pinwatch_pin_age_pages{numa_node="0",mem_zone="Normal",kind="short_term",older_than="10m"} 0)",
          R"(pinwatch_pin_age_pages{numa_node="0",mem_zone="Normal",kind="long_term",older_than="1h"} 9003)",
          R"(pinwatch_pin_age_pages{numa_node="0",mem_zone="Normal",kind="short_term",older_than="1h"} 0)",
          R"(pinwatch_pin_age_pages{numa_node="0",mem_zone="Normal",kind="long_term",older_than="1d"} 9002)",
          R"(pinwatch_pin_age_pages{numa_node="0",mem_zone="Normal",kind="short_term",older_than="1d"} 0)",
          R"(pinwatch_pin_age_pages{numa_node="0",mem_zone="Normal",kind="long_term",older_than="7d"} 9001)",
          R"(pinwatch_pin_age_pages{numa_node="0",mem_zone="Normal",kind="short_term",older_than="7d"} 0)",
          R"(pinwatch_cma_long_term_pages{numa_node="0",mem_zone="Normal"} 7)",
          R"(pinwatch_pinned_huge_ranges{numa_node="0",mem_zone="Normal"} 17)",
          R"(pinwatch_long_term_landed_pages_total{numa_node="0",mem_zone="Normal"} 31)",
          R"(pinwatch_long_term_landed_pages_total{numa_node="unknown",mem_zone="unknown"} 2)",
          R"(pinwatch_suspected_leaks 1)",
          R"(pinwatch_kernel_moves_long_term_pins 1)",
          R"(pinwatch_pin_calls_total{kind="long_term"} 31)",
          R"(pinwatch_pin_calls_total{kind="short_term"} 32)",
          R"(pinwatch_pin_pages_total{kind="long_term"} 33)",
          R"(pinwatch_pin_pages_total{kind="short_term"} 34)",
          R"(pinwatch_pin_asked_pages_total{kind="long_term"} 51)",
          R"(pinwatch_pin_asked_pages_total{kind="short_term"} 52)",
          R"(pinwatch_pin_partial_calls_total{kind="long_term"} 53)",
          R"(pinwatch_pin_partial_calls_total{kind="short_term"} 54)",
          R"(pinwatch_pin_failed_calls_total{kind="long_term"} 55)",
          R"(pinwatch_pin_failed_calls_total{kind="short_term"} 56)",
          R"(pinwatch_pin_errors_total{kind="long_term",errno="EFAULT"} 0)",
          R"(pinwatch_pin_errors_total{kind="long_term",errno="ENOMEM"} 6)",
          R"(pinwatch_pin_errors_total{kind="long_term",errno="other"} 1)",
          R"(pinwatch_pin_errors_total{kind="short_term",errno="ENOMEM"} 0)",
          R"(pinwatch_pin_errors_uncounted_total 58)",
          R"(pinwatch_pin_calls_unmeasured_total 57)",
          R"(pinwatch_subsystem_pin_calls_total{subsystem="vfio",kind="long_term"} 61)",
          R"(pinwatch_subsystem_pin_calls_total{subsystem="rdma",kind="long_term"} 0)",
          R"(pinwatch_subsystem_pin_calls_total{subsystem="other",kind="short_term"} 7)",
          R"(pinwatch_subsystem_pin_calls_total{subsystem="unknown",kind="long_term"} 0)",
          R"(pinwatch_subsystem_pin_pages_total{subsystem="vfio",kind="long_term"} 62)",
          R"(pinwatch_subsystem_pin_asked_pages_total{subsystem="vfio",kind="long_term"} 63)",
          R"(pinwatch_subsystem_pin_partial_calls_total{subsystem="vfio",kind="long_term"} 64)",
          R"(pinwatch_subsystem_pin_failed_calls_total{subsystem="vfio",kind="long_term"} 7)",
          R"(pinwatch_subsystem_pin_faults_total{subsystem="vfio",kind="long_term",fault="minor"} 65)",
          R"(pinwatch_subsystem_pin_faults_total{subsystem="vfio",kind="long_term",fault="major"} 66)",
          R"(pinwatch_subsystem_pin_call_seconds_bucket{subsystem="vfio",kind="long_term",le="1.024e-06"} 1)",
          R"(pinwatch_subsystem_pin_call_seconds_bucket{subsystem="vfio",kind="long_term",le="4.096e-06"} 6)",
          R"(pinwatch_subsystem_pin_call_seconds_bucket{subsystem="vfio",kind="long_term",le="17.179869184"} 6)",
          R"(pinwatch_subsystem_pin_call_seconds_bucket{subsystem="vfio",kind="long_term",le="+Inf"} 10)",
          R"(pinwatch_subsystem_pin_call_seconds_count{subsystem="vfio",kind="long_term"} 10)",
          R"(pinwatch_subsystem_pin_call_seconds_sum{subsystem="vfio",kind="long_term"} 2.5)",
          R"(pinwatch_memory_block_verdicts{numa_node="1",mem_zone="Movable",verdict="blocked_by_long_term_pins"} 7)",
          R"(pinwatch_memory_block_verdicts{numa_node="1",mem_zone="Movable",verdict="removable"} 0)",
          R"(pinwatch_memory_block_verdict_bytes{numa_node="1",mem_zone="Movable",verdict="blocked_by_long_term_pins"} 939524096)",
          R"(pinwatch_removable_bytes{numa_node="1"} 23)",
          R"(pinwatch_pin_calls_skipped_total 35)",
          R"(pinwatch_pin_calls_unclaimed_total{cause="busy"} 36)",
          R"(pinwatch_pin_calls_unclaimed_total{cause="recursion"} 37)",
          R"(pinwatch_pin_calls_unclaimed_total{cause="owners_full"} 38)",
          R"(pinwatch_pin_pages_unclaimed_total 39)",
          R"(pinwatch_governor_stage{stage="all"} 0)",
          R"(pinwatch_governor_stage{stage="sampled"} 1)",
          R"(pinwatch_governor_stage{stage="off"} 0)",
          R"(pinwatch_hook_cost_seconds_total 1.25)",
          R"(pinwatch_pin_owners 40)",
          R"(pinwatch_claim_chunks 41)",
          R"(pinwatch_claim_bytes 42)",
          R"(pinwatch_claim_gap_seconds_total 43.5)",
          R"(pinwatch_migrate_attempts_total{reason="longterm_pin",mode="sync"} 6)",
          R"(pinwatch_migrate_attempts_total{reason="compaction",mode="async"} 0)",
          R"(pinwatch_migrate_succeeded_pages_total{reason="longterm_pin",mode="sync"} 5)",
          R"(pinwatch_migrate_failed_pages_total{reason="longterm_pin",mode="sync"} 4)",
          R"(pinwatch_migrate_thp_succeeded_total{reason="longterm_pin",mode="sync"} 3)",
          R"(pinwatch_migrate_thp_failed_total{reason="longterm_pin",mode="sync"} 2)",
          R"(pinwatch_migrate_thp_split_total{reason="longterm_pin",mode="sync"} 1)",
          R"(pinwatch_migrate_large_split_total{reason="compaction",mode="async"} 7)",
          R"(pinwatch_migrate_failed_pages_by_why_total{reason="longterm_pin",why="pinned"} 3)",
          R"(pinwatch_migrate_failed_pages_by_why_total{reason="longterm_pin",why="plain_reference"} 0)",
          R"(pinwatch_migrate_failed_pages_by_why_total{reason="longterm_pin",why="not_classified"} 1)",
          R"(pinwatch_migrate_calls_unmeasured_total{reason="longterm_pin"} 4)",
          R"(pinwatch_migrate_first_folio_calls_total{numa_node="0",mem_zone="Normal"} 3)",
          R"(pinwatch_migrate_first_folio_succeeded_pages_total{numa_node="0",mem_zone="Normal"} 23)",
          R"(pinwatch_migrate_first_folio_failed_pages_total{numa_node="0",mem_zone="Normal"} 7)",
          R"(pinwatch_migrate_first_folio_calls_total{numa_node="unknown",mem_zone="unknown"} 1)",
          R"(pinwatch_migrate_failures_unlisted_total 5)",
          R"(pinwatch_high_order_total{what="hugetlb",outcome="ok"} 23)",
          R"(pinwatch_high_order_total{what="hugetlb",outcome="failed"} 7)",
          R"(pinwatch_contig_range_attempts_total{outcome="ok"} 1)",
          R"(pinwatch_contig_range_attempts_total{outcome="EBUSY"} 7)",
          R"(pinwatch_contig_range_seconds_count 8)",
          R"(pinwatch_offline_attempts_total{outcome="ok"} 23)",
          R"(pinwatch_offline_attempts_total{outcome="EBUSY"} 7)",
          R"(pinwatch_online_attempts_total{outcome="ok"} 5)",
          R"(pinwatch_hotplug_attempts_running{operation="offline"} 1)",
          R"(pinwatch_hotplug_attempts_running{operation="online"} 0)",
          R"(pinwatch_longest_running_offline_start_timestamp_seconds 1690000000)",
          R"(pinwatch_last_offline_failure_timestamp_seconds 1680000000)",
          R"(pinwatch_hotplug_stories_lost_total 2)",
          R"(pinwatch_series_dropped 0)",
      }) {
    EXPECT_THAT(lines, Contains(line));
  }
}

TEST(Metrics, AFullSnapshotLeavesNoRowOut) {
  const Snapshot snapshot = FullSnapshot();
  const auto collected = CollectMetrics(
      {.snapshot = snapshot, .build = kBuild, .process = kProcess},
      kDefaultMaxSeries);
  EXPECT_EQ(collected.size(), Metrics().size());
}

TEST(Metrics, NoTwoSeriesAreTheSame) {
  std::set<std::string> seen;
  for (const std::string& line : Lines(Text(FullSnapshot())))
    EXPECT_TRUE(seen.insert(line.substr(0, line.rfind(' '))).second) << line;
}

TEST(Metrics, HelpAndTypeStandBeforeTheSeries) {
  EXPECT_THAT(Text(FullSnapshot()),
              HasSubstr("# HELP pinwatch_snapshots_total Snapshots published "
                        "since pinwatchd started.\n"
                        "# TYPE pinwatch_snapshots_total counter\n"
                        "pinwatch_snapshots_total 7\n"));
}

TEST(Metrics, UnknownIsAbsentNotZero) {
  const Snapshot snapshot = {
      .facts = {{.name = "census", .observable = false}},
      .nodes = {{.nid = 0}},
      .zones = {{.nid = 0, .name = "Normal"}},
  };
  const std::string text = ToPrometheusText(CollectMetrics(
      {.snapshot = snapshot, .build = kBuild}, kDefaultMaxSeries));
  for (const char* absent :
       {"pinwatch_node_", "pinwatch_census_", "pinwatch_pinned_",
        "pinwatch_possible_", "pinwatch_pages", "pinwatch_memory_block",
        "pinwatch_migrate_", "pinwatch_attributed_", "pinwatch_pin_",
        "pinwatch_claim_", "process_"}) {
    EXPECT_THAT(text, Not(HasSubstr(absent)));
  }
  EXPECT_THAT(text,
              HasSubstr("pinwatch_collector_success{collector=\"process\"} 0"));
}

TEST(Metrics, OneUnknownCounterHidesTheDifferenceOnly) {
  const Snapshot snapshot = {.nodes = {{.nid = 1, .acquired = 5}}};
  const std::string text = Text(snapshot);
  EXPECT_THAT(text,
              HasSubstr("pinwatch_node_pin_acquires_total{numa_node=\"1\"} 5"));
  EXPECT_THAT(text, Not(HasSubstr("pinwatch_node_pin_releases_total")));
  EXPECT_THAT(text, Not(HasSubstr("pinwatch_node_pinned_references")));
  EXPECT_THAT(text, Not(HasSubstr("pinwatch_node_counters_exact")));
}

// The label of a fact with this name, as the exposition has it.
std::string ExportedLabel(const std::string& name) {
  const Snapshot snapshot = {.facts = {{.name = name}}};
  for (const std::string& line : Lines(Text(snapshot))) {
    const size_t start = line.find("{feature=\"");
    if (start == std::string::npos) continue;
    return line.substr(start + 10, line.find("\",state") - start - 10);
  }
  return "absent";
}

TEST(Labels, QuotesNewlinesAndBackslashesAreEscaped) {
  EXPECT_EQ(ExportedLabel("a\"b\nc\\d"), "a\\\"b\\nc\\\\d");
}

TEST(Labels, BytesThatAreNotUtf8AreReplaced) {
  EXPECT_EQ(ExportedLabel("a\xff\xfe"
                          "b"),
            "a\uFFFD\uFFFD"
            "b");
  EXPECT_EQ(ExportedLabel("\xc3"), "\uFFFD");            // cut short
  EXPECT_EQ(ExportedLabel("\xe2\x82"), "\uFFFD\uFFFD");  // cut short
  EXPECT_EQ(ExportedLabel("\xf0\x9f\x98x"), "\uFFFD\uFFFD\uFFFDx");
  EXPECT_EQ(ExportedLabel("\xc0\xaf"), "\uFFFD\uFFFD");  // overlong
  EXPECT_EQ(ExportedLabel("\xe0\x80\xaf"), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(ExportedLabel("\xed\xa0\x80"), "\uFFFD\uFFFD\uFFFD");  // surrogate
  EXPECT_EQ(ExportedLabel("\xf4\x90\x80\x80"),
            "\uFFFD\uFFFD\uFFFD\uFFFD");  // above U+10FFFF
  EXPECT_EQ(ExportedLabel(std::string("a\0b", 3)),
            "a\uFFFD"
            "b");
}

TEST(Labels, CharactersOfEveryLengthAreKept) {
  const std::string text =
      "a\u00e9\u07ff\u0800\u20ac\ud7ff\uE000\uFFFF\U00010000\U0001F600"
      "\U0010FFFF";
  EXPECT_EQ(ExportedLabel(text), text);
}

TEST(Labels, LongValuesEndOnACharacterBoundary) {
  EXPECT_EQ(ExportedLabel(std::string(300, 'x')), std::string(128, 'x'));
  EXPECT_EQ(ExportedLabel(std::string(127, 'x') + "\u20ac"),
            std::string(127, 'x'));
  EXPECT_EQ(ExportedLabel(std::string(125, 'x') + "\u20acyz"),
            std::string(125, 'x') + "\u20ac");
  EXPECT_LE(ExportedLabel(std::string(300, '\xff')).size(), 128u);
}

TEST(Limit, SeriesBeyondItAreDroppedAndCounted) {
  Snapshot snapshot = FullSnapshot();
  const size_t all = CountSeries(Text(snapshot));
  for (int i = 0; i < 5000; ++i)
    snapshot.migrations.push_back(
        {.reason = "reason" + std::to_string(i), .mode = "sync"});
  const std::string text = Text(snapshot, 2000);
  EXPECT_EQ(CountSeries(text), 2000u);
  const size_t dropped = all + 6 * 5000 - 2000;
  EXPECT_THAT(text, HasSubstr("\npinwatch_series_dropped " +
                              std::to_string(dropped) + "\n"));
}

TEST(Limit, OfExactlyAllSeriesDropsNone) {
  const Snapshot snapshot = FullSnapshot();
  const size_t all = CountSeries(Text(snapshot));
  EXPECT_THAT(Text(snapshot, all), HasSubstr("\npinwatch_series_dropped 0\n"));
  EXPECT_THAT(Text(snapshot, all - 1),
              HasSubstr("\npinwatch_series_dropped 1\n"));
}

TEST(Limit, OfZeroStillTellsWhatWasDropped) {
  const std::string text = Text(FullSnapshot(), 0);
  EXPECT_EQ(CountSeries(text), 1u);
  EXPECT_THAT(text, HasSubstr("pinwatch_series_dropped "));
}

TEST(Rules, RefuseWhatTheCatalogueMustNotHold) {
  EXPECT_FALSE(HasOurPrefix({.name = "node_pages"}));
  EXPECT_TRUE(HasOurPrefix({.name = "process_threads"}));

  EXPECT_FALSE(HasTotalIfCounter(
      {.name = "pinwatch_calls", .type = MetricType::kCounter}));
  EXPECT_FALSE(HasTotalIfCounter(
      {.name = "pinwatch_calls_total", .type = MetricType::kGauge}));
  EXPECT_TRUE(HasTotalIfCounter(
      {.name = "pinwatch_calls_total", .type = MetricType::kCounter}));

  EXPECT_FALSE(HelpIsOneLine({.help = ""}));
  EXPECT_FALSE(HelpIsOneLine({.help = "No full stop"}));
  EXPECT_FALSE(HelpIsOneLine({.help = "Two\nlines."}));
  EXPECT_FALSE(HelpIsOneLine({.help = "A back\\slash."}));
  EXPECT_TRUE(HelpIsOneLine({.help = "A sentence."}));

  for (const char* taken : {"type", "zone", "node", "instance", "job", "le"})
    EXPECT_FALSE(LabelsAreOurs({.labels = {"numa_node", taken}})) << taken;
  EXPECT_TRUE(LabelsAreOurs({.labels = {"numa_node", "mem_zone"}}));
  EXPECT_TRUE(LabelsAreOurs({}));

  const MetricDef twice[] = {{.name = "pinwatch_a"}, {.name = "pinwatch_a"}};
  EXPECT_FALSE(NamesAreUnique(twice));
}

TEST(Units, AreReadFromNames) {
  EXPECT_EQ(UnitOf("pinwatch_pinned_bytes"), "bytes");
  EXPECT_EQ(UnitOf("pinwatch_claim_bytes_total"), "bytes");
  EXPECT_EQ(UnitOf("pinwatch_pages"), "pages");
  EXPECT_EQ(UnitOf("pinwatch_census_cpu_seconds_total"), "seconds");
  EXPECT_EQ(UnitOf("pinwatch_snapshot_timestamp_seconds"), "unixtime");
  EXPECT_EQ(UnitOf("process_start_time_seconds"), "unixtime");
  EXPECT_EQ(UnitOf("pinwatch_offline_attempts_total"), "");
  EXPECT_EQ(UnitOf("pinwatch_memory_blocks"), "");
}

TEST(Promtool, HasNothingToSayOfTheExposition) {
  ASSERT_EQ(std::system("command -v promtool >/dev/null"), 0)
      << "promtool is missing: install the package prometheus";
  Snapshot snapshot = FullSnapshot();
  snapshot.facts.push_back({.name = "a\xff\"\n\\" + std::string(300, 'x')});
  const std::string path = testing::TempDir() + "/pinwatch_metrics_test.txt";
  std::ofstream(path) << Text(snapshot);
  FILE* promtool =
      popen(("promtool check metrics <" + path + " 2>&1").c_str(), "r");
  ASSERT_NE(promtool, nullptr);
  std::string said;
  for (int c; (c = std::fgetc(promtool)) != EOF;) said += static_cast<char>(c);
  EXPECT_EQ(pclose(promtool), 0);
  EXPECT_EQ(said, "");
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace pinwatch
