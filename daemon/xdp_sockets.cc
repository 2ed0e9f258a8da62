// SPDX-License-Identifier: Apache-2.0
#include "daemon/xdp_sockets.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/xdp_diag.h>
#include <sys/socket.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace pinwatch {
namespace {

struct Request {
  nlmsghdr header;
  xdp_diag_req body;
};

// Reads a T at the start of `bytes`; false where there is less.
template <typename T>
bool Take(absl::string_view bytes, T& to) {
  if (bytes.size() < sizeof(T)) return false;
  std::memcpy(&to, bytes.data(), sizeof(T));
  return true;
}

// What follows a message or attribute of `length` bytes.
absl::string_view After(absl::string_view bytes, size_t length) {
  const size_t aligned = NLMSG_ALIGN(length);
  return aligned < bytes.size() ? bytes.substr(aligned) : absl::string_view();
}

absl::Status Malformed() {
  return absl::DataLossError("sock_diag answers in a form that is not known");
}

absl::Status ParseSocket(absl::string_view body, XdpUmems& to) {
  xdp_diag_msg socket;
  if (!Take(body, socket)) return Malformed();
  std::optional<XdpUmem>& umem = to[socket.xdiag_ino];
  for (body = After(body, sizeof(socket)); !body.empty();) {
    nlattr attribute;
    if (!Take(body, attribute) || attribute.nla_len < sizeof(attribute) ||
        attribute.nla_len > body.size())
      return Malformed();
    xdp_diag_umem found;
    if (attribute.nla_type == XDP_DIAG_UMEM) {
      if (!Take(body.substr(sizeof(attribute),
                            attribute.nla_len - sizeof(attribute)),
                found))
        return Malformed();
      umem = {.id = found.id, .pages = found.num_pages};
    }
    body = After(body, attribute.nla_len);
  }
  return absl::OkStatus();
}

}  // namespace

bool IsXdpSocket(const std::string& path) {
  std::array<char, 16> name{};
  // The name of its protocol, which sockets have for an attribute.
  const ssize_t size = getxattr(path.c_str(), "system.sockprotoname",
                                name.data(), name.size() - 1);
  return size > 0 && std::strcmp(name.data(), "XDP") == 0;
}

absl::StatusOr<bool> ParseXdpDiag(absl::string_view datagram, XdpUmems& to) {
  while (!datagram.empty()) {
    nlmsghdr header;
    if (!Take(datagram, header) || header.nlmsg_len < sizeof(header) ||
        header.nlmsg_len > datagram.size())
      return Malformed();
    const absl::string_view body =
        datagram.substr(NLMSG_HDRLEN, header.nlmsg_len - NLMSG_HDRLEN);
    if (header.nlmsg_type == NLMSG_DONE) return true;
    if (header.nlmsg_type == NLMSG_ERROR) {
      nlmsgerr error;
      if (!Take(body, error)) return Malformed();
      return absl::ErrnoToStatus(-error.error, "ask for AF_XDP sockets");
    }
    if (header.nlmsg_type == SOCK_DIAG_BY_FAMILY)
      if (absl::Status status = ParseSocket(body, to); !status.ok())
        return status;
    datagram = After(datagram, header.nlmsg_len);
  }
  return false;
}

absl::StatusOr<XdpUmems> ReadXdpUmems() {
  const int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
  if (fd < 0) return absl::ErrnoToStatus(errno, "open sock_diag");
  const absl::Cleanup closer = [fd] { close(fd); };
  const Request request = {.header = {.nlmsg_len = sizeof(Request),
                                      .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                                      .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
                                      .nlmsg_seq = 0,
                                      .nlmsg_pid = 0},
                           .body = {.sdiag_family = AF_XDP,
                                    .sdiag_protocol = 0,
                                    .pad = 0,
                                    .xdiag_ino = 0,
                                    .xdiag_show = XDP_SHOW_INFO | XDP_SHOW_UMEM,
                                    .xdiag_cookie = {}}};
  if (send(fd, &request, sizeof(request), 0) < 0)
    return absl::ErrnoToStatus(errno, "ask for AF_XDP sockets");
  XdpUmems umems;
  std::array<char, 32'768> buffer;
  for (;;) {
    const ssize_t size = recv(fd, buffer.data(), buffer.size(), 0);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return absl::ErrnoToStatus(errno, "read AF_XDP sockets");
    const absl::StatusOr<bool> done =
        ParseXdpDiag({buffer.data(), static_cast<size_t>(size)}, umems);
    if (!done.ok()) return done.status();
    if (*done) return umems;
  }
}

std::optional<uint64_t> SocketInode(absl::string_view target) {
  uint64_t inode = 0;
  if (!absl::ConsumePrefix(&target, "socket:[") ||
      !absl::ConsumeSuffix(&target, "]") || !absl::SimpleAtoi(target, &inode))
    return std::nullopt;
  return inode;
}

std::vector<Pinner> XdpPinners(const std::vector<uint64_t>& sockets,
                               const XdpUmems& umems) {
  std::map<uint32_t, uint64_t> pages_by_id;
  bool untold = false;
  for (const uint64_t inode : sockets) {
    const auto known = umems.find(inode);
    if (known == umems.end())
      untold = true;
    else if (known->second)
      pages_by_id[known->second->id] = known->second->pages;
  }
  std::vector<Pinner> pinners;
  for (const auto& [id, pages] : pages_by_id)
    pinners.push_back(
        {.what = absl::StrCat("AF_XDP socket with a umem of ", pages,
                              pages == 1 ? " page" : " pages"),
         .pages = pages});
  if (untold) pinners.push_back({.what = "AF_XDP socket"});
  return pinners;
}

}  // namespace pinwatch
