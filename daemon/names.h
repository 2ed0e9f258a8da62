// SPDX-License-Identifier: Apache-2.0
//
// Words for enumerators, the same in metrics and over gRPC.
#ifndef PINWATCH_DAEMON_NAMES_H_
#define PINWATCH_DAEMON_NAMES_H_

#include <array>
#include <cerrno>
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
    {"held", "shared", "one_of", "probable", "inferred", "unattributed"};
static_assert(!kCertaintyNames.back().empty(), "a certainty has no name");

inline constexpr std::array<std::string_view, kNrVerdicts> kVerdictNames = {
    "unknown",
    "removable",
    "removable_after_migration",
    "blocked_by_long_term_pins",
    "blocked_by_short_term_pins",
    "blocked_by_plain_references",
    "blocked_by_kernel_memory",
    "already_offline"};
static_assert(!kVerdictNames.back().empty(), "a verdict has no name");

// Subsystems that are known by name, and the kind of pin that they take. What
// else takes pins is named after its module.
struct SubsystemName {
  std::string_view name;
  bool long_term;
};
inline constexpr SubsystemName kSubsystems[] = {
    {"af_xdp", true},  {"direct_io", false},  {"io_uring", true},
    {"iommufd", true}, {"process_vm", false}, {"rdma", true},
    {"ublk", true},    {"udmabuf", true},     {"user_events", true},
    {"vfio", true},    {"vhost", false},
};

// Errors of the pin functions that are known by name.
struct NamedError {
  int error;
  std::string_view name;
};
inline constexpr NamedError kPinErrors[] = {
    {EAGAIN, "EAGAIN"},       {EEXIST, "EEXIST"},         {EFAULT, "EFAULT"},
    {EHWPOISON, "EHWPOISON"}, {EINTR, "EINTR"},           {EINVAL, "EINVAL"},
    {ENOMEM, "ENOMEM"},       {EOPNOTSUPP, "EOPNOTSUPP"},
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_NAMES_H_
