// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_CLI_BLOCK_MAP_H_
#define PINWATCH_CLI_BLOCK_MAP_H_

#include <string>

#include "absl/time/time.h"
#include "pinwatch/v1/pinwatch.pb.h"

namespace pinwatch {

// `pinwatch blocks`: a glyph a block, by node and zone, in rows of 64; rows
// that are all alike are one line. At most 80 columns of printable ASCII, and
// with `color` the escapes of colours.
std::string BlockMap(const v1::ListBlocksResponse& blocks, bool color);

// `pinwatch blocks --list`: a line a block.
std::string BlockLines(const v1::ListBlocksResponse& blocks, absl::Time now);

// "removable after migration": as the enumerator has it.
std::string VerdictWords(v1::Verdict verdict);

// "high", "medium", "low" or "?".
const char* Word(v1::Confidence confidence);

// "12 removable, 3 blocked by kernel memory" of blocks counted by verdict.
std::string VerdictCounts(
    const google::protobuf::RepeatedPtrField<v1::VerdictCount>& counts);

}  // namespace pinwatch

#endif  // PINWATCH_CLI_BLOCK_MAP_H_
