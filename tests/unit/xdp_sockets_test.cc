// SPDX-License-Identifier: Apache-2.0
#include "daemon/xdp_sockets.h"

#include <gtest/gtest.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/xdp_diag.h>

#include <cerrno>

namespace pinwatch {
namespace {

template <typename T>
std::string Bytes(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}

std::string Message(uint16_t type, const std::string& body) {
  const nlmsghdr header{
      .nlmsg_len = static_cast<uint32_t>(NLMSG_HDRLEN + body.size()),
      .nlmsg_type = type,
      .nlmsg_flags = NLM_F_MULTI,
      .nlmsg_seq = 0,
      .nlmsg_pid = 0};
  return Bytes(header) + body;
}

std::string Attribute(uint16_t type, const std::string& body) {
  const nlattr header{
      .nla_len = static_cast<uint16_t>(sizeof(nlattr) + body.size()),
      .nla_type = type};
  std::string bytes = Bytes(header) + body;
  bytes.resize(NLA_ALIGN(bytes.size()));
  return bytes;
}

std::string Socket(uint32_t inode, const std::string& attributes) {
  xdp_diag_msg socket{};
  socket.xdiag_ino = inode;
  return Message(SOCK_DIAG_BY_FAMILY, Bytes(socket) + attributes);
}

std::string Umem(uint32_t id, uint32_t pages) {
  xdp_diag_umem umem{};
  umem.id = id;
  umem.num_pages = pages;
  return Attribute(XDP_DIAG_UMEM, Bytes(umem));
}

TEST(XdpSockets, AreToldWithTheirUmems) {
  XdpUmems umems;
  auto done = ParseXdpDiag(
      Socket(7, Attribute(XDP_DIAG_INFO, "12345678") + Umem(3, 1023)) +
          Socket(11, ""),
      umems);
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_FALSE(*done);
  done = ParseXdpDiag(Message(NLMSG_DONE, std::string(4, '\0')), umems);
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_TRUE(*done);
  EXPECT_EQ(umems, (XdpUmems{{7, XdpUmem{.id = 3, .pages = 1023}},
                             {11, std::nullopt}}));
}

TEST(XdpSockets, AreNotToldByAKernelThatDoesNotKnowHow) {
  XdpUmems umems;
  nlmsgerr error{};
  error.error = -ENOENT;
  EXPECT_EQ(
      ParseXdpDiag(Message(NLMSG_ERROR, Bytes(error)), umems).status().code(),
      absl::StatusCode::kNotFound);
}

TEST(XdpSockets, AreNotReadFromAMalformedAnswer) {
  const std::string good = Socket(7, Umem(3, 1023));
  for (size_t size = 1; size < good.size(); ++size) {
    XdpUmems umems;
    EXPECT_FALSE(ParseXdpDiag(good.substr(0, size), umems).ok()) << size;
  }
  std::string endless = good;
  endless[NLMSG_HDRLEN + sizeof(xdp_diag_msg)] = 0;  // length of an attribute
  endless[NLMSG_HDRLEN + sizeof(xdp_diag_msg) + 1] = 0;
  XdpUmems umems;
  EXPECT_FALSE(ParseXdpDiag(endless, umems).ok());
}

TEST(XdpSockets, AreKnownByTheTargetsOfTheirLinks) {
  EXPECT_EQ(SocketInode("socket:[4711]"), 4711u);
  EXPECT_EQ(SocketInode("socket:[]"), std::nullopt);
  EXPECT_EQ(SocketInode("socket:[-1]"), std::nullopt);
  EXPECT_EQ(SocketInode("pipe:[4711]"), std::nullopt);
  EXPECT_FALSE(IsXdpSocket("/dev/null"));
}

std::vector<std::pair<std::string, uint64_t>> Pinned(
    const std::vector<uint64_t>& sockets, const XdpUmems& umems) {
  std::vector<std::pair<std::string, uint64_t>> result;
  for (const Pinner& pinner : XdpPinners(sockets, umems)) {
    EXPECT_FALSE(pinner.accounted);
    result.emplace_back(pinner.what, pinner.pages);
  }
  return result;
}

TEST(XdpSockets, PinTheirUmemsAndEachUmemOnce) {
  const XdpUmems umems = {{7, XdpUmem{.id = 3, .pages = 1023}},
                          {8, XdpUmem{.id = 3, .pages = 1023}},
                          {11, std::nullopt}};
  using Result = std::vector<std::pair<std::string, uint64_t>>;
  EXPECT_EQ(Pinned({7, 8}, umems),
            (Result{{"AF_XDP socket with a umem of 1023 pages", 1023}}));
  EXPECT_EQ(Pinned({11}, umems), Result{}) << "it has none yet";
  EXPECT_EQ(Pinned({13}, umems), (Result{{"AF_XDP socket", 0}}))
      << "of another network namespace";
}

}  // namespace
}  // namespace pinwatch
