// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_HELD_FILE_H_
#define PINWATCH_DAEMON_HELD_FILE_H_

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace pinwatch {

// A file that is opened once and read again and again. The kernel decides what
// /proc/kallsyms and /proc/modules show when they are opened: held open, they
// go on to show addresses when CAP_SYSLOG is no longer there.
class HeldFile {
 public:
  explicit HeldFile(std::string path);
  ~HeldFile();
  HeldFile(const HeldFile&) = delete;
  HeldFile& operator=(const HeldFile&) = delete;

  const std::string& path() const { return path_; }

  // Calls `visit` with each line, from the first on, until it returns an
  // error, which is then the answer. A file that was not there is opened now.
  absl::Status ForEachLine(
      const std::function<absl::Status(absl::string_view line)>& visit);

 private:
  absl::Status Open();

  const std::string path_;
  int fd_ = -1;
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_HELD_FILE_H_
