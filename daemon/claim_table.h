// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_CLAIM_TABLE_H_
#define PINWATCH_DAEMON_CLAIM_TABLE_H_

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "bpf/events.h"
#include "daemon/source.h"
#include "daemon/vintages.h"

namespace pinwatch {

// The tick of claims made at that time, of CLOCK_MONOTONIC.
uint32_t TickAt(int64_t now_ns);

using ClaimRun = std::pair<claim_run_key, claim_run>;

// The claims on pages, in memory that BPF programs write to at the same time.
// Sets them beside what a look found, and takes away those of pages that were
// found without a pin. One thread calls it.
class ClaimTable {
 public:
  // `chunk` has the long-term claims of a section of 32,768 pages.
  void AddChunk(uint64_t section, claim_chunk* chunk);
  bool HasChunk(uint64_t section) const { return chunks_.count(section) > 0; }
  size_t nr_chunks() const { return chunks_.size(); }

  // PINWATCH_SHORT_CLAIMS slots.
  void SetShortClaims(uint64_t* slots) { short_claims_ = slots; }

  // See Vintages; without it there is a table of our own.
  void SetVintages(uint64_t* made_ns) { vintages_.emplace(made_ns); }

  // All claims for which a chunk has no room.
  void SetRuns(std::vector<ClaimRun> runs);
  const std::vector<ClaimRun>& runs() const { return runs_; }

  // Runs that are of no use any more, since their pages have no pins or their
  // claims have found room in a chunk. Taken out of the table.
  std::vector<ClaimRun> TakeDeadRuns();

  // Runs with the tick that Age() wants them to have.
  std::vector<ClaimRun> TakeAgedRuns();

  // Takes away claims that are a minute old on pages that no look reaches, as
  // those of a device or of memory that was removed: nothing else ever would.
  void ForgetOutside(const std::function<bool(uint64_t pfn)>& is_looked_at,
                     int64_t now_ns);

  // To be called before each look at a block: the claims on a folio larger than
  // a run of the census are gathered once a look.
  void ForgetFolio() { folio_.reset(); }

  // To be called before the pages [start_pfn, end_pfn) of one section are
  // looked at: a claim is worth less than the look only if it was made before.
  void BeginLook(uint64_t start_pfn, uint64_t end_pfn);

  // Adds what was listed of [start_pfn of BeginLook, end_pfn) to the look's
  // pins, and to its list when `list_pages`. `now_ns` is CLOCK_MONOTONIC after
  // the look.
  void FinishLook(uint64_t end_pfn, std::span<const census_page> pages,
                  const census_result& result, int64_t now_ns, bool list_pages,
                  BlockLook& look);

  // Before ticks come round, notes when old claims were made in another way. To
  // be called once a minute; if it was not for too long, the claims of the time
  // between are known to have been made by now, and no more.
  void Age(int64_t now_ns);

  // Ages the claims of another daemon, once all are in the table. It did that
  // last at `aged_ns`; its long_ago_ns() was that.
  void TakeOver(int64_t aged_ns, int64_t long_ago_ns, int64_t now_ns);

  // When claims without an age of their own had been made by.
  int64_t long_ago_ns() const { return long_ago_ns_; }

  // By owner's index: whether any claim of it is left.
  std::vector<bool> OwnersWithClaims() const;

 private:
  struct Before {
    uint64_t start_pfn = 0;
    uint64_t nr_pages = 0;
    // By pfn from start_pfn on; empty where there is none at all.
    std::vector<uint32_t> long_term;
    std::vector<uint64_t> short_term;
  };

  int64_t MadeNs(uint32_t tick, int64_t now_ns) const;
  bool IsOld(uint32_t word, int64_t now_ns, int64_t age_ns) const;
  const std::vector<Claim>& ClaimsOn(const census_page& page, int64_t now_ns);
  std::vector<Claim> ClaimsOf(uint64_t pfn, uint64_t nr_pages,
                              int64_t now_ns) const;
  void AddClaim(uint32_t word, bool long_term, int64_t now_ns,
                std::vector<Claim>& claims) const;
  void ClearBelow(uint64_t end_pfn, const std::vector<bool>& kept,
                  int64_t now_ns);
  void SettleRuns(uint64_t end_pfn, const std::vector<bool>& kept,
                  int64_t now_ns);
  bool Settle(const ClaimRun& run, uint64_t start_pfn, uint64_t end_pfn,
              const std::vector<bool>& kept);

  std::map<uint64_t, claim_chunk*> chunks_;
  uint64_t* short_claims_ = nullptr;
  std::vector<ClaimRun> runs_;
  // By pfn, owner, pages and tick: up to which page a run is settled that lies
  // in several looks.
  std::map<std::array<uint64_t, 4>, uint64_t> settled_pfns_;
  std::vector<ClaimRun> dead_runs_;
  std::vector<ClaimRun> aged_runs_;
  Before before_;
  // The folio at hand, by its head, and the claims on all of its pages.
  std::optional<std::pair<uint64_t, std::vector<Claim>>> folio_;
  std::array<uint64_t, PINWATCH_VINTAGES> own_vintages_{};
  std::optional<Vintages> vintages_{own_vintages_.data()};
  int64_t aged_ns_ = 0;
  int64_t long_ago_ns_ = 0;  // when claims of tick 0 had been made by
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_CLAIM_TABLE_H_
