// SPDX-License-Identifier: Apache-2.0
#include "daemon/hotplug_road.h"

#include <gtest/gtest.h>

#include <utility>

namespace pinwatch {
namespace {

// Functions and their modules, innermost first.
std::string Road(
    const std::vector<std::pair<const char*, const char*>>& functions) {
  std::vector<KernelSymbols::Symbol> stack = {
      {.name = "bpf_prog_6deef7357e7b4530_offline__fentry_enter",
       .module = "bpf",
       .known = true},
      {.name = "bpf_trampoline_6442509731", .module = "", .known = true},
      {.name = "memory_subsys_offline", .module = "", .known = true}};
  for (const auto& [name, module] : functions)
    stack.push_back({.name = name, .module = module, .known = true});
  return FindRoad(stack);
}

TEST(HotplugRoad, IsWhoAskedInTheKernel) {
  EXPECT_EQ(Road({{"device_offline", ""},
                  {"state_store", ""},
                  {"kernfs_fop_write_iter", ""},
                  {"vfs_write", ""}}),
            "sysfs");
  EXPECT_EQ(Road({{"device_offline", ""}, {"online_store", ""}}), "sysfs");
  EXPECT_EQ(Road({{"device_offline", ""},
                  {"acpi_bus_offline", ""},
                  {"acpi_scan_hot_remove", ""}}),
            "acpi");
  EXPECT_EQ(Road({{"device_offline", ""},
                  {"try_offline_memory_block", ""},
                  {"walk_memory_blocks", ""},
                  {"offline_and_remove_memory", ""},
                  {"virtio_mem_bbm_offline_and_remove_bb", "virtio_mem"}}),
            "virtio_mem");
  EXPECT_EQ(Road({{"device_online", ""},
                  {"walk_memory_blocks", ""},
                  {"add_memory_resource", ""},
                  {"dev_dax_kmem_probe", "kmem"}}),
            "dax_kmem");
  EXPECT_EQ(Road({{"device_online", ""}, {"hv_mem_hot_add", "hv_balloon"}}),
            "hv_balloon");
}

TEST(HotplugRoad, IsUnknownWhereNothingTells) {
  EXPECT_EQ(Road({{"device_offline", ""}, {"worker_thread", ""}}), "unknown");
  EXPECT_EQ(FindRoad({}), "unknown");
}

}  // namespace
}  // namespace pinwatch
