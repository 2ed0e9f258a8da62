// SPDX-License-Identifier: Apache-2.0
#include "daemon/log.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

namespace pinwatch {
namespace {

// What systemd puts into JOURNAL_STREAM for a stream.
std::string NameOf(int fd) {
  struct stat file;
  EXPECT_EQ(fstat(fd, &file), 0);
  return std::to_string(file.st_dev) + ":" + std::to_string(file.st_ino);
}

TEST(IsJournal, KnowsTheStreamThatIsNamed) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  EXPECT_TRUE(IsJournal(ends[1], NameOf(ends[1]).c_str()));
  close(ends[0]);
  close(ends[1]);
}

// The variable is inherited by those whose output goes elsewhere.
TEST(IsJournal, TakesAnotherStreamForNone) {
  int one[2], other[2];
  ASSERT_EQ(pipe(one), 0);
  ASSERT_EQ(pipe(other), 0);
  EXPECT_FALSE(IsJournal(one[1], NameOf(other[1]).c_str()));
  EXPECT_FALSE(IsJournal(one[1], nullptr));
  EXPECT_FALSE(IsJournal(one[1], ""));
  EXPECT_FALSE(IsJournal(-1, "1:2"));
  for (const int fd : {one[0], one[1], other[0], other[1]}) close(fd);
}

}  // namespace
}  // namespace pinwatch
