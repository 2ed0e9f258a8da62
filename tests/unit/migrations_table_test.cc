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
                        places { nid: 0 zone: "Normal" }
                        places {
                          nid: 0
                          zone: "Movable"
                          calls: 1
                          succeeded_pages: 3
                          failed_pages: 2
                        }
                        places { calls: 1 }
                        high_order { what: "compaction" }
                        high_order { what: "hugetlb" succeeded: 1023 failed: 7 }
                        huge_ranges { nid: 0 zone: "Normal" pinned_ranges: 37 }
                        huge_ranges { nid: 0 zone: "Movable" }
                        huge_range_owners: 1
                        huge_range_owners: 99
                        owners {
                          id: 1
                          process { pid: 812 comm: "fio" }
                          subsystem: "io_uring"
                          holdings {
                            pins { pages: 1023 }
                            huge_ranges: 23
                          }
                        }
                        pin_moves {
                          subsystem: "vfio"
                          moves {
                            calls: 3
                            failed_pages: 1
                            pages { moved_pages: 23 copied_bytes: 94208 }
                            pages { moved_pages: 7 copied_bytes: 28672 }
                          }
                        }
                        contig_ranges {
                          counts { outcome: "ok" }
                          counts { outcome: "EBUSY" attempts: 7 }
                          cma { name: "quiet" }
                          cma {
                            name: "hugetlb0"
                            succeeded: 1
                            succeeded_pages: 262144
                            failed: 7
                            failed_pages: 1835008
                            busy: 23
                          }
                          recent {
                            begin { seconds: 997 }
                            start_pfn: 262144
                            end_pfn: 524288
                            outcome: "EBUSY"
                            process { pid: 42 comm: "sh" }
                            blocker_pfn: 300000
                            blocker_why: "plain_reference"
                          }
                        }
                      )pb"),
                      kNow),
      "REASON                  CALLS       MOVED      FAILED     SPLIT      "
      "MEAN\n"
      "longterm_pin                2           3           2         1    1.5 "
      "ms\n"
      "    stayed: 1 plain reference, 1 not classified\n"
      "MOVED, FAILED: pages; SPLIT: huge pages; MEAN: time of a call\n"
      "\n"
      "FIRST FOLIO IN          CALLS       MOVED      FAILED\n"
      "0/Movable                   1           3           2\n"
      "not known                   1           0           0\n"
      "\n"
      "LONG-TERM PINS OF       CALLS       MOVED      FAILED    COPIED\n"
      "vfio                        3          30           1   120 KiB\n"
      "COPIED: what it would save to discard what need not be kept\n"
      "\n"
      "IN ONE PIECE, since boot                  HAD      FAILED\n"
      "a huge page for hugetlbfs               1,023           7\n"
      "\n"
      "PINS KEEP FROM BEING HUGE PAGES        RANGES       HOLDS\n"
      "in 0/Normal                                37\n"
      "by fio(812)                                23       1,023  io_uring\n"
      "RANGES: of 2 MiB, counted with each who has pages in them; HOLDS: pages "
      "in all\n"
      "\n"
      "CMA AREA                  HAD       PAGES      FAILED       PAGES       "
      " "
      "BUSY\n"
      "hugetlb0                    1     262,144           7     1.835 M       "
      "  "
      " 23\n"
      "\n"
      "RANGES wanted as a whole, by CMA or for a huge page of 1 GiB: 7 EBUSY\n"
      "   3.0 s  pfn 0x40000 to 0x80000 EBUSY for sh(42)\n"
      "          not free: pfn 0x493e0, plain reference\n"
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
