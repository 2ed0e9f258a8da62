// SPDX-License-Identifier: Apache-2.0
#include "daemon/user_symbols.h"

#include <bcc/bcc_syms.h>
#include <elf.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "daemon/clock.h"

namespace pinwatch {
namespace {

// Children that do not die, such as those that read from a dead network file
// system, before nothing is asked any more.
constexpr size_t kMaxKilled = 4;

constexpr uint64_t kChildBytes = uint64_t{1} << 30;

// What the child answers for one address. Longer names are cut.
struct Answer {
  uint64_t offset;
  uint32_t known;
  char function[256];
  char module[124];
};

template <size_t size>
void Copy(const char* from, char (&to)[size]) {
  strncpy(to, from ? from : "", size - 1);
}

Answer Ask(void* cache, uint64_t address) {
  Answer answer = {};
  bcc_symbol symbol = {};
  const bool known = bcc_symcache_resolve(cache, address, &symbol) == 0;
  if (symbol.module) {
    const char* slash = strrchr(symbol.module, '/');
    Copy(slash ? slash + 1 : symbol.module, answer.module);
  }
  if (known && symbol.demangle_name) {
    Copy(symbol.demangle_name, answer.function);
    answer.offset = symbol.offset;
    answer.known = 1;
  }
  if (known) bcc_symbol_free_demangle_name(&symbol);
  return answer;
}

// The address space in use, of which sanitizers take most.
uint64_t AddressSpaceBytes() {
  uint64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  return pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

// Neither outlives the daemon, nor dumps its memory, nor writes to its log.
void Confine(pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  prctl(PR_SET_DUMPABLE, 0);
  for (const int signal : {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGPIPE})
    ::signal(signal, SIG_DFL);
  const uint64_t limit = AddressSpaceBytes() + kChildBytes;
  const rlimit bytes = {.rlim_cur = limit, .rlim_max = limit};
  setrlimit(RLIMIT_AS, &bytes);
  const int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
  if (null < 0 || dup2(null, STDERR_FILENO) < 0) _exit(1);
}

[[noreturn]] void RunChild(int out, pid_t pid,
                           const std::vector<uint64_t>& addresses) {
  bcc_symbol_option options = {
      .use_debug_file = 0,
      .check_debug_file_crc = 0,
      .lazy_symbolize = 1,
      .use_symbol_type = (1u << STT_FUNC) | (1u << STT_GNU_IFUNC)};
  void* cache = bcc_symcache_new(pid, &options);
  if (!cache) _exit(1);
  for (const uint64_t address : addresses) {
    const Answer answer = Ask(cache, address);
    // A write of up to PIPE_BUF bytes is whole or not at all.
    static_assert(sizeof(answer) <= 4096);
    if (write(out, &answer, sizeof(answer)) != sizeof(answer)) _exit(1);
  }
  _exit(0);
}

// Fills `answers` from the pipe until all are there, it ends or time is up.
// Returns how many are there; `done_reading` says that the child reads nothing
// of the process any more.
size_t Receive(int in, int timeout_ms, std::vector<Answer>& answers,
               bool* done_reading) {
  const int64_t deadline_ns =
      ReadClockNs(CLOCK_MONOTONIC) + int64_t{timeout_ms} * 1'000'000;
  char* to = reinterpret_cast<char*>(answers.data());
  const size_t size = answers.size() * sizeof(Answer);
  size_t done = 0;
  bool ended = false;
  while (done < size) {
    const int64_t left_ns = deadline_ns - ReadClockNs(CLOCK_MONOTONIC);
    pollfd ready = {.fd = in, .events = POLLIN};
    const int left_ms = static_cast<int>(left_ns / 1'000'000);
    const int events = left_ms > 0 ? poll(&ready, 1, left_ms) : 0;
    if (events == 0) break;
    const ssize_t bytes = events > 0 ? read(in, to + done, size - done) : -1;
    if (bytes < 0 && errno == EINTR) continue;
    ended = bytes == 0;
    if (bytes <= 0) break;
    done += static_cast<size_t>(bytes);
  }
  *done_reading = ended || done == size;
  return done / sizeof(Answer);
}

UserSymbol Unknown(uint64_t address) {
  return {.function = absl::StrCat("0x", absl::Hex(address))};
}

UserSymbol ToSymbol(const Answer& answer, uint64_t address) {
  UserSymbol symbol = Unknown(address);
  symbol.module = answer.module;
  if (!answer.known) return symbol;
  symbol.function = answer.function;
  symbol.offset = answer.offset;
  symbol.known = true;
  return symbol;
}

}  // namespace

std::vector<UserSymbol> UserSymbols::Resolve(
    pid_t pid, const std::vector<uint64_t>& addresses) {
  std::vector<UserSymbol> symbols;
  std::transform(addresses.begin(), addresses.end(),
                 std::back_inserter(symbols), Unknown);
  int ends[2];
  // BCC takes a pid below 0 for the kernel.
  if (pid <= 0 || addresses.empty() || !ReapChildren() ||
      pipe2(ends, O_CLOEXEC) != 0)
    return symbols;
  const pid_t self = getpid();
  const pid_t child = fork();
  if (child == 0) {
    Confine(self);
    RunChild(ends[1], pid, addresses);
  }
  close(ends[1]);
  if (child > 0) {
    std::vector<Answer> answers(addresses.size());
    bool done_reading;
    const size_t count = Receive(ends[0], timeout_ms_, answers, &done_reading);
    std::transform(answers.begin(), answers.begin() + count, addresses.begin(),
                   symbols.begin(), ToSymbol);
    kill(child, SIGKILL);
    if (waitpid(child, nullptr, done_reading ? 0 : WNOHANG) == 0)
      killed_.push_back(child);
  }
  close(ends[0]);
  return symbols;
}

// Whether another child may be made.
bool UserSymbols::ReapChildren() {
  std::erase_if(killed_, [](pid_t child) {
    return waitpid(child, nullptr, WNOHANG) != 0;
  });
  return killed_.size() < kMaxKilled;
}

std::string ToText(const UserSymbol& symbol) {
  std::string text = symbol.function;
  if (symbol.known) absl::StrAppend(&text, "+0x", absl::Hex(symbol.offset));
  if (!symbol.module.empty()) absl::StrAppend(&text, " [", symbol.module, "]");
  return text;
}

}  // namespace pinwatch
