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

TEST(CallsTable, ShowsLongTermOnesFirstAndWhatWentWrong) {
  EXPECT_EQ(
      CallsTable(Parse<v1::Snapshot>(R"pb(
        claims {
          short_term_calls: 1000000
          short_term_failed_calls: 1
          short_term_skipped: 999000
          unmeasured_calls: 3
        }
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
      "ASKED, PINNED: pages; MEAN, 99 %: time of a call; FAULTS: taken in "
      "calls that\n"
      "  were timed: long-term ones, of short-term ones 1 in 64\n"
      "short-term calls are a sample: 999,000 of 1,000,001 are not in it\n"
      "3 long-term calls were not timed\n");
}

}  // namespace
}  // namespace pinwatch
