// SPDX-License-Identifier: Apache-2.0
#include "daemon/bpf_source.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "bpf/census.skel.h"
#include "daemon/clock.h"

namespace pinwatch {
namespace {

// A reading of the node counters is taken again until two agree, since CPUs
// fold their differences in meanwhile; under a storm of pins they never do.
constexpr int kCounterTries = 8;

// Pages of a section, the largest stretch whose struct pages stand together.
constexpr uint64_t kSectionPages = 1 << 15;
constexpr uint64_t kSectionBytes = kSectionPages * 4096;

// Runs a program that only runs when asked; its return value, or -errno.
template <typename Context>
int Run(const bpf_program* program, Context& context) {
  LIBBPF_OPTS(bpf_test_run_opts, options, .ctx_in = &context,
              .ctx_size_in = sizeof(context));
  const int error = bpf_prog_test_run_opts(bpf_program__fd(program), &options);
  return error ? error : static_cast<int>(options.retval);
}

void AddResult(const census_result& from, BlockLook& to) {
  auto zone = std::find_if(to.zones.begin(), to.zones.end(), [&](auto& z) {
    return z.nid == static_cast<int>(from.nid) && z.zone == from.zone;
  });
  if (zone == to.zones.end())
    zone = to.zones.insert(
        zone, {.nid = static_cast<int>(from.nid), .zone = from.zone});
  for (size_t m = 0; m < std::size(from.cells); ++m)
    if (std::ranges::any_of(from.cells[m].pages,
                            [](uint64_t pages) { return pages > 0; }))
      Add(from.cells[m], zone->cells[m]);
}

Fact MakeFact(std::string name, std::string source,
              const absl::Status& status) {
  if (status.ok()) return {std::move(name), true, std::move(source), ""};
  return {std::move(name), false, "", std::string(status.message())};
}

// Whether /proc/zoneinfo has the zone span that page.
bool Spans(const Zoneinfo& info, const ZoneLook& look, uint64_t pfn) {
  return std::any_of(info.zones.begin(), info.zones.end(), [&](auto& zone) {
    return zone.nid == look.nid && look.zone < info.zone_names.size() &&
           zone.name == info.zone_names[look.zone] && zone.start_pfn <= pfn &&
           pfn < zone.start_pfn + zone.spanned_pages;
  });
}

// Of 0 or -errno.
absl::Status ToAttachStatus(int error) {
  if (error == -ENOENT)
    // Before Linux v5.13.
    return absl::FailedPreconditionError(
        "this kernel lets no program be attached again: restart pinwatchd "
        "(systemctl restart pinwatchd)");
  return error ? absl::ErrnoToStatus(-error, "attach the hooks again")
               : absl::OkStatus();
}

}  // namespace

void BpfSource::DestroyCensus(census_bpf* census) {
  census_bpf__destroy(census);
}

BpfSource::~BpfSource() = default;

std::string BpfSource::LibbpfVersion() {
  return absl::StrCat(libbpf_major_version(), ".", libbpf_minor_version());
}

std::unique_ptr<BpfSource> BpfSource::Open(const Zoneinfo& zoneinfo,
                                           const MemoryBlocks& blocks,
                                           const ClaimOptions& claim_options,
                                           bool follow_references) {
  auto source = std::unique_ptr<BpfSource>(new BpfSource);
  source->names_.zones = zoneinfo.zone_names;

  absl::Status census, migrations, hotplug, contig, claims, pipes, references;
  const std::unique_ptr<btf, Deleter<btf__free>> types(btf__load_vmlinux_btf());
  if (!types) {
    census = migrations = hotplug = contig = claims = pipes = references =
        absl::FailedPreconditionError(
            "the kernel tells no types at /sys/kernel/btf/vmlinux (built "
            "without "
            "CONFIG_DEBUG_INFO_BTF)");
  } else if (const auto layout = ReadLayout(types.get()); !layout.ok()) {
    census = migrations = hotplug = contig = claims = pipes = references =
        layout.status();
  } else {
    source->names_.migratetypes = layout->migratetypes;
    source->names_.migrate_reasons = layout->migrate_reasons;
    source->names_.migrate_modes = layout->migrate_modes;
    const auto addresses = KernelAddresses::Read("/proc/kallsyms");
    source->virtio_mem_ = std::make_unique<VirtioMemSource>(addresses);
    source->memmap_ = std::make_unique<MemmapSource>(addresses);
    census = source->OpenCensus(*layout, addresses);
    if (census.ok()) census = source->CheckLayout(zoneinfo);
    auto opened = HotplugSource::Open(*layout, addresses, zoneinfo.zone_names,
                                      blocks.block_size_bytes);
    hotplug = opened.status();
    if (opened.ok()) source->hotplug_ = *std::move(opened);
    auto ranges = ContigSource::Open(*layout, addresses);
    contig = ranges.status();
    if (ranges.ok()) source->contig_ = *std::move(ranges);
    auto searched = PipeSearch::Open(addresses);
    pipes = searched.status();
    if (searched.ok()) source->pipes_ = *std::move(searched);
    if (follow_references) {
      auto followed = ReferenceSource::Open(*layout, addresses);
      references = followed.status();
      if (followed.ok()) source->references_ = *std::move(followed);
    }
    claims = census.ok()
                 ? source->OpenClaims(*layout, addresses, blocks, claim_options)
                 : absl::FailedPreconditionError(
                       absl::StrCat("claims are of no use without the census: ",
                                    census.message()));
    // After those whose tables it shares.
    auto migrate = MigrationSource::Open(
        *layout, addresses, zoneinfo.zone_names, source->TablesToShare());
    migrations = migrate.status();
    if (migrate.ok()) source->migrations_ = *std::move(migrate);
  }
  if (!census.ok()) source->census_.reset();

  if (!claims.ok()) source->pins_.reset();

  source->facts_ = {
      MakeFact("census", "BPF reads struct page of every online memory block",
               census),
      MakeFact("claims", source->pins_ ? source->pins_->DescribeDoors() : "",
               claims),
      MakeFact("hotplug",
               "BPF on memory_subsys_offline and memory_subsys_online",
               hotplug),
      MakeFact(
          "migrations",
          "BPF on migrate_pages and its tracepoint migrate:mm_migrate_pages",
          migrations),
      MakeFact("node_counters",
               "nr_foll_pin_*, every CPU's pending difference added", census),
  };
  if (hotplug.ok()) {
    std::vector<std::string> lacks;
    if (!source->hotplug_->lacks().empty())
      lacks.push_back(source->hotplug_->lacks());
    if (!source->migrations_ || !source->migrations_->tells_others())
      lacks.push_back(
          "pages that attempts move or that do not move are not told: see the "
          "fact migrations");
    source->facts_[2].reason = absl::StrJoin(lacks, "; ");
  }
  if (migrations.ok()) source->facts_[3].reason = source->migrations_->lacks();
  if (claims.ok() && !source->pins_->doors_not_followed().empty())
    source->facts_[1].reason =
        absl::StrCat("not followed here: ",
                     absl::StrJoin(source->pins_->doors_not_followed(), ", "));
  if (!census.ok()) {
    // sysfs has the counters too, if without the differences.
    Fact& counters = source->facts_.back();
    counters.observable = ReadNodeVmstat("", {0}).ok();
    counters.source =
        "nr_foll_pin_* in sysfs, which lags by up to 125 a CPU each way";
  }
  source->facts_.push_back(MakeFact(
      "contig_ranges",
      "BPF on alloc_contig_range and the tracepoint test_pages_isolated",
      contig));
  if (contig.ok()) source->facts_.back().reason = source->contig_->lacks();
  source->facts_.push_back(
      MakeFact("pipes", "BPF goes through the pipes of all processes", pipes));
  source->facts_.push_back(
      follow_references
          ? MakeFact("references", "BPF on return of get_user_pages_fast",
                     references)
          : Fact{.name = "references",
                 .reason = "not asked for: pinwatchd --references.follow would "
                           "note who takes references through "
                           "get_user_pages_fast",
                 .by_choice = true});
  source->facts_.push_back(source->KeptClaimsFact(claim_options, claims));
  return source;
}

MigrationSource::SharedTables BpfSource::TablesToShare() const {
  MigrationSource::SharedTables tables;
  if (hotplug_) {
    tables.attempts = hotplug_->running_fd();
    tables.blockers = hotplug_->blockers_fd();
  }
  if (pins_) tables.moving = pins_->moving_fd();
  return tables;
}

// Whether claims outlive the daemon.
Fact BpfSource::KeptClaimsFact(const ClaimOptions& options,
                               const absl::Status& claims) const {
  const absl::StatusOr<std::string> keeping = pins_ ? pins_->keeping() : claims;
  Fact fact = MakeFact("kept_claims", keeping.value_or(""), keeping.status());
  if (absl::IsCancelled(options.kept.status())) {
    fact.reason = "claims end with pinwatchd, which was given no --bpf.dir";
    fact.by_choice = true;
  } else if (options.kept.ok() && fact.observable) {
    fact.reason = (*options.kept)->refused();
  }
  return fact;
}

absl::Status BpfSource::OpenCensus(const KernelLayout& layout,
                                   const KernelAddresses& addresses) {
  if (absl::Status status = RequireKernelReads(""); !status.ok()) return status;
  if (absl::Status status = addresses.Require(
          {"vmemmap_base", "mem_section", "node_data", "__per_cpu_offset"});
      !status.ok())
    return status;
  const absl::StatusOr<uint32_t> nr_cpus = CountPossibleCpus("");
  if (!nr_cpus.ok()) return nr_cpus.status();
  nr_cpus_ = *nr_cpus;

  LIBBPF_OPTS(bpf_object_open_opts, open, .btf_custom_path = KernelTypesPath());
  census_.reset(census_bpf__open_opts(&open));
  if (!census_) return absl::ErrnoToStatus(errno, "open the census programs");
  census_->rodata->vmemmap_base_at = addresses.At("vmemmap_base");
  census_->rodata->mem_section_at = addresses.At("mem_section");
  census_->rodata->node_data_at = addresses.At("node_data");
  census_->rodata->per_cpu_offset_at = addresses.At("__per_cpu_offset");
  census_->rodata->iomem_resource_at = addresses.At("iomem_resource");
  census_->rodata->nid_shift = layout.nid_shift;
  census_->rodata->zone_shift = layout.zone_shift;
  census_->rodata->zone_mask = layout.zone_mask;
  const auto& progs = census_->progs;
  bpf_program* census =
      layout.syscall_programs ? progs.census__bulk : progs.census__bounded;
  bpf_program* node_counters = layout.syscall_programs
                                   ? progs.node_counters__syscall
                                   : progs.node_counters__bounded;
  bpf_program__set_autoload(census, true);
  bpf_program__set_autoload(node_counters, true);
  bpf_program__set_autoload(progs.pages__asked, true);
  bpf_program__set_autoload(progs.memory_devices__bounded, true);
  if (const int error = census_bpf__load(census_.get()))
    return absl::ErrnoToStatus(
        -error,
        "the kernel refuses the census programs (--log.level debug "
        "shows its reasons)");
  census_program_ = census;
  node_counters_program_ = node_counters;
  return absl::OkStatus();
}

// Reads the first pages of every zone. A zone begins where no other does, but
// another node's may span it: any zone that spans the page will do.
absl::Status BpfSource::CheckLayout(const Zoneinfo& zoneinfo) {
  bool seen = false;
  for (const Zone& zone : zoneinfo.zones) {
    if (zone.managed_pages == 0) continue;
    const auto look = LookAt(zone.start_pfn, zone.start_pfn + 1, false);
    if (!look.ok()) return look.status();
    if (look->zones.empty()) continue;
    if (!Spans(zoneinfo, look->zones.front(), zone.start_pfn))
      return absl::FailedPreconditionError(absl::StrCat(
          "struct page of pfn ", zone.start_pfn, " names node ",
          look->zones.front().nid, " and zone ", look->zones.front().zone,
          ", /proc/zoneinfo has it in node ", zone.nid, " ", zone.name));
    seen = true;
  }
  if (!seen)
    return absl::FailedPreconditionError(
        "no zone of /proc/zoneinfo has a struct page where it begins");
  return absl::OkStatus();
}

absl::Status BpfSource::OpenClaims(const KernelLayout& layout,
                                   const KernelAddresses& addresses,
                                   const MemoryBlocks& blocks,
                                   const ClaimOptions& options) {
  const uint64_t sections_a_block = blocks.block_size_bytes / kSectionBytes;
  uint64_t nr_sections = 0;
  // Long-term pins stand outside ZONE_MOVABLE as a rule.
  std::vector<uint64_t> sections, movable;
  for (const MemoryBlock& block : blocks.blocks) {
    const uint64_t first = block.id * sections_a_block;
    nr_sections = std::max(nr_sections, first + sections_a_block);
    if (block.state != "online") continue;
    for (uint64_t i = 0; i < sections_a_block; ++i)
      (block.zone == "Movable" ? movable : sections).push_back(first + i);
  }
  absl::StatusOr<std::unique_ptr<PinSource>> pins =
      PinSource::Open(layout, addresses, options, nr_sections);
  if (!pins.ok()) return pins.status();
  pins_ = *std::move(pins);
  sections.insert(sections.end(), movable.begin(), movable.end());
  sections.resize(std::min<size_t>(
      sections.size(), options.chunk_bytes_at_start / sizeof(claim_chunk)));
  return pins_->AddChunks(sections);
}

absl::StatusOr<std::vector<MemoryDevice>> BpfSource::ReadMemoryDevices() {
  if (!census_) return absl::UnavailableError("the census is not observable");
  if (!census_->rodata->iomem_resource_at)
    return absl::UnavailableError("/proc/kallsyms lacks iomem_resource");
  memory_device_request request = {};
  if (const int error = Run(census_->progs.memory_devices__bounded, request))
    return absl::ErrnoToStatus(-error, "read the map of physical memory");
  const memory_devices& found = census_->bss->memory_devices;
  if (found.incomplete)
    return absl::UnavailableError(
        "the map of physical memory has more entries than are gone through");
  std::vector<MemoryDevice> devices;
  for (uint32_t i = 0; i < found.count; ++i) {
    const memory_device& device = found.devices[i];
    devices.push_back({.name = device.name,
                       .start = device.start,
                       .size = device.end - device.start + 1});
  }
  // What it does not find is told as not known.
  (void)virtio_mem_->Read(devices);
  return devices;
}

absl::StatusOr<std::vector<MemmapPiece>> BpfSource::ReadMemmap(
    uint64_t start_pfn, uint64_t end_pfn) {
  if (!census_) return absl::UnavailableError("the census is not observable");
  return memmap_->Read(start_pfn, end_pfn);
}

absl::StatusOr<PipeReading> BpfSource::FindInPipes(
    const std::vector<uint64_t>& pfns) {
  if (!pipes_) return absl::UnavailableError("pipes are not observable");
  return pipes_->Find(pfns);
}

absl::StatusOr<std::vector<ReferenceTaker>> BpfSource::FindTakers(
    const std::vector<uint64_t>& pfns, Timestamp now) {
  if (!references_)
    return absl::UnavailableError("who takes references is not followed");
  return references_->Find(pfns, now);
}

absl::StatusOr<std::vector<page_facts>> BpfSource::ReadPages(
    const std::vector<uint64_t>& pfns) {
  if (!census_) return absl::UnavailableError("the census is not observable");
  std::vector<page_facts> pages;
  while (pages.size() < pfns.size()) {
    const size_t nr_pages =
        std::min<size_t>(pfns.size() - pages.size(), PINWATCH_ASKED_PAGES);
    page_question question = {.nr_pages = static_cast<uint32_t>(nr_pages)};
    std::copy_n(pfns.begin() + pages.size(), nr_pages,
                census_->bss->asked_pfns);
    if (const int error = Run(census_->progs.pages__asked, question))
      return absl::ErrnoToStatus(-error, "run the program that reads pages");
    pages.insert(pages.end(), census_->bss->asked_pages,
                 census_->bss->asked_pages + nr_pages);
  }
  return pages;
}

absl::StatusOr<ClaimReading> BpfSource::ReadClaims(Timestamp now) {
  if (!pins_) return absl::UnavailableError("claims are not observable");
  pins_->DrainNews();
  absl::StatusOr<ClaimReading> reading = pins_->Read(now);
  if (reading.ok() && migrations_)
    reading->totals.moves_lost += migrations_->pins_lost();
  return reading;
}

void BpfSource::ForgetClaimsOutside(
    const std::function<bool(uint64_t pfn)>& is_looked_at, Timestamp now) {
  if (!pins_) return;
  pins_->ReadRuns();
  pins_->table().ForgetOutside(is_looked_at, now.monotonic_ns);
  pins_->DeleteDeadRuns();
}

std::vector<uint32_t> BpfSource::ForgetOwners(
    const std::vector<uint32_t>& ended) {
  if (pins_) return pins_->ForgetOwners(ended);
  return {};
}

void BpfSource::KeepGaps(const ClaimGaps& gaps) {
  if (pins_) pins_->KeepGaps(gaps);
}

absl::Status BpfSource::DetachHooks() {
  // First what runs most often: the kernel waits for its readers after each.
  if (references_) references_->Detach();
  if (pins_) pins_->Detach();
  if (migrations_) migrations_->Detach();
  if (hotplug_) hotplug_->Detach();
  if (contig_) contig_->Detach();
  return absl::OkStatus();
}

absl::Status BpfSource::AttachHooks() {
  absl::Status status;
  if (migrations_) status.Update(ToAttachStatus(migrations_->Attach()));
  if (hotplug_) status.Update(ToAttachStatus(hotplug_->Attach()));
  if (contig_) status.Update(ToAttachStatus(contig_->Attach()));
  if (references_) status.Update(ToAttachStatus(references_->Attach()));
  if (pins_) status.Update(ToAttachStatus(pins_->Attach()));
  if (!status.ok()) (void)DetachHooks();
  return status;
}

absl::Status BpfSource::Govern(const GovernorState& state) {
  return pins_ ? ToAttachStatus(pins_->Govern(state)) : absl::OkStatus();
}

std::vector<int> BpfSource::ready_fds() const {
  std::vector<int> fds;
  if (hotplug_) fds.push_back(hotplug_->ring_fd());
  if (pins_) fds.push_back(pins_->ring_fd());
  return fds;
}

absl::StatusOr<BlockLook> BpfSource::LookAt(uint64_t start_pfn,
                                            uint64_t end_pfn, bool list_pages) {
  if (!census_) return absl::UnavailableError("the census is not observable");
  const int64_t cpu_start = ThreadCpuNs();
  BlockLook look{.lists_pages = list_pages};
  // Without claims its table is empty and every pin without a claimant.
  ClaimTable no_claims;
  ClaimTable& claims = pins_ ? pins_->table() : no_claims;
  if (pins_) pins_->ReadRuns();
  claims.ForgetFolio();
  for (uint64_t pfn = start_pfn; pfn < end_pfn;) {
    census_request request = {
        .start_pfn = pfn,
        .end_pfn = std::min({end_pfn, (pfn / kSectionPages + 1) * kSectionPages,
                             pfn + PINWATCH_CENSUS_PAGES}),
    };
    claims.BeginLook(request.start_pfn, request.end_pfn);
    if (const int error = Run(census_program_, request))
      return absl::ErrnoToStatus(-error, "run the census program");
    const census_result& result = census_->bss->census_result;
    if (result.status == CENSUS_CHANGED) {
      look.status = CENSUS_CHANGED;
      look.zones.clear();
      look.pins.clear();
      look.listed.clear();
      break;
    }
    if (result.status == CENSUS_OK) {
      look.status = CENSUS_OK;
      look.steps += result.steps;
      AddResult(result, look);
      claims.FinishLook(result.next_pfn,
                        {census_->bss->census_pages, result.nr_listed}, result,
                        Now().monotonic_ns, list_pages, look);
    }
    // A result that does not advance would hold us here for ever.
    if (result.next_pfn <= pfn)
      return absl::InternalError("the census program does not advance");
    pfn = result.next_pfn;
  }
  if (pins_) pins_->DeleteDeadRuns();
  look.cpu_ns = ThreadCpuNs() - cpu_start;
  return look;
}

absl::StatusOr<NodeCounterReading> BpfSource::ReadNodeCounter(int nid) {
  node_counter_request request = {.nid = static_cast<uint32_t>(nid),
                                  .nr_cpus = nr_cpus_};
  const node_counters& counters = census_->bss->node_counters;
  node_counters last{};
  bool agrees = false;
  for (int i = 0; i < kCounterTries && !agrees; ++i) {
    if (Run(node_counters_program_, request))
      return absl::UnavailableError(
          absl::StrCat("the counters of node ", nid, " cannot be read"));
    agrees = i > 0 && last.acquired == counters.acquired &&
             last.released == counters.released;
    last = {.acquired = counters.acquired, .released = counters.released};
  }
  return NodeCounterReading{
      .nid = nid,
      .acquired = static_cast<uint64_t>(std::max<int64_t>(last.acquired, 0)),
      .released = static_cast<uint64_t>(std::max<int64_t>(last.released, 0)),
      .exact = agrees};
}

absl::StatusOr<std::vector<NodeCounterReading>> BpfSource::ReadNodeCounters(
    const std::vector<int>& nids) {
  if (!census_) return ReadNodeVmstat("", nids);
  std::vector<NodeCounterReading> readings;
  for (int nid : nids) {
    absl::StatusOr<NodeCounterReading> reading = ReadNodeCounter(nid);
    if (!reading.ok()) return reading.status();
    readings.push_back(*reading);
  }
  return readings;
}

absl::StatusOr<HotplugReading> BpfSource::ReadHotplug(Timestamp now) {
  if (!hotplug_) return absl::UnavailableError("hotplug is not observable");
  return hotplug_->Read(now);
}

absl::StatusOr<MigrationReading> BpfSource::ReadMigrations(Timestamp now) {
  if (!migrations_)
    return absl::UnavailableError("migrations are not observable");
  absl::StatusOr<MigrationReading> reading = migrations_->Read(now);
  if (reading.ok() && contig_) reading->contig_ranges = contig_->Read(now);
  return reading;
}

}  // namespace pinwatch
