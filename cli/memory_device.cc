// SPDX-License-Identifier: Apache-2.0
#include "cli/memory_device.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "cli/text.h"

namespace pinwatch {
namespace {

// One read has one record of the log, or says that some were overwritten.
std::string ReadLog(const std::string& path) {
  std::string log;
  const int fd = open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return log;
  char record[8192];
  ssize_t size;
  while ((size = read(fd, record, sizeof(record))) > 0 ||
         (size < 0 && errno == EPIPE))
    if (size > 0) log.append(record, static_cast<size_t>(size));
  close(fd);
  return log;
}

std::string Size(uint64_t bytes) { return Bytes(static_cast<double>(bytes)); }

std::string Blocks(const v1::MemoryDevice& device) {
  return absl::StrCat(
      Count(device.blocks()),
      device.blocks() == 1 ? " memory block, " : " memory blocks, ",
      Count(device.online_blocks()), " online");
}

std::string Plugged(const v1::MemoryDevice& device) {
  std::string text;
  if (device.has_plugged_bytes())
    absl::StrAppend(&text, " It has ", Size(device.plugged_bytes()), ", in ",
                    Blocks(device), ".");
  else
    absl::StrAppend(&text, " It has ", Blocks(device),
                    "; how much of these it has is not known until all are "
                    "online and were looked at.");
  if (device.partly_plugged_blocks())
    absl::StrAppend(
        &text, " ", Count(device.partly_plugged_blocks()),
        device.partly_plugged_blocks() == 1 ? " block is" : " blocks are",
        " there in part: ", Count(device.unplugged_pages()), " pages (",
        Size(device.unplugged_pages() * 4096),
        ") are not plugged, or were taken back.");
  return text;
}

}  // namespace

const v1::MemoryDevice* FindDevice(const v1::ListBlocksResponse& blocks,
                                   absl::string_view name) {
  for (const v1::MemoryDevice& device : blocks.devices())
    if (device.name() == name) return &device;
  return nullptr;
}

std::optional<uint64_t> RequestedBytes(const std::string& kmsg_path,
                                       const std::string& device) {
  const std::string prefix =
      absl::StrCat("virtio_mem ", device, ": requested size: 0x");
  std::optional<uint64_t> requested;
  for (absl::string_view line : absl::StrSplit(ReadLog(kmsg_path), '\n')) {
    // "6,412,1830911,-;virtio_mem virtio3: requested size: 0xc000000"
    const size_t text = line.find(';');
    uint64_t bytes;
    if (text == absl::string_view::npos ||
        !absl::StartsWith(line.substr(text + 1), prefix))
      continue;
    if (absl::SimpleHexAtoi(line.substr(text + 1 + prefix.size()), &bytes))
      requested = bytes;
  }
  return requested;
}

std::string DeviceHeader(const v1::MemoryDevice& device,
                         std::optional<uint64_t> requested_bytes) {
  if (device.kind() != "virtio_mem")
    return Paragraph(absl::StrCat(
        device.name(), ": a DIMM of ACPI's, ", Blocks(device),
        ". It can go once all of them are offline, which ACPI sees to itself "
        "when it is asked to eject the DIMM."));
  std::string text =
      absl::StrFormat("%s: virtio-mem, room for %s at 0x%x.", device.name(),
                      Size(device.region_bytes()), device.start_address());
  text += Plugged(device);
  if (requested_bytes)
    absl::StrAppend(&text, " The host asks it to have ", Size(*requested_bytes),
                    ".");
  else
    absl::StrAppend(&text,
                    " What the host asks it to have this kernel tells in its "
                    "log alone, which root may read, and not in this one.");
  return Paragraph(text);
}

}  // namespace pinwatch
