// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_CONTENTION_H_
#define PINWATCH_DAEMON_CONTENTION_H_

#include <vector>

#include "daemon/snapshot.h"

namespace pinwatch {

// Sets of each attempt which others it contends with. Who asks again and again
// does not contend with himself, nor does a driver, whose workers have many
// pids.
void FindContention(std::vector<HotplugAttempt>& attempts);

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_CONTENTION_H_
