// SPDX-License-Identifier: Apache-2.0
#include "daemon/devices.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "daemon/host_files.h"

namespace pinwatch {
namespace {

namespace fs = std::filesystem;

// Who has more open is not asked for all.
constexpr size_t kMaxFiles = 4096;

struct Rule {
  absl::string_view subsystem;
  absl::string_view prefix;  // of the device's name
};

constexpr Rule kRules[] = {
    {"vfio", "vfio/"},    {"rdma", "infiniband/uverbs"}, {"iommufd", "iommu"},
    {"iommufd", "vfio/"}, {"udmabuf", "udmabuf"},        {"vhost", "vhost-"},
    {"ublk", "ublkc"},
};

// Of all groups alike.
constexpr absl::string_view kVfioContainer = "vfio/vfio";

bool IsOf(absl::string_view subsystem, absl::string_view name) {
  return name != kVfioContainer &&
         std::any_of(std::begin(kRules), std::end(kRules),
                     [&](const Rule& rule) {
                       return rule.subsystem == subsystem &&
                              absl::StartsWith(name, rule.prefix);
                     });
}

// The name below /dev that the kernel gives an open character device; empty for
// any other file.
std::string NameOf(const std::string& root, const std::string& file) {
  struct stat status {};
  if (stat(file.c_str(), &status) != 0 || !S_ISCHR(status.st_mode)) return "";
  const std::string text =
      ReadSmallFile(absl::StrCat(root, "/sys/dev/char/", major(status.st_rdev),
                                 ":", minor(status.st_rdev), "/uevent"))
          .value_or("");
  for (absl::string_view line : absl::StrSplit(text, '\n'))
    if (absl::ConsumePrefix(&line, "DEVNAME=")) return std::string(line);
  return "";
}

}  // namespace

std::optional<std::vector<std::string>> DevicesOf(const std::string& root,
                                                  uint32_t pid,
                                                  absl::string_view subsystem) {
  std::set<std::string> devices;
  if (std::none_of(std::begin(kRules), std::end(kRules), [&](const Rule& rule) {
        return rule.subsystem == subsystem;
      }))
    return std::vector<std::string>();
  std::error_code error;
  fs::directory_iterator file(absl::StrCat(root, "/proc/", pid, "/fd"), error);
  for (size_t i = 0; !error && file != fs::directory_iterator(); ++i) {
    if (i == kMaxFiles) return std::nullopt;
    const std::string name = NameOf(root, file->path().string());
    if (IsOf(subsystem, name)) devices.insert("/dev/" + name);
    file.increment(error);
  }
  if (error) return std::nullopt;
  return std::vector<std::string>(devices.begin(), devices.end());
}

}  // namespace pinwatch
