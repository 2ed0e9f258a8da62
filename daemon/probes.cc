// SPDX-License-Identifier: Apache-2.0
#include "daemon/probes.h"

#include <bpf/btf.h>
#include <cap-ng.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <optional>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "daemon/host_files.h"

namespace pinwatch {
namespace {

// struct page as the census reads it; see STRUCT_PAGE in census.bpf.c.
constexpr int64_t kStructPageBytes = 64;

struct Enumerator {
  std::string name;
  int64_t value;
};

std::vector<Enumerator> EnumeratorsOf(const btf* types, const char* name) {
  std::vector<Enumerator> result;
  const int id = btf__find_by_name_kind(types, name, BTF_KIND_ENUM);
  if (id < 0) return result;
  const btf_type* type = btf__type_by_id(types, id);
  const struct btf_enum* values = btf_enum(type);
  for (int i = 0; i < btf_vlen(type); ++i)
    result.push_back(
        {btf__name_by_offset(types, values[i].name_off), values[i].val});
  return result;
}

bool HasEnumerator(const btf* types, const char* name,
                   absl::string_view enumerator) {
  const std::vector<Enumerator> all = EnumeratorsOf(types, name);
  return std::any_of(all.begin(), all.end(),
                     [&](const Enumerator& e) { return e.name == enumerator; });
}

std::optional<int64_t> SizeOf(const btf* types, const char* name,
                              uint32_t kind) {
  const int id = btf__find_by_name_kind(types, name, kind);
  if (id < 0) return std::nullopt;
  return btf__resolve_size(types, id);
}

// Names by value. `bounds` are enumerators that count or delimit the others.
std::vector<std::string> Names(const btf* types, const char* name,
                               absl::string_view prefix,
                               const std::set<std::string>& bounds) {
  std::vector<std::string> names;
  for (const Enumerator& e : EnumeratorsOf(types, name)) {
    if (bounds.count(e.name) || absl::StartsWith(e.name, "__")) continue;
    if (e.value < 0 || e.value > 63) continue;
    if (names.size() <= static_cast<size_t>(e.value)) names.resize(e.value + 1);
    names[e.value] = absl::AsciiStrToLower(absl::StripPrefix(e.name, prefix));
  }
  return names;
}

// Parameters of the tracepoint, its context pointer not counted; -1: no such.
int TracepointArgs(const btf* types, const char* name) {
  const int id = btf__find_by_name_kind(
      types, absl::StrCat("btf_trace_", name).c_str(), BTF_KIND_TYPEDEF);
  if (id < 0) return -1;
  const btf_type* type =
      btf__type_by_id(types, btf__type_by_id(types, id)->type);
  if (btf_is_ptr(type)) type = btf__type_by_id(types, type->type);
  return btf_is_func_proto(type) ? btf_vlen(type) - 1 : -1;
}

// The names of a function's parameters; nothing where there is no such
// function.
std::optional<std::vector<std::string>> ReadParameters(
    const btf* types, const std::string& function) {
  const int id = btf__find_by_name_kind(types, function.c_str(), BTF_KIND_FUNC);
  if (id < 0) return std::nullopt;
  const btf_type* prototype =
      btf__type_by_id(types, btf__type_by_id(types, id)->type);
  const btf_param* parameters = btf_params(prototype);
  std::vector<std::string> names;
  for (int i = 0; i < btf_vlen(prototype); ++i)
    names.emplace_back(btf__name_by_offset(types, parameters[i].name_off));
  return names;
}

bool ReturnsBool(const btf* types, const char* function) {
  const int id = btf__find_by_name_kind(types, function, BTF_KIND_FUNC);
  if (id < 0) return false;
  const btf_type* prototype =
      btf__type_by_id(types, btf__type_by_id(types, id)->type);
  const btf_type* type =
      btf__type_by_id(types, btf__resolve_type(types, prototype->type));
  return btf_is_int(type) && btf_int_encoding(type) & BTF_INT_BOOL;
}

void ReadMoveFunctions(const btf* types, KernelLayout& layout) {
  for (const std::string& name : MoveFunctions())
    if (btf__find_by_name_kind(types, name.c_str(), BTF_KIND_FUNC) >= 0)
      layout.move_functions.insert(name);
  layout.has_rdonly_cast = layout.move_functions.count("bpf_rdonly_cast") != 0;
  layout.isolate_lru_tells_true = ReturnsBool(types, "folio_isolate_lru");
  layout.isolate_hugetlb_tells_true =
      ReturnsBool(types, "isolate_hugetlb") ||
      ReturnsBool(types, "folio_isolate_hugetlb");
}

PinFunctions ReadPinFunctions(const btf* types) {
  PinFunctions functions;
  for (const std::string& name : DoorFunctions())
    if (auto parameters = ReadParameters(types, name))
      functions[name] = *std::move(parameters);
  return functions;
}

std::map<std::string, uint32_t> ReadHotplugFunctions(const btf* types) {
  std::map<std::string, uint32_t> functions;
  for (const char* name :
       {"alloc_contig_frozen_range_noprof", "alloc_contig_range",
        "alloc_contig_range_noprof", "dissolve_free_huge_pages",
        "dissolve_free_hugetlb_folios", "dump_page", "memory_notify",
        "offline_pages", "start_isolate_page_range"}) {
    const int id = btf__find_by_name_kind(types, name, BTF_KIND_FUNC);
    if (id < 0) continue;
    functions[name] =
        btf_vlen(btf__type_by_id(types, btf__type_by_id(types, id)->type));
  }
  return functions;
}

// The flags became an enum, without a name, in Linux v6.3 (commit b5054174ac7c,
// "mm: move FOLL_* defs to mm_types.h"); before, FOLL_LONGTERM was 1 << 16 and
// FOLL_PIN 1 << 18, from v5.2 and v5.6 on.
void ReadGupFlags(const btf* types, KernelLayout& layout) {
  layout.foll_longterm = 0x10000;
  layout.foll_pin = 0x40000;
  for (uint32_t id = 1; id < btf__type_cnt(types); ++id) {
    const btf_type* type = btf__type_by_id(types, id);
    if (!btf_is_enum(type) || type->name_off != 0) continue;
    const struct btf_enum* values = btf_enum(type);
    for (int i = 0; i < btf_vlen(type); ++i) {
      const absl::string_view name =
          btf__name_by_offset(types, values[i].name_off);
      if (name == "FOLL_LONGTERM") layout.foll_longterm = values[i].val;
      if (name == "FOLL_PIN") layout.foll_pin = values[i].val;
    }
  }
}

// page->flags has, from the top: node, zone, ... With a virtual memory map the
// section takes no room there.
absl::Status ReadFlagsLayout(const btf* types, KernelLayout& layout) {
  std::optional<int64_t> nr_zones;
  for (const Enumerator& e : EnumeratorsOf(types, "zone_type"))
    if (e.name == "__MAX_NR_ZONES") nr_zones = e.value;
  const auto nodemask = SizeOf(types, "nodemask_t", BTF_KIND_TYPEDEF);
  if (!nr_zones || *nr_zones < 1 || !nodemask)
    return absl::FailedPreconditionError(
        "kernel types lack enum zone_type or nodemask_t");
  const uint32_t zone_bits = std::bit_width<uint64_t>(*nr_zones - 1);
  // A mask of up to 64 nodes is one word however few they are. Then the width
  // is a guess, which BpfSource checks against /proc/zoneinfo.
  const uint32_t nid_bits = std::bit_width<uint64_t>(*nodemask * 8 - 1);
  layout.nid_shift = 64 - nid_bits;
  layout.zone_shift = layout.nid_shift - zone_bits;
  layout.zone_mask = (1u << zone_bits) - 1;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<KernelLayout> ReadLayout(const btf* types) {
  if (SizeOf(types, "page", BTF_KIND_STRUCT) != kStructPageBytes)
    return absl::FailedPreconditionError(
        "struct page has not the 64 bytes the census is written for");
  KernelLayout layout;
  if (absl::Status status = ReadFlagsLayout(types, layout); !status.ok())
    return status;
  layout.migratetypes = Names(types, "migratetype", "MIGRATE_",
                              {"MIGRATE_PCPTYPES", "MIGRATE_TYPES"});
  layout.migrate_reasons =
      Names(types, "migrate_reason", "MR_", {"MR_TYPES", "MR_NEVER"});
  layout.migrate_modes = Names(types, "migrate_mode", "MIGRATE_", {});
  if (layout.migratetypes.empty())
    return absl::FailedPreconditionError("kernel types lack enum migratetype");
  layout.syscall_programs =
      HasEnumerator(types, "bpf_prog_type", "BPF_PROG_TYPE_SYSCALL") &&
      HasEnumerator(types, "bpf_func_id", "BPF_FUNC_loop");
  layout.pin_helpers =
      HasEnumerator(types, "bpf_func_id", "BPF_FUNC_loop") &&
      HasEnumerator(types, "bpf_func_id", "BPF_FUNC_get_func_arg") &&
      HasEnumerator(types, "bpf_func_id", "BPF_FUNC_get_current_task_btf");
  layout.migrate_args = TracepointArgs(types, "mm_migrate_pages");
  layout.cma_args = TracepointArgs(types, "cma_alloc_finish");
  layout.pin_functions = ReadPinFunctions(types);
  ReadMoveFunctions(types, layout);
  layout.has_get_user_pages_fast =
      ReadParameters(types, "get_user_pages_fast") ==
      std::vector<std::string>{"start", "nr_pages", "gup_flags", "pages"};
  layout.moves_misplaced_thp_alone =
      ReadParameters(types, "migrate_misplaced_transhuge_page").has_value();
  layout.hotplug_functions = ReadHotplugFunctions(types);
  ReadGupFlags(types, layout);
  return layout;
}

const char* KernelTypesPath() {
  static constexpr char kPath[] = "/sys/kernel/btf/vmlinux";
  return access(kPath, R_OK) == 0 ? kPath : nullptr;
}

absl::Status RequireKernelReads(const std::string& root) {
  const std::string mode =
      ReadSmallFile(root + "/sys/kernel/security/lockdown").value_or("");
  if (absl::StrContains(mode, "[confidentiality]"))
    return absl::FailedPreconditionError(
        "the kernel is locked down (confidentiality) and lets no BPF program "
        "read its memory: boot with lockdown=integrity or less");
  return absl::OkStatus();
}

absl::Status RequireCapabilities() {
  if (capng_have_capability(CAPNG_EFFECTIVE, CAP_SYS_ADMIN))
    return absl::OkStatus();
  std::vector<std::string> missing;
  if (!capng_have_capability(CAPNG_EFFECTIVE, CAP_BPF))
    missing.push_back("CAP_BPF");
  if (!capng_have_capability(CAPNG_EFFECTIVE, CAP_PERFMON))
    missing.push_back("CAP_PERFMON");
  if (missing.empty()) return absl::OkStatus();
  return absl::PermissionDeniedError(
      absl::StrCat("missing ", absl::StrJoin(missing, " and "),
                   ": run it as root, or as a service with "
                   "AmbientCapabilities=CAP_BPF CAP_PERFMON CAP_SYSLOG"));
}

absl::Status DropCapabilities(bool infers_holders) {
  if (geteuid() == 0) return absl::OkStatus();
  // For life: new tables of claims are maps, and processes are read of when
  // they pin. Before Linux v5.8 CAP_SYS_ADMIN stands for the first two.
  std::vector<int> kept = {CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE,
                           CAP_DAC_READ_SEARCH};
  if (infers_holders || !capng_have_capability(CAPNG_EFFECTIVE, CAP_BPF))
    kept.push_back(CAP_SYS_ADMIN);
  std::erase_if(kept, [](int capability) {
    return !capng_have_capability(CAPNG_EFFECTIVE, capability);
  });
  capng_clear(CAPNG_SELECT_CAPS);
  for (const int capability : kept)
    capng_update(CAPNG_ADD,
                 static_cast<capng_type_t>(CAPNG_EFFECTIVE | CAPNG_PERMITTED),
                 capability);
  if (capng_apply(CAPNG_SELECT_CAPS) != 0)
    return absl::InternalError("the kernel lets no capability be given up");
  return absl::OkStatus();
}

Fact ExecutablesFact() {
  Fact fact{.name = "executables"};
  if (capng_have_capability(CAPNG_EFFECTIVE, CAP_SYS_PTRACE)) {
    fact.observable = true;
    fact.source = "/proc/PID/exe and maps";
    return fact;
  }
  fact.reason =
      "paths of other users' executables, and names in their stacks, take "
      "CAP_SYS_PTRACE: see executables.conf in pinwatch's documentation";
  fact.by_choice = true;
  return fact;
}

Fact InferredHoldersFact(bool wanted) {
  Fact fact{.name = "inferred_holders", .by_choice = !wanted};
  if (!wanted) {
    fact.reason =
        "not asked for: pinwatchd --holders.infer would look for the likely "
        "holders of pins older than it";
    return fact;
  }
  std::vector<std::string> missing;
  if (!capng_have_capability(CAPNG_EFFECTIVE, CAP_SYS_ADMIN))
    missing.push_back("CAP_SYS_ADMIN (which pages a process maps)");
  if (!capng_have_capability(CAPNG_EFFECTIVE, CAP_SYS_PTRACE))
    missing.push_back("CAP_SYS_PTRACE (other users' processes)");
  if (!capng_have_capability(CAPNG_EFFECTIVE, CAP_DAC_READ_SEARCH))
    missing.push_back("CAP_DAC_READ_SEARCH (their files in /proc)");
  fact.observable = missing.empty();
  if (fact.observable)
    fact.source = "/proc/PID/pagemap, status, fd and fdinfo, and sock_diag";
  else
    fact.reason = absl::StrCat("missing ", absl::StrJoin(missing, " and "),
                               ": see infer.conf in pinwatch's documentation");
  return fact;
}

}  // namespace pinwatch
