// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_BPF_SOURCE_H_
#define PINWATCH_DAEMON_BPF_SOURCE_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "daemon/contig_source.h"
#include "daemon/deleter.h"
#include "daemon/host_files.h"
#include "daemon/hotplug_source.h"
#include "daemon/kernel_addresses.h"
#include "daemon/memmap_source.h"
#include "daemon/migration_source.h"
#include "daemon/pin_source.h"
#include "daemon/pipe_search.h"
#include "daemon/probes.h"
#include "daemon/reference_source.h"
#include "daemon/source.h"
#include "daemon/virtio_mem_source.h"

struct bpf_program;
struct census_bpf;

namespace pinwatch {

// The running kernel, through BPF programs. What it refuses is a fact that is
// not observable, never a reason not to start.
class BpfSource : public Source {
 public:
  // `zoneinfo` gives the zones' names and proves that node and zone are read
  // from the right bits; `blocks` tells where memory is. `follow_references`:
  // see ReferenceSource.
  static std::unique_ptr<BpfSource> Open(const Zoneinfo& zoneinfo,
                                         const MemoryBlocks& blocks,
                                         const ClaimOptions& claims,
                                         bool follow_references);
  ~BpfSource() override;

  const std::vector<Fact>& facts() const override { return facts_; }
  const KernelNames& names() const override { return names_; }
  absl::StatusOr<BlockLook> LookAt(uint64_t start_pfn, uint64_t end_pfn,
                                   bool list_pages) override;
  absl::StatusOr<std::vector<NodeCounterReading>> ReadNodeCounters(
      const std::vector<int>& nids) override;
  absl::StatusOr<MigrationReading> ReadMigrations(Timestamp now) override;
  absl::StatusOr<HotplugReading> ReadHotplug(Timestamp now) override;
  absl::StatusOr<std::vector<MemoryDevice>> ReadMemoryDevices() override;
  absl::StatusOr<std::vector<MemmapPiece>> ReadMemmap(
      uint64_t start_pfn, uint64_t end_pfn) override;
  absl::StatusOr<PipeReading> FindInPipes(
      const std::vector<uint64_t>& pfns) override;
  absl::StatusOr<std::vector<ReferenceTaker>> FindTakers(
      const std::vector<uint64_t>& pfns, Timestamp now) override;

  absl::StatusOr<std::vector<page_facts>> ReadPages(
      const std::vector<uint64_t>& pfns) override;
  absl::StatusOr<ClaimReading> ReadClaims(Timestamp now) override;
  void ForgetClaimsOutside(
      const std::function<bool(uint64_t pfn)>& is_looked_at,
      Timestamp now) override;
  std::vector<uint32_t> ForgetOwners(
      const std::vector<uint32_t>& ended) override;
  absl::Status Govern(const GovernorState& state) override;
  void KeepGaps(const ClaimGaps& gaps) override;
  absl::Status DetachHooks() override;
  absl::Status AttachHooks() override;
  std::vector<int> ready_fds() const override;

  // Version of the libbpf in use, such as "1.1".
  static std::string LibbpfVersion();

 private:
  BpfSource() = default;

  MigrationSource::SharedTables TablesToShare() const;
  absl::Status OpenCensus(const KernelLayout& layout,
                          const KernelAddresses& addresses);
  absl::Status OpenClaims(const KernelLayout& layout,
                          const KernelAddresses& addresses,
                          const MemoryBlocks& blocks,
                          const ClaimOptions& options);
  absl::Status CheckLayout(const Zoneinfo& zoneinfo);
  Fact KeptClaimsFact(const ClaimOptions& options,
                      const absl::Status& claims) const;
  absl::StatusOr<NodeCounterReading> ReadNodeCounter(int nid);

  static void DestroyCensus(census_bpf* census);

  std::vector<Fact> facts_;
  KernelNames names_;
  uint32_t nr_cpus_ = 0;
  std::unique_ptr<census_bpf, Deleter<DestroyCensus>> census_;
  std::unique_ptr<PinSource> pins_;
  // Of census_, the variants this kernel can run.
  const bpf_program* census_program_ = nullptr;
  const bpf_program* node_counters_program_ = nullptr;
  std::unique_ptr<MigrationSource> migrations_;
  std::unique_ptr<HotplugSource> hotplug_;
  std::unique_ptr<ContigSource> contig_;
  std::unique_ptr<PipeSearch> pipes_;
  std::unique_ptr<ReferenceSource> references_;
  std::unique_ptr<VirtioMemSource> virtio_mem_;
  std::unique_ptr<MemmapSource> memmap_;
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_BPF_SOURCE_H_
