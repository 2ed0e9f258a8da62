// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_TO_PROTO_H_
#define PINWATCH_DAEMON_TO_PROTO_H_

#include <cstdint>

#include "daemon/difference.h"
#include "daemon/snapshot.h"
#include "pinwatch/v1/pinwatch.pb.h"

namespace pinwatch {

// Without owners and attempts, which have questions of their own.
v1::Snapshot ToProto(const Snapshot& snapshot);

// With them.
v1::Snapshot ToWholeProto(const Snapshot& snapshot);

v1::Difference ToProto(const Difference& difference);
v1::ExplainPageResponse ToProto(const PageReport& report);

// What a snapshot tells of the host; the daemon's version is not in it.
v1::GetInfoResponse ToInfoProto(const Snapshot& snapshot);

// Answers ListAttempts with `size` attempts at most, of those whose id is less
// than `before_id`; with all, if that is 0.
v1::ListAttemptsResponse ToAttemptsProto(const Snapshot& snapshot,
                                         uint64_t before_id, size_t size);

// Answers ListMigrations with `size` failures at most, of those whose id is
// `first_id` or more.
v1::ListMigrationsResponse ToMigrationsProto(const Snapshot& snapshot,
                                             uint64_t first_id, size_t size);

// Answers ListOwners with `size` owners at most, of those whose id is
// `first_id` or more.
v1::ListOwnersResponse ToOwnersProto(const Snapshot& snapshot,
                                     uint64_t first_id, size_t size,
                                     bool holding);

// Answers ListBlocks.
v1::ListBlocksResponse ToBlocksProto(const BlockList& list,
                                     uint64_t block_size_bytes);

// Answers PlanOffline to who asked for so much.
v1::PlanOfflineResponse ToPlanProto(const OfflinePlan& plan,
                                    uint64_t block_size_bytes, uint64_t bytes);

// Nothing for one that is not known.
std::optional<Verdict> FromProto(v1::Verdict verdict);

// Answers ExplainBlock.
v1::ExplainBlockResponse ToProto(const BlockReport& report);

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_TO_PROTO_H_
