// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_HOLDER_SEARCH_H_
#define PINWATCH_DAEMON_HOLDER_SEARCH_H_

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "daemon/inference.h"
#include "daemon/source.h"

namespace pinwatch {

// Searches /proc for processes that map pages and show that they pin, in steps
// that take a few milliseconds each at most. It takes CAP_SYS_PTRACE and
// CAP_DAC_READ_SEARCH to see other users' processes, and CAP_SYS_ADMIN to see
// which pages they map.
class HolderSearch {
 public:
  // `root` is the directory that /proc is in.
  explicit HolderSearch(std::string root);

  // Gives up what it was at.
  void Begin(std::vector<UnclaimedFolio> folios);

  // True from Begin() until a step has ended it.
  bool running() const { return running_; }

  // Looks at one process, or at some of the pages that a candidate maps. What
  // was found is in found() once that has ended the search.
  void Step();
  const Inference& found() const { return found_; }

 private:
  void Examine(uint32_t pid);
  void BeginCandidate();
  void ReadPages();
  void Match(uint64_t pfn);
  void FinishCandidate();

  const std::string root_;
  bool running_ = false;
  std::vector<UnclaimedFolio> folios_;  // by pfn
  std::vector<uint32_t> pids_;          // to be examined
  Inference found_;
  size_t current_ = 0;               // candidate whose memory is read
  bool begun_ = false;               // reading it
  std::deque<AddressRange> ranges_;  // of it, still to be read
  uint64_t pages_left_ = 0;          // of it, before the bound is met
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_HOLDER_SEARCH_H_
