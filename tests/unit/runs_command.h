// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_TESTS_UNIT_RUNS_COMMAND_H_
#define PINWATCH_TESTS_UNIT_RUNS_COMMAND_H_

#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <vector>

#include "cli/command.h"
#include "tests/unit/temp_tree.h"

namespace pinwatch {

// A test that runs the command beside a socket of its own.
class RunsCommand : public testing::Test {
 protected:
  // The exit status; what was written is in out_ and err_.
  int Run(std::vector<const char*> arguments) {
    arguments.insert(arguments.begin(), "pinwatch");
    out_.str("");
    err_.str("");
    return RunCommand(static_cast<int>(arguments.size()), arguments.data(),
                      "1.2.3", out_, err_);
  }

  const TempTree tree_;
  const std::string path_ = tree_.root() + "/ro.sock";
  std::ostringstream out_;
  std::ostringstream err_;
};

}  // namespace pinwatch

#endif  // PINWATCH_TESTS_UNIT_RUNS_COMMAND_H_
