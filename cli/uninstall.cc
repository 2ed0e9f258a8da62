// SPDX-License-Identifier: Apache-2.0
#include "cli/uninstall.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <memory>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace pinwatch {
namespace {

namespace fs = std::filesystem;

// Removes the tree and adds its files to `count`.
absl::Status RemoveTree(const fs::path& tree, size_t& count) {
  std::error_code error;
  const fs::file_status status = fs::symlink_status(tree, error);
  if (!fs::exists(status)) return absl::OkStatus();
  size_t files = 0;
  if (!fs::is_directory(status)) files = 1;
  for (fs::recursive_directory_iterator entry(tree, error), end;
       !error && entry != end; entry.increment(error))
    files += !entry->is_directory();
  if (!error) fs::remove_all(tree, error);
  if (error)
    return absl::ErrnoToStatus(error.value(),
                               absl::StrCat("remove ", tree.string()));
  count += files;
  return absl::OkStatus();
}

// Those of the daemon, whatever its version: v1, v2 and so on.
bool IsVersion(const std::string& name) {
  return name.size() > 1 && name[0] == 'v' &&
         name.find_first_not_of("0123456789", 1) == std::string::npos;
}

}  // namespace

absl::StatusOr<Removed> Uninstall(const std::string& directory) {
  Removed removed;
  const int fd = open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0 && errno == ENOENT) return removed;
  if (fd < 0)
    return absl::ErrnoToStatus(errno, absl::StrCat("open ", directory));
  const auto closer = [](const int* open_fd) { close(*open_fd); };
  const std::unique_ptr<const int, decltype(closer)> close_it(&fd, closer);
  struct statfs system;
  if (fstatfs(fd, &system) || system.f_type != BPF_FS_MAGIC)
    return absl::FailedPreconditionError(
        absl::StrCat(directory, " is in no BPF file system"));
  // The daemon holds this lock as long as it lives.
  if (flock(fd, LOCK_EX | LOCK_NB))
    return absl::FailedPreconditionError(
        absl::StrCat("a pinwatchd uses ", directory,
                     ": stop it first (systemctl stop pinwatchd)"));
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory, error)) {
    if (!IsVersion(entry.path().filename())) continue;
    // Links first: what they kept in place is then detached, whatever comes
    // after.
    absl::Status status = RemoveTree(entry.path() / "links", removed.links);
    status.Update(RemoveTree(entry.path() / "programs", removed.programs));
    status.Update(RemoveTree(entry.path(), removed.maps));
    if (!status.ok()) return status;
  }
  if (error)
    return absl::ErrnoToStatus(error.value(), absl::StrCat("read ", directory));
  // Not where somebody else keeps something.
  fs::remove(directory, error);
  return removed;
}

}  // namespace pinwatch
