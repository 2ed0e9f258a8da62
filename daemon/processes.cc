// SPDX-License-Identifier: Apache-2.0
#include "daemon/processes.h"

#include <unistd.h>

#include <filesystem>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "daemon/host_files.h"

namespace pinwatch {
namespace {

constexpr size_t kStartTimeField = 22;

std::string Directory(const std::string& root, uint32_t pid) {
  return absl::StrCat(root, "/proc/", pid);
}

absl::StatusOr<uint64_t> StartTicksOf(const ProcStat& stat,
                                      const std::string& directory) {
  uint64_t ticks;
  if (!stat.Get(kStartTimeField, &ticks))
    return absl::DataLossError(
        absl::StrCat(directory, "/stat: has no start time"));
  return ticks;
}

// Empty where there is no link: a kernel thread.
std::string ReadLink(const std::string& path) {
  std::error_code error;
  std::string target = std::filesystem::read_symlink(path, error).string();
  return error == std::errc::permission_denied ? kHiddenExe : target;
}

// Whether the name is NAME.suffix, with a name.
bool HasSuffix(absl::string_view name, absl::string_view suffix) {
  return name.size() > suffix.size() && absl::EndsWith(name, suffix);
}

// The first of the components that is no slice, if that is a unit.
absl::string_view TakeUnit(std::vector<absl::string_view>& components) {
  auto first = components.begin();
  while (first != components.end() && HasSuffix(*first, ".slice")) ++first;
  const absl::string_view unit =
      first != components.end() &&
              (HasSuffix(*first, ".service") || HasSuffix(*first, ".scope"))
          ? *first++
          : absl::string_view();
  components.erase(components.begin(), first);
  return unit;
}

}  // namespace

absl::StatusOr<ProcStat> ProcStat::Read(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadSmallFile(path);
  if (!text.ok()) return text.status();
  // The second field, comm, is whatever the process chose: it may hold spaces
  // and parentheses, so the last parenthesis is the only sure mark.
  const size_t begin = text->find('(');
  const size_t end = text->rfind(')');
  if (begin == std::string::npos || end == std::string::npos || end < begin)
    return absl::DataLossError(
        absl::StrCat(path, ": has no comm: \"", text->substr(0, 80), "\""));
  ProcStat stat;
  stat.comm_ = text->substr(begin + 1, end - begin - 1);
  stat.fields_ =
      absl::StrSplit(text->substr(end + 1), ' ', absl::SkipWhitespace());
  return stat;
}

bool ProcStat::Get(size_t number, uint64_t* value) const {
  const size_t index = number - 3;
  return index < fields_.size() && absl::SimpleAtoi(fields_[index], value);
}

absl::StatusOr<uint64_t> ReadStartTicks(const std::string& root, uint32_t pid) {
  const std::string directory = Directory(root, pid);
  const absl::StatusOr<ProcStat> stat = ProcStat::Read(directory + "/stat");
  if (!stat.ok()) return stat.status();
  return StartTicksOf(*stat, directory);
}

absl::StatusOr<ProcessInfo> ReadProcess(const std::string& root, uint32_t pid) {
  const absl::StatusOr<uint64_t> start_before = ReadStartTicks(root, pid);
  if (!start_before.ok()) return start_before.status();

  const std::string directory = Directory(root, pid);
  ProcessInfo info{.pid = pid, .start_ticks = *start_before};
  info.exe = ReadLink(directory + "/exe");
  info.cgroup = ReadCgroup(root, pid);
  info.unit = UnitOfCgroup(info.cgroup);

  const absl::StatusOr<ProcStat> stat = ProcStat::Read(directory + "/stat");
  if (!stat.ok()) return stat.status();
  const absl::StatusOr<uint64_t> start_after = StartTicksOf(*stat, directory);
  if (!start_after.ok()) return start_after.status();
  if (*start_after != *start_before)
    return absl::NotFoundError(absl::StrCat(
        directory, ": given to another process while it was read"));
  info.comm = stat->comm();
  return info;
}

std::string ReadCgroup(const std::string& root, uint32_t pid) {
  const std::string text =
      ReadSmallFile(Directory(root, pid) + "/cgroup").value_or("");
  absl::string_view unified;
  absl::string_view systemd;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    const std::vector<absl::string_view> parts =
        absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() != 3) continue;
    if (parts[0] == "0" && parts[1].empty()) unified = parts[2];
    if (parts[1] == "name=systemd") systemd = parts[2];
  }
  // On v1 every process is in the root of a unified hierarchy nobody uses.
  const bool unused = unified.empty() || unified == "/";
  return std::string(unused && !systemd.empty() ? systemd : unified);
}

std::string UnitOfCgroup(absl::string_view cgroup) {
  // The kernel's mark on a cgroup that was removed under its last task.
  cgroup = absl::StripSuffix(cgroup, " (deleted)");
  std::vector<absl::string_view> components =
      absl::StrSplit(cgroup, '/', absl::SkipEmpty());
  const absl::string_view unit = TakeUnit(components);
  if (!absl::StartsWith(unit, "user@")) return std::string(unit);
  const absl::string_view user_unit = TakeUnit(components);
  // The user's manager itself sits in an init.scope like the host's.
  const bool is_manager = user_unit.empty() || user_unit == "init.scope";
  return std::string(is_manager ? unit : user_unit);
}

bool IsSameProcess(uint64_t start_ticks, uint64_t start_boottime_ns) {
  const auto ns_per_tick =
      uint64_t{1'000'000'000} / static_cast<uint64_t>(sysconf(_SC_CLK_TCK));
  return start_boottime_ns / ns_per_tick == start_ticks;
}

}  // namespace pinwatch
