// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_SUBSYSTEM_H_
#define PINWATCH_DAEMON_SUBSYSTEM_H_

#include <string>
#include <vector>

#include "daemon/kernel_symbols.h"

namespace pinwatch {

// Who in the kernel asked for pages.
struct CallSite {
  std::string function;  // without the compiler's suffix; empty if not known
  std::string module;    // of the function; empty: the kernel itself
  // "io_uring", "vfio", ...; the name of the innermost module where no rule
  // knows better, "unknown" where there is none.
  std::string subsystem;
};

// `stack` is innermost first. The call site is the first function that is
// neither of the tracing that took the stack nor of get_user_pages and its
// like; the subsystem is told by it or else by its nearest caller that tells.
CallSite FindCallSite(const std::vector<KernelSymbols::Symbol>& stack);

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_SUBSYSTEM_H_
