// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_CLI_PROTO_TIME_H_
#define PINWATCH_CLI_PROTO_TIME_H_

#include <google/protobuf/duration.pb.h>
#include <google/protobuf/timestamp.pb.h>

#include "absl/time/time.h"

namespace pinwatch {

inline absl::Time ToTime(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) +
         absl::Nanoseconds(time.nanos());
}

inline absl::Duration ToDuration(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) +
         absl::Nanoseconds(duration.nanos());
}

}  // namespace pinwatch

#endif  // PINWATCH_CLI_PROTO_TIME_H_
