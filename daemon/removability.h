// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_REMOVABILITY_H_
#define PINWATCH_DAEMON_REMOVABILITY_H_

#include "daemon/snapshot.h"

namespace pinwatch {

// Sets the verdict and its reason from everything else in the report.
void Judge(BlockReport& report);

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_REMOVABILITY_H_
