// SPDX-License-Identifier: Apache-2.0
//
// What outlives the daemon in a directory of bpffs, and what the next one makes
// of it.
#include <sys/stat.h>
#include <time.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <thread>

#include "tests/vm/guest.h"

namespace pinwatch::guest {
namespace {

namespace fs = std::filesystem;

const std::string kDirectory = "/sys/fs/bpf/pinwatch";
const std::vector<std::string> kKeep = {"--bpf.dir", kDirectory};
// Memory has a table of claims only once something is claimed there.
const std::vector<std::string> kKeepWithoutTables = {
    "--bpf.dir", kDirectory, "--claims.bytes-at-start", "0"};

class Kept : public OwnDaemonTest {
 protected:
  // Also where a test failed before its daemon was stopped: that is gone here.
  void TearDown() override {
    EXPECT_EQ(Process({"pinwatch", "uninstall"}).Wait(seconds(30)), 0);
    EXPECT_FALSE(fs::exists(kDirectory));
  }
};

void Kill(Daemon& daemon) {
  daemon.process().Signal(SIGKILL);
  EXPECT_EQ(daemon.process().Wait(seconds(30)), 128 + SIGKILL);
}

// Of programs to the entry and the return of functions, whoever keeps them.
size_t CountTraces() {
  const Json links = Json::parse(Ask({"bpftool", "-j", "link", "list"}));
  return static_cast<size_t>(std::ranges::count_if(links, [](const Json& link) {
    const std::string type = link.value("attach_type", "");
    return type == "trace_fentry" || type == "trace_fexit";
  }));
}

// The kernel takes back in its own time what nothing refers to any more.
bool LinksBecome(size_t wanted) {
  return Eventually(seconds(20), [&] { return CountTraces() == wanted; });
}

// In that part of what is kept, such as one folder a generation.
std::set<std::string> NamesIn(const std::string& folder) {
  std::set<std::string> names;
  std::error_code error;
  for (const auto& entry :
       fs::directory_iterator(kDirectory + "/v1/" + folder, error))
    names.insert(entry.path().filename());
  return names;
}

// What each process holds, by certainty and zone.
using Holders = std::map<std::pair<pid_t, std::string>, PinsByZone>;

struct Owners {
  Holders holders;
  std::map<pid_t, time_t> since;  // of all exact
};

time_t ToTime(const std::string& text) {
  tm time{};
  if (!strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &time))
    Fail("no time: " + text);
  return timegm(&time);
}

Owners ReadOwners() {
  Owners owners;
  const Json top = FreshOwners();
  for (const Json& owner : top.at("owners"))
    for (const Json& holding : owner.at("holdings")) {
      const pid_t pid = owner.at("process").at("pid");
      Pins& pins = owners.holders[{pid, holding.at("certainty")}]
                                 [{holding.at("nid"), holding.at("zone")}];
      pins.pages += holding.at("pins").at("pages").get<uint64_t>();
      pins.references += holding.at("pins").at("references").get<uint64_t>();
      if (holding.at("since_exact") == true)
        owners.since[pid] = ToTime(holding.at("since"));
    }
  return owners;
}

Holders HeldBy(const std::vector<const Workload*>& workloads,
               const std::string& certainty = kHeld) {
  Holders holders;
  for (const Workload* workload : workloads)
    holders[{workload->pid(), certainty}] = PinsOf(workload->pfns());
  return holders;
}

double LongTermPages() {
  return Sum(ReadMetrics(), "pinwatch_pin_pages_total",
             {{"kind", "long_term"}});
}

double ClaimGap() {
  return Sum(ReadMetrics(), "pinwatch_claim_gap_seconds_total");
}

// What the fact says of the claims that are kept.
Json KeptFact() {
  const Json info = Status(/*fresh=*/false).at("info");
  for (const Json& fact : info.at("facts"))
    if (fact.at("name") == "kept_claims") return fact;
  Fail("no fact kept_claims");
}

// A daemon of another build, in whose programs one name is another. It is the
// one that is started as long as this lives.
class OtherBuild {
 public:
  OtherBuild(const std::string& name, const std::string& other_name) {
    std::string path = Ask({"sh", "-c", "command -v pinwatchd"});
    path.pop_back();
    std::string image = ReadFile(path);
    size_t places = 0;
    for (size_t at = 0; (at = image.find(name, at)) != std::string::npos;
         ++places)
      image.replace(at, name.size(), other_name);
    if (places == 0) Fail("pinwatchd has no " + name);
    fs::create_directory(folder_);
    WriteFile(folder_ / "pinwatchd", image);
    chmod((folder_ / "pinwatchd").c_str(), 0755);
    setenv("PATH", (folder_.string() + ":" + search_).c_str(), 1);
  }
  ~OtherBuild() {
    setenv("PATH", search_.c_str(), 1);
    fs::remove_all(folder_);
  }

 private:
  const fs::path folder_ = "/tmp/other-build";
  const std::string search_ = getenv("PATH");
};

// Kills a start as soon as that is there of what it keeps.
void KillStartAt(const std::function<bool()>& is_there) {
  Daemon daemon(kKeep, Daemon::Wait::kNot);
  const auto deadline = std::chrono::steady_clock::now() + seconds(60);
  while (!is_there() && std::chrono::steady_clock::now() < deadline) {
  }
  EXPECT_TRUE(is_there()) << daemon.process().Errors();
  Kill(daemon);
}

// Pages that long-term calls had to move.
double MovedPages() {
  return Sum(ReadMetrics(), "pinwatch_subsystem_pin_move_pages_total",
             {{"step", "moved"}});
}

double MovedFor(const Workload& workload) {
  return workload.held().at("moved_pages").get<double>();
}

TEST_F(Kept, PinsFromBeforeAndWithoutADaemonHaveTheirOwners) {
  KillStartAt([] { return !NamesIn("links").empty(); });

  auto daemon = std::make_unique<Daemon>(kKeepWithoutTables);
  EXPECT_NE(KeptFact().at("reason").get<std::string>().find("killed"),
            std::string::npos);
  EXPECT_EQ(NamesIn("links").size(), 1u);
  const size_t links = CountTraces();
  const Workload before({"pin-iouring", "--pages", "23"});
  const Owners seen = ReadOwners();
  EXPECT_EQ(seen.holders, HeldBy({&before}));
  EXPECT_EQ(LongTermPages(), 23);
  Kill(*daemon);
  // Claims are made to the second.
  std::this_thread::sleep_for(seconds(2));
  const Workload meanwhile({"pin-iouring", "--pages", "37"});
  Workload released({"pin-iouring", "--pages", "29"});
  released.Release();
  std::this_thread::sleep_for(seconds(2));

  daemon = std::make_unique<Daemon>(kKeepWithoutTables);
  const Owners owners = ReadOwners();
  EXPECT_EQ(owners.holders, HeldBy({&before, &meanwhile}));
  ASSERT_TRUE(owners.since.count(before.pid()) &&
              owners.since.count(meanwhile.pid()));
  EXPECT_NEAR(owners.since.at(before.pid()), seen.since.at(before.pid()), 1);
  EXPECT_LT(owners.since.at(before.pid()), owners.since.at(meanwhile.pid()));
  EXPECT_TRUE(LinksBecome(links)) << "nothing is attached a second time";
  EXPECT_EQ(LongTermPages(), 23 + 37 + 29) << "counted on";
  // Where that is told without an option. Of rounds without a daemon it is
  // known by their result.
  if (ToFollowMoves().empty()) {
    EXPECT_EQ(MovedPages(),
              MovedFor(before) + MovedFor(meanwhile) + MovedFor(released));
  }
  EXPECT_EQ(ClaimGap(), 0);
  EXPECT_EQ(KeptFact().value("reason", ""), "");

  Ask({"pinwatch", "pause"});
  EXPECT_TRUE(LinksBecome(0));
  Kill(*daemon);
  const Workload unseen({"pin-iouring", "--pages", "31"});
  std::this_thread::sleep_for(seconds(2));

  daemon = std::make_unique<Daemon>(kKeepWithoutTables);
  EXPECT_TRUE(LinksBecome(links));
  EXPECT_GT(ClaimGap(), 2);
  const Holders probable = HeldBy({&before, &meanwhile}, kProbable);
  EXPECT_EQ(ReadOwners().holders, probable);
  // One of the second in which the gap ends may be of before its end.
  std::this_thread::sleep_for(seconds(2));
  const Workload after({"pin-iouring", "--pages", "41"});
  Holders holders = HeldBy({&after});
  holders.insert(probable.begin(), probable.end());
  EXPECT_EQ(ReadOwners().holders, holders);
}

TEST_F(Kept, AnotherBuildTakesThePlaceOfTheFirstWithoutAGap) {
  auto daemon = std::make_unique<Daemon>(kKeep);
  const Workload before({"pin-iouring", "--pages", "23"});
  const size_t links = CountTraces();
  const std::set<std::string> first = NamesIn("links");
  daemon.reset();
  const size_t kept_links = NamesIn("links/" + *first.begin()).size();
  EXPECT_GT(kept_links, 0u);
  EXPECT_TRUE(LinksBecome(kept_links)) << "a stop leaves these attached";

  const OtherBuild build("ask_folio", "ask_f0lio");
  KillStartAt([] { return NamesIn("links").size() == 2; });
  const Workload meanwhile({"pin-iouring", "--pages", "37"});
  daemon = std::make_unique<Daemon>(kKeep);
  EXPECT_TRUE(LinksBecome(links)) << "the older ones are detached";
  EXPECT_EQ(NamesIn("links").size(), 1u);
  EXPECT_NE(NamesIn("links"), first);
  EXPECT_EQ(NamesIn("links"), NamesIn("programs"));
  const Workload after({"pin-iouring", "--pages", "31"});
  EXPECT_EQ(ReadOwners().holders, HeldBy({&before, &meanwhile, &after}));
  EXPECT_EQ(LongTermPages(), 23 + 37 + 31) << "none counted twice";
  EXPECT_EQ(ClaimGap(), 0);

  Process second({"pinwatchd", "--bpf.dir", kDirectory});
  EXPECT_EQ(second.Wait(seconds(30)), 69);
  EXPECT_NE(second.Errors().find("is another pinwatchd's"), std::string::npos)
      << second.Errors();
  Process early({"pinwatch", "uninstall"});
  EXPECT_EQ(early.Wait(seconds(30)), 70);
  EXPECT_NE(early.Errors().find("stop it first"), std::string::npos)
      << early.Errors();

  daemon.reset();
  EXPECT_TRUE(LinksBecome(kept_links));
  const std::string removed = Ask({"pinwatch", "uninstall"});
  EXPECT_NE(removed.find("no pin is followed any more"), std::string::npos)
      << removed;
  EXPECT_TRUE(LinksBecome(0));
}

// The first was seen alive, the second never.
TEST_F(Kept, OwnersThatEndedWithoutADaemonAreNoLivingHolders) {
  auto daemon = std::make_unique<Daemon>(kKeep);
  Workload seen({"pin-iouring", "--pages", "23", "--pass-later"});
  EXPECT_EQ(ReadOwners().holders, HeldBy({&seen}));
  const Holders expected_of_seen = HeldBy({&seen}, kProbable);
  Kill(*daemon);
  seen.LetGo();
  seen.WaitForEnd();
  Workload unseen({"pin-iouring", "--pages", "37", "--memfd", "--pass-ring"});
  unseen.WaitForEnd();
  ASSERT_EQ(ReadPinCounters().outstanding(), 23u + 37u);

  daemon = std::make_unique<Daemon>(kKeep);
  Holders holders = expected_of_seen;
  holders[{unseen.held().at("pinner_pid"), kProbable}] = PinsOf(unseen.pfns());
  EXPECT_EQ(ReadOwners().holders, holders);
  const Json top = FreshOwners();
  for (const Json& part : top.at("attributions"))
    EXPECT_EQ(part.at("reason"), "claimant_ended") << part;
  for (const Json& owner : top.at("owners"))
    EXPECT_EQ(owner.at("process").at("ended"), true) << owner;
  seen.Release();
  unseen.Release();
  WaitForNoPins();
  EXPECT_EQ(ReadOwners().holders, Holders{});
}

}  // namespace
}  // namespace pinwatch::guest
