// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_CLI_BLOCK_TABLE_H_
#define PINWATCH_CLI_BLOCK_TABLE_H_

#include <string>

#include "absl/time/time.h"
#include "pinwatch/v1/pinwatch.pb.h"

namespace pinwatch {

// What `pinwatch explain` prints: what would become of an attempt to take the
// block offline, who holds it, what would set it free and what stands in it.
// One screen, in lines of at most 80 columns of printable ASCII.
std::string BlockTable(const v1::ExplainBlockResponse& block, absl::Time now);

}  // namespace pinwatch

#endif  // PINWATCH_CLI_BLOCK_TABLE_H_
