// SPDX-License-Identifier: Apache-2.0
#include "daemon/contig_source.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "bpf/contig.skel.h"
#include "daemon/blocking.h"
#include "daemon/clock.h"
#include "daemon/event_fields.h"

namespace pinwatch {
namespace {

// Errors that the kernel returns here, by name: a closed set of label values.
constexpr std::pair<int, const char*> kOutcomes[] = {
    {0, "ok"},          {EBUSY, "EBUSY"},   {EINTR, "EINTR"},
    {EINVAL, "EINVAL"}, {ENOMEM, "ENOMEM"},
};

// Of the tracepoint cma_alloc_finish, since it tells an error.
constexpr int kCmaArgs = 6;

std::vector<std::string> ReadCmaNames() {
  std::vector<std::string> names;
  std::error_code error;  // no such directory: it tells of none
  for (const auto& entry :
       std::filesystem::directory_iterator("/sys/kernel/mm/cma", error))
    names.push_back(entry.path().filename());
  return names;
}

}  // namespace

ContigSource::~ContigSource() = default;

void ContigSource::Destroy(contig_bpf* programs) {
  contig_bpf__destroy(programs);
}

absl::StatusOr<std::unique_ptr<ContigSource>> ContigSource::Open(
    const KernelLayout& layout, const KernelAddresses& addresses) {
  absl::Status reads = RequireKernelReads("");
  reads.Update(addresses.Require({"vmemmap_base"}));
  if (!reads.ok()) return reads;
  auto source = std::unique_ptr<ContigSource>(new ContigSource);
  LIBBPF_OPTS(bpf_object_open_opts, open, .btf_custom_path = KernelTypesPath());
  contig_bpf* programs = contig_bpf__open_opts(&open);
  if (!programs)
    return absl::ErrnoToStatus(errno, "open the programs on ranges");
  source->programs_.reset(programs);
  programs->rodata->vmemmap_base_at = addresses.At("vmemmap_base");
  const auto& progs = programs->progs;
  // The innermost, which all others call.
  bpf_program *enter = nullptr, *exit = nullptr;
  const auto has = [&](const char* function) {
    const auto known = layout.hotplug_functions.find(function);
    return known != layout.hotplug_functions.end() && known->second == 4;
  };
  if (has("alloc_contig_frozen_range_noprof")) {
    enter = progs.frozen__fentry_enter;
    exit = progs.frozen__fexit_exit;
  } else if (has("alloc_contig_range_noprof")) {
    enter = progs.noprof__fentry_enter;
    exit = progs.noprof__fexit_exit;
  } else if (has("alloc_contig_range")) {
    enter = progs.plain__fentry_enter;
    exit = progs.plain__fexit_exit;
  } else {
    return absl::FailedPreconditionError(
        "the kernel has no alloc_contig_range of a form that is known here");
  }
  for (bpf_program* program : {enter, exit, progs.blocker__not_free})
    bpf_program__set_autoload(program, true);
  const bool has_cma = std::ranges::find(layout.migratetypes, "cma") !=
                       layout.migratetypes.end();
  if (layout.cma_args == kCmaArgs) {
    bpf_program__set_autoload(progs.cma__finish, true);
    bpf_program__set_autoload(progs.cma__busy, true);
    source->cma_names_ = ReadCmaNames();
  } else if (has_cma) {
    source->lacks_ =
        "not followed here: allocations of CMA by area (no tracepoint "
        "cma_alloc_finish of a form that is known here)";
  }
  if (const int error = contig_bpf__load(programs))
    return absl::ErrnoToStatus(
        -error, "the kernel refuses programs on alloc_contig_range");
  if (const int error = contig_bpf__attach(programs))
    return absl::ErrnoToStatus(-error, "attach to alloc_contig_range");
  return source;
}

int ContigSource::Attach() { return contig_bpf__attach(programs_.get()); }

void ContigSource::Detach() {
  contig_bpf__detach(programs_.get());
  // Nobody will tell how those end that are under way.
  const bpf_map* running = programs_->maps.contig_running;
  uint32_t tid;
  while (!bpf_map__get_next_key(running, nullptr, &tid, sizeof(tid)))
    if (bpf_map__delete_elem(running, &tid, sizeof(tid), 0)) break;
}

std::vector<CmaArea> ContigSource::ReadCma() const {
  std::map<std::string, CmaArea> areas;
  for (const std::string& name : cma_names_) areas[name].name = name;
  const bpf_map* map = programs_->maps.cma_areas;
  cma_name key;
  int error = bpf_map__get_next_key(map, nullptr, &key, sizeof(key));
  for (; !error; error = bpf_map__get_next_key(map, &key, &key, sizeof(key))) {
    cma_area from;
    if (bpf_map__lookup_elem(map, &key, sizeof(key), &from, sizeof(from), 0))
      continue;
    const std::string name(key.name, strnlen(key.name, sizeof(key.name)));
    areas[name] = {.name = name,
                   .succeeded = from.succeeded,
                   .succeeded_pages = from.succeeded_pages,
                   .failed = from.failed,
                   .failed_pages = from.failed_pages,
                   .busy = from.busy};
  }
  std::vector<CmaArea> list;
  for (auto& [name, area] : areas) list.push_back(std::move(area));
  return list;
}

ContigRanges ContigSource::Read(Timestamp now) const {
  const auto& bss = *programs_->bss;
  ContigRanges ranges;
  uint64_t other = 0;
  for (const unsigned long long attempts : bss.contig_results)
    other += attempts;
  for (const auto& [error, name] : kOutcomes) {
    ranges.counts.push_back({name, bss.contig_results[error]});
    other -= bss.contig_results[error];
  }
  ranges.counts.push_back({"other", other});
  ranges.cma = ReadCma();
  std::copy(std::begin(bss.contig_calls), std::end(bss.contig_calls),
            ranges.latencies.begin());
  ranges.measured_ns = static_cast<int64_t>(bss.contig_measured_ns);
  for (const contig_attempt& from : bss.contig_recent) {
    const contig_attempt copy = from;
    // One that is being written says another number, or none.
    if (!copy.number || copy.number != from.number) continue;
    ContigAttempt attempt{
        .id = copy.number,
        .begin = At(copy.begin_ns, now),
        .duration_ns = static_cast<int64_t>(copy.duration_ns),
        .start_pfn = copy.start_pfn,
        .end_pfn = copy.end_pfn,
        .error = -copy.result,
        .process = {.pid = copy.tgid, .comm = Comm(copy.comm)}};
    if (copy.has_blocker && copy.result) {
      attempt.blocker_pfn = copy.blocker_pfn;
      if (copy.blocker_why < kNrWhysPagesStay)
        attempt.blocker_why = kWhysPagesStay[copy.blocker_why];
    }
    ranges.recent.push_back(std::move(attempt));
  }
  std::ranges::sort(ranges.recent, {}, &ContigAttempt::id);
  return ranges;
}

}  // namespace pinwatch
