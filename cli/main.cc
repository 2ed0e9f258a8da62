// SPDX-License-Identifier: Apache-2.0
//
// pinwatch: asks the pinwatchd of this host.
#include <iostream>
#include <string>

#include "cli/command.h"
#include "daemon/version.h"

int main(int argc, char** argv) {
  return pinwatch::RunCommand(argc, argv, std::string(pinwatch::kVersion),
                              std::cout, std::cerr);
}
