// SPDX-License-Identifier: Apache-2.0
#include "cli/json.h"

#include <google/protobuf/util/json_util.h>

#include <nlohmann/json.hpp>

#include "absl/strings/numbers.h"

namespace pinwatch {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using Json = nlohmann::ordered_json;

constexpr int kIndent = 2;
constexpr int kOneLine = -1;

bool Is64Bit(const FieldDescriptor& field) {
  return field.cpp_type() == FieldDescriptor::CPPTYPE_INT64 ||
         field.cpp_type() == FieldDescriptor::CPPTYPE_UINT64;
}

void UnquoteField(const FieldDescriptor& field, Json& value);

// Makes numbers of the strings that 64-bit fields of `message` are. The fields
// of a timestamp or duration are not found: it is one string.
void UnquoteNumbers(const Descriptor& message, Json& json) {
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor& field = *message.field(i);
    const auto value = json.find(field.name());
    if (value == json.end()) continue;
    if (field.is_repeated())
      for (Json& element : *value) UnquoteField(field, element);
    else
      UnquoteField(field, *value);
  }
}

void UnquoteField(const FieldDescriptor& field, Json& value) {
  if (const Descriptor* message = field.message_type())
    return UnquoteNumbers(*message, value);
  if (!Is64Bit(field) || !value.is_string()) return;
  const std::string digits = value.get<std::string>();
  if (uint64_t number; absl::SimpleAtoi(digits, &number))
    value = number;
  else if (int64_t number; absl::SimpleAtoi(digits, &number))
    value = number;
}

absl::StatusOr<Json> MessageToJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string text;
  const auto status =
      google::protobuf::util::MessageToJsonString(message, &text, options);
  if (!status.ok())
    return absl::InternalError(
        "the answer has no JSON form: " +
        std::string(status.message().data(), status.message().size()));
  Json json = Json::parse(text);
  UnquoteNumbers(*message.GetDescriptor(), json);
  return json;
}

// ASCII alone, so that no byte of a name reaches a terminal as an escape.
std::string Dump(const Json& json, int indent) {
  return json.dump(indent, ' ', /*ensure_ascii=*/true) + "\n";
}

}  // namespace

absl::StatusOr<std::string> ToJson(const Answers& answers) {
  absl::StatusOr<Json> info_json = MessageToJson(answers.info);
  if (!info_json.ok()) return info_json.status();
  absl::StatusOr<Json> snapshot_json = MessageToJson(answers.snapshot);
  if (!snapshot_json.ok()) return snapshot_json.status();
  Json both;
  both["info"] = *std::move(info_json);
  both["snapshot"] = *std::move(snapshot_json);
  return Dump(both, kIndent);
}

absl::StatusOr<std::string> ToJson(const google::protobuf::Message& message) {
  const absl::StatusOr<Json> json = MessageToJson(message);
  if (!json.ok()) return json.status();
  return Dump(*json, kIndent);
}

absl::StatusOr<std::string> ToJsonLine(
    const google::protobuf::Message& message) {
  const absl::StatusOr<Json> json = MessageToJson(message);
  if (!json.ok()) return json.status();
  return Dump(*json, kOneLine);
}

}  // namespace pinwatch
