// SPDX-License-Identifier: Apache-2.0
//
// What the tests inside a guest share: processes that do not outlive their
// test, what pinwatch says, and what the kernel says of the same. A helper that
// cannot do its part throws, and GoogleTest makes a failure of that.
#ifndef PINWATCH_TESTS_VM_GUEST_H_
#define PINWATCH_TESTS_VM_GUEST_H_

#include <gtest/gtest.h>
#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

namespace pinwatch::guest {

using Json = nlohmann::json;
using std::chrono::seconds;

inline constexpr uint64_t kPageBytes = 4096;
inline constexpr uint64_t kPagesPerHugePage = 512;

// Polls until `done` holds, and says whether it did in time.
bool Eventually(seconds timeout, const std::function<bool()>& done);

[[noreturn]] void Fail(const std::string& message);

// Processes.

struct ProcessOptions {
  std::optional<uid_t> uid;        // also the group
  std::optional<int> memory_node;  // the only node to take memory from
};

// A child that is killed when this goes, or when the test program dies.
class Process {
 public:
  explicit Process(const std::vector<std::string>& argv,
                   ProcessOptions options = {});
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  void WriteLine();
  void CloseInput();
  void Signal(int signal) const;

  // The next line of stdout, without its end.
  std::string ReadLine(seconds timeout);
  // The same; nothing at the end of stdout.
  std::optional<std::string> NextLine(seconds timeout);
  // All of stdout that was not read yet, to its end.
  std::string ReadAll(seconds timeout);
  // All of stderr so far.
  std::string Errors() const;

  // The exit status, 128 and the signal's number when one ended it; nothing if
  // it still runs after that time.
  std::optional<int> Wait(seconds timeout);

 private:
  // Waits for more stdout; false at its end.
  bool ReadMore(std::chrono::steady_clock::time_point deadline);

  const std::string name_;
  pid_t pid_ = -1;
  int pidfd_ = -1;
  int input_ = -1;
  int output_ = -1;
  int errors_ = -1;
  std::string unread_;
  std::optional<int> status_;
};

// pinwatchd, ready to answer unless asked not to wait for that.
class Daemon {
 public:
  enum class Wait { kNot, kUntilReady };

  explicit Daemon(const std::vector<std::string>& options = {},
                  Wait wait = Wait::kUntilReady);
  // Stops it and waits until it is gone.
  ~Daemon();

  Process& process() { return process_; }

 private:
  Process process_;
};

// One of the workload programs; it holds what it is for until released.
class Workload {
 public:
  explicit Workload(const std::vector<std::string>& argv,
                    ProcessOptions options = {});

  // What it says of itself.
  const Json& held() const { return held_; }
  std::vector<uint64_t> pfns() const { return held_.at("pfns"); }

  pid_t pid() const { return held_.at("pid"); }

  // Lets go, waits for its end and returns its last words.
  Json Release();

  // Has one that lingers let go, and waits until it has. Release() ends it.
  void LetGo();

  // Waits for the end of one that ends by itself.
  void WaitForEnd();

  // Ends it with no chance to let go of anything itself.
  void Kill();

 private:
  Process process_;
  const Json held_;
  std::optional<Json> last_;  // of one that let go and lives
};

// The word for it that counts: no pin is held on any node, which is where every
// test begins.
void WaitForNoPins();

// Links of BPF programs to hooks that the daemon has: what keeps a program
// where it is. Its other descriptors come and go meanwhile.
size_t CountLinks();

// What the kernel says.

struct Pins {
  uint64_t pages = 0;
  uint64_t references = 0;

  bool operator==(const Pins&) const = default;
  friend std::ostream& operator<<(std::ostream& out, const Pins& pins) {
    return out << pins.pages << " pages, " << pins.references << " references";
  }
};

using ZoneId = std::pair<int, std::string>;  // node, name
using PinsByZone = std::map<ZoneId, Pins>;   // zones without pins left out

PinsByZone operator+(PinsByZone a, const PinsByZone& b);
Pins Sum(const PinsByZone& pins);

struct ZoneSpan {
  ZoneId id;
  uint64_t start_pfn = 0;
  uint64_t spanned_pages = 0;
  uint64_t present_pages = 0;
  uint64_t managed_pages = 0;
  uint64_t free_pages = 0;     // on per-CPU lists, too
  uint64_t batched_pages = 0;  // of these, on per-CPU lists
};

// The zones that have pages, from /proc/zoneinfo.
std::vector<ZoneSpan> ReadZones();

// A disk that takes a second for each read.
inline constexpr char kSlowDisk[] = "/dev/nvme0n1";

// Whether direct reads pin, as from Linux v6.5 on; before that they take plain
// references.
bool DirectReadsPin();

// The one zone that spans the page.
ZoneId ZoneOf(uint64_t pfn);

// `each` for every page, by the zones that span them.
PinsByZone PinsOf(const std::vector<uint64_t>& pfns, Pins each = {1, 1});

struct PinCounters {
  uint64_t acquired = 0;
  uint64_t released = 0;

  uint64_t outstanding() const { return acquired - released; }
  bool operator==(const PinCounters&) const = default;
};

// nr_foll_pin_* after every CPU has added its difference.
PinCounters ReadPinCounters();
PinCounters ReadPinCounters(int nid);
std::vector<int> ReadNodes();

// Whether long-term pins leave ZONE_MOVABLE. The change that made them do so,
// of Linux v5.13, gave migrations a reason of that name.
bool MovesLongtermPins();

// What the daemon must be started with so that it tells what long-term calls
// move: nothing where rounds of that have a function of their own.
std::vector<std::string> ToFollowMoves();

uint64_t ReadVmstat(const std::string& name);

// Where a page of this process stands; it must be there.
uint64_t PfnOf(const void* page);
std::string ReadFile(const std::string& path);
void WriteFile(const std::string& path, const std::string& text);

// Takes huge pages for the pool of hugetlbfs and gives them back.
class HugePagePool {
 public:
  explicit HugePagePool(int pages) { WriteFile(kPath, std::to_string(pages)); }
  ~HugePagePool() { WriteFile(kPath, "0"); }
  int pages() const { return std::stoi(ReadFile(kPath)); }

 private:
  static constexpr char kPath[] = "/proc/sys/vm/nr_hugepages";
};

struct Block {
  uint64_t id = 0;
  std::string state;
  int nid = -1;
  std::string zone;  // of an online block in a single one, else "none"
};

// /sys/devices/system/memory/memory*.
std::vector<Block> ReadBlocks();
uint64_t BlockPages();

inline constexpr seconds kOfflineTimeout(60);

// Takes a block of ZONE_MOVABLE offline and holds it so. Some blocks refuse,
// such as those with a part of the kernel's image in them.
std::unique_ptr<Process> HoldSomeBlockOffline();

// Pages with that bit in /proc/kpageflags.
uint64_t CountPagesWithFlag(int bit);

// All bits of a page.
uint64_t PageFlags(uint64_t pfn);
std::optional<uint64_t> FindPageWithFlag(int bit);

// The inode number of the memory cgroup that /proc/kpagecgroup has for it.
uint64_t ReadPageCgroup(uint64_t pfn);

// A cgroup with the memory controller, below the root's.
class Cgroup {
 public:
  explicit Cgroup(const std::string& name);
  // What is in it must have ended.
  ~Cgroup();
  Cgroup(const Cgroup&) = delete;
  Cgroup& operator=(const Cgroup&) = delete;

  std::string path() const { return "/" + name_; }
  uint64_t inode() const;

  // A command that becomes what `argv` says, in the cgroup.
  std::vector<std::string> Command(const std::vector<std::string>& argv) const;
  void Take(pid_t pid) const;
  // What was charged to it stays charged.
  void Remove();

 private:
  std::string Directory() const { return "/sys/fs/cgroup/" + name_; }

  const std::string name_;
  bool removed_ = false;
};

// Pages of holes that got a struct page at boot, as the kernel's log has them:
// each is in the zone that comes after it.
std::map<ZoneId, uint64_t> ReadUnavailablePages();

// The memory that the kernel's argument cma= has set aside, from its log.
struct CmaArea {
  uint64_t start_pfn = 0;
  uint64_t nr_pages = 0;
};

CmaArea ReadCmaArea();

// What pinwatch says.

// What the command says; it must succeed, and in time.
std::string Ask(const std::vector<std::string>& argv,
                seconds timeout = seconds(60));

// Both objects of `pinwatch status -o json`, of which only the snapshot can be
// fresh.
Json Status(bool fresh);
// The snapshot of a look at all memory made for this question.
Json FreshSnapshot();

// What `pinwatch explain memoryN` says.
Json ExplainBlock(uint64_t block);

// What `pinwatch explain pfn N` says.
Json ExplainPage(uint64_t pfn);

// Pages that hold the struct pages of each block, by that block and the one
// that they stand in.
std::map<uint64_t, std::map<uint64_t, uint64_t>> CountStructPages();

// What `pinwatch attempts` says, the newest first.
Json ListAttempts();

// What `pinwatch top` says after a look at all memory.
Json FreshOwners();

// Words of it.
inline constexpr char kHeld[] = "CERTAINTY_HELD";
inline constexpr char kProbable[] = "CERTAINTY_PROBABLE";
inline constexpr char kUnattributed[] = "CERTAINTY_UNATTRIBUTED";

// Pages pinned for certain, after a look at all memory.
uint64_t ConfirmedPages();

// The "confirmed" or "possible" pins of a snapshot, every zone of which must
// have been looked at.
PinsByZone PinsIn(const Json& snapshot, const std::string& kind);

// Pages of the class in the whole snapshot, or in one zone.
uint64_t PagesInClass(const Json& snapshot, const std::string& page_class,
                      const std::optional<ZoneId>& zone = std::nullopt);
uint64_t PagesInZone(const Json& snapshot, const ZoneId& zone);

// The snapshot agrees with the kernel's counters now, and with itself.
void ExpectCountersAgree(const Json& snapshot);

struct Response {
  int status = 0;
  std::string head;
  std::string body;
};

// GET from the daemon; nothing when nobody listens.
std::optional<Response> Get(const std::string& path);

using Labels = std::map<std::string, std::string>;

struct Sample {
  std::string name;
  Labels labels;
  double value = 0;
};

// /metrics of now, each line of which must be well-formed.
std::vector<Sample> ReadMetrics();

// The sum over samples of that name with those labels at least.
double Sum(const std::vector<Sample>& samples, const std::string& name,
           const Labels& labels = {});

// A test beside a running daemon, on a host without pins. Such tests share the
// daemon, since starting one takes longer than most of them.
class GuestTest : public testing::Test {
 public:
  static void StopDaemon() { daemon_.reset(); }

 protected:
  static void SetUpTestSuite();

  void SetUp() override { WaitForNoPins(); }
  void TearDown() override;

 private:
  static inline std::unique_ptr<Daemon> daemon_;
};

// A test that starts daemons of its own, on a host without pins.
class OwnDaemonTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { GuestTest::StopDaemon(); }

  void SetUp() override { WaitForNoPins(); }
};

}  // namespace pinwatch::guest

#endif  // PINWATCH_TESTS_VM_GUEST_H_
