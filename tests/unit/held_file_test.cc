// SPDX-License-Identifier: Apache-2.0
#include "daemon/held_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "tests/unit/temp_tree.h"

namespace pinwatch {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::string> Lines(HeldFile& file) {
  std::vector<std::string> lines;
  const absl::Status status = file.ForEachLine([&](absl::string_view line) {
    lines.emplace_back(line);
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  return lines;
}

TEST(HeldFile, ReadsFromTheStartEachTime) {
  const TempTree tree;
  tree.Write("/file", "one\ntwo\n\nlast without an end");
  HeldFile file(tree.root() + "/file");
  for (int i = 0; i < 2; ++i)
    EXPECT_THAT(Lines(file),
                ElementsAre("one", "two", "", "last without an end"));
}

TEST(HeldFile, ReadsLinesThatDoNotFitItsBuffer) {
  const TempTree tree;
  const std::string line_a(100'000, 'a'), line_b(65'536, 'b');
  tree.Write("/file", line_a + "\n" + line_b + "\nc\n");
  HeldFile file(tree.root() + "/file");
  EXPECT_THAT(Lines(file), ElementsAre(line_a, line_b, "c"));
}

// As when the right to open it is gone.
TEST(HeldFile, StillReadsWhatCannotBeOpenedAnyMore) {
  const TempTree tree;
  tree.Write("/file", "address\n");
  HeldFile file(tree.root() + "/file");
  std::filesystem::remove(tree.root() + "/file");
  EXPECT_THAT(Lines(file), ElementsAre("address"));
}

TEST(HeldFile, OpensOneThatComesLater) {
  const TempTree tree;
  HeldFile file(tree.root() + "/file");
  const absl::Status status =
      file.ForEachLine([](absl::string_view) { return absl::OkStatus(); });
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("/file"));
  tree.Write("/file", "");
  EXPECT_THAT(Lines(file), IsEmpty());
}

TEST(HeldFile, StopsWhereTheVisitorWantsToAndReadsAllTheNextTime) {
  const TempTree tree;
  tree.Write("/file", "one\ntwo\n");
  HeldFile file(tree.root() + "/file");
  EXPECT_EQ(file.ForEachLine([](absl::string_view) {
                  return absl::DataLossError("no more");
                })
                .message(),
            "no more");
  EXPECT_THAT(Lines(file), ElementsAre("one", "two"));
}

}  // namespace
}  // namespace pinwatch
