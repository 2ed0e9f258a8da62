// SPDX-License-Identifier: Apache-2.0
//
// What pinwatch knows at one moment. Built by the Aggregator, never changed
// afterwards; metrics, gRPC and the command are pure functions of it.
#ifndef PINWATCH_DAEMON_SNAPSHOT_H_
#define PINWATCH_DAEMON_SNAPSHOT_H_

#include <algorithm>
#include <array>
#include <compare>
#include <cstdint>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bpf/events.h"
#include "daemon/owner_list.h"

namespace pinwatch {

// Nanoseconds of CLOCK_REALTIME for what is shown, of CLOCK_MONOTONIC for what
// is compared: the wall clock steps.
struct Timestamp {
  int64_t realtime_ns = 0;
  int64_t monotonic_ns = 0;

  bool operator==(const Timestamp& other) const {
    return monotonic_ns == other.monotonic_ns;
  }
};

// A value that never changes and that all copies share; there may be none.
template <typename T>
class Shared {
 public:
  Shared() = default;
  Shared(T value) : value_(std::make_shared<const T>(std::move(value))) {}

  explicit operator bool() const { return value_ != nullptr; }
  const T& operator*() const { return *value_; }
  const T* operator->() const { return value_.get(); }
  bool has_copies() const { return value_.use_count() > 1; }

  bool operator==(const Shared& other) const {
    return value_ == other.value_ ||
           (value_ && other.value_ && *value_ == *other.value_);
  }
  std::strong_ordering operator<=>(const Shared& other) const {
    if (value_ == other.value_) return std::strong_ordering::equal;
    if (!value_ || !other.value_) return !!value_ <=> !!other.value_;
    return *value_ <=> *other.value_;
  }

 private:
  std::shared_ptr<const T> value_;
};

// Innermost first, as function+offset.
using CallStack = std::vector<std::string>;

// Something pinwatch reads from the kernel, and whether this kernel lets it.
struct Fact {
  std::string name;  // closed set: census, node_counters, migrations, ...
  bool observable = false;
  std::string source;  // where its figures come from, when observable
  std::string reason;  // what is missing and how to give it, when not complete
  bool by_choice = false;  // of who started the daemon: nothing is amiss
};

// Pages and the pin references read from them. A pinned page of order 0 has
// one reference a pin, a large folio one a pin of the whole or of any part.
struct PinCount {
  uint64_t pages = 0;
  uint64_t references = 0;

  bool operator==(const PinCount&) const = default;
};

// The pages of one migratetype in one zone, each in exactly one class.
struct MigratetypePages {
  std::string migratetype;  // the kernel's word: "movable", "cma", ...
  std::array<uint64_t, NR_PAGE_CLASSES> pages{};
  PinCount confirmed;  // the node's counter leaves no other reading
  PinCount possible;   // reads as pins, but plain references read the same

  bool operator==(const MigratetypePages&) const = default;
};

// How much is known of who holds a pinned page. A claim says that a process
// took pins on it; only with the census does it say who holds them.
enum class Certainty {
  kHeld,          // one claimant is left, and nothing speaks against it
  kShared,        // as many pins as claimants, or more: each holds some
  kOneOf,         // fewer pins than claimants: which of them is not known
  kProbable,      // a claim whose process has ended, or that may be outdated
  kInferred,      // no claim, but a process maps it and shows that it pins
  kUnattributed,  // no claim that can be believed
};
inline constexpr int kNrCertainties = 6;

// Pages that stand in one zone and are attributed in one way.
struct PinAttribution {
  int nid = 0;
  std::string zone;
  Certainty certainty = Certainty::kUnattributed;
  // Empty when held or shared, otherwise why it is no better: one of
  // claimant_ended, claims_lost, fewer_pins_than_claims, large_folio,
  // many_references, no_claim, owner_unknown, page_reused; of pages without a
  // claim, where holders are inferred, mapped_by_one, mapped_by_several,
  // search_incomplete, maps_more_than_it_pins, no_candidate, not_searched.
  std::string reason;
  PinCount pins;

  bool operator==(const PinAttribution&) const = default;
};

// Ages of pins that pages are counted by.
struct PinAge {
  const char* name;
  int64_t ns;
};
inline constexpr PinAge kPinAges[] = {
    {"1s", 1'000'000'000},
    {"10s", 10'000'000'000},
    {"1m", 60'000'000'000},
    {"10m", 600'000'000'000},
    {"1h", 3'600'000'000'000},
    {"1d", 24 * 3'600'000'000'000},
    {"7d", 7 * 24 * 3'600'000'000'000},
};
inline constexpr size_t kNrPinAges = std::size(kPinAges);

// Pages of one zone that read as pinned, by how long those who hold them mean
// to keep them.
struct PinKinds {
  int nid = 0;
  std::string zone;
  uint64_t long_term = 0;   // held, or held by one of some who all pin for long
  uint64_t short_term = 0;  // the same for those who all pin for short
  uint64_t unknown = 0;     // nobody is known to hold them for sure
  // Of these, pages certainly held for longer than each age; of several holders
  // the first counts. Long-term ones as of now, short-term ones as of the look.
  std::array<uint64_t, kNrPinAges> long_term_older{};
  std::array<uint64_t, kNrPinAges> short_term_older{};
  uint64_t long_term_in_cma = 0;  // of long_term
  // Aligned ranges of 2 MiB that pages of all these, smaller than that, keep
  // from being huge pages.
  uint64_t huge_ranges = 0;

  bool operator==(const PinKinds&) const = default;
};

// A process. comm, exe and cgroup are hostile text; each is empty when it
// could not be read, as when the process was gone before.
struct Process {
  uint32_t pid = 0;
  uint64_t start_boottime_ns = 0;  // tells it from another with the same pid
  std::string comm;
  std::string exe;
  std::string cgroup;
  std::string unit;  // of systemd
  bool ended = false;

  bool operator==(const Process&) const = default;
};

// Pages in one zone that an owner claims, attributed in one way.
struct PinHolding {
  int nid = 0;
  std::string zone;
  bool cma = false;  // in pageblocks of the contiguous memory allocator
  Certainty certainty = Certainty::kHeld;  // never kUnattributed
  PinCount pins;
  // When the oldest of them was claimed. Older ones are known only to have
  // been claimed before: then exact is false.
  Timestamp since;
  bool since_exact = true;
  // Of a short-term owner: pages it alone held for longer than that may last,
  // so that they are as good as pinned for long.
  uint64_t overdue_pages = 0;
  // In which some of them stand; see PinKinds. Each counts with one of its
  // owner's holdings.
  uint64_t huge_ranges = 0;

  bool operator==(const PinHolding&) const = default;
};

// What makes an owner a suspected leak: what it holds for long only grows.
struct PinGrowth {
  Timestamp since;          // when it held the least
  uint64_t from_pages = 0;  // what it held then
  uint32_t rises = 0;       // with new calls each, and never less in between

  bool operator==(const PinGrowth&) const = default;
};

// Calls of the pin functions that failed with one error.
struct PinErrors {
  int error = 0;  // errno
  uint64_t calls = 0;

  bool operator==(const PinErrors&) const = default;
};

// What long-term calls had to move before they could pin. Pages are of 4 KiB;
// arrays are by enum pin_moves_from.
struct PinMoves {
  uint64_t calls = 0;   // that had something to move
  uint64_t rounds = 0;  // each collects, moves, and tries again to pin
  uint64_t collected[NR_PIN_MOVES_FROM]{};  // a page counts in each round
  uint64_t isolated[NR_PIN_MOVES_FROM]{};   // of these
  uint64_t moved[NR_PIN_MOVES_FROM]{};      // of these: they were copied
  uint64_t failed = 0;                      // isolated, and did not move
  // Times there was no page to move one to; see ClaimTotals::follows_targets.
  uint64_t no_target = 0;
  uint64_t ns = 0;        // spent in rounds
  uint64_t calls_ns = 0;  // that these calls took as a whole

  bool operator==(const PinMoves&) const = default;

  PinMoves& operator+=(const PinMoves& other) {
    calls += other.calls;
    rounds += other.rounds;
    for (size_t from = 0; from < NR_PIN_MOVES_FROM; ++from) {
      collected[from] += other.collected[from];
      isolated[from] += other.isolated[from];
      moved[from] += other.moved[from];
    }
    failed += other.failed;
    no_target += other.no_target;
    ns += other.ns;
    calls_ns += other.calls_ns;
    return *this;
  }
};

// By enum pin_moves_from.
inline constexpr const char* kPinMovesFrom[] = {"movable", "cma", "other"};
static_assert(std::size(kPinMovesFrom) == NR_PIN_MOVES_FROM,
              "where pages move from has no name");

// What came of calls of the pin functions, as those who made them felt it.
struct PinOutcomes {
  uint64_t asked_pages = 0;       // by all calls, those that failed too
  uint64_t partial_calls = 0;     // that pinned fewer than asked for, even none
  uint64_t failed_calls = 0;      // that came back with an error
  std::vector<PinErrors> errors;  // these, one each, by errno
  // Calls whose time and faults are known: long-term ones all but a few,
  // short-term ones a sample.
  uint64_t measured_calls = 0;
  uint64_t measured_ns = 0;
  uint64_t minor_faults = 0;  // that the calling thread took in them
  uint64_t major_faults = 0;
  std::optional<PinMoves> moves;  // none where nothing had to move

  bool operator==(const PinOutcomes&) const = default;

  PinOutcomes& operator+=(const PinOutcomes& other) {
    asked_pages += other.asked_pages;
    partial_calls += other.partial_calls;
    failed_calls += other.failed_calls;
    for (const PinErrors& some : other.errors) {
      const auto place =
          std::ranges::lower_bound(errors, some.error, {}, &PinErrors::error);
      if (place != errors.end() && place->error == some.error)
        place->calls += some.calls;
      else
        errors.insert(place, some);
    }
    measured_calls += other.measured_calls;
    measured_ns += other.measured_ns;
    minor_faults += other.minor_faults;
    major_faults += other.major_faults;
    if (other.moves) (moves ? *moves : moves.emplace()) += *other.moves;
    return *this;
  }
};

// Measured calls by how long they took; see PINWATCH_LATENCY_BUCKETS.
using PinLatencies = std::array<uint64_t, PINWATCH_LATENCY_BUCKETS>;

struct PinCalls {
  uint64_t calls = 0;  // that pinned something
  uint64_t pages = 0;  // that these pinned, whether still held or not
  PinOutcomes outcomes;
  PinLatencies latencies{};

  bool operator==(const PinCalls&) const = default;

  PinCalls& operator+=(const PinCalls& other) {
    calls += other.calls;
    pages += other.pages;
    outcomes += other.outcomes;
    for (size_t i = 0; i < latencies.size(); ++i)
      latencies[i] += other.latencies[i];
    return *this;
  }
};

// Recorded calls of one subsystem with one kind of pin, since the programs were
// attached. Of short-term calls that is a sample.
struct SubsystemCalls {
  std::string subsystem;  // as of PinOwner
  bool long_term = false;
  PinCalls calls;

  bool operator==(const SubsystemCalls&) const = default;
};

// Pages that long-term calls have pinned in a zone since the programs were
// attached. Of up to 256 pages of a call all count where the first one stands,
// in the zone that its memory block had when the daemon read that; a daemon
// that takes over from another reads all at once.
struct PinLanding {
  int nid = -1;      // -1: it is not known where
  std::string zone;  // empty: the same
  uint64_t pages = 0;

  bool operator==(const PinLanding&) const = default;
};

// A process that pins pages at one call site with one kind of pin.
struct PinOwner {
  uint32_t id = 0;  // not used again while a page has a claim of it
  bool long_term = false;
  Process process;        // whose memory was pinned
  Shared<Process> via;    // who asked, where that was another process
  std::string door;       // pin function it came through
  std::string subsystem;  // "io_uring", "vfio", a module's name, or "unknown"
  std::string call_site;  // kernel function that called the pin functions
  // Device files of the subsystem that who pinned had open then, see DevicesOf.
  std::optional<std::vector<std::string>> devices;
  // None when not observable.
  Shared<CallStack> kernel_stack;
  Shared<CallStack> user_stack;
  uint64_t calls = 0;  // that pinned something
  uint64_t pages = 0;  // that these pinned, whether still held or not
  PinOutcomes outcomes;
  Timestamp first;
  Timestamp last;
  std::vector<PinHolding> holdings;  // by nid, zone, CMA and certainty
  std::optional<PinGrowth> growth;   // set while it is a suspected leak

  bool operator==(const PinOwner&) const = default;
};

// Pages of one zone that a process may hold though it did not claim them.
struct InferredPages {
  int nid = 0;
  std::string zone;
  bool alone = false;  // no other process was found that may hold them
  PinCount pins;

  bool operator==(const InferredPages&) const = default;
};

// A process that may hold pages nobody claimed, such as those pinned before the
// daemon attached: it maps them, and there is evidence that it pins memory.
struct InferredHolder {
  Process process;
  std::vector<std::string> evidence;  // "VmPin 92 kB", "vfio"
  std::vector<InferredPages> pages;   // by nid, zone and alone

  bool operator==(const InferredHolder&) const = default;
};

// What searches for holders have done and left out.
struct InferenceTotals {
  uint64_t searches = 0;
  uint64_t pages_read = 0;  // of candidates' memory, by all searches
  // By the last search.
  uint64_t candidates = 0;
  uint64_t pages_left_out = 0;      // of candidates' memory
  uint64_t processes_left_out = 0;  // unreadable, or with too many files
  uint64_t unclaimed_left_out = 0;  // now: pages, too many to be searched for
};

// What recording claims has cost and lost since the programs were attached, by
// this daemon or by one whose claims it took over. Calls of the pin functions,
// unless said otherwise.
struct ClaimTotals {
  uint64_t long_term_calls = 0;
  uint64_t short_term_calls = 0;  // seen, recorded or not
  uint64_t long_term_pages = 0;
  uint64_t short_term_pages = 0;
  // Of all calls, recorded or not; see PinOutcomes.
  uint64_t long_term_asked_pages = 0;
  uint64_t short_term_asked_pages = 0;
  uint64_t long_term_partial_calls = 0;
  uint64_t short_term_partial_calls = 0;
  uint64_t long_term_failed_calls = 0;
  uint64_t short_term_failed_calls = 0;
  uint64_t unmeasured_calls = 0;    // long-term: not known how long they took
  uint64_t lost_errors = 0;         // failed calls whose error was not counted
  uint64_t short_term_skipped = 0;  // by sampling
  // Without a claim, by cause.
  uint64_t lost_busy = 0;       // the CPU's buffer was in use
  uint64_t lost_recursion = 0;  // the kernel did not run the hook
  uint64_t lost_owners = 0;     // the table of owners was full
  uint64_t lost_pages = 0;      // pages: the overflow table was full
  // Of all these, what may have left a long-term pin without a claim.
  uint64_t lost_long_term = 0;
  uint64_t owners = 0;       // in the table now
  uint64_t chunks = 0;       // memory blocks that have a table of claims
  uint64_t chunk_bytes = 0;  // memory these take
  // Time in which no program was attached though claims were kept.
  int64_t unattached_ns = 0;
  // Whether it is followed what long-term calls have to move.
  bool follows_moves = false;
  bool follows_targets = false;  // and PinMoves::no_target
  uint64_t moves_lost = 0;       // pages moved that are on nobody's account
  uint64_t moves_missed = 0;     // times the kernel did not run a hook of these
};

// How much of the short-term calls is recorded, to keep within the budget.
enum class GovernorStage {
  kAll,      // the first of each second and CPU, then a sample
  kSampled,  // a sample
  kOff,      // nothing that comes through some pin functions, long-term neither
};
inline constexpr int kNrGovernorStages = 3;

struct GovernorState {
  GovernorStage stage = GovernorStage::kAll;
  std::set<std::string> doors_off;  // pin functions that are let go
  Timestamp since;
  std::string reason;  // the load that led to it; empty while all are recorded
  double cost_seconds = 0;  // of the pin functions' hooks so far, by estimate
};

// Why a page that the kernel wanted to move stays where it is: enum page_stays.
inline constexpr const char* kWhysPagesStay[] = {
    "pinned",  // who holds it is not known
    "pinned_long_term",
    "pinned_short_term",
    "plain_reference",   // a user page with references that nothing explains
    "biased_reference",  // no user page, with references as of pins: a driver's
    "writeback",
    "dirty",
    "locked",
    "hugetlb",
    "slab",
    "page_table",
    "kernel_memory",  // other, whose user is not told by the page
    "reserved",
    "offline",  // logically: a balloon or virtio-mem has it
    "hwpoison",
    "secretmem",
    "transient",         // nothing was left to hold it when it was looked at
    "no_target_memory",  // nothing held it: there was nowhere to move it to
    "vmemmap",           // it holds the struct pages of a memory block
};
inline constexpr size_t kNrWhysPagesStay = std::size(kWhysPagesStay);
static_assert(kNrWhysPagesStay == NR_PAGE_STAYS, "a reason has no name");

// Why an attempt to take a block offline failed, by the step that did.
inline constexpr const char* kOfflineReasons[] = {
    "unmovable_page",       // see the attempt's blockers
    "interrupted",          // by a signal to the asker, while pages stayed
    "isolation_contended",  // another isolates pages of the block
    "refused_by_notifier",  // by somebody in the kernel who uses the block
    "huge_pages_in_use",    // free ones that could not be dissolved
    "no_memory",            // for what had to be done
    "holes_or_several_zones",
    "no_single_zone",
    "refused_before",  // for another reason, before anything was done
    "unknown",
};
inline constexpr size_t kNrOfflineReasons = std::size(kOfflineReasons);

// Who holds plain references to a page, as far as that is observable.
struct ReferenceHolder {
  Process process;
  std::string through;  // "pipe"
  int fd = -1;          // of the process

  bool operator==(const ReferenceHolder&) const = default;
};

// What memory is charged to: mostly the control group of who touched it first.
struct MemoryCgroup {
  uint64_t id = 0;       // the inode number of its directory; 0: no cgroup
  std::string path;      // from the hierarchy's root; empty: not known
  bool removed = false;  // its directory is gone, though not all its memory

  bool operator==(const MemoryCgroup&) const = default;
};

// Who has a page in their page tables. They need not be who holds it.
struct PageMappers {
  std::vector<Process> processes;
  bool complete = false;  // false: there may be others

  bool operator==(const PageMappers&) const = default;
};

// Who took a plain reference to a page last, as far as that is followed.
// Whether that process still has it is not known.
struct TakenBy {
  Process process;
  Timestamp taken;

  bool operator==(const TakenBy&) const = default;
};

// What a search for those behind plain references has found. A page of which it
// found nobody is not in it.
struct FoundReferences {
  std::vector<std::pair<uint64_t, ReferenceHolder>> in_pipes;  // by pfn
  bool pipes_searched = false;  // all, to their ends
  std::map<uint64_t, TakenBy> taken_by;
};

// A page that keeps its memory block from going offline, as the census read it.
struct BlockingPage {
  uint64_t pfn = 0;
  uint64_t nr_pages = 1;  // of the folio, as far as it lies in the block
  page_class page = PAGE_UNSTABLE;
  int64_t refcount = 0;
  uint64_t pins = 0;  // references that are, or read as, pins
  Certainty certainty = Certainty::kUnattributed;
  std::vector<uint32_t> owners;  // ids, empty when unattributed
  // Of a page in an attempt's way, the owners' processes, one each: an owner
  // may be forgotten before the attempt is.
  std::vector<Process> holders;

  // Of a page that the kernel met in the way, when it did last.
  std::string why;   // of kWhysPagesStay; empty: the census found it
  std::string step;  // of the attempt, see StepName
  uint64_t times_met = 0;
  Timestamp first_met;
  Timestamp last_met;
  // References that nothing known explains. Unknown for large folios, and for
  // what is no user page.
  std::optional<int64_t> surplus;
  std::optional<int64_t> mapcount;
  std::string mapping;  // anon, ksm, file, shmem, hugetlbfs, secretmem, ...
  uint64_t inode = 0;   // of the file; 0: none
  uint32_t device = 0;  // of the file: major << 20 | minor
  // Of a plain reference; unset until it was searched for.
  std::optional<std::vector<ReferenceHolder>> reference_holders;
  std::optional<TakenBy> taken_by;       // of a plain reference in no pipe
  std::optional<MemoryCgroup> cgroup;    // unset: not known
  std::optional<PageMappers> mapped_by;  // of some plain references
  // The memory block whose struct pages it holds, of kernel memory.
  std::optional<uint64_t> struct_pages_of;

  bool operator==(const BlockingPage&) const = default;
};

struct Zone {
  int nid = 0;
  std::string name;  // as in /proc/zoneinfo: "DMA32", "Normal", "Movable"
  uint64_t start_pfn = 0;
  uint64_t spanned_pages = 0;
  uint64_t present_pages = 0;
  uint64_t managed_pages = 0;
  // By the census; empty where no block of the zone has been looked at.
  std::vector<MigratetypePages> migratetypes;
  std::optional<Timestamp> oldest_look;

  bool operator==(const Zone&) const = default;
};

struct Node {
  int nid = 0;
  // The kernel's nr_foll_pin_acquired and nr_foll_pin_released, in references.
  // Unknown where no way to read them is left.
  std::optional<uint64_t> acquired;
  std::optional<uint64_t> released;
  bool counters_exact = false;  // false: per-CPU differences may be missing
  // References the census read on large folios and on pages with the exact
  // shape of pins.
  // Unknown before the first.
  std::optional<uint64_t> census_references;
  // True when neither counter moved since the node's oldest look.
  bool census_current = false;
  // Counter less census over the last looks during which neither moved.
  std::optional<int64_t> drift_references;
  std::optional<Timestamp> drift_time;
  // Pages that ZONE_DEVICE spans, which the census leaves out and the counters
  // do not. Unknown where the kernel has no such zone.
  std::optional<uint64_t> device_pages;

  bool operator==(const Node&) const = default;

  // What is known to make the counter hold more than the census; else empty.
  std::string_view drift_cause() const {
    return drift_references > 0 && device_pages > 0u ? "zone_device" : "";
  }

  // Pin references held now, by the kernel's own count. Unknown when it gave
  // back more than it took: folio_add_pin takes without counting.
  std::optional<uint64_t> outstanding() const {
    if (!acquired || !released) return std::nullopt;
    if (*released > *acquired) return std::nullopt;
    return *acquired - *released;
  }
};

// One entry a memory block of /sys/devices/system/memory.
struct MemoryBlock {
  uint64_t id = 0;
  std::string state;  // "online", "offline", "going-offline"
  int nid = -1;       // -1: unknown
  std::string zone;   // of an online block; "none" when unknown or several
  // Of hot-plugged memory the device it goes with, as MemoryDevice::name; else
  // empty, or not known.
  std::string device;
};

// Memory that came in one piece and goes in one.
struct MemoryDevice {
  std::string name;  // as in sysfs: "virtio3", or ACPI's "PNP0C80:01"
  std::string kind;  // "virtio_mem" or "dimm"
  // Where virtio-mem may have memory, in bytes; else 0.
  uint64_t start = 0;
  uint64_t size = 0;
  // What the host asks virtio-mem to have; nothing where the driver's word is
  // not known.
  std::optional<uint64_t> requested_bytes;

  bool operator==(const MemoryDevice&) const = default;
};

// What has become of its blocks.
struct MemoryDeviceState {
  MemoryDevice device;
  uint64_t blocks = 0;
  uint64_t online_blocks = 0;    // or on their way out
  uint64_t unlooked_blocks = 0;  // of these; nothing below is known of them
  // Pages that are not there though their block is online: virtio-mem has not
  // plugged them, or has taken them back.
  uint64_t unplugged_pages = 0;
  uint64_t partly_plugged_blocks = 0;  // that have some of these
  // Of virtio-mem, if its blocks were all looked at.
  std::optional<uint64_t> plugged_bytes;
};

struct BlockCount {
  int nid = -1;
  std::string zone;
  std::string state;
  uint64_t blocks = 0;

  bool operator==(const BlockCount&) const = default;
};

struct Migrations {
  std::string reason;  // enum migrate_reason in lower case without MR_
  std::string mode;    // enum migrate_mode in lower case without MIGRATE_
  migrate_counters counters{};
  bool tells_large_split = false;  // whether this kernel counts them
};

// More about calls of migrate_pages() with one reason, of all modes.
struct MigrationDetails {
  std::string reason;
  // Pages that did not move by why; whatever the pins on them are, they count
  // as "pinned". With those not looked at they are all failed pages.
  std::array<uint64_t, kNrWhysPagesStay> failed_by_why{};
  uint64_t failed_unclassified = 0;
  PinLatencies latencies{};  // of measured calls
  int64_t measured_ns = 0;
  uint64_t measured_calls = 0;
  uint64_t unmeasured_calls = 0;

  bool operator==(const MigrationDetails&) const = default;
};

// One attempt to have a range of physical memory as a whole.
struct ContigAttempt {
  uint64_t id = 0;  // in the order in which they ended, from 1 on
  Timestamp begin;
  int64_t duration_ns = 0;
  uint64_t start_pfn = 0;
  uint64_t end_pfn = 0;  // the first page after it
  int error = 0;         // 0, or an errno
  Process process;  // in which it was wanted: its pid and its thread's name
  // The first page that was not free in the end, of one that failed then.
  std::optional<uint64_t> blocker_pfn;
  std::string blocker_why;

  bool operator==(const ContigAttempt&) const = default;
};

// How often memory in one piece was to be had since boot, and was or was not,
// by the kernel's own counters.
struct HighOrderCount {
  std::string what;  // "compaction", "hugetlb", "thp_fault" or "cma"
  uint64_t succeeded = 0;
  uint64_t failed = 0;

  bool operator==(const HighOrderCount&) const = default;
};

// Attempts that ended in one way.
struct ContigCount {
  std::string outcome;  // "ok", an errno's name from a closed set, or "other"
  uint64_t attempts = 0;

  bool operator==(const ContigCount&) const = default;
};

// Allocations of one area of the contiguous memory allocator.
struct CmaArea {
  std::string name;
  uint64_t succeeded = 0;
  uint64_t succeeded_pages = 0;
  uint64_t failed = 0;
  uint64_t failed_pages = 0;
  uint64_t busy = 0;  // places that were tried and could not be had

  bool operator==(const CmaArea&) const = default;
};

// What they have come to since the source was opened.
struct ContigRanges {
  std::vector<ContigCount> counts;
  std::vector<CmaArea> cma;  // by name; empty where CMA is not followed
  PinLatencies latencies{};
  int64_t measured_ns = 0;
  std::vector<ContigAttempt> recent;  // the last ones, by id

  bool operator==(const ContigRanges&) const = default;
};

// What calls of migrate_pages() came to whose first folio stood in that zone.
// What follows it on the list mostly stands there, too, but need not.
struct MigrationPlace {
  int nid = -1;      // -1: it is not known where the first folio stood
  std::string zone;  // empty: the same
  uint64_t calls = 0;
  uint64_t succeeded_pages = 0;
  uint64_t failed_pages = 0;

  bool operator==(const MigrationPlace&) const = default;
};

// A page that did not move, for one reason and mode. Those in the way of an
// attempt to take a block offline are told with the attempt.
struct MigrationFailure {
  uint32_t id = 0;  // in the order in which they were met first, from 1 on
  std::string reason;
  std::string mode;
  Process process;      // in which it was wanted, the last time
  int nid = -1;         // of its memory block; -1: unknown
  std::string zone;     // of its memory block; "none": several
  BlockingPage page;    // as it was met, the last time
  bool looked = false;  // for those who hold it

  bool operator==(const MigrationFailure&) const = default;
};

// A long-term call under way that comes round again and again, since a page
// that it may not keep where it is cannot be taken off its list either.
struct PinRetry {
  Process process;
  std::string door;
  Timestamp begin;
  uint64_t rounds = 0;
  std::optional<BlockingPage> page;  // the last one; met last: then

  bool operator==(const PinRetry&) const = default;
};

// One try to take a memory block offline or online.
struct HotplugAttempt {
  uint32_t id = 0;        // in the order in which they began, from 1 on
  std::string operation;  // "offline" or "online"
  uint64_t block_id = 0;
  uint64_t section_nr = 0;  // first section of the block
  // Of the block: before it went offline, or once it was online.
  int nid = -1;      // -1: unknown, or several
  std::string zone;  // "none": several; empty: unknown
  Timestamp begin;
  int64_t duration_ns = 0;  // so far, while it runs
  bool running = false;
  int error = 0;  // errno; 0 is success; void while it runs
  // Who asked. comm and cgroup are hostile text; cgroup and unit are empty when
  // the asker was gone before they could be read.
  uint32_t pid = 0;
  uint32_t tid = 0;
  std::string comm;
  std::string cgroup;
  std::string unit;              // of systemd
  uint64_t migrate_calls = 0;    // rounds of migrate_pages() in it
  uint64_t succeeded_pages = 0;  // moved out by these
  uint64_t failed_pages = 0;     // counted in each round they did not move
  // Who in the kernel asked for it: "sysfs", "acpi", "virtio_mem", "dax_kmem",
  // a module's name, or "unknown".
  std::string road;
  // How far it has come, of one to take a block offline.
  hotplug_step step = HOTPLUG_STEP_UNKNOWN;
  std::array<int64_t, NR_HOTPLUG_STEPS> step_ns{};  // spent in each
  std::string reason;  // of kOfflineReasons, of one that failed
  // Those that the kernel met, the first ones first. Where it met none, the
  // first that stood in the way whenever the census looked at the block while
  // the attempt ran, and after it failed; none after a success.
  std::vector<BlockingPage> blockers;
  uint64_t blockers_lost =
      0;  // times the kernel met one that is not among them
  // Ids of other askers' attempts at the same block, among those told, that ran
  // at the same time, or of which one came right after the other.
  std::vector<uint32_t> contends_with;
  std::vector<uint64_t> kernel_stack;  // addresses, until `road` is known
  bool of_earlier_daemon = false;      // told by what that has left

  bool operator==(const HotplugAttempt&) const = default;
};

// Attempts that ended in one way.
struct HotplugCount {
  std::string operation;
  std::string outcome;  // "ok" or an errno's name from a closed set, or "other"
  uint64_t attempts = 0;

  bool operator==(const HotplugCount&) const = default;
};

// What failed attempts to take a block offline came to since the daemon
// started. Each page counts once an attempt.
struct OfflineFailures {
  std::array<uint64_t, kNrOfflineReasons> by_reason{};  // attempts
  // Pages in the way; whatever the pins on them are, they count as "pinned".
  std::array<uint64_t, kNrWhysPagesStay> pages_by_why{};
  uint64_t blockers_lost = 0;  // times one was met that is not among these
};

// How a part of the daemon that reads something fared the last time.
struct Collector {
  std::string name;  // closed set: blocks, census, hotplug, migrations, ...
  bool success = false;
  int64_t duration_ns = 0;
  std::string error;  // empty on success
};

// What the census has cost and met since the daemon started.
struct CensusTotals {
  uint64_t rounds = 0;  // complete passes over all online blocks
  uint64_t blocks_looked = 0;
  uint64_t blocks_absent = 0;   // no struct pages there when it came by
  uint64_t blocks_changed = 0;  // went offline under the look
  uint64_t pages = 0;
  uint64_t steps = 0;  // reads; a free range or large folio is one
  int64_t cpu_ns = 0;
};

// What would become of an attempt to take a block offline now.
enum class Verdict {
  kUnknown,  // not looked at, or the look did not tell
  kRemovable,
  kRemovableAfterMigration,
  kBlockedByLongTermPins,
  kBlockedByShortTermPins,  // likely to pass
  kBlockedByPlainReferences,
  kBlockedByKernelMemory,
  kAlreadyOffline,
};

inline constexpr int kNrVerdicts = 8;

// How far a verdict can be relied on, by what it rests on and how old that is.
enum class Confidence { kLow, kMedium, kHigh };

// Pages of a block by what they mean to an attempt to take it offline.
struct BlockEvidence {
  uint64_t free = 0;
  uint64_t movable = 0;
  uint64_t hugetlb = 0;           // moves where another huge page is free
  uint64_t long_term_pins = 0;    // held, or maybe held, by who pins for long
  uint64_t short_term_pins = 0;   // the same of those who all pin for short
  uint64_t unclaimed_pins = 0;    // nobody is known to hold them
  uint64_t plain_references = 0;  // no pins
  uint64_t kernel = 0;
  uint64_t reserved = 0;  // at boot; the kernel's image is among them
  uint64_t offline = 0;   // logically: a balloon or virtio-mem has them
  uint64_t poisoned = 0;
  uint64_t unstable = 0;  // changed while they were read
  // Kernel memory that is no obstacle: the block's own struct pages, which the
  // kernel took from the block itself.
  uint64_t own_struct_pages = 0;

  bool operator==(const BlockEvidence&) const = default;

  uint64_t pins() const {
    return long_term_pins + short_term_pins + unclaimed_pins;
  }
  uint64_t to_move() const { return movable + hugetlb; }
};

// What would become of an attempt on one block, and what that rests on.
struct BlockVerdict {
  MemoryBlock block;
  Verdict verdict = Verdict::kUnknown;
  Confidence confidence = Confidence::kLow;
  std::string reason;             // as in BlockReport
  std::optional<Timestamp> look;  // unset: the evidence is void
  BlockEvidence evidence;
};

// Blocks that have these in common.
struct VerdictCount {
  int nid = -1;  // -1: unknown
  std::string zone;
  Verdict verdict = Verdict::kUnknown;
  uint64_t blocks = 0;

  bool operator==(const VerdictCount&) const = default;
};

// Memory of a node that could be taken offline while all else stays as it is,
// by estimate: what has to move for it must find room.
struct RemovableMemory {
  int nid = -1;
  uint64_t bytes = 0;

  bool operator==(const RemovableMemory&) const = default;
};

// Which verdicts to list.
struct BlockQuery {
  uint64_t first_id = 0;  // blocks before are left out
  size_t limit = 0;
  std::optional<int> nid;
  std::optional<std::string> zone;
  std::optional<Verdict> verdict;
  std::string device;  // empty: any, and none
};

struct BlockList {
  std::vector<BlockVerdict> blocks;  // by id
  bool more = false;                 // the limit left some out
  // All of them, if the query begins with the first block.
  std::vector<MemoryDeviceState> devices;
  std::string devices_hidden;  // why there may be more; empty: there are none
};

// Processes that are taken to let go of all they pin: one of these is set.
struct StoppedHolder {
  std::optional<uint32_t> pid;
  std::string unit;
  std::string cgroup;  // with those below it
};

struct PlanQuery {
  uint64_t bytes = 0;
  std::optional<int> nid;  // unset: any
  std::optional<StoppedHolder> stopped;
};

struct PlannedBlock {
  BlockVerdict verdict;          // with what is stopped gone
  std::vector<uint32_t> owners;  // ids of those who would have to let go
};

// A set of blocks that give back so much memory at the least cost.
struct OfflinePlan {
  std::vector<PlannedBlock> blocks;  // in the order to take them
  uint64_t bytes = 0;                // of these
  uint64_t pages_to_move = 0;
  uint64_t free_pages = 0;  // that would be left to move to, before the moves
  uint64_t no_room_blocks = 0;   // left out: what they hold finds no room
  std::vector<PinOwner> owners;  // that blocks of the plan name
  // Of what is stopped: the owners it has, and pages it alone pins.
  uint64_t stopped_owners = 0;
  uint64_t stopped_pages = 0;
  std::vector<VerdictCount> verdicts;  // all blocks it could choose from
  std::optional<Timestamp> oldest_look;
};

// Everything known of one memory block.
struct BlockReport {
  MemoryBlock block;
  Verdict verdict = Verdict::kUnknown;
  std::string reason;  // one sentence: what the verdict rests on
  std::optional<Timestamp> look;
  std::vector<MigratetypePages> migratetypes;
  std::vector<PinAttribution> attributions;  // of the block's pinned pages
  std::vector<PinOwner> owners;              // their holdings in this block
  std::vector<BlockingPage> blockers;        // the first ones, by pfn
  std::vector<InferredHolder> inferred;      // their pages in this block
  Confidence confidence = Confidence::kLow;  // in the verdict
  BlockEvidence evidence;                    // void without a look
  // Pages of it that hold struct pages, by the memory block whose these are.
  std::map<uint64_t, uint64_t> struct_pages;
};

// Everything known of one page.
struct PageReport {
  uint64_t pfn = 0;
  MemoryBlock block;  // that it lies in
  // Unset where the census could not look; then nothing below is known.
  std::optional<Timestamp> look;
  int nid = 0;
  std::string zone;
  std::string migratetype;
  page_class page = PAGE_UNSTABLE;
  // Of its folio; unset where nothing keeps the page in place.
  std::optional<int64_t> refcount;
  uint64_t pins = 0;
  std::optional<PinAttribution> attribution;
  std::vector<PinOwner> owners;  // their holdings of this page
  std::vector<InferredHolder> inferred;
  // Of plain references.
  std::vector<ReferenceHolder> reference_holders;
  bool pipes_searched = false;           // all of them, to their ends
  std::optional<MemoryCgroup> cgroup;    // unset: not known
  std::optional<PageMappers> mapped_by;  // of a plain reference
  std::optional<TakenBy> taken_by;       // of one in no pipe
  std::string why;  // it stays, of kWhysPagesStay; empty: not known
  std::optional<uint64_t> struct_pages_of;  // as in BlockingPage
};

struct HostInfo {
  std::string hostname;
  std::string kernel_release;
  std::string boot_id;
};

struct Snapshot {
  uint64_t generation = 0;  // rises by one with each snapshot published
  Timestamp time;
  Timestamp started;  // when the daemon started
  HostInfo host;
  std::vector<Fact> facts;
  std::vector<Collector> collectors;
  std::vector<Node> nodes;  // by nid
  std::vector<Zone> zones;  // by nid, then in the kernel's order
  uint64_t block_size_bytes = 0;
  std::vector<BlockCount> blocks;
  std::vector<Migrations> migrations;  // every reason and mode of this kernel
  std::vector<MigrationDetails> migration_details;  // empty: not observable
  // Every zone, and last what is not known where; empty: not observable.
  std::vector<MigrationPlace> migration_places;
  std::vector<MigrationFailure> migration_failures;  // the last ones, by id
  uint64_t migration_failures_unlisted = 0;   // times one is not among these
  std::optional<ContigRanges> contig_ranges;  // nothing: not observable
  std::vector<HighOrderCount> high_order;     // without what this kernel lacks
  CensusTotals census;
  std::vector<HotplugAttempt> attempts;      // the newest first, by id
  std::vector<HotplugCount> attempt_counts;  // exact; empty: not observable
  uint64_t attempts_untold = 0;  // ended, counted, but their story was lost
  OfflineFailures offline_failures;
  // Spent in each step by offline attempts, those under way too.
  std::array<int64_t, NR_HOTPLUG_STEPS> offline_step_ns{};
  std::optional<Timestamp> last_offline_failure;
  // Empty where claims are not observable.
  OwnerList owners;
  uint64_t claiming_processes = 0;  // that hold, or may hold, something of it
  std::vector<PinAttribution> attributions;  // of all pages read as pinned
  std::vector<PinKinds> pin_kinds;           // of the same; zones with some
  std::vector<SubsystemCalls> calls;         // by subsystem and kind
  // Every zone, and last what is not known where; empty as claims are not set.
  std::vector<PinLanding> landings;
  std::optional<ClaimTotals> claims;
  std::vector<PinRetry> pin_retries;         // by pid and begin
  std::vector<InferredHolder> inferred;      // those with pages
  std::optional<InferenceTotals> inference;  // unset: holders are not inferred
  GovernorState governor;
  // Whether this kernel moves pages out of ZONE_MOVABLE and CMA before it pins
  // them for long, as Linux does from v5.13 on. Unknown: migrations are not
  // observable.
  std::optional<bool> moves_long_term_pins;
  // Since when no hook is attached, by order: what rests on hooks is not
  // observable meanwhile.
  std::optional<Timestamp> paused_since;
  int64_t paused_ns = 0;  // of all pauses that have ended
  // Every block has one verdict. Empty where blocks are not observable.
  std::vector<VerdictCount> verdicts;
  std::vector<RemovableMemory> removable;  // by nid
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_SNAPSHOT_H_
