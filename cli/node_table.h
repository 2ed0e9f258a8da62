// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_CLI_NODE_TABLE_H_
#define PINWATCH_CLI_NODE_TABLE_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "pinwatch/v1/pinwatch.pb.h"

namespace pinwatch {

// What a snapshot tells of the blocks of one node: time, nodes, verdicts and
// removable. NotFound when the host has no such node.
absl::StatusOr<v1::Snapshot> OfNode(const v1::Snapshot& snapshot, uint32_t nid);

// `pinwatch explain node`: what of it could be taken offline, what keeps the
// rest, and who holds most; at most 80 columns. `owners` are of the whole host.
std::string NodeTable(uint32_t nid, const v1::Snapshot& node,
                      const v1::ListOwnersResponse& owners, absl::Time now);

}  // namespace pinwatch

#endif  // PINWATCH_CLI_NODE_TABLE_H_
