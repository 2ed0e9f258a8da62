// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_AGGREGATOR_H_
#define PINWATCH_DAEMON_AGGREGATOR_H_

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/call_book.h"
#include "daemon/growth_watch.h"
#include "daemon/holdings.h"
#include "daemon/host_files.h"
#include "daemon/inference.h"
#include "daemon/looks.h"
#include "daemon/migration_book.h"
#include "daemon/owner_book.h"
#include "daemon/removability.h"
#include "daemon/snapshot.h"
#include "daemon/source.h"
#include "daemon/verdict_book.h"

namespace pinwatch {

// From when on it is pointed out how long pins last.
struct PinRules {
  int64_t overdue_ns = 1'000'000'000;  // pins meant to be short
  // An owner that does nothing but grow.
  int64_t suspect_after_ns = 600'000'000'000;
  bool infer_holders = false;  // of pages that nobody claimed
  // A call that comes round more often, or twice and for longer, is told of.
  uint64_t retry_rounds = 100;
  int64_t retry_after_ns = 1'000'000'000;
};

// Folds what the source and the host's files say into Snapshots. It has no
// clock, does no I/O and starts no thread: the same calls give the same
// Snapshot.
class Aggregator {
 public:
  Aggregator(HostInfo host, KernelNames names, std::vector<Fact> facts,
             Timestamp started, PinRules pin_rules = {});

  void SetZones(std::vector<Zone> zones);

  // Looks at blocks that are no longer online are forgotten.
  void SetBlocks(MemoryBlocks blocks);
  // The state and zone that one of them has come to since they were listed.
  void UpdateBlock(const MemoryBlock& block);

  // Call it before and after the looks that are to be set against it.
  void SetNodeCounters(Timestamp time,
                       const std::vector<NodeCounterReading>& readings);

  // The counters could not be read: from here on they are unknown.
  void ForgetNodeCounters();

  void AddLook(BlockLook look);

  void SetMigrations(MigrationReading reading);

  void SetHighOrderCounts(std::vector<HighOrderCount> counts) {
    high_order_ = std::move(counts);
  }

  // Which pages hold struct pages; what is read after it is told by it.
  void SetMemmap(Memmap memmap) { memmap_ = std::move(memmap); }

  // Says of a page of the kernel's that it holds struct pages, where it does.
  void NameStructPages(BlockingPage& page) const;

  // Pinned pages whose holders are not known, at most so many: those in the
  // way of attempts that run, of which a look at their block lists some only,
  // and the newest that a migration left, which nobody has looked at.
  std::vector<uint64_t> PagesOfUnknownHolder(size_t most) const;
  // Pages that the census alone found in the way of attempts that run, with no
  // word yet of what they are charged to. Good until the next change.
  std::vector<BlockingPage*> UnchargedPages();
  // What a look at such a page found; nothing where there could be none.
  void SetPageLook(uint64_t pfn, const std::optional<BlockLook>& look);

  // The result are owners that are new: add them to owner_book().
  std::vector<OwnerReading> SetClaims(Timestamp time, ClaimReading reading);
  // Whether the call is to be told of as one that comes round and round.
  bool IsRetrying(const MovingCall& call, Timestamp now) const;
  // Sets who holds its page, by a look at it.
  void NoteHolder(const BlockLook& look, BlockingPage& page) const;
  void SetPinRetries(std::vector<PinRetry> retries);
  const std::vector<PinRetry>& pin_retries() const { return pin_retries_; }
  OwnerBook& owner_book() { return owner_book_; }
  // The source has forgotten them.
  void ForgetOwners(const std::vector<uint32_t>& ids);
  // For who takes the claims over: he does not know what is missed now.
  ClaimGaps claim_gaps() const;

  // Folios without a claim, if they are others than those last taken, or if a
  // process that may hold some has ended; otherwise nothing. Empty: there are
  // none. Only where holders are inferred.
  std::optional<std::vector<UnclaimedFolio>> TakeUnclaimed();
  void SetInference(Inference inference);
  // Who may hold some of them: to be told when one ends.
  const Inference& inference() const { return inference_; }
  void SetCandidateEnded(size_t candidate);

  // Everything known of one memory block. NotFound when there is no such.
  absl::StatusOr<BlockReport> Explain(uint64_t block_id, Timestamp now) const;

  // Everything known of one page, of which `look` is the look, at it alone or
  // at what of its folio lies nearby; nothing where there could be none.
  // NotFound when no block has it.
  absl::StatusOr<PageReport> ExplainPage(uint64_t pfn,
                                         const std::optional<BlockLook>& look,
                                         Timestamp now) const;

  // The verdicts on all blocks that the query asks for, as of their last looks.
  BlockList ListBlocks(const BlockQuery& query, Timestamp now);

  // The cheapest way to take so much memory offline, as of the last looks.
  OfflinePlan Plan(const PlanQuery& query, Timestamp now);

  // Whether the block is online, or on its way out.
  bool CanBeLookedAt(uint64_t block_id) const;

  // Blocks that an attempt to take offline is about, running ones and those
  // that have failed and were not looked at since.
  std::vector<uint64_t> BlocksOfAttempts() const;

  // Pages in attempts' ways, or that did not move for another reason, with
  // plain references whose holders nobody has searched for.
  std::vector<uint64_t> UnsearchedReferences() const;
  // What a search for these has found.
  void SetReferenceHolders(const std::vector<uint64_t>& searched,
                           const FoundReferences& found);

  // Attempts that an earlier daemon has told of, the newest first. Call it
  // before the first AddHotplug.
  void SetHistory(std::vector<HotplugAttempt> attempts);

  // The attempts that have ended, the newest first, if they are others than
  // those last taken.
  std::optional<std::vector<HotplugAttempt>> TakeChangedHistory();

  // Keeps the stories of the last 128 attempts that ended.
  void AddHotplug(HotplugReading reading);

  // From then on no hook is attached, until `since` is nothing. What pins did
  // meanwhile is not known.
  void SetPaused(std::optional<Timestamp> since, Timestamp now);
  const std::optional<Timestamp>& paused_since() const { return paused_since_; }

  void SetGovernor(GovernorState state) { governor_ = std::move(state); }

  void SetCollector(Collector collector);
  void FinishRound() { ++totals_.rounds; }

  // Nodes of the zones, by number.
  std::vector<int> nids() const;

  // Online blocks whose last look is older than `monotonic_ns`, or that were
  // never looked at, the longest unseen first.
  std::vector<uint64_t> BlocksUnseenSince(int64_t monotonic_ns) const {
    return looks_.UnseenSince(monotonic_ns);
  }

  // Online blocks whose look may no longer tell the pins: never looked at, or a
  // counter of their node has moved since.
  std::vector<uint64_t> StaleBlocks() const;

  // Of online blocks the one to be looked at next, and how many there are.
  std::optional<uint64_t> LongestUnseen() const {
    return looks_.LongestUnseen();
  }
  size_t nr_online_blocks() const { return looks_.nr_blocks(); }

  // Whether pins were taken or given back since then, or that is not known.
  bool HavePinsMovedSince(int64_t monotonic_ns) const;

  // Pages of a memory block; 0 where there are none.
  uint64_t block_pages() const;

  // The first memory block's number, and one more than the last one's.
  std::pair<uint64_t, uint64_t> block_span() const;

  Snapshot Build(Timestamp now);

 private:
  struct NodeState {
    NodeCounterReading reading;
    // First and last time the counters stood as they do.
    Timestamp unchanged_since;
    Timestamp last_read;
    std::optional<int64_t> drift_references;
    Timestamp drift_time;
  };

  // What attribution goes by: as long as it is the same, so are holdings_.
  struct Basis {
    uint64_t pins_version = 0;
    uint64_t owners_version = 0;
    uint64_t inference_version = 0;
    int64_t long_term_gap_ns = 0;
    int64_t short_term_gap_ns = 0;
    std::vector<int> pinless_nids;

    bool operator==(const Basis&) const = default;
  };

  using Cells = Looks::Cells;

  // What reads as pins on a node, in references.
  struct NodeCandidates {
    uint64_t large = 0;  // of large folios
    uint64_t exact = 0;  // of pages of order 0 with the exact shape of pins
  };

  // Null when there is no such block.
  const MemoryBlock* FindBlock(uint64_t block_id) const;
  const MemoryBlock* FindBlockOf(uint64_t pfn) const;
  NodeCandidates CandidatesOf(int nid) const;
  int64_t StaleBefore(int nid) const;
  bool IsCurrent(int nid) const;
  std::optional<uint64_t> DevicePagesOf(int nid) const;
  Node BuildNode(int nid, Timestamp now);
  Zone BuildZone(Zone zone) const;
  std::string MigratetypeName(size_t migratetype) const;
  std::string ZoneName(unsigned zone) const;
  std::optional<uint64_t> OutstandingOf(int nid) const;
  std::vector<MigratetypePages> BuildMigratetypes(int nid,
                                                  const Cells& cells) const;

  const ClaimGaps& GapsNow() const;
  HoldingRules Rules(Timestamp now) const;
  Basis BasisNow() const;
  void UpdateHoldings(Timestamp now);
  void UpdateGrowth(Timestamp now);
  std::vector<PinLanding> Landings() const;
  bool MovesLongTermPins() const;
  HostState HostStateNow() const;
  BlockVerdict JudgeBlock(const MemoryBlock& block,
                          const std::optional<BlockEvidence>& evidence,
                          const HostState& host, Timestamp now) const;
  void NameOwners(OfflinePlan& plan, Timestamp now) const;
  void KeepVerdict(const BlockLook& look);
  BlockEvidence EvidenceIn(
      const BlockLook& look, const HoldingRules& rules,
      const std::function<bool(uint32_t)>& is_stopped = {}) const;
  std::vector<BlockingPage> BlockersIn(const BlockLook& look,
                                       const HoldingRules& rules) const;
  void SettleVerdicts();
  void NoteUnclaimed(BlockLook& look);
  uint64_t CountUnsearched() const;
  void NoteBlockers(const BlockLook& look);
  void TakeBlockers(HotplugAttempt& attempt) const;
  void NoteHolder(const std::vector<BlockingPage>& found,
                  BlockingPage& page) const;
  void NoteHolders(const std::vector<BlockingPage>& found,
                   HotplugAttempt& attempt) const;
  std::vector<BlockingPage> HeldPagesOf(const BlockLook& look) const;
  void CountFailure(const HotplugAttempt& attempt);
  void CountTime(const HotplugAttempt& attempt, const HotplugAttempt* before);
  bool NeedsLook(const HotplugAttempt& attempt) const;
  static void HideHooked(Snapshot& snapshot);
  bool IsLookedAtSince(const HotplugAttempt& attempt) const;

  const HostInfo host_;
  const KernelNames names_;
  const std::vector<Fact> facts_;
  const Timestamp started_;
  const PinRules pin_rules_;

  std::vector<Zone> zones_;
  MemoryBlocks blocks_;
  std::map<int, NodeState> nodes_;
  std::vector<BlockCount> block_counts_;
  Looks looks_;
  VerdictBook verdicts_;
  // Blocks with a claim of an owner who was not yet known when they were
  // looked at.
  std::set<uint64_t> unsettled_;
  MigrationBook migrations_;
  Memmap memmap_;
  std::vector<HighOrderCount> high_order_;
  OwnerBook owner_book_;
  CallBook call_book_;
  std::optional<ClaimTotals> claims_;
  // Pages that long-term calls pinned, by node and zone; in blocks that are not
  // known or lie in several zones; and those of which no more is known.
  std::map<std::pair<int, std::string>, uint64_t> landed_;
  uint64_t landed_elsewhere_ = 0;
  uint64_t unlanded_ = 0;
  std::vector<PinRetry> pin_retries_;
  ClaimGaps gaps_;
  Inference inference_;
  InferenceTotals inference_totals_;
  uint64_t inference_version_ = 0;  // rises when it says something else
  uint64_t unclaimed_ = 0;          // folios in looks_
  bool unclaimed_changed_ = true;
  bool misses_doors_ = false;  // some long-term pins leave no claim at all
  GovernorState governor_;
  GrowthWatch growth_watch_;
  std::set<uint32_t> suspects_;  // owners that are told to grow
  std::optional<Basis> basis_;
  Holdings holdings_;  // of all looks; those by owner are in the book
  uint64_t claiming_processes_ = 0;
  std::optional<Timestamp> paused_since_;
  int64_t paused_ns_ = 0;  // of pauses that have ended
  // By first section and time of begin: what kept running attempts up.
  std::map<std::pair<uint64_t, int64_t>, std::vector<BlockingPage>> blockers_;
  HotplugReading hotplug_;                     // without the ended ones
  std::deque<HotplugAttempt> ended_attempts_;  // newest first
  uint32_t last_attempt_id_ = 0;
  bool history_changed_ = false;
  std::optional<Timestamp> last_offline_failure_;
  OfflineFailures offline_failures_;
  std::array<int64_t, NR_HOTPLUG_STEPS> offline_step_ns_{};
  std::map<std::string, Collector> collectors_;
  CensusTotals totals_;
  uint64_t generation_ = 0;
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_AGGREGATOR_H_
