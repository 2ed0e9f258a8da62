// SPDX-License-Identifier: Apache-2.0
#include "daemon/probes.h"

#include <bpf/btf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "tests/unit/temp_tree.h"

namespace pinwatch {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string Message(const absl::Status& status) {
  return std::string(status.message());
}

TEST(RequireSymbols, IsContentWhenEachHasAnAddress) {
  TempTree tree;
  tree.Write("/kallsyms",
             "ffffffff81000000 T _text\n"
             "ffffffff82a00010 D vmemmap_base\n"
             "ffffffffc0a01000 t probe\t[nvme]\n");
  EXPECT_TRUE(RequireSymbols(tree.root() + "/kallsyms", {"vmemmap_base"}).ok());
}

TEST(RequireSymbols, NamesWhatTheKernelDoesNotHave) {
  TempTree tree;
  tree.Write("/kallsyms", "ffffffff82a00010 D vmemmap_base\n");
  const absl::Status status =
      RequireSymbols(tree.root() + "/kallsyms", {"vmemmap_base", "node_data"});
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(Message(status), HasSubstr("lacks node_data"));
  EXPECT_THAT(Message(status), HasSubstr("CONFIG_KALLSYMS_ALL"));
}

TEST(RequireSymbols, SaysHowToUncoverHiddenAddresses) {
  TempTree tree;
  tree.Write("/kallsyms", "0000000000000000 D vmemmap_base\n");
  const absl::Status status =
      RequireSymbols(tree.root() + "/kallsyms", {"vmemmap_base"});
  EXPECT_THAT(Message(status), HasSubstr("CAP_SYSLOG"));
  EXPECT_THAT(Message(status), HasSubstr("kptr_restrict"));
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

// The types a kernel would tell, as few as the layout is read from.
class Types {
 public:
  Types() : btf_(btf__new_empty()) {
    int_ = btf__add_int(btf_.get(), "int", 4, BTF_INT_SIGNED);
  }

  void AddPage(int bytes) { btf__add_struct(btf_.get(), "page", bytes); }

  void AddNodemask(int bytes) {
    const int mask = btf__add_struct(btf_.get(), nullptr, bytes);
    btf__add_typedef(btf_.get(), "nodemask_t", mask);
  }

  void AddEnum(const char* name,
               std::initializer_list<std::pair<const char*, int>> values) {
    btf__add_enum(btf_.get(), name, 4);
    for (const auto& [value_name, value] : values)
      btf__add_enum_value(btf_.get(), value_name, value);
  }

  void AddTracepoint(const char* name, int args) {
    const int proto = btf__add_func_proto(btf_.get(), 0);
    for (int i = 0; i < args + 1; ++i)
      btf__add_func_param(btf_.get(), nullptr, int_);
    btf__add_typedef(btf_.get(), name, btf__add_ptr(btf_.get(), proto));
  }

  // All that Debian's 6.12 has of it.
  void AddAll() {
    AddPage(64);
    AddNodemask(128);
    AddEnum("zone_type", {{"ZONE_DMA", 0},
                          {"ZONE_DMA32", 1},
                          {"ZONE_NORMAL", 2},
                          {"ZONE_MOVABLE", 3},
                          {"ZONE_DEVICE", 4},
                          {"__MAX_NR_ZONES", 5}});
    AddEnum("migratetype", {{"MIGRATE_UNMOVABLE", 0},
                            {"MIGRATE_MOVABLE", 1},
                            {"MIGRATE_RECLAIMABLE", 2},
                            {"MIGRATE_PCPTYPES", 3},
                            {"MIGRATE_HIGHATOMIC", 3},
                            {"MIGRATE_ISOLATE", 4},
                            {"MIGRATE_TYPES", 5}});
    AddEnum("migrate_reason",
            {{"MR_COMPACTION", 0}, {"MR_LONGTERM_PIN", 2}, {"MR_TYPES", 3}});
    AddEnum("migrate_mode", {{"MIGRATE_ASYNC", 0}, {"MIGRATE_SYNC_LIGHT", 1}});
    AddTracepoint("btf_trace_mm_migrate_pages", 8);
  }

  const btf* get() const { return btf_.get(); }

 private:
  struct Free {
    void operator()(btf* types) const { btf__free(types); }
  };
  std::unique_ptr<btf, Free> btf_;
  int int_;
};

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
