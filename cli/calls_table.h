// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_CLI_CALLS_TABLE_H_
#define PINWATCH_CLI_CALLS_TABLE_H_

#include <string>

#include "pinwatch/v1/pinwatch.pb.h"

namespace pinwatch {

// What came of calls of the pin functions, by subsystem and kind, with its
// newlines. At most 80 columns of printable ASCII.
std::string CallsTable(const v1::Snapshot& snapshot);

// "7 calls failed (ENOMEM 7), 3 pinned fewer pages than asked for"; empty where
// all went well.
std::string FailuresText(const v1::PinOutcomes& outcomes);

// "3 calls had to move pages first, in 4 rounds: 40 out of ZONE_MOVABLE ...";
// empty where nothing had to move.
std::string MovesText(const v1::PinOutcomes& outcomes);

}  // namespace pinwatch

#endif  // PINWATCH_CLI_CALLS_TABLE_H_
