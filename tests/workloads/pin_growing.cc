// SPDX-License-Identifier: Apache-2.0
//
// Pins more and more for long, as a leak does: registers buffer after buffer
// with io_uring, each a ring of its own, then holds them all.
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "workload.h"

using namespace workload;

int main(int argc, char** argv) {
  CLI::App app("Registers one io_uring buffer after another and holds them.",
               "pin-growing");
  size_t nr_pages = 0, times = 1, pause_ms = 1000;
  app.add_option("--pages", nr_pages, "Pages of each buffer")->required();
  app.add_option("--times", times, "Buffers")->capture_default_str();
  app.add_option("--pause-ms", pause_ms, "Time between two")
      ->capture_default_str();
  ParseOrExit(app, argc, argv);

  std::vector<std::unique_ptr<FixedBuffers>> rings;
  const auto grow = [&] {
    char* data = MapAnonymous(nr_pages);
    Touch(data, nr_pages);
    rings.push_back(std::make_unique<FixedBuffers>(data, nr_pages * kPageSize));
  };
  grow();
  BlockStopSignals();
  std::atomic<bool> stop = false;
  std::thread grower([&] {
    while (rings.size() < times && !stop) {
      std::this_thread::sleep_for(std::chrono::milliseconds(pause_ms));
      grow();
    }
  });
  ReportAndHold({{"workload", "pin-growing"},
                 {"pages", nr_pages},
                 {"most_pages", nr_pages * times}});
  stop = true;
  grower.join();
  for (const auto& ring : rings) ring->Unregister();
  Report({{"workload", "pin-growing"}, {"released", true}});
}
