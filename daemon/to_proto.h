// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_TO_PROTO_H_
#define PINWATCH_DAEMON_TO_PROTO_H_

#include <string>
#include <string_view>

#include "daemon/snapshot.h"
#include "pinwatch/v1/pinwatch.pb.h"

namespace pinwatch {

// `text` with U+FFFD for each byte that is not part of well-formed UTF-8. A
// string field must be valid, or clients fail to read the whole message; what
// the kernel hands out need not be.
std::string ToUtf8(std::string_view text);

v1::Snapshot ToProto(const Snapshot& snapshot);

// What a snapshot tells of the host; the daemon's version is not in it.
v1::GetInfoResponse ToInfoProto(const Snapshot& snapshot);

// Answers ListAttempts.
v1::ListAttemptsResponse ToAttemptsProto(const Snapshot& snapshot);

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_TO_PROTO_H_
