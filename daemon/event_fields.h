// SPDX-License-Identifier: Apache-2.0
//
// Fields of what the BPF programs tell, see bpf/events.h.
#ifndef PINWATCH_DAEMON_EVENT_FIELDS_H_
#define PINWATCH_DAEMON_EVENT_FIELDS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <string>
#include <vector>

namespace pinwatch {

// A task's name, which need not end in NUL. Hostile text.
inline std::string Comm(const char (&comm)[16]) {
  return {comm, strnlen(comm, sizeof(comm))};
}

// The addresses of a stack before the 0 that ends it, innermost first.
template <size_t N>
std::vector<uint64_t> Stack(const unsigned long long (&addresses)[N]) {
  return {std::begin(addresses),
          std::find(std::begin(addresses), std::end(addresses), 0ull)};
}

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_EVENT_FIELDS_H_
