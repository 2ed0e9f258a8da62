// SPDX-License-Identifier: Apache-2.0
//
// References of the network stack: a page that a CPU cuts buffers from.

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_ether.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstring>

#include "workload.h"

using namespace workload;

namespace {

// Of the order that page_frag_cache takes.
constexpr size_t kPagesPerCache = 8;

// A tap whose packets are put together from parts, as a network card's are.
int OpenTap(ifreq& request) {
  const int tap = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
  if (tap < 0) Fail("open /dev/net/tun", "modprobe tun");
  request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_NAPI | IFF_NAPI_FRAGS;
  if (ioctl(tap, TUNSETIFF, &request) != 0)
    Fail("ioctl(TUNSETIFF)", "needs CAP_NET_ADMIN");
  const int any = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (any < 0) Fail("socket", "report this");
  request.ifr_flags = IFF_UP;
  if (ioctl(any, SIOCSIFFLAGS, &request) != 0)
    Fail("ioctl(SIOCSIFFLAGS)", "needs CAP_NET_ADMIN");
  close(any);
  return tap;
}

}  // namespace

int main(int argc, char** argv) {
  int cpu = 0;
  CLI::App app(
      "Receives a packet on one CPU. The buffer for it is cut from a page of "
      "order 3, to which the CPU has taken 32,768 references beforehand, and "
      "which it keeps when the packet is gone.");
  app.add_option("--cpu", cpu, "Which")->required();
  ParseOrExit(app, argc, argv);

  StayOnCpu(cpu);
  ifreq request{};
  const int tap = OpenTap(request);
  ethhdr header{};
  std::memset(header.h_dest, 0xff, sizeof(header.h_dest));
  header.h_proto = __builtin_bswap16(ETH_P_802_EX1);  // nobody wants it
  std::array<char, 1024> payload{};
  const iovec packet[] = {{&header, sizeof(header)},
                          {payload.data(), payload.size()}};
  if (writev(tap, packet, 2) != sizeof(header) + payload.size())
    Fail("write to the tap", "report this");
  ReportAndHold({{"workload", "bias-pages"},
                 {"cpu", cpu},
                 {"pages", kPagesPerCache},
                 {"pfns", Json::array()}});
  close(tap);
  Report({{"workload", "bias-pages"}, {"released", true}});
}
