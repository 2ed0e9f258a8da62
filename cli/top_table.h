// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_CLI_TOP_TABLE_H_
#define PINWATCH_CLI_TOP_TABLE_H_

#include <cstddef>
#include <string>

#include "absl/time/time.h"
#include "pinwatch/v1/pinwatch.pb.h"

namespace pinwatch {

struct TopOptions {
  absl::Time now;  // what ages are counted from
  // "process", "unit", "cgroup", "subsystem", "stack" or "zone"; empty: by all
  // that tells holders apart, each in a column.
  std::string by;
  size_t rows = 0;  // 0: all
};

// What `pinwatch top` prints: who holds pinned pages, the largest first, in
// lines of at most 80 columns of printable ASCII.
std::string TopTable(const v1::ListOwnersResponse& owners,
                     const TopOptions& options);

}  // namespace pinwatch

#endif  // PINWATCH_CLI_TOP_TABLE_H_
