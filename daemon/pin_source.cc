// SPDX-License-Identifier: Apache-2.0
#include "daemon/pin_source.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstring>
#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "bpf/pin.skel.h"
#include "daemon/clock.h"
#include "daemon/event_fields.h"

namespace pinwatch {
namespace {

constexpr uint64_t kSectionPages = PINWATCH_CHUNK_PAGES;

constexpr int64_t kAgeEveryNs = 60'000'000'000;

// Owners for whom there is an index between two readings.
constexpr uint64_t kOwnersAhead = 16384;

// Physical memory of 8 TiB, and more where there is more now.
constexpr uint64_t kMinSections = 65536;

// Unless the governor wants fewer.
constexpr uint32_t kShortCallsUnsampled = 200;

constexpr const char* kDoorNames[NR_PIN_DOORS] = {
    "pin_user_pages",        "pin_user_pages_fast",
    "pin_user_pages_remote", "pin_user_pages_unlocked",
    "memfd_pin_folios",      "unknown",
    "pin_user_pages_locked", "pin_user_pages_fast_only",
};

// Without what the owner has done.
OwnerReading ToReading(const pin_owner_key& key, const pin_owner& owner,
                       Timestamp now) {
  return {.index = owner.index,
          .long_term = key.long_term != 0,
          .pid = key.tgid,
          .start_boottime_ns = key.start_ns,
          .comm = Comm(owner.comm),
          .via_pid = key.via_tgid,
          .via_start_boottime_ns = owner.via_start_ns,
          .via_comm = Comm(owner.via_comm),
          .door = key.door < NR_PIN_DOORS ? kDoorNames[key.door] : "unknown",
          .first = At(owner.first_ns, now),
          .kernel_stack = Stack(owner.kernel_stack),
          .user_stack = Stack(owner.user_stack)};
}

// Without errors.
PinOutcomes Since(const pin_activity& before, const pin_activity& now) {
  return {.asked_pages = now.asked_pages - before.asked_pages,
          .partial_calls = now.partial_calls - before.partial_calls,
          .failed_calls = now.failed_calls - before.failed_calls,
          .errors = {},
          .measured_calls = now.measured_calls - before.measured_calls,
          .measured_ns = now.measured_ns - before.measured_ns,
          .minor_faults = now.minor_faults - before.minor_faults,
          .major_faults = now.major_faults - before.major_faults,
          .moves = {}};
}

PinMoves ToMoves(const pin_moved& from) {
  PinMoves moves{.calls = from.calls,
                 .rounds = from.rounds,
                 .failed = from.failed,
                 .no_target = from.no_target,
                 .ns = from.ns,
                 .calls_ns = from.calls_ns};
  std::ranges::copy(from.collected, moves.collected);
  std::ranges::copy(from.isolated, moves.isolated);
  std::ranges::copy(from.moved, moves.moved);
  return moves;
}

pin_moved Since(const pin_moved& before, const pin_moved& now) {
  constexpr size_t kNumbers = sizeof(pin_moved) / sizeof(uint64_t);
  std::array<uint64_t, kNumbers> a, b;
  std::memcpy(a.data(), &before, sizeof(before));
  std::memcpy(b.data(), &now, sizeof(now));
  for (size_t i = 0; i < kNumbers; ++i) b[i] -= a[i];
  return std::bit_cast<pin_moved>(b);
}

std::vector<PinErrors> ToList(const std::map<int, uint64_t>& errors) {
  std::vector<PinErrors> list;
  for (const auto& [error, calls] : errors) list.push_back({error, calls});
  return list;
}

// Calls `visit` with every key and value of a hash map.
template <typename Key, typename Value, typename Visit>
void ForEach(const bpf_map* map, Visit visit) {
  Key key;
  for (int error = bpf_map__get_next_key(map, nullptr, &key, sizeof(key));
       error == 0;) {
    Value value;
    // The next key first: the visitor may delete this one.
    Key next;
    const int end = bpf_map__get_next_key(map, &key, &next, sizeof(next));
    if (bpf_map__lookup_elem(map, &key, sizeof(key), &value, sizeof(value),
                             0) == 0)
      visit(key, value);
    error = end;
    key = next;
  }
}

// What programs leave in these is of no use to those that come after them.
const std::set<std::string> kOwnMaps = {"pin_bpf_rodata", "scratch"};

// Of the doors' programs, or of those that follow what calls move.
uint64_t RecursionMisses(const std::vector<Hook>& hooks, bool of_moves) {
  uint64_t misses = 0;
  for (const Hook& hook : hooks) {
    if (IsMoveProgram(hook.name) != of_moves) continue;
    bpf_prog_info info{};
    uint32_t size = sizeof(info);
    if (bpf_obj_get_info_by_fd(hook.program, &info, &size) == 0)
      misses += info.recursion_misses;
  }
  return misses;
}

// 0 or -errno.
int AttachHook(Hook& hook) {
  const bpf_attach_type place = IsTracepoint(hook.name) ? BPF_TRACE_RAW_TP
                                : IsEntry(hook.name)    ? BPF_TRACE_FENTRY
                                                        : BPF_TRACE_FEXIT;
  const int link = bpf_link_create(hook.program, 0, place, nullptr);
  if (link < 0) return link;
  hook.link = link;
  return 0;
}

void DetachHook(Hook& hook) {
  if (hook.link >= 0) close(hook.link);
  hook.link = -1;
}

// All of an array, as programs write to it; Unmap() ends that.
template <typename T>
absl::Status MapToRead(const bpf_map* map, absl::string_view what,
                       std::span<const T>& to) {
  const size_t size = bpf_map__max_entries(map);
  void* memory = mmap(nullptr, size * sizeof(T), PROT_READ, MAP_SHARED,
                      bpf_map__fd(map), 0);
  if (memory == MAP_FAILED)
    return absl::ErrnoToStatus(errno, absl::StrCat("map ", what));
  to = {static_cast<const T*>(memory), size};
  return absl::OkStatus();
}

template <typename T>
void Unmap(std::span<const T> mapped) {
  if (!mapped.empty())
    munmap(const_cast<T*>(mapped.data()), mapped.size_bytes());
}

}  // namespace

PinSource::PinSource() = default;

PinSource::~PinSource() {
  Close(hooks_);
  Unmap(activity_);
  Unmap(landed_);
  for (const Chunk& chunk : chunks_) {
    munmap(chunk.memory, sizeof(claim_chunk));
    close(chunk.fd);
  }
}

void PinSource::Destroy(pin_bpf* programs) { pin_bpf__destroy(programs); }

void PinSource::FreeRing(ring_buffer* ring) { ring_buffer__free(ring); }

int PinSource::TakeNews(void* source, void* data, size_t size) {
  pin_owner_key key;
  if (size < sizeof(key)) return 0;
  std::memcpy(&key, data, sizeof(key));
  static_cast<PinSource*>(source)->news_.push_back(key);
  return 0;
}

std::string PinSource::DescribeDoors() const {
  std::string text =
      absl::StrCat("BPF on return of ", absl::StrJoin(doors_.followed, ", "));
  if (!doors_.implied.empty())
    absl::StrAppend(&text, "; the claims of these cover ",
                    absl::StrJoin(doors_.implied, ", "));
  return text;
}

absl::StatusOr<std::unique_ptr<PinSource>> PinSource::Open(
    const KernelLayout& layout, const KernelAddresses& addresses,
    const ClaimOptions& options, uint64_t nr_sections) {
  auto source = std::unique_ptr<PinSource>(new PinSource);
  LIBBPF_OPTS(bpf_object_open_opts, open, .btf_custom_path = KernelTypesPath());
  source->programs_.reset(pin_bpf__open_opts(&open));
  if (!source->programs_)
    return absl::ErrnoToStatus(errno, "open the programs for claims");
  source->max_chunk_bytes_ = options.max_chunk_bytes;
  pin_bpf& programs = *source->programs_;
  programs.rodata->foll_longterm = layout.foll_longterm;
  programs.rodata->foll_pin = layout.foll_pin;
  programs.rodata->vmemmap_base_at = addresses.At("vmemmap_base");
  for (bpf_map* map : {programs.maps.claim_chunks, programs.maps.pin_landed})
    bpf_map__set_max_entries(map, std::max(kMinSections, 2 * nr_sections));
  bpf_map__set_max_entries(programs.maps.claim_runs, options.max_runs);
  bpf_map__set_max_entries(programs.maps.pin_activity, options.max_owners + 1);
  for (bpf_map* map : {programs.maps.free_owners, programs.maps.pin_owners,
                       programs.maps.pin_latencies})
    bpf_map__set_max_entries(map, options.max_owners);
  source->doors_ = ChooseDoors(layout.pin_functions, !layout.pin_helpers,
                               options.without_doors);
  const MovePrograms moves =
      ChooseMovePrograms(layout.move_functions, layout.migrate_args,
                         layout.migrate_reasons, options.follow_moves);
  source->follows_moves_ =
      !moves.programs.empty() && !source->doors_.followed.empty();
  source->sees_rounds_ = moves.sees_rounds;
  source->follows_targets_ = source->follows_moves_ && moves.sees_targets;
  source->doors_.programs.insert(moves.programs.begin(), moves.programs.end());
  programs.rodata->mem_section_at = addresses.At("mem_section");
  programs.rodata->zone_shift = layout.zone_shift;
  programs.rodata->zone_mask = layout.zone_mask;
  programs.rodata->isolate_lru_tells_true = layout.isolate_lru_tells_true;
  programs.rodata->isolate_hugetlb_tells_true =
      layout.isolate_hugetlb_tells_true;
  programs.rodata->sees_rounds = moves.sees_rounds;
  if (source->doors_.followed.empty())
    return absl::FailedPreconditionError(
        "no pin function of this kernel is of a form that is known here, or "
        "all are switched off");
  if (absl::Status status = source->Start(options); !status.ok()) return status;
  return source;
}

// What it takes for programs to be the same once they are loaded.
uint64_t PinSource::Build() const {
  size_t size = 0;
  const auto* object = static_cast<const char*>(pin_bpf::elf_bytes(&size));
  return Fingerprint(absl::StrCat(
      absl::string_view(object, size),
      absl::string_view(reinterpret_cast<const char*>(programs_->rodata),
                        sizeof(*programs_->rodata)),
      absl::StrJoin(doors_.programs, " "), " ", libbpf_version_string()));
}

absl::Status PinSource::Start(const ClaimOptions& options) {
  const uint64_t build = Build();
  std::vector<Hook> replaced;
  bool taken_over = false;
  if (options.kept.ok())
    kept_ = *options.kept;
  else
    keeping_ = options.kept.status();
  own_words_.schema = SchemaOf(programs_->obj, kOwnMaps);
  options.boot_id.copy(own_words_.boot_id, sizeof(own_words_.boot_id) - 1);
  if (kept_) {
    absl::StatusOr<bool> taken =
        kept_->TakeOverMaps(programs_->obj, kOwnMaps, own_words_);
    if (!taken.ok()) return taken.status();
    taken_over = *taken;
  }
  if (taken_over) {
    words_ = kept_->words();
    replaced = TakeOverHooks(build);
  }
  const bool attached = !hooks_.empty();
  if (absl::Status status = Load(!attached); !status.ok()) return status;
  const int64_t alive_ns = static_cast<int64_t>(programs_->bss->pin_now_ns);
  if (absl::Status status = taken_over ? TakeOverChunks() : FillFreeOwners();
      !status.ok())
    return status;
  if (!attached)
    if (absl::Status status = Install(build, taken_over); !status.ok())
      return status;
  __atomic_store_n(&programs_->bss->newest_active, generation_,
                   __ATOMIC_SEQ_CST);
  __atomic_store_n(&programs_->bss->oldest_active, generation_,
                   __ATOMIC_SEQ_CST);
  words_->recursion_misses += RecursionMisses(replaced, false);
  Close(replaced);
  if (kept_ && !taken_over) {
    if (absl::Status status = kept_->KeepWords(own_words_); !status.ok())
      StopKeeping(status);
    else
      words_ = kept_->words();
  }
  if (kept_) {
    // Also what a start that was killed has left.
    kept_->RemoveAllGenerationsBut(generation_);
    keeping_ = absl::StrCat("BPF maps and links in ", kept_->path());
  }
  if (taken_over) TakeOverClaims(alive_ns);
  return absl::OkStatus();
}

// The kept hooks become ours if our programs would be the same; otherwise they
// are the result.
std::vector<Hook> PinSource::TakeOverHooks(uint64_t build) {
  using Bss = std::remove_pointer_t<decltype(pin_bpf::bss)>;
  const uint32_t zero = 0;
  std::vector<char> value(bpf_map__value_size(programs_->maps.bss));
  const auto& bss = *reinterpret_cast<const Bss*>(value.data());
  generation_ = kept_->NextGeneration();
  if (value.size() < sizeof(Bss) ||
      bpf_map_lookup_elem(bpf_map__fd(programs_->maps.bss), &zero,
                          value.data()))
    return {};
  std::vector<Hook> hooks = kept_->TakeOverHooks(bss.oldest_active);
  // Their last sign of life.
  if (hooks.empty() && !words_->unattached_since_ns)
    words_->unattached_since_ns = static_cast<int64_t>(bss.pin_now_ns);
  if (!hooks.empty() && kept_->IsOfBuild(bss.oldest_active, build)) {
    generation_ = bss.oldest_active;
    hooks_ = std::exchange(hooks, {});
    NoteAttached();
  }
  return hooks;
}

// Without programs where those are attached already that another has loaded.
absl::Status PinSource::Load(bool programs_too) {
  pin_bpf& programs = *programs_;
  programs.rodata->generation = generation_;
  if (programs_too)
    for (const std::string& program : doors_.programs)
      bpf_program__set_autoload(
          bpf_object__find_program_by_name(programs.obj, program.c_str()),
          true);
  bpf_program__set_autoload(programs.progs.pin_setup, programs_too);
  bpf_map__set_autocreate(programs.maps.scratch, programs_too);
  if (const int error = pin_bpf__load(&programs))
    return absl::ErrnoToStatus(
        -error,
        "the kernel refuses the programs on the pin functions (--log.level "
        "debug shows its reasons)");
  LIBBPF_OPTS(bpf_test_run_opts, run);
  if (programs_too && (bpf_prog_test_run_opts(
                           bpf_program__fd(programs.progs.pin_setup), &run) ||
                       run.retval))
    return absl::InternalError("read where the kernel's page structs are");
  table_.SetShortClaims(
      reinterpret_cast<uint64_t*>(programs.bss->short_claims));
  table_.SetVintages(reinterpret_cast<uint64_t*>(programs.bss->claim_vintages));
  // Another governor's is of no use.
  programs.data->short_calls_unsampled = kShortCallsUnsampled;
  programs.bss->inner_long_term_only = 0;
  ring_.reset(ring_buffer__new(bpf_map__fd(programs.maps.pin_news), TakeNews,
                               this, nullptr));
  if (!ring_) return absl::ErrnoToStatus(errno, "open the ring buffer");
  absl::Status status =
      MapToRead(programs.maps.pin_activity, "what owners have done", activity_);
  status.Update(
      MapToRead(programs.maps.pin_landed, "where pins have landed", landed_));
  landed_told_.resize(landed_.size());
  return status;
}

// Puts the programs that were loaded on their doors, in the place of others if
// there are some.
absl::Status PinSource::Install(uint64_t build, bool taken_over) {
  for (const std::string& name : doors_.programs) {
    const int fd = bpf_program__fd(
        bpf_object__find_program_by_name(programs_->obj, name.c_str()));
    hooks_.push_back({.name = name, .program = fcntl(fd, F_DUPFD_CLOEXEC, 0)});
  }
  absl::Status kept;
  if (kept_ && !taken_over) kept = kept_->KeepMaps(programs_->obj, kOwnMaps);
  if (kept_ && kept.ok())
    kept = kept_->KeepPrograms(generation_, build, hooks_);
  if (!kept.ok()) StopKeeping(kept);
  if (const int error = Attach())
    return absl::ErrnoToStatus(-error, "attach to the pin functions");
  return absl::OkStatus();
}

// From here on all ends with this daemon.
void PinSource::StopKeeping(const absl::Status& why) {
  own_words_ = *words_;
  words_ = &own_words_;
  kept_->Remove();
  kept_ = nullptr;
  keeping_ = why;
}

void PinSource::TakeOverClaims(int64_t alive_ns) {
  ReadRuns();
  const int64_t now_ns = Now().monotonic_ns;
  table_.TakeOver(words_->aged_ns, words_->long_ago_ns, now_ns);
  WriteAgedRuns(now_ns);
  gaps_at_start_ = words_->gaps;
  gaps_at_start_.long_term_ns = std::min(gaps_at_start_.long_term_ns, now_ns);
  // Nobody has wound the clock of short-term claims.
  gaps_at_start_.short_term_ns = now_ns;
  if (keeping_.ok())
    absl::StrAppend(&*keeping_, ", taken over from a pinwatchd of ",
                    (now_ns - alive_ns) / 1'000'000'000, " s ago");
}

absl::Status PinSource::TakeOverChunks() {
  absl::Status status;
  const int map = bpf_map__fd(programs_->maps.claim_chunks);
  for (const auto& [section, fd] : kept_->OpenChunks()) {
    const absl::StatusOr<Chunk> chunk = MapChunk(fd);
    status.Update(chunk.status());
    if (!chunk.ok()) continue;
    chunks_.push_back(*chunk);
    table_.AddChunk(section, chunk->memory);
    // Who made it may have been killed before it was handed out.
    const auto key = static_cast<uint32_t>(section);
    uint32_t id = 0;
    if (bpf_map_lookup_elem(map, &key, &id) &&
        bpf_map_update_elem(map, &key, &fd, BPF_ANY))
      status.Update(absl::ErrnoToStatus(errno, "hand out a table of claims"));
  }
  return status;
}

void PinSource::KeepGaps(const ClaimGaps& gaps) {
  words_->gaps.long_term_ns = gaps.long_term_ns;
  words_->gaps.short_term_ns = gaps.short_term_ns;
  // Losses are allowed for once the gaps are there, and not before.
  std::atomic_signal_fence(std::memory_order_seq_cst);
  words_->gaps.long_term_losses = gaps.long_term_losses;
  words_->gaps.short_term_losses = gaps.short_term_losses;
}

void PinSource::Detach() {
  if (!words_->unattached_since_ns)
    words_->unattached_since_ns = Now().monotonic_ns;
  if (kept_) kept_->RemoveLinks(generation_);
  for (Hook& hook : hooks_) DetachHook(hook);
}

int PinSource::Attach() {
  doors_off_.clear();
  programs_->bss->inner_long_term_only = 0;
  // Of calls that were under way when programs were last detached.
  std::memset(programs_->bss->pin_begins, 0,
              sizeof(programs_->bss->pin_begins));
  ForEach<uint64_t, pin_moving>(
      programs_->maps.pin_moving, [&](uint64_t task, const pin_moving&) {
        bpf_map__delete_elem(programs_->maps.pin_moving, &task, sizeof(task),
                             0);
      });
  for (Hook& hook : hooks_) {
    if (hook.link >= 0) continue;
    if (const int error = AttachHook(hook)) return error;
  }
  if (kept_)
    if (absl::Status status = kept_->KeepLinks(generation_, hooks_);
        !status.ok())
      StopKeeping(status);
  NoteAttached();
  return 0;
}

// Who took pins meanwhile left no claims.
void PinSource::NoteAttached() {
  if (!words_->unattached_since_ns) return;
  const int64_t now_ns = Now().monotonic_ns;
  words_->gaps.long_term_ns = std::max(words_->gaps.long_term_ns, now_ns);
  words_->unattached_ns += now_ns - words_->unattached_since_ns;
  words_->unattached_since_ns = 0;
}

int PinSource::Govern(const GovernorState& state) {
  programs_->data->short_calls_unsampled =
      state.stage == GovernorStage::kAll ? kShortCallsUnsampled : 0;
  const bool inner_off = state.doors_off.count(doors_.inner);
  programs_->bss->inner_long_term_only = inner_off;
  if (inner_off)
    doors_off_.insert(doors_.inner);
  else
    doors_off_.erase(doors_.inner);
  int error = 0;
  for (Hook& hook : hooks_) {
    const auto door = doors_.short_term.find(hook.name);
    if (door == doors_.short_term.end()) continue;
    const bool off = state.doors_off.count(door->second);
    if (off == (hook.link < 0)) continue;
    if (off) {
      if (kept_) kept_->RemoveLink(generation_, hook.name);
      DetachHook(hook);
      doors_off_.insert(door->second);
      continue;
    }
    if (const int failed = AttachHook(hook)) {
      error = failed;
      continue;
    }
    doors_off_.erase(door->second);
    if (kept_)
      if (absl::Status status = kept_->KeepLinks(generation_, {hook});
          !status.ok())
        StopKeeping(status);
  }
  return error;
}

// Some ahead of their use: each takes a system call.
absl::Status PinSource::FillFreeOwners() {
  const bpf_map* map = programs_->maps.free_owners;
  const uint32_t end =
      std::min<uint64_t>(bpf_map__max_entries(map), nr_owners_ + kOwnersAhead);
  while (programs_->bss->owners_filled < end) {
    // Noted first: none is handed out twice if the daemon is killed here.
    const uint32_t index = ++programs_->bss->owners_filled;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    if (bpf_map_update_elem(bpf_map__fd(map), nullptr, &index, BPF_ANY))
      return absl::ErrnoToStatus(errno, "fill the queue of owners");
  }
  return absl::OkStatus();
}

absl::StatusOr<PinSource::Chunk> PinSource::MakeChunk(uint64_t section) {
  LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_MMAPABLE);
  const int fd =
      bpf_map_create(BPF_MAP_TYPE_ARRAY, "pinwatch_claims", sizeof(uint32_t),
                     sizeof(claim_chunk), 1, &options);
  if (fd < 0) return absl::ErrnoToStatus(errno, "make a table of claims");
  absl::StatusOr<Chunk> chunk = MapChunk(fd);
  if (!chunk.ok() || !kept_) return chunk;
  if (absl::Status status = kept_->KeepChunk(section, fd); !status.ok()) {
    munmap(chunk->memory, sizeof(claim_chunk));
    close(fd);
    return status;
  }
  return chunk;
}

absl::StatusOr<PinSource::Chunk> PinSource::MapChunk(int fd) {
  void* memory = mmap(nullptr, sizeof(claim_chunk), PROT_READ | PROT_WRITE,
                      MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) {
    const int error = errno;
    close(fd);
    return absl::ErrnoToStatus(error, "map a table of claims");
  }
  return Chunk{fd, static_cast<claim_chunk*>(memory)};
}

absl::Status PinSource::AddChunks(const std::vector<uint64_t>& sections) {
  std::vector<uint32_t> keys;
  std::vector<int> fds;
  absl::Status status;
  for (const uint64_t section : sections) {
    if (table_.HasChunk(section) ||
        section >= bpf_map__max_entries(programs_->maps.claim_chunks))
      continue;
    // Claims without a table stay in the hash of runs.
    if ((chunks_.size() + 1) * sizeof(claim_chunk) > max_chunk_bytes_) break;
    absl::StatusOr<Chunk> chunk = MakeChunk(section);
    if (!chunk.ok()) {
      status = chunk.status();
      break;
    }
    chunks_.push_back(*chunk);
    table_.AddChunk(section, chunk->memory);
    keys.push_back(section);
    fds.push_back(chunk->fd);
  }
  if (keys.empty()) return status;
  // At once, since the kernel waits for its readers after each update.
  uint32_t done = keys.size();
  const int map = bpf_map__fd(programs_->maps.claim_chunks);
  LIBBPF_OPTS(bpf_map_batch_opts, options);
  if (bpf_map_update_batch(map, keys.data(), fds.data(), &done, &options) == 0)
    return status;
  // Before Linux v5.16 there is no batch for this kind of map.
  for (size_t i = 0; i < keys.size(); ++i)
    if (bpf_map_update_elem(map, &keys[i], &fds[i], BPF_ANY))
      status.Update(absl::ErrnoToStatus(errno, "hand out a table of claims"));
  return status;
}

int PinSource::moving_fd() const {
  return sees_rounds_ ? bpf_map__fd(programs_->maps.pin_moving) : -1;
}

int PinSource::ring_fd() const { return ring_buffer__epoll_fd(ring_.get()); }

void PinSource::DrainNews() { ring_buffer__consume(ring_.get()); }

void PinSource::ReadRuns() {
  const uint64_t changed = programs_->bss->claim_runs_changed;
  if (changed == runs_read_) return;
  std::vector<ClaimRun> runs;
  ForEach<claim_run_key, claim_run>(
      programs_->maps.claim_runs,
      [&](const claim_run_key& key, const claim_run& run) {
        runs.emplace_back(key, run);
      });
  table_.SetRuns(std::move(runs));
  runs_read_ = changed;
}

void PinSource::DeleteDeadRuns() {
  const bpf_map* map = programs_->maps.claim_runs;
  for (const auto& [key, run] : table_.TakeDeadRuns()) {
    const uint64_t changed = programs_->bss->claim_runs_changed;
    claim_run deleted;
    const int error = bpf_map__lookup_and_delete_elem(
        map, &key, sizeof(key), &deleted, sizeof(deleted), 0);
    if (error == -ENOENT) continue;
    if (error) {
      // Before Linux v5.14 a hash cannot tell what it deletes. What was claimed
      // meanwhile is claimed again as it was: too old rather than lost.
      bpf_map__delete_elem(map, &key, sizeof(key), 0);
      deleted = run;
      if (__atomic_load_n(&programs_->bss->claim_runs_changed,
                          __ATOMIC_SEQ_CST) == changed)
        continue;
    } else if (deleted.tick == run.tick && deleted.nr_pages == run.nr_pages) {
      continue;
    }
    // Claimed again meanwhile: it is not dead.
    bpf_map__update_elem(map, &key, sizeof(key), &deleted, sizeof(deleted),
                         BPF_NOEXIST);
    runs_read_ = 0;
  }
}

// Memory that was pinned before it had a table of claims.
void PinSource::AddMissingChunks() {
  std::set<uint64_t> wanted;
  for (const ClaimRun& run : table_.runs())
    for (const uint64_t pfn :
         {run.first.pfn, run.first.pfn + run.second.nr_pages - 1})
      if (!table_.HasChunk(pfn / kSectionPages))
        wanted.insert(pfn / kSectionPages);
  // One that cannot be had is asked for again the next time.
  if (!wanted.empty()) (void)AddChunks({wanted.begin(), wanted.end()});
}

absl::Status PinSource::ReadTotals(ClaimReading& reading) {
  ClaimTotals& totals = reading.totals;
  const int nr_cpus = libbpf_num_possible_cpus();
  if (nr_cpus < 0) return absl::ErrnoToStatus(-nr_cpus, "count CPUs");
  std::vector<pin_totals> per_cpu(nr_cpus);
  const uint32_t zero = 0;
  if (const int error = bpf_map__lookup_elem(
          programs_->maps.pin_totals, &zero, sizeof(zero), per_cpu.data(),
          per_cpu.size() * sizeof(pin_totals), 0))
    return absl::ErrnoToStatus(-error, "read the totals of claims");
  for (const pin_totals& one : per_cpu) {
    totals.short_term_calls += one.calls[0];
    totals.long_term_calls += one.calls[1];
    totals.short_term_pages += one.pages[0];
    totals.long_term_pages += one.pages[1];
    totals.short_term_asked_pages += one.asked_pages[0];
    totals.long_term_asked_pages += one.asked_pages[1];
    totals.short_term_partial_calls += one.partial_calls[0];
    totals.long_term_partial_calls += one.partial_calls[1];
    totals.short_term_failed_calls += one.failed_calls[0];
    totals.long_term_failed_calls += one.failed_calls[1];
    totals.unmeasured_calls += one.unmeasured;
    totals.lost_errors += one.lost_errors;
    totals.short_term_skipped += one.short_term_skipped;
    totals.lost_busy += one.lost_busy[0] + one.lost_busy[1];
    totals.lost_long_term += one.lost_busy[1] + one.lost_owners[1];
    totals.lost_owners += one.lost_owners[0] + one.lost_owners[1];
    totals.lost_pages += one.lost_pages;
    reading.unlanded += one.unlanded;
  }
  totals.lost_recursion =
      words_->recursion_misses + RecursionMisses(hooks_, false);
  totals.lost_long_term += totals.lost_recursion + totals.lost_pages;
  totals.chunks = table_.nr_chunks();
  totals.chunk_bytes = totals.chunks * sizeof(claim_chunk);
  totals.unattached_ns = words_->unattached_ns;
  totals.follows_moves = follows_moves_;
  totals.follows_targets = follows_targets_;
  totals.moves_lost = programs_->bss->pin_moves_lost;
  totals.moves_missed = RecursionMisses(hooks_, true);
  return absl::OkStatus();
}

void PinSource::NoteOwner(const pin_owner_key& key, const pin_owner& owner,
                          Timestamp now) {
  if (owners_.size() <= owner.index) owners_.resize(owner.index + 1);
  KnownOwner& known = owners_[owner.index];
  // Told of twice, once as news.
  if (known.is_known &&
      known.first.monotonic_ns == static_cast<int64_t>(owner.first_ns))
    return;
  nr_owners_ += !known.is_known;
  OwnerReading reading = ToReading(key, owner, now);
  known = {.key = key, .first = reading.first, .is_known = true};
  new_owners_.insert_or_assign(owner.index, std::move(reading));
}

void PinSource::ReadNewOwners(Timestamp now) {
  const uint64_t lost = programs_->bss->news_lost;
  const bool read_all = owners_unread_ || lost != news_lost_;
  for (const pin_owner_key& key : std::exchange(news_, {})) {
    pin_owner owner;
    if (!read_all &&
        bpf_map__lookup_elem(programs_->maps.pin_owners, &key, sizeof(key),
                             &owner, sizeof(owner), 0) == 0)
      NoteOwner(key, owner, now);
  }
  if (!read_all) return;
  ForEach<pin_owner_key, pin_owner>(
      programs_->maps.pin_owners,
      [&](const pin_owner_key& key, const pin_owner& owner) {
        NoteOwner(key, owner, now);
      });
  owners_unread_ = false;
  news_lost_ = lost;
}

// Indexes of known owners whose activity has changed since they were last
// taken. The news of others are still to come.
std::vector<uint32_t> PinSource::TakeChanged() {
  std::vector<uint32_t> changed;
  auto* const flags = programs_->bss->activity_changed;
  const size_t end = std::min<size_t>(owners_.size(), PINWATCH_MAX_OWNERS + 1);
  for (size_t first = 0; first < end; first += sizeof(uint64_t)) {
    if (__atomic_load_n(reinterpret_cast<uint64_t*>(flags + first),
                        __ATOMIC_RELAXED) == 0)
      continue;
    for (size_t index = first; index < std::min(first + sizeof(uint64_t), end);
         ++index)
      if (owners_[index].is_known &&
          __atomic_exchange_n(&flags[index], 0, __ATOMIC_SEQ_CST))
        changed.push_back(static_cast<uint32_t>(index));
  }
  return changed;
}

// Errors that were not told of yet.
PinSource::OwnerErrors PinSource::ReadErrors(const ClaimTotals& totals) {
  OwnerErrors news;
  const uint64_t failures =
      totals.long_term_failed_calls + totals.short_term_failed_calls;
  if (failures == failures_read_) return news;
  ForEach<pin_error_key, uint64_t>(
      programs_->maps.pin_errors,
      [&](const pin_error_key& key, uint64_t calls) {
        const auto error = static_cast<int>(key.error);
        uint64_t& told = errors_told_[key.owner][error];
        if (calls != told) news[key.owner][error] = calls - told;
        told = calls;
      });
  failures_read_ = failures;
  return news;
}

// What was moved and not told of yet.
PinSource::OwnerMoves PinSource::ReadMoves() {
  OwnerMoves news;
  const uint64_t ended = programs_->bss->pin_moves_ended;
  if (ended == moves_read_) return news;
  bool all_known = true;
  ForEach<uint32_t, pin_moved>(
      programs_->maps.pin_moved, [&](uint32_t owner, const pin_moved& moved) {
        // One whose news are still to come is told of then.
        if (owner >= owners_.size() || !owners_[owner].is_known) {
          all_known = false;
          return;
        }
        pin_moved& told = moves_told_[owner];
        if (std::memcmp(&told, &moved, sizeof(moved)) != 0)
          news.emplace(owner, ToMoves(Since(told, moved)));
        told = moved;
      });
  if (all_known) moves_read_ = ended;
  return news;
}

std::vector<MovingCall> PinSource::ReadMoving(Timestamp now) {
  std::vector<MovingCall> calls;
  if (!follows_moves_ || !programs_->bss->pin_begun) return calls;
  ForEach<uint64_t, pin_moving>(
      programs_->maps.pin_moving, [&](uint64_t, const pin_moving& moving) {
        calls.push_back({.pid = moving.tgid,
                         .start_boottime_ns = moving.start_ns,
                         .comm = Comm(moving.comm),
                         .door = moving.door < NR_PIN_DOORS
                                     ? kDoorNames[moving.door]
                                     : "unknown",
                         .begin = At(moving.begin_ns, now),
                         .rounds = moving.sum.rounds,
                         .stuck_pfn = moving.stuck_pfn,
                         .stuck = At(moving.stuck_ns, now)});
      });
  return calls;
}

std::vector<LandedPages> PinSource::ReadLanded(const ClaimTotals& totals) {
  std::vector<LandedPages> landed;
  // Once more after the total came to rest, which counts a call a bit earlier.
  const bool changed = totals.long_term_pages != landed_read_;
  if (!changed && landed_settled_) return landed;
  landed_settled_ = !changed;
  landed_read_ = totals.long_term_pages;
  for (size_t section = 0; section < landed_.size(); ++section) {
    const uint64_t pages = __atomic_load_n(&landed_[section], __ATOMIC_RELAXED);
    const uint64_t told = std::exchange(landed_told_[section], pages);
    if (pages != told)
      landed.push_back({section * kSectionPages, pages - told});
  }
  return landed;
}

// Of calls that were not told of yet.
PinLatencies PinSource::ReadLatencies(uint32_t owner) {
  PinLatencies news{};
  pin_latency now;
  if (bpf_map__lookup_elem(programs_->maps.pin_latencies, &owner, sizeof(owner),
                           &now, sizeof(now), 0))
    return news;
  pin_latency& told = latencies_told_[owner];
  // As 32-bit numbers, which may come round.
  for (size_t i = 0; i < news.size(); ++i)
    news[i] = uint32_t{now.calls[i] - told.calls[i]};
  told = now;
  return news;
}

void PinSource::ReadActivity(uint32_t index, Timestamp now,
                             const OwnerErrors& new_errors,
                             const OwnerMoves& new_moves,
                             ClaimReading& reading) {
  KnownOwner& known = owners_[index];
  OwnerReading owner;
  if (auto news = new_owners_.extract(index))
    owner = std::move(news.mapped());
  else
    owner = ToReading(known.key, {.index = index}, now);
  owner.first = known.first;
  const pin_activity activity = activity_[index];
  // The clock of short-term calls may be older than the owner's first call.
  owner.last =
      At(std::max<uint64_t>(activity.last_ns, owner.first.monotonic_ns), now);
  owner.calls = activity.calls;
  owner.pages = activity.pages;
  owner.outcomes = Since({}, activity);
  if (activity.failed_calls)
    owner.outcomes.errors = ToList(errors_told_[index]);
  if (const auto moves = moves_told_.find(index); moves != moves_told_.end())
    owner.outcomes.moves = ToMoves(moves->second);
  const auto errors = new_errors.find(index);
  const auto moves = new_moves.find(index);
  if (errors != new_errors.end() || moves != new_moves.end() ||
      std::memcmp(&activity, &known.told, sizeof(activity)) != 0) {
    PinCalls calls{.calls = activity.calls - known.told.calls,
                   .pages = activity.pages - known.told.pages,
                   .outcomes = Since(known.told, activity)};
    if (calls.outcomes.measured_calls) calls.latencies = ReadLatencies(index);
    if (errors != new_errors.end())
      calls.outcomes.errors = ToList(errors->second);
    if (moves != new_moves.end()) calls.outcomes.moves = moves->second;
    reading.calls.push_back(
        {index, owner.long_term, std::move(calls), owner.door});
    known.told = activity;
  }
  reading.owners.push_back(std::move(owner));
}

// Before the index is given to another.
void PinSource::ForgetOutcomes(uint32_t owner) {
  bpf_map__delete_elem(programs_->maps.pin_latencies, &owner, sizeof(owner), 0);
  latencies_told_.erase(owner);
  bpf_map__delete_elem(programs_->maps.pin_moved, &owner, sizeof(owner), 0);
  moves_told_.erase(owner);
  const auto errors = errors_told_.find(owner);
  if (errors == errors_told_.end()) return;
  for (const auto& [error, calls] : errors->second) {
    const pin_error_key key = {.owner = owner,
                               .error = static_cast<uint32_t>(error)};
    bpf_map__delete_elem(programs_->maps.pin_errors, &key, sizeof(key), 0);
  }
  errors_told_.erase(errors);
}

absl::StatusOr<ClaimReading> PinSource::Read(Timestamp now) {
  programs_->bss->pin_epoch++;
  programs_->bss->pin_tick = TickAt(now.monotonic_ns);
  programs_->bss->pin_now_ns = now.monotonic_ns;
  ClaimReading reading;
  if (absl::Status status = ReadTotals(reading); !status.ok()) return status;
  ReadNewOwners(now);
  const OwnerErrors new_errors = ReadErrors(reading.totals);
  const OwnerMoves new_moves = ReadMoves();
  std::set<uint32_t> changed;
  for (const uint32_t index : TakeChanged()) changed.insert(index);
  for (const auto& [index, owner] : new_owners_) changed.insert(index);
  const auto add = [&](uint32_t index) {
    if (index < owners_.size() && owners_[index].is_known)
      changed.insert(index);
  };
  for (const auto& [index, errors] : new_errors) add(index);
  for (const auto& [index, moves] : new_moves) add(index);
  for (const uint32_t index : changed)
    ReadActivity(index, now, new_errors, new_moves, reading);
  if (absl::Status status = FillFreeOwners(); !status.ok()) return status;
  ReadRuns();
  AddMissingChunks();
  if (now.monotonic_ns - words_->aged_ns > kAgeEveryNs) {
    table_.Age(now.monotonic_ns);
    WriteAgedRuns(now.monotonic_ns);
  }
  reading.moving = ReadMoving(now);
  reading.landed = ReadLanded(reading.totals);
  reading.totals.owners = nr_owners_;
  reading.gaps_at_start = gaps_at_start_;
  reading.doors_not_followed.assign(doors_.not_followed.begin(),
                                    doors_.not_followed.end());
  reading.doors_not_followed.insert(reading.doors_not_followed.end(),
                                    doors_off_.begin(), doors_off_.end());
  return reading;
}

void PinSource::WriteAgedRuns(int64_t now_ns) {
  for (const auto& [key, run] : table_.TakeAgedRuns()) {
    bpf_map__update_elem(programs_->maps.claim_runs, &key, sizeof(key), &run,
                         sizeof(run), BPF_EXIST);
    runs_read_ = 0;
  }
  words_->long_ago_ns = table_.long_ago_ns();
  words_->aged_ns = now_ns;
}

std::vector<uint32_t> PinSource::ForgetOwners(
    const std::vector<uint32_t>& ended) {
  const std::vector<bool> in_use = table_.OwnersWithClaims();
  const int free_owners = bpf_map__fd(programs_->maps.free_owners);
  std::vector<uint32_t> forgotten;
  for (const uint32_t index : ended) {
    if (index >= owners_.size() || in_use[index]) continue;
    KnownOwner& known = owners_[index];
    if (!known.is_known ||
        bpf_map__delete_elem(programs_->maps.pin_owners, &known.key,
                             sizeof(known.key), 0))
      continue;
    ForgetOutcomes(index);
    known = {};
    --nr_owners_;
    new_owners_.erase(index);
    forgotten.push_back(index);
    // Before the index can be another's.
    programs_->bss->activity_changed[index] = 0;
    __atomic_fetch_add(&programs_->bss->owners_generation, 1, __ATOMIC_SEQ_CST);
    bpf_map_update_elem(free_owners, nullptr, &index, BPF_ANY);
  }
  return forgotten;
}

}  // namespace pinwatch
