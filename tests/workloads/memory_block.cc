// SPDX-License-Identifier: Apache-2.0
//
// Memory hot-remove, and hot-add: offlines and onlines memory blocks.

#include <fcntl.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "workload.h"

using namespace workload;
namespace fs = std::filesystem;

namespace {

// The words of the first line; none if the file is not there.
std::vector<std::string> ReadWords(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  std::istringstream words(line);
  return {std::istream_iterator<std::string>(words), {}};
}

std::string ReadWord(const fs::path& path) {
  const std::vector<std::string> words = ReadWords(path);
  return words.empty() ? "" : words[0];
}

// For an online block the zone it is in, for an offline one those it may go to.
std::vector<std::string> ValidZones(const fs::path& block) {
  return ReadWords(block / "valid_zones");
}

Json Node(const fs::path& block) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(block, ignored)) {
    const std::string name = entry.path().filename();
    if (name.rfind("node", 0) == 0) return std::stoi(name.substr(4));
  }
  return nullptr;
}

Json List(const fs::path& root, const std::string& zone) {
  std::map<unsigned long, Json> blocks;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(root, ignored)) {
    const std::string name = entry.path().filename();
    if (name.rfind("memory", 0) != 0) continue;
    const fs::path& path = entry.path();
    const std::string state = ReadWord(path / "state");
    const std::vector<std::string> zones = ValidZones(path);
    if (!zone.empty() && (state != "online" || zones != std::vector{zone}))
      continue;
    const unsigned long number = std::stoul(name.substr(6));
    blocks[number] = {{"block", number},
                      {"state", state},
                      {"valid_zones", zones},
                      {"node", Node(path)},
                      {"removable", ReadWord(path / "removable") == "1"}};
  }
  Json list = Json::array();
  for (const auto& [number, block] : blocks) list.push_back(block);
  return {{"workload", "memory-block"},
          {"block_size_bytes",
           std::stoull("0" + ReadWord(root / "block_size_bytes"), nullptr, 16)},
          {"blocks", list}};
}

// Writes `wanted` to the block's state and says what came of it. A caught
// signal ends an attempt that does not get anywhere with EINTR.
Json SetState(const fs::path& block, const std::string& wanted) {
  const int fd = open((block / "state").c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0)
    Fail("open " + (block / "state").string(), "see memory-block list");
  const uint64_t begin_ns = MonotonicNs();
  const ssize_t written = write(fd, wanted.data(), wanted.size());
  const int error = written < 0 ? errno : 0;
  const uint64_t duration_ns = MonotonicNs() - begin_ns;
  close(fd);
  return {{"workload", "memory-block"},
          {"block", std::stoul(block.filename().string().substr(6))},
          {"wanted", wanted},
          {"result", error == 0 ? "ok" : strerrorname_np(error)},
          {"errno", error},
          {"duration_ns", duration_ns},
          {"state", ReadWord(block / "state")},
          {"valid_zones", ValidZones(block)}};
}

}  // namespace

int main(int argc, char** argv) {
  std::string sysfs = "/sys", type = "online", zone;
  unsigned long number = 0;
  bool hold = false;
  CLI::App app(
      "Takes a memory block offline or brings it online; exits 1 when the "
      "kernel refuses, with the reason on stdout.");
  app.add_option("--sysfs", sysfs, "Where sysfs is mounted");
  app.require_subcommand(1)->fallthrough();
  auto* list = app.add_subcommand("list", "List the memory blocks");
  list->add_option("--zone", zone, "Only blocks online in this zone");
  auto* offline = app.add_subcommand("offline", "Take a block offline");
  offline->add_option("block", number)->required();
  offline->add_flag("--hold", hold, "Bring it online again when told to stop");
  auto* online = app.add_subcommand("online", "Bring a block online");
  online->add_option("block", number)->required();
  online->add_option("--type", type, "How, if not as the kernel prefers")
      ->check(CLI::IsMember({"online", "online_movable", "online_kernel"}));
  ParseOrExit(app, argc, argv);

  const fs::path root = fs::path(sysfs) / "devices/system/memory";
  if (*list) {
    if (!fs::is_directory(root))
      Fail("open " + root.string(), "needs CONFIG_MEMORY_HOTPLUG", ENOENT);
    Report(List(root, zone));
    return 0;
  }
  CatchStopSignals();
  const fs::path block = root / ("memory" + std::to_string(number));
  const std::vector<std::string> zones_before = ValidZones(block);
  const Json line = SetState(block, *offline ? "offline" : type);
  if (line["errno"] != 0 || !hold) {
    Report(line);
    return line["errno"] == 0 ? 0 : 1;
  }
  ReportAndHold(line);
  Json last =
      SetState(block, zones_before == std::vector<std::string>{"Movable"}
                          ? "online_movable"
                          : "online_kernel");
  last["released"] = last["errno"] == 0;
  Report(last);
  return last["errno"] == 0 ? 0 : 1;
}
