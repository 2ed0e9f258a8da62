// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_CLI_STATUS_TABLE_H_
#define PINWATCH_CLI_STATUS_TABLE_H_

#include <string>

#include "absl/time/time.h"
#include "pinwatch/v1/pinwatch.pb.h"

namespace pinwatch {

struct TableOptions {
  absl::Time now;  // what ages are counted from
  int width = 80;  // of running text; tables take up to 80 columns
  bool color = false;
};

// What `pinwatch status` prints, in lines of at most 80 columns of printable
// ASCII, and escape sequences for colours if they are wanted. "?" stands for
// what is not known yet, "n/a" for what this kernel does not let one see.
std::string StatusTable(const v1::GetInfoResponse& info,
                        const v1::Snapshot& snapshot,
                        const TableOptions& options);

}  // namespace pinwatch

#endif  // PINWATCH_CLI_STATUS_TABLE_H_
