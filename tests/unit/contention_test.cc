// SPDX-License-Identifier: Apache-2.0
#include "daemon/contention.h"

#include <gmock/gmock.h>

namespace pinwatch {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr int64_t kMs = 1'000'000;

HotplugAttempt Attempt(uint32_t id, uint64_t block, uint32_t pid,
                       int64_t begin_ms, int64_t took_ms) {
  return {.id = id,
          .block_id = block,
          .begin = {.monotonic_ns = begin_ms * kMs},
          .duration_ns = took_ms * kMs,
          .pid = pid,
          .road = "sysfs"};
}

TEST(Contention, IsOfTwoAskersForOneBlockAtOneTimeOrRightAfterEachOther) {
  std::vector<HotplugAttempt> attempts = {
      Attempt(6, 14, 77, 7'900, 1),     // another block
      Attempt(5, 9, 77, 8'399, 1'000),  // 499 ms after the end of 4
      Attempt(4, 9, 251, 3'000, 4'900),
      Attempt(3, 9, 252, 2'000, 1'500),  // still under way when 4 began
      Attempt(2, 9, 253, 500, 1'000),    // ended 500 ms before 3
      Attempt(1, 9, 253, 499, 1),        // the same asker as 2
  };
  FindContention(attempts);
  EXPECT_THAT(attempts[0].contends_with, IsEmpty());
  EXPECT_THAT(attempts[1].contends_with, ElementsAre(4));
  EXPECT_THAT(attempts[2].contends_with, ElementsAre(5, 3));
  EXPECT_THAT(attempts[3].contends_with, ElementsAre(4));
  EXPECT_THAT(attempts[4].contends_with, IsEmpty());
  EXPECT_THAT(attempts[5].contends_with, IsEmpty());
}

TEST(Contention, IsNoneBetweenWorkersOfOneDriver) {
  std::vector<HotplugAttempt> attempts = {Attempt(3, 9, 17, 20, 1),
                                          Attempt(2, 9, 18, 10, 1),
                                          Attempt(1, 9, 251, 5, 1)};
  attempts[0].road = attempts[1].road = "virtio_mem";
  FindContention(attempts);
  EXPECT_THAT(attempts[0].contends_with, ElementsAre(1));
  EXPECT_THAT(attempts[1].contends_with, ElementsAre(1));
  EXPECT_THAT(attempts[2].contends_with, ElementsAre(3, 2));
}

}  // namespace
}  // namespace pinwatch
