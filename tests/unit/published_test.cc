// SPDX-License-Identifier: Apache-2.0
#include "daemon/published.h"

#include <gtest/gtest.h>

#include <memory>
#include <stop_token>
#include <thread>

namespace pinwatch {
namespace {

TEST(Published, AReaderWaitsForAnotherValueThanTheOneItHas) {
  Published<int> published;
  std::jthread writer([&] {
    for (int i = 1; i <= 23; ++i) {
      published.Set(std::make_shared<const int>(i));
      std::this_thread::yield();
    }
  });
  std::shared_ptr<const int> seen;
  while (!seen || *seen < 23) {
    const auto next = published.WaitForOther(seen, std::stop_token());
    ASSERT_NE(next, nullptr);
    EXPECT_GT(*next, seen ? *seen : 0);
    seen = next;
  }
}

TEST(Published, AReaderThatIsStoppedGetsNothing) {
  Published<int> published;
  std::stop_source stop;
  std::jthread stopper([&] { stop.request_stop(); });
  EXPECT_EQ(published.WaitForOther(nullptr, stop.get_token()), nullptr);
  published.Set(std::make_shared<const int>(1));
  EXPECT_EQ(published.WaitForOther(nullptr, stop.get_token()), nullptr);
}

}  // namespace
}  // namespace pinwatch
