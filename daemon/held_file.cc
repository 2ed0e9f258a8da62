// SPDX-License-Identifier: Apache-2.0
#include "daemon/held_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"

namespace pinwatch {

HeldFile::HeldFile(std::string path) : path_(std::move(path)) {
  // One that is not there yet is no error before it is read.
  (void)Open();
}

HeldFile::~HeldFile() {
  if (fd_ >= 0) close(fd_);
}

absl::Status HeldFile::Open() {
  if (fd_ < 0) fd_ = open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  return fd_ < 0 ? absl::ErrnoToStatus(errno, absl::StrCat("open ", path_))
                 : absl::OkStatus();
}

absl::Status HeldFile::ForEachLine(
    const std::function<absl::Status(absl::string_view line)>& visit) {
  if (absl::Status status = Open(); !status.ok()) return status;
  if (lseek(fd_, 0, SEEK_SET) != 0)
    return absl::ErrnoToStatus(errno, absl::StrCat("rewind ", path_));
  std::string text;  // what is read and not yet visited
  char piece[65536];
  ssize_t size;
  while ((size = read(fd_, piece, sizeof(piece))) != 0) {
    if (size < 0 && errno == EINTR) continue;
    if (size < 0)
      return absl::ErrnoToStatus(errno, absl::StrCat("read ", path_));
    text.append(piece, size);
    size_t begin = 0;
    for (size_t end; (end = text.find('\n', begin)) != std::string::npos;
         begin = end + 1)
      if (absl::Status status =
              visit(absl::string_view(text).substr(begin, end - begin));
          !status.ok())
        return status;
    text.erase(0, begin);
  }
  return text.empty() ? absl::OkStatus() : visit(text);
}

}  // namespace pinwatch
