// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_CLI_OWNER_TEXT_H_
#define PINWATCH_CLI_OWNER_TEXT_H_

#include <string>

#include "absl/time/time.h"
#include "pinwatch/v1/pinwatch.pb.h"

namespace pinwatch {

// Who it is, what it holds, since when and through what: some lines of at most
// 80 columns.
std::string OwnerText(const v1::PinOwner& owner, absl::Time now);

// Who may hold pages that nobody claimed, how many and by what evidence: some
// lines for each of the first few.
std::string InferredTexts(
    const google::protobuf::RepeatedPtrField<v1::InferredHolder>& holders);

// What is wrong with how long it holds pages, "held for longer than..." or
// "suspected leak: ..."; empty if nothing is.
std::string ConcernText(const v1::PinOwner& owner, absl::Time now);

// What would make the owner let go, without an end of line.
std::string ReleaseText(const v1::PinOwner& owner);
std::string ReleaseText(const v1::InferredHolder& holder);

}  // namespace pinwatch

#endif  // PINWATCH_CLI_OWNER_TEXT_H_
