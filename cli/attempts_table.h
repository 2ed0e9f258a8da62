// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_CLI_ATTEMPTS_TABLE_H_
#define PINWATCH_CLI_ATTEMPTS_TABLE_H_

#include <string>

#include "absl/time/time.h"
#include "cli/words.h"
#include "pinwatch/v1/pinwatch.pb.h"

namespace pinwatch {

// How far one attempt is or why it failed, and the first pages in its way, as
// the table has them below its row; empty where there is nothing to tell.
std::string AttemptText(const v1::Attempt& attempt, const OwnersById& owners);

// What `pinwatch attempts` prints, in lines of at most 80 columns of printable
// ASCII.
std::string AttemptsTable(const v1::ListAttemptsResponse& attempts,
                          absl::Time now);

}  // namespace pinwatch

#endif  // PINWATCH_CLI_ATTEMPTS_TABLE_H_
