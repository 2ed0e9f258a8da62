// SPDX-License-Identifier: Apache-2.0
#include "daemon/kept_state.h"

#include <bpf/libbpf.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "absl/strings/str_replace.h"
#include "bpf/pin.skel.h"
#include "daemon/deleter.h"
#include "tests/unit/temp_tree.h"

namespace pinwatch {
namespace {

// Of the programs on the pin functions with one name changed into another, and
// one map of another size.
uint64_t SchemaWith(const std::string& name, const std::string& other_name,
                    const char* resized = nullptr) {
  size_t size = 0;
  const auto* bytes = static_cast<const char*>(pin_bpf::elf_bytes(&size));
  const std::string image =
      absl::StrReplaceAll(std::string(bytes, size), {{name, other_name}});
  LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = "pin_bpf");
  const std::unique_ptr<bpf_object, Deleter<bpf_object__close>> object(
      bpf_object__open_mem(image.data(), image.size(), &options));
  if (!object) return 0;
  if (resized)
    bpf_map__set_max_entries(
        bpf_object__find_map_by_name(object.get(), resized), 123457);
  return SchemaOf(object.get(), {"pin_bpf_rodata", "scratch"});
}

uint64_t Schema() { return SchemaWith("ask_folio", "ask_folio"); }

TEST(KeptState, OtherCodeOnTheSameMapsHasTheSameSchema) {
  EXPECT_NE(Schema(), 0u);
  EXPECT_EQ(SchemaWith("ask_folio", "ask_f0lio"), Schema());
}

TEST(KeptState, AnotherVariableFieldOrMapMakesAnotherSchema) {
  EXPECT_NE(SchemaWith("news_lost", "news_l0st"), Schema());
  EXPECT_NE(SchemaWith("via_start_ns", "via_st4rt_ns"), Schema());
  EXPECT_NE(SchemaWith("free_owners", "fr3e_owners"), Schema());
}

TEST(KeptState, MoreMemoryMakesNoOtherSchema) {
  for (const char* by_section : {"claim_chunks", "pin_landed"})
    EXPECT_EQ(SchemaWith("ask_folio", "ask_folio", by_section), Schema())
        << by_section;
  EXPECT_NE(SchemaWith("ask_folio", "ask_folio", "claim_runs"), Schema());
}

TEST(KeptState, IsKeptInABpfFileSystemAlone) {
  const TempTree tree;
  const absl::Status status = KeptState::Open(tree.root()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(status.message().find("no BPF file system"), std::string::npos)
      << status;
}

}  // namespace
}  // namespace pinwatch
