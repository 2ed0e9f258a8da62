// SPDX-License-Identifier: Apache-2.0
#include "daemon/process_stats.h"

#include <unistd.h>

#include <filesystem>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "daemon/host_files.h"

namespace pinwatch {
namespace {

double TicksToSeconds(uint64_t ticks) {
  return static_cast<double>(ticks) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

// The fields of /proc/PID/stat by their number in proc(5), from the third on.
class StatFields {
 public:
  // The second field, comm, is whatever the process chose: it may hold spaces
  // and parentheses, so the last parenthesis is the only sure mark.
  explicit StatFields(absl::string_view stat) {
    const size_t end_of_comm = stat.rfind(')');
    if (end_of_comm == absl::string_view::npos) return;
    fields_ = absl::StrSplit(stat.substr(end_of_comm + 1), ' ',
                             absl::SkipWhitespace());
  }

  bool Get(size_t number, uint64_t* value) const {
    const size_t index = number - 3;
    return index < fields_.size() && absl::SimpleAtoi(fields_[index], value);
  }

 private:
  std::vector<absl::string_view> fields_;
};

// The number that follows `key` on the first line that starts with it.
std::optional<uint64_t> NumberOfLine(const std::string& path,
                                     absl::string_view key) {
  const absl::StatusOr<std::string> text = ReadSmallFile(path);
  if (!text.ok()) return std::nullopt;
  for (absl::string_view line : absl::StrSplit(*text, '\n')) {
    if (!absl::ConsumePrefix(&line, key)) continue;
    line = absl::StripLeadingAsciiWhitespace(line);
    uint64_t number;
    if (absl::SimpleAtoi(line.substr(0, line.find(' ')), &number))
      return number;
    return std::nullopt;
  }
  return std::nullopt;
}

std::optional<uint64_t> CountEntries(const std::string& directory) {
  std::error_code error;
  uint64_t entries = 0;
  for (std::filesystem::directory_iterator entry(directory, error), end;
       !error && entry != end; entry.increment(error)) {
    ++entries;
  }
  if (error) return std::nullopt;
  return entries;
}

}  // namespace

absl::StatusOr<ProcessStats> ReadProcessStats(const std::string& root) {
  const std::string path = root + "/proc/self/stat";
  const absl::StatusOr<std::string> text = ReadSmallFile(path);
  if (!text.ok()) return text.status();

  const StatFields fields(*text);
  uint64_t user_ticks, system_ticks, start_ticks, resident_pages;
  ProcessStats stats;
  if (!fields.Get(14, &user_ticks) || !fields.Get(15, &system_ticks) ||
      !fields.Get(20, &stats.threads) || !fields.Get(22, &start_ticks) ||
      !fields.Get(23, &stats.virtual_bytes) ||
      !fields.Get(24, &resident_pages)) {
    return absl::DataLossError(
        absl::StrCat(path, ": not understood: \"", *text, "\""));
  }
  stats.cpu_seconds = TicksToSeconds(user_ticks + system_ticks);
  stats.resident_bytes =
      resident_pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  if (const auto boot = NumberOfLine(root + "/proc/stat", "btime "))
    stats.start_time_seconds =
        static_cast<double>(*boot) + TicksToSeconds(start_ticks);
  stats.open_fds = CountEntries(root + "/proc/self/fd");
  stats.max_fds = NumberOfLine(root + "/proc/self/limits", "Max open files ");
  return stats;
}

}  // namespace pinwatch
