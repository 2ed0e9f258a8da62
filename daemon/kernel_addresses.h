// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_KERNEL_ADDRESSES_H_
#define PINWATCH_DAEMON_KERNEL_ADDRESSES_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace pinwatch {

// Where the kernel has what the programs read by name. They are told, since
// libbpf would read /proc/kallsyms anew for each object that asks for a symbol,
// and that takes longer than the verifier does with all of them.
class KernelAddresses {
 public:
  // Reads the file once; what of it cannot be read is not known.
  static KernelAddresses Read(const std::string& kallsyms_path);

  // Ok when each is known. FailedPrecondition says whether one is hidden or not
  // there, and what to do.
  absl::Status Require(const std::vector<std::string>& symbols) const;

  // Of one that Read() looks for; 0 if it is hidden or not there.
  uint64_t At(absl::string_view symbol) const;

 private:
  // 0: hidden.
  std::map<std::string, uint64_t, std::less<>> found_;
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_KERNEL_ADDRESSES_H_
