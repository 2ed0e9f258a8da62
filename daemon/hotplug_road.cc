// SPDX-License-Identifier: Apache-2.0
#include "daemon/hotplug_road.h"

#include "absl/strings/match.h"

namespace pinwatch {

std::string FindRoad(const std::vector<KernelSymbols::Symbol>& stack) {
  for (const KernelSymbols::Symbol& symbol : stack) {
    // The files state and online of a memory block's directory.
    if (symbol.name == "state_store" || symbol.name == "online_store")
      return "sysfs";
    if (absl::StartsWith(symbol.name, "acpi_")) return "acpi";
    if (symbol.module == "kmem" || absl::StrContains(symbol.name, "dax_kmem"))
      return "dax_kmem";
    if (!symbol.module.empty() && symbol.module != "bpf") return symbol.module;
  }
  return "unknown";
}

}  // namespace pinwatch
