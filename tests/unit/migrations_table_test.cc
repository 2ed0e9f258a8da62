// SPDX-License-Identifier: Apache-2.0
#include "cli/migrations_table.h"

#include <gtest/gtest.h>

#include "tests/unit/cli_lines.h"

namespace pinwatch {
namespace {

const absl::Time kNow = absl::FromUnixSeconds(1000);

TEST(MigrationsTable, SaysWhenNothingWasToMove) {
  EXPECT_EQ(MigrationsTable({}, kNow),
            "no page was to move since pinwatchd started\n");
}

TEST(MigrationsTable, TellsWhatStayedWhyAndWhoHoldsIt) {
  EXPECT_EQ(
      MigrationsTable(Parse<v1::ListMigrationsResponse>(R"pb(
                        migrations { reason: "compaction" mode: "async" }
                        migrations {
                          reason: "longterm_pin"
                          mode: "sync"
                          calls: 2
                          succeeded_pages: 3
                          failed_pages: 2
                          thp_split: 1
                        }
                        details {
                          reason: "longterm_pin"
                          failed { why: "pinned" pages: 0 }
                          failed { why: "plain_reference" pages: 1 }
                          unclassified_pages: 1
                          measured_calls: 2
                          measured_time { nanos: 3000000 }
                        }
                        failures {
                          id: 7
                          reason: "longterm_pin"
                          process { pid: 77 comm: "app" }
                          nid: 0
                          zone: "Movable"
                          page {
                            pfn: 4660
                            why: "plain_reference"
                            refcount: 3
                            surplus: 1
                            times_met: 1
                            last_met { seconds: 998 }
                            reference_holders {
                              process { pid: 42 comm: "splicer" }
                              through: "pipe"
                            }
                          }
                        }
                        unlisted: 5
                      )pb"),
                      kNow),
      "REASON                  CALLS       MOVED      FAILED     SPLIT      "
      "MEAN\n"
      "longterm_pin                2           3           2         1    1.5 "
      "ms\n"
      "    stayed: 1 plain reference, 1 not classified\n"
      "MOVED, FAILED: pages; SPLIT: huge pages; MEAN: time of a call\n"
      "\n"
      "PAGES THAT DID NOT MOVE, the last ones first\n"
      "     MET  REASON            ZONE       FOR\n"
      "   2.0 s  longterm_pin      0/Movable  app(77)\n"
      "          pfn 0x1234 in a pipe of splicer(42)\n"
      "MET: ago, the last time; FOR: whose thread wanted it to move\n"
      "not listed, as there were many: 5 times\n");
}

}  // namespace
}  // namespace pinwatch
