// SPDX-License-Identifier: Apache-2.0
#include "daemon/kernel_addresses.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/temp_tree.h"

namespace pinwatch {
namespace {

using testing::HasSubstr;

std::string Message(const absl::Status& status) {
  return std::string(status.message());
}

TEST(KernelAddresses, AreThoseOfTheKernelItself) {
  TempTree tree;
  tree.Write("/kallsyms",
             "ffffffff81000000 T _text\n"
             "ffffffff82a00010 D vmemmap_base\n"
             "ffffffffc0a01000 t mem_section\t[nvme]\n"
             "no line of it\n"
             "ffffffff812b0000 T mem_section");
  const auto addresses = KernelAddresses::Read(tree.root() + "/kallsyms");
  EXPECT_TRUE(addresses.Require({"vmemmap_base", "mem_section"}).ok());
  EXPECT_EQ(addresses.At("vmemmap_base"), 0xffffffff82a00010);
  EXPECT_EQ(addresses.At("mem_section"), 0xffffffff812b0000);
  EXPECT_EQ(addresses.At("node_data"), 0);
}

TEST(KernelAddresses, NameWhatTheKernelDoesNotHave) {
  TempTree tree;
  tree.Write("/kallsyms", "ffffffff82a00010 D vmemmap_base\n");
  const absl::Status status = KernelAddresses::Read(tree.root() + "/kallsyms")
                                  .Require({"vmemmap_base", "node_data"});
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(Message(status), HasSubstr("lacks node_data"));
  EXPECT_THAT(Message(status), HasSubstr("CONFIG_KALLSYMS_ALL"));
}

TEST(KernelAddresses, SayHowToUncoverThem) {
  TempTree tree;
  tree.Write("/kallsyms", "0000000000000000 D vmemmap_base\n");
  const auto addresses = KernelAddresses::Read(tree.root() + "/kallsyms");
  const absl::Status status = addresses.Require({"vmemmap_base"});
  EXPECT_THAT(Message(status), HasSubstr("CAP_SYSLOG"));
  EXPECT_THAT(Message(status), HasSubstr("kptr_restrict"));
  EXPECT_EQ(addresses.At("vmemmap_base"), 0);
}

TEST(KernelAddresses, AreNotKnownWithoutTheFile) {
  TempTree tree;
  const auto addresses = KernelAddresses::Read(tree.root() + "/kallsyms");
  EXPECT_THAT(Message(addresses.Require({"vmemmap_base"})),
              HasSubstr("lacks vmemmap_base"));
}

}  // namespace
}  // namespace pinwatch
