// SPDX-License-Identifier: Apache-2.0
#include "daemon/loop.h"

#include <malloc.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "daemon/blocking.h"
#include "daemon/clock.h"
#include "daemon/host_files.h"
#include "daemon/mapper_search.h"
#include "daemon/memory_devices.h"
#include "daemon/removability.h"

namespace pinwatch {
namespace {

constexpr int64_t kTickNs = 1'000'000'000;

// How long looks may hold up everything else.
constexpr int64_t kSliceNs = 100'000'000;

// What a question may take to find out who maps pages, and of how many.
constexpr int64_t kMapperCpuNs = kSliceNs;
constexpr size_t kPagesWithMappers = 2;

// Who asks about a block waits for up to so many looks at what may pass.
constexpr int kLooksAtWhatMayPass = 4;
constexpr std::chrono::milliseconds kBetweenThem(5);

// A small host can follow every change of its counters at once for this long,
// a large one pays a round back later.
constexpr int64_t kCensusBurstNs = 1'000'000'000;

// Reading the state of 16,384 memory blocks takes a while: as often as its
// share of the CPU allows, but on small hosts with every tick.
constexpr double kBlockListShare = 0.0002;
constexpr int64_t kBlockListBurstNs = 50'000'000;

// And at once when blocks have changed, which they seldom do.
constexpr double kChangedListShare = 0.01;
constexpr int64_t kChangedListBurstNs = 1'000'000'000;

// Processes looked for in a tick, to see whether they still live: who ends lets
// go, mostly, so that as long as no pin is given back fewer will do.
constexpr size_t kOwnersChecked = 256;
constexpr size_t kOwnersCheckedIdle = 16;
constexpr int64_t kIdleAfterNs = 60'000'000'000;

// Pages that did not move, looked at in a tick.
constexpr size_t kPagesLooked = 64;

// Of a page that a call comes round for.
constexpr int kStuckPageReads = 256;

// How much of a search for holders may be done in one tick, and how long it is
// to the next: pages without a claim may come and go with each look.
constexpr int64_t kSearchSliceNs = 50'000'000;
constexpr int64_t kSearchEveryNs = 10'000'000'000;

// Of a question, how old it may be where struct pages stand.
constexpr int64_t kMemmapEveryNs = 10'000'000'000;

constexpr int64_t kForgetEveryNs = 30'000'000'000;

// What the thread has freed and not used again goes back to the host from so
// much on. Left alone, the C library raises this once something large has come
// and gone, as what was kept of 100,000 owners does: 20 MiB stay then. It is
// set for the whole process, whose pieces from 128 KiB on are mapped each by
// itself.
constexpr int kFreeBytesKept = 1 << 20;

// Nobody who ended longer ago can still be on his way out of a pin function.
constexpr int64_t kForgetAfterNs = 10'000'000'000;

absl::Status Stopping() {
  return absl::UnavailableError("the daemon is stopping");
}

bool IsReadable(int fd) {
  pollfd stop{.fd = fd, .events = POLLIN, .revents = 0};
  return poll(&stop, 1, 0) > 0;
}

bool IsObservable(const std::vector<Fact>& facts, const std::string& name) {
  return std::any_of(facts.begin(), facts.end(), [&](const Fact& fact) {
    return fact.name == name && fact.observable;
  });
}

// Times one reader and notes how it fared.
template <typename Read>
void Collect(Aggregator& aggregator, std::string name, Read read) {
  const int64_t start = Now().monotonic_ns;
  const absl::Status status = read();
  aggregator.SetCollector({.name = std::move(name),
                           .success = status.ok(),
                           .duration_ns = Now().monotonic_ns - start,
                           .error = std::string(status.message())});
}

}  // namespace

Loop::Loop(LoopOptions options, Source* source, Aggregator aggregator,
           Published<Snapshot>* published)
    : root_(std::move(options.root)),
      on_turn_(std::move(options.on_turn)),
      on_governed_(std::move(options.on_governed)),
      on_history_(std::move(options.on_history)),
      source_(source),
      resolver_(root_),
      cgroups_(root_),
      aggregator_(std::move(aggregator)),
      published_(published),
      census_observable_(IsObservable(source->facts(), "census")),
      ready_fds_(source->ready_fds()),
      governor_(options.governor),
      budget_(options.census_cpu_share, kCensusBurstNs),
      block_list_budget_(kBlockListShare, kBlockListBurstNs),
      changed_list_budget_(kChangedListShare, kChangedListBurstNs),
      search_budget_(options.census_cpu_share, kCensusBurstNs),
      pipe_budget_(options.census_cpu_share, kCensusBurstNs),
      wake_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (options.infer_holders)
    search_.emplace(root_, &cgroups_,
                    [this](const auto& pfns) { return ReadCgroups(pfns); });
}

Loop::~Loop() { close(wake_fd_); }

void Loop::Run(int stop_fd) {
  mallopt(M_TRIM_THRESHOLD, kFreeBytesKept);
  do {
    const int64_t now = Now().monotonic_ns;
    const bool tick = now >= next_tick_ns_;
    if (tick) {
      next_tick_ns_ = now + kTickNs;
      ReadZones();
      if (BlocksAreDue(now)) ReadBlocks();
      // By the blocks it is known which one an attempt is on.
      ReadHotplug();
      ReadMigrations();
      ReadClaims();
      CheckOwners(aggregator_.HavePinsMovedSince(now - kIdleAfterNs)
                      ? kOwnersChecked
                      : kOwnersCheckedIdle);
      if (now >= next_forget_ns_) ForgetOwners();
      if (search_ && !aggregator_.paused_since()) InferHolders();
      ReadCounters();
      // What stands in an attempt's way changes: it is looked at each time.
      if (census_observable_)
        for (uint64_t block : aggregator_.BlocksOfAttempts())
          LookAt(block, true);
      AddCgroups(aggregator_.UnchargedPages());
      LookForHolders();
      SearchReferences();
      if (auto history = aggregator_.TakeChangedHistory())
        on_history_(*std::move(history));
    }
    Inbox inbox = TakeInbox();
    TakeOrders(inbox.pauses);
    TakeQuestions(inbox);
    PlanLooks();
    const bool looked = !pending_.empty();
    WorkOnLooks(stop_fd);
    if (looked && pending_.empty()) FinishRound();
    // Until the first round is complete nothing is known of the pins.
    const bool first_round = !published_->Get() && !pending_.empty();
    if (!first_round && (tick || looked || !questions_.empty())) Publish();
    TellTurn();
  } while (!ShouldStop(stop_fd));

  Inbox unanswered;
  {
    std::lock_guard lock(mutex_);
    stopped_ = true;
    unanswered = std::exchange(inbox_, {});
  }
  for (Question& question : questions_) question.answer(nullptr);
  for (Asked& question : unanswered.looks) question.answer(nullptr);
  for (AskedBlock& question : unanswered.blocks) question.answer(Stopping());
  for (AskedPage& question : unanswered.pages) question.answer(Stopping());
  for (AskedBlocks& question : unanswered.lists) question.answer(Stopping());
  for (AskedPlan& question : unanswered.plans) question.answer(Stopping());
  for (AskedPause& order : unanswered.pauses) order.answer(Stopping());
}

template <typename T>
bool Loop::Put(std::vector<T> Inbox::*part, T& asked) {
  std::lock_guard lock(mutex_);
  if (stopped_) return false;
  (inbox_.*part).push_back(std::move(asked));
  Wake();
  return true;
}

void Loop::Ask(int64_t max_age_ns, Answer answer) {
  Asked asked{max_age_ns, std::move(answer)};
  if (!Put(&Inbox::looks, asked)) asked.answer(nullptr);
}

void Loop::AskAboutBlock(uint64_t block_id, BlockAnswer answer) {
  AskedBlock asked{block_id, std::move(answer)};
  if (!Put(&Inbox::blocks, asked)) asked.answer(Stopping());
}

void Loop::AskAboutPage(uint64_t pfn, PageAnswer answer) {
  AskedPage asked{pfn, std::move(answer)};
  if (!Put(&Inbox::pages, asked)) asked.answer(Stopping());
}

void Loop::AskForBlockList(BlockQuery query, BlocksAnswer answer) {
  AskedBlocks asked{std::move(query), std::move(answer)};
  if (!Put(&Inbox::lists, asked)) asked.answer(Stopping());
}

void Loop::AskForOfflinePlan(PlanQuery query, PlanAnswer answer) {
  AskedPlan asked{std::move(query), std::move(answer)};
  if (!Put(&Inbox::plans, asked)) asked.answer(Stopping());
}

void Loop::AskToPause(bool pause, PauseAnswer answer) {
  AskedPause asked{pause, std::move(answer)};
  if (!Put(&Inbox::pauses, asked)) asked.answer(Stopping());
}

Loop::Inbox Loop::TakeInbox() {
  std::lock_guard lock(mutex_);
  return std::exchange(inbox_, {});
}

void Loop::Wake() {
  const uint64_t one = 1;
  // Fails only when the counter is full, and then it is readable anyway.
  [[maybe_unused]] const ssize_t n = write(wake_fd_, &one, sizeof(one));
}

void Loop::ReadZones() {
  Collect(aggregator_, "zones", [&] {
    absl::StatusOr<Zoneinfo> info = ReadZoneinfo(root_);
    if (!info.ok()) return info.status();
    memory_shape_ = MemoryShape(root_, *info);
    aggregator_.SetZones(std::move(info->zones));
    return absl::OkStatus();
  });
}

void Loop::ReadMigrations() {
  Collect(aggregator_, "high_order", [&] {
    auto counts = ReadHighOrderCounts(root_);
    if (!counts.ok()) return counts.status();
    aggregator_.SetHighOrderCounts(*std::move(counts));
    return absl::OkStatus();
  });
  if (!IsObservable(source_->facts(), "migrations")) return;
  Collect(aggregator_, "migrations", [&] {
    auto migrations = source_->ReadMigrations(Now());
    if (!migrations.ok()) return migrations.status();
    std::vector<BlockingPage*> pages;
    for (MigrationFailure& failure : migrations->failures)
      pages.push_back(&failure.page);
    NameCgroups(pages);
    aggregator_.SetMigrations(*std::move(migrations));
    return absl::OkStatus();
  });
}

void Loop::ReadHotplug() {
  if (!IsObservable(source_->facts(), "hotplug")) return;
  Collect(aggregator_, "hotplug", [&] {
    auto reading = source_->ReadHotplug(Now());
    if (!reading.ok()) return reading.status();
    std::vector<BlockingPage*> pages;
    for (std::vector<HotplugAttempt>* attempts :
         {&reading->running, &reading->ended})
      for (HotplugAttempt& attempt : *attempts) {
        attempt.road = resolver_.FindRoad(
            std::exchange(attempt.kernel_stack, {}), Now().monotonic_ns);
        for (BlockingPage& page : attempt.blockers) pages.push_back(&page);
      }
    NameCgroups(pages);
    aggregator_.AddHotplug(*std::move(reading));
    return absl::OkStatus();
  });
}

void Loop::ReadClaims() {
  if (!IsObservable(source_->facts(), "claims")) return;
  Collect(aggregator_, "claims", [&] {
    const Timestamp now = Now();
    absl::StatusOr<ClaimReading> reading = source_->ReadClaims(now);
    if (!reading.ok()) return reading.status();
    Govern(*reading, now);
    FollowRetries(reading->moving, now);
    for (const OwnerReading& owner :
         aggregator_.SetClaims(now, *std::move(reading)))
      aggregator_.owner_book().Add(owner,
                                   resolver_.Identify(owner, now.monotonic_ns));
    source_->KeepGaps(aggregator_.claim_gaps());
    return absl::OkStatus();
  });
}

// Calls that come round and round, with the page that lets them. It is looked
// at once for each call.
void Loop::FollowRetries(const std::vector<MovingCall>& moving, Timestamp now) {
  std::vector<PinRetry> retries;
  for (const MovingCall& call : moving) {
    if (!aggregator_.IsRetrying(call, now)) continue;
    PinRetry retry{
        .process = resolver_.Find(call.pid, call.start_boottime_ns, call.comm),
        .door = call.door,
        .begin = call.begin,
        .rounds = call.rounds,
        .page = std::nullopt};
    if (call.stuck_pfn) {
      retry.page = FindStuckPage(call);
      retry.page->last_met = call.stuck;
    }
    retries.push_back(std::move(retry));
  }
  aggregator_.SetPinRetries(std::move(retries));
}

BlockingPage Loop::FindStuckPage(const MovingCall& call) {
  for (const PinRetry& known : aggregator_.pin_retries())
    if (known.process.pid == call.pid &&
        known.begin.monotonic_ns == call.begin.monotonic_ns && known.page &&
        known.page->pfn == call.stuck_pfn && !known.page->pins)
      return *known.page;
  std::vector<BlockingPage> page = {{.pfn = call.stuck_pfn}};
  // In a part of each round the call has its own pin on it.
  for (int i = 0; i < kStuckPageReads; ++i) {
    const auto facts = source_->ReadPages({call.stuck_pfn});
    if (!facts.ok()) break;
    page[0] = ToBlockingPage(call.stuck_pfn, facts->front(),
                             /*isolated=*/false);
    if (!page[0].pins) break;
  }
  page[0].first_met = call.stuck;
  AddReferences(page);
  AddCgroups({&page[0]});
  AddMappers(page);
  if (const auto look = LookAtPage(call.stuck_pfn))
    aggregator_.NoteHolder(*look, page[0]);
  return std::move(page[0]);
}

void Loop::Govern(const ClaimReading& reading, Timestamp now) {
  if (aggregator_.paused_since()) return;
  GovernorState wanted = governor_.Update(reading, now);
  if (wanted.stage != governed_.stage ||
      wanted.doors_off != governed_.doors_off) {
    if (absl::Status status = source_->Govern(wanted); !status.ok()) {
      wanted.stage = GovernorStage::kOff;
      wanted.doors_off = governed_.doors_off;
      wanted.reason = std::string(status.message());
      governor_.StayOff(wanted);
    }
    on_governed_(wanted);
  }
  governed_ = std::move(wanted);
  aggregator_.SetGovernor(governed_);
}

// Finds out which owners' processes have ended: some in each tick, in turn.
void Loop::CheckOwners(size_t most) {
  OwnerBook& book = aggregator_.owner_book();
  // As they are now: what is found out makes another list.
  const OwnerList owners = book.owners();
  auto next = owners.From(uint64_t{last_checked_} + 1);
  for (size_t i = 0; i < std::min(most, owners.size()); ++i, ++next) {
    if (next == owners.end()) next = owners.begin();
    const PinOwner owner = *next;
    if (!owner.process.ended && resolver_.HasEnded(owner.process))
      book.SetEnded(owner.id);
    if (owner.via && !owner.via->ended && resolver_.HasEnded(*owner.via))
      book.SetViaEnded(owner.id);
    last_checked_ = owner.id;
  }
}

void Loop::ForgetOwners() {
  const int64_t now = Now().monotonic_ns;
  next_forget_ns_ = now + kForgetEveryNs;
  resolver_.FreeIfIdle(now);
  if (const uint64_t block_pages = aggregator_.block_pages())
    source_->ForgetClaimsOutside(
        [&](uint64_t pfn) {
          return aggregator_.CanBeLookedAt(pfn / block_pages);
        },
        Now());
  std::vector<uint32_t> ended;
  const OwnerBook& book = aggregator_.owner_book();
  for (const uint32_t id : book.ended())
    if (book.SpanOf(id)->last.monotonic_ns < now - kForgetAfterNs)
      ended.push_back(id);
  if (!ended.empty()) aggregator_.ForgetOwners(source_->ForgetOwners(ended));
}

bool Loop::BlocksAreDue(int64_t now) {
  block_list_budget_.Refill(now);
  changed_list_budget_.Refill(now);
  return block_list_budget_.HasLeft() ||
         (memory_shape_ != listed_shape_ && changed_list_budget_.HasLeft());
}

// Who holds pinned pages that stand in the way of an attempt or did not move.
void Loop::LookForHolders() {
  if (!census_observable_ || aggregator_.paused_since()) return;
  for (const uint64_t pfn : aggregator_.PagesOfUnknownHolder(kPagesLooked))
    aggregator_.SetPageLook(pfn, LookAtPage(pfn));
}

// Who holds what no pin explains, in the way of attempts and migrations.
void Loop::SearchReferences() {
  pipe_budget_.Refill(Now().monotonic_ns);
  const std::vector<uint64_t> pfns = aggregator_.UnsearchedReferences();
  if (pfns.empty() || !pipe_budget_.HasLeft()) return;
  const int64_t cpu_start = ThreadCpuNs();
  aggregator_.SetReferenceHolders(pfns, FindReferences(pfns));
  pipe_budget_.Spend(ThreadCpuNs() - cpu_start);
}

FoundReferences Loop::FindReferences(const std::vector<uint64_t>& pfns) {
  FoundReferences found;
  if (IsObservable(source_->facts(), "pipes"))
    Collect(aggregator_, "pipes", [&] {
      const absl::StatusOr<PipeReading> reading = source_->FindInPipes(pfns);
      if (!reading.ok()) return reading.status();
      for (const PipePage& page : reading->pages)
        found.in_pipes.emplace_back(
            page.pfn,
            ReferenceHolder{.process = resolver_.Find(
                                page.pid, page.start_boottime_ns, page.comm),
                            .through = "pipe",
                            .fd = page.fd});
      found.pipes_searched = reading->complete;
      return absl::OkStatus();
    });
  const auto takers = source_->FindTakers(pfns, Now());
  if (!takers.ok()) return found;  // a fact tells why
  for (const ReferenceTaker& taker : *takers)
    found.taken_by.emplace(
        taker.pfn, TakenBy{.process = resolver_.Find(
                               taker.pid, taker.start_boottime_ns, taker.comm),
                           .taken = taker.taken});
  return found;
}

// Some of a search in each tick, as its share of the CPU allows.
void Loop::InferHolders() {
  const std::vector<Candidate>& known = aggregator_.inference().candidates;
  for (size_t i = 0; i < known.size(); ++i)
    if (!known[i].holder.process.ended &&
        resolver_.HasEnded(known[i].holder.process))
      aggregator_.SetCandidateEnded(i);
  const int64_t now = Now().monotonic_ns;
  search_budget_.Refill(now);
  if (!search_->running() && now >= next_search_ns_)
    if (auto folios = aggregator_.TakeUnclaimed(); folios && !folios->empty())
      search_->Begin(*std::move(folios));
  const int64_t end_ns = now + kSearchSliceNs;
  while (search_->running() && search_budget_.HasLeft() &&
         Now().monotonic_ns < end_ns) {
    const int64_t start = ThreadCpuNs();
    search_->Step();
    search_budget_.Spend(ThreadCpuNs() - start);
    if (search_->running()) continue;
    aggregator_.SetInference(search_->found());
    next_search_ns_ = Now().monotonic_ns + kSearchEveryNs;
  }
}

void Loop::ReadBlocks() {
  const int64_t start = ThreadCpuNs();
  // Of before: what changes meanwhile is seen next time.
  listed_shape_ = memory_shape_;
  Collect(aggregator_, "blocks", [&] {
    absl::StatusOr<MemoryBlocks> blocks = ReadMemoryBlocks(root_);
    if (!blocks.ok()) return blocks.status();
    AddVirtioMem(root_, source_->ReadMemoryDevices(), *blocks);
    aggregator_.SetBlocks(*std::move(blocks));
    return absl::OkStatus();
  });
  ReadMemmap();
  const int64_t cpu_ns = ThreadCpuNs() - start;
  block_list_budget_.Spend(cpu_ns);
  changed_list_budget_.Spend(cpu_ns);
}

// Where struct pages stand changes with the blocks, and where huge pages come
// and go.
void Loop::ReadMemmap() {
  const int64_t now = Now().monotonic_ns;
  if (!census_observable_ || !aggregator_.block_pages()) return;
  next_memmap_ns_ = now + kMemmapEveryNs;
  Collect(aggregator_, "struct_pages", [&] {
    const auto [first, last] = aggregator_.block_span();
    absl::StatusOr<std::vector<MemmapPiece>> pieces = source_->ReadMemmap(
        first * aggregator_.block_pages(), last * aggregator_.block_pages());
    if (!pieces.ok()) return pieces.status();
    aggregator_.SetMemmap(
        Memmap(*std::move(pieces), aggregator_.block_pages()));
    return absl::OkStatus();
  });
}

void Loop::ReadAskedBlocks(const Inbox& inbox) {
  std::set<uint64_t> ids;
  for (const AskedBlock& question : inbox.blocks) ids.insert(question.block_id);
  if (const uint64_t block_pages = aggregator_.block_pages())
    for (const AskedPage& question : inbox.pages)
      ids.insert(question.pfn / block_pages);
  for (const uint64_t id : ids)
    if (const auto block = ReadMemoryBlock(root_, id); block.ok())
      aggregator_.UpdateBlock(*block);
}

void Loop::ReadCounters() {
  if (!IsObservable(source_->facts(), "node_counters")) return;
  Collect(aggregator_, "node_counters", [&] {
    const Timestamp time = Now();
    const auto readings = source_->ReadNodeCounters(aggregator_.nids());
    if (readings.ok())
      aggregator_.SetNodeCounters(time, *readings);
    else
      aggregator_.ForgetNodeCounters();
    return readings.status();
  });
}

void Loop::TakeQuestions(Inbox& inbox) {
  for (const AskedBlocks& question : inbox.lists) AnswerWithBlocks(question);
  for (const AskedPlan& question : inbox.plans) AnswerWithPlan(question);
  if (inbox.looks.empty() && inbox.blocks.empty() && inbox.pages.empty())
    return;
  ReadZones();
  // To list them all takes long on a host that has many.
  if (!inbox.looks.empty() || memory_shape_ != listed_shape_)
    ReadBlocks();
  else
    ReadAskedBlocks(inbox);
  if (Now().monotonic_ns >= next_memmap_ns_) ReadMemmap();
  ReadHotplug();
  ReadMigrations();
  ReadClaims();
  CheckOwners(kOwnersChecked);
  ReadCounters();
  const int64_t now = Now().monotonic_ns;
  for (Asked& question : inbox.looks)
    questions_.push_back(
        {now - question.max_age_ns, std::move(question.answer)});
  for (const AskedBlock& question : inbox.blocks) AnswerAboutBlock(question);
  for (const AskedPage& question : inbox.pages) AnswerAboutPage(question);
}

void Loop::TakeOrders(const std::vector<AskedPause>& orders) {
  for (const AskedPause& order : orders) {
    const absl::StatusOr<PauseState> state = SetPaused(order.pause);
    // Who is answered and asks again sees what he ordered.
    if (published_->Get()) Publish();
    order.answer(state);
  }
}

absl::StatusOr<PauseState> Loop::SetPaused(bool paused) {
  const std::optional<Timestamp> since = aggregator_.paused_since();
  if (paused == since.has_value()) return PauseState{.since = since};
  if (absl::Status status =
          paused ? source_->DetachHooks() : source_->AttachHooks();
      !status.ok())
    return status;
  const Timestamp now = Now();
  if (paused) {
    // Somebody may wait for what is pending.
    if (questions_.empty()) {
      pending_.clear();
      round_blocks_ = 0;
      round_ns_ = 0;
    }
    aggregator_.SetPaused(now, now);
    return PauseState{.since = now};
  }
  governor_.Reset(now);
  governed_ = {.since = now};
  (void)source_->Govern(governed_);  // all is attached: nothing is to be done
  aggregator_.SetPaused(std::nullopt, now);
  return PauseState{.lasted_ns = now.monotonic_ns - since->monotonic_ns};
}

absl::Status Loop::RequireCensus() const {
  return census_observable_
             ? absl::OkStatus()
             : absl::FailedPreconditionError(
                   "what stands in memory is not observable here: see the fact "
                   "census of pinwatch status");
}

absl::StatusOr<BlockReport> Loop::ReportAfresh(uint64_t block_id) {
  for (int look = 1;; ++look) {
    if (aggregator_.CanBeLookedAt(block_id)) {
      LookAt(block_id, true);
      // Owners who came while it was looked at.
      ReadClaims();
    }
    absl::StatusOr<BlockReport> report = aggregator_.Explain(block_id, Now());
    if (look == kLooksAtWhatMayPass || !report.ok() ||
        !MayPass(report->verdict, report->block, report->evidence))
      return report;
    std::this_thread::sleep_for(kBetweenThem);
  }
}

void Loop::AnswerAboutBlock(const AskedBlock& question) {
  if (absl::Status status = RequireCensus(); !status.ok()) {
    question.answer(status);
    return;
  }
  absl::StatusOr<BlockReport> report = ReportAfresh(question.block_id);
  if (report.ok()) {
    AddReferences(report->blockers);
    std::vector<BlockingPage*> pages;
    for (BlockingPage& page : report->blockers) pages.push_back(&page);
    AddCgroups(pages);
    AddMappers(report->blockers);
  }
  question.answer(std::move(report));
}

std::vector<std::optional<MemoryCgroup>> Loop::ReadCgroups(
    const std::vector<uint64_t>& pfns) {
  std::vector<std::optional<MemoryCgroup>> cgroups(pfns.size());
  if (const auto pages = source_->ReadPages(pfns); pages.ok())
    std::ranges::transform(*pages, cgroups.begin(), &CgroupOf);
  return cgroups;
}

void Loop::AddCgroups(const std::vector<BlockingPage*>& pages) {
  if (pages.empty()) return;
  std::vector<uint64_t> pfns;
  for (const BlockingPage* page : pages) pfns.push_back(page->pfn);
  const std::vector<std::optional<MemoryCgroup>> cgroups = ReadCgroups(pfns);
  for (size_t i = 0; i < pages.size(); ++i) pages[i]->cgroup = cgroups[i];
  NameCgroups(pages);
}

std::map<uint64_t, PageMappers> Loop::FindMappersOf(
    const std::vector<uint64_t>& pfns) {
  // What shows which pages processes map is what holders are inferred by.
  if (!search_ || pfns.empty()) return {};
  const auto pages = source_->ReadPages(pfns);
  if (!pages.ok()) return {};
  std::map<uint64_t, page_facts> by_pfn;
  std::set<std::string> cgroups;
  for (size_t i = 0; i < pfns.size(); ++i) {
    by_pfn[pfns[i]] = (*pages)[i];
    MemoryCgroup cgroup = CgroupOf((*pages)[i]).value_or(MemoryCgroup());
    cgroups_.Name({&cgroup});
    if (cgroup.path.size() > 1) cgroups.insert(cgroup.path);
  }
  std::vector<uint32_t> pids = ListProcesses(root_);
  // Those come first whose memory is charged where the pages are.
  if (!cgroups.empty())
    std::stable_partition(pids.begin(), pids.end(), [&](uint32_t pid) {
      return cgroups.count(cgroups_.OfProcess(pid)) > 0;
    });
  return FindMappers(root_, pids, by_pfn, kMapperCpuNs);
}

void Loop::AddMappers(std::vector<BlockingPage>& pages) {
  std::vector<uint64_t> pfns;
  for (const BlockingPage& page : pages)
    if (page.page == PAGE_ELEVATED && !page.reference_holders &&
        pfns.size() < kPagesWithMappers)
      pfns.push_back(page.pfn);
  std::map<uint64_t, PageMappers> found = FindMappersOf(pfns);
  for (BlockingPage& page : pages)
    if (const auto mappers = found.find(page.pfn); mappers != found.end())
      page.mapped_by = std::move(mappers->second);
}

void Loop::NameCgroups(const std::vector<BlockingPage*>& pages) {
  std::vector<MemoryCgroup*> cgroups;
  for (BlockingPage* page : pages)
    if (page->cgroup) cgroups.push_back(&*page->cgroup);
  cgroups_.Name(cgroups);
}

void Loop::AddReferences(std::vector<BlockingPage>& pages) {
  std::map<uint64_t, BlockingPage*> referenced;
  std::vector<uint64_t> pfns;
  for (BlockingPage& page : pages) {
    if (page.page != PAGE_ELEVATED) continue;
    referenced.emplace(page.pfn, &page);
    pfns.push_back(page.pfn);
  }
  if (pfns.empty()) return;
  FoundReferences found = FindReferences(pfns);
  for (auto& [pfn, holder] : found.in_pipes) {
    std::optional<std::vector<ReferenceHolder>>& holders =
        referenced.at(pfn)->reference_holders;
    if (!holders) holders.emplace();
    holders->push_back(std::move(holder));
  }
  for (auto& [pfn, taken_by] : found.taken_by)
    if (!referenced.at(pfn)->reference_holders)
      referenced.at(pfn)->taken_by = std::move(taken_by);
}

void Loop::AnswerAboutPage(const AskedPage& question) {
  if (absl::Status status = RequireCensus(); !status.ok()) {
    question.answer(status);
    return;
  }
  const std::optional<BlockLook> look = LookAtPage(question.pfn);
  ReadClaims();
  absl::StatusOr<PageReport> report =
      aggregator_.ExplainPage(question.pfn, look, Now());
  if (const auto facts = source_->ReadPages({question.pfn});
      report.ok() && report->look && facts.ok()) {
    BlockingPage page = ToBlockingPage(question.pfn, facts->front(),
                                       /*isolated=*/false);
    aggregator_.NameStructPages(page);
    if (page.page == report->page && report->refcount) report->why = page.why;
    report->struct_pages_of = page.struct_pages_of;
    report->cgroup = page.cgroup;
    if (report->cgroup) cgroups_.Name({&*report->cgroup});
  }
  if (report.ok() && report->page == PAGE_ELEVATED) {
    FoundReferences found = FindReferences({question.pfn});
    for (auto& [pfn, holder] : found.in_pipes)
      report->reference_holders.push_back(std::move(holder));
    report->pipes_searched = found.pipes_searched;
    if (report->reference_holders.empty()) {
      if (!found.taken_by.empty())
        report->taken_by = std::move(found.taken_by.begin()->second);
      if (const auto mappers = FindMappersOf({question.pfn}); !mappers.empty())
        report->mapped_by = mappers.begin()->second;
    }
  }
  question.answer(std::move(report));
}

void Loop::AnswerWithBlocks(const AskedBlocks& question) {
  if (absl::Status status = RequireCensus(); !status.ok())
    question.answer(status);
  else
    question.answer(aggregator_.ListBlocks(question.query, Now()));
}

void Loop::AnswerWithPlan(const AskedPlan& question) {
  if (absl::Status status = RequireCensus(); !status.ok())
    question.answer(status);
  else
    question.answer(aggregator_.Plan(question.query, Now()));
}

// Nothing where there is no such page now.
std::optional<BlockLook> Loop::LookAtPage(uint64_t pfn) {
  const uint64_t block_pages = aggregator_.block_pages();
  if (!block_pages || !aggregator_.CanBeLookedAt(pfn / block_pages))
    return std::nullopt;
  const Timestamp time = Now();
  absl::StatusOr<BlockLook> look = source_->LookAt(pfn, pfn + 1, true);
  if (!look.ok()) return std::nullopt;
  look->time = time;
  return *std::move(look);
}

// Looks that somebody waits for come at once. Those that a moved counter makes
// due come while the budget lasts; the slow rotation over all blocks spends
// only what would otherwise go to waste.
void Loop::PlanLooks() {
  if (!census_observable_) return;
  for (const Question& question : questions_)
    AddPending(aggregator_.BlocksUnseenSince(question.unseen_since_ns));
  budget_.Refill(Now().monotonic_ns);
  if (!pending_.empty() || aggregator_.paused_since()) return;
  const bool first = !published_->Get();
  if (first || budget_.HasLeft()) AddPending(aggregator_.StaleBlocks());
  if (pending_.empty() && budget_.IsFull()) {
    if (const auto block = aggregator_.LongestUnseen()) AddPending({*block});
  }
}

void Loop::AddPending(const std::vector<uint64_t>& blocks) {
  const std::set<uint64_t> known(pending_.begin(), pending_.end());
  std::copy_if(blocks.begin(), blocks.end(), std::back_inserter(pending_),
               [&](uint64_t block) { return !known.count(block); });
  round_blocks_ += pending_.size() - known.size();
}

void Loop::WorkOnLooks(int stop_fd) {
  const int64_t start = Now().monotonic_ns;
  while (!pending_.empty()) {
    const uint64_t block = pending_.front();
    pending_.pop_front();
    LookAt(block, false);
    if (Now().monotonic_ns - start > kSliceNs || IsReadable(stop_fd)) break;
  }
  round_ns_ += Now().monotonic_ns - start;
}

void Loop::LookAt(uint64_t block, bool list_pages) {
  const uint64_t pages = aggregator_.block_pages();
  const Timestamp time = Now();
  absl::StatusOr<BlockLook> look =
      source_->LookAt(block * pages, (block + 1) * pages, list_pages);
  if (!look.ok()) {
    census_status_.Update(look.status());
    // A block that cannot be read was looked at all the same: it must not
    // come round again at once.
    look = BlockLook{.lists_pages = list_pages};
  }
  look->block_id = block;
  look->time = time;
  budget_.Spend(look->cpu_ns);
  aggregator_.AddLook(*std::move(look));
}

void Loop::FinishRound() {
  // Read again: only counters that did not move meanwhile vouch for the looks,
  // and claims that were met may be of new owners.
  ReadCounters();
  ReadClaims();
  if (round_blocks_ >= aggregator_.nr_online_blocks())
    aggregator_.FinishRound();
  aggregator_.SetCollector({.name = "census",
                            .success = census_status_.ok(),
                            .duration_ns = round_ns_,
                            .error = std::string(census_status_.message())});
  census_status_ = absl::OkStatus();
  round_blocks_ = 0;
  round_ns_ = 0;
}

void Loop::Publish() {
  auto snapshot = std::make_shared<const Snapshot>(aggregator_.Build(Now()));
  const bool first = !published_->Get();
  published_->Set(snapshot);
  // What it took to get to know all owners at once.
  if (first) malloc_trim(0);
  if (!pending_.empty()) return;
  std::vector<Question> answered;
  answered.swap(questions_);
  for (Question& question : answered) question.answer(snapshot);
}

void Loop::TellTurn() {
  const std::shared_ptr<const Snapshot> published = published_->Get();
  on_turn_({.now = Now(),
            .published = published.get(),
            .blocks_looked = round_blocks_ - pending_.size(),
            .blocks_to_look = round_blocks_});
}

// Sleeps until there is something to do. True when it is to stop.
bool Loop::ShouldStop(int stop_fd) {
  const int64_t left_ns = next_tick_ns_ - Now().monotonic_ns;
  const int timeout_ms =
      pending_.empty()
          ? static_cast<int>(std::max<int64_t>(left_ns, 0) / 1'000'000 + 1)
          : 0;
  std::vector<pollfd> fds = {{.fd = stop_fd, .events = POLLIN, .revents = 0},
                             {.fd = wake_fd_, .events = POLLIN, .revents = 0}};
  for (const int fd : ready_fds_)
    fds.push_back({.fd = fd, .events = POLLIN, .revents = 0});
  poll(fds.data(), fds.size(), timeout_ms);
  if (fds[1].revents) {
    uint64_t count;
    [[maybe_unused]] const ssize_t n = read(wake_fd_, &count, sizeof(count));
  }
  // A new owner may not live long: who it is must be read at once.
  if (std::any_of(fds.begin() + 2, fds.end(),
                  [](const pollfd& fd) { return fd.revents != 0; })) {
    ReadHotplug();
    ReadClaims();
  }
  return fds[0].revents != 0;
}

}  // namespace pinwatch
