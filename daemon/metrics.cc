// SPDX-License-Identifier: Apache-2.0
#include "daemon/metrics.h"

#include <array>
#include <cassert>
#include <cmath>
#include <functional>
#include <map>

#include "daemon/blocking.h"
#include "daemon/names.h"
#include "daemon/utf8.h"

namespace pinwatch {
namespace {

// pinwatch is verified on x86-64 only.
constexpr double kPageBytes = 4096;
constexpr double kNsPerSecond = 1e9;
constexpr size_t kMaxLabelBytes = 128;

double Seconds(int64_t ns) { return static_cast<double>(ns) / kNsPerSecond; }

bool CensusIsObservable(const Snapshot& snapshot) {
  return std::ranges::any_of(snapshot.facts, [](const Fact& fact) {
    return fact.name == "census" && fact.observable;
  });
}

// Readers of one figure for each of something. `value` is a member or a
// function of it; of the optional ones, those that are not set are left out.

template <auto value>
void EachCollector(const Scrape& s, const Emit& emit) {
  for (const Collector& collector : s.snapshot.collectors)
    emit(std::invoke(value, collector), collector.name);
}

template <auto value>
void EachZone(const Scrape& s, const Emit& emit) {
  for (const Zone& zone : s.snapshot.zones)
    emit(std::invoke(value, zone), zone.nid, zone.name);
}

template <auto value>
void EachMigratetype(const Scrape& s, const Emit& emit) {
  for (const Zone& zone : s.snapshot.zones)
    for (const MigratetypePages& pages : zone.migratetypes)
      emit(std::invoke(value, pages), zone.nid, zone.name, pages.migratetype);
}

template <auto value>
void EachNode(const Scrape& s, const Emit& emit) {
  for (const Node& node : s.snapshot.nodes)
    if (const auto figure = std::invoke(value, node)) emit(*figure, node.nid);
}

template <auto value>
void OfCensus(const Scrape& s, const Emit& emit) {
  if (CensusIsObservable(s.snapshot))
    emit(std::invoke(value, s.snapshot.census));
}

template <auto value>
void EachMigration(const Scrape& s, const Emit& emit) {
  for (const Migrations& migrations : s.snapshot.migrations)
    emit(std::invoke(value, migrations.counters), migrations.reason,
         migrations.mode);
}

template <auto places, auto value>
void EachPlace(const Scrape& s, const Emit& emit) {
  for (const auto& place : std::invoke(places, s.snapshot)) {
    if (place.nid < 0)
      emit(std::invoke(value, place), "unknown", "unknown");
    else
      emit(std::invoke(value, place), place.nid, place.zone);
  }
}

void ReadLargeSplits(const Scrape& s, const Emit& emit) {
  for (const Migrations& migrations : s.snapshot.migrations)
    if (migrations.tells_large_split)
      emit(migrations.counters.large_split, migrations.reason, migrations.mode);
}

// Every reason and why, and what was not looked at.
void ReadFailedByWhy(const Scrape& s, const Emit& emit) {
  for (const MigrationDetails& details : s.snapshot.migration_details) {
    for (size_t i = 0; i < kNrWhysPagesStay; ++i)
      if (!std::string_view(kWhysPagesStay[i]).starts_with("pinned_"))
        emit(details.failed_by_why[i], details.reason, kWhysPagesStay[i]);
    emit(details.failed_unclassified, details.reason, "not_classified");
  }
}

void EachAttemptCount(const Scrape& s, const Emit& emit,
                      std::string_view operation) {
  for (const HotplugCount& count : s.snapshot.attempt_counts)
    if (count.operation == operation) emit(count.attempts, count.outcome);
}

double Running(const Snapshot& snapshot, std::string_view operation) {
  return std::ranges::count_if(
      snapshot.attempts, [&](const HotplugAttempt& attempt) {
        return attempt.running && attempt.operation == operation;
      });
}

template <auto value>
void OfProcess(const Scrape& s, const Emit& emit) {
  if (s.process) emit(std::invoke(value, *s.process));
}

template <auto value>
void OfProcessIfKnown(const Scrape& s, const Emit& emit) {
  if (!s.process) return;
  if (const auto figure = std::invoke(value, *s.process)) emit(*figure);
}

template <auto value>
void OfClaims(const Scrape& s, const Emit& emit) {
  if (s.snapshot.claims) emit(std::invoke(value, *s.snapshot.claims));
}

template <auto long_term, auto short_term>
void EachPinKind(const Scrape& s, const Emit& emit) {
  if (!s.snapshot.claims) return;
  emit(std::invoke(long_term, *s.snapshot.claims), "long_term");
  emit(std::invoke(short_term, *s.snapshot.claims), "short_term");
}

// Calls `visit` with each zone that the census has looked at, where there are
// claims to set beside it.
template <typename Visit>
void ForEachClaimedZone(const Snapshot& snapshot, Visit visit) {
  if (!snapshot.claims) return;
  for (const Zone& zone : snapshot.zones)
    if (!zone.migratetypes.empty()) visit(zone);
}

// Every certainty.
void ReadAttributed(const Scrape& s, const Emit& emit) {
  ForEachClaimedZone(s.snapshot, [&](const Zone& zone) {
    std::array<uint64_t, kNrCertainties> pages{};
    for (const PinAttribution& part : s.snapshot.attributions)
      if (part.nid == zone.nid && part.zone == zone.name)
        pages[static_cast<size_t>(part.certainty)] += part.pins.pages;
    for (size_t i = 0; i < pages.size(); ++i)
      emit(pages[i], zone.nid, zone.name, kCertaintyNames[i]);
  });
}

PinKinds KindsOf(const Snapshot& snapshot, const Zone& zone) {
  const auto found =
      std::ranges::find_if(snapshot.pin_kinds, [&](const PinKinds& kinds) {
        return kinds.nid == zone.nid && kinds.zone == zone.name;
      });
  return found == snapshot.pin_kinds.end() ? PinKinds{} : *found;
}

// Every kind.
void ReadPinKinds(const Scrape& s, const Emit& emit) {
  ForEachClaimedZone(s.snapshot, [&](const Zone& zone) {
    const PinKinds kinds = KindsOf(s.snapshot, zone);
    emit(kinds.long_term, zone.nid, zone.name, "long_term");
    emit(kinds.short_term, zone.nid, zone.name, "short_term");
    emit(kinds.unknown, zone.nid, zone.name, "unknown");
  });
}

// Every kind and age.
void ReadPinAges(const Scrape& s, const Emit& emit) {
  ForEachClaimedZone(s.snapshot, [&](const Zone& zone) {
    const PinKinds kinds = KindsOf(s.snapshot, zone);
    for (size_t i = 0; i < kNrPinAges; ++i) {
      emit(kinds.long_term_older[i], zone.nid, zone.name, "long_term",
           kPinAges[i].name);
      emit(kinds.short_term_older[i], zone.nid, zone.name, "short_term",
           kPinAges[i].name);
    }
  });
}

template <auto value>
void EachPinKinds(const Scrape& s, const Emit& emit) {
  ForEachClaimedZone(s.snapshot, [&](const Zone& zone) {
    emit(std::invoke(value, KindsOf(s.snapshot, zone)), zone.nid, zone.name);
  });
}

void ReadSuspects(const Scrape& s, const Emit& emit) {
  if (!s.snapshot.claims) return;
  emit(s.snapshot.owners.nr_suspects());
}

void ReadGovernor(const Scrape& s, const Emit& emit) {
  if (!s.snapshot.claims) return;
  const GovernorStage stage = s.snapshot.governor.stage;
  emit(stage == GovernorStage::kAll, "all");
  emit(stage == GovernorStage::kSampled, "sampled");
  emit(stage == GovernorStage::kOff, "off");
}

const char* KindName(bool long_term) {
  return long_term ? "long_term" : "short_term";
}

// The calls by the name of a subsystem and the kind: every kind that one is
// known for, and what else there was. Modules without a name of ours are one.
std::map<std::pair<std::string_view, bool>, PinCalls> CallsByName(
    const Snapshot& snapshot) {
  std::map<std::pair<std::string_view, bool>, PinCalls> calls;
  for (const SubsystemName& known : kSubsystems)
    calls[{known.name, known.long_term}];
  for (const bool long_term : {false, true})
    calls[{"other", long_term}], calls[{"unknown", long_term}];
  for (const SubsystemCalls& some : snapshot.calls) {
    const auto* known =
        std::ranges::find(kSubsystems, some.subsystem, &SubsystemName::name);
    const std::string_view name = known != std::end(kSubsystems) ? known->name
                                  : some.subsystem == "unknown"  ? "unknown"
                                                                 : "other";
    calls[{name, some.long_term}] += some.calls;
  }
  return calls;
}

template <auto value>
void EachSubsystem(const Scrape& s, const Emit& emit) {
  if (!s.snapshot.claims) return;
  for (const auto& [key, calls] : CallsByName(s.snapshot))
    emit(std::invoke(value, calls), key.first, KindName(key.second));
}

template <typename Visit>
void ForEachCmaArea(const Scrape& s, Visit visit) {
  if (!s.snapshot.contig_ranges) return;
  for (const CmaArea& area : s.snapshot.contig_ranges->cma) visit(area);
}

bool FollowsMoves(const Scrape& s) {
  return s.snapshot.claims && s.snapshot.claims->follows_moves;
}

// Subsystems that pin for long; none where it is not followed what they move.
template <typename Visit>
void ForEachMover(const Scrape& s, Visit visit) {
  if (!FollowsMoves(s)) return;
  for (const auto& [key, calls] : CallsByName(s.snapshot))
    if (key.second) visit(key.first, calls.outcomes.moves.value_or(PinMoves()));
}

template <auto value>
void EachMover(const Scrape& s, const Emit& emit) {
  ForEachMover(s, [&](const auto& subsystem, const PinMoves& moves) {
    emit(std::invoke(value, moves), subsystem);
  });
}

void ReadMovePages(const Scrape& s, const Emit& emit) {
  ForEachMover(s, [&](const auto& subsystem, const PinMoves& moves) {
    for (size_t from = 0; from < NR_PIN_MOVES_FROM; ++from) {
      const char* const name = kPinMovesFrom[from];
      emit(moves.collected[from], subsystem, name, "collected");
      emit(moves.isolated[from], subsystem, name, "isolated");
      emit(moves.moved[from], subsystem, name, "moved");
    }
  });
}

void ReadCopiedBytes(const Scrape& s, const Emit& emit) {
  ForEachMover(s, [&](const auto& subsystem, const PinMoves& moves) {
    for (size_t from = 0; from < NR_PIN_MOVES_FROM; ++from)
      emit(moves.moved[from] * kPageBytes, subsystem, kPinMovesFrom[from]);
  });
}

void ReadNoTarget(const Scrape& s, const Emit& emit) {
  if (!s.snapshot.claims || !s.snapshot.claims->follows_targets) return;
  EachMover<&PinMoves::no_target>(s, emit);
}

template <auto value>
void OfMoves(const Scrape& s, const Emit& emit) {
  if (FollowsMoves(s)) emit(std::invoke(value, *s.snapshot.claims));
}

void ReadPinRetries(const Scrape& s, const Emit& emit) {
  if (FollowsMoves(s)) emit(s.snapshot.pin_retries.size());
}

template <auto value>
constexpr auto OutcomeOf = [](const PinCalls& calls) {
  return static_cast<double>(std::invoke(value, calls.outcomes));
};

// Two of our buckets in one, but for the first and the last.
Histogram ToHistogram(const PinLatencies& latencies, uint64_t measured_ns) {
  constexpr size_t kBuckets = PINWATCH_LATENCY_BUCKETS;
  static_assert(kBuckets % 2 == 0, "the last shares its bucket");
  Histogram histogram{.counts = std::vector<uint64_t>(kBuckets / 2 + 1),
                      .sum = measured_ns / kNsPerSecond};
  for (size_t i = 0; i < kBuckets; ++i)
    histogram.counts[(i + 1) / 2] += latencies[i];
  for (size_t i = 0; i < kBuckets - 1; i += 2)
    histogram.bounds.push_back(std::ldexp(
        1 / kNsPerSecond, PINWATCH_LATENCY_SHIFT + static_cast<int>(i)));
  return histogram;
}

Histogram ToHistogram(const PinCalls& calls) {
  return ToHistogram(calls.latencies, calls.outcomes.measured_ns);
}

void ReadMigrationTimes(const Scrape& s, const Emit& emit) {
  for (const MigrationDetails& details : s.snapshot.migration_details)
    emit(ToHistogram(details.latencies, details.measured_ns), details.reason);
}

void ReadFaults(const Scrape& s, const Emit& emit) {
  if (!s.snapshot.claims) return;
  for (const auto& [key, calls] : CallsByName(s.snapshot)) {
    emit(calls.outcomes.minor_faults, key.first, KindName(key.second), "minor");
    emit(calls.outcomes.major_faults, key.first, KindName(key.second), "major");
  }
}

// Every kind and error.
void ReadPinErrors(const Scrape& s, const Emit& emit) {
  if (!s.snapshot.claims) return;
  for (const bool long_term : {true, false}) {
    PinOutcomes outcomes;
    for (const SubsystemCalls& some : s.snapshot.calls)
      if (some.long_term == long_term) outcomes += some.calls.outcomes;
    uint64_t other = 0;
    for (const PinErrors& errors : outcomes.errors) other += errors.calls;
    for (const NamedError& known : kPinErrors) {
      const auto errors =
          std::ranges::find(outcomes.errors, known.error, &PinErrors::error);
      const uint64_t calls =
          errors == outcomes.errors.end() ? 0 : errors->calls;
      emit(calls, KindName(long_term), known.name);
      other -= calls;
    }
    emit(other, KindName(long_term), "other");
  }
}

void ReadUnclaimedCalls(const Scrape& s, const Emit& emit) {
  if (!s.snapshot.claims) return;
  emit(s.snapshot.claims->lost_busy, "busy");
  emit(s.snapshot.claims->lost_recursion, "recursion");
  emit(s.snapshot.claims->lost_owners, "owners_full");
}

void ReadPages(const Scrape& s, const Emit& emit) {
  for (const Zone& zone : s.snapshot.zones) {
    if (zone.migratetypes.empty()) continue;
    for (size_t i = 0; i < kPageClassNames.size(); ++i) {
      uint64_t pages = 0;
      for (const MigratetypePages& part : zone.migratetypes)
        pages += part.pages[i];
      emit(pages, zone.nid, zone.name, kPageClassNames[i]);
    }
  }
}

void ReadCensusLooks(const Scrape& s, const Emit& emit) {
  if (!CensusIsObservable(s.snapshot)) return;
  const CensusTotals& census = s.snapshot.census;
  emit(census.blocks_looked - census.blocks_absent - census.blocks_changed,
       "ok");
  emit(census.blocks_absent, "absent");
  emit(census.blocks_changed, "changed");
}

void ReadOldestLook(const Scrape& s, const Emit& emit) {
  for (const Zone& zone : s.snapshot.zones)
    if (zone.oldest_look)
      emit(Seconds(zone.oldest_look->realtime_ns), zone.nid, zone.name);
}

std::string NodeLabel(int nid) {
  return nid < 0 ? "unknown" : std::to_string(nid);
}

void ReadMemoryBlocks(const Scrape& s, const Emit& emit) {
  for (const BlockCount& count : s.snapshot.blocks)
    emit(count.blocks, NodeLabel(count.nid), count.zone, count.state);
}

// Every verdict where there is any, so that one that nobody has any more is 0.
void EmitVerdicts(const Snapshot& snapshot, uint64_t unit, const Emit& emit) {
  std::map<std::pair<int, std::string>, std::array<uint64_t, kNrVerdicts>> by;
  for (const VerdictCount& count : snapshot.verdicts)
    by[{count.nid, count.zone}][static_cast<size_t>(count.verdict)] +=
        count.blocks;
  for (const auto& [place, blocks] : by)
    for (size_t v = 0; v < blocks.size(); ++v)
      emit(static_cast<double>(blocks[v] * unit), NodeLabel(place.first),
           place.second, kVerdictNames[v]);
}

constexpr MetricType kGauge = MetricType::kGauge;
constexpr MetricType kCounter = MetricType::kCounter;
constexpr MetricType kHistogram = MetricType::kHistogram;

constexpr MetricDef kMetrics[] = {
    {.name = "pinwatch_build_info",
     .type = kGauge,
     .help = "1, with what pinwatchd was built from as labels.",
     .labels = {"version", "revision", "compiler", "libbpf"},
     .read =
         [](const Scrape& s, const Emit& emit) {
           emit(1, s.build.version, s.build.revision, s.build.compiler,
                s.build.libbpf);
         }},
    {.name = "pinwatch_kernel_feature_info",
     .type = kGauge,
     .help = "1 for every fact pinwatch knows of; state says whether this "
             "kernel lets it be observed; by_choice: it would, but pinwatchd "
             "was told not to. The metrics of a fact that is not observable "
             "are absent, not 0.",
     .labels = {"feature", "state"},
     .read =
         [](const Scrape& s, const Emit& emit) {
           for (const Fact& fact : s.snapshot.facts)
             emit(1, fact.name,
                  fact.observable  ? "observable"
                  : fact.by_choice ? "by_choice"
                                   : "not_observable");
         }},
    {.name = "pinwatch_collector_success",
     .type = kGauge,
     .help = "1 if the collector could read its figures the last time, "
             "otherwise 0.",
     .labels = {"collector"},
     .read =
         [](const Scrape& s, const Emit& emit) {
           EachCollector<&Collector::success>(s, emit);
           emit(s.process.has_value(), "process");
         }},
    {.name = "pinwatch_collector_duration_seconds",
     .type = kGauge,
     .help = "How long the collector took the last time, in seconds.",
     .labels = {"collector"},
     .read = EachCollector<[](const Collector& collector) {
       return Seconds(collector.duration_ns);
     }>},
    {.name = "pinwatch_failed_scrapes_total",
     .type = kCounter,
     .help = "Scrapes answered with 500 since collecting failed.",
     .read = [](const Scrape& s, const Emit& emit) { emit(s.failed_scrapes); }},
    {.name = "pinwatch_snapshot_timestamp_seconds",
     .type = kGauge,
     .help = "Unix time of the snapshot these figures are from, in seconds.",
     .read =
         [](const Scrape& s, const Emit& emit) {
           emit(Seconds(s.snapshot.time.realtime_ns));
         }},
    {.name = "pinwatch_snapshots_total",
     .type = kCounter,
     .help = "Snapshots published since pinwatchd started.",
     .read = [](const Scrape& s,
                const Emit& emit) { emit(s.snapshot.generation); }},
    {.name = "pinwatch_paused",
     .type = kGauge,
     .help = "1 while pinwatchd is paused and has no hook attached, otherwise "
             "0.",
     .read =
         [](const Scrape& s, const Emit& emit) {
           emit(s.snapshot.paused_since.has_value());
         }},
    {.name = "pinwatch_paused_seconds_total",
     .type = kCounter,
     .help = "Seconds pinwatchd was paused since it started: what rests on "
             "hooks is not known of them.",
     .read =
         [](const Scrape& s, const Emit& emit) {
           int64_t ns = s.snapshot.paused_ns;
           if (s.snapshot.paused_since)
             ns += s.snapshot.time.monotonic_ns -
                   s.snapshot.paused_since->monotonic_ns;
           emit(Seconds(ns));
         }},

    {.name = "process_cpu_seconds_total",
     .type = kCounter,
     .help = "User and system CPU time of pinwatchd, in seconds. "
             "Source: /proc/self/stat.",
     .read = OfProcess<&ProcessStats::cpu_seconds>},
    {.name = "process_resident_memory_bytes",
     .type = kGauge,
     .help = "Resident memory of pinwatchd, in bytes. "
             "Source: /proc/self/stat.",
     .read = OfProcess<&ProcessStats::resident_bytes>},
    {.name = "process_virtual_memory_bytes",
     .type = kGauge,
     .help = "Virtual memory of pinwatchd, in bytes. "
             "Source: /proc/self/stat.",
     .read = OfProcess<&ProcessStats::virtual_bytes>},
    {.name = "process_open_fds",
     .type = kGauge,
     .help = "Open file descriptors of pinwatchd. Source: /proc/self/fd.",
     .read = OfProcessIfKnown<&ProcessStats::open_fds>},
    {.name = "process_max_fds",
     .type = kGauge,
     .help = "File descriptors pinwatchd may open. "
             "Source: /proc/self/limits.",
     .read = OfProcessIfKnown<&ProcessStats::max_fds>},
    {.name = "process_start_time_seconds",
     .type = kGauge,
     .help = "Unix time at which pinwatchd started, in seconds. "
             "Source: /proc/self/stat.",
     .read = OfProcessIfKnown<&ProcessStats::start_time_seconds>},
    {.name = "process_threads",
     .type = kGauge,
     .help = "Threads of pinwatchd. Source: /proc/self/stat.",
     .read = OfProcess<&ProcessStats::threads>},

    {.name = "pinwatch_node_pin_acquires_total",
     .type = kCounter,
     .help = "References that pins took on pages of the node since boot. "
             "Source: the kernel's nr_foll_pin_acquired.",
     .labels = {"numa_node"},
     .read = EachNode<&Node::acquired>},
    {.name = "pinwatch_node_pin_releases_total",
     .type = kCounter,
     .help = "References that unpins gave back on pages of the node since "
             "boot. Source: the kernel's nr_foll_pin_released.",
     .labels = {"numa_node"},
     .read = EachNode<&Node::released>},
    {.name = "pinwatch_node_pinned_references",
     .type = kGauge,
     .help = "Pin references held on pages of the node now: acquired less "
             "released. Source: the kernel's nr_foll_pin counters.",
     .labels = {"numa_node"},
     .read = EachNode<&Node::outstanding>},
    {.name = "pinwatch_node_counters_exact",
     .type = kGauge,
     .help = "1 if the node's pin counters include what every CPU holds back, "
             "0 if that may be missing.",
     .labels = {"numa_node"},
     .read = EachNode<[](const Node& node) {
       return node.outstanding() ? std::optional(node.counters_exact)
                                 : std::nullopt;
     }>},
    {.name = "pinwatch_census_references",
     .type = kGauge,
     .help = "Pin references read from large folios and from pages with the "
             "exact shape of pins. Source: census of struct page.",
     .labels = {"numa_node"},
     .read = EachNode<&Node::census_references>},
    {.name = "pinwatch_census_current",
     .type = kGauge,
     .help = "1 if no pin was taken or given back on the node since its "
             "oldest look, so that the census holds now; otherwise 0.",
     .labels = {"numa_node"},
     .read = EachNode<[](const Node& node) {
       return node.census_references ? std::optional(node.census_current)
                                     : std::nullopt;
     }>},
    {.name = "pinwatch_census_drift_references",
     .type = kGauge,
     .help = "References held by the node's counters less those the census "
             "read, over the last looks during which no counter moved.",
     .labels = {"numa_node"},
     .read = EachNode<&Node::drift_references>},
    {.name = "pinwatch_census_drift_timestamp_seconds",
     .type = kGauge,
     .help = "Unix time at which the drift was last measured, in seconds.",
     .labels = {"numa_node"},
     .read = EachNode<[](const Node& node) -> std::optional<double> {
       if (!node.drift_time) return std::nullopt;
       return Seconds(node.drift_time->realtime_ns);
     }>},
    {.name = "pinwatch_node_device_pages",
     .type = kGauge,
     .help = "Pages that ZONE_DEVICE spans on the node: memory of devices, "
             "whose pins the counters have and the census leaves out.",
     .labels = {"numa_node"},
     .read = EachNode<&Node::device_pages>},

    {.name = "pinwatch_census_rounds_total",
     .type = kCounter,
     .help = "Complete passes of the census over all online memory blocks.",
     .read = OfCensus<&CensusTotals::rounds>},
    {.name = "pinwatch_census_looks_total",
     .type = kCounter,
     .help = "Looks of the census at a memory block: ok, absent (no struct "
             "pages there) or changed (went offline under the look).",
     .labels = {"result"},
     .read = ReadCensusLooks},
    {.name = "pinwatch_census_pages_total",
     .type = kCounter,
     .help = "Pages the census has looked at.",
     .read = OfCensus<&CensusTotals::pages>},
    {.name = "pinwatch_census_steps_total",
     .type = kCounter,
     .help = "Steps of the census; a free range or a large folio is one step.",
     .read = OfCensus<&CensusTotals::steps>},
    {.name = "pinwatch_census_cpu_seconds_total",
     .type = kCounter,
     .help = "CPU time the census has taken, in seconds.",
     .read = OfCensus<[](const CensusTotals& census) {
       return Seconds(census.cpu_ns);
     }>},
    {.name = "pinwatch_census_oldest_look_timestamp_seconds",
     .type = kGauge,
     .help = "Unix time of the oldest look behind the zone's census figures, "
             "in seconds.",
     .labels = {"numa_node", "mem_zone"},
     .read = ReadOldestLook},

    {.name = "pinwatch_zone_managed_pages",
     .type = kGauge,
     .help = "Pages of the zone that the buddy allocator manages. "
             "Source: /proc/zoneinfo.",
     .labels = {"numa_node", "mem_zone"},
     .read = EachZone<&Zone::managed_pages>},
    {.name = "pinwatch_zone_present_pages",
     .type = kGauge,
     .help = "Pages of the zone without its holes. Source: /proc/zoneinfo.",
     .labels = {"numa_node", "mem_zone"},
     .read = EachZone<&Zone::present_pages>},
    {.name = "pinwatch_memory_block_size_bytes",
     .type = kGauge,
     .help = "Size of a memory block, in bytes. "
             "Source: /sys/devices/system/memory.",
     .read =
         [](const Scrape& s, const Emit& emit) {
           if (s.snapshot.block_size_bytes) emit(s.snapshot.block_size_bytes);
         }},
    {.name = "pinwatch_memory_blocks",
     .type = kGauge,
     .help = "Memory blocks by state. Source: /sys/devices/system/memory.",
     .labels = {"numa_node", "mem_zone", "state"},
     .read = ReadMemoryBlocks},
    {.name = "pinwatch_memory_block_verdicts",
     .type = kGauge,
     .help = "Memory blocks by what would become of an attempt to take them "
             "offline. Source: census of struct page, claims.",
     .labels = {"numa_node", "mem_zone", "verdict"},
     .read = [](const Scrape& s,
                const Emit& emit) { EmitVerdicts(s.snapshot, 1, emit); }},
    {.name = "pinwatch_memory_block_verdict_bytes",
     .type = kGauge,
     .help = "Size of these memory blocks, in bytes. Source: census of struct "
             "page, claims.",
     .labels = {"numa_node", "mem_zone", "verdict"},
     .read =
         [](const Scrape& s, const Emit& emit) {
           EmitVerdicts(s.snapshot, s.snapshot.block_size_bytes, emit);
         }},
    {.name = "pinwatch_removable_bytes",
     .type = kGauge,
     .help = "Memory that could be taken offline while all else stays, by "
             "estimate, in bytes: what has to move must find room. Source: "
             "census of struct page, claims.",
     .labels = {"numa_node"},
     .read =
         [](const Scrape& s, const Emit& emit) {
           for (const RemovableMemory& memory : s.snapshot.removable)
             emit(static_cast<double>(memory.bytes), NodeLabel(memory.nid));
         }},

    {.name = "pinwatch_pinned_pages",
     .type = kGauge,
     .help = "Pages that are pinned: the node's counters leave no other "
             "reading. Source: census of struct page.",
     .labels = {"numa_node", "mem_zone", "migratetype"},
     .read = EachMigratetype<[](const MigratetypePages& pages) {
       return pages.confirmed.pages;
     }>},
    {.name = "pinwatch_pinned_bytes",
     .type = kGauge,
     .help = "Size of the pages that are pinned, in bytes. "
             "Source: census of struct page.",
     .labels = {"numa_node", "mem_zone", "migratetype"},
     .read = EachMigratetype<[](const MigratetypePages& pages) {
       return static_cast<double>(pages.confirmed.pages) * kPageBytes;
     }>},
    {.name = "pinwatch_pinned_references",
     .type = kGauge,
     .help = "Pin references held on the pages that are pinned. "
             "Source: census of struct page.",
     .labels = {"numa_node", "mem_zone", "migratetype"},
     .read = EachMigratetype<[](const MigratetypePages& pages) {
       return pages.confirmed.references;
     }>},
    {.name = "pinwatch_possible_pinned_pages",
     .type = kGauge,
     .help = "Pages that read as pinned, while plain references would read "
             "the same. Source: census of struct page.",
     .labels = {"numa_node", "mem_zone", "migratetype"},
     .read = EachMigratetype<[](const MigratetypePages& pages) {
       return pages.possible.pages;
     }>},
    {.name = "pinwatch_possible_pinned_references",
     .type = kGauge,
     .help = "Pin references read from the pages that are possibly pinned. "
             "Source: census of struct page.",
     .labels = {"numa_node", "mem_zone", "migratetype"},
     .read = EachMigratetype<[](const MigratetypePages& pages) {
       return pages.possible.references;
     }>},
    {.name = "pinwatch_pages",
     .type = kGauge,
     .help = "Pages by what stands in them, each in one class. "
             "Source: census of struct page.",
     .labels = {"numa_node", "mem_zone", "class"},
     .read = ReadPages},

    {.name = "pinwatch_attributed_pages",
     .type = kGauge,
     .help = "Pages that read as pinned, by how much is known of who holds "
             "them. Source: claims of the pin functions, set against the "
             "census.",
     .labels = {"numa_node", "mem_zone", "certainty"},
     .read = ReadAttributed},
    {.name = "pinwatch_attributed_pages_by_kind",
     .type = kGauge,
     .help = "The same pages by how long those who hold them mean to keep "
             "them; unknown: nobody is known to hold them for sure. Long-term "
             "ones in ZONE_MOVABLE break what that zone is for.",
     .labels = {"numa_node", "mem_zone", "kind"},
     .read = ReadPinKinds},
    {.name = "pinwatch_pin_age_pages",
     .type = kGauge,
     .help = "Of the pages by kind, those certainly held for longer than "
             "older_than; of several holders the first counts. Short-term ones "
             "are as of the last look, and older than a second at all only if "
             "they act like long-term ones.",
     .labels = {"numa_node", "mem_zone", "kind", "older_than"},
     .read = ReadPinAges},
    {.name = "pinwatch_cma_long_term_pages",
     .type = kGauge,
     .help = "Of the pages held for long, those in pageblocks of the "
             "contiguous memory allocator, which they keep it from using; 0 "
             "where this kernel has none.",
     .labels = {"numa_node", "mem_zone"},
     .read = EachPinKinds<&PinKinds::long_term_in_cma>},
    {.name = "pinwatch_pinned_huge_ranges",
     .type = kGauge,
     .help = "Aligned ranges of 2 MiB that pages which read as pinned, smaller "
             "than that, keep from being huge pages; pinwatch migrations names "
             "who holds most. Source: census of struct page.",
     .labels = {"numa_node", "mem_zone"},
     .read = EachPinKinds<&PinKinds::huge_ranges>},
    {.name = "pinwatch_long_term_landed_pages_total",
     .type = kCounter,
     .help = "Pages that long-term calls pinned, by node and zone: of up to "
             "256 pages of a call all count where the first one stands, in "
             "the zone that its memory block had within a second, or when "
             "pinwatchd started. unknown: calls that were not recorded, and "
             "memory blocks of several zones or not known yet.",
     .labels = {"numa_node", "mem_zone"},
     .read = EachPlace<&Snapshot::landings, &PinLanding::pages>},
    {.name = "pinwatch_suspected_leaks",
     .type = kGauge,
     .help = "Owners whose long-term pins only grow, for as long as "
             "--pins.suspect-after says; pinwatch top names them.",
     .read = ReadSuspects},
    {.name = "pinwatch_kernel_moves_long_term_pins",
     .type = kGauge,
     .help = "1 if this kernel moves pages out of ZONE_MOVABLE and CMA before "
             "it pins them for long, as Linux does from v5.13 on, otherwise 0. "
             "Source: the kernel's enum migrate_reason.",
     .read =
         [](const Scrape& s, const Emit& emit) {
           if (s.snapshot.moves_long_term_pins)
             emit(*s.snapshot.moves_long_term_pins);
         }},
    {.name = "pinwatch_pin_calls_total",
     .type = kCounter,
     .help =
         "Calls of the kernel's pin functions that pinned something, with a "
         "claim or without.",
     .labels = {"kind"},
     .read = EachPinKind<&ClaimTotals::long_term_calls,
                         &ClaimTotals::short_term_calls>},
    {.name = "pinwatch_pin_pages_total",
     .type = kCounter,
     .help = "Pages that these calls pinned, whether still held or not.",
     .labels = {"kind"},
     .read = EachPinKind<&ClaimTotals::long_term_pages,
                         &ClaimTotals::short_term_pages>},
    {.name = "pinwatch_pin_asked_pages_total",
     .type = kCounter,
     .help = "Pages that calls of the pin functions asked for, those that "
             "failed too.",
     .labels = {"kind"},
     .read = EachPinKind<&ClaimTotals::long_term_asked_pages,
                         &ClaimTotals::short_term_asked_pages>},
    {.name = "pinwatch_pin_partial_calls_total",
     .type = kCounter,
     .help = "Calls of the pin functions that pinned fewer pages than they "
             "were asked for, even none, and said no error.",
     .labels = {"kind"},
     .read = EachPinKind<&ClaimTotals::long_term_partial_calls,
                         &ClaimTotals::short_term_partial_calls>},
    {.name = "pinwatch_pin_failed_calls_total",
     .type = kCounter,
     .help = "Calls of the pin functions that came back with an error.",
     .labels = {"kind"},
     .read = EachPinKind<&ClaimTotals::long_term_failed_calls,
                         &ClaimTotals::short_term_failed_calls>},
    {.name = "pinwatch_pin_errors_total",
     .type = kCounter,
     .help = "These by their error, as far as they were recorded: of "
             "short-term ones a sample.",
     .labels = {"kind", "errno"},
     .read = ReadPinErrors},
    {.name = "pinwatch_pin_errors_uncounted_total",
     .type = kCounter,
     .help = "Recorded calls that failed whose error is not counted since the "
             "table of errors was full.",
     .read = OfClaims<&ClaimTotals::lost_errors>},
    {.name = "pinwatch_pin_calls_unmeasured_total",
     .type = kCounter,
     .help = "Long-term calls of the pin functions of which it is not known "
             "how long they took: they began before the hooks were attached, "
             "or many were under way.",
     .read = OfClaims<&ClaimTotals::unmeasured_calls>},
    {.name = "pinwatch_subsystem_pin_calls_total",
     .type = kCounter,
     .help = "Recorded calls that pinned something, by who in the kernel "
             "asked; other: a module. Short-term ones are a sample, here and "
             "in what follows.",
     .labels = {"subsystem", "kind"},
     .read = EachSubsystem<&PinCalls::calls>},
    {.name = "pinwatch_subsystem_pin_pages_total",
     .type = kCounter,
     .help = "Pages that these calls pinned, whether still held or not.",
     .labels = {"subsystem", "kind"},
     .read = EachSubsystem<&PinCalls::pages>},
    {.name = "pinwatch_subsystem_pin_asked_pages_total",
     .type = kCounter,
     .help = "Pages that recorded calls asked for, those that failed too.",
     .labels = {"subsystem", "kind"},
     .read = EachSubsystem<OutcomeOf<&PinOutcomes::asked_pages>>},
    {.name = "pinwatch_subsystem_pin_partial_calls_total",
     .type = kCounter,
     .help = "Recorded calls that pinned fewer pages than they were asked for, "
             "even none, and said no error.",
     .labels = {"subsystem", "kind"},
     .read = EachSubsystem<OutcomeOf<&PinOutcomes::partial_calls>>},
    {.name = "pinwatch_subsystem_pin_failed_calls_total",
     .type = kCounter,
     .help = "Recorded calls that came back with an error.",
     .labels = {"subsystem", "kind"},
     .read = EachSubsystem<OutcomeOf<&PinOutcomes::failed_calls>>},
    {.name = "pinwatch_subsystem_pin_faults_total",
     .type = kCounter,
     .help = "Page faults that were taken within measured calls. Source: the "
             "fault counters of the calling thread.",
     .labels = {"subsystem", "kind", "fault"},
     .read = ReadFaults},
    {.name = "pinwatch_subsystem_pin_call_seconds",
     .type = kHistogram,
     .help = "How long measured calls took, in seconds: long-term ones all, "
             "short-term ones one in 64.",
     .labels = {"subsystem", "kind"},
     .read = EachSubsystem<[](const PinCalls& calls) {
       return ToHistogram(calls);
     }>},
    {.name = "pinwatch_subsystem_pin_moving_calls_total",
     .type = kCounter,
     .help = "Long-term calls that had something to move out of ZONE_MOVABLE "
             "or CMA before they could pin, by who in the kernel asked. Where "
             "rounds of moving have no function of their own (up to Linux "
             "v6.10), these and what follows on moving are there with "
             "--pins.follow-moves.",
     .labels = {"subsystem"},
     .read = EachMover<&PinMoves::calls>},
    {.name = "pinwatch_subsystem_pin_moving_calls_seconds_total",
     .type = kCounter,
     .help = "Time that these calls took as a whole.",
     .labels = {"subsystem"},
     .read = EachMover<[](const PinMoves& moves) {
       return static_cast<double>(moves.calls_ns) / kNsPerSecond;
     }>},
    {.name = "pinwatch_subsystem_pin_move_seconds_total",
     .type = kCounter,
     .help = "Of that, time in rounds of moving: each from when its pages were "
             "collected to its end; up to Linux v6.10 from the first page.",
     .labels = {"subsystem"},
     .read = EachMover<[](const PinMoves& moves) {
       return static_cast<double>(moves.ns) / kNsPerSecond;
     }>},
    {.name = "pinwatch_subsystem_pin_move_rounds_total",
     .type = kCounter,
     .help = "Rounds of these calls: each collects, moves, and tries again to "
             "pin. Up to Linux v6.10 they are derived.",
     .labels = {"subsystem"},
     .read = EachMover<&PinMoves::rounds>},
    {.name = "pinwatch_subsystem_pin_move_pages_total",
     .type = kCounter,
     .help = "Pages by where they lay and how far they came: collected (in "
             "each round again), of these isolated, of these moved. other: an "
             "isolated memory block, and what was moved by a round that moved "
             "some of several kinds and failed with some.",
     .labels = {"subsystem", "from", "step"},
     .read = ReadMovePages},
    {.name = "pinwatch_subsystem_pin_move_copied_bytes_total",
     .type = kCounter,
     .help = "Bytes copied by moving these pages: what discarding the content "
             "of buffers, as FOLL_DISCARD was proposed for, would save.",
     .labels = {"subsystem", "from"},
     .read = ReadCopiedBytes},
    {.name = "pinwatch_subsystem_pin_move_failed_pages_total",
     .type = kCounter,
     .help = "Pages that were isolated and did not move.",
     .labels = {"subsystem"},
     .read = EachMover<&PinMoves::failed>},
    {.name = "pinwatch_subsystem_pin_move_no_target_total",
     .type = kCounter,
     .help = "Times there was no page outside movable memory to move one to. "
             "It takes --pins.follow-moves.",
     .labels = {"subsystem"},
     .read = ReadNoTarget},
    {.name = "pinwatch_pin_moves_lost_pages_total",
     .type = kCounter,
     .help = "Pages moved for long-term calls that are on no subsystem's "
             "account: the begin of the call was not noted.",
     .read = OfMoves<&ClaimTotals::moves_lost>},
    {.name = "pinwatch_pin_moves_missed_total",
     .type = kCounter,
     .help = "Times the kernel did not run a hook by which it is followed what "
             "long-term calls move.",
     .read = OfMoves<&ClaimTotals::moves_missed>},
    {.name = "pinwatch_pin_retrying_calls",
     .type = kGauge,
     .help = "Long-term calls under way that come round again and again, as "
             "--pins.retry-rounds and --pins.retry-after say; pinwatch calls "
             "names them and the page. Up to Linux v6.10 it takes "
             "--pins.follow-moves.",
     .read = ReadPinRetries},
    {.name = "pinwatch_pin_calls_skipped_total",
     .type = kCounter,
     .help = "Short-term calls of the pin functions that sampling left "
             "without a claim.",
     .read = OfClaims<&ClaimTotals::short_term_skipped>},
    {.name = "pinwatch_pin_calls_unclaimed_total",
     .type = kCounter,
     .help = "Calls of the pin functions without a claim: busy (the CPU's "
             "buffer was in use), recursion (the kernel did not run the hook) "
             "or owners_full (the table of owners was full).",
     .labels = {"cause"},
     .read = ReadUnclaimedCalls},
    {.name = "pinwatch_pin_pages_unclaimed_total",
     .type = kCounter,
     .help = "Pinned pages without a claim since the overflow table was full.",
     .read = OfClaims<&ClaimTotals::lost_pages>},
    {.name = "pinwatch_governor_stage",
     .type = kGauge,
     .help =
         "1 for how much of the short-term calls is recorded: all, sampled, "
         "or off, when some pin function is let go to keep the hooks "
         "within their budget; 0 for the others.",
     .labels = {"stage"},
     .read = ReadGovernor},
    {.name = "pinwatch_hook_cost_seconds_total",
     .type = kCounter,
     .help = "CPU time that the hooks on pin functions have cost the host, in "
             "seconds. Source: calls counted, by the figures of the benchmark.",
     .read =
         [](const Scrape& s, const Emit& emit) {
           if (s.snapshot.claims) emit(s.snapshot.governor.cost_seconds);
         }},
    {.name = "pinwatch_pin_owners",
     .type = kGauge,
     .help = "Owners in the table: processes by the call site and the kind of "
             "their pins.",
     .read = OfClaims<&ClaimTotals::owners>},
    {.name = "pinwatch_claim_chunks",
     .type = kGauge,
     .help = "Memory blocks that have a table of claims.",
     .read = OfClaims<&ClaimTotals::chunks>},
    {.name = "pinwatch_claim_bytes",
     .type = kGauge,
     .help = "Memory that the tables of claims take, in bytes.",
     .read = OfClaims<&ClaimTotals::chunk_bytes>},
    {.name = "pinwatch_claim_gap_seconds_total",
     .type = kCounter,
     .help = "Seconds in which no program followed the pin functions although "
             "claims were kept: in a pause, or without pinwatchd where what "
             "it had attached was gone. Pins of that time have no claim.",
     .read =
         [](const Scrape& s, const Emit& emit) {
           if (s.snapshot.claims)
             emit(Seconds(s.snapshot.claims->unattached_ns));
         }},

    {.name = "pinwatch_migrate_attempts_total",
     .type = kCounter,
     .help = "Calls of the kernel's migrate_pages.",
     .labels = {"reason", "mode"},
     .read = EachMigration<&migrate_counters::calls>},
    {.name = "pinwatch_migrate_succeeded_pages_total",
     .type = kCounter,
     .help = "Pages that migrate_pages moved.",
     .labels = {"reason", "mode"},
     .read = EachMigration<&migrate_counters::succeeded_pages>},
    {.name = "pinwatch_migrate_failed_pages_total",
     .type = kCounter,
     .help = "Pages that migrate_pages could not move.",
     .labels = {"reason", "mode"},
     .read = EachMigration<&migrate_counters::failed_pages>},
    {.name = "pinwatch_migrate_thp_succeeded_total",
     .type = kCounter,
     .help = "Transparent huge pages that migrate_pages moved whole.",
     .labels = {"reason", "mode"},
     .read = EachMigration<&migrate_counters::thp_succeeded>},
    {.name = "pinwatch_migrate_thp_failed_total",
     .type = kCounter,
     .help = "Transparent huge pages that migrate_pages could not move.",
     .labels = {"reason", "mode"},
     .read = EachMigration<&migrate_counters::thp_failed>},
    {.name = "pinwatch_migrate_thp_split_total",
     .type = kCounter,
     .help = "Transparent huge pages that migrate_pages split.",
     .labels = {"reason", "mode"},
     .read = EachMigration<&migrate_counters::thp_split>},
    {.name = "pinwatch_migrate_large_split_total",
     .type = kCounter,
     .help = "Large folios, transparent huge pages too, that migrate_pages "
             "split. Absent where the kernel does not tell (before v6.12).",
     .labels = {"reason", "mode"},
     .read = ReadLargeSplits},
    {.name = "pinwatch_migrate_first_folio_calls_total",
     .type = kCounter,
     .help = "Calls of migrate_pages, by node and zone of the first folio that "
             "was to move. unknown: the begin of the call was not seen.",
     .labels = {"numa_node", "mem_zone"},
     .read = EachPlace<&Snapshot::migration_places, &MigrationPlace::calls>},
    {.name = "pinwatch_migrate_first_folio_succeeded_pages_total",
     .type = kCounter,
     .help = "Pages that migrate_pages moved, by node and zone of the first "
             "folio of the call; the others mostly stood there, too.",
     .labels = {"numa_node", "mem_zone"},
     .read = EachPlace<&Snapshot::migration_places,
                       &MigrationPlace::succeeded_pages>},
    {.name = "pinwatch_migrate_first_folio_failed_pages_total",
     .type = kCounter,
     .help = "Pages that migrate_pages could not move, by node and zone of the "
             "first folio of the call; the others mostly stood there, too.",
     .labels = {"numa_node", "mem_zone"},
     .read =
         EachPlace<&Snapshot::migration_places, &MigrationPlace::failed_pages>},
    {.name = "pinwatch_migrate_failed_pages_by_why_total",
     .type = kCounter,
     .help = "Pages that migrate_pages could not move, by why they stayed, as "
             "the pages said when it ended. not_classified: there were many, "
             "or the kernel had put them back before. Together they are "
             "pinwatch_migrate_failed_pages_total.",
     .labels = {"reason", "why"},
     .read = ReadFailedByWhy},
    {.name = "pinwatch_migrate_call_seconds",
     .type = kHistogram,
     .help = "How long calls of migrate_pages took, in seconds.",
     .labels = {"reason"},
     .read = ReadMigrationTimes},
    {.name = "pinwatch_migrate_calls_unmeasured_total",
     .type = kCounter,
     .help = "Calls of migrate_pages whose begin was not seen, so that it is "
             "not known how long they took and why pages stayed.",
     .labels = {"reason"},
     .read =
         [](const Scrape& s, const Emit& emit) {
           for (const MigrationDetails& details : s.snapshot.migration_details)
             emit(details.unmeasured_calls, details.reason);
         }},
    {.name = "pinwatch_migrate_failures_unlisted_total",
     .type = kCounter,
     .help = "Times a page did not move and was counted, but not listed as "
             "there were many.",
     .read =
         [](const Scrape& s, const Emit& emit) {
           if (!s.snapshot.migration_details.empty())
             emit(s.snapshot.migration_failures_unlisted);
         }},

    {.name = "pinwatch_high_order_total",
     .type = kCounter,
     .help = "Times that memory in one piece was had, or not, by /proc/vmstat "
             "since boot: compactions by who asks for memory, huge pages for "
             "hugetlbfs but those of 1 GiB, huge pages at a page fault, and "
             "memory of CMA.",
     .labels = {"what", "outcome"},
     .read =
         [](const Scrape& s, const Emit& emit) {
           for (const HighOrderCount& count : s.snapshot.high_order) {
             emit(count.succeeded, count.what, "ok");
             emit(count.failed, count.what, "failed");
           }
         }},
    {.name = "pinwatch_contig_range_attempts_total",
     .type = kCounter,
     .help =
         "Attempts to have a range of physical memory as a whole, as CMA and "
         "huge pages of 1 GiB take it, by outcome.",
     .labels = {"outcome"},
     .read =
         [](const Scrape& s, const Emit& emit) {
           if (!s.snapshot.contig_ranges) return;
           for (const ContigCount& count : s.snapshot.contig_ranges->counts)
             emit(count.attempts, count.outcome);
         }},
    {.name = "pinwatch_cma_allocations_total",
     .type = kCounter,
     .help = "Allocations from an area of the contiguous memory allocator, by "
             "outcome: ok or failed.",
     .labels = {"area", "outcome"},
     .read =
         [](const Scrape& s, const Emit& emit) {
           ForEachCmaArea(s, [&](const CmaArea& area) {
             emit(area.succeeded, area.name, "ok");
             emit(area.failed, area.name, "failed");
           });
         }},
    {.name = "pinwatch_cma_allocation_pages_total",
     .type = kCounter,
     .help = "Pages that these were asked for, of 4 KiB.",
     .labels = {"area", "outcome"},
     .read =
         [](const Scrape& s, const Emit& emit) {
           ForEachCmaArea(s, [&](const CmaArea& area) {
             emit(area.succeeded_pages, area.name, "ok");
             emit(area.failed_pages, area.name, "failed");
           });
         }},
    {.name = "pinwatch_cma_busy_places_total",
     .type = kCounter,
     .help = "Places in the area that these tried and could not have: a page "
             "there did not move. pinwatch migrations names the last ones.",
     .labels = {"area"},
     .read =
         [](const Scrape& s, const Emit& emit) {
           ForEachCmaArea(
               s, [&](const CmaArea& area) { emit(area.busy, area.name); });
         }},
    {.name = "pinwatch_contig_range_seconds",
     .type = kHistogram,
     .help = "How long attempts to have a range of physical memory took, in "
             "seconds.",
     .read =
         [](const Scrape& s, const Emit& emit) {
           if (s.snapshot.contig_ranges)
             emit(ToHistogram(s.snapshot.contig_ranges->latencies,
                              s.snapshot.contig_ranges->measured_ns));
         }},

    {.name = "pinwatch_offline_attempts_total",
     .type = kCounter,
     .help = "Attempts to take a memory block offline that ended, by outcome.",
     .labels = {"outcome"},
     .read = [](const Scrape& s,
                const Emit& emit) { EachAttemptCount(s, emit, "offline"); }},
    {.name = "pinwatch_offline_failures_total",
     .type = kCounter,
     .help = "Attempts to take a memory block offline that failed, by the "
             "kernel's own reason.",
     .labels = {"reason"},
     .read =
         [](const Scrape& s, const Emit& emit) {
           if (s.snapshot.attempt_counts.empty()) return;
           for (size_t i = 0; i < kNrOfflineReasons; ++i)
             emit(s.snapshot.offline_failures.by_reason[i], kOfflineReasons[i]);
         }},
    {.name = "pinwatch_offline_blocker_pages_total",
     .type = kCounter,
     .help = "Pages and folios that the kernel met in the way of offline "
             "attempts that failed, each once an attempt, by why it stayed.",
     .labels = {"why"},
     .read =
         [](const Scrape& s, const Emit& emit) {
           if (s.snapshot.attempt_counts.empty()) return;
           for (size_t i = 0; i < kNrWhysPagesStay; ++i)
             if (!std::string_view(kWhysPagesStay[i]).starts_with("pinned_"))
               emit(s.snapshot.offline_failures.pages_by_why[i],
                    kWhysPagesStay[i]);
         }},
    {.name = "pinwatch_offline_seconds_total",
     .type = kCounter,
     .help = "Time that attempts to take a memory block offline took, those "
             "under way too, by the kernel's step.",
     .labels = {"step"},
     .read =
         [](const Scrape& s, const Emit& emit) {
           if (s.snapshot.attempt_counts.empty()) return;
           for (size_t step = 0; step < NR_HOTPLUG_STEPS; ++step)
             emit(static_cast<double>(s.snapshot.offline_step_ns[step]) / 1e9,
                  StepName(static_cast<hotplug_step>(step)));
         }},
    {.name = "pinwatch_offline_blockers_lost_total",
     .type = kCounter,
     .help = "Times that offline attempts that failed met a page in their way "
             "of which nothing more is known.",
     .read =
         [](const Scrape& s, const Emit& emit) {
           if (!s.snapshot.attempt_counts.empty())
             emit(s.snapshot.offline_failures.blockers_lost);
         }},
    {.name = "pinwatch_online_attempts_total",
     .type = kCounter,
     .help = "Attempts to bring a memory block online that ended, by outcome.",
     .labels = {"outcome"},
     .read = [](const Scrape& s,
                const Emit& emit) { EachAttemptCount(s, emit, "online"); }},
    {.name = "pinwatch_hotplug_attempts_running",
     .type = kGauge,
     .help = "Attempts to take memory blocks offline or online under way.",
     .labels = {"operation"},
     .read =
         [](const Scrape& s, const Emit& emit) {
           if (s.snapshot.attempt_counts.empty()) return;
           emit(Running(s.snapshot, "offline"), "offline");
           emit(Running(s.snapshot, "online"), "online");
         }},
    {.name = "pinwatch_longest_running_offline_start_timestamp_seconds",
     .type = kGauge,
     .help = "When the offline attempt that runs longest began. Absent when "
             "none runs.",
     .read =
         [](const Scrape& s, const Emit& emit) {
           std::optional<int64_t> first;
           for (const HotplugAttempt& attempt : s.snapshot.attempts)
             if (attempt.running && attempt.operation == "offline")
               first = std::min(first.value_or(INT64_MAX),
                                attempt.begin.realtime_ns);
           if (first) emit(*first / 1e9);
         }},
    {.name = "pinwatch_last_offline_failure_timestamp_seconds",
     .type = kGauge,
     .help = "When an offline attempt last failed. Absent when none did since "
             "the daemon started.",
     .read =
         [](const Scrape& s, const Emit& emit) {
           if (const auto& time = s.snapshot.last_offline_failure)
             emit(time->realtime_ns / 1e9);
         }},
    {.name = "pinwatch_hotplug_stories_lost_total",
     .type = kCounter,
     .help = "Attempts that were counted but of which nothing more is known.",
     .read =
         [](const Scrape& s, const Emit& emit) {
           if (!s.snapshot.attempt_counts.empty())
             emit(s.snapshot.attempts_untold);
         }},

    // Last: it counts what the rows above had to leave out.
    {.name = "pinwatch_series_dropped",
     .type = kGauge,
     .help = "Series left out of this scrape since there were more than the "
             "limit.",
     .read = [](const Scrape& s, const Emit& emit) { emit(s.series_dropped); }},
};

static_assert(std::ranges::all_of(kMetrics, HasOurPrefix),
              "a metric's name must start with pinwatch_ or process_");
static_assert(std::ranges::all_of(kMetrics, HasTotalIfCounter),
              "a counter's name must end in _total, and no other name");
static_assert(std::ranges::all_of(kMetrics, HelpIsOneLine),
              "a help text must be one line, without \\, with a full stop");
static_assert(std::ranges::all_of(kMetrics, LabelsAreOurs),
              "a label has a name that Prometheus or its users take");
static_assert(NamesAreUnique(kMetrics), "two metrics have the same name");
constexpr const MetricDef& kSeriesDropped = *std::rbegin(kMetrics);
static_assert(kSeriesDropped.name == "pinwatch_series_dropped");

// Valid UTF-8 without NUL, which to many readers is the end of the text.
std::string CleanLabel(std::string_view text) {
  std::string clean;
  while (!text.empty()) {
    const size_t length = text[0] ? Utf8Length(text) : 0;
    const std::string_view character =
        length ? text.substr(0, length) : kReplacementCharacter;
    if (clean.size() + character.size() > kMaxLabelBytes) break;
    clean += character;
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  return clean;
}

}  // namespace

void Emit::Add(Series series) const {
  if (series.size() > *room_) {
    *dropped_ += series.size();
    return;
  }
  *room_ -= series.size();
  for (std::string& label : series.labels) label = CleanLabel(label);
  series_->push_back(std::move(series));
}

std::span<const MetricDef> Metrics() { return kMetrics; }

std::vector<CollectedMetric> CollectMetrics(Scrape scrape,
                                            uint64_t max_series) {
  std::vector<CollectedMetric> collected;
  // One series is kept for the last row.
  uint64_t room = std::max<uint64_t>(max_series, 1) - 1;
  for (const MetricDef& metric : kMetrics) {
    if (&metric == &kSeriesDropped) ++room;
    std::vector<Series> series;
    metric.read(scrape, Emit(&room, &series, &scrape.series_dropped));
    assert(std::ranges::all_of(series, [&](const Series& one) {
      return one.labels.size() == metric.labels.size();
    }));
    if (!series.empty()) collected.push_back({&metric, std::move(series)});
  }
  return collected;
}

}  // namespace pinwatch
