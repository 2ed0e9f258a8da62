// SPDX-License-Identifier: Apache-2.0
//
// pinwatch offline: does it, and says why where it cannot be done.
#include <csignal>

#include "tests/vm/guest.h"

namespace pinwatch::guest {
namespace {

using OfflineCommand = GuestTest;

std::string StateOf(uint64_t block) {
  return ReadFile("/sys/devices/system/memory/memory" + std::to_string(block) +
                  "/state");
}

bool Has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::vector<std::string> Command(uint64_t block) {
  return {"pinwatch",
          "--timeout",
          "30",
          "offline",
          "memory" + std::to_string(block),
          "--explain"};
}

TEST_F(OfflineCommand, ABlockThatNothingKeepsGoes) {
  for (const Block& block : ReadBlocks()) {
    if (block.state != "online" || block.zone != "Movable") continue;
    Process offline(Command(block.id));
    const std::string text = offline.ReadAll(kOfflineTimeout);
    const std::optional<int> code = offline.Wait(kOfflineTimeout);
    // Some have a part of the kernel's image in them.
    if (code == 3) continue;
    EXPECT_EQ(code, 0) << text << offline.Errors();
    EXPECT_TRUE(Has(text, " is offline, after ")) << text;
    EXPECT_TRUE(Has(text, " pages moved out")) << text;
    EXPECT_TRUE(StateOf(block.id).starts_with("offline"));
    EXPECT_EQ(Ask(Command(block.id)),
              "memory" + std::to_string(block.id) + " is offline already\n");
    Process online({"memory-block", "online", std::to_string(block.id),
                    "--type", "online_movable"});
    EXPECT_EQ(online.Wait(kOfflineTimeout), 0);
    return;
  }
  FAIL() << "no block would go";
}

TEST_F(OfflineCommand, ABlockOfTheKernelIsRefusedWithTheReason) {
  Process offline(Command(0));
  const std::string text = offline.ReadAll(kOfflineTimeout);
  EXPECT_EQ(offline.Wait(kOfflineTimeout), 3) << text << offline.Errors();
  EXPECT_TRUE(text.starts_with("memory0 did not go offline: E")) << text;
  EXPECT_TRUE(Has(text, "An offline now would fail: kernel memory")) << text;
  EXPECT_TRUE(Has(text, "WHAT WOULD SET IT FREE")) << text;
  EXPECT_TRUE(StateOf(0).starts_with("online"));
}

TEST_F(OfflineCommand, OnCtrlCTheHolderOfThePageInTheWayIsNamed) {
  std::vector<std::unique_ptr<Workload>> ballast;
  for (int i = 0; i < 7; ++i) {
    auto holder = std::make_unique<Workload>(std::vector<std::string>{
        "hold-vmsplice", "--pages", "1", "--references", "1"});
    const uint64_t block = holder->pfns()[0] / BlockPages();
    const std::string name =
        "hold-vmsplice(" + std::to_string(holder->pid()) + ")";
    Process offline(Command(block));
    std::string text;
    // It tells after a second, then less and less often, and ends where the
    // kernel refuses.
    while (!Has(text, name) && text.size() < 9999) {
      const std::optional<std::string> line = offline.NextLine(kOfflineTimeout);
      if (!line) break;
      text += *line + "\n";
    }
    if (!Has(text, "in a pipe of " + name)) {
      ASSERT_EQ(offline.Wait(kOfflineTimeout), 3) << text << offline.Errors();
      ballast.push_back(std::move(holder));
      ballast.push_back(std::make_unique<Workload>(std::vector<std::string>{
          "lock-memory", "--pages", std::to_string(BlockPages() / 2 + 1)}));
      continue;
    }
    EXPECT_TRUE(Has(text, " moves failed")) << text;
    offline.Signal(SIGINT);
    text = offline.ReadAll(kOfflineTimeout);
    EXPECT_EQ(offline.Wait(kOfflineTimeout), 128 + SIGINT) << offline.Errors();
    EXPECT_TRUE(Has(text, "did not go offline: EINTR after ")) << text;
    EXPECT_TRUE(Has(text, "in a pipe of " + name)) << text;
    EXPECT_TRUE(Has(text, "WHO HOLDS IT\n" + name + ": 1 of the first "))
        << text;
    EXPECT_TRUE(Has(text, "whoever reads the pipe empty")) << text;
    EXPECT_TRUE(StateOf(block).starts_with("online"));
    return;
  }
  FAIL() << "no block with a held page let itself be tried";
}

TEST_F(OfflineCommand, AnAskerWhoHadToWaitForAnotherIsPointedOut) {
  std::vector<std::unique_ptr<Workload>> ballast;
  for (int i = 0; i < 7; ++i) {
    auto holder = std::make_unique<Workload>(std::vector<std::string>{
        "hold-vmsplice", "--pages", "1", "--references", "1"});
    const uint64_t block = holder->pfns()[0] / BlockPages();
    const std::vector<std::string> argv = {"memory-block", "offline",
                                           std::to_string(block)};
    Process first(argv);
    if (first.Wait(seconds(3))) {
      ballast.push_back(std::move(holder));
      ballast.push_back(std::make_unique<Workload>(std::vector<std::string>{
          "lock-memory", "--pages", std::to_string(BlockPages() / 2 + 1)}));
      continue;
    }
    Process second(argv);
    EXPECT_FALSE(second.Wait(seconds(2)));
    first.Signal(SIGTERM);
    EXPECT_EQ(first.Wait(kOfflineTimeout), 1);
    EXPECT_TRUE(Eventually(kOfflineTimeout, [&] {
      const Json attempts = ListAttempts().at("attempts");
      const Json& late = attempts.at(0);
      const Json& early = attempts.at(1);
      return late.at("block") == block && late.at("running") == true &&
             early.at("block") == block && early.at("outcome") == "EINTR" &&
             Has(Ask({"pinwatch", "attempts"}),
                 "right after another asker, memory-block(" +
                     std::to_string(early.at("pid").get<int>()) + ")");
    })) << Ask({"pinwatch", "attempts"});
    second.Signal(SIGTERM);
    EXPECT_EQ(second.Wait(kOfflineTimeout), 1);
    return;
  }
  FAIL() << "no block with a held page let itself be tried";
}

TEST_F(OfflineCommand, OnlyRootMay) {
  for (const Block& block : ReadBlocks()) {
    if (block.state != "online" || block.zone != "Movable") continue;
    Process offline({"pinwatch", "offline", std::to_string(block.id)},
                    {.uid = 65534});
    EXPECT_EQ(offline.Wait(kOfflineTimeout), 77) << offline.Errors();
    EXPECT_TRUE(StateOf(block.id).starts_with("online"));
    return;
  }
}

}  // namespace
}  // namespace pinwatch::guest
