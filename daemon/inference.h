// SPDX-License-Identifier: Apache-2.0
//
// Likely holders of pinned pages that nobody claimed, such as those pinned
// before the daemon attached: processes that map them and show that they pin at
// all. What is inferred is no claim and is never mixed with claims.
#ifndef PINWATCH_DAEMON_INFERENCE_H_
#define PINWATCH_DAEMON_INFERENCE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "daemon/memory_cgroups.h"
#include "daemon/snapshot.h"
#include "daemon/source.h"

namespace pinwatch {

// A process that may hold some of what was searched for.
struct Candidate {
  InferredHolder holder;  // without pages
  // What the kernel accounts to it as pinned (VmPin). Unset where it also pins
  // in a way that is not accounted there.
  std::optional<uint64_t> pinned_pages;
  uint64_t mapped_pages = 0;  // of what was searched for, at least
  // What memory it touches is charged to; empty: not known.
  std::string memory_cgroup{};
  // Of the folios it maps, pages by what they are charged to.
  uint64_t charged_to_its_cgroup = 0;
  uint64_t charged_elsewhere = 0;

  // It cannot hold all that it maps, and which part is not known.
  bool MapsMoreThanItPins() const {
    return pinned_pages && mapped_pages > *pinned_pages;
  }
};

struct InferredAttribution {
  Certainty certainty = Certainty::kUnattributed;
  std::string reason;                // as in PinAttribution
  std::vector<size_t> candidates{};  // places in Inference::candidates
};

// What a search found.
struct Inference {
  std::vector<Candidate> candidates;
  // By the folios' first pages, of all that were searched for: who maps them.
  std::map<uint64_t, std::vector<size_t>> mapped_by;
  // By the same: the cgroup it is charged to, where that has a path; paths by
  // id.
  std::map<uint64_t, uint64_t> charged_to{};
  std::map<uint64_t, std::string> cgroup_paths{};
  uint64_t pages_read = 0;          // of the candidates' memory
  uint64_t pages_left_out = 0;      // of their memory, beyond the bounds
  uint64_t processes_left_out = 0;  // could not be read, or beyond the bounds

  bool IsComplete() const { return !pages_left_out && !processes_left_out; }
  InferredAttribution Attribute(uint64_t pfn) const;

  // What a folio's cgroup is to the candidate's. Of the root's, where all is
  // that nobody put elsewhere, nothing is said.
  CgroupRelation RelationOf(uint64_t pfn, const Candidate& candidate) const;
};

// VmPin of a /proc/PID/status, in pages; 0 where it is not there.
uint64_t PinnedPagesOf(absl::string_view status);

// An open file through which its process may pin memory for long.
struct Pinner {
  std::string what;        // "io_uring with registered buffers", "vfio"
  bool accounted = false;  // what it pins is in VmPin
  uint64_t pages = 0;      // what it pins, where it tells that itself
};

// Whether files of that kind can be pinners: by the target of the link in
// /proc/PID/fd alone.
bool MayBePinner(absl::string_view target);

// By its fdinfo, too. Nothing: it pins nothing.
std::optional<Pinner> PinnerOf(absl::string_view target,
                               absl::string_view fdinfo);

struct AddressRange {
  uint64_t start = 0;
  uint64_t end = 0;

  bool operator==(const AddressRange&) const = default;
};

// The ranges of a /proc/PID/maps that can be read or written.
std::vector<AddressRange> MappedRanges(absl::string_view maps);

// The page frame of an entry of /proc/PID/pagemap; nothing where no page is
// present, or the kernel does not show its number.
std::optional<uint64_t> PfnOf(uint64_t pagemap_entry);

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_INFERENCE_H_
