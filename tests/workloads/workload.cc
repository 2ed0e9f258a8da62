// SPDX-License-Identifier: Apache-2.0

#include "workload.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace workload {

namespace {

constexpr uint64_t kPagemapPresent = 1ULL << 63;
constexpr uint64_t kPagemapPfnMask = (1ULL << 55) - 1;
constexpr uint64_t kKpfCompoundHead = 1ULL << 15;
constexpr uint64_t kKpfHuge = 1ULL << 17;
constexpr uint64_t kKpfThp = 1ULL << 22;
constexpr size_t kMaxFixedBufferSize = 1ULL << 30;
constexpr unsigned kRegisterCloneBuffers = 30;  // newer than our headers

volatile sig_atomic_t stop_requested = 0;

sigset_t StopSignals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

char* Map(size_t nr_pages, int flags, int fd) {
  const size_t size = nr_pages * kPageSize;
  void* data = mmap(nullptr, size, PROT_READ | PROT_WRITE, flags, fd, 0);
  if (data == MAP_FAILED)
    Fail("mmap", "memory short, or /proc/sys/vm/max_map_count too low?");
  // EINVAL: a kernel without huge pages.
  if (madvise(data, size, MADV_NOHUGEPAGE) != 0 && errno != EINVAL)
    Fail("madvise(MADV_NOHUGEPAGE)", "ask for fewer pages");
  return static_cast<char*>(data);
}

// A page under migration is not present for a moment; reading it waits for the
// end of that.
uint64_t ReadPresentEntry(int pagemap, const char* page) {
  constexpr int kAttempts = 100;
  const uint64_t index = reinterpret_cast<uintptr_t>(page) / kPageSize;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    uint64_t entry = 0;
    const off_t offset = static_cast<off_t>(index * sizeof(entry));
    if (pread(pagemap, &entry, sizeof(entry), offset) != sizeof(entry))
      Fail("read /proc/self/pagemap", "is the page mapped?");
    if (entry & kPagemapPresent) return entry;
    static_cast<void>(*static_cast<const volatile char*>(page));
  }
  Fail("read /proc/self/pagemap",
       "a page does not stay present; is memory short?", EAGAIN);
}

io_uring MakeRing() {
  io_uring ring{};
  if (const int ret = io_uring_queue_init(1, &ring, 0); ret < 0)
    Fail("io_uring_setup", "is /proc/sys/kernel/io_uring_disabled set?", -ret);
  return ring;
}

}  // namespace

void Fail(const std::string& what, const std::string& advice, int error) {
  std::fprintf(stderr, "%s: %s: %s (%s)\n", program_invocation_short_name,
               what.c_str(), std::strerror(error), advice.c_str());
  std::exit(1);
}

void ParseOrExit(CLI::App& app, int argc, char** argv) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    std::exit(app.exit(e) == 0 ? 0 : 2);
  }
}

uint64_t MonotonicNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 +
         static_cast<uint64_t>(now.tv_nsec);
}

char* MapAnonymous(size_t nr_pages) {
  return Map(nr_pages, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

char* MapHugePages(size_t nr_huge_pages) {
  const size_t size = nr_huge_pages * kHugePageSize;
  void* data = mmap(nullptr, size + kHugePageSize, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) Fail("mmap", "ask for fewer pages");
  const uintptr_t address = reinterpret_cast<uintptr_t>(data);
  char* aligned = static_cast<char*>(data) + (-address & (kHugePageSize - 1));
  if (madvise(aligned, size, MADV_HUGEPAGE) != 0)
    Fail("madvise(MADV_HUGEPAGE)",
         "the kernel needs CONFIG_TRANSPARENT_HUGEPAGE");
  return aligned;
}

char* MapReservedHugePages(size_t nr_huge_pages) {
  void* data =
      mmap(nullptr, nr_huge_pages * kHugePageSize, PROT_READ | PROT_WRITE,
           MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
  if (data == MAP_FAILED)
    Fail("mmap(MAP_HUGETLB)", "reserve some in /proc/sys/vm/nr_hugepages");
  return static_cast<char*>(data);
}

char* MapShared(int fd, size_t nr_pages) {
  return Map(nr_pages, MAP_SHARED, fd);
}

int CreateMemfd(size_t nr_pages) {
  const int fd = memfd_create("workload", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) Fail("memfd_create", "does the kernel have memfd?");
  if (ftruncate(fd, static_cast<off_t>(nr_pages * kPageSize)) != 0)
    Fail("ftruncate", "ask for fewer pages");
  return fd;
}

int OpenMemfdOf(const std::string& pid_and_fd) {
  const size_t colon = pid_and_fd.find(':');
  if (colon == std::string::npos)
    Fail(pid_and_fd, "give PID:FD, as the other process reports them", EINVAL);
  const std::string path = "/proc/" + pid_and_fd.substr(0, colon) + "/fd/" +
                           pid_and_fd.substr(colon + 1);
  const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) Fail("open " + path, "does that process still live?");
  return fd;
}

void StayOnCpu(int cpu) {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  CPU_SET(cpu, &cpus);
  if (sched_setaffinity(0, sizeof(cpus), &cpus) != 0)
    Fail("sched_setaffinity", "is there such a CPU?");
}

void Touch(char* data, size_t nr_pages) {
  for (size_t i = 0; i < nr_pages; ++i) {
    const uint64_t value = i + 1;
    std::memcpy(data + i * kPageSize, &value, sizeof(value));
  }
}

void DrainLruBatches() {
  // Moving no page at all still begins with lru_add_drain_all().
  void* pages = nullptr;
  int node = 0, status = 0;
  if (syscall(SYS_move_pages, 0, 0, &pages, &node, &status, 0) != 0)
    Fail("move_pages", "the kernel needs CONFIG_MIGRATION and CONFIG_NUMA");
}

std::vector<uint64_t> ReadPfns(const char* data, size_t nr_pages) {
  const int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  if (pagemap < 0) Fail("open /proc/self/pagemap", "is /proc mounted?");
  // At once: a read of one entry alone may walk 2 MiB of page table.
  std::vector<uint64_t> pfns(nr_pages);
  const size_t size = nr_pages * sizeof(pfns[0]);
  const off_t offset = static_cast<off_t>(reinterpret_cast<uintptr_t>(data) /
                                          kPageSize * sizeof(pfns[0]));
  if (pread(pagemap, pfns.data(), size, offset) != static_cast<ssize_t>(size))
    Fail("read /proc/self/pagemap", "is the memory mapped?");
  for (size_t i = 0; i < nr_pages; ++i) {
    if (!(pfns[i] & kPagemapPresent))
      pfns[i] = ReadPresentEntry(pagemap, data + i * kPageSize);
    pfns[i] &= kPagemapPfnMask;
    if (pfns[i] == 0)
      Fail("read pfns from /proc/self/pagemap", "needs CAP_SYS_ADMIN", EPERM);
  }
  close(pagemap);
  return pfns;
}

std::vector<uint64_t> ReadHeadPfns(const char* data, size_t nr_huge_pages,
                                   HugePages kind) {
  const std::string advice =
      "is transparent_hugepage/enabled never, or memory fragmented?";
  const int fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
  if (fd < 0) Fail("open /proc/kpageflags", "needs CAP_SYS_ADMIN");
  std::vector<uint64_t> heads;
  for (size_t huge = 0; huge < nr_huge_pages; ++huge) {
    const std::vector<uint64_t> pfns =
        ReadPfns(data + huge * kHugePageSize, kPagesPerHugePage);
    for (size_t i = 0; i < pfns.size(); ++i)
      if (pfns[i] != pfns[0] + i || pfns[0] % kPagesPerHugePage != 0)
        Fail("memory is not one huge page", advice, EINVAL);
    uint64_t flags = 0;
    const off_t offset = static_cast<off_t>(pfns[0] * sizeof(flags));
    if (pread(fd, &flags, sizeof(flags), offset) != sizeof(flags))
      Fail("read /proc/kpageflags", "needs CAP_SYS_ADMIN");
    const uint64_t wanted =
        kKpfCompoundHead | (kind == HugePages::kReserved ? kKpfHuge : kKpfThp);
    if ((flags & wanted) != wanted)
      Fail("memory is contiguous but no huge page", advice, EINVAL);
    heads.push_back(pfns[0]);
  }
  close(fd);
  return heads;
}

size_t CountDifferences(const std::vector<uint64_t>& a,
                        const std::vector<uint64_t>& b) {
  size_t differences = 0;
  for (size_t i = 0; i < a.size(); ++i) differences += a[i] != b.at(i);
  return differences;
}

FixedBuffers::FixedBuffers(char* data, size_t size)
    : FixedBuffers([&] {
        std::vector<iovec> buffers;
        for (size_t at = 0; at < size; at += kMaxFixedBufferSize)
          buffers.push_back(
              {data + at, std::min(kMaxFixedBufferSize, size - at)});
        return buffers;
      }()) {}

FixedBuffers::FixedBuffers(const std::vector<iovec>& buffers)
    : ring_(MakeRing()), nr_buffers_(buffers.size()) {
  const uint64_t begin_ns = MonotonicNs();
  const int ret = io_uring_register_buffers(
      &ring_, buffers.data(), static_cast<unsigned>(buffers.size()));
  register_ns_ = MonotonicNs() - begin_ns;
  if (ret < 0)
    Fail("register io_uring buffers",
         ret == -ENOMEM ? "RLIMIT_MEMLOCK too low without CAP_IPC_LOCK, or a "
                          "page could not leave ZONE_MOVABLE"
                        : "does the kernel accept this kind of memory?",
         -ret);
}

void FixedBuffers::MoveToClone() {
  io_uring clone = MakeRing();
  // struct io_uring_clone_buffers: only its first field, the ring to clone, has
  // to be set for all buffers.
  const uint32_t all_buffers_of[8] = {static_cast<uint32_t>(ring_.ring_fd)};
  if (syscall(SYS_io_uring_register, clone.ring_fd, kRegisterCloneBuffers,
              all_buffers_of, 1) != 0)
    Fail("clone io_uring buffers", "needs Linux v6.12");
  Unregister();
  ring_ = clone;
}

void FixedBuffers::Unregister() {
  int ret = 0;
  do {
    ret = io_uring_unregister_buffers(&ring_);
  } while (ret == -EINTR);
  if (ret < 0) Fail("unregister io_uring buffers", "end the process", -ret);
  io_uring_queue_exit(&ring_);
}

void Report(const Json& line) {
  const std::string text = line.dump() + "\n";
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() ||
      std::fflush(stdout) != 0)
    Fail("write to stdout", "is anyone reading it?");
}

void CatchStopSignals() {
  struct sigaction action {};
  action.sa_handler = [](int) { stop_requested = 1; };
  for (int signal : {SIGTERM, SIGINT}) sigaction(signal, &action, nullptr);
}

void BlockStopSignals() {
  const sigset_t stop_signals = StopSignals();
  pthread_sigmask(SIG_BLOCK, &stop_signals, nullptr);
}

void SetName(const std::string& name) {
  if (prctl(PR_SET_NAME, name.c_str()) != 0)
    Fail("prctl(PR_SET_NAME)", "report this");
}

void ReportAndHold(const Json& line) {
  BlockStopSignals();
  CatchStopSignals();
  Json with_pid = line;
  with_pid["pid"] = getpid();
  Report(with_pid);
  sigset_t waiting_mask;
  pthread_sigmask(SIG_BLOCK, nullptr, &waiting_mask);
  for (int signal : {SIGTERM, SIGINT}) sigdelset(&waiting_mask, signal);
  while (!stop_requested) {
    pollfd input{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
    if (ppoll(&input, 1, nullptr, &waiting_mask) <= 0) continue;
    char text[256];
    const ssize_t size = read(STDIN_FILENO, text, sizeof(text));
    if (size < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (size <= 0 || std::memchr(text, '\n', static_cast<size_t>(size))) return;
  }
}

}  // namespace workload
