// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_CLI_ATTEMPTS_TABLE_H_
#define PINWATCH_CLI_ATTEMPTS_TABLE_H_

#include <string>

#include "absl/time/time.h"
#include "pinwatch/v1/pinwatch.pb.h"

namespace pinwatch {

// What `pinwatch attempts` prints, in lines of at most 80 columns of printable
// ASCII.
std::string AttemptsTable(const v1::ListAttemptsResponse& attempts,
                          absl::Time now);

}  // namespace pinwatch

#endif  // PINWATCH_CLI_ATTEMPTS_TABLE_H_
