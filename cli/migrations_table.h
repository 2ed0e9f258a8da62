// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_CLI_MIGRATIONS_TABLE_H_
#define PINWATCH_CLI_MIGRATIONS_TABLE_H_

#include <string>

#include "absl/time/time.h"
#include "pinwatch/v1/pinwatch.pb.h"

namespace pinwatch {

// What `pinwatch migrations` prints, in lines of at most 80 columns of
// printable ASCII.
std::string MigrationsTable(const v1::ListMigrationsResponse& migrations,
                            absl::Time now);

}  // namespace pinwatch

#endif  // PINWATCH_CLI_MIGRATIONS_TABLE_H_
