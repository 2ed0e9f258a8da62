// SPDX-License-Identifier: Apache-2.0
#include "tests/vm/guest.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/mempolicy.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <regex>
#include <set>
#include <sstream>
#include <stdexcept>

namespace pinwatch::guest {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr seconds kWorkloadTimeout(60);
constexpr seconds kStatusTimeout(60);
constexpr seconds kReadyTimeout(60);
constexpr seconds kStopTimeout(10);
constexpr seconds kQuietTimeout(30);
constexpr milliseconds kPollInterval(20);
constexpr uint16_t kPort = 19620;

int MillisecondsUntil(steady_clock::time_point deadline) {
  const auto left =
      std::chrono::ceil<milliseconds>(deadline - steady_clock::now());
  return static_cast<int>(std::max<int64_t>(left.count(), 0));
}

bool IsReadable(int fd, steady_clock::time_point deadline) {
  pollfd wait{.fd = fd, .events = POLLIN, .revents = 0};
  return poll(&wait, 1, MillisecondsUntil(deadline)) > 0;
}

void Require(bool good, const std::string& what) {
  if (!good) Fail(what + ": " + std::strerror(errno));
}

// Of the child: nothing here may allocate or throw.
void Become(const ProcessOptions& options) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (options.memory_node) {
    const unsigned long mask = 1UL << *options.memory_node;
    if (syscall(SYS_set_mempolicy, MPOL_BIND, &mask, sizeof(mask) * 8) != 0)
      _exit(126);
  }
  if (options.uid && (setgroups(0, nullptr) != 0 || setgid(*options.uid) != 0 ||
                      setuid(*options.uid) != 0))
    _exit(126);
}

std::string Trim(const std::string& text) {
  const size_t end = text.find_last_not_of(" \n");
  return end == std::string::npos ? "" : text.substr(0, end + 1);
}

// The named figure of a file of lines "name value".
uint64_t ReadFigure(const std::string& path, const std::string& name) {
  std::ifstream file(path);
  std::string word;
  for (uint64_t value; file >> word >> value;)
    if (word == name) return value;
  Fail(path + " lacks " + name);
}

void FoldCounters() {
  // What it answers depends on other counters; the differences are added
  // whatever that is.
  const int fd = open("/proc/sys/vm/stat_refresh", O_WRONLY | O_CLOEXEC);
  Require(fd >= 0, "open stat_refresh");
  [[maybe_unused]] const ssize_t n = write(fd, "1", 1);
  close(fd);
}

// What is in a file of /proc; nothing once what it is about has gone.
std::string TryRead(const std::filesystem::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// The kernel's messages since it booted.
std::string ReadKernelLog() {
  std::string log(1 << 20, '\0');
  constexpr int kReadAll = 3;
  const int size = klogctl(kReadAll, log.data(), static_cast<int>(log.size()));
  Require(size > 0, "read the kernel's log");
  log.resize(static_cast<size_t>(size));
  return log;
}

Sample ParseSample(const std::string& line) {
  static const std::regex kSample(
      R"(([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (-?[0-9.]+(?:e[+-]?[0-9]+)?|NaN|[+-]Inf))");
  static const std::regex kLabel(
      R"re(([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(,|$))re");
  std::smatch parts;
  if (!std::regex_match(line, parts, kSample))
    Fail("no sample of the exposition format: " + line);
  Sample sample{.name = parts[1], .labels = {}, .value = std::stod(parts[3])};
  const std::string labels = parts[2];
  auto at = labels.begin();
  while (at != labels.end()) {
    std::smatch label;
    if (!std::regex_search(at, labels.end(), label, kLabel,
                           std::regex_constants::match_continuous))
      Fail("malformed labels: " + line);
    if (!sample.labels.emplace(label[1], label[2]).second)
      Fail("a label twice: " + line);
    at = label[0].second;
  }
  return sample;
}

// Whether a sample of that name may stand in the family.
bool IsOf(const std::string& name, const std::string& family,
          bool is_histogram) {
  if (!is_histogram) return name == family;
  return name == family + "_bucket" || name == family + "_count" ||
         name == family + "_sum";
}

// Holds the text to the format: a family is HELP, TYPE and then its samples,
// all in one place, and no series comes twice.
std::vector<Sample> ParseMetrics(const std::string& text) {
  static const std::regex kHelp(R"(# HELP ([a-zA-Z0-9_:]+) (\S.*))");
  static const std::regex kType(
      R"(# TYPE ([a-zA-Z0-9_:]+) (counter|gauge|histogram))");
  if (text.empty() || text.back() != '\n') Fail("the last line has no end");
  std::vector<Sample> samples;
  std::set<std::string> helped, typed;
  std::set<std::pair<std::string, Labels>> series;
  std::string family, type_of;
  bool is_histogram = false;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::smatch parts;
    if (std::regex_match(line, parts, kHelp)) {
      family = parts[1];
      if (!helped.insert(family).second) Fail("a family twice: " + line);
    } else if (std::regex_match(line, parts, kType)) {
      type_of = parts[1];
      if (type_of != family || !typed.insert(type_of).second)
        Fail("a type out of place: " + line);
      if ((parts[2] == "counter") != family.ends_with("_total"))
        Fail("a name that belies its type: " + line);
      is_histogram = parts[2] == "histogram";
    } else {
      samples.push_back(ParseSample(line));
      const Sample& sample = samples.back();
      if (!IsOf(sample.name, family, is_histogram) || family != type_of)
        Fail("a sample outside of its family: " + line);
      if (!series.emplace(sample.name, sample.labels).second)
        Fail("a series twice: " + line);
    }
  }
  return samples;
}

}  // namespace

bool Eventually(seconds timeout, const std::function<bool()>& done) {
  const auto deadline = steady_clock::now() + timeout;
  while (!done()) {
    if (steady_clock::now() > deadline) return false;
    poll(nullptr, 0, kPollInterval.count());
  }
  return true;
}

void Fail(const std::string& message) { throw std::runtime_error(message); }

Process::Process(const std::vector<std::string>& argv, ProcessOptions options)
    : name_(argv.at(0)) {
  int input[2], output[2];
  Require(pipe2(input, O_CLOEXEC) == 0, "pipe");
  Require(pipe2(output, O_CLOEXEC) == 0, "pipe");
  errors_ = memfd_create("stderr", MFD_CLOEXEC);
  Require(errors_ >= 0, "memfd_create");
  std::vector<char*> words;
  for (const std::string& word : argv)
    words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);

  pid_ = fork();
  Require(pid_ >= 0, "fork");
  if (pid_ == 0) {
    dup2(input[0], STDIN_FILENO);
    dup2(output[1], STDOUT_FILENO);
    dup2(errors_, STDERR_FILENO);
    Become(options);
    execvp(words[0], words.data());
    _exit(127);
  }
  close(input[0]);
  close(output[1]);
  input_ = input[1];
  output_ = output[0];
  // sys/pidfd.h of glibc 2.36 gives C++ a function that is not there.
  pidfd_ = static_cast<int>(syscall(SYS_pidfd_open, pid_, 0));
  Require(pidfd_ >= 0, "pidfd_open");
}

Process::~Process() {
  if (!status_) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  for (int fd : {pidfd_, input_, output_, errors_})
    if (fd >= 0) close(fd);
}

void Process::WriteLine() {
  Require(write(input_, "\n", 1) == 1, "write to " + name_);
}

void Process::CloseInput() {
  if (input_ >= 0) close(input_);
  input_ = -1;
}

void Process::Signal(int signal) const {
  if (!status_) kill(pid_, signal);
}

bool Process::ReadMore(steady_clock::time_point deadline) {
  if (!IsReadable(output_, deadline))
    Fail(name_ + " prints nothing; it said: " + Errors());
  char text[65536];
  const ssize_t size = read(output_, text, sizeof(text));
  Require(size >= 0, "read from " + name_);
  unread_.append(text, static_cast<size_t>(size));
  return size > 0;
}

std::string Process::ReadLine(seconds timeout) {
  const std::optional<std::string> line = NextLine(timeout);
  if (!line) Fail(name_ + " ended and said: " + Errors());
  return *line;
}

std::optional<std::string> Process::NextLine(seconds timeout) {
  const auto deadline = steady_clock::now() + timeout;
  size_t end;
  while ((end = unread_.find('\n')) == std::string::npos)
    if (!ReadMore(deadline)) return std::nullopt;
  const std::string line = unread_.substr(0, end);
  unread_.erase(0, end + 1);
  return line;
}

std::string Process::ReadAll(seconds timeout) {
  const auto deadline = steady_clock::now() + timeout;
  while (ReadMore(deadline)) {
  }
  return std::exchange(unread_, "");
}

std::string Process::Errors() const {
  std::string text;
  char part[4096];
  ssize_t size;
  while ((size = pread(errors_, part, sizeof(part),
                       static_cast<off_t>(text.size()))) > 0)
    text.append(part, static_cast<size_t>(size));
  return text;
}

std::optional<int> Process::Wait(seconds timeout) {
  if (status_) return status_;
  if (!IsReadable(pidfd_, steady_clock::now() + timeout)) return std::nullopt;
  int status = 0;
  Require(waitpid(pid_, &status, 0) == pid_, "wait for " + name_);
  status_ = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  return status_;
}

Daemon::Daemon(const std::vector<std::string>& options, Wait wait)
    : process_([&] {
        std::vector<std::string> argv = {"pinwatchd"};
        argv.insert(argv.end(), options.begin(), options.end());
        return argv;
      }()) {
  if (wait == Wait::kNot) return;
  const bool done = Eventually(kReadyTimeout, [&] {
    if (process_.Wait(seconds(0))) return true;
    const auto response = Get("/-/ready");
    return response && response->status == 200;
  });
  if (!done || process_.Wait(seconds(0)))
    Fail("pinwatchd is not ready; it said: " + process_.Errors());
}

Daemon::~Daemon() {
  process_.Signal(SIGTERM);
  process_.Wait(kStopTimeout);
}

Workload::Workload(const std::vector<std::string>& argv, ProcessOptions options)
    : process_(argv, options),
      held_(Json::parse(process_.ReadLine(kWorkloadTimeout))) {}

void Workload::LetGo() {
  process_.WriteLine();
  last_ = Json::parse(process_.ReadLine(kWorkloadTimeout));
}

void Workload::WaitForEnd() {
  if (process_.Wait(kWorkloadTimeout) != 0)
    Fail("the workload said: " + process_.Errors());
}

Json Workload::Release() {
  process_.CloseInput();
  const Json last =
      last_ ? *last_ : Json::parse(process_.ReadLine(kWorkloadTimeout));
  const std::optional<int> status = process_.Wait(kWorkloadTimeout);
  if (status != 0) Fail("the workload said: " + process_.Errors());
  return last;
}

void Workload::Kill() {
  process_.Signal(SIGKILL);
  if (process_.Wait(kWorkloadTimeout) != 128 + SIGKILL)
    Fail("the workload does not die");
}

void WaitForNoPins() {
  const auto no_pins = [] { return ReadPinCounters().outstanding() == 0; };
  if (!Eventually(kQuietTimeout, no_pins)) Fail("pins are left over");
}

PinsByZone operator+(PinsByZone a, const PinsByZone& b) {
  for (const auto& [zone, pins] : b) {
    a[zone].pages += pins.pages;
    a[zone].references += pins.references;
  }
  return a;
}

Pins Sum(const PinsByZone& pins) {
  Pins sum;
  for (const auto& [zone, part] : pins) {
    sum.pages += part.pages;
    sum.references += part.references;
  }
  return sum;
}

std::vector<ZoneSpan> ReadZones() {
  static const std::regex kZone(R"(Node (\d+), zone +(\w+))");
  static const std::regex kFigure(R"( *(pages free|\w+):? +(\d+))");
  std::vector<ZoneSpan> zones;
  std::istringstream lines(ReadFile("/proc/zoneinfo"));
  for (std::string line; std::getline(lines, line);) {
    std::smatch parts;
    if (std::regex_match(line, parts, kZone))
      zones.push_back({.id = {std::stoi(parts[1]), parts[2]}});
    if (zones.empty() || !std::regex_match(line, parts, kFigure)) continue;
    ZoneSpan& zone = zones.back();
    const uint64_t value = std::stoull(parts[2]);
    if (parts[1] == "spanned") zone.spanned_pages = value;
    if (parts[1] == "present") zone.present_pages = value;
    if (parts[1] == "managed") zone.managed_pages = value;
    if (parts[1] == "start_pfn") zone.start_pfn = value;
    if (parts[1] == "pages free" || parts[1] == "count")
      zone.free_pages += value;
    if (parts[1] == "count") zone.batched_pages += value;
  }
  std::erase_if(zones, [](auto& zone) { return zone.present_pages == 0; });
  return zones;
}

ZoneId ZoneOf(uint64_t pfn) {
  std::vector<ZoneId> found;
  for (const ZoneSpan& zone : ReadZones())
    if (zone.start_pfn <= pfn && pfn < zone.start_pfn + zone.spanned_pages)
      found.push_back(zone.id);
  if (found.size() != 1)
    Fail("pfn " + std::to_string(pfn) + " is in the spans of " +
         std::to_string(found.size()) + " zones");
  return found[0];
}

PinsByZone PinsOf(const std::vector<uint64_t>& pfns, Pins each) {
  const std::vector<ZoneSpan> zones = ReadZones();
  PinsByZone pins;
  size_t found = 0;
  for (const ZoneSpan& zone : zones) {
    for (uint64_t pfn : pfns) {
      if (pfn < zone.start_pfn || pfn >= zone.start_pfn + zone.spanned_pages)
        continue;
      ++found;
      pins[zone.id].pages += each.pages;
      pins[zone.id].references += each.references;
    }
  }
  if (found != pfns.size()) Fail("zone spans overlap or miss a page");
  return pins;
}

PinCounters ReadPinCounters() {
  FoldCounters();
  return {ReadVmstat("nr_foll_pin_acquired"),
          ReadVmstat("nr_foll_pin_released")};
}

PinCounters ReadPinCounters(int nid) {
  FoldCounters();
  const std::string path =
      "/sys/devices/system/node/node" + std::to_string(nid) + "/vmstat";
  return {ReadFigure(path, "nr_foll_pin_acquired"),
          ReadFigure(path, "nr_foll_pin_released")};
}

std::vector<int> ReadNodes() {
  std::vector<int> nids;
  static const std::regex kNode(R"(node(\d+))");
  for (const auto& entry : fs::directory_iterator("/sys/devices/system/node")) {
    const std::string name = entry.path().filename();
    std::smatch parts;
    if (std::regex_match(name, parts, kNode))
      nids.push_back(std::stoi(parts[1]));
  }
  std::sort(nids.begin(), nids.end());
  return nids;
}

bool MovesLongtermPins() {
  return ReadFile("/sys/kernel/btf/vmlinux").find("MR_LONGTERM_PIN") !=
         std::string::npos;
}

std::vector<std::string> ToFollowMoves() {
  if (ReadFile("/proc/kallsyms")
          .find(" migrate_longterm_unpinnable_folios\n") != std::string::npos)
    return {};
  return {"--pins.follow-moves"};
}

namespace {

// Of a file of /proc that has 64 bits a page.
uint64_t ReadOfPage(const char* path, uint64_t page) {
  uint64_t entry = 0;
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  const ssize_t size = pread(fd, &entry, sizeof(entry),
                             static_cast<off_t>(page * sizeof(entry)));
  close(fd);
  if (size != sizeof(entry)) Fail(std::string("read ") + path);
  return entry;
}

}  // namespace

uint64_t PfnOf(const void* page) {
  return ReadOfPage("/proc/self/pagemap",
                    reinterpret_cast<uintptr_t>(page) / kPageBytes) &
         ((uint64_t{1} << 55) - 1);
}

uint64_t ReadVmstat(const std::string& name) {
  return ReadFigure("/proc/vmstat", name);
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) Fail("read " + path);
  return text.str();
}

void WriteFile(const std::string& path, const std::string& text) {
  std::ofstream file(path);
  file << text << std::flush;
  if (!file) Fail("write " + path);
}

std::vector<Block> ReadBlocks() {
  static const std::regex kBlock(R"(memory(\d+))");
  static const std::regex kNode(R"(node(\d+))");
  std::vector<Block> blocks;
  for (const auto& entry :
       fs::directory_iterator("/sys/devices/system/memory")) {
    const std::string name = entry.path().filename();
    std::smatch parts;
    if (!std::regex_match(name, parts, kBlock)) continue;
    Block block{.id = std::stoull(parts[1]),
                .state = Trim(ReadFile(entry.path() / "state")),
                .nid = -1,
                .zone = "none"};
    if (block.state == "online")
      block.zone = Trim(ReadFile(entry.path() / "valid_zones"));
    for (const auto& link : fs::directory_iterator(entry.path())) {
      const std::string node = link.path().filename();
      if (std::regex_match(node, parts, kNode)) block.nid = std::stoi(parts[1]);
    }
    blocks.push_back(block);
  }
  return blocks;
}

uint64_t BlockPages() {
  const std::string text =
      ReadFile("/sys/devices/system/memory/block_size_bytes");
  return std::stoull(text, nullptr, 16) / kPageBytes;
}

uint64_t ReadPageCgroup(uint64_t pfn) {
  return ReadOfPage("/proc/kpagecgroup", pfn);
}

Cgroup::Cgroup(const std::string& name) : name_(name) {
  WriteFile("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
  if (mkdir(Directory().c_str(), 0755) != 0) Fail("make " + Directory());
}

Cgroup::~Cgroup() {
  if (!removed_) rmdir(Directory().c_str());
}

uint64_t Cgroup::inode() const {
  struct stat status;
  if (stat(Directory().c_str(), &status) != 0) Fail("stat " + Directory());
  return status.st_ino;
}

std::vector<std::string> Cgroup::Command(
    const std::vector<std::string>& argv) const {
  std::vector<std::string> command = {
      "sh", "-c", "echo $$ >\"$0/cgroup.procs\" && exec \"$@\"", Directory()};
  command.insert(command.end(), argv.begin(), argv.end());
  return command;
}

void Cgroup::Take(pid_t pid) const {
  WriteFile(Directory() + "/cgroup.procs", std::to_string(pid));
}

void Cgroup::Remove() {
  if (rmdir(Directory().c_str()) != 0) Fail("remove " + Directory());
  removed_ = true;
}

uint64_t PageFlags(uint64_t pfn) { return ReadOfPage("/proc/kpageflags", pfn); }

uint64_t CountPagesWithFlag(int bit) {
  std::ifstream file("/proc/kpageflags", std::ios::binary);
  std::vector<uint64_t> flags(1 << 16);
  uint64_t count = 0;
  do {
    file.read(reinterpret_cast<char*>(flags.data()),
              static_cast<std::streamsize>(flags.size() * sizeof(flags[0])));
    const size_t size = static_cast<size_t>(file.gcount()) / sizeof(flags[0]);
    for (size_t i = 0; i < size; ++i) count += flags[i] >> bit & 1;
  } while (file);
  return count;
}

std::optional<uint64_t> FindPageWithFlag(int bit) {
  // Unbuffered: the kernel refuses to be read by odd bytes.
  FILE* file = fopen("/proc/kpageflags", "r");
  if (!file) Fail("open /proc/kpageflags");
  setbuf(file, nullptr);
  std::optional<uint64_t> found;
  uint64_t flags = 0;
  for (uint64_t pfn = 0; !found && fread(&flags, 8, 1, file) == 1; ++pfn)
    if (flags >> bit & 1) found = pfn;
  fclose(file);
  return found;
}

std::map<ZoneId, uint64_t> ReadUnavailablePages() {
  static const std::regex kLine(
      R"(On node (\d+), zone +(\w+): (\d+) pages in unavailable ranges)");
  const std::string log = ReadKernelLog();
  std::map<ZoneId, uint64_t> pages;
  for (std::sregex_iterator line(log.begin(), log.end(), kLine), end;
       line != end; ++line)
    pages[{std::stoi((*line)[1]), (*line)[2]}] += std::stoull((*line)[3]);
  if (pages.empty()) Fail("the kernel's log has lost its beginning");
  return pages;
}

size_t CountLinks() {
  size_t links = 0;
  for (const auto& process : std::filesystem::directory_iterator("/proc")) {
    if (TryRead(process.path() / "comm") != "pinwatchd\n") continue;
    for (const auto& fd :
         std::filesystem::directory_iterator(process.path() / "fdinfo"))
      links += TryRead(fd.path()).find("link_type:") != std::string::npos;
  }
  return links;
}

bool DirectReadsPin() {
  const uint64_t before = ReadPinCounters().acquired;
  Workload(
      {"odirect-loop", "--device", kSlowDisk, "--pages", "1", "--count", "1"})
      .Release();
  return ReadPinCounters().acquired != before;
}

CmaArea ReadCmaArea() {
  static const std::regex kLine(R"(cma: Reserved (\d+) MiB at 0x([0-9a-f]+))");
  const std::string log = ReadKernelLog();
  std::smatch parts;
  if (!std::regex_search(log, parts, kLine))
    Fail("the kernel's log has no area of CMA");
  return {std::stoull(parts[2], nullptr, 16) / kPageBytes,
          std::stoull(parts[1]) * (1 << 20) / kPageBytes};
}

std::unique_ptr<Process> HoldSomeBlockOffline() {
  for (const Block& block : ReadBlocks()) {
    if (block.zone != "Movable") continue;
    auto offline = std::make_unique<Process>(std::vector<std::string>{
        "memory-block", "offline", std::to_string(block.id), "--hold"});
    const bool stuck = !Eventually(kOfflineTimeout, [&] {
      return offline->Wait(seconds(0)) ||
             std::ranges::any_of(ReadBlocks(), [&](const Block& now) {
               return now.id == block.id && now.state == "offline";
             });
    });
    if (stuck) offline->Signal(SIGTERM);
    if (Json::parse(offline->ReadLine(kOfflineTimeout)).at("result") == "ok")
      return offline;
  }
  Fail("no block of ZONE_MOVABLE goes offline");
}

std::string Ask(const std::vector<std::string>& argv, seconds timeout) {
  Process process(argv);
  const std::string text = process.ReadAll(timeout);
  if (process.Wait(timeout) != 0)
    Fail(argv.at(1) + " failed and said: " + process.Errors());
  return text;
}

Json Status(bool fresh) {
  std::vector<std::string> argv = {"pinwatch", "status", "-o", "json"};
  if (fresh) argv.push_back("--fresh");
  return Json::parse(Ask(argv, kStatusTimeout));
}

Json FreshSnapshot() { return Status(true).at("snapshot"); }

PinsByZone PinsIn(const Json& snapshot, const std::string& kind) {
  PinsByZone result;
  for (const Json& zone : snapshot.at("zones")) {
    if (zone.at("managed_pages") > 0 && !zone.contains("oldest_look"))
      Fail("a zone was not looked at: " + zone.dump());
    Pins sum;
    for (const Json& part : zone.at("migratetypes")) {
      sum.pages += part.at(kind).at("pages").get<uint64_t>();
      sum.references += part.at(kind).at("references").get<uint64_t>();
    }
    if (sum != Pins{}) result[{zone.at("nid"), zone.at("name")}] = sum;
  }
  return result;
}

Json ExplainBlock(uint64_t block) {
  return Json::parse(Ask(
      {"pinwatch", "explain", "memory" + std::to_string(block), "-o", "json"}));
}

Json ExplainPage(uint64_t pfn) {
  return Json::parse(
      Ask({"pinwatch", "explain", "pfn", std::to_string(pfn), "-o", "json"}));
}

std::map<uint64_t, std::map<uint64_t, uint64_t>> CountStructPages() {
  std::map<uint64_t, std::map<uint64_t, uint64_t>> pages;
  for (const Block& block : ReadBlocks()) {
    if (block.state != "online") continue;
    const Json told = ExplainBlock(block.id);
    for (const Json& part : told.at("struct_pages"))
      pages[part.at("of_block").get<uint64_t>()][block.id] +=
          part.at("pages").get<uint64_t>();
  }
  return pages;
}

Json ListAttempts() {
  return Json::parse(Ask({"pinwatch", "attempts", "-o", "json"}, seconds(30)));
}

Json FreshOwners() {
  FreshSnapshot();
  return Json::parse(Ask({"pinwatch", "top", "-o", "json"}));
}

uint64_t ConfirmedPages() {
  return Sum(PinsIn(FreshSnapshot(), "confirmed")).pages;
}

uint64_t PagesInClass(const Json& snapshot, const std::string& page_class,
                      const std::optional<ZoneId>& wanted) {
  uint64_t pages = 0;
  for (const Json& zone : snapshot.at("zones")) {
    if (wanted && *wanted != ZoneId(zone.at("nid"), zone.at("name"))) continue;
    for (const Json& part : zone.at("migratetypes"))
      pages += part.at("classes").at(page_class).get<uint64_t>();
  }
  return pages;
}

uint64_t PagesInZone(const Json& snapshot, const ZoneId& wanted) {
  uint64_t pages = 0;
  for (const Json& zone : snapshot.at("zones")) {
    if (wanted != ZoneId(zone.at("nid"), zone.at("name"))) continue;
    for (const Json& part : zone.at("migratetypes"))
      for (const Json& count : part.at("classes"))
        pages += count.get<uint64_t>();
  }
  return pages;
}

void ExpectCountersAgree(const Json& snapshot) {
  std::vector<int> nids;
  for (const Json& node : snapshot.at("nodes")) {
    const int nid = nids.emplace_back(node.at("nid"));
    SCOPED_TRACE("node " + std::to_string(nid));
    const PinCounters counters = ReadPinCounters(nid);
    EXPECT_EQ(node.at("acquired_references"), counters.acquired);
    EXPECT_EQ(node.at("released_references"), counters.released);
    EXPECT_EQ(node.at("outstanding_references"), counters.outstanding());
    EXPECT_EQ(node.at("census_references"), counters.outstanding());
    EXPECT_EQ(node.at("counters_exact"), true);
    EXPECT_EQ(node.at("census_current"), true);
    EXPECT_EQ(node.at("drift_references"), 0);
  }
  EXPECT_EQ(nids, ReadNodes());
}

std::optional<Response> Get(const std::string& path) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  Require(fd >= 0, "socket");
  const std::unique_ptr<const int, void (*)(const int*)> closer(
      &fd, [](const int* open_fd) { close(*open_fd); });
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(kPort);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0)
    return std::nullopt;
  const std::string request =
      "GET " + path +
      " HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
  if (send(fd, request.data(), request.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(request.size()))
    return std::nullopt;
  std::string text;
  const auto deadline = steady_clock::now() + seconds(30);
  while (true) {
    if (!IsReadable(fd, deadline)) Fail("no answer to GET " + path);
    char part[65536];
    const ssize_t size = read(fd, part, sizeof(part));
    if (size < 0) return std::nullopt;
    if (size == 0) break;
    text.append(part, static_cast<size_t>(size));
  }
  const size_t head_size = text.find("\r\n\r\n");
  std::smatch parts;
  static const std::regex kStatusLine(R"(HTTP/1\.1 (\d{3}) [^\r]*)");
  const std::string line = text.substr(0, text.find("\r\n"));
  if (head_size == std::string::npos ||
      !std::regex_match(line, parts, kStatusLine))
    Fail("GET " + path + " was answered with: " + text.substr(0, 200));
  return Response{.status = std::stoi(parts[1]),
                  .head = text.substr(0, head_size + 2),
                  .body = text.substr(head_size + 4)};
}

std::vector<Sample> ReadMetrics() {
  const std::optional<Response> response = Get("/metrics");
  if (!response || response->status != 200) Fail("no /metrics");
  return ParseMetrics(response->body);
}

double Sum(const std::vector<Sample>& samples, const std::string& name,
           const Labels& labels) {
  double sum = 0;
  bool found = false;
  for (const Sample& sample : samples) {
    if (sample.name != name ||
        !std::includes(sample.labels.begin(), sample.labels.end(),
                       labels.begin(), labels.end()))
      continue;
    sum += sample.value;
    found = true;
  }
  // Absent is not zero.
  return found ? sum : std::numeric_limits<double>::quiet_NaN();
}

void GuestTest::SetUpTestSuite() {
  if (!daemon_) daemon_ = std::make_unique<Daemon>();
}

void GuestTest::TearDown() {
  EXPECT_EQ(daemon_->process().Wait(seconds(0)), std::nullopt)
      << "pinwatchd ended and said: " << daemon_->process().Errors();
}

}  // namespace pinwatch::guest
