// SPDX-License-Identifier: Apache-2.0
#include "daemon/hotplug_source.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "bpf/hotplug.skel.h"
#include "daemon/blocking.h"
#include "daemon/clock.h"
#include "daemon/event_fields.h"
#include "daemon/processes.h"

namespace pinwatch {
namespace {

constexpr const char* kOperations[NR_HOTPLUG_OPERATIONS] = {"offline",
                                                            "online"};

constexpr uint64_t kPageBytes = 4096;

// Pages in an attempt's way that are told of.
constexpr size_t kBlockersKept = 64;

// Nobody tells any more of an attempt of which no story came for so long.
constexpr int64_t kForgetAfterNs = 10'000'000'000;

// Errors that the kernel's offline and online paths return, by name: a closed
// set of label values.
constexpr std::pair<int, const char*> kOutcomes[] = {
    {0, "ok"},        {EAGAIN, "EAGAIN"}, {EBUSY, "EBUSY"},
    {EINTR, "EINTR"}, {EINVAL, "EINVAL"}, {ENOMEM, "ENOMEM"},
};

void AddCounts(const char* operation, const unsigned long long* by_errno,
               std::vector<HotplugCount>& counts) {
  uint64_t other = 0;
  for (int error = 0; error < PINWATCH_MAX_ERRNO; ++error)
    other += by_errno[error];
  for (const auto& [error, name] : kOutcomes) {
    counts.push_back({operation, name, by_errno[error]});
    other -= by_errno[error];
  }
  counts.push_back({operation, "other", other});
}

// As MemoryBlock has it.
std::string ZoneName(const std::vector<std::string>& zones, int zone) {
  if (zone == PINWATCH_ZONES_SEVERAL) return "none";
  return zone >= 0 && static_cast<size_t>(zone) < zones.size() ? zones[zone]
                                                               : "";
}

// Of the pages in an attempt's way keeps those it met first.
void KeepFirst(HotplugAttempt& attempt) {
  std::vector<BlockingPage>& pages = attempt.blockers;
  std::ranges::sort(pages, {}, [](const BlockingPage& page) {
    return std::pair(page.first_met.monotonic_ns, page.pfn);
  });
  for (size_t i = kBlockersKept; i < pages.size(); ++i)
    attempt.blockers_lost += pages[i].times_met;
  if (pages.size() > kBlockersKept) pages.resize(kBlockersKept);
}

}  // namespace

HotplugSource::HotplugSource() = default;
HotplugSource::~HotplugSource() = default;

void HotplugSource::Destroy(hotplug_bpf* programs) {
  hotplug_bpf__destroy(programs);
}

void HotplugSource::FreeRing(ring_buffer* ring) { ring_buffer__free(ring); }

absl::StatusOr<std::unique_ptr<HotplugSource>> HotplugSource::Open(
    const KernelLayout& layout, const KernelAddresses& addresses,
    std::vector<std::string> zones, uint64_t block_size_bytes) {
  if (absl::Status status = RequireKernelReads(""); !status.ok()) return status;
  auto source = std::unique_ptr<HotplugSource>(new HotplugSource);
  LIBBPF_OPTS(bpf_object_open_opts, open, .btf_custom_path = KernelTypesPath());
  hotplug_bpf* programs = hotplug_bpf__open_opts(&open);
  if (!programs) return absl::ErrnoToStatus(errno, "open the hotplug programs");
  source->programs_.reset(programs);
  source->zones_ = std::move(zones);
  programs->rodata->vmemmap_base_at = addresses.At("vmemmap_base");
  programs->rodata->mem_section_at = addresses.At("mem_section");
  programs->rodata->nid_shift = layout.nid_shift;
  programs->rodata->zone_shift = layout.zone_shift;
  programs->rodata->zone_mask = layout.zone_mask;
  programs->rodata->block_pages = block_size_bytes / kPageBytes;
  const auto& progs = programs->progs;
  for (bpf_program* program :
       {progs.offline__fentry_enter, progs.offline__fexit_exit,
        progs.online__fentry_enter, progs.online__fexit_exit})
    bpf_program__set_autoload(program, true);
  bpf_program__set_autoload(progs.round__kretprobe, true);
  bpf_program__set_autoattach(progs.round__kretprobe, false);

  // What tells how far an attempt comes and what stops it; each by itself.
  std::vector<std::string> missing;
  const auto choose = [&](const std::string& function,
                          std::vector<bpf_program*> chosen) {
    const auto known = layout.hotplug_functions.find(function);
    if (known == layout.hotplug_functions.end()) return false;
    for (bpf_program* program : chosen)
      bpf_program__set_autoload(program, true);
    return true;
  };
  const auto require = [&](const std::string& function,
                           std::vector<bpf_program*> chosen) {
    if (!choose(function, std::move(chosen))) missing.push_back(function);
  };
  require("offline_pages", {progs.step__offline_pages});
  require("start_isolate_page_range",
          {progs.step__isolate_enter, progs.step__isolate_exit});
  require("memory_notify", {progs.step__notify_exit});
  if (!choose("dissolve_free_huge_pages", {progs.step__dissolve_huge_pages}))
    require("dissolve_free_hugetlb_folios",
            {progs.step__dissolve_hugetlb_folios});
  source->tells_steps_ = missing.empty();
  // Where no address is known a page has no number.
  if (const absl::Status known = addresses.Require({"vmemmap_base"});
      known.ok()) {
    require("dump_page", {progs.blockers__dumped});
    bpf_program__set_autoload(progs.blockers__not_free, true);
  } else {
    missing.push_back(absl::StrCat("pages in the way: ", known.message()));
  }
  if (const auto isolate =
          layout.hotplug_functions.find("start_isolate_page_range");
      isolate != layout.hotplug_functions.end())
    programs->rodata->isolate_result_arg = isolate->second;
  if (const int error = hotplug_bpf__load(programs))
    return absl::ErrnoToStatus(
        -error, "the kernel refuses programs on memory_subsys_offline");
  source->ring_.reset(
      ring_buffer__new(bpf_map__fd(programs->maps.hotplug_ended), TakeEnded,
                       source.get(), nullptr));
  if (!source->ring_) return absl::ErrnoToStatus(errno, "open the ring buffer");
  // Where it cannot be attached now it cannot later.
  source->FollowResults(true);
  source->tells_results_ = programs->links.round__kretprobe != nullptr;
  source->FollowResults(false);
  if (!source->tells_results_) missing.push_back("the result of migrate_pages");
  if (const int error = hotplug_bpf__attach(programs))
    return absl::ErrnoToStatus(-error, "attach to memory_subsys_offline");
  if (!missing.empty())
    source->lacks_ =
        absl::StrCat("not followed here: ", absl::StrJoin(missing, ", "));
  return source;
}

void HotplugSource::FollowResults(bool wanted) {
  bpf_link*& link = programs_->links.round__kretprobe;
  if (wanted == (link != nullptr)) return;
  if (wanted) {
    link = bpf_program__attach(programs_->progs.round__kretprobe);
  } else {
    bpf_link__destroy(link);
    link = nullptr;
  }
}

int HotplugSource::Attach() { return hotplug_bpf__attach(programs_.get()); }

void HotplugSource::Detach() {
  hotplug_bpf__detach(programs_.get());
  // Nobody will tell how those end that are under way.
  const bpf_map* running = programs_->maps.hotplug_running;
  uint32_t tid;
  while (!bpf_map__get_next_key(running, nullptr, &tid, sizeof(tid)))
    if (bpf_map__delete_elem(running, &tid, sizeof(tid), 0)) break;
  programs_->bss->hotplug_nr_running = 0;
}

int HotplugSource::running_fd() const {
  return bpf_map__fd(programs_->maps.hotplug_running);
}

int HotplugSource::blockers_fd() const {
  return bpf_map__fd(programs_->maps.hotplug_blockers);
}

int HotplugSource::ring_fd() const {
  return ring_buffer__epoll_fd(ring_.get());
}

int HotplugSource::TakeEnded(void* source, void* data, size_t size) {
  hotplug_attempt attempt;
  if (size < sizeof(attempt)) return 0;
  std::memcpy(&attempt, data, sizeof(attempt));
  static_cast<HotplugSource*>(source)->ended_.push_back(attempt);
  return 0;
}

HotplugAttempt HotplugSource::ToAttempt(const hotplug_attempt& from,
                                        Timestamp now) const {
  const bool running = from.duration_ns == 0;
  HotplugAttempt attempt{
      .operation = from.operation < NR_HOTPLUG_OPERATIONS
                       ? kOperations[from.operation]
                       : "unknown",
      .section_nr = from.section_nr,
      .nid = from.nid,
      .zone = ZoneName(zones_, from.zone),
      .begin = At(from.begin_ns, now),
      .duration_ns =
          running ? now.monotonic_ns - static_cast<int64_t>(from.begin_ns)
                  : static_cast<int64_t>(from.duration_ns),
      .running = running,
      .error = running ? 0 : -from.result,
      .pid = from.tgid,
      .tid = from.tid,
      .comm = Comm(from.comm),
      .cgroup = ReadCgroup("", from.tgid),
      .migrate_calls = from.migrate_calls,
      .succeeded_pages = from.succeeded_pages,
      .failed_pages = from.failed_pages,
      .blockers_lost = from.blockers_lost,
      .kernel_stack = Stack(from.kernel_stack)};
  if (tells_steps_) attempt.step = static_cast<hotplug_step>(from.step);
  for (int step = 0; step < NR_HOTPLUG_STEPS; ++step)
    attempt.step_ns[step] = static_cast<int64_t>(from.step_ns[step]);
  if (running)
    attempt.step_ns[from.step % NR_HOTPLUG_STEPS] +=
        now.monotonic_ns - static_cast<int64_t>(from.step_since_ns);
  return attempt;
}

void HotplugSource::ReadRunning(Timestamp now, HotplugReading& reading) {
  const bpf_map* running = programs_->maps.hotplug_running;
  const uint32_t most = bpf_map__max_entries(running);
  uint32_t tid;
  int error = bpf_map__get_next_key(running, nullptr, &tid, sizeof(tid));
  // Bounded: the walk begins anew when the key it stands on goes.
  for (uint32_t i = 0; !error && i < most;
       ++i, error = bpf_map__get_next_key(running, &tid, &tid, sizeof(tid))) {
    hotplug_attempt attempt;
    // One that ended since the key was read comes from the ring.
    if (bpf_map__lookup_elem(running, &tid, sizeof(tid), &attempt,
                             sizeof(attempt), 0) == 0 &&
        attempt.duration_ns == 0) {
      HotplugAttempt& told =
          reading.running.emplace_back(ToAttempt(attempt, now));
      told.unit = UnitOfCgroup(told.cgroup);
    }
  }
}

absl::Status HotplugSource::ReadEnded(Timestamp now, HotplugReading& reading) {
  if (const int error = ring_buffer__consume(ring_.get()); error < 0)
    return absl::ErrnoToStatus(-error, "read the ring of ended attempts");
  for (const hotplug_attempt& attempt : ended_) {
    reading.ended.push_back(ToAttempt(attempt, now));
    std::string& cgroup = reading.ended.back().cgroup;
    const auto seen = running_cgroups_.find(attempt.tid);
    // What was read while it ran; later the pid may be another process's.
    if (seen != running_cgroups_.end()) cgroup = seen->second;
    reading.ended.back().unit = UnitOfCgroup(cgroup);
  }
  ended_.clear();
  // One that ended since the map was read is told once, as ended.
  std::erase_if(reading.running, [&](const HotplugAttempt& attempt) {
    return std::any_of(reading.ended.begin(), reading.ended.end(),
                       [&](const HotplugAttempt& ended) {
                         return ended.tid == attempt.tid &&
                                ended.begin == attempt.begin;
                       });
  });
  return absl::OkStatus();
}

// Those of attempts that have ended, or of which the story was lost, are taken
// out of the map.
void HotplugSource::ReadBlockers(Timestamp now, HotplugReading& reading) {
  const bpf_map* map = programs_->maps.hotplug_blockers;
  const uint32_t most = bpf_map__max_entries(map);
  std::map<int64_t, HotplugAttempt*> by_begin;
  for (HotplugAttempt& attempt : reading.running)
    by_begin[attempt.begin.monotonic_ns] = &attempt;
  for (HotplugAttempt& attempt : reading.ended)
    by_begin[attempt.begin.monotonic_ns] = &attempt;
  std::vector<hotplug_blocker_key> told;
  hotplug_blocker_key key;
  int error = bpf_map__get_next_key(map, nullptr, &key, sizeof(key));
  for (uint32_t i = 0; !error && i < most;
       ++i, error = bpf_map__get_next_key(map, &key, &key, sizeof(key))) {
    const auto attempt = by_begin.find(static_cast<int64_t>(key.begin_ns));
    const bool known = attempt != by_begin.end();
    hotplug_blocker blocker;
    if (known && bpf_map__lookup_elem(map, &key, sizeof(key), &blocker,
                                      sizeof(blocker), 0) == 0) {
      BlockingPage page = ToBlockingPage(key.pfn, blocker);
      page.first_met = At(blocker.first_ns, now);
      page.last_met = At(blocker.last_ns, now);
      attempt->second->blockers.push_back(std::move(page));
    }
    // An attempt that began just now may not be told of yet.
    if (known ? !attempt->second->running
              : static_cast<int64_t>(key.begin_ns) <
                    now.monotonic_ns - kForgetAfterNs)
      told.push_back(key);
  }
  for (const hotplug_blocker_key& key : told)
    bpf_map__delete_elem(map, &key, sizeof(key), 0);
  for (const auto& [begin, attempt] : by_begin) KeepFirst(*attempt);
}

absl::StatusOr<HotplugReading> HotplugSource::Read(Timestamp now) {
  HotplugReading reading;
  ReadRunning(now, reading);
  if (absl::Status status = ReadEnded(now, reading); !status.ok())
    return status;
  ReadBlockers(now, reading);
  if (tells_results_)
    FollowResults(std::ranges::any_of(reading.running, [](const auto& attempt) {
      return attempt.failed_pages > 0;
    }));
  running_cgroups_.clear();
  for (const HotplugAttempt& attempt : reading.running)
    running_cgroups_[attempt.tid] = attempt.cgroup;
  for (int op = 0; op < NR_HOTPLUG_OPERATIONS; ++op)
    AddCounts(kOperations[op], programs_->bss->hotplug_results[op],
              reading.counts);
  reading.untold = programs_->bss->hotplug_stories_lost;
  return reading;
}

}  // namespace pinwatch
