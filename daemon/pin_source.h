// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_PIN_SOURCE_H_
#define PINWATCH_DAEMON_PIN_SOURCE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "daemon/claim_table.h"
#include "daemon/deleter.h"
#include "daemon/doors.h"
#include "daemon/kept_state.h"
#include "daemon/kernel_addresses.h"
#include "daemon/probes.h"
#include "daemon/source.h"

struct pin_bpf;
struct ring_buffer;

namespace pinwatch {

struct ClaimOptions {
  // Pin functions that are not to be followed, by name.
  std::set<std::string> without_doors;
  // Memory for tables of claims that are made before any is asked for.
  uint64_t chunk_bytes_at_start = 16 << 20;
  uint64_t max_chunk_bytes = UINT64_MAX;  // for all tables
  uint32_t max_owners = PINWATCH_MAX_OWNERS;
  uint32_t max_runs = 16384;  // of pages whose claims have no table
  // Where claims outlive the daemon; an error says why they do not.
  absl::StatusOr<KeptState*> kept = absl::CancelledError("not wanted");
  std::string boot_id;  // of this boot
  // What long-term calls have to move first also where that costs every page
  // that anybody moves.
  bool follow_moves = false;
};

// What an owner takes of the kernel's memory and of the daemon's, at most
// about: its place in four tables, what the daemon has told of it, and names
// and stacks that no other owner has.
constexpr uint64_t kBytesAnOwner = 2048;

// The programs that record claims on pinned pages, and their maps.
class PinSource {
 public:
  // FailedPrecondition, saying what is missing, where this kernel lets no pin
  // function be followed. `nr_sections` is what memory there may be, in 128
  // MiB.
  static absl::StatusOr<std::unique_ptr<PinSource>> Open(
      const KernelLayout& layout, const KernelAddresses& addresses,
      const ClaimOptions& options, uint64_t nr_sections);
  ~PinSource();

  // What the fact "claims" rests on, and what it lacks.
  std::string DescribeDoors() const;
  const std::set<std::string>& doors_not_followed() const {
    return doors_.not_followed;
  }

  // What is kept for the next daemon, or why nothing is.
  const absl::StatusOr<std::string>& keeping() const { return keeping_; }

  // Takes the programs off the doors, and puts them there again: 0 or -errno.
  void Detach();
  int Attach();

  // See Source; 0 or -errno.
  int Govern(const GovernorState& state);

  absl::StatusOr<ClaimReading> Read(Timestamp now);
  std::vector<uint32_t> ForgetOwners(const std::vector<uint32_t>& ended);
  void KeepGaps(const ClaimGaps& gaps);

  // Makes room for the claims of a section's pages.
  absl::Status AddChunks(const std::vector<uint64_t>& sections);

  // Before a look at a memory block, so that its claims are known.
  void ReadRuns();
  // After it: takes away the runs that it settled.
  void DeleteDeadRuns();

  ClaimTable& table() { return table_; }
  // The table of calls under way that move something, in which MigrationSource
  // notes what has moved; -1: it is not to.
  int moving_fd() const;

  int ring_fd() const;
  // Readable as long as there are new owners in it.
  void DrainNews();

 private:
  struct Chunk {
    int fd;
    claim_chunk* memory;
  };

  using OwnerErrors = std::map<uint32_t, std::map<int, uint64_t>>;
  using OwnerMoves = std::map<uint32_t, PinMoves>;

  struct KnownOwner {
    pin_owner_key key{};
    Timestamp first;
    pin_activity told{};  // what has been told of already
    bool is_known = false;
  };

  PinSource();

  static void Destroy(pin_bpf* programs);
  static void FreeRing(ring_buffer* ring);
  static int TakeNews(void* source, void* data, size_t size);
  uint64_t Build() const;
  absl::Status Start(const ClaimOptions& options);
  std::vector<Hook> TakeOverHooks(uint64_t build);
  absl::Status Load(bool programs_too);
  absl::Status Install(uint64_t build, bool taken_over);
  void StopKeeping(const absl::Status& why);
  void TakeOverClaims(int64_t alive_ns);
  absl::Status TakeOverChunks();
  void NoteAttached();
  absl::Status FillFreeOwners();
  absl::StatusOr<Chunk> MakeChunk(uint64_t section);
  absl::StatusOr<Chunk> MapChunk(int fd);
  void WriteAgedRuns(int64_t now_ns);
  absl::Status ReadTotals(ClaimReading& reading);
  void NoteOwner(const pin_owner_key& key, const pin_owner& owner,
                 Timestamp now);
  void ReadNewOwners(Timestamp now);
  std::vector<uint32_t> TakeChanged();
  OwnerErrors ReadErrors(const ClaimTotals& totals);
  OwnerMoves ReadMoves();
  std::vector<MovingCall> ReadMoving(Timestamp now);
  std::vector<LandedPages> ReadLanded(const ClaimTotals& totals);
  PinLatencies ReadLatencies(uint32_t owner);
  void ReadActivity(uint32_t index, Timestamp now,
                    const OwnerErrors& new_errors, const OwnerMoves& new_moves,
                    ClaimReading& reading);
  void ForgetOutcomes(uint32_t owner);
  void AddMissingChunks();

  std::unique_ptr<pin_bpf, Deleter<Destroy>> programs_;
  std::unique_ptr<ring_buffer, Deleter<FreeRing>> ring_;
  Doors doors_;
  std::vector<Hook> hooks_;
  uint32_t generation_ = 0;
  KeptState* kept_ = nullptr;
  KeptWords own_words_;  // where nothing is kept
  KeptWords* words_ = &own_words_;
  ClaimGaps gaps_at_start_;
  absl::StatusOr<std::string> keeping_;
  std::vector<Chunk> chunks_;
  uint64_t max_chunk_bytes_ = 0;
  ClaimTable table_;
  std::span<const pin_activity> activity_;  // by index
  std::span<const uint64_t> landed_;        // pages by section
  std::vector<uint64_t> landed_told_;       // of these
  uint64_t landed_read_ = 0;                // long-term pages in all, then
  bool landed_settled_ = false;             // and all of them were told
  std::vector<KnownOwner> owners_;          // by index
  uint64_t nr_owners_ = 0;
  std::map<uint32_t, OwnerReading> new_owners_;  // by index, not told of yet
  std::vector<pin_owner_key> news_;
  // Whether all of pin_owners is to be read.
  bool owners_unread_ = true;
  uint64_t news_lost_ = 0;  // as read last
  std::map<uint32_t, pin_latency> latencies_told_;
  OwnerErrors errors_told_;
  bool follows_moves_ = false;
  bool follows_targets_ = false;
  bool sees_rounds_ = false;  // of moving
  std::map<uint32_t, pin_moved> moves_told_;
  uint64_t moves_read_ = 0;          // pin_moves_ended then
  uint64_t failures_read_ = 0;       // failed calls in all, then
  uint64_t runs_read_ = 0;           // claim_runs_changed then
  std::set<std::string> doors_off_;  // by the governor
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_PIN_SOURCE_H_
