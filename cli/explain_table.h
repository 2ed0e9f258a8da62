// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_CLI_EXPLAIN_TABLE_H_
#define PINWATCH_CLI_EXPLAIN_TABLE_H_

#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "pinwatch/v1/pinwatch.pb.h"

namespace pinwatch {

// `pinwatch explain pfn`: what stands in a page, who holds it, and what would
// set it free; at most 80 columns.
std::string PageTable(const v1::ExplainPageResponse& page, absl::Time now);

// `pinwatch explain pid`: what the process pins, or asked for on behalf of
// another. `owners` are of that process alone.
std::string ProcessTable(uint32_t pid, const v1::ListOwnersResponse& owners,
                         absl::Time now);

}  // namespace pinwatch

#endif  // PINWATCH_CLI_EXPLAIN_TABLE_H_
