// SPDX-License-Identifier: Apache-2.0
//
// Long-term pins of a memfd through a DMA buffer made of it.

#include <fcntl.h>
#include <linux/udmabuf.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "workload.h"

using namespace workload;

int main(int argc, char** argv) {
  size_t nr_pages = 0;
  bool linger = false;
  CLI::App app(
      "Pins the pages of a memfd long-term by making a udmabuf of it. Reports "
      "fd, the memfd. Linux v6.11 and later pin for that, older ones count "
      "references.");
  app.add_option("--pages", nr_pages, "4 KiB pages")
      ->required()
      ->check(CLI::Range(1, 1 << 14));
  app.add_flag("--linger", linger,
               "Live on when the pins are released, until told again");
  ParseOrExit(app, argc, argv);

  const int fd = CreateMemfd(nr_pages);
  if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) != 0)
    Fail("fcntl(F_ADD_SEALS)", "report this");
  char* data = MapShared(fd, nr_pages);
  Touch(data, nr_pages);
  DrainLruBatches();
  const std::vector<uint64_t> before = ReadPfns(data, nr_pages);
  const int device = open("/dev/udmabuf", O_RDWR | O_CLOEXEC);
  if (device < 0) Fail("open /dev/udmabuf", "needs CONFIG_UDMABUF");
  udmabuf_create create{.memfd = static_cast<__u32>(fd),
                        .flags = UDMABUF_FLAGS_CLOEXEC,
                        .offset = 0,
                        .size = nr_pages * kPageSize};
  const int buffer = ioctl(device, UDMABUF_CREATE, &create);
  if (buffer < 0) Fail("UDMABUF_CREATE", "ask for fewer pages");
  const std::vector<uint64_t> pinned = ReadPfns(data, nr_pages);
  ReportAndHold({{"workload", "pin-udmabuf"},
                 {"fd", fd},
                 {"pages", nr_pages},
                 {"moved_pages", CountDifferences(before, pinned)},
                 {"pfns", pinned}});

  const size_t moved = CountDifferences(pinned, ReadPfns(data, nr_pages));
  close(buffer);
  const Json last{{"workload", "pin-udmabuf"},
                  {"released", true},
                  {"moved_while_held", moved}};
  if (linger)
    ReportAndHold(last);
  else
    Report(last);
}
