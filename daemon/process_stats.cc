// SPDX-License-Identifier: Apache-2.0
#include "daemon/process_stats.h"

#include <unistd.h>

#include <filesystem>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "daemon/host_files.h"
#include "daemon/processes.h"

namespace pinwatch {
namespace {

double TicksToSeconds(uint64_t ticks) {
  return static_cast<double>(ticks) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

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
  const absl::StatusOr<ProcStat> stat = ProcStat::Read(path);
  if (!stat.ok()) return stat.status();

  uint64_t user_ticks, system_ticks, start_ticks, resident_pages;
  ProcessStats stats;
  if (!stat->Get(14, &user_ticks) || !stat->Get(15, &system_ticks) ||
      !stat->Get(20, &stats.threads) || !stat->Get(22, &start_ticks) ||
      !stat->Get(23, &stats.virtual_bytes) || !stat->Get(24, &resident_pages)) {
    return absl::DataLossError(absl::StrCat(path, ": lacks a field"));
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
