// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_HOTPLUG_ROAD_H_
#define PINWATCH_DAEMON_HOTPLUG_ROAD_H_

#include <string>
#include <vector>

#include "daemon/kernel_symbols.h"

namespace pinwatch {

// By which road somebody asked to take a memory block offline or online, told
// by the asker's kernel stack, innermost first: "sysfs", "acpi", "virtio_mem",
// "dax_kmem", the name of another module, or "unknown".
std::string FindRoad(const std::vector<KernelSymbols::Symbol>& stack);

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_HOTPLUG_ROAD_H_
