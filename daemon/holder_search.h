// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_HOLDER_SEARCH_H_
#define PINWATCH_DAEMON_HOLDER_SEARCH_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/inference.h"
#include "daemon/memory_cgroups.h"
#include "daemon/processes.h"
#include "daemon/source.h"
#include "daemon/xdp_sockets.h"

namespace pinwatch {

// The numbers of all processes but this one. `root` is the directory that /proc
// is in.
std::vector<uint32_t> ListProcesses(const std::string& root);

Process ToProcess(const ProcessInfo& info);

// Entries of a /proc/PID/pagemap; fewer where it ends before. NotFound where
// the process has ended.
absl::StatusOr<std::vector<uint64_t>> ReadPagemap(const std::string& path,
                                                  uint64_t first_page,
                                                  uint64_t nr_pages);

// Searches /proc for processes that map pages and show that they pin, in steps
// that take a few milliseconds each at most. It takes CAP_SYS_PTRACE and
// CAP_DAC_READ_SEARCH to see other users' processes, and CAP_SYS_ADMIN to see
// which pages they map.
class HolderSearch {
 public:
  // What pages are charged to, one each; nothing where that is not known.
  using ReadCgroups = std::function<std::vector<std::optional<MemoryCgroup>>(
      const std::vector<uint64_t>& pfns)>;

  // `root` is the directory that /proc is in. `cgroups` must outlive it.
  HolderSearch(std::string root, MemoryCgroups* cgroups,
               ReadCgroups read_cgroups);

  // Gives up what it was at.
  void Begin(std::vector<UnclaimedFolio> folios);

  // True from Begin() until a step has ended it.
  bool running() const { return running_; }

  // Looks at one process, or at some of the pages that a candidate maps. What
  // was found is in found() once that has ended the search.
  void Step();
  const Inference& found() const { return found_; }

 private:
  void ReadCharges();
  bool ReadPinners(const std::string& directory, std::vector<Pinner>& to);
  void Examine(uint32_t pid);
  void BeginCandidate();
  void ReadPages();
  void Match(uint64_t pfn);
  static void NoteCharges(Candidate& candidate);
  void FinishCandidate();

  const std::string root_;
  MemoryCgroups* const cgroups_;
  const ReadCgroups read_cgroups_;
  bool running_ = false;
  std::vector<UnclaimedFolio> folios_;  // by pfn
  size_t charges_read_ = 0;             // so many of these
  // Read when the first AF_XDP socket is met: that may load a kernel module.
  std::optional<XdpUmems> umems_;
  std::vector<uint32_t> pids_;  // to be examined
  Inference found_;
  size_t current_ = 0;               // candidate whose memory is read
  bool begun_ = false;               // reading it
  std::deque<AddressRange> ranges_;  // of it, still to be read
  uint64_t pages_left_ = 0;          // of it, before the bound is met
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_HOLDER_SEARCH_H_
