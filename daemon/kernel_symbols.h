// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_KERNEL_SYMBOLS_H_
#define PINWATCH_DAEMON_KERNEL_SYMBOLS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "daemon/held_file.h"

namespace pinwatch {

// The names of the kernel's functions, from /proc/kallsyms. They are read when
// first asked for (about 50 ms and 5 MB), again when modules came or went, and
// given back by FreeIfIdle. For one thread.
class KernelSymbols {
 public:
  struct Symbol {
    // Of the function; the address in hex where no function has it, and
    // "[ksym hidden]" where the kernel shows no addresses.
    std::string name;
    std::string module;   // empty: the kernel itself
    uint64_t offset = 0;  // bytes from the start of the function
    bool known = false;
  };

  struct Range {
    uint64_t start = 0;
    uint64_t end = 0;  // the first address that is not part of it
  };

  // `root` is the directory that /proc is in: "" on a live host.
  // Addresses are shown by the rights of now, whatever is given up later.
  explicit KernelSymbols(const std::string& root = "");

  // `now_ns` is CLOCK_MONOTONIC. Of several names for one address it is the
  // first in /proc/kallsyms, as in the kernel's own messages.
  Symbol Resolve(uint64_t address, int64_t now_ns);

  // Where the function is. NotFound if there is none, FailedPrecondition if
  // several bear the name, otherwise as status().
  absl::StatusOr<Range> Find(absl::string_view name, int64_t now_ns);

  // Gives the memory back when nothing was asked for a minute.
  void FreeIfIdle(int64_t now_ns);

  // Why nothing is known. FailedPrecondition: the addresses are hidden.
  // DataLoss: a line of /proc/kallsyms is not understood.
  const absl::Status& status() const { return status_; }

 private:
  struct Entry {
    uint64_t address;
    uint32_t name;    // offset in names_, or kNoFunction: data begins here
    uint32_t module;  // index in modules_
  };
  struct Module {
    std::string name;
    uint64_t end;  // no function of it reaches further
  };

  // Loads what is not, or is of other modules than there are now; these are
  // looked at again if that was so long ago.
  void LoadIfDue(int64_t min_age_ns, int64_t now_ns);
  void Load(int64_t now_ns);
  absl::Status Parse();
  void AddEntry(uint64_t address, bool is_function, absl::string_view name,
                absl::string_view module);
  void Sort();
  void ReadModuleEnds(absl::string_view proc_modules);
  const Entry* FunctionAt(uint64_t address) const;
  // Whether modules that come and go may change what is there.
  bool IsOfModule(const Entry& entry) const;
  uint64_t EndOf(const Entry& entry) const;
  void Clear();

  std::string ReadModules();

  HeldFile kallsyms_;
  HeldFile modules_file_;
  absl::Status status_;
  std::string loaded_modules_;  // /proc/modules, without what counts users
  std::vector<Entry> entries_;  // by address
  std::string names_;           // each ends in NUL
  std::vector<Module> modules_;
  bool is_loaded_ = false;
  int64_t checked_ns_ = 0;
  int64_t loaded_ns_ = 0;
  int64_t used_ns_ = 0;
};

// "io_pin_pages+0x5c", "vaddr_get_pfns+0x7a [vfio_iommu_type1]", or the name
// of what is not known.
std::string ToText(const KernelSymbols::Symbol& symbol);

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_KERNEL_SYMBOLS_H_
