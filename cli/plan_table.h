// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_CLI_PLAN_TABLE_H_
#define PINWATCH_CLI_PLAN_TABLE_H_

#include <string>

#include "absl/time/time.h"
#include "pinwatch/v1/pinwatch.pb.h"

namespace pinwatch {

// `pinwatch plan`: which blocks give back so many bytes, what has to move, who
// has to let go first, and what that rests on; at most 80 columns.
std::string PlanTable(const v1::PlanOfflineRequest& request,
                      const v1::PlanOfflineResponse& plan, absl::Time now);

}  // namespace pinwatch

#endif  // PINWATCH_CLI_PLAN_TABLE_H_
