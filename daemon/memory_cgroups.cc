// SPDX-License-Identifier: Apache-2.0
#include "daemon/memory_cgroups.h"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "daemon/clock.h"
#include "daemon/deleter.h"
#include "daemon/host_files.h"

namespace pinwatch {
namespace {

// A host that has more is not gone through to its end.
constexpr size_t kMaxCgroups = 65'536;

// Cgroups that come and go make for new walks: what these may take of a CPU,
// and how much at once.
constexpr double kWalksCpuShare = 0.001;
constexpr int64_t kWalksBurstNs = 1'000'000'000;

using Directory = std::unique_ptr<DIR, Deleter<closedir>>;

bool IsOctal(char digit) { return digit >= '0' && digit <= '7'; }

// mountinfo has blanks and the like as \ooo.
std::string Unescaped(absl::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && text.size() - i > 3 && IsOctal(text[i + 1]) &&
        IsOctal(text[i + 2]) && IsOctal(text[i + 3])) {
      out.push_back(static_cast<char>((text[i + 1] - '0') << 6 |
                                      (text[i + 2] - '0') << 3 |
                                      (text[i + 3] - '0')));
      i += 3;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

bool IsBelow(absl::string_view path, absl::string_view above) {
  return above == "/" ||
         (absl::ConsumePrefix(&path, above) && absl::StartsWith(path, "/"));
}

uint64_t InodeOf(const std::string& path) {
  struct stat status;
  return lstat(path.c_str(), &status) == 0 ? status.st_ino : 0;
}

std::string Parent(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
}

}  // namespace

CgroupRelation Relate(absl::string_view charged, absl::string_view process) {
  if (charged.empty() || process.empty()) return CgroupRelation::kUnknown;
  if (charged == process) return CgroupRelation::kSame;
  if (IsBelow(charged, process) || IsBelow(process, charged))
    return CgroupRelation::kRelated;
  return CgroupRelation::kOther;
}

CgroupMount FindMemoryMount(absl::string_view mountinfo) {
  CgroupMount unified;
  for (absl::string_view line : absl::StrSplit(mountinfo, '\n')) {
    const std::vector<absl::string_view> halves =
        absl::StrSplit(line, absl::MaxSplits(" - ", 1));
    if (halves.size() != 2) continue;
    const std::vector<absl::string_view> mount = absl::StrSplit(halves[0], ' ');
    const std::vector<absl::string_view> type = absl::StrSplit(halves[1], ' ');
    if (mount.size() < 5 || type.size() < 3) continue;
    const std::vector<absl::string_view> options = absl::StrSplit(type[2], ',');
    if (type[0] == "cgroup" &&
        std::find(options.begin(), options.end(), "memory") != options.end())
      return {.path = Unescaped(mount[4]), .unified = false};
    if (type[0] == "cgroup2" && unified.path.empty())
      unified.path = Unescaped(mount[4]);
  }
  return unified;
}

MemoryCgroups::MemoryCgroups(std::string root, uint64_t root_inode)
    : root_(std::move(root)),
      root_inode_(root_inode),
      walk_budget_(kWalksCpuShare, kWalksBurstNs) {
  FindMount();
}

void MemoryCgroups::FindMount() {
  mount_ = FindMemoryMount(
      ReadSmallFile(root_ + "/proc/self/mountinfo").value_or(""));
}

void MemoryCgroups::Walk() {
  FindMount();
  saw_all_ = false;
  if (mount_.path.empty()) return;
  if (paths_.size() > kMaxCgroups) paths_.clear();
  const std::string top = root_ + mount_.path;
  const uint64_t top_inode = InodeOf(top);
  if (!top_inode) return;
  paths_[top_inode] = "/";
  std::vector<std::string> unread = {""};
  size_t nr_seen = 0;
  for (; !unread.empty() && nr_seen < kMaxCgroups; ++nr_seen) {
    const std::string path = std::move(unread.back());
    unread.pop_back();
    const Directory directory(opendir((top + path).c_str()));
    if (!directory) {
      // One that went meanwhile has taken those below it along.
      if (errno != ENOENT) return;
      continue;
    }
    while (const dirent* entry = readdir(directory.get())) {
      const absl::string_view name = entry->d_name;
      if (entry->d_type != DT_DIR || name == "." || name == "..") continue;
      std::string below = absl::StrCat(path, "/", name);
      if (const uint64_t inode = InodeOf(top + below)) {
        paths_[inode] = below;
        unread.push_back(std::move(below));
      }
    }
  }
  // In a cgroup namespace there are others that are not seen.
  saw_all_ = unread.empty() && top_inode == root_inode_;
}

bool MemoryCgroups::IsThere(uint64_t id, const std::string& path) const {
  return InodeOf(root_ + mount_.path + path) == id;
}

void MemoryCgroups::Name(const std::vector<MemoryCgroup*>& cgroups) {
  walk_budget_.Refill(Now().monotonic_ns);
  if (walk_budget_.HasLeft() &&
      std::any_of(cgroups.begin(), cgroups.end(), [&](const auto* cgroup) {
        return cgroup->id && !Knows(cgroup->id);
      })) {
    const int64_t cpu_start = ThreadCpuNs();
    Walk();
    walk_budget_.Spend(ThreadCpuNs() - cpu_start);
  }
  for (MemoryCgroup* cgroup : cgroups) {
    if (!cgroup->id) continue;
    const auto known = paths_.find(cgroup->id);
    if (known != paths_.end()) {
      cgroup->path = known->second;
      cgroup->removed = !IsThere(cgroup->id, cgroup->path);
    } else if (saw_all_ || gone_.count(cgroup->id)) {
      // No other gets that id as long as the host runs.
      if (gone_.size() > kMaxCgroups) gone_.clear();
      gone_.insert(cgroup->id);
      cgroup->removed = true;
    }
  }
}

std::string MemoryCgroups::OfProcess(uint32_t pid) const {
  if (mount_.path.empty()) return "";
  const std::string text =
      ReadSmallFile(absl::StrCat(root_, "/proc/", pid, "/cgroup")).value_or("");
  std::string path;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    const std::vector<absl::string_view> parts =
        absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() != 3) continue;
    const std::vector<absl::string_view> controllers =
        absl::StrSplit(parts[1], ',');
    if (mount_.unified ? parts[0] == "0"
                       : std::find(controllers.begin(), controllers.end(),
                                   "memory") != controllers.end())
      path = std::string(parts[2]);
  }
  if (path.empty() || absl::EndsWith(path, " (deleted)")) return "";
  const std::string top = root_ + mount_.path;
  while (mount_.unified && path != "/" &&
         !InodeOf(top + path + "/memory.current"))
    path = Parent(path);
  return path;
}

}  // namespace pinwatch
