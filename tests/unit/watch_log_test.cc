// SPDX-License-Identifier: Apache-2.0
#include "cli/watch_log.h"

#include <gmock/gmock.h>

#include <iterator>

#include "tests/unit/cli_lines.h"

namespace pinwatch {
namespace {

using testing::HasSubstr;

class WatchLogTest : public testing::Test {
 protected:
  std::string Lines(const v1::WatchResponse& message) {
    return Checked(log_.Lines(message));
  }

  std::string Lines(const std::string& text) {
    return Lines(Parse<v1::WatchResponse>(text));
  }

  // The first message of a host where 23 pages are held.
  std::string Begin() {
    return Lines(R"pb(
      sequence: 1
      snapshot {
        time { seconds: 43200 }
        nodes { nid: 0 outstanding_references: 30 }
        zones {
          name: "Normal"
          migratetypes {
            confirmed { pages: 23 }
            possible { pages: 3 }
          }
        }
        zones {
          name: "Movable"
          migratetypes {}
        }
        blocks { nid: 0 zone: "Movable" state: "online" blocks: 8 }
        migrations { reason: "compaction" mode: "async" succeeded_pages: 100 }
        claims {}
        owners {
          id: 1
          long_term: true
          process { pid: 812 comm: "qemu" }
          subsystem: "vfio"
          holdings {
            certainty: CERTAINTY_HELD
            pins { pages: 16 }
          }
        }
        owners {
          id: 2
          process { pid: 99 comm: "fio" }
        }
        attributions {
          zone: "Normal"
          certainty: CERTAINTY_UNATTRIBUTED
          pins { pages: 7 }
        }
        attempts {
          operation: "offline"
          block: 9
          running: true
          duration { seconds: 3 }
          pid: 251
          tid: 251
          comm: "sh"
          begin_monotonic_ns: 5
        }
        attempts { operation: "offline" block: 8 outcome: "EBUSY" tid: 1 }
      })pb");
  }

  WatchLog log_{absl::UTCTimeZone()};
};

TEST_F(WatchLogTest, BeginsWithASummary) {
  EXPECT_EQ(Begin(),
            "12:00:00  node 0 Normal: 23 pages (92 KiB) pinned, 3 possibly\n"
            "12:00:00  1 owner holds pages; pinwatch top names them\n"
            "12:00:00  7 pages (28 KiB) without a known holder\n"
            "12:00:00  offline memory9 by sh(251): under way\n");
}

TEST_F(WatchLogTest, SaysWhenNothingIsPinned) {
  EXPECT_EQ(Lines("snapshot { time { seconds: 5 } }"),
            "00:00:05  no page is known to be pinned\n");
}

TEST_F(WatchLogTest, TellsEachChangeInALine) {
  Begin();
  EXPECT_EQ(
      Lines(R"pb(
        sequence: 2
        difference {
          time { seconds: 43205 }
          nodes { nid: 0 outstanding_references: 4127 }
          zones {
            name: "Normal"
            migratetypes {
              confirmed { pages: 4120 }
              possible { pages: 2 }
            }
          }
          owners {
            id: 3
            long_term: true
            process { pid: 77 comm: "pin-iouring" }
            subsystem: "io_uring"
            holdings {
              certainty: CERTAINTY_HELD
              pins { pages: 4097 }
            }
          }
          owners {
            id: 1
            long_term: true
            process { pid: 812 comm: "qemu" ended: true }
            subsystem: "vfio"
            holdings {
              certainty: CERTAINTY_PROBABLE
              pins { pages: 16 }
            }
          }
          owners {
            id: 2
            process { pid: 99 comm: "fio" }
            calls: 1000
          }
          attributions { zone: "Normal" certainty: CERTAINTY_UNATTRIBUTED }
          blocks { nid: 0 zone: "Movable" state: "online" blocks: 7 }
          blocks { zone: "none" state: "offline" blocks: 1 }
          migrations {
            reason: "compaction"
            mode: "async"
            succeeded_pages: 110
            failed_pages: 1
          }
        })pb"),
      R"(12:00:05  node 0: 30 -> 4,127 pin references, by the kernel's count
12:00:05  node 0 Normal: 23 -> 4,120 pages pinned
12:00:05  node 0 Normal: 3 -> 2 pages possibly pinned
12:00:05  pin-iouring(77): 0 -> 4,097 pages (held), io_uring, long-term
12:00:05  qemu(812): 16 pages (held -> probable), vfio, long-term
12:00:05  node 0 Normal: 7 -> 0 pages without a known holder
12:00:05  node 0 Movable: 8 -> 7 blocks online
12:00:05  node ? none: 0 -> 1 blocks offline
12:00:05  migration, compaction, async: 10 pages moved, 1 failed
)");
  EXPECT_EQ(Lines(R"pb(
              difference {
                time { seconds: 43206 }
                owners {
                  id: 3
                  process { pid: 77 comm: "pin-iouring" }
                  subsystem: "io_uring"
                }
                owners_gone: [ 1, 2 ]
                nodes_gone: 0
              })pb"),
            R"(12:00:06  node 0 is gone
12:00:06  pin-iouring(77): 4,097 -> 0 pages (held), io_uring, short-term
12:00:06  qemu(812): 16 -> 0 pages, and gone
)");
}

TEST_F(WatchLogTest, FollowsAnAttemptFromItsBeginningToItsEnd) {
  Begin();
  const auto attempt = [&](const std::string& rest) {
    return Lines(R"(difference { time { seconds: 43210 } attempts {
        operation: "offline" block: 9 pid: 251 tid: 251 comm: "sh"
        begin_monotonic_ns: 5 )" +
                 rest + " } }");
  };
  // Told at 3 s; next when it has run twice as long.
  EXPECT_EQ(attempt("running: true duration { seconds: 5 } failed_pages: 9"),
            "");
  EXPECT_EQ(attempt(R"(running: true duration { seconds: 7 }
                       failed_pages: 1200
                       blockers { pfn: 4660 page_class: "pinned_exact"
                                  certainty: CERTAINTY_HELD owners: 1 })"),
            "12:00:10  offline memory9 by sh(251): for 7.0 s, 1,200 moves "
            "failed\n"
            "12:00:10    in its way: pfn 0x1234 pinned_exact, held by "
            "qemu(812)\n");
  EXPECT_EQ(attempt(R"(running: true duration { seconds: 8 }
                       blockers { pfn: 4660 owners: 1 })"),
            "");
  EXPECT_EQ(attempt(R"(outcome: "EINTR" duration { seconds: 9 })"),
            "12:00:10  offline memory9 by sh(251): EINTR after 9.0 s\n");
  EXPECT_EQ(attempt(R"(outcome: "EINTR" duration { seconds: 9 })"), "");
  EXPECT_EQ(Lines(R"(difference { time { seconds: 43211 } attempts {
                operation: "online" block: 9 tid: 251 outcome: "ok"
                begin_monotonic_ns: 9 } })"),
            "12:00:11  online memory9 by ?(0): ok after 0.0 s\n");
}

TEST_F(WatchLogTest, TellsOfCallsThatComeRoundAndRound) {
  Begin();
  EXPECT_EQ(Lines(R"pb(difference {
                         time { seconds: 43210 }
                         pin_retries {
                           process { pid: 77 comm: "app" }
                           door: "pin_user_pages"
                           rounds: 1023
                           page {
                             pfn: 4660
                             page_class: "pinned_exact"
                             certainty: CERTAINTY_HELD
                             owners: 1
                           }
                         }
                       })pb"),
            "12:00:10  app(77): 1,023 rounds so far in pin_user_pages\n"
            "12:00:10    cannot isolate pfn 0x1234 pinned_exact, held by "
            "qemu(812)\n");
  EXPECT_EQ(Lines(R"pb(difference {
                         time { seconds: 43211 }
                         pin_retries_ended {
                           process { pid: 77 comm: "app" }
                           door: "pin_user_pages"
                           rounds: 2000
                         }
                       })pb"),
            "12:00:11  app(77): done after some 2,000 rounds\n");
}

TEST_F(WatchLogTest, WhoIsOutOfSightInAPauseHasNotLetGo) {
  Begin();
  EXPECT_EQ(Lines(R"pb(
              sequence: 2
              difference {
                time { seconds: 43201 }
                owners_gone: 1
                pause { since { seconds: 43201 } }
              }
            )pb"),
            "12:00:01  paused: what processes do is not followed; pinwatch "
            "resume ends that\n");
  EXPECT_EQ(Lines(R"pb(
              sequence: 3
              difference {
                time { seconds: 43202 }
                owners {
                  id: 1
                  process { pid: 812 comm: "qemu" }
                  holdings { pins { pages: 16 } }
                }
                pause {}
              }
            )pb"),
            "12:00:02  resumed: what processes do is followed again\n");
}

TEST_F(WatchLogTest, WhatIsNotForEyesHasNoLine) {
  Begin();
  EXPECT_EQ(Lines(R"pb(
              difference {
                time { seconds: 43205 }
                zones {
                  name: "Normal"
                  migratetypes {
                    confirmed { pages: 23 }
                    possible { pages: 3 }
                    classes { free: 5 }
                  }
                }
                migrations {
                  reason: "compaction"
                  mode: "async"
                  calls: 3
                  succeeded_pages: 100
                }
              })pb"),
            "");
}

TEST_F(WatchLogTest, SaysWhatWasMissed) {
  Begin();
  EXPECT_EQ(Lines("missed_snapshots: 6 difference { time { seconds: 43205 } }"),
            "12:00:05  6 snapshots were missed: they are read too slowly\n");
}

TEST_F(WatchLogTest, KeepsToItsColumnsWhateverTheNames) {
  v1::WatchResponse message;
  v1::Difference* difference = message.mutable_difference();
  for (const char* name : kHostileNames) {
    v1::Zone* zone = difference->add_zones();
    zone->set_name(name);
    zone->add_migratetypes()->mutable_confirmed()->set_pages(UINT64_MAX);
    v1::PinOwner* owner = difference->add_owners();
    owner->set_id(difference->owners_size());
    owner->set_subsystem(name);
    owner->mutable_process()->set_comm(name);
    owner->mutable_process()->set_pid(UINT32_MAX);
    owner->add_holdings()->mutable_pins()->set_pages(UINT64_MAX);
    v1::PinAttribution* attribution = difference->add_attributions();
    attribution->set_certainty(v1::CERTAINTY_UNATTRIBUTED);
    attribution->set_zone(name);
    attribution->set_reason(name);
    attribution->mutable_pins()->set_pages(UINT64_MAX);
    v1::Attempt* attempt = difference->add_attempts();
    attempt->set_begin_monotonic_ns(difference->attempts_size());
    attempt->set_operation(name);
    attempt->set_comm(name);
    attempt->set_outcome(name);
    attempt->add_blockers()->set_page_class(name);
    v1::BlockCount* blocks = difference->add_blocks();
    blocks->set_zone(name);
    blocks->set_state(name);
    blocks->set_blocks(UINT64_MAX);
    v1::Migrations* migrations = difference->add_migrations();
    migrations->set_reason(name);
    migrations->set_failed_pages(UINT64_MAX);
  }
  Lines(message);
}

}  // namespace
}  // namespace pinwatch
