// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_TESTS_UNIT_CLI_LINES_H_
#define PINWATCH_TESTS_UNIT_CLI_LINES_H_

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>
#include <string>

namespace pinwatch {

template <typename Message>
Message Parse(const std::string& text) {
  Message message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message));
  return message;
}

// Returns `text`, whose lines must be made for any terminal.
inline std::string Checked(std::string text) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    EXPECT_LE(line.size(), 80u) << line;
    EXPECT_FALSE(line.ends_with(' ')) << line;
    EXPECT_TRUE(std::all_of(line.begin(), line.end(), [](char c) {
      return c >= ' ' && c <= '~';
    })) << line;
  }
  return text;
}

// Names that have bytes of a terminal's escapes, of wide characters, or of no
// text at all, and more than the kernel gives. For messages that are not sent:
// protobuf would refuse some of them.
inline constexpr const char* kHostileNames[] = {
    "\xff\x1b[31m\n\t\"",
    "\xe6\xbc\xa2\xe5\xad\x97\xe6\xbc\xa2\xe5\xad\x97",
    "a very long name indeed, and longer than any that a kernel would give",
    "\r\n\x07\x9b\x7f",
    "                ",
    ""};

}  // namespace pinwatch

#endif  // PINWATCH_TESTS_UNIT_CLI_LINES_H_
