// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_CONTIG_SOURCE_H_
#define PINWATCH_DAEMON_CONTIG_SOURCE_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/deleter.h"
#include "daemon/kernel_addresses.h"
#include "daemon/probes.h"
#include "daemon/snapshot.h"

struct contig_bpf;

namespace pinwatch {

// Attempts to have a range of physical memory as a whole, as CMA and huge pages
// of 1 GiB take it. For one thread.
class ContigSource {
 public:
  // FailedPrecondition where this kernel lets attempts not be followed.
  static absl::StatusOr<std::unique_ptr<ContigSource>> Open(
      const KernelLayout& layout, const KernelAddresses& addresses);
  ~ContigSource();

  // What the fact "contig_ranges" lacks on this kernel; empty: nothing.
  const std::string& lacks() const { return lacks_; }

  // `now` places the kernel's times.
  ContigRanges Read(Timestamp now) const;

  // Takes the programs off, and puts them there again: 0 or -errno.
  void Detach();
  int Attach();

 private:
  ContigSource() = default;

  static void Destroy(contig_bpf* programs);

  std::vector<CmaArea> ReadCma() const;

  std::unique_ptr<contig_bpf, Deleter<Destroy>> programs_;
  std::string lacks_;
  std::vector<std::string> cma_names_;  // that the kernel tells of
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_CONTIG_SOURCE_H_
