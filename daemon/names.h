// SPDX-License-Identifier: Apache-2.0
//
// Words for enumerators, the same in metrics and over gRPC.
#ifndef PINWATCH_DAEMON_NAMES_H_
#define PINWATCH_DAEMON_NAMES_H_

#include <array>
#include <string_view>

#include "bpf/events.h"
#include "daemon/snapshot.h"

namespace pinwatch {

inline constexpr std::array<std::string_view, NR_PAGE_CLASSES> kPageClassNames =
    {"free",     "movable",  "pinned_large", "pinned_exact", "pinned_loose",
     "elevated", "biased",   "kernel",       "hugetlb",      "reserved",
     "offline",  "poisoned", "unstable"};
static_assert(!kPageClassNames.back().empty(), "a page class has no name");

inline constexpr std::array<std::string_view, kNrCertainties> kCertaintyNames =
    {"held", "shared", "one_of", "probable", "unattributed"};
static_assert(!kCertaintyNames.back().empty(), "a certainty has no name");

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_NAMES_H_
