// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/unit/runs_command.h"

namespace pinwatch {
namespace {

using testing::HasSubstr;

class UninstallTest : public RunsCommand {};

TEST_F(UninstallTest, WhatWasNeverThereIsRemovedAlready) {
  const std::string directory = tree_.root() + "/none";
  EXPECT_EQ(Run({"uninstall", "--bpf-dir", directory.c_str()}), 0);
  EXPECT_EQ(out_.str(), "nothing of pinwatchd is in " + directory + "\n");
}

TEST_F(UninstallTest, RemovesNothingFromAnotherFileSystem) {
  const std::string directory = tree_.root() + "/v1/links";
  std::filesystem::create_directories(directory);
  EXPECT_EQ(Run({"uninstall", "--bpf-dir", tree_.root().c_str()}), 70);
  EXPECT_THAT(err_.str(), HasSubstr("is in no BPF file system"));
  EXPECT_TRUE(std::filesystem::exists(directory));
}

}  // namespace
}  // namespace pinwatch
