// SPDX-License-Identifier: Apache-2.0
//
// Long-term pins: a memory region of an RDMA device.

#include <fcntl.h>
#include <rdma/ib_user_verbs.h>
#include <unistd.h>

#include "workload.h"

using namespace workload;

namespace {

constexpr unsigned kLocalWrite = 1;  // IB_ACCESS_LOCAL_WRITE

// A command of the verbs, as libibverbs would write it to the device: that
// library would need a provider for each kind of device in the guest.
template <typename Body>
struct Command {
  ib_uverbs_cmd_hdr header;
  Body body;
};

template <typename Body>
void Write(int device, unsigned number, const std::string& name, Body body,
           size_t response_size) {
  const Command<Body> command{
      {number, sizeof(Command<Body>) / 4,
       static_cast<__u16>(response_size / sizeof(__u32))},
      body};
  if (write(device, &command, sizeof(command)) != sizeof(command))
    Fail(name, "ask for fewer pages; does the device have a network?");
}

// Body begins with where the answer goes.
template <typename Response, typename Body>
Response Call(int device, unsigned number, const std::string& name, Body body) {
  Response response{};
  body.response = reinterpret_cast<uintptr_t>(&response);
  Write(device, number, name, body, sizeof(response));
  return response;
}

}  // namespace

int main(int argc, char** argv) {
  size_t nr_pages = 0;
  std::string path = "/dev/infiniband/uverbs0";
  CLI::App app(
      "Pins memory long-term by registering it as a memory region of an RDMA "
      "device. `rdma link add rxe0 type rxe netdev lo` makes one without "
      "hardware.");
  app.add_option("--pages", nr_pages, "4 KiB pages")
      ->required()
      ->check(CLI::Range(1, 1 << 18));
  app.add_option("--device", path, "The device (default: the first)");
  ParseOrExit(app, argc, argv);

  char* data = MapAnonymous(nr_pages);
  Touch(data, nr_pages);
  DrainLruBatches();
  const std::vector<uint64_t> before = ReadPfns(data, nr_pages);
  const int device = open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (device < 0)
    Fail("open " + path,
         "needs an RDMA device and the module ib_uverbs; see --help");
  Call<ib_uverbs_get_context_resp>(device, IB_USER_VERBS_CMD_GET_CONTEXT,
                                   "get a context", ib_uverbs_get_context{});
  const auto domain =
      Call<ib_uverbs_alloc_pd_resp>(device, IB_USER_VERBS_CMD_ALLOC_PD,
                                    "allocate a domain", ib_uverbs_alloc_pd{});
  ib_uverbs_reg_mr wanted{};
  wanted.start = reinterpret_cast<uintptr_t>(data);
  wanted.length = nr_pages * kPageSize;
  wanted.hca_va = wanted.start;
  wanted.pd_handle = domain.pd_handle;
  wanted.access_flags = kLocalWrite;
  const auto region = Call<ib_uverbs_reg_mr_resp>(
      device, IB_USER_VERBS_CMD_REG_MR, "register a region", wanted);
  const std::vector<uint64_t> pinned = ReadPfns(data, nr_pages);
  ReportAndHold({{"workload", "pin-rdma"},
                 {"pages", nr_pages},
                 {"moved_pages", CountDifferences(before, pinned)},
                 {"pfns", pinned}});

  const size_t moved = CountDifferences(pinned, ReadPfns(data, nr_pages));
  Write(device, IB_USER_VERBS_CMD_DEREG_MR, "deregister the region",
        ib_uverbs_dereg_mr{region.mr_handle}, 0);
  Report({{"workload", "pin-rdma"},
          {"released", true},
          {"moved_while_held", moved}});
}
