// SPDX-License-Identifier: Apache-2.0
//
// What calls of the pin functions came to, against a process that knows what
// it asked for and got.
#include <cerrno>
#include <numeric>

#include "tests/vm/guest.h"

namespace pinwatch::guest {
namespace {

using Calls = OwnDaemonTest;
// For kernels on which short-term calls on another process's memory are
// followed.
using ShortCalls = OwnDaemonTest;
// For kernels that let io_uring wait for a page that userfaultfd owes.
using LateCalls = OwnDaemonTest;

// Those of one subsystem and kind; nothing where there were none.
Json CallsOf(const Json& snapshot, const std::string& subsystem,
             bool long_term) {
  for (const Json& some : snapshot.value("calls", Json::array()))
    if (some.at("subsystem") == subsystem && some.at("long_term") == long_term)
      return some;
  return {};
}

// From that bucket on.
uint64_t TimedIn(const Json& some, size_t first = 0) {
  const auto buckets = some.at("calls_by_time").get<std::vector<uint64_t>>();
  return std::accumulate(buckets.begin() + static_cast<ptrdiff_t>(first),
                         buckets.end(), uint64_t{0});
}

// "1.250s".
double SecondsIn(const std::string& duration) { return std::stod(duration); }

double SecondsRegistering(const Workload& workload) {
  return workload.held().at("register_ns").get<double>() / 1e9;
}

void ExpectErrors(const Json& outcomes, uint64_t calls) {
  EXPECT_EQ(outcomes.at("failed_calls"), calls);
  EXPECT_EQ(outcomes.at("errors"),
            (Json{{{"name", "EFAULT"}, {"calls", calls}}}));
}

TEST_F(Calls, AreCountedTimedAndToldByWhatCameOfThem) {
  Daemon daemon;
  Workload workload({"pin-outcomes"});
  const Json calls = CallsOf(FreshSnapshot(), "io_uring", true);
  ASSERT_TRUE(calls.is_object());
  const Json& outcomes = calls.at("outcomes");
  EXPECT_EQ(calls.at("calls"), 9 + 5 + 3);
  EXPECT_EQ(calls.at("pages"), 9 * 13 + 5 * 11 + 3 * 19);
  EXPECT_EQ(outcomes.at("asked_pages"), 9 * 13 + 5 * 11 + 3 * 37 + 7 * 23);
  EXPECT_EQ(outcomes.at("partial_calls"), 3);
  ExpectErrors(outcomes, 7);
  EXPECT_EQ(outcomes.at("measured_calls"), 24);
  EXPECT_EQ(TimedIn(calls), 24u);
  EXPECT_EQ(outcomes.at("minor_faults"), workload.held().at("minor_faults"));
  EXPECT_EQ(outcomes.at("minor_faults"), 55);
  EXPECT_EQ(outcomes.at("major_faults"), 0);
  const double measured = SecondsIn(outcomes.at("measured_time"));
  EXPECT_GT(measured, 0);
  EXPECT_LE(measured, SecondsRegistering(workload));

  const auto metrics = ReadMetrics();
  const Labels io_uring = {{"subsystem", "io_uring"}, {"kind", "long_term"}};
  const Labels long_term = {{"kind", "long_term"}};
  for (const auto& [name, value] :
       std::map<std::string, double>{{"calls", 17},
                                     {"pages", 229},
                                     {"asked_pages", 444},
                                     {"partial_calls", 3},
                                     {"failed_calls", 7}}) {
    EXPECT_EQ(
        Sum(metrics, "pinwatch_subsystem_pin_" + name + "_total", io_uring),
        value)
        << name;
    EXPECT_EQ(Sum(metrics, "pinwatch_pin_" + name + "_total", long_term), value)
        << name;
  }
  EXPECT_EQ(Sum(metrics, "pinwatch_subsystem_pin_call_seconds_count", io_uring),
            24);
  EXPECT_EQ(Sum(metrics, "pinwatch_pin_errors_total",
                {{"kind", "long_term"}, {"errno", "EFAULT"}}),
            7);
  EXPECT_EQ(Sum(metrics, "pinwatch_pin_calls_unmeasured_total"), 0);
  EXPECT_NE(Ask({"pinwatch", "explain", "pid", std::to_string(workload.pid())})
                .find("7 calls failed (EFAULT 7)"),
            std::string::npos);
}

TEST_F(LateCalls, AreTimedWhileTheyWait) {
  Daemon daemon;
  Workload workload({"pin-outcomes", "--late"});
  const Json calls = CallsOf(FreshSnapshot(), "io_uring", true);
  ASSERT_TRUE(calls.is_object());
  const double measured = SecondsIn(calls.at("outcomes").at("measured_time"));
  EXPECT_GT(measured, 3);
  EXPECT_LE(measured, SecondsRegistering(workload));
  EXPECT_EQ(TimedIn(calls), 25u);
  // 2.1 s, which is 1,024 ns << 21, or longer.
  EXPECT_EQ(TimedIn(calls, 22), 1u);
  EXPECT_EQ(calls.at("outcomes").at("minor_faults"),
            workload.held().at("minor_faults"));
}

TEST_F(ShortCalls, AreCountedAndASampleOfThemIsTimed) {
  Daemon daemon;
  Workload workload({"pin-outcomes", "--reads"});
  const Json calls = CallsOf(FreshSnapshot(), "process_vm", false);
  ASSERT_TRUE(calls.is_object());
  const Json& outcomes = calls.at("outcomes");
  EXPECT_EQ(calls.at("calls"), 23);
  EXPECT_EQ(calls.at("pages"), 23 * 7);
  EXPECT_EQ(outcomes.at("asked_pages"), 23 * 7 + 3 * 7);
  ExpectErrors(outcomes, 3);
  // The first of the one CPU they were made on.
  EXPECT_EQ(outcomes.at("measured_calls"), 1);
  EXPECT_EQ(TimedIn(calls), 1u);
}

// Of one source and all three steps, of a metric's samples or in JSON.
Json MovedFrom(const Json& moves, const std::string& from) {
  for (const Json& pages : moves.at("pages"))
    if (pages.at("from") == from) return pages;
  return {};
}

double MovePages(const std::vector<Sample>& metrics, const std::string& step) {
  return Sum(metrics, "pinwatch_subsystem_pin_move_pages_total",
             {{"subsystem", "io_uring"}, {"step", step}});
}

TEST_F(Calls, TellWhatTheyHadToMoveFirst) {
  const bool moves_pins = MovesLongtermPins();
  const Daemon daemon(ToFollowMoves());
  const uint64_t moved_before = ReadVmstat("pgmigrate_success");
  const uint64_t failed_before = ReadVmstat("pgmigrate_fail");
  Workload pages({"pin-iouring", "--pages", "23"});
  Workload huge({"pin-iouring", "--thp", "--pages", "3"});
  Workload stays({"hold-vmsplice", "--pages", "1", "--references", "1",
                  "--register", "5"});
  for (const Workload* workload : {&pages, &huge})
    for (const uint64_t pfn : workload->held().at("pfns_before"))
      ASSERT_EQ(ZoneOf(pfn).second, "Movable");
  const Json snapshot = FreshSnapshot();
  const Json calls = CallsOf(snapshot, "io_uring", true);
  ASSERT_TRUE(calls.is_object());
  if (!moves_pins) {
    EXPECT_FALSE(calls.at("outcomes").contains("moves"));
    EXPECT_FALSE(snapshot.at("claims").at("follows_moves"));
    EXPECT_NE(Ask({"pinwatch", "calls"}).find("this kernel moves nothing"),
              std::string::npos);
    return;
  }
  // What the kernel and the workloads say themselves.
  const uint64_t moved = 23 + 3 * 512 + 4;
  EXPECT_EQ(pages.held().at("moved_pages"), 23);
  EXPECT_EQ(huge.held().at("moved_pages"), 3);
  EXPECT_EQ(ReadVmstat("pgmigrate_success") - moved_before, moved);
  EXPECT_EQ(ReadVmstat("pgmigrate_fail") - failed_before, 1u);
  EXPECT_EQ(stays.held().at("register_error"), ENOMEM);

  const Json& moves = calls.at("outcomes").at("moves");
  EXPECT_EQ(moves.at("calls"), 3);
  EXPECT_EQ(moves.at("rounds"), 3);
  EXPECT_EQ(moves.at("failed_pages"), 1);
  EXPECT_EQ(moves.at("no_target"), 0);
  const Json from = MovedFrom(moves, "movable");
  EXPECT_EQ(from.at("collected_pages"), moved + 1);
  EXPECT_EQ(from.at("isolated_pages"), moved + 1);
  EXPECT_EQ(from.at("moved_pages"), moved);
  EXPECT_EQ(from.at("copied_bytes"), moved * 4096);
  EXPECT_EQ(MovedFrom(moves, "cma").at("collected_pages"), 0);
  EXPECT_EQ(MovedFrom(moves, "other").at("collected_pages"), 0);
  const double in_rounds = SecondsIn(moves.at("time"));
  EXPECT_GT(in_rounds, 0);
  EXPECT_LT(in_rounds, SecondsIn(moves.at("calls_time")));
  EXPECT_EQ(snapshot.at("claims").at("moves_lost"), 0);

  const auto metrics = ReadMetrics();
  const Labels io_uring = {{"subsystem", "io_uring"}};
  EXPECT_EQ(MovePages(metrics, "collected"), moved + 1);
  EXPECT_EQ(MovePages(metrics, "isolated"), moved + 1);
  EXPECT_EQ(MovePages(metrics, "moved"), moved);
  EXPECT_EQ(
      Sum(metrics, "pinwatch_subsystem_pin_move_copied_bytes_total", io_uring),
      moved * 4096);
  EXPECT_EQ(
      Sum(metrics, "pinwatch_subsystem_pin_move_failed_pages_total", io_uring),
      1);
  // And each process its own.
  EXPECT_NE(Ask({"pinwatch", "explain", "pid", std::to_string(pages.pid())})
                .find("1 call had to move pages first, in 1 round: 23 out of"),
            std::string::npos);
  EXPECT_NE(Ask({"pinwatch", "explain", "pid", std::to_string(huge.pid())})
                .find("in 1 round: 1,536 out of"),
            std::string::npos);
}

}  // namespace
}  // namespace pinwatch::guest
