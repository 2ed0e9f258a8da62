// SPDX-License-Identifier: Apache-2.0
//
// AF_XDP sockets. The memory that one is given for its packets, its umem, is
// pinned for as long as the socket lives, and is accounted to nobody who may
// lock memory.
#ifndef PINWATCH_DAEMON_XDP_SOCKETS_H_
#define PINWATCH_DAEMON_XDP_SOCKETS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "daemon/inference.h"

namespace pinwatch {

struct XdpUmem {
  uint32_t id = 0;  // sockets may share one
  uint64_t pages = 0;

  bool operator==(const XdpUmem&) const = default;
};

// By the socket's inode number; nothing for one that has none yet.
using XdpUmems = std::map<uint64_t, std::optional<XdpUmem>>;

// Whether the open file is an AF_XDP socket, of whichever network namespace:
// by its path in /proc/PID/fd.
bool IsXdpSocket(const std::string& path);

// The sockets of this process's network namespace. NotFound where the kernel
// does not tell them (CONFIG_XDP_SOCKETS_DIAG).
absl::StatusOr<XdpUmems> ReadXdpUmems();

// Adds what one datagram of the kernel's answer tells. True: it was the last.
absl::StatusOr<bool> ParseXdpDiag(absl::string_view datagram, XdpUmems& to);

// The number in the target of a socket's link; nothing for other files.
std::optional<uint64_t> SocketInode(absl::string_view target);

// What a process pins that has these AF_XDP sockets open, by their inode
// numbers. Of a socket that is not among the umems, such as one of another
// network namespace, it is not known how much that is.
std::vector<Pinner> XdpPinners(const std::vector<uint64_t>& sockets,
                               const XdpUmems& umems);

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_XDP_SOCKETS_H_
