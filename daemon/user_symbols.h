// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_USER_SYMBOLS_H_
#define PINWATCH_DAEMON_USER_SYMBOLS_H_

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace pinwatch {

// A place in a process's code. Names are hostile text of bounded length: the
// process chose the files they come from.
struct UserSymbol {
  std::string function;  // demangled; the address in hex where none is known
  std::string module;    // file name without its directories; empty: not known
  uint64_t offset = 0;   // bytes from the start of the function
  bool known = false;
};

// Names the functions of processes, by BCC: from the ELF files mapped, seen
// from the process's own mount namespace, and from /tmp/perf-PID.map of those
// that make code. For one thread.
//
// The process can hand in what never ends or what breaks a parser: a pipe for
// a file, a broken ELF. So a child reads it, which is given some time and 1 GiB
// and then killed; what it had not named by then is not known. Nothing is kept
// between two calls.
class UserSymbols {
 public:
  explicit UserSymbols(int timeout_ms = 1000) : timeout_ms_(timeout_ms) {}

  // One symbol for each address; of a process that is gone none is known.
  // Whether `pid` is still the process meant is for the caller to check, after
  // this call.
  std::vector<UserSymbol> Resolve(pid_t pid,
                                  const std::vector<uint64_t>& addresses);

 private:
  bool ReapChildren();

  const int timeout_ms_;
  std::vector<pid_t> killed_;  // but not yet gone
};

// "ibv_reg_mr+0x41 [libibverbs.so.1]", "0x7f12 [libc.so.6]" or "0x7f12".
std::string ToText(const UserSymbol& symbol);

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_USER_SYMBOLS_H_
