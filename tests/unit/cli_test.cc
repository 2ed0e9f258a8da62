// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <limits>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "cli/json.h"
#include "cli/status_table.h"
#include "cli/text.h"
#include "daemon/service.h"
#include "tests/unit/cli_lines.h"
#include "tests/unit/runs_command.h"

namespace pinwatch {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

constexpr int64_t kNow = 1'700'000'000;
constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();

v1::GetInfoResponse Info() {
  return Parse<v1::GetInfoResponse>(R"(
      version: "0.1.0" hostname: "db17"
      kernel_release: "6.12.30+deb13-amd64"
      started { seconds: 1699720000 })");
}

// Two nodes: one with pins of two migratetypes and a counter that agrees, one
// whose pins changed since it was looked at.
v1::Snapshot TwoNodes() {
  return Parse<v1::Snapshot>(R"(
      generation: 12 time { seconds: 1699999999 nanos: 200000000 }
      nodes { nid: 0 acquired_references: 20000 released_references: 3600
              outstanding_references: 16400 counters_exact: true
              census_references: 16400 census_current: true
              drift_references: 0 drift_time { seconds: 1699999999 } }
      nodes { nid: 1 acquired_references: 520 released_references: 5
              outstanding_references: 515 counters_exact: true
              census_references: 512 drift_references: 3
              drift_time { seconds: 1699999740 } }
      zones { nid: 0 name: "DMA" managed_pages: 3840
              migratetypes { migratetype: "unmovable" }
              oldest_look { seconds: 1699999988 } }
      zones { nid: 0 name: "Normal" managed_pages: 32690176
              migratetypes { migratetype: "unmovable"
                             confirmed { pages: 16000 references: 16016 } }
              migratetypes { migratetype: "movable" possible { pages: 3 } }
              migratetypes { migratetype: "cma"
                             confirmed { pages: 384 references: 384 } }
              oldest_look { seconds: 1699999995 } }
      zones { nid: 0 name: "Device" }
      zones { nid: 1 name: "Normal" managed_pages: 16777216
              migratetypes { migratetype: "movable"
                             confirmed { pages: 512 references: 512 } }
              oldest_look { seconds: 1699999400 } }
      block_size_bytes: 134217728
      blocks { nid: 0 zone: "Normal" state: "online" blocks: 1000 }
      blocks { nid: 1 zone: "Movable" state: "going-offline" blocks: 1 }
      blocks { zone: "none" state: "offline" blocks: 16 }
      migrations { reason: "compaction" mode: "async" calls: 12345
                   succeeded_pages: 4567890 failed_pages: 1234 }
      migrations { reason: "longterm_pin" mode: "sync" }
      facts { name: "census" observable: true source: "struct page" }
      facts { name: "memory_blocks" observable: true }
      facts { name: "migrations" observable: true }
      facts { name: "node_counters" observable: true }
      facts { name: "zones" observable: true }
      collectors { name: "zones" success: true }
      attributions { nid: 0 zone: "Normal" certainty: CERTAINTY_HELD
                     pins { pages: 16384 references: 16400 } }
      attributions { nid: 1 zone: "Normal" certainty: CERTAINTY_HELD
                     pins { pages: 505 references: 505 } }
      attributions { nid: 1 zone: "Normal" certainty: CERTAINTY_UNATTRIBUTED
                     reason: "no_claim" pins { pages: 7 references: 7 } })");
}

std::vector<std::string> Lines(const std::string& text) {
  return absl::StrSplit(text, '\n');
}

std::string Table(const v1::GetInfoResponse& info, const v1::Snapshot& snapshot,
                  int width = 80) {
  return Checked(StatusTable(
      info, snapshot, {.now = absl::FromUnixSeconds(kNow), .width = width}));
}

TEST(StatusTable, TellsOfPinsBlocksAndMigration) {
  EXPECT_EQ(
      Table(Info(), TwoNodes()),
      R"(db17: kernel 6.12.30+deb13-amd64, pinwatchd 0.1.0 up 3 d, snapshot 0.8 s old

PINNED PAGES, by the census
NODE  ZONE             MANAGED        PAGES      BYTES   REFERENCES     POSSIBLE
   0  DMA               15 MiB            0        0 B            0            0
   0  Normal           125 GiB       16,384     64 MiB       16,400            3
        unmovable                    16,000   62.5 MiB       16,016            0
        movable                           0        0 B            0            3
        cma                             384   1.50 MiB          384            0
   1  Normal            64 GiB          512      2 MiB          512            0
possible: pages that read as pinned, while plain references would read the same

PIN REFERENCES, the kernel's counter against the census
NODE       COUNTER       CENSUS  DRIFT                   LOOK AGE  LOOK IS
   0        16,400       16,400  agrees                      12 s  current
   1           515          512  +3, 4 min ago             10 min  outdated
outdated: older than the last pin change; --fresh looks again

WHO HOLDS THEM, as far as it is known; pinwatch top has names
held: 16,889 pages (66.0 MiB)
unattributed: 7 pages (28 KiB): pinned before pinwatchd attached, or unseen;
  pinwatchd --holders.infer would look for the likely holder

MEMORY BLOCKS of 128 MiB
NODE  ZONE           STATE                      BLOCKS       SIZE
   0  Normal         online                      1,000    125 GiB
   1  Movable        going-offline                   1    128 MiB
   ?  none           offline                        16      2 GiB

MIGRATION since pinwatchd started, in pages
REASON                MODE                  CALLS        MOVED       FAILED
compaction            async                12,345    4,567,890        1,234
)");
}

TEST(StatusTable, LongTermPinsInZoneMovableAreSaid) {
  v1::Snapshot snapshot = TwoNodes();
  v1::PinKinds& kinds = *snapshot.add_pin_kinds();
  kinds.set_zone("Movable");
  kinds.set_short_term_pages(7);
  kinds.set_unknown_pages(7);
  EXPECT_THAT(Table(Info(), snapshot), Not(HasSubstr("ZONE_MOVABLE")));
  kinds.set_long_term_pages(23);
  EXPECT_THAT(Table(Info(), snapshot),
              HasSubstr("which kernels move out from Linux\n  v5.13 on\n"));
  snapshot.set_moves_long_term_pins(false);
  EXPECT_THAT(
      Table(Info(), snapshot),
      HasSubstr("long-term in ZONE_MOVABLE: 23 pages (92 KiB), which "
                "this kernel does not move\n  out, as later ones do\n"));
  snapshot.set_moves_long_term_pins(true);
  EXPECT_THAT(Table(Info(), snapshot),
              HasSubstr("which this kernel should have\n  moved out"));
}

TEST(StatusTable, TellsWhatTheGovernorHoldsBack) {
  v1::Snapshot snapshot = TwoNodes();
  v1::Governor& governor = *snapshot.mutable_governor();
  governor.set_stage(v1::GOVERNOR_STAGE_ALL);
  EXPECT_THAT(Table(Info(), snapshot), Not(HasSubstr("sampled")));
  governor.set_stage(v1::GOVERNOR_STAGE_SAMPLED);
  governor.mutable_since()->set_seconds(kNow - 300);
  governor.set_reason("1001 short-term calls a second, 3.1 % of the CPUs");
  EXPECT_THAT(
      Table(Info(), snapshot),
      HasSubstr("sampled: one short-term call in 64 is recorded, for 5 min: "
                "1001 short-term "
                "calls\n  a second, 3.1 % of the CPUs\n"));
  governor.set_stage(v1::GOVERNOR_STAGE_OFF);
  governor.add_doors_off("pin_user_pages_fast");
  EXPECT_THAT(Table(Info(), snapshot),
              HasSubstr("not followed: pin_user_pages_fast, so that holders"));
}

TEST(StatusTable, TellsForHowLongPagesAreHeld) {
  v1::Snapshot snapshot = TwoNodes();
  for (const char* zone : {"Normal", "DMA32"}) {
    v1::PinKinds& kinds = *snapshot.add_pin_kinds();
    kinds.set_zone(zone);
    kinds.set_long_term_cma_pages(23);
    for (const auto& [age, pages] :
         {std::pair("1s", 4097), std::pair("1m", 7), std::pair("1h", 0)}) {
      v1::OlderPages& older = *kinds.add_older();
      older.set_older_than(age);
      older.set_long_term_pages(pages);
    }
  }
  EXPECT_THAT(Table(Info(), snapshot),
              AllOf(HasSubstr("long-term pages held for longer than: 1s 8,194, "
                              "1m 14\n"),
                    HasSubstr("long-term in CMA: 46 pages (184 KiB), which"),
                    Not(HasSubstr("short-term pages held"))));
}

TEST(StatusTable, TellsOfAPauseFirst) {
  v1::Snapshot snapshot = TwoNodes();
  snapshot.mutable_paused_since()->set_seconds(kNow - 300);
  EXPECT_THAT(
      Table(Info(), snapshot),
      HasSubstr("0.8 s old\n\nPAUSED for 5 min\nNo hook is attached and "
                "no memory is looked at unasked; pinwatch resume ends"
                "\n  that.\n\nPINNED PAGES"));
}

TEST(StatusTable, TellsHowLongPinsWereNotFollowed) {
  v1::Snapshot snapshot = TwoNodes();
  snapshot.mutable_claims()->mutable_gap()->set_seconds(300);
  EXPECT_THAT(Table(Info(), snapshot),
              HasSubstr("pins were not followed for 5 min: in a pause, or"));
}

TEST(StatusTable, TellsWhatADegradedKernelDoesNotShow) {
  const auto snapshot = Parse<v1::Snapshot>(R"(
      time { seconds: 1699999990 }
      nodes { nid: 0 outstanding_references: 40 }
      nodes { nid: 1 }
      zones { nid: 0 name: "Normal" managed_pages: 262144 }
      facts { name: "census" reason: "lockdown=confidentiality forbids reading kernel memory: bpf_probe_read_kernel is not allowed; boot with lockdown=integrity" }
      facts { name: "memory_blocks" reason: "no /sys/devices/system/memory" }
      facts { name: "migrations" }
      facts { name: "node_counters" observable: true
              reason: "CAP_SYS_ADMIN is missing" }
      collectors { name: "zones" error: "open /proc/zoneinfo: Permission denied" })");
  EXPECT_EQ(
      Table(Info(), snapshot),
      R"(db17: kernel 6.12.30+deb13-amd64, pinwatchd 0.1.0 up 3 d, snapshot 10 s old

PINNED PAGES, by the census
NODE  ZONE             MANAGED        PAGES      BYTES   REFERENCES     POSSIBLE
   0  Normal             1 GiB          n/a        n/a          n/a          n/a

PIN REFERENCES, the kernel's counter against the census
NODE       COUNTER       CENSUS  DRIFT                   LOOK AGE  LOOK IS
   0           ~40          n/a  n/a, reasons below           n/a
   1             ?          n/a  n/a, reasons below           n/a
~: from sysfs, where what CPUs have not yet added is missing

MEMORY BLOCKS
n/a, reasons below

MIGRATION since pinwatchd started, in pages
n/a, reasons below

NOT OBSERVABLE
census: lockdown=confidentiality forbids reading kernel memory:
  bpf_probe_read_kernel is not allowed; boot with lockdown=integrity
memory_blocks: no /sys/devices/system/memory
migrations: no reason is given

NOT COMPLETE
node_counters: CAP_SYS_ADMIN is missing

FAILED the last time
zones: open /proc/zoneinfo: Permission denied
)");
}

TEST(StatusTable, AnEmptySnapshotShowsNoZeros) {
  EXPECT_EQ(Table({}, {}), R"(?: kernel ?, pinwatchd ? up ?, snapshot ? old

PINNED PAGES, by the census
not known

MEMORY BLOCKS
not known

MIGRATION since pinwatchd started, in pages
not known
)");
}

TEST(StatusTable, AKernelWithoutMigrationsAndPinsShowsThatThereAreNone) {
  auto snapshot = TwoNodes();
  snapshot.clear_migrations();
  snapshot.clear_blocks();
  const std::string table = Table(Info(), snapshot);
  EXPECT_THAT(table, HasSubstr("in pages\nnone since start\n"));
  EXPECT_THAT(table, HasSubstr("MEMORY BLOCKS of 128 MiB\nnone on this host"));
}

TEST(StatusTable, ZonesNobodyLookedAtAreUnknown) {
  auto snapshot = TwoNodes();
  for (int i : {1, 3}) {
    snapshot.mutable_zones(i)->clear_migratetypes();
    snapshot.mutable_zones(i)->clear_oldest_look();
  }
  snapshot.mutable_nodes(0)->clear_drift_references();
  snapshot.mutable_nodes(0)->set_census_current(false);
  const std::vector<std::string> lines = Lines(Table(Info(), snapshot));
  EXPECT_THAT(lines,
              testing::Contains("   0  Normal           125 GiB            ?   "
                                "       ?            ?            ?"));
  EXPECT_THAT(lines,
              testing::Contains("   0        16,400            ?  not yet      "
                                "                  ?  not known"));
}

TEST(StatusTable, WithoutCountersTheCensusStandsAlone) {
  auto snapshot = TwoNodes();
  snapshot.mutable_facts(3)->set_observable(false);
  snapshot.mutable_nodes()->DeleteSubrange(1, 1);
  *snapshot.mutable_nodes(0) =
      Parse<v1::Node>("nid: 0 census_references: 16400");
  EXPECT_THAT(
      Lines(Table(Info(), snapshot)),
      testing::Contains("   0           n/a       16,400  n/a, reasons below   "
                        "       12 s  not known"));
}

// Every figure and every name as large as it gets.
v1::Snapshot EightHugeNodes() {
  v1::Snapshot snapshot;
  for (int i = 0; i < 8; ++i) {
    const uint32_t nid = std::numeric_limits<uint32_t>::max() - i;
    v1::Node& node = *snapshot.add_nodes();
    node.set_nid(nid);
    node.set_outstanding_references(kMax);
    node.set_census_references(kMax);
    node.set_drift_references(std::numeric_limits<int64_t>::min());
    node.mutable_drift_time()->set_seconds(-1'000'000'000'000);
    v1::Zone& zone = *snapshot.add_zones();
    zone.set_nid(nid);
    zone.set_name(std::string(300, 'Z'));
    zone.set_managed_pages(kMax);
    zone.mutable_oldest_look()->set_seconds(-1'000'000);
    v1::MigratetypePages& pages = *zone.add_migratetypes();
    pages.set_migratetype(std::string(300, 'm'));
    for (v1::PinCount* count :
         {pages.mutable_confirmed(), pages.mutable_possible()}) {
      count->set_pages(kMax);
      count->set_references(kMax);
    }
    v1::BlockCount& blocks = *snapshot.add_blocks();
    blocks.set_nid(nid);
    blocks.set_zone(std::string(300, 'Z'));
    blocks.set_state(std::string(300, 's'));
    blocks.set_blocks(kMax);
  }
  snapshot.set_block_size_bytes(kMax);
  v1::Migrations& row = *snapshot.add_migrations();
  row.set_reason(std::string(300, 'r'));
  row.set_mode(std::string(300, 'm'));
  row.set_calls(kMax);
  row.set_succeeded_pages(kMax);
  row.set_failed_pages(kMax);
  v1::Fact& fact = *snapshot.add_facts();
  fact.set_name(std::string(300, 'f'));
  fact.set_reason(std::string(300, 'r'));
  v1::Collector& collector = *snapshot.add_collectors();
  collector.set_name(std::string(300, 'c'));
  return snapshot;
}

TEST(StatusTable, EightHugeNodesKeepToTheColumns) {
  v1::GetInfoResponse info;
  info.set_hostname(std::string(300, 'h'));
  info.set_kernel_release(std::string(300, 'k'));
  const std::vector<std::string> lines = Lines(Table(info, EightHugeNodes()));
  for (const std::string line :
       {"429~  ZZZZZZZZZZZZ~     64 ZiB      18.45 E     64 ZiB      18.45 E"
        "      18.45 E",
        "        mmmmmmmmmm~                 18.45 E     64 ZiB      18.45 E"
        "      18.45 E",
        "429~      ~18.45 E      18.45 E  -9.223 E, ? ago          19687 d"
        "  not known",
        "429~  ZZZZZZZZZZZZ~  sssssssssssssssssss~      18.45 E   >999 ZiB",
        "rrrrrrrrrrrrrrrrrrr~  mmmmmmmmmmmmm~      18.45 E      18.45 E"
        "      18.45 E"})
    EXPECT_THAT(lines, testing::Contains(line));
}

TEST(StatusTable, EscapesInNamesAreShownNotSent) {
  auto info = Info();
  info.set_hostname("db\x1b[31m17\r\n\x07\xc2\x9b");
  auto snapshot = TwoNodes();
  snapshot.mutable_zones(1)->set_name("\x1b]0;x\x07");
  snapshot.mutable_blocks(0)->set_state("on\nline");
  snapshot.mutable_migrations(0)->set_reason("z\xc3\xbcrich");
  snapshot.mutable_collectors(0)->set_success(false);
  snapshot.mutable_collectors(0)->set_error("a\nb\x7f");
  const std::string table = Table(info, snapshot);
  EXPECT_THAT(table, StartsWith(R"(db\x1b[31m17\x0d\x0a\x07\xc2\x9b: kernel)"));
  EXPECT_THAT(table, HasSubstr(R"(\x1b]0;x\x07 )"));
  EXPECT_THAT(table, HasSubstr(R"(on\x0aline )"));
  EXPECT_THAT(table, HasSubstr(R"(z\xc3\xbcrich )"));
  EXPECT_THAT(table, HasSubstr(R"(zones: a\x0ab\x7f)"));
}

TEST(StatusTable, NarrowTerminalsGetNarrowText) {
  const std::vector<std::string> lines =
      Lines(Table(Info(), TwoNodes(), /*width=*/40));
  EXPECT_EQ(lines[0], "db17: kernel 6.12.30+deb13-amd64,");
  EXPECT_EQ(lines[1], "  pinwatchd 0.1.0 up 3 d, snapshot 0.8 s");
  EXPECT_EQ(lines[2], "  old");
}

TEST(StatusTable, ColoursAddNothingButEscapes) {
  auto snapshot = TwoNodes();
  snapshot.mutable_collectors(0)->set_success(false);
  const std::string plain = Table(Info(), snapshot);
  std::string colored = StatusTable(
      Info(), snapshot, {.now = absl::FromUnixSeconds(kNow), .color = true});
  EXPECT_THAT(colored, HasSubstr("\x1b[33moutdated\x1b[0m"));
  EXPECT_THAT(colored, HasSubstr("\x1b[31mFAILED the last time\x1b[0m"));
  for (const char* escape : {"\x1b[0m", "\x1b[1m", "\x1b[31m", "\x1b[33m"})
    colored = absl::StrReplaceAll(colored, {{escape, ""}});
  EXPECT_EQ(colored, plain);
}

TEST(Text, CountsAreExactAndThenHaveFourDigits) {
  EXPECT_EQ(Count(0), "0");
  EXPECT_EQ(Count(999), "999");
  EXPECT_EQ(Count(1'000), "1,000");
  EXPECT_EQ(Count(999'999'999), "999,999,999");
  EXPECT_EQ(Count(1'000'000'000), "1.000 G");
  EXPECT_EQ(Count(9'999'600'000), "10.00 G");
  EXPECT_EQ(Count(999'960'000'000), "1.000 T");
  EXPECT_EQ(Count(kMax), "18.45 E");
  EXPECT_EQ(SignedCount(3), "+3");
  EXPECT_EQ(SignedCount(-999'999), "-999,999");
  EXPECT_EQ(SignedCount(-1'000'000), "-1.000 M");
  EXPECT_EQ(SignedCount(std::numeric_limits<int64_t>::min()), "-9.223 E");
}

TEST(Text, BytesAreExactWhereTheyFit) {
  EXPECT_EQ(Bytes(0), "0 B");
  EXPECT_EQ(Bytes(1023), "1023 B");
  EXPECT_EQ(Bytes(4096), "4 KiB");
  EXPECT_EQ(Bytes(64 << 20), "64 MiB");
  EXPECT_EQ(Bytes(1.5 * (1 << 30)), "1.50 GiB");
  EXPECT_EQ(Bytes(1023.6 * 1024), "1.00 MiB");
  EXPECT_EQ(Bytes(4096.0 * kMax), "64 ZiB");
  EXPECT_EQ(Bytes(1e40), ">999 ZiB");
}

TEST(Text, AgesHaveOneUnit) {
  EXPECT_EQ(Age(absl::Milliseconds(-1)), "?");
  EXPECT_EQ(Age(absl::ZeroDuration()), "0.0 s");
  EXPECT_EQ(Age(absl::Milliseconds(9'949)), "9.9 s");
  EXPECT_EQ(Age(absl::Milliseconds(9'960)), "9 s");
  EXPECT_EQ(Age(absl::Seconds(119)), "119 s");
  EXPECT_EQ(Age(absl::Minutes(119)), "119 min");
  EXPECT_EQ(Age(absl::Hours(47)), "47 h");
  EXPECT_EQ(Age(absl::Hours(48)), "2 d");
  EXPECT_EQ(Age(absl::InfiniteDuration()), "?");
}

TEST(Text, LongWordsAreBroken) {
  EXPECT_EQ(Wrap("", 10), "\n");
  EXPECT_EQ(Wrap("aa bb cc", 5, 2), "aa bb\n  cc\n");
  EXPECT_EQ(Wrap("a bcdefghij k", 5, 2), "a\n  bcd\n  efg\n  hij\n  k\n");
  EXPECT_EQ(Wrap("abcde", 5), "abcde\n");
}

TEST(Json, CountsAreNumbersAndTheUnknownIsAbsent) {
  auto snapshot = TwoNodes();
  snapshot.mutable_nodes(1)->clear_outstanding_references();
  snapshot.mutable_nodes(1)->set_census_references(kMax);
  snapshot.mutable_nodes(1)->set_drift_references(-3);
  snapshot.mutable_facts(0)->set_source("\x1b\x7f\xc2\x9b");
  auto info = Info();
  info.set_boot_id("12");
  const auto text = ToJson(Answers{info, snapshot});
  ASSERT_TRUE(text.ok()) << text.status();
  const auto json = nlohmann::json::parse(*text);
  EXPECT_EQ(json["info"]["boot_id"], "12") << "strings stay strings";
  EXPECT_EQ(json["info"]["started"], "2023-11-11T16:26:40Z");
  const auto& nodes = json["snapshot"]["nodes"];
  EXPECT_EQ(nodes[0]["outstanding_references"], 16400);
  EXPECT_EQ(nodes[0]["drift_references"], 0);
  EXPECT_FALSE(nodes[1].contains("outstanding_references"));
  EXPECT_EQ(nodes[1]["census_references"], kMax);
  EXPECT_EQ(nodes[1]["drift_references"], -3);
  EXPECT_EQ(nodes[1]["census_current"], false);
  EXPECT_EQ(
      json["snapshot"]["zones"][1]["migratetypes"][0]["confirmed"]["pages"],
      16000);
  EXPECT_EQ(json["snapshot"]["migrations"][1]["calls"], 0);
  EXPECT_THAT(*text, HasSubstr(R"("\u001b\u007f\u009b")"));
}

class CommandTest : public RunsCommand {
 protected:
  void Serve(bool with_snapshot = true) {
    if (with_snapshot) {
      snapshot_.host.hostname = "db17";
      published_.Set(std::make_shared<const Snapshot>(snapshot_));
    }
    auto server = GrpcServer::Start(
        {.socket_path = path_, .version = "0.1.0"}, &published_,
        {.look =
             [this](int64_t max_age_ns, Answer answer) {
               asked_ages_ns_.push_back(max_age_ns);
               answer(published_.Get());
             },
         .block =
             [this](uint64_t block, BlockAnswer answer) {
               asked_blocks_.push_back(block);
               answer(block_report_);
             },
         .page =
             [this](uint64_t pfn, PageAnswer answer) {
               asked_pages_.push_back(pfn);
               answer(page_report_);
             },
         .blocks =
             [this](BlockQuery query, BlocksAnswer answer) {
               asked_lists_.push_back(query);
               answer(block_list_);
             },
         .plan =
             [this](PlanQuery query, PlanAnswer answer) {
               asked_plans_.push_back(query);
               answer(plan_);
             }});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  Snapshot snapshot_;
  Published<Snapshot> published_;
  std::vector<int64_t> asked_ages_ns_;
  std::vector<uint64_t> asked_blocks_;
  std::vector<uint64_t> asked_pages_;
  std::vector<BlockQuery> asked_lists_;
  std::vector<PlanQuery> asked_plans_;
  absl::StatusOr<BlockList> block_list_ = BlockList{};
  absl::StatusOr<OfflinePlan> plan_ = OfflinePlan{};
  absl::StatusOr<PageReport> page_report_ = PageReport{};
  absl::StatusOr<BlockReport> block_report_ =
      absl::NotFoundError("there is no memory999");
  std::unique_ptr<GrpcServer> server_;
};

TEST_F(CommandTest, VersionAndHelpSucceed) {
  EXPECT_EQ(Run({"--version"}), 0);
  EXPECT_EQ(out_.str(), "pinwatch 1.2.3\n");
  EXPECT_EQ(Run({"--help"}), 0);
  EXPECT_THAT(out_.str(), HasSubstr("status"));
}

TEST_F(CommandTest, WrongUsageIsTwo) {
  EXPECT_EQ(Run({}), 2);
  EXPECT_EQ(Run({"nonsense"}), 2);
  EXPECT_EQ(Run({"status", "-o", "xml"}), 2);
  EXPECT_EQ(Run({"--timeout", "-1", "status"}), 2);
  EXPECT_EQ(out_.str(), "");
}

TEST_F(CommandTest, StatusPrintsTheTable) {
  Serve();
  EXPECT_EQ(Run({"--socket", path_.c_str(), "status"}), 0) << err_.str();
  EXPECT_THAT(out_.str(), StartsWith("db17: kernel ?, pinwatchd 0.1.0 up "));
  EXPECT_THAT(asked_ages_ns_, ElementsAre());
}

TEST_F(CommandTest, FreshAsksForALookAtEverything) {
  Serve();
  EXPECT_EQ(Run({"status", "--fresh", "--socket", path_.c_str()}), 0);
  EXPECT_THAT(asked_ages_ns_, ElementsAre(0));
}

TEST_F(CommandTest, TheSocketMayBeAUriOrComeFromTheEnvironment) {
  Serve();
  const std::string uri = "unix:" + path_;
  EXPECT_EQ(Run({"--socket", uri.c_str(), "status"}), 0);
  setenv("PINWATCH_SOCKET", ("unix://" + path_).c_str(), 1);
  EXPECT_EQ(Run({"status", "-o", "json"}), 0);
  unsetenv("PINWATCH_SOCKET");
  EXPECT_EQ(nlohmann::json::parse(out_.str())["info"]["hostname"], "db17");
}

TEST_F(CommandTest, WithoutADaemonItIsUnavailable) {
  EXPECT_EQ(Run({"--socket", path_.c_str(), "status"}), 69);
  EXPECT_EQ(err_.str(), "pinwatch: cannot reach pinwatchd on " + path_ +
                            ": there is no such socket; is pinwatchd running? "
                            "systemctl status pinwatchd\n");
  EXPECT_EQ(out_.str(), "");
}

// A socket that nobody accepts from, as of a daemon that hangs.
class HangingDaemon {
 public:
  explicit HangingDaemon(const std::string& path)
      : fd_(socket(AF_UNIX, SOCK_STREAM, 0)) {
    sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = {}};
    std::copy(path.begin(), path.end(), address.sun_path);
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)),
              0);
    EXPECT_EQ(listen(fd_, 1), 0);
  }
  ~HangingDaemon() { close(fd_); }

 private:
  const int fd_;
};

TEST_F(CommandTest, ADeadDaemonsSocketIsUnavailable) {
  { const HangingDaemon dead(path_); }
  EXPECT_EQ(Run({"--socket", path_.c_str(), "status"}), 69);
  EXPECT_THAT(err_.str(), HasSubstr(path_ + ": nobody answers; is pinwatchd"));
}

TEST_F(CommandTest, ADaemonThatHangsIsUnavailable) {
  const HangingDaemon hanging(path_);
  EXPECT_EQ(Run({"--socket", path_.c_str(), "--timeout", "0.2", "status"}), 69);
  EXPECT_THAT(err_.str(), HasSubstr("has not answered within 200ms"));
}

TEST_F(CommandTest, ADaemonWithoutASnapshotIsUnavailable) {
  Serve(/*with_snapshot=*/false);
  EXPECT_EQ(Run({"--socket", path_.c_str(), "status"}), 69);
  EXPECT_EQ(err_.str(),
            "pinwatch: pinwatchd on " + path_ +
                " cannot answer: no snapshot yet: the first census is under "
                "way\n");
}

// Takes its rights to the socket from the test while it lives.
class Unprivileged {
 public:
  Unprivileged() : is_root_(geteuid() == 0) {
    EXPECT_TRUE(!is_root_ || seteuid(65534) == 0);
  }
  ~Unprivileged() { EXPECT_TRUE(!is_root_ || seteuid(0) == 0); }

 private:
  const bool is_root_;
};

TEST_F(CommandTest, ASocketOfOthersIsNoPermission) {
  const HangingDaemon daemon(path_);
  chmod(path_.c_str(), 0);
  chmod(tree_.root().c_str(), 0755);
  const Unprivileged unprivileged;
  EXPECT_EQ(Run({"--socket", path_.c_str(), "status"}), 77);
  EXPECT_THAT(err_.str(),
              StartsWith("pinwatch: permission denied on " + path_ + ": "));
}

TEST_F(CommandTest, ASocketInAClosedDirectoryIsNoPermission) {
  const HangingDaemon daemon(path_);
  chmod(tree_.root().c_str(), 0);
  {
    const Unprivileged unprivileged;
    EXPECT_EQ(Run({"--socket", path_.c_str(), "status"}), 77);
    EXPECT_THAT(err_.str(), HasSubstr(": you are not in group pinwatch\n"));
  }
  chmod(tree_.root().c_str(), 0755);
}

TEST_F(CommandTest, TopAsksForAllPagesOfHolders) {
  snapshot_.facts = {{.name = "claims", .observable = true}};
  snapshot_.attributions = {
      {.zone = "Normal", .certainty = Certainty::kHeld, .pins = {1007, 1007}}};
  std::vector<PinOwner> owners;
  for (uint32_t id = 1; id <= 1007; ++id)
    owners.push_back({.id = id,
                      .process = {.pid = id, .comm = "holder"},
                      .holdings = {{.zone = "Normal", .pins = {1, 1}}}});
  owners.push_back({.id = 2000});
  snapshot_.owners = OwnerList(owners);
  Serve();
  EXPECT_EQ(Run({"--socket", path_.c_str(), "top"}), 0) << err_.str();
  EXPECT_THAT(out_.str(), HasSubstr("and 987 more with 987 pages"));
  EXPECT_EQ(Run({"--socket", path_.c_str(), "top", "--by", "zone"}), 0);
  EXPECT_THAT(out_.str(), HasSubstr("short   1,007 3.93 MiB held"));
  EXPECT_EQ(Run({"--socket", path_.c_str(), "top", "-o", "json"}), 0);
  const auto json = nlohmann::json::parse(out_.str());
  EXPECT_EQ(json["owners"].size(), 1007u);
  EXPECT_EQ(json["owners"][1006]["holdings"][0]["pins"]["pages"], 1);
  EXPECT_EQ(json["attributions"].size(), 1u) << "once, not with every page";
  EXPECT_EQ(json["next_page_token"], "");
}

TEST_F(CommandTest, TopSaysWhyThereAreNoClaims) {
  snapshot_.facts = {{.name = "claims", .reason = "no BTF"}};
  Serve();
  EXPECT_EQ(Run({"--socket", path_.c_str(), "top"}), 70);
  EXPECT_EQ(err_.str(),
            "pinwatch: FAILED_PRECONDITION: owners are not observable: no "
            "BTF\n");
}

TEST_F(CommandTest, ExplainTakesABlockByNameOrNumber) {
  block_report_ = BlockReport{.block = {.id = 42, .state = "online"},
                              .verdict = Verdict::kRemovable};
  Serve();
  for (const char* block : {"memory42", "42"}) {
    EXPECT_EQ(Run({"--socket", path_.c_str(), "explain", block}), 0);
    EXPECT_EQ(out_.str(),
              "memory42: online\nAn offline now would succeed: nothing in it "
              "has to move.\nConfidence: low.\n");
  }
  EXPECT_EQ(Run({"explain", "-o", "json", "--socket", path_.c_str(), "7"}), 0);
  EXPECT_EQ(nlohmann::json::parse(out_.str())["verdict"], "VERDICT_REMOVABLE");
  EXPECT_THAT(asked_blocks_, ElementsAre(42, 42, 7));
}

TEST_F(CommandTest, ExplainRefusesWhatNamesNoBlock) {
  Serve();
  for (const char* block : {"", "memory", "memoryx", "-1", "+1", " 1", "1x",
                            "memory18446744073709551616", "0x", "0xg"})
    EXPECT_EQ(Run({"--socket", path_.c_str(), "explain", block}), 2) << block;
  EXPECT_EQ(Run({"--socket", path_.c_str(), "explain"}), 2);
  EXPECT_EQ(Run({"--socket", path_.c_str(), "explain", "memory1", "2"}), 2);
  EXPECT_THAT(asked_blocks_, ElementsAre());
  EXPECT_EQ(Run({"--socket", path_.c_str(), "explain", "999"}), 70);
  EXPECT_EQ(err_.str(), "pinwatch: NOT_FOUND: there is no memory999\n");
}

TEST_F(CommandTest, ExplainTakesAPhysicalAddress) {
  Serve();
  EXPECT_EQ(Run({"--socket", path_.c_str(), "explain", "0x12345fff"}), 0);
  EXPECT_THAT(asked_pages_, ElementsAre(0x12345));
}

TEST_F(CommandTest, ExplainTakesANodeThatThereIs) {
  snapshot_.verdicts = {{1, "Movable", Verdict::kRemovable, 23}};
  snapshot_.removable = {{1, 23u << 20}};
  Serve();
  EXPECT_EQ(Run({"--socket", path_.c_str(), "explain", "node", "1"}), 0);
  EXPECT_THAT(out_.str(), HasSubstr("node 1: about 23 MiB could be taken"));
  EXPECT_THAT(out_.str(), HasSubstr("zone Movable: 23 removable\n"));
  EXPECT_EQ(Run({"--socket", path_.c_str(), "explain", "node", "7"}), 70);
  EXPECT_EQ(err_.str(), "pinwatch: NOT_FOUND: this host has no node 7\n");
}

TEST_F(CommandTest, BlocksAsksForWhatItsFiltersSay) {
  block_list_->blocks = {{.block = {.id = 42, .state = "online"},
                          .verdict = Verdict::kBlockedByKernelMemory}};
  Serve();
  EXPECT_EQ(Run({"--socket", path_.c_str(), "blocks", "--node", "3", "--zone",
                 "Movable", "--verdict", "blocked_by_kernel_memory"}),
            0);
  EXPECT_THAT(out_.str(), HasSubstr("memory42    K\n"));
  ASSERT_EQ(asked_lists_.size(), 1u);
  EXPECT_EQ(asked_lists_[0].nid, 3);
  EXPECT_EQ(asked_lists_[0].zone, "Movable");
  EXPECT_EQ(asked_lists_[0].verdict, Verdict::kBlockedByKernelMemory);
  EXPECT_EQ(Run({"--socket", path_.c_str(), "blocks", "--json"}), 0);
  EXPECT_EQ(nlohmann::json::parse(out_.str())["blocks"][0]["block"], 42);
  EXPECT_FALSE(asked_lists_[1].nid || asked_lists_[1].verdict);
  EXPECT_EQ(Run({"blocks", "--verdict", "maybe"}), 2);
}

TEST_F(CommandTest, PlanSaysByItsExitCodeWhetherThereIsEnough) {
  plan_->bytes = 1u << 30;
  Serve();
  EXPECT_EQ(Run({"--socket", path_.c_str(), "plan", "--bytes", "1G"}), 0);
  EXPECT_EQ(Run({"--socket", path_.c_str(), "plan", "--bytes", "2GiB"}), 3);
  EXPECT_THAT(out_.str(),
              HasSubstr("2 GiB cannot be had, only 0 blocks, 1 GiB."));
  EXPECT_EQ(Run({"--socket", path_.c_str(), "plan", "--bytes", "0"}), 2);
  EXPECT_EQ(Run({"--socket", path_.c_str(), "plan"}), 2);
  ASSERT_EQ(asked_plans_.size(), 2u);
  EXPECT_EQ(asked_plans_[1].bytes, 2ull << 30);
  EXPECT_FALSE(asked_plans_[1].stopped);
}

TEST_F(CommandTest, PlanTellsAProcessAUnitAndACgroupApart) {
  plan_->bytes = 1u << 30;
  Serve();
  for (const char* who : {"812", "db.service", "/system.slice"})
    EXPECT_EQ(Run({"--socket", path_.c_str(), "plan", "--bytes", "1G",
                   "--what-if-stopped", who}),
              0);
  ASSERT_EQ(asked_plans_.size(), 3u);
  EXPECT_EQ(asked_plans_[0].stopped->pid, 812u);
  EXPECT_EQ(asked_plans_[1].stopped->unit, "db.service");
  EXPECT_EQ(asked_plans_[2].stopped->cgroup, "/system.slice");
}

// A stream that says when it holds a text.
class AwaitedText : public std::stringbuf {
 public:
  void Await(const std::string& text) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return text_.find(text) != std::string::npos; });
  }

 protected:
  std::streamsize xsputn(const char* bytes, std::streamsize size) override {
    std::lock_guard lock(mutex_);
    text_.append(bytes, size);
    changed_.notify_all();
    return size;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string text_;
};

class WatchCommandTest : public CommandTest,
                         public testing::WithParamInterface<const char*> {};

TEST_P(WatchCommandTest, TellsOfChangesUntilTheDaemonGoes) {
  const bool is_table = std::string(GetParam()) == "table";
  snapshot_.generation = 1;
  Serve();
  AwaitedText text;
  std::jthread daemon([&] {
    text.Await(is_table ? "no page is known" : R"("sequence":1,)");
    ++snapshot_.generation;
    snapshot_.zones = {
        {.name = "Normal", .migratetypes = {{.confirmed = {23, 23}}}}};
    published_.Set(std::make_shared<const Snapshot>(snapshot_));
    text.Await(is_table ? "0 -> 23 pages pinned\n" : R"("sequence":2,)");
    server_->Stop();
  });
  std::ostream out(&text);
  const char* const arguments[] = {"pinwatch", "--socket", path_.c_str(),
                                   "watch",    "-o",       GetParam()};
  EXPECT_EQ(RunCommand(std::size(arguments), arguments, "1.2.3", out, err_),
            69);
  EXPECT_EQ(err_.str(), "pinwatch: pinwatchd on " + path_ +
                            " has gone: the daemon is stopping\n");
}

INSTANTIATE_TEST_SUITE_P(Outputs, WatchCommandTest,
                         testing::Values("table", "json"));

TEST_F(CommandTest, ExplainTakesAPageInEitherNotation) {
  page_report_ =
      PageReport{.pfn = 0x48d4c, .block = {.id = 9, .state = "offline"}};
  Serve();
  for (const char* pfn : {"0x48d4c", "298316"}) {
    EXPECT_EQ(Run({"--socket", path_.c_str(), "explain", "pfn", pfn}), 0);
    EXPECT_EQ(out_.str(),
              "pfn 0x48d4c, physical 0x48d4c000: memory9, which is offline: "
              "what stands there\n  is not known\n");
  }
  EXPECT_THAT(asked_pages_, ElementsAre(0x48d4c, 0x48d4c));
  for (const char* pfn :
       {"", "48d4c", "0x", "0xg", "-1", "0x10000000000000000"})
    EXPECT_EQ(Run({"--socket", path_.c_str(), "explain", "pfn", pfn}), 2)
        << pfn;
  EXPECT_EQ(Run({"--socket", path_.c_str(), "explain", "pfn"}), 2);
}

TEST_F(CommandTest, ExplainTellsOfOneProcessAlone) {
  snapshot_.facts = {{.name = "claims", .observable = true}};
  snapshot_.owners = {
      {.id = 3, .process = {.pid = 7}, .calls = 23, .pages = 46},
      {.id = 4, .process = {.pid = 8}},
      {.id = 5, .process = {.pid = 9}, .via = Process{.pid = 7}}};
  Serve();
  EXPECT_EQ(
      Run({"--socket", path_.c_str(), "explain", "pid", "7", "-o", "json"}), 0);
  const auto owners = nlohmann::json::parse(out_.str())["owners"];
  ASSERT_EQ(owners.size(), 2u);
  EXPECT_EQ(owners[0]["id"], 3);
  EXPECT_EQ(owners[1]["id"], 5);
  EXPECT_EQ(Run({"--socket", path_.c_str(), "explain", "pid", "11"}), 0);
  EXPECT_THAT(out_.str(), HasSubstr("process 11: no pin of it is known"));
  EXPECT_EQ(Run({"--socket", path_.c_str(), "explain", "pid", "4294967296"}),
            2);
}

TEST_F(CommandTest, WatchEndsWhenItsOutputDoes) {
  Serve();
  out_.setstate(std::ios::badbit);
  EXPECT_EQ(Run({"--socket", path_.c_str(), "watch"}), 74);
}

TEST_F(CommandTest, WatchDoesNotWaitForADaemonThatHangs) {
  const HangingDaemon hanging(path_);
  EXPECT_EQ(Run({"--socket", path_.c_str(), "--timeout", "0.2", "watch"}), 69);
  EXPECT_THAT(err_.str(), HasSubstr("has not answered within 200ms"));
}

TEST_F(CommandTest, OfflineTakesABlockAndNothingElse) {
  EXPECT_EQ(Run({"offline", "0x1000"}), 2);
  EXPECT_EQ(Run({"offline", "dax0.0"}), 2);
  EXPECT_EQ(Run({"offline"}), 2);
}

TEST_F(CommandTest, OfflineThatNobodyCouldExplainIsNotTried) {
  EXPECT_EQ(Run({"--socket", path_.c_str(), "offline", "memory9", "--explain"}),
            69);
  EXPECT_EQ(out_.str(), "");
}

TEST_F(CommandTest, EverySubcommandHelpsWithItsOwnJson) {
  for (const auto& [name, json] :
       std::vector<std::pair<const char*, const char*>>{
           {"status", "GetInfoResponse"},
           {"top", "ListOwnersResponse"},
           {"explain", "ExplainBlockResponse"},
           {"blocks", "ListBlocksResponse"},
           {"plan", "PlanOfflineResponse"},
           {"watch", "WatchResponse"},
           {"offline", "ListAttemptsResponse"},
           {"attempts", "ListAttemptsResponse"},
           {"migrations", "ListMigrationsResponse"}}) {
    EXPECT_EQ(Run({name, "--help"}), 0);
    EXPECT_THAT(out_.str(), HasSubstr(json));
    EXPECT_THAT(out_.str(), HasSubstr(std::string("pinwatch ") + name));
    EXPECT_THAT(out_.str(), HasSubstr("Exit codes: 0 success"));
  }
}

TEST_F(CommandTest, OutputThatCannotBeWrittenIsAnError) {
  Serve();
  out_.setstate(std::ios::badbit);
  EXPECT_EQ(Run({"--socket", path_.c_str(), "status"}), 74);
}

}  // namespace
}  // namespace pinwatch
