// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_TO_PROTO_H_
#define PINWATCH_DAEMON_TO_PROTO_H_

#include "daemon/snapshot.h"
#include "pinwatch/v1/pinwatch.pb.h"

namespace pinwatch {

v1::Snapshot ToProto(const Snapshot& snapshot);

// What a snapshot tells of the host; the daemon's version is not in it.
v1::GetInfoResponse ToInfoProto(const Snapshot& snapshot);

// Answers ListAttempts.
v1::ListAttemptsResponse ToAttemptsProto(const Snapshot& snapshot);

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_TO_PROTO_H_
