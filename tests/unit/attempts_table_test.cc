// SPDX-License-Identifier: Apache-2.0
#include "cli/attempts_table.h"

#include <gmock/gmock.h>

#include "tests/unit/cli_lines.h"

namespace pinwatch {
namespace {

const absl::Time kNow = absl::FromUnixSeconds(1000);

TEST(AttemptsTable, SaysWhenThereWereNone) {
  EXPECT_EQ(AttemptsTable({}, kNow),
            "no attempt to take memory offline or online since pinwatchd "
            "started\n");
}

TEST(AttemptsTable, ShowsWhoAskedForWhatAndHowItEnded) {
  EXPECT_EQ(
      AttemptsTable(
          Parse<v1::ListAttemptsResponse>(R"pb(
            attempts {
              operation: "offline"
              block: 9
              running: true
              begin { seconds: 997 }
              duration { seconds: 3 }
              pid: 251
              comm: "memory-block"
              failed_pages: 1200
            }
            attempts {
              operation: "online"
              block: 14
              outcome: "ok"
              error: 0
              begin { seconds: 880 }
              duration { nanos: 200000000 }
              pid: 242
              comm: "sh"
            }
            counts { operation: "offline" outcome: "ok" attempts: 0 }
            counts { operation: "offline" outcome: "EBUSY" attempts: 7 }
            counts { operation: "offline" outcome: "EINTR" attempts: 1 }
            counts { operation: "online" outcome: "ok" attempts: 1 }
            stories_lost: 2
          )pb"),
          kNow),
      "   BEGAN  BLOCK        WANTED   RESULT       TOOK      FAILED  ASKER\n"
      "   3.0 s  memory9      offline  running     3.0 s       1,200  "
      "memory-block(251)\n"
      "   2 min  memory14     online   ok          0.2 s           0  sh(242)\n"
      "BEGAN: ago; FAILED: pages that did not move, in every round of "
      "migration\n"
      "\n"
      "offline: 7 EBUSY, 1 EINTR\n"
      "online: 1 ok\n"
      "of these, 2 without a story\n");
}

TEST(AttemptsTable, TellsWhereTheBlockIsAndByWhichWayItWasAskedFor) {
  const std::string text = Checked(AttemptsTable(
      Parse<v1::ListAttemptsResponse>(R"pb(
        attempts {
          operation: "offline"
          block: 9
          pid: 251
          comm: "sh"
          nid: 1
          zone: "Movable"
          road: "sysfs"
          unit: "drain.service"
        }
        attempts { operation: "offline" nid: 0 zone: "none" road: "unknown" }
      )pb"),
      kNow));
  EXPECT_THAT(text, testing::HasSubstr(
                        "sh(251)\n          node 1, zone Movable, through "
                        "sysfs, by drain.service\n"));
  EXPECT_THAT(text, testing::HasSubstr("\n          node 0, several zones\n"));
}

TEST(AttemptsTable, ShowsTheFirstPagesInTheWayAndTheirHolders) {
  EXPECT_EQ(
      Checked(AttemptsTable(
          Parse<v1::ListAttemptsResponse>(R"pb(
            attempts {
              operation: "offline"
              block: 9
              running: true
              begin { seconds: 997 }
              duration { seconds: 3 }
              pid: 251
              comm: "sh"
              blockers {
                pfn: 0x48200
                nr_pages: 512
                page_class: "pinned_large"
                pins: 1
                certainty: CERTAINTY_ONE_OF
                owners: [ 3, 4, 5 ]
              }
              blockers { pfn: 0x48400 page_class: "elevated" refcount: 2 }
              blockers { pfn: 0x48401 page_class: "elevated" refcount: 2 }
              blockers { pfn: 0x48402 page_class: "elevated" refcount: 2 }
              blockers { pfn: 0x48403 page_class: "elevated" refcount: 2 }
            }
            owners {
              id: 3
              process { pid: 812 comm: "qemu" }
            }
            owners {
              id: 4
              process { pid: 812 comm: "qemu" }
            }
          )pb"),
          kNow)),
      R"(   BEGAN  BLOCK        WANTED   RESULT       TOOK      FAILED  ASKER
   3.0 s  memory9      offline  running     3.0 s           0  sh(251)
          pfn 0x48200 pinned_large, 512 pages, held by one of qemu(812), owner ~
          pfn 0x48400 elevated, 2 references
          pfn 0x48401 elevated, 2 references
          and 2 more pages in the way; -o json shows them
BEGAN: ago; FAILED: pages that did not move, in every round of migration

)");
}

TEST(AttemptsTable, TellsHowItEndedAndWhatTheKernelMet) {
  EXPECT_EQ(
      Checked(AttemptsTable(Parse<v1::ListAttemptsResponse>(R"pb(
                              attempts {
                                operation: "offline"
                                block: 9
                                outcome: "EINTR"
                                begin { seconds: 997 }
                                duration { seconds: 3 }
                                pid: 251
                                comm: "sh"
                                step: "migrating"
                                reason: "interrupted"
                                failed_pages: 1498
                                blockers {
                                  pfn: 0x4c592
                                  nr_pages: 1
                                  refcount: 3
                                  why: "plain_reference"
                                  surplus: 1
                                  times_met: 1498
                                  reference_holders {
                                    process { pid: 254 comm: "hold" }
                                    fd: 3
                                  }
                                  reference_holders {
                                    process { pid: 254 comm: "hold" }
                                    fd: 4
                                  }
                                }
                                blockers {
                                  pfn: 0x4c593
                                  nr_pages: 1
                                  refcount: 3
                                  why: "plain_reference"
                                  surplus: 1
                                  times_met: 7
                                }
                              }
                              attempts {
                                operation: "offline"
                                block: 1
                                outcome: "EBUSY"
                                begin { seconds: 997 }
                                duration { nanos: 3000000 }
                                pid: 251
                                comm: "sh"
                                step: "isolating"
                                reason: "unmovable_page"
                                blockers {
                                  pfn: 0x8000
                                  refcount: 1
                                  why: "page_table"
                                  times_met: 1
                                }
                              }
                            )pb"),
                            kNow)),
      R"(   BEGAN  BLOCK        WANTED   RESULT       TOOK      FAILED  ASKER
   3.0 s  memory9      offline  EINTR       3.0 s       1,498  sh(251)
          interrupted by a signal to the asker before all pages had moved
          pfn 0x4c592 in a pipe of hold(254), met 1,498 times
          pfn 0x4c593 plain reference, 1 of 3 references not explained, met 7 t~
   3.0 s  memory1      offline  EBUSY       0.0 s           0  sh(251)
          refused at once: not movable
          pfn 0x8000 page table, 1 reference
BEGAN: ago; FAILED: pages that did not move, in every round of migration

)");
}

TEST(AttemptsTable, KeepsTo80ColumnsOfPrintableAsciiWhateverTheNames) {
  v1::ListAttemptsResponse attempts;
  for (const char* name : kHostileNames) {
    v1::Attempt* attempt = attempts.add_attempts();
    attempt->set_operation("offline");
    attempt->set_block(UINT64_MAX);
    attempt->set_outcome("errno 4095");
    attempt->set_pid(UINT32_MAX);
    attempt->set_failed_pages(UINT64_MAX);
    attempt->set_comm(name);
    attempt->set_nid(UINT32_MAX);
    attempt->set_zone(name);
    attempt->set_unit(name);
    v1::BlockingPage* page = attempt->add_blockers();
    page->set_pfn(UINT64_MAX);
    page->set_page_class(name);
    page->add_owners(attempts.owners_size());
    v1::PinOwner* owner = attempts.add_owners();
    owner->set_id(attempts.owners_size() - 1);
    owner->mutable_process()->set_comm(name);
    owner->mutable_process()->set_pid(UINT32_MAX);
  }
  Checked(AttemptsTable(attempts, kNow));
}

TEST(AttemptsTable, PointsOutTwoAskersForOneBlock) {
  const std::string text = AttemptsTable(
      Parse<v1::ListAttemptsResponse>(R"pb(
        attempts {
          id: 4
          contends_with: [ 3 ]
          operation: "online"
          block: 9
          pid: 77
          comm: "udevd"
        }
        attempts {
          id: 3
          contends_with: [ 4 ]
          operation: "offline"
          block: 9
          pid: 251
          comm: "sh"
        }
        attempts { id: 2 operation: "offline" block: 9 pid: 253 comm: "sh" }
      )pb"),
      kNow);
  EXPECT_THAT(text, testing::HasSubstr(
                        "udevd(77)\n          right after another asker, "
                        "sh(251): offline\n"));
  EXPECT_EQ(text.find("right after"), text.rfind("right after"));
}

}  // namespace
}  // namespace pinwatch
