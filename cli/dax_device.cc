// SPDX-License-Identifier: Apache-2.0
#include "cli/dax_device.h"

#include <filesystem>
#include <fstream>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/text.h"

namespace pinwatch {
namespace {

std::optional<std::string> ReadLine(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  return line;
}

}  // namespace

absl::StatusOr<PhysicalRange> DaxRange(const std::string& root,
                                       const std::string& device) {
  const std::filesystem::path folder =
      std::filesystem::path(root + "/sys/bus/dax/devices") / device;
  std::error_code error;
  if (device.find('/') != std::string::npos ||
      !std::filesystem::is_directory(folder, error))
    return absl::NotFoundError(
        absl::StrCat("no device ", device, " in /sys/bus/dax/devices"));
  const std::optional<std::string> resource = ReadLine(folder / "resource");
  const std::optional<std::string> size = ReadLine(folder / "size");
  PhysicalRange range;
  if (!resource || !size || !absl::SimpleHexAtoi(*resource, &range.start) ||
      !absl::SimpleAtoi(*size, &range.size) || range.start == 0)
    return absl::PermissionDeniedError(
        absl::StrCat("where ", device, " is can be read by root alone"));
  return range;
}

void KeepBlocksIn(const PhysicalRange& range, v1::ListBlocksResponse& blocks) {
  const uint64_t size = blocks.block_size_bytes();
  v1::ListBlocksResponse kept;
  kept.set_block_size_bytes(size);
  for (v1::BlockVerdict& block : *blocks.mutable_blocks())
    if (block.block() * size < range.start + range.size &&
        (block.block() + 1) * size > range.start)
      *kept.add_blocks() = std::move(block);
  blocks = std::move(kept);
}

std::string DaxHeader(const std::string& device, const PhysicalRange& range,
                      const v1::ListBlocksResponse& blocks) {
  std::string text =
      absl::StrFormat("%s: %s at 0x%x", device,
                      Bytes(static_cast<double>(range.size)), range.start);
  absl::StrAppend(
      &text, blocks.blocks().empty()
                 ? ": no memory block has any of it, so it is not in use as "
                   "memory (driver kmem)"
                 : ", in these memory blocks. It is free once all of them are "
                   "offline: then its driver can be unbound (daxctl "
                   "reconfigure-device)");
  return Paragraph(text);
}

}  // namespace pinwatch
