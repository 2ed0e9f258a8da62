// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_SOURCE_H_
#define PINWATCH_DAEMON_SOURCE_H_

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "bpf/events.h"
#include "daemon/memmap.h"
#include "daemon/snapshot.h"

namespace pinwatch {

// The running kernel's own words, by their number in the kernel. An empty
// entry is a number this kernel has no word for.
struct KernelNames {
  std::vector<std::string> zones;  // "DMA", "DMA32", as in /proc/zoneinfo
  std::vector<std::string> migratetypes;  // "unmovable", "movable", ...
  std::vector<std::string> migrate_reasons;
  std::vector<std::string> migrate_modes;
};

// The pin counters of one node, in references since boot.
struct NodeCounterReading {
  int nid = 0;
  uint64_t acquired = 0;
  uint64_t released = 0;
  bool exact = false;  // false: every CPU may hold back up to 125 each way
};

// Whether the census read pins on pages of that class.
inline bool ReadsAsPinned(page_class page) {
  return page == PAGE_PINNED_LARGE || page == PAGE_PINNED_EXACT ||
         page == PAGE_PINNED_LOOSE;
}

// Cells by migratetype. A block mostly has pages of few, and there are many
// blocks.
class CellsOfBlock {
 public:
  // Makes the cell if there is none; up to PINWATCH_MAX_MIGRATETYPES.
  census_cell& operator[](size_t migratetype) {
    const auto cell = std::ranges::find(cells_, migratetype,
                                        &std::pair<size_t, census_cell>::first);
    if (cell != cells_.end()) return cell->second;
    return cells_.emplace_back(migratetype, census_cell{}).second;
  }

  auto begin() const { return cells_.begin(); }
  auto end() const { return cells_.end(); }

  // The cells as they are kept: see packed.h.
  const auto& all() const { return cells_; }
  auto& all() { return cells_; }

 private:
  std::vector<std::pair<size_t, census_cell>> cells_;
};

struct ZoneLook {
  int nid = 0;
  unsigned zone = 0;  // index into KernelNames::zones
  CellsOfBlock cells;
};

inline void Add(const census_cell& from, census_cell& to) {
  for (int c = 0; c < NR_PAGE_CLASSES; ++c) to.pages[c] += from.pages[c];
  to.large_pin_refs += from.large_pin_refs;
  to.exact_pin_refs += from.exact_pin_refs;
  to.loose_pin_refs += from.loose_pin_refs;
}

// An owner took a pin on a page; whether it still has it a claim does not say.
struct Claim {
  uint32_t owner = 0;  // OwnerReading::index
  bool long_term = false;
  // CLOCK_MONOTONIC, to the second; of several pages the oldest.
  int64_t made_ns = 0;
  bool exact = true;  // false: made before that, or at that time

  bool operator==(const Claim&) const = default;
};

// Pages that one claimant claimed at one time.
struct AgedPages {
  int64_t made_ns = 0;  // CLOCK_MONOTONIC
  uint64_t pages = 0;

  bool operator==(const AgedPages&) const = default;
};

// Pages of a huge page of 2 MiB.
inline constexpr uint64_t kHugePages = 512;

// A folio, or the part of it that was looked at, that has pins and no claim.
struct UnclaimedFolio {
  uint64_t pfn = 0;
  uint64_t nr_pages = 1;
  uint64_t pins = 0;

  bool operator==(const UnclaimedFolio&) const = default;
};

// Pages of one zone that read as pinned, have the same claimants and look
// alike otherwise.
struct PinGroup {
  int nid = 0;
  unsigned zone = 0;  // index into KernelNames::zones
  page_class page = PAGE_PINNED_EXACT;
  bool anon = false;
  bool mapped = false;       // in a page table, as far as that is known
  bool cma = false;          // in pageblocks of the contiguous memory allocator
  uint64_t pins_a_page = 0;  // at most one more than there are claims
  std::vector<Claim> claims;  // by owner, one each
  // Of each claim, when it was made on how many of the pages.
  std::vector<std::vector<AgedPages>> ages;
  PinCount pins;
  // Those without claims, up to a bound.
  std::vector<UnclaimedFolio> unclaimed;
  // pfn / kHugePages of the ranges in which those stand that are smaller than a
  // huge page; each once, ascending.
  std::vector<uint64_t> huge_ranges;

  bool operator==(const PinGroup&) const = default;
};

// A page that is neither free nor movable.
struct ListedPage {
  uint64_t pfn = 0;
  uint64_t head_pfn = 0;  // of its folio, which may be outside the look
  uint64_t nr_pages = 1;
  page_class page = PAGE_UNSTABLE;
  int64_t refcount = 0;
  uint64_t pins = 0;
  bool anon = false;
  bool mapped = false;
  bool cma = false;
  std::vector<Claim> claims;
};

// What one look at a memory block found.
struct BlockLook {
  uint64_t block_id = 0;
  Timestamp time;  // when the look began
  census_status status = CENSUS_ABSENT;
  std::vector<ZoneLook> zones;  // most blocks lie in one zone
  std::vector<PinGroup> pins;
  bool lists_pages = false;
  std::vector<ListedPage> listed;  // the first ones, if it does
  uint64_t steps = 0;
  int64_t cpu_ns = 0;
};

// Attempts to take memory blocks offline and online.
struct HotplugReading {
  std::vector<HotplugAttempt> running;
  std::vector<HotplugAttempt> ended;  // since the last reading, oldest first
  std::vector<HotplugCount> counts;   // since the source was opened
  uint64_t untold = 0;                // of these, attempts without a story
};

// What migrate_pages() has come to since the source was opened.
struct MigrationReading {
  std::vector<Migrations> totals;  // every reason and mode this kernel knows
  std::vector<MigrationDetails> details;  // empty: not observable
  // Those where calls began, and last what is not known where. Empty: not
  // observable.
  std::vector<MigrationPlace> places;
  // Those met in the last seconds, without id, node and zone. Each is told
  // again, with its last state, as long as it is.
  std::vector<MigrationFailure> failures;
  uint64_t unlisted = 0;  // times one was met that is not told
  std::optional<ContigRanges> contig_ranges;  // nothing: not observable
};

// An owner as the kernel's side knows it. Names and stacks are told once, when
// it is new.
struct OwnerReading {
  uint32_t index = 0;
  bool long_term = false;
  uint32_t pid = 0;
  uint64_t start_boottime_ns = 0;
  std::string comm;      // hostile
  uint32_t via_pid = 0;  // 0: the process itself
  uint64_t via_start_boottime_ns = 0;
  std::string via_comm;
  std::string door;
  uint64_t calls = 0;
  uint64_t pages = 0;
  PinOutcomes outcomes;
  Timestamp first;
  Timestamp last;
  std::vector<uint64_t> kernel_stack;  // addresses, innermost first
  std::vector<uint64_t> user_stack;
};

// Until when pins may have been taken without leaving a claim. A claim made
// before may be of a holder who has been replaced unnoticed since.
struct ClaimGaps {
  int64_t long_term_ns = INT64_MIN;  // CLOCK_MONOTONIC
  int64_t short_term_ns = INT64_MIN;
  // Losses in ClaimTotals that these allow for.
  uint64_t long_term_losses = 0;
  uint64_t short_term_losses = 0;
};

// Pages that recorded long-term calls have pinned since the reading before.
struct LandedPages {
  // Of the section of 32,768 pages in which the first of each 256 pages of a
  // call stood.
  uint64_t start_pfn = 0;
  uint64_t pages = 0;
};

// What an owner's calls came to since the reading before.
struct OwnerCalls {
  uint32_t owner = 0;  // OwnerReading::index
  bool long_term = false;
  PinCalls calls;
  std::string door;  // of the owner
};

// A long-term call that is under way and has something to move.
struct MovingCall {
  uint32_t pid = 0;
  uint64_t start_boottime_ns = 0;
  std::string comm;  // hostile
  std::string door;
  Timestamp begin;
  uint64_t rounds = 0;     // that have ended
  uint64_t stuck_pfn = 0;  // that could not be isolated, last; 0: none
  Timestamp stuck;         // when
};

struct ClaimReading {
  std::vector<OwnerReading> owners;  // new, or changed since the one before
  std::vector<OwnerCalls> calls;     // of those that made some
  std::vector<MovingCall> moving;
  std::vector<LandedPages> landed;  // by start_pfn
  uint64_t unlanded = 0;  // long-term pages that are in no `landed`, in all
  ClaimTotals totals;
  // As they stood when the source was opened: claims may be older than it.
  ClaimGaps gaps_at_start;
  // Doors of long-term pins that are not followed: their pins have no claims.
  std::vector<std::string> doors_not_followed;
};

// A page in a pipe that a process has open, if only at one end.
struct PipePage {
  uint64_t pfn = 0;  // that was asked for: of the page or its folio's head
  uint32_t pid = 0;
  uint64_t start_boottime_ns = 0;
  std::string comm;  // hostile
  int fd = -1;       // of the process
};

struct PipeReading {
  std::vector<PipePage> pages;  // by pfn, pid and fd
  // False: there were too many pages, or pipes too long, to search for all.
  bool complete = true;
};

// A process that took a plain reference to a page; whether it still has it is
// not known.
struct ReferenceTaker {
  uint64_t pfn = 0;  // that was asked for: of the page or its folio's head
  uint32_t pid = 0;
  uint64_t start_boottime_ns = 0;
  std::string comm;  // hostile
  Timestamp taken;
};

// Where the daemon's figures come from: the kernel, or a recording of one.
// Called by one thread.
class Source {
 public:
  virtual ~Source() = default;

  // Every fact the source can or cannot tell; fixed once it is open.
  virtual const std::vector<Fact>& facts() const = 0;
  virtual const KernelNames& names() const = 0;

  // Reads the struct pages of [start_pfn, end_pfn), the pages of one memory
  // block. Unavailable when the census is not observable. Leaves block_id and
  // time to the caller. `list_pages` fills BlockLook::listed.
  virtual absl::StatusOr<BlockLook> LookAt(uint64_t start_pfn, uint64_t end_pfn,
                                           bool list_pages) = 0;

  // One reading a node of `nids`.
  virtual absl::StatusOr<std::vector<NodeCounterReading>> ReadNodeCounters(
      const std::vector<int>& nids) = 0;

  // `now` places the kernel's times.
  virtual absl::StatusOr<MigrationReading> ReadMigrations(Timestamp now) = 0;

  // Each attempt that ended is in `ended` of one reading only. Leaves block_id
  // to the caller. `now` places the kernel's times.
  virtual absl::StatusOr<HotplugReading> ReadHotplug(Timestamp now) = 0;

  // Ranges of physical memory that devices of virtio keep for themselves, those
  // of virtio-mem among them. Unavailable when that is not observable.
  virtual absl::StatusOr<std::vector<MemoryDevice>> ReadMemoryDevices() = 0;

  // Which pages hold the struct pages of [start_pfn, end_pfn), which are whole
  // memory blocks; where there are none, nothing. FailedPrecondition when the
  // kernel hides its page table.
  virtual absl::StatusOr<std::vector<MemmapPiece>> ReadMemmap(
      uint64_t start_pfn, uint64_t end_pfn) = 0;

  // Which of the pages are in pipes, and whose those are. It goes through every
  // open file of the host. Unavailable when that is not observable.
  virtual absl::StatusOr<PipeReading> FindInPipes(
      const std::vector<uint64_t>& pfns) = 0;

  // Who took plain references to the pages last, as far as the table of those
  // still has it. Unavailable when that is not followed. `now` places the
  // kernel's times.
  virtual absl::StatusOr<std::vector<ReferenceTaker>> FindTakers(
      const std::vector<uint64_t>& pfns, Timestamp now) = 0;

  // What the pages say of themselves, one each. Of one that cannot be read
  // nothing is known. Unavailable when the census is not observable.
  virtual absl::StatusOr<std::vector<page_facts>> ReadPages(
      const std::vector<uint64_t>& pfns) = 0;

  // To be called once a second: it also winds the claims' clock.
  virtual absl::StatusOr<ClaimReading> ReadClaims(Timestamp now) = 0;

  // Forgets old claims on pages that no look reaches.
  virtual void ForgetClaimsOutside(
      const std::function<bool(uint64_t pfn)>& is_looked_at, Timestamp now) = 0;

  // Forgets those of the owners, whose processes have ended, that no page has
  // a claim of. The result are those: another may have their index from now on.
  virtual std::vector<uint32_t> ForgetOwners(
      const std::vector<uint32_t>& ended) = 0;

  // Records as much of the pin functions' calls as that says. What it lets go
  // is among the doors not followed in later readings. FailedPrecondition where
  // the kernel lets no program be attached twice.
  virtual absl::Status Govern(const GovernorState& state) = 0;

  // Keeps the gaps for who opens a source of the same claims later.
  virtual void KeepGaps(const ClaimGaps& gaps) = 0;

  // Detaches every hook, and attaches them again. What was recorded stays.
  // FailedPrecondition where the kernel lets no program be attached twice: then
  // none is attached.
  virtual absl::Status DetachHooks() = 0;
  virtual absl::Status AttachHooks() = 0;

  // Readable when an attempt has ended or a new owner has come.
  virtual std::vector<int> ready_fds() const = 0;
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_SOURCE_H_
