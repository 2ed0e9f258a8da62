// SPDX-License-Identifier: Apache-2.0
#include "daemon/migration_source.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "bpf/migrate.skel.h"
#include "daemon/blocking.h"
#include "daemon/clock.h"
#include "daemon/event_fields.h"

namespace pinwatch {
namespace {

// A page that was not met for so long gives its place to another.
constexpr int64_t kForgetAfterNs = 10'000'000'000;

std::string NameAt(const std::vector<std::string>& names, uint32_t i) {
  return i < names.size() ? names[i] : std::string();
}

// What each CPU has counted under the key.
template <typename T>
absl::StatusOr<std::vector<T>> ReadPerCpu(const bpf_map* map, uint32_t key) {
  const int nr_cpus = libbpf_num_possible_cpus();
  if (nr_cpus < 0) return absl::ErrnoToStatus(-nr_cpus, "count CPUs");
  std::vector<T> per_cpu(nr_cpus);
  if (const int error =
          bpf_map__lookup_elem(map, &key, sizeof(key), per_cpu.data(),
                               per_cpu.size() * sizeof(T), 0))
    return absl::ErrnoToStatus(-error, "read the migration counters");
  return per_cpu;
}

}  // namespace

MigrationSource::~MigrationSource() = default;

void MigrationSource::Destroy(migrate_bpf* programs) {
  migrate_bpf__destroy(programs);
}

absl::StatusOr<std::unique_ptr<MigrationSource>> MigrationSource::Open(
    const KernelLayout& layout, const KernelAddresses& addresses,
    std::vector<std::string> zones, const SharedTables& tables) {
  auto source = std::unique_ptr<MigrationSource>(new MigrationSource);
  source->reasons_ = layout.migrate_reasons;
  source->modes_ = layout.migrate_modes;
  source->zones_ = std::move(zones);
  LIBBPF_OPTS(bpf_object_open_opts, open, .btf_custom_path = KernelTypesPath());
  migrate_bpf* programs = migrate_bpf__open_opts(&open);
  if (!programs)
    return absl::ErrnoToStatus(errno, "open the migration programs");
  source->programs_.reset(programs);
  if (layout.migrate_args != 7 && layout.migrate_args != 8)
    return absl::FailedPreconditionError(
        "the kernel has no tracepoint migrate:mm_migrate_pages of a form that "
        "is known here");
  source->tells_large_split_ = layout.migrate_args == 8;

  absl::Status reads = RequireKernelReads("");
  reads.Update(addresses.Require({"vmemmap_base"}));
  source->tells_details_ = reads.ok();
  if (!reads.ok())
    source->Lack(absl::StrCat("how long it takes and why pages do not move: ",
                              reads.message()));
  if (layout.moves_misplaced_thp_alone)
    source->Lack(
        "huge pages that NUMA balancing moves, of which this kernel tells in "
        "/proc/vmstat alone");
  programs->rodata->vmemmap_base_at = addresses.At("vmemmap_base");
  programs->rodata->has_rdonly_cast = layout.has_rdonly_cast;
  programs->rodata->nid_shift = layout.nid_shift;
  programs->rodata->zone_shift = layout.zone_shift;
  programs->rodata->zone_mask = layout.zone_mask;
  const auto& progs = programs->progs;
  bpf_program* const end =
      source->tells_details_
          ? (layout.migrate_args == 7 ? progs.end__7_args : progs.end__8_args)
          : (layout.migrate_args == 7 ? progs.count__7_args
                                      : progs.count__8_args);
  bpf_program__set_autoload(end, true);
  for (bpf_program* entry : {progs.begin__fentry, progs.begin__kprobe}) {
    bpf_program__set_autoload(entry, source->tells_details_);
    bpf_program__set_autoattach(entry, false);
  }
  if (absl::Status status = source->Share(tables); !status.ok()) return status;
  if (const int error = migrate_bpf__load(programs))
    return absl::ErrnoToStatus(-error, "the kernel refuses the programs");
  if (const int error = source->Attach())
    return absl::ErrnoToStatus(-error, "attach to mm_migrate_pages");
  if (source->entry_error_)
    source->Lack(absl::StrCat(
        "how long it takes and why pages do not move: the kernel lets no "
        "program be attached to migrate_pages: ",
        strerror(source->entry_error_)));
  return source;
}

void MigrationSource::Lack(const std::string& what) {
  absl::StrAppend(&lacks_, lacks_.empty() ? "" : "; ", what);
}

absl::Status MigrationSource::Share(const SharedTables& tables) {
  const auto& maps = programs_->maps;
  for (const auto& [map, fd] :
       {std::pair(maps.hotplug_running, tables.attempts),
        std::pair(maps.hotplug_blockers, tables.blockers),
        std::pair(maps.pin_moving, tables.moving)})
    if (fd >= 0)
      if (const int error = bpf_map__reuse_fd(map, fd))
        return absl::ErrnoToStatus(
            -error, absl::StrCat("share the table ", bpf_map__name(map)));
  programs_->rodata->tells_pins = tables.moving >= 0;
  return absl::OkStatus();
}

// By whichever of the two programs the kernel takes: one that has to follow
// seven arguments is refused when it is attached (ENOTSUPP).
int MigrationSource::AttachEntry() {
  migrate_bpf& programs = *programs_;
  programs.links.begin__fentry =
      bpf_program__attach(programs.progs.begin__fentry);
  if (programs.links.begin__fentry) return 0;
  programs.links.begin__kprobe =
      bpf_program__attach(programs.progs.begin__kprobe);
  return programs.links.begin__kprobe ? 0 : -errno;
}

int MigrationSource::Attach() {
  // What is counted without the entry is worth having.
  entry_error_ = tells_details_ ? -AttachEntry() : 0;
  return migrate_bpf__attach(programs_.get());
}

void MigrationSource::Detach() {
  migrate_bpf__detach(programs_.get());
  std::ranges::fill(programs_->bss->migrate_begins, migrate_begin{});
}

uint64_t MigrationSource::pins_lost() const {
  return programs_->bss->migrate_pins_lost;
}

std::string MigrationSource::ReasonName(uint32_t reason) const {
  std::string name = NameAt(reasons_, reason);
  return name.empty() ? absl::StrCat("reason_", reason) : name;
}

std::string MigrationSource::ModeName(uint32_t mode) const {
  std::string name = NameAt(modes_, mode);
  return name.empty() ? absl::StrCat("mode_", mode) : name;
}

absl::StatusOr<MigrationReading> MigrationSource::Read(Timestamp now) {
  MigrationReading reading;
  if (absl::Status status = ReadTotals(reading); !status.ok()) return status;
  if (!tells_details_) return reading;
  if (absl::Status status = ReadDetails(reading); !status.ok()) return status;
  ReadPlaces(reading);
  ReadFailures(now, reading);
  reading.unlisted = programs_->bss->migrate_unlisted;
  return reading;
}

absl::Status MigrationSource::ReadTotals(MigrationReading& reading) {
  const bpf_map* map = programs_->maps.migrate_counters;
  for (uint32_t key = 0; key < bpf_map__max_entries(map); ++key) {
    const uint32_t reason = key / PINWATCH_MAX_MIGRATE_MODES;
    const uint32_t mode = key % PINWATCH_MAX_MIGRATE_MODES;
    Migrations row{.reason = ReasonName(reason),
                   .mode = ModeName(mode),
                   .tells_large_split = tells_large_split_};
    const auto per_cpu = ReadPerCpu<migrate_counters>(map, key);
    if (!per_cpu.ok()) return per_cpu.status();
    for (const migrate_counters& one : *per_cpu) {
      row.counters.calls += one.calls;
      row.counters.succeeded_pages += one.succeeded_pages;
      row.counters.failed_pages += one.failed_pages;
      row.counters.thp_succeeded += one.thp_succeeded;
      row.counters.thp_failed += one.thp_failed;
      row.counters.thp_split += one.thp_split;
      row.counters.large_split += one.large_split;
    }
    // A number without a word is shown only when something was counted there.
    if (row.counters.calls == 0 &&
        (NameAt(reasons_, reason).empty() || NameAt(modes_, mode).empty()))
      continue;
    reading.totals.push_back(std::move(row));
  }
  return absl::OkStatus();
}

absl::Status MigrationSource::ReadDetails(MigrationReading& reading) {
  const bpf_map* map = programs_->maps.migrate_details;
  for (uint32_t reason = 0; reason < bpf_map__max_entries(map); ++reason) {
    MigrationDetails row{.reason = ReasonName(reason)};
    const auto per_cpu = ReadPerCpu<migrate_details>(map, reason);
    if (!per_cpu.ok()) return per_cpu.status();
    for (const migrate_details& one : *per_cpu) {
      row.measured_calls += one.measured_calls;
      row.measured_ns += static_cast<int64_t>(one.measured_ns);
      row.unmeasured_calls += one.unmeasured_calls;
      row.failed_unclassified += one.unclassified;
      for (size_t i = 0; i < row.latencies.size(); ++i)
        row.latencies[i] += one.calls[i];
      for (size_t i = 0; i < row.failed_by_why.size(); ++i)
        row.failed_by_why[i] += one.failed_pages[i];
    }
    if (NameAt(reasons_, reason).empty() && row.measured_calls == 0 &&
        row.unmeasured_calls == 0)
      continue;
    reading.details.push_back(std::move(row));
  }
  return absl::OkStatus();
}

void MigrationSource::ReadPlaces(MigrationReading& reading) const {
  for (uint32_t i = 0; i <= PINWATCH_MIGRATE_PLACES; ++i) {
    const migrate_place& from = programs_->bss->migrate_places[i];
    if (i < PINWATCH_MIGRATE_PLACES && from.calls == 0) continue;
    MigrationPlace place{.calls = from.calls,
                         .succeeded_pages = from.succeeded_pages,
                         .failed_pages = from.failed_pages};
    if (i < PINWATCH_MIGRATE_PLACES) {
      place.nid = static_cast<int>(i / PINWATCH_MIGRATE_ZONES);
      place.zone = NameAt(zones_, i % PINWATCH_MIGRATE_ZONES);
    }
    reading.places.push_back(std::move(place));
  }
}

void MigrationSource::ReadFailures(Timestamp now, MigrationReading& reading) {
  const bpf_map* map = programs_->maps.migrate_failures;
  const uint32_t most = bpf_map__max_entries(map);
  std::vector<migrate_failure_key> old;
  migrate_failure_key key;
  int error = bpf_map__get_next_key(map, nullptr, &key, sizeof(key));
  // Bounded: the walk begins anew when the key it stands on goes.
  for (uint32_t i = 0; !error && i < most;
       ++i, error = bpf_map__get_next_key(map, &key, &key, sizeof(key))) {
    migrate_failure from;
    if (bpf_map__lookup_elem(map, &key, sizeof(key), &from, sizeof(from), 0))
      continue;
    MigrationFailure failure{
        .reason = ReasonName(key.reason),
        .mode = ModeName(key.mode),
        .process = {.pid = from.tgid,
                    .start_boottime_ns = from.start_ns,
                    .comm = Comm(from.comm)},
        .page = ToBlockingPage(key.pfn, from.page, /*isolated=*/true)};
    failure.page.times_met = from.times_met;
    failure.page.first_met = At(from.first_ns, now);
    failure.page.last_met = At(from.last_ns, now);
    reading.failures.push_back(std::move(failure));
    if (static_cast<int64_t>(from.last_ns) < now.monotonic_ns - kForgetAfterNs)
      old.push_back(key);
  }
  for (const migrate_failure_key& gone : old)
    bpf_map__delete_elem(map, &gone, sizeof(gone), 0);
}

}  // namespace pinwatch
