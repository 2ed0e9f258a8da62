// SPDX-License-Identifier: Apache-2.0
#include "cli/calls_table.h"

#include <gmock/gmock.h>

#include "tests/unit/cli_lines.h"

namespace pinwatch {
namespace {

TEST(CallsTable, SaysWhenThereWereNone) {
  EXPECT_EQ(CallsTable(Parse<v1::Snapshot>("claims {}")),
            "no call of the pin functions since the hooks were attached\n");
}

TEST(CallsTable, SaysWhenTheyAreNotObservable) {
  EXPECT_EQ(CallsTable({}),
            "calls of the pin functions are not observable here: see the fact "
            "claims in\npinwatch status\n");
}

TEST(CallsTable, SaysHowToLearnWhatHadToBeMoved) {
  const auto table = [](const char* claims) {
    auto snapshot = Parse<v1::Snapshot>(R"pb(
      moves_long_term_pins: true
      calls { subsystem: "io_uring" long_term: true calls: 1 pages: 1 }
    )pb");
    *snapshot.mutable_claims() = Parse<v1::ClaimTotals>(claims);
    return CallsTable(snapshot);
  };
  EXPECT_THAT(table(""), testing::HasSubstr("see --pins.follow-moves"));
  EXPECT_THAT(table("follows_moves: true"),
              testing::Not(testing::HasSubstr("--pins.follow-moves")));
}

TEST(CallsTable, ShowsLongTermOnesFirstAndWhatWentWrong) {
  EXPECT_EQ(
      CallsTable(Parse<v1::Snapshot>(R"pb(
        claims {
          short_term_calls: 1000000
          short_term_failed_calls: 1
          short_term_skipped: 999000
          unmeasured_calls: 3
        }
        landings { nid: 0 zone: "Normal" pages: 206 }
        landings { nid: 0 zone: "Movable" }
        landings { pages: 23 }
        calls {
          subsystem: "direct_io"
          calls: 1001
          pages: 7007
          outcomes { asked_pages: 7007 }
        }
        calls {
          subsystem: "io_uring"
          long_term: true
          calls: 17
          pages: 229
          outcomes {
            asked_pages: 444
            partial_calls: 3
            failed_calls: 7
            errors { name: "EFAULT" calls: 6 }
            errors { name: "ENOMEM" calls: 1 }
            measured_calls: 24
            measured_time { nanos: 480000 }
            minor_faults: 54
            major_faults: 1
          }
          calls_by_time: 0
          calls_by_time: 0
          calls_by_time: 20
          calls_by_time: 4
          calls_by_time: 0
        }
        calls {
          subsystem: "a\033module with a long name"
          long_term: true
          calls: 1
          pages: 1
          outcomes {
            asked_pages: 1
            measured_calls: 1
            measured_time { seconds: 23 }
          }
          calls_by_time: 0
          calls_by_time: 1
        }
      )pb")),
      "SUBSYSTEM   KIND    CALLS   ASKED  PINNED  FAILED     MEAN     99 %    "
      "FAULTS\n"
      "io_uring    long       24     444     229       7    20 us  <8.2 us     "
      "   55\n"
      "  7 calls failed (EFAULT 6, ENOMEM 1), 3 calls pinned fewer pages than "
      "asked for\n"
      "a\\x1bmodul~ long        1       1       1       0     23 s     long   "
      "      0\n"
      "direct_io   short   1,001   7,007   7,007       0        ?        ?     "
      "    ?\n"
      "pages pinned for long, by where: 206 in 0/Normal, 23 in a zone not "
      "known\n"
      "ASKED, PINNED: pages; MEAN, 99 %: time of a call; FAULTS: taken in "
      "calls that\n"
      "  were timed: long-term ones, of short-term ones 1 in 64\n"
      "short-term calls are a sample: 999,000 of 1,000,001 are not in it\n"
      "3 long-term calls were not timed\n");
}

TEST(CallsTable, TellsWhatHadToMove) {
  EXPECT_EQ(MovesText({}), "");
  EXPECT_EQ(MovesText(Parse<v1::PinOutcomes>(R"pb(
              moves {
                calls: 3
                rounds: 4
                pages {
                  from: "movable"
                  collected_pages: 40
                  isolated_pages: 38
                  moved_pages: 37
                  copied_bytes: 151552
                }
                pages {
                  from: "cma"
                  collected_pages: 1
                  isolated_pages: 1
                  moved_pages: 1
                  copied_bytes: 4096
                }
                failed_pages: 1
                no_target: 2
                time { nanos: 250000 }
                calls_time { nanos: 1000000 }
              })pb")),
            "3 calls had to move pages first, in 4 rounds: 37 out of "
            "ZONE_MOVABLE (148 KiB copied), 1 out of CMA (4 KiB copied), 2 "
            "could not be isolated, 1 did not move, 2 times no memory to move "
            "to; 25 % of the time of these calls");
}

TEST(CallsTable, NamesCallsThatComeRoundAndRound) {
  const std::string table = CallsTable(Parse<v1::Snapshot>(R"pb(
    time { seconds: 100 }
    claims { follows_moves: true }
    pin_retries {
      process { pid: 42 comm: "pins" }
      door: "pin_user_pages_fast"
      begin { seconds: 70 }
      rounds: 1234
      page { pfn: 0x10cafe why: "plain_reference" refcount: 3 }
    })pb"));
  EXPECT_THAT(table, testing::HasSubstr("CALLS THAT COME ROUND AND ROUND\n"));
  EXPECT_THAT(table, testing::HasSubstr("1,234 rounds so far"));
  EXPECT_THAT(table, testing::HasSubstr("pfn 0x10cafe"));
}

}  // namespace
}  // namespace pinwatch
