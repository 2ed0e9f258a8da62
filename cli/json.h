// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_CLI_JSON_H_
#define PINWATCH_CLI_JSON_H_

#include <google/protobuf/message.h>

#include <string>

#include "absl/status/statusor.h"
#include "cli/client.h"

namespace pinwatch {

// {"info": ..., "snapshot": ...} with the names of pinwatch.proto, as protobuf
// maps messages to JSON, save that 64-bit integers are numbers: jq is to count
// with them, and one counts no pages beyond 2^53. What is not known is absent.
absl::StatusOr<std::string> ToJson(const Answers& answers);

// The message itself, in the same form.
absl::StatusOr<std::string> ToJson(const google::protobuf::Message& message);

// The same on one line.
absl::StatusOr<std::string> ToJsonLine(
    const google::protobuf::Message& message);

}  // namespace pinwatch

#endif  // PINWATCH_CLI_JSON_H_
