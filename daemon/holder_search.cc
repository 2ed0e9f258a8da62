// SPDX-License-Identifier: Apache-2.0
#include "daemon/holder_search.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "daemon/host_files.h"
#include "daemon/processes.h"

namespace pinwatch {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kPageBytes = 4096;

// Bounds for one process: 256 GiB of mapped memory, and open files.
constexpr uint64_t kMaxPages = 1 << 26;
constexpr size_t kMaxFiles = 4096;

constexpr size_t kPagesAStep = 16'384;

std::string Directory(const std::string& root, uint32_t pid) {
  return absl::StrCat(root, "/proc/", pid);
}

std::vector<uint32_t> ListProcesses(const std::string& root) {
  std::vector<uint32_t> pids;
  std::error_code error;
  for (fs::directory_iterator entry(root + "/proc", error), end;
       !error && entry != end; entry.increment(error)) {
    uint32_t pid;
    if (absl::SimpleAtoi(entry->path().filename().string(), &pid) &&
        pid != static_cast<uint32_t>(getpid()))
      pids.push_back(pid);
  }
  return pids;
}

// One of each kind that the process has open. False where not all its files
// could be seen, which for a process that is gone does not matter.
bool ReadPinners(const std::string& directory, std::vector<Pinner>& to) {
  std::error_code error;
  size_t files = 0;
  for (fs::directory_iterator entry(directory + "/fd", error), end;
       !error && entry != end; entry.increment(error)) {
    if (++files > kMaxFiles) return false;
    std::error_code unreadable;
    const std::string target =
        fs::read_symlink(entry->path(), unreadable).string();
    if (unreadable == std::errc::permission_denied) return false;
    if (!MayBePinner(target)) continue;
    const std::string fdinfo =
        ReadSmallFile(absl::StrCat(directory, "/fdinfo/",
                                   entry->path().filename().string()))
            .value_or("");
    std::optional<Pinner> pinner = PinnerOf(target, fdinfo);
    if (pinner && std::none_of(to.begin(), to.end(), [&](const Pinner& known) {
          return known.what == pinner->what;
        }))
      to.push_back(*std::move(pinner));
  }
  return error != std::errc::permission_denied;
}

Process ToProcess(const ProcessInfo& info) {
  const auto ns_per_tick =
      uint64_t{1'000'000'000} / static_cast<uint64_t>(sysconf(_SC_CLK_TCK));
  return {.pid = info.pid,
          .start_boottime_ns = info.start_ticks * ns_per_tick,
          .comm = info.comm,
          .exe = info.exe,
          .cgroup = info.cgroup,
          .unit = info.unit};
}

}  // namespace

HolderSearch::HolderSearch(std::string root) : root_(std::move(root)) {}

void HolderSearch::Begin(std::vector<UnclaimedFolio> folios) {
  folios_ = std::move(folios);
  std::ranges::sort(folios_, {}, &UnclaimedFolio::pfn);
  found_ = {};
  for (const UnclaimedFolio& folio : folios_) found_.mapped_by[folio.pfn] = {};
  pids_ = ListProcesses(root_);
  current_ = 0;
  begun_ = false;
  running_ = true;
}

void HolderSearch::Step() {
  if (!pids_.empty()) {
    Examine(pids_.back());
    pids_.pop_back();
  } else if (current_ == found_.candidates.size()) {
    running_ = false;
  } else if (!begun_) {
    BeginCandidate();
  } else if (!ranges_.empty()) {
    ReadPages();
  } else {
    FinishCandidate();
  }
}

// Makes the process a candidate if anything shows that it pins memory.
void HolderSearch::Examine(uint32_t pid) {
  const std::string directory = Directory(root_, pid);
  const auto status = ReadSmallFile(directory + "/status");
  if (!status.ok()) return;
  const uint64_t pinned_pages = PinnedPagesOf(*status);
  std::vector<Pinner> pinners;
  if (!ReadPinners(directory, pinners)) ++found_.processes_left_out;
  if (!pinned_pages && pinners.empty()) return;
  const absl::StatusOr<ProcessInfo> info = ReadProcess(root_, pid);
  if (!info.ok()) return;
  Candidate candidate{.holder = {.process = ToProcess(*info)},
                      .pinned_pages = pinned_pages};
  if (pinned_pages)
    candidate.holder.evidence.push_back(
        absl::StrCat("VmPin ", pinned_pages * kPageBytes / 1024, " kB"));
  for (const Pinner& pinner : pinners) {
    candidate.holder.evidence.push_back(pinner.what);
    if (!pinner.accounted) candidate.pinned_pages.reset();
  }
  // Who has a ring that another process filled, by its memory: what the other
  // is accounted for says nothing of this one.
  if (!pinned_pages) candidate.pinned_pages.reset();
  found_.candidates.push_back(std::move(candidate));
}

void HolderSearch::BeginCandidate() {
  begun_ = true;
  pages_left_ = kMaxPages;
  const uint32_t pid = found_.candidates[current_].holder.process.pid;
  const std::vector<AddressRange> ranges =
      MappedRanges(ReadSmallFile(Directory(root_, pid) + "/maps").value_or(""));
  ranges_.assign(ranges.begin(), ranges.end());
}

void HolderSearch::ReadPages() {
  AddressRange& range = ranges_.front();
  const uint64_t pages = (range.end - range.start) / kPageBytes;
  const uint64_t wanted = std::min<uint64_t>({pages, kPagesAStep, pages_left_});
  if (wanted == 0) {
    found_.pages_left_out += pages;
    ranges_.pop_front();
    return;
  }
  const std::string path = absl::StrCat(
      Directory(root_, found_.candidates[current_].holder.process.pid),
      "/pagemap");
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    found_.processes_left_out += errno != ENOENT && errno != ESRCH;
    ranges_.clear();
    return;
  }
  std::vector<uint64_t> entries(wanted);
  const ssize_t read =
      pread(fd, entries.data(), wanted * sizeof(uint64_t),
            static_cast<off_t>(range.start / kPageBytes * sizeof(uint64_t)));
  close(fd);
  if (read <= 0) {  // it has ended or unmapped that
    ranges_.pop_front();
    return;
  }
  entries.resize(static_cast<size_t>(read) / sizeof(uint64_t));
  for (const uint64_t entry : entries)
    if (const std::optional<uint64_t> pfn = PfnOf(entry)) Match(*pfn);
  found_.pages_read += entries.size();
  pages_left_ -= entries.size();
  range.start += entries.size() * kPageBytes;
  if (range.start >= range.end || entries.empty()) ranges_.pop_front();
}

// A folio is pinned as a whole, whichever page of it is mapped.
void HolderSearch::Match(uint64_t pfn) {
  auto after = std::upper_bound(
      folios_.begin(), folios_.end(), pfn,
      [](uint64_t p, const UnclaimedFolio& folio) { return p < folio.pfn; });
  if (after == folios_.begin()) return;
  const UnclaimedFolio& folio = *std::prev(after);
  if (pfn >= folio.pfn + folio.nr_pages) return;
  std::vector<size_t>& who = found_.mapped_by[folio.pfn];
  if (!who.empty() && who.back() == current_) return;
  who.push_back(current_);
  found_.candidates[current_].mapped_pages +=
      std::min(folio.nr_pages, std::max<uint64_t>(folio.pins, 1));
}

// A process that ended meanwhile may have left its number to another.
void HolderSearch::FinishCandidate() {
  Process& process = found_.candidates[current_].holder.process;
  const absl::StatusOr<uint64_t> start = ReadStartTicks(root_, process.pid);
  process.ended =
      !start.ok() || !IsSameProcess(*start, process.start_boottime_ns);
  ++current_;
  begun_ = false;
}

}  // namespace pinwatch
