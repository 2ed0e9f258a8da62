// SPDX-License-Identifier: Apache-2.0
#include "daemon/holder_search.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <iterator>
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
constexpr size_t kChargesAStep = 1024;

std::string Directory(const std::string& root, uint32_t pid) {
  return absl::StrCat(root, "/proc/", pid);
}

}  // namespace

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

absl::StatusOr<std::vector<uint64_t>> ReadPagemap(const std::string& path,
                                                  uint64_t first_page,
                                                  uint64_t nr_pages) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return absl::ErrnoToStatus(errno, path);
  std::vector<uint64_t> entries(nr_pages);
  const ssize_t size = pread(fd, entries.data(), nr_pages * sizeof(uint64_t),
                             static_cast<off_t>(first_page * sizeof(uint64_t)));
  close(fd);
  entries.resize(size > 0 ? static_cast<size_t>(size) / sizeof(uint64_t) : 0);
  return entries;
}

HolderSearch::HolderSearch(std::string root, MemoryCgroups* cgroups,
                           ReadCgroups read_cgroups)
    : root_(std::move(root)),
      cgroups_(cgroups),
      read_cgroups_(std::move(read_cgroups)) {}

void HolderSearch::Begin(std::vector<UnclaimedFolio> folios) {
  folios_ = std::move(folios);
  std::ranges::sort(folios_, {}, &UnclaimedFolio::pfn);
  found_ = {};
  for (const UnclaimedFolio& folio : folios_) found_.mapped_by[folio.pfn] = {};
  charges_read_ = 0;
  umems_.reset();
  pids_ = ListProcesses(root_);
  current_ = 0;
  begun_ = false;
  running_ = true;
}

void HolderSearch::Step() {
  if (charges_read_ < folios_.size()) {
    ReadCharges();
  } else if (!pids_.empty()) {
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

void HolderSearch::ReadCharges() {
  std::vector<uint64_t> pfns;
  while (charges_read_ < folios_.size() && pfns.size() < kChargesAStep)
    pfns.push_back(folios_[charges_read_++].pfn);
  std::vector<std::optional<MemoryCgroup>> charged = read_cgroups_(pfns);
  std::vector<MemoryCgroup*> known;
  for (std::optional<MemoryCgroup>& cgroup : charged)
    if (cgroup) known.push_back(&*cgroup);
  cgroups_->Name(known);
  for (size_t i = 0; i < charged.size(); ++i) {
    if (!charged[i] || charged[i]->path.empty()) continue;
    found_.charged_to[pfns[i]] = charged[i]->id;
    found_.cgroup_paths[charged[i]->id] = charged[i]->path;
  }
}

// One of each kind that the process has open. False where not all its files
// could be seen, which for a process that is gone does not matter.
bool HolderSearch::ReadPinners(const std::string& directory,
                               std::vector<Pinner>& to) {
  std::error_code error;
  size_t files = 0;
  std::vector<uint64_t> xdp_sockets;
  for (fs::directory_iterator entry(directory + "/fd", error), end;
       !error && entry != end; entry.increment(error)) {
    if (++files > kMaxFiles) return false;
    std::error_code unreadable;
    const std::string target =
        fs::read_symlink(entry->path(), unreadable).string();
    if (unreadable == std::errc::permission_denied) return false;
    if (const auto inode = SocketInode(target);
        inode && IsXdpSocket(entry->path()))
      xdp_sockets.push_back(*inode);
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
  if (!xdp_sockets.empty()) {
    // Without that each is evidence, of how many pages is not known.
    if (!umems_) umems_ = ReadXdpUmems().value_or(XdpUmems());
    std::ranges::move(XdpPinners(xdp_sockets, *umems_), std::back_inserter(to));
  }
  return error != std::errc::permission_denied;
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
                      .pinned_pages = pinned_pages,
                      .memory_cgroup = cgroups_->OfProcess(pid)};
  if (pinned_pages)
    candidate.holder.evidence.push_back(
        absl::StrCat("VmPin ", pinned_pages * kPageBytes / 1024, " kB"));
  uint64_t counted_pages = 0;
  bool tells_all = true;
  for (const Pinner& pinner : pinners) {
    candidate.holder.evidence.push_back(pinner.what);
    counted_pages += pinner.pages;
    // Who has a ring that another process filled, by its memory: what the
    // other is accounted for says nothing of this one.
    tells_all =
        tells_all && (pinner.pages || (pinner.accounted && pinned_pages));
  }
  if (tells_all)
    *candidate.pinned_pages += counted_pages;
  else
    candidate.pinned_pages.reset();
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
  const auto read = ReadPagemap(
      absl::StrCat(
          Directory(root_, found_.candidates[current_].holder.process.pid),
          "/pagemap"),
      range.start / kPageBytes, wanted);
  if (!read.ok()) {
    found_.processes_left_out += !absl::IsNotFound(read.status());
    ranges_.clear();
    return;
  }
  const std::vector<uint64_t>& entries = *read;
  for (const uint64_t entry : entries)
    if (const std::optional<uint64_t> pfn = PfnOf(entry)) Match(*pfn);
  found_.pages_read += entries.size();
  pages_left_ -= entries.size();
  range.start += entries.size() * kPageBytes;
  // None: it has ended or unmapped that.
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
  Candidate& candidate = found_.candidates[current_];
  candidate.mapped_pages +=
      std::min(folio.nr_pages, std::max<uint64_t>(folio.pins, 1));
  const CgroupRelation relation = found_.RelationOf(folio.pfn, candidate);
  if (relation == CgroupRelation::kSame)
    candidate.charged_to_its_cgroup += folio.nr_pages;
  if (relation == CgroupRelation::kOther)
    candidate.charged_elsewhere += folio.nr_pages;
}

// Where its pages are charged: evidence for it, or against it.
void HolderSearch::NoteCharges(Candidate& candidate) {
  std::vector<std::string>& evidence = candidate.holder.evidence;
  const auto pages = [](uint64_t count) {
    return absl::StrCat(count, count == 1 ? " page" : " pages");
  };
  if (candidate.charged_to_its_cgroup)
    evidence.push_back(absl::StrCat(pages(candidate.charged_to_its_cgroup),
                                    " charged to its cgroup ",
                                    candidate.memory_cgroup));
  if (candidate.charged_elsewhere)
    evidence.push_back(absl::StrCat("but ", pages(candidate.charged_elsewhere),
                                    " charged to other cgroups"));
}

// A process that ended meanwhile may have left its number to another.
void HolderSearch::FinishCandidate() {
  NoteCharges(found_.candidates[current_]);
  Process& process = found_.candidates[current_].holder.process;
  const absl::StatusOr<uint64_t> start = ReadStartTicks(root_, process.pid);
  process.ended =
      !start.ok() || !IsSameProcess(*start, process.start_boottime_ns);
  ++current_;
  begun_ = false;
}

}  // namespace pinwatch
