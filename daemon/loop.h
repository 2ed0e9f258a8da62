// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_LOOP_H_
#define PINWATCH_DAEMON_LOOP_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "daemon/aggregator.h"
#include "daemon/asker.h"
#include "daemon/cpu_budget.h"
#include "daemon/governor.h"
#include "daemon/holder_search.h"
#include "daemon/memory_cgroups.h"
#include "daemon/owner_resolver.h"
#include "daemon/published.h"
#include "daemon/source.h"
#include "daemon/supervision.h"

namespace pinwatch {

struct LoopOptions {
  GovernorBudget governor;
  double census_cpu_share = 0.001;  // of one CPU, for looks nobody asked for
  bool infer_holders = false;       // of pages that nobody claimed
  std::string root;  // directory that /proc and /sys are in; tests set it
  // Called after each turn of the loop: every second, unless it hangs.
  std::function<void(const Turn&)> on_turn = [](const Turn&) {};
  // Called when the governor has changed what is recorded.
  std::function<void(const GovernorState&)> on_governed =
      [](const GovernorState&) {};
  // Called with the attempts that have ended, the newest first, when these have
  // changed.
  std::function<void(std::vector<HotplugAttempt>)> on_history =
      [](std::vector<HotplugAttempt>) {};
};

// The thread that owns all mutable state: reads the source and the host's
// files, decides which memory blocks to look at, and publishes a Snapshot
// every second and whenever a round of looks is complete.
class Loop {
 public:
  // `published` and `source` must outlive it.
  Loop(LoopOptions options, Source* source, Aggregator aggregator,
       Published<Snapshot>* published);
  ~Loop();

  // Runs until `stop_fd` is readable. Answers what is then still asked with
  // null.
  void Run(int stop_fd);

  // See AskForLook.
  void Ask(int64_t max_age_ns, Answer answer);

  // See AskForBlock.
  void AskAboutBlock(uint64_t block_id, BlockAnswer answer);

  // See AskForPage.
  void AskAboutPage(uint64_t pfn, PageAnswer answer);

  // See AskForBlocks.
  void AskForBlockList(BlockQuery query, BlocksAnswer answer);

  // See AskForPlan.
  void AskForOfflinePlan(PlanQuery query, PlanAnswer answer);

  // See AskForPause.
  void AskToPause(bool pause, PauseAnswer answer);

 private:
  struct Asked {
    int64_t max_age_ns;
    Answer answer;
  };
  struct AskedBlock {
    uint64_t block_id;
    BlockAnswer answer;
  };
  struct AskedPage {
    uint64_t pfn;
    PageAnswer answer;
  };
  struct AskedBlocks {
    BlockQuery query;
    BlocksAnswer answer;
  };
  struct AskedPlan {
    PlanQuery query;
    PlanAnswer answer;
  };
  struct AskedPause {
    bool pause;
    PauseAnswer answer;
  };
  // What other threads want to know and to have done.
  struct Inbox {
    std::vector<Asked> looks;
    std::vector<AskedBlock> blocks;
    std::vector<AskedPage> pages;
    std::vector<AskedBlocks> lists;
    std::vector<AskedPlan> plans;
    std::vector<AskedPause> pauses;
  };
  struct Question {
    int64_t unseen_since_ns;  // blocks not looked at since then are due
    Answer answer;
  };

  void ReadZones();
  void ReadMigrations();
  void ReadMemmap();
  void ReadCounters();
  void ReadBlocks();
  void ReadAskedBlocks(const Inbox& inbox);
  bool BlocksAreDue(int64_t now);
  void ReadHotplug();
  void ReadClaims();
  void FollowRetries(const std::vector<MovingCall>& moving, Timestamp now);
  BlockingPage FindStuckPage(const MovingCall& call);
  void Govern(const ClaimReading& reading, Timestamp now);
  void CheckOwners(size_t most);
  void ForgetOwners();
  void InferHolders();
  void LookForHolders();
  void SearchReferences();
  FoundReferences FindReferences(const std::vector<uint64_t>& pfns);
  // What the pages are charged to, without the paths.
  std::vector<std::optional<MemoryCgroup>> ReadCgroups(
      const std::vector<uint64_t>& pfns);
  void AddCgroups(const std::vector<BlockingPage*>& pages);
  // Who maps them, where that may be seen.
  std::map<uint64_t, PageMappers> FindMappersOf(
      const std::vector<uint64_t>& pfns);
  void AddMappers(std::vector<BlockingPage>& pages);
  void NameCgroups(const std::vector<BlockingPage*>& pages);
  // Those of plain references among the pages.
  void AddReferences(std::vector<BlockingPage>& pages);
  // False, and nothing taken, once nobody will answer.
  template <typename T>
  bool Put(std::vector<T> Inbox::*part, T& asked);
  Inbox TakeInbox();
  void TakeQuestions(Inbox& inbox);
  absl::Status RequireCensus() const;
  absl::StatusOr<BlockReport> ReportAfresh(uint64_t block_id);
  void AnswerAboutBlock(const AskedBlock& question);
  void AnswerAboutPage(const AskedPage& question);
  void AnswerWithBlocks(const AskedBlocks& question);
  void AnswerWithPlan(const AskedPlan& question);
  std::optional<BlockLook> LookAtPage(uint64_t pfn);
  void TakeOrders(const std::vector<AskedPause>& orders);
  absl::StatusOr<PauseState> SetPaused(bool paused);
  void Wake();
  void PlanLooks();
  void AddPending(const std::vector<uint64_t>& blocks);
  void WorkOnLooks(int stop_fd);
  void LookAt(uint64_t block, bool list_pages);
  void FinishRound();
  void Publish();
  void TellTurn();
  bool ShouldStop(int stop_fd);

  const std::string root_;
  const std::function<void(const Turn&)> on_turn_;
  const std::function<void(const GovernorState&)> on_governed_;
  const std::function<void(std::vector<HotplugAttempt>)> on_history_;
  Source* const source_;
  OwnerResolver resolver_;
  MemoryCgroups cgroups_;
  Aggregator aggregator_;
  Published<Snapshot>* const published_;
  const bool census_observable_;
  const std::vector<int> ready_fds_;

  Governor governor_;
  GovernorState governed_;  // what the source was told
  CpuBudget budget_;
  CpuBudget block_list_budget_;
  CpuBudget changed_list_budget_;
  std::vector<uint64_t> memory_shape_;
  std::vector<uint64_t> listed_shape_;  // as the blocks were listed
  int64_t next_tick_ns_ = 0;
  int64_t next_forget_ns_ = 0;
  int64_t next_memmap_ns_ = 0;
  std::optional<HolderSearch> search_;  // where holders are inferred
  CpuBudget search_budget_;
  CpuBudget pipe_budget_;
  int64_t next_search_ns_ = 0;
  uint32_t last_checked_ = 0;        // owner
  std::vector<Question> questions_;  // answered when no look is pending
  std::deque<uint64_t> pending_;     // blocks of the round under way
  uint64_t round_blocks_ = 0;
  int64_t round_ns_ = 0;
  absl::Status census_status_;

  const int wake_fd_;
  std::mutex mutex_;
  Inbox inbox_;           // guarded by mutex_
  bool stopped_ = false;  // guarded by mutex_
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_LOOP_H_
