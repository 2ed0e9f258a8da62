// SPDX-License-Identifier: Apache-2.0
#include "cli/plan_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/node_table.h"
#include "tests/unit/cli_lines.h"

namespace pinwatch {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string Table(const std::string& request, const std::string& plan) {
  return Checked(PlanTable(Parse<v1::PlanOfflineRequest>(request),
                           Parse<v1::PlanOfflineResponse>(plan),
                           absl::FromUnixSeconds(1'000)));
}

TEST(PlanTable, TellsWhatToTakeInWhichOrderAndWhatItRestsOn) {
  EXPECT_EQ(Table("bytes: 536870912", R"(
      reached: true bytes: 536870912 pages_to_move: 23 free_pages: 65536
      blocks { verdict { block: 40 verdict: VERDICT_REMOVABLE
                         confidence: CONFIDENCE_HIGH } }
      blocks { verdict { block: 41 verdict: VERDICT_REMOVABLE
                         confidence: CONFIDENCE_HIGH } }
      blocks { verdict { block: 7 verdict: VERDICT_REMOVABLE
                         confidence: CONFIDENCE_MEDIUM } }
      blocks { verdict { block: 5 verdict: VERDICT_REMOVABLE_AFTER_MIGRATION
                         confidence: CONFIDENCE_LOW } }
      oldest_look { seconds: 977 })"),
            R"(512 MiB can be had: 4 blocks, 512 MiB.

WHAT TO TAKE OFFLINE, in this order
nothing has to move: 3 blocks: memory7, memory40-memory41
pages have to move: 1 block: memory5
23 pages (92 KiB) have to move, 65,536 pages (256 MiB) are free elsewhere

WHAT IT RESTS ON
confidence: 2 high, 1 medium, 1 low
the oldest look is 23 s old; --fresh looks at all again
)");
}

TEST(PlanTable, SaysWhyThereIsNoMore) {
  const std::string table = Table("bytes: 268435456", R"(
      no_room_blocks: 7
      verdicts { verdict: VERDICT_BLOCKED_BY_KERNEL_MEMORY blocks: 23 })");
  EXPECT_THAT(table, HasSubstr("256 MiB cannot be had, only 0 blocks, 0 B.\n"));
  EXPECT_THAT(table, HasSubstr("of all blocks: 23 blocked by kernel memory\n"));
  EXPECT_THAT(table, HasSubstr("7 blocks hold more than is free elsewhere\n"));
}

TEST(PlanTable, NamesWhoHasToLetGo) {
  const std::string table = Table("bytes: 134217728", R"(
      reached: true bytes: 134217728
      blocks { verdict { block: 5 verdict: VERDICT_BLOCKED_BY_LONG_TERM_PINS }
               owners: 3 }
      owners { id: 3 long_term: true subsystem: "io_uring"
               process { pid: 812 comm: "qemu" } })");
  EXPECT_THAT(table, HasSubstr("once those below let go: 1 block: memory5\n"));
  EXPECT_THAT(table, HasSubstr("WHO HAS TO LET GO FIRST\n"));
  EXPECT_THAT(table, HasSubstr("812"));
}

TEST(PlanTable, SaysWhatStoppingSomebodyWouldGive) {
  EXPECT_THAT(Table("bytes: 1 stopped_pid: 812",
                    "reached: true stopped_owners: 2 stopped_pages: 23"),
              HasSubstr("If process 812 were stopped: 23 pages (92 KiB) that "
                        "it alone pins would be let\n  go."));
  EXPECT_THAT(
      Table("bytes: 1 stopped_unit: 'db\\x1b.service'", "reached: true"),
      HasSubstr("No pin of unit db\\x1b.service is known"));
}

TEST(NodeTable, TellsOfOneNodeAlone) {
  const auto snapshot = Parse<v1::Snapshot>(R"(
      nodes { nid: 0 } nodes { nid: 1 }
      verdicts { nid: 0 zone: "Normal" verdict: VERDICT_REMOVABLE blocks: 7 }
      verdicts { nid: 1 zone: "Movable" verdict: VERDICT_REMOVABLE blocks: 23 }
      verdicts { nid: 1 zone: "Movable"
                 verdict: VERDICT_BLOCKED_BY_KERNEL_MEMORY blocks: 1 }
      removable { nid: 0 bytes: 1 } removable { nid: 1 bytes: 3087007744 })");
  const auto node = OfNode(snapshot, 1);
  ASSERT_TRUE(node.ok());
  const auto owners = Parse<v1::ListOwnersResponse>(R"(
      owners { id: 1 long_term: true process { pid: 812 comm: "here" }
               holdings { nid: 1 zone: "Normal" pins { pages: 23 } } }
      owners { id: 2 long_term: true process { pid: 99 comm: "elsewhere" }
               holdings { nid: 0 zone: "Normal" pins { pages: 7 } } })");
  const std::string table =
      Checked(NodeTable(1, *node, owners, absl::FromUnixSeconds(1'000)));
  EXPECT_THAT(table,
              HasSubstr("node 1: about 2.88 GiB could be taken offline"));
  EXPECT_THAT(table, HasSubstr("zone Movable: 23 removable, 1 blocked by "
                               "kernel memory\n"));
  EXPECT_THAT(table, HasSubstr("812"));
  EXPECT_THAT(table, Not(HasSubstr("elsewhere(99)")));
  EXPECT_TRUE(absl::IsNotFound(OfNode(snapshot, 7).status()));
}

}  // namespace
}  // namespace pinwatch
