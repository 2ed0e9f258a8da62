// SPDX-License-Identifier: Apache-2.0
//
// How often verdicts prove true: real attempts at blocks that are chosen
// without a look at their verdicts. Twelve, or PINWATCH_ATTEMPTS.
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <random>
#include <set>

#include "tests/vm/guest.h"

namespace pinwatch::guest {
namespace {

using Scores = OwnDaemonTest;

constexpr size_t kScenarios = 12;
constexpr size_t kDefaultAttempts = kScenarios;
// An attempt stays that moves no page for so long.
constexpr seconds kShortPatience(5);
constexpr seconds kPatience(30);

// Bits of /proc/kpageflags, see linux/kernel-page-flags.h.
constexpr uint64_t kLru = 1 << 5;
constexpr uint64_t kSlab = 1 << 7;
constexpr uint64_t kAnon = 1 << 12;
constexpr uint64_t kHuge = 1 << 17;
constexpr uint64_t kTransparentHuge = 1 << 22;

// What came of an attempt. One that went although pages had failed to move
// meanwhile bears out who foresaw that it would go, and that it would wait.
enum Outcome { kWent, kWentLate, kRefused, kStayed, kNrOutcomes };
constexpr std::array<const char*, kNrOutcomes> kOutcomeNames = {
    "went", "went_late", "refused", "stayed"};

enum class Foreseen { kGoes, kRefuses, kWaits, kUnknown };

Foreseen Foresee(const std::string& verdict) {
  if (verdict == "VERDICT_REMOVABLE" ||
      verdict == "VERDICT_REMOVABLE_AFTER_MIGRATION")
    return Foreseen::kGoes;
  if (verdict == "VERDICT_BLOCKED_BY_KERNEL_MEMORY") return Foreseen::kRefuses;
  return verdict == "VERDICT_UNKNOWN" ? Foreseen::kUnknown : Foreseen::kWaits;
}

bool IsRight(Foreseen foreseen, Outcome outcome) {
  switch (foreseen) {
    case Foreseen::kGoes:
      return outcome == kWent || outcome == kWentLate;
    case Foreseen::kRefuses:
      return outcome == kRefused;
    case Foreseen::kWaits:
      return outcome == kStayed || outcome == kWentLate;
    case Foreseen::kUnknown:
      break;
  }
  return false;
}

struct Target {
  uint64_t block = 0;
  std::string zone;
};

std::vector<Target> OnlineBlocks() {
  std::vector<Target> blocks;
  for (const Block& block : ReadBlocks())
    if (block.state == "online") blocks.push_back({block.id, block.zone});
  return blocks;
}

// Memory of this process in huge pages, as far as there are any.
class HugeMemory {
 public:
  HugeMemory() {
    if (data_ == MAP_FAILED) Fail("mmap");
    madvise(data_, kBytes, MADV_HUGEPAGE);
    memset(data_, 1, kBytes);
  }
  ~HugeMemory() { munmap(data_, kBytes); }
  HugeMemory(const HugeMemory&) = delete;
  HugeMemory& operator=(const HugeMemory&) = delete;

 private:
  static constexpr size_t kBytes = 46 << 20;  // 23 huge pages, or 22
  void* data_ = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
};

// What a workload's page is to be told as.
struct HeldPage {
  std::string why;
  pid_t pid = 0;
};

class Host {
 public:
  explicit Host(uint32_t seed) : random_(seed) {}

  // Pages that the scene's workloads hold, by pfn.
  const std::map<uint64_t, HeldPage>& held() const { return held_; }

  // Sets the scene and picks a block that is part of it.
  Target Set(size_t scenario) {
    held_.clear();
    switch (scenario) {
      case 0:
        return Any("Movable");
      case 1:
        return Hold({"hold-vmsplice", "--pages", "23", "--references", "1"});
      case 2:
        std::ofstream("/tmp/page-cache") << std::string(23 << 20, 'x');
        return Most(kLru | kAnon, kLru);
      case 3:
        return Hold({"pin-iouring", "--pages", "23"});
      case 4:
        return Hold({"lock-memory", "--pages", "5888"});
      case 5:
        return Hold({"odirect-loop", "--device", kSlowDisk, "--pages", "23",
                     "--readers", "3"});
      case 6:
        huge_ = std::make_unique<HugeMemory>();
        return Most(kTransparentHuge, kTransparentHuge);
      case 7:
        for (int i = 0; i < 2300; ++i)
          std::ofstream("/tmp/slab-" + std::to_string(i));
        return Most(kSlab, kSlab);
      case 8:
        WriteFile("/proc/sys/vm/nr_hugepages", "7");
        return Most(kHuge, kHuge);
      case 9:
        return Any("");
      case 10:
        Hold({"lock-memory", "--pages", "1024"});
        Hold({"hold-vmsplice", "--pages", "7", "--references", "1"});
        return Hold({"pin-iouring", "--thp", "--pages", "3"});
      default:
        Hold({"pin-iouring", "--pages", "4097"});
        return Any("Movable");
    }
  }

  void Clear(size_t scenario) {
    workloads_.clear();
    huge_.reset();
    if (scenario == 7)
      for (int i = 0; i < 2300; ++i)
        remove(("/tmp/slab-" + std::to_string(i)).c_str());
    if (scenario == 8) WriteFile("/proc/sys/vm/nr_hugepages", "0");
  }

 private:
  Target Pick(const std::vector<Target>& blocks) {
    if (blocks.empty()) Fail("there is no such block");
    return blocks[random_() % blocks.size()];
  }

  // Of that zone, or of whichever.
  Target Any(const std::string& zone) {
    std::vector<Target> blocks = OnlineBlocks();
    std::erase_if(blocks, [&](const Target& block) {
      return !zone.empty() && block.zone != zone;
    });
    return Pick(blocks);
  }

  // One of those with pages of the workload.
  Target Hold(const std::vector<std::string>& argv) {
    workloads_.push_back(std::make_unique<Workload>(argv));
    const std::vector<uint64_t> pfns = workloads_.back()->pfns();
    const std::string why = WhyItStays(argv[0]);
    for (const uint64_t pfn : pfns)
      if (!why.empty()) held_[pfn] = {why, workloads_.back()->pid()};
    std::vector<Target> blocks = OnlineBlocks();
    std::erase_if(blocks, [&](const Target& block) {
      return std::ranges::none_of(pfns, [&](uint64_t pfn) {
        return pfn / BlockPages() == block.block;
      });
    });
    return Pick(blocks);
  }

  // One of the seven with most pages whose flags are so.
  Target Most(uint64_t mask, uint64_t wanted) {
    std::vector<std::pair<uint64_t, Target>> counted;
    std::ifstream flags("/proc/kpageflags", std::ios::binary);
    std::vector<uint64_t> words(BlockPages());
    for (const Target& block : OnlineBlocks()) {
      const size_t bytes = words.size() * sizeof(words[0]);
      flags.clear();
      flags.seekg(static_cast<std::streamoff>(block.block * bytes));
      flags.read(reinterpret_cast<char*>(words.data()),
                 static_cast<std::streamsize>(bytes));
      const auto pages = std::ranges::count_if(
          words, [&](uint64_t word) { return (word & mask) == wanted; });
      if (pages) counted.emplace_back(pages, block);
    }
    std::ranges::sort(counted, [](const auto& a, const auto& b) {
      return a.first > b.first;
    });
    std::vector<Target> blocks;
    for (const auto& [pages, block] : counted)
      if (blocks.size() < 7) blocks.push_back(block);
    return Pick(blocks);
  }

  // Why a page of the workload must not move; empty where it may.
  std::string WhyItStays(const std::string& workload) const {
    if (workload == "hold-vmsplice") return "plain_reference";
    if (workload == "pin-iouring") return "pinned_long_term";
    if (workload == "odirect-loop")
      return direct_reads_pin_ ? "pinned_short_term" : "plain_reference";
    return "";
  }

  // Found out by reading, for which the disk must not be busy.
  const bool direct_reads_pin_ = DirectReadsPin();
  std::mt19937 random_;
  std::map<uint64_t, HeldPage> held_;
  std::vector<std::unique_ptr<Workload>> workloads_;
  std::unique_ptr<HugeMemory> huge_;
};

bool IsOffline(uint64_t block) {
  return ReadFile("/sys/devices/system/memory/memory" + std::to_string(block) +
                  "/state")
      .starts_with("offline");
}

// Whether it ended before no page had moved for that time. The kernel counts
// once a round, and the first of a full block takes its time.
bool Ends(Process& offline, uint64_t block, seconds patience) {
  const auto tried = [] {
    return ReadVmstat("pgmigrate_success") + ReadVmstat("pgmigrate_fail");
  };
  const uint64_t tried_before = tried();
  const auto ended = [&] {
    return offline.Wait(seconds(0)) || IsOffline(block);
  };
  const auto ended_or_tried = [&] {
    return ended() || tried() != tried_before;
  };
  Eventually(kOfflineTimeout, ended_or_tried);
  uint64_t moved = ReadVmstat("pgmigrate_success");
  for (seconds quiet(0); quiet < patience; ++quiet) {
    if (Eventually(seconds(1), ended)) return true;
    const uint64_t moved_now = ReadVmstat("pgmigrate_success");
    if (moved_now != moved) quiet = seconds(-1);
    moved = moved_now;
  }
  return false;
}

// A block that goes is brought back.
Outcome Try(uint64_t block, seconds patience) {
  const uint64_t failed = ReadVmstat("pgmigrate_fail");
  Process offline({"memory-block", "offline", std::to_string(block), "--hold"});
  const bool ended = Ends(offline, block, patience);
  const bool late = ReadVmstat("pgmigrate_fail") > failed;
  if (!ended) offline.Signal(SIGTERM);
  const std::string result =
      Json::parse(offline.ReadLine(kOfflineTimeout)).at("result");
  if (result == "ok") offline.CloseInput();
  offline.Wait(kOfflineTimeout);
  if (result == "ok") return late ? kWentLate : kWent;
  return result == "EINTR" ? kStayed : kRefused;
}

// What all attempts came to, for tests/vm/kernels_table.
struct Tally {
  // By verdict, and by what the dumb guesses said.
  std::map<std::string, std::array<uint64_t, kNrOutcomes>> verdicts;
  uint64_t attempts = 0;
  uint64_t right = 0;
  uint64_t unknown = 0;
  uint64_t zone_right = 0;
  uint64_t pins_right = 0;
  // By what came of it: attempts, and those of them foreseen.
  std::array<uint64_t, kNrOutcomes> outcomes = {};
  std::array<uint64_t, kNrOutcomes> foreseen = {};
  // Folios of workloads that kept an attempt from its end: all, those with the
  // right class, those with the right process, and with a wrong one.
  uint64_t folios = 0;
  uint64_t class_right = 0;
  uint64_t holder_right = 0;
  uint64_t holder_wrong = 0;
  // Of those without a holder.
  uint64_t taker_right = 0;
  uint64_t taker_wrong = 0;
};

void Score(const Json& block, Outcome outcome, Tally& tally) {
  const std::string verdict = block.at("verdict");
  const bool right = IsRight(Foresee(verdict), outcome);
  ++tally.attempts;
  tally.right += right;
  tally.unknown += Foresee(verdict) == Foreseen::kUnknown;
  ++tally.verdicts[verdict.substr(strlen("VERDICT_"))][outcome];
  ++tally.outcomes[outcome];
  tally.foreseen[outcome] += right;
  const bool went = outcome == kWent || outcome == kWentLate;
  const Json& evidence = block.at("evidence");
  const bool has_pins = evidence.at("long_term_pins") != 0 ||
                        evidence.at("short_term_pins") != 0 ||
                        evidence.at("unclaimed_pins") != 0;
  tally.zone_right += went == (block.at("zone") == "Movable");
  tally.pins_right += went == !has_pins;
}

// The processes that a page in an attempt's way is told to be held by.
std::set<pid_t> Named(const Json& page) {
  std::set<pid_t> pids;
  for (const Json& process : page.value("holders", Json::array()))
    pids.insert(process.at("pid").get<pid_t>());
  for (const Json& holder : page.value("reference_holders", Json::array()))
    pids.insert(holder.at("process").at("pid").get<pid_t>());
  return pids;
}

// Who is told to have taken a reference to it last; 0: nobody.
pid_t Taker(const Json& page) {
  const Json taker = page.value("taken_by", Json::object());
  return taker.empty() ? 0 : taker.at("process").at("pid").get<pid_t>();
}

// The story of the last attempt, which has ended.
Json LastAttempt(uint64_t block) {
  Json attempt;
  Eventually(seconds(30), [&] {
    const Json attempts = Json::parse(Ask({"pinwatch", "attempts", "-o", "json",
                                           "--timeout", "30"},
                                          seconds(30)))
                              .at("attempts");
    if (attempts.empty()) return false;
    attempt = attempts.at(0);
    return attempt.at("block") == block && !attempt.at("running");
  });
  return attempt;
}

// Of the pages in the way, those that the workloads know all of.
void ScoreBlockers(const Json& attempt, const Host& host, Tally& tally) {
  for (const Json& page : attempt.at("blockers")) {
    const auto held = host.held().find(page.at("pfn").get<uint64_t>());
    if (held == host.held().end()) continue;
    const std::set<pid_t> named = Named(page);
    const bool right = page.at("why") == held->second.why;
    const bool wrong_name = !named.empty() && !named.contains(held->second.pid);
    const pid_t taker = named.empty() ? Taker(page) : 0;
    const bool wrong_taker = taker && taker != held->second.pid;
    ++tally.folios;
    tally.class_right += right;
    tally.holder_right += named.contains(held->second.pid);
    tally.holder_wrong += wrong_name;
    tally.taker_right += taker && !wrong_taker;
    tally.taker_wrong += wrong_taker;
    if (!right || wrong_name || wrong_taker)
      std::cout << "WRONG, " << held->second.why << " by " << held->second.pid
                << ": " << page << std::endl;
  }
}

Json ToJson(const Tally& tally) {
  Json verdicts = Json::object();
  for (const auto& [verdict, outcomes] : tally.verdicts)
    for (int i = 0; i < kNrOutcomes; ++i)
      verdicts[verdict][kOutcomeNames[i]] = outcomes[i];
  return {{"attempts", tally.attempts},
          {"right", tally.right},
          {"unknown", tally.unknown},
          {"zone_right", tally.zone_right},
          {"pins_right", tally.pins_right},
          {"verdicts", verdicts},
          {"folios", tally.folios},
          {"class_right", tally.class_right},
          {"holder_right", tally.holder_right},
          {"holder_wrong", tally.holder_wrong},
          {"taker_right", tally.taker_right},
          {"taker_wrong", tally.taker_wrong}};
}

TEST_F(Scores, VerdictsProveTrue) {
  const char* const wanted = getenv("PINWATCH_ATTEMPTS");
  const size_t at_least = wanted ? std::stoul(wanted) : kDefaultAttempts;
  const seconds patience =
      at_least > kDefaultAttempts ? kPatience : kShortPatience;
  // Direct reads that take plain references are followed by the option alone.
  const Daemon daemon(DirectReadsPin()
                          ? std::vector<std::string>()
                          : std::vector<std::string>{"--references.follow"});
  Host host(23);
  Tally tally;
  // A dozen may all be refused at once, since the kernel's image lies in many
  // blocks: then it goes on until there is a folio in the way to be told of.
  const auto is_due = [&](size_t i) {
    return i < at_least || (tally.folios == 0 && i < 5 * at_least);
  };
  for (size_t i = 0; is_due(i); ++i) {
    const size_t scenario = i % kScenarios;
    const Target target = host.Set(scenario);
    const Json block =
        Json::parse(Ask({"pinwatch", "explain", std::to_string(target.block),
                         "-o", "json", "--timeout", "30"}));
    const Outcome outcome = Try(target.block, patience);
    if (outcome == kStayed)
      ScoreBlockers(LastAttempt(target.block), host, tally);
    host.Clear(scenario);
    Score(block, outcome, tally);
    const bool right =
        IsRight(Foresee(block.at("verdict").get<std::string>()), outcome);
    std::cout << "scenario " << scenario << ", memory" << target.block << " of "
              << target.zone << ": " << block.at("verdict") << ", "
              << kOutcomeNames[outcome] << (right ? "" : ": WRONG")
              << std::endl;  // seen while it lasts
    if (!right)
      std::cout << block << "\n"
                << Ask({"pinwatch", "attempts", "-o", "json"}) << std::flush;
  }
  std::cout << "SCORES " << ToJson(tally) << "\n";
  const auto attempts = static_cast<double>(tally.attempts);
  EXPECT_GE(tally.right, 0.99 * attempts);
  EXPECT_LE(tally.unknown, 0.01 * attempts);
  for (int i = 0; i < kNrOutcomes; ++i)
    EXPECT_GE(tally.foreseen[i], 0.95 * static_cast<double>(tally.outcomes[i]))
        << kOutcomeNames[i];
  EXPECT_GT(tally.folios, 0u);
  EXPECT_GE(tally.class_right, 0.99 * static_cast<double>(tally.folios));
  EXPECT_EQ(tally.holder_wrong, 0u);
  EXPECT_EQ(tally.taker_wrong, 0u);
  EXPECT_GE(tally.holder_right + tally.taker_right,
            0.95 * static_cast<double>(tally.folios));
}

}  // namespace
}  // namespace pinwatch::guest
