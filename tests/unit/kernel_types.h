// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_TESTS_UNIT_KERNEL_TYPES_H_
#define PINWATCH_TESTS_UNIT_KERNEL_TYPES_H_

#include <bpf/btf.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace pinwatch {

// The types a kernel would tell, as few as the layout is read from.
class Types {
 public:
  Types() : btf_(btf__new_empty()) {
    int_ = btf__add_int(btf_.get(), "int", 4, BTF_INT_SIGNED);
  }

  void AddPage(int bytes) { btf__add_struct(btf_.get(), "page", bytes); }

  void AddNodemask(int bytes) {
    const int mask = btf__add_struct(btf_.get(), nullptr, bytes);
    btf__add_typedef(btf_.get(), "nodemask_t", mask);
  }

  void AddEnum(const char* name,
               const std::vector<std::pair<std::string, int>>& values) {
    btf__add_enum(btf_.get(), name, 4);
    for (const auto& [value_name, value] : values)
      btf__add_enum_value(btf_.get(), value_name.c_str(), value);
  }

  void AddTracepoint(const char* name, int args) {
    const int proto = btf__add_func_proto(btf_.get(), 0);
    for (int i = 0; i < args + 1; ++i)
      btf__add_func_param(btf_.get(), nullptr, int_);
    btf__add_typedef(btf_.get(), name, btf__add_ptr(btf_.get(), proto));
  }

  void AddFunction(const char* name,
                   const std::vector<std::string>& parameters) {
    const int proto = btf__add_func_proto(btf_.get(), int_);
    for (const std::string& parameter : parameters)
      btf__add_func_param(btf_.get(), parameter.c_str(), int_);
    btf__add_func(btf_.get(), name, BTF_FUNC_STATIC, proto);
  }

  // All that Debian's 6.12 has of it.
  void AddAll() {
    AddPage(64);
    AddNodemask(128);
    AddEnum("zone_type", {{"ZONE_DMA", 0},
                          {"ZONE_DMA32", 1},
                          {"ZONE_NORMAL", 2},
                          {"ZONE_MOVABLE", 3},
                          {"ZONE_DEVICE", 4},
                          {"__MAX_NR_ZONES", 5}});
    AddEnum("migratetype", {{"MIGRATE_UNMOVABLE", 0},
                            {"MIGRATE_MOVABLE", 1},
                            {"MIGRATE_RECLAIMABLE", 2},
                            {"MIGRATE_PCPTYPES", 3},
                            {"MIGRATE_HIGHATOMIC", 3},
                            {"MIGRATE_ISOLATE", 4},
                            {"MIGRATE_TYPES", 5}});
    AddEnum("migrate_reason",
            {{"MR_COMPACTION", 0}, {"MR_LONGTERM_PIN", 2}, {"MR_TYPES", 3}});
    AddEnum("migrate_mode", {{"MIGRATE_ASYNC", 0}, {"MIGRATE_SYNC_LIGHT", 1}});
    AddTracepoint("btf_trace_mm_migrate_pages", 8);
  }

  const btf* get() const { return btf_.get(); }

 private:
  struct Free {
    void operator()(btf* types) const { btf__free(types); }
  };
  std::unique_ptr<btf, Free> btf_;
  int int_;
};

}  // namespace pinwatch

#endif  // PINWATCH_TESTS_UNIT_KERNEL_TYPES_H_
