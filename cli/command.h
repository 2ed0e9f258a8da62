// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_CLI_COMMAND_H_
#define PINWATCH_CLI_COMMAND_H_

#include <ostream>

#include "absl/strings/string_view.h"

namespace pinwatch {

// The command from its arguments to its exit code: 0, 2 for wrong usage, else
// one of sysexits.h.
int RunCommand(int argc, const char* const* argv, absl::string_view version,
               std::ostream& out, std::ostream& err);

}  // namespace pinwatch

#endif  // PINWATCH_CLI_COMMAND_H_
