// SPDX-License-Identifier: Apache-2.0
#include "daemon/kernel_addresses.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "daemon/held_file.h"

namespace pinwatch {
namespace {

// All that any program asks for.
constexpr absl::string_view kSymbols[] = {
    "__per_cpu_offset", "init_mm",       "iomem_resource",   "mem_section",
    "memory_chain",     "node_data",     "page_offset_base", "pgdir_shift",
    "pipeanon_fops",    "pipefifo_fops", "sme_me_mask",      "vmemmap_base"};

}  // namespace

KernelAddresses KernelAddresses::Read(const std::string& kallsyms_path) {
  KernelAddresses addresses;
  HeldFile file(kallsyms_path);
  // A line: "ffffffff82a00010 D vmemmap_base".
  (void)file.ForEachLine([&](absl::string_view line) {
    const size_t kind = line.find(' ');
    if (kind == absl::string_view::npos || line.size() < kind + 4)
      return absl::OkStatus();
    const absl::string_view name = line.substr(kind + 3);
    uint64_t address;
    if (std::find(std::begin(kSymbols), std::end(kSymbols), name) !=
            std::end(kSymbols) &&
        absl::SimpleHexAtoi(line.substr(0, kind), &address))
      addresses.found_.emplace(name, address);
    return absl::OkStatus();
  });
  return addresses;
}

absl::Status KernelAddresses::Require(
    const std::vector<std::string>& symbols) const {
  std::vector<std::string> missing;
  bool hidden = false;
  for (const std::string& symbol : symbols) {
    const auto found = found_.find(symbol);
    if (found == found_.end())
      missing.push_back(symbol);
    else if (found->second == 0)
      hidden = true;
  }
  if (!missing.empty())
    return absl::FailedPreconditionError(
        absl::StrCat("/proc/kallsyms lacks ", absl::StrJoin(missing, ", "),
                     " (kernel built without CONFIG_KALLSYMS_ALL or "
                     "CONFIG_SPARSEMEM_VMEMMAP)"));
  if (hidden)
    return absl::FailedPreconditionError(
        "kernel addresses are hidden: give CAP_SYSLOG and set "
        "kernel.kptr_restrict to 0 or 1");
  return absl::OkStatus();
}

uint64_t KernelAddresses::At(absl::string_view symbol) const {
  const auto found = found_.find(symbol);
  return found == found_.end() ? 0 : found->second;
}

}  // namespace pinwatch
