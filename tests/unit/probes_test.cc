// SPDX-License-Identifier: Apache-2.0
#include "daemon/probes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/kernel_types.h"
#include "tests/unit/temp_tree.h"

namespace pinwatch {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string Message(const absl::Status& status) {
  return std::string(status.message());
}

TEST(RequireKernelReads, IsRefusedByConfidentialityAlone) {
  TempTree tree;
  EXPECT_TRUE(RequireKernelReads(tree.root()).ok());
  tree.Write("/sys/kernel/security/lockdown",
             "none [integrity] confidentiality\n");
  EXPECT_TRUE(RequireKernelReads(tree.root()).ok());
  tree.Write("/sys/kernel/security/lockdown",
             "none integrity [confidentiality]\n");
  EXPECT_THAT(Message(RequireKernelReads(tree.root())),
              HasSubstr("locked down"));
}

TEST(ReadLayout, FindsNodeAndZoneInTheFlagsAsDebianKernelsHaveThem) {
  Types types;
  types.AddAll();
  const auto layout = ReadLayout(types.get());
  ASSERT_TRUE(layout.ok()) << layout.status();
  EXPECT_EQ(layout->nid_shift, 54u);
  EXPECT_EQ(layout->zone_shift, 51u);
  EXPECT_EQ(layout->zone_mask, 7u);
  EXPECT_EQ(layout->migrate_args, 8);
}

TEST(ReadLayout, TellsWhetherProgramsCanLoopAsLongAsTheyLike) {
  Types types;
  types.AddAll();
  types.AddEnum("bpf_prog_type", {{"BPF_PROG_TYPE_RAW_TRACEPOINT", 17},
                                  {"BPF_PROG_TYPE_SYSCALL", 31}});
  EXPECT_FALSE(ReadLayout(types.get())->syscall_programs);
  types.AddEnum("bpf_func_id", {{"BPF_FUNC_loop", 181}});
  EXPECT_TRUE(ReadLayout(types.get())->syscall_programs);
}

TEST(ReadLayout, NamesByValueAndLeavesOutCountsAndBounds) {
  Types types;
  types.AddAll();
  const auto layout = ReadLayout(types.get());
  ASSERT_TRUE(layout.ok()) << layout.status();
  EXPECT_THAT(layout->migratetypes,
              ElementsAre("unmovable", "movable", "reclaimable", "highatomic",
                          "isolate"));
  EXPECT_THAT(layout->migrate_reasons,
              ElementsAre("compaction", "", "longterm_pin"));
  EXPECT_THAT(layout->migrate_modes, ElementsAre("async", "sync_light"));
}

TEST(ReadLayout, RefusesAStructPageOfAnotherSize) {
  Types types;
  types.AddPage(56);
  EXPECT_THAT(Message(ReadLayout(types.get()).status()),
              HasSubstr("struct page"));
}

TEST(ReadLayout, RefusesTypesWithoutZones) {
  Types types;
  types.AddPage(64);
  types.AddNodemask(128);
  EXPECT_THAT(Message(ReadLayout(types.get()).status()),
              HasSubstr("zone_type"));
}

TEST(ReadLayout, SaysWhenTheTracepointIsNotThere) {
  Types types;
  types.AddPage(64);
  types.AddNodemask(8);
  types.AddEnum("zone_type", {{"__MAX_NR_ZONES", 4}});
  types.AddEnum("migratetype", {{"MIGRATE_UNMOVABLE", 0}});
  const auto layout = ReadLayout(types.get());
  ASSERT_TRUE(layout.ok()) << layout.status();
  EXPECT_EQ(layout->migrate_args, -1);
  EXPECT_EQ(layout->nid_shift, 58u);
  EXPECT_EQ(layout->zone_shift, 56u);
  EXPECT_EQ(layout->zone_mask, 3u);
}

}  // namespace
}  // namespace pinwatch
