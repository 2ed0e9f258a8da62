// SPDX-License-Identifier: Apache-2.0
//
// Pins that are older than the daemon, and who is likely to hold them.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <memory>
#include <set>

#include "tests/vm/guest.h"

namespace pinwatch::guest {
namespace {

using Inferred = OwnDaemonTest;

constexpr char kInferred[] = "CERTAINTY_INFERRED";
constexpr char kRing[] = "io_uring with registered buffers";

std::string PathOf(const Workload& workload) {
  return "/proc/" + std::to_string(workload.pid()) + "/fd/" +
         std::to_string(workload.held().at("fd").get<int>());
}

// Maps the workload's memfd here, where nothing is ever pinned.
class Innocent {
 public:
  explicit Innocent(const Workload& workload)
      : size_(workload.pfns().size() * kPageBytes) {
    const int fd = open(PathOf(workload).c_str(), O_RDWR | O_CLOEXEC);
    data_ = mmap(nullptr, size_, PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_POPULATE, fd, 0);
    close(fd);
    if (data_ == MAP_FAILED) Fail("cannot map the workload's memory");
  }
  ~Innocent() { munmap(data_, size_); }
  Innocent(const Innocent&) = delete;
  Innocent& operator=(const Innocent&) = delete;

 private:
  const size_t size_;
  void* data_;
};

// Pages by certainty and reason.
using Attributions = std::map<std::pair<std::string, std::string>, Pins>;

Attributions AttributionsIn(const Json& owners) {
  Attributions result;
  for (const Json& part : owners.at("attributions")) {
    Pins& pins = result[{part.at("certainty"), part.at("reason")}];
    pins.pages += part.at("pins").at("pages").get<uint64_t>();
    pins.references += part.at("pins").at("references").get<uint64_t>();
  }
  return result;
}

// Pages by process, and whether it alone may hold them.
using Likely = std::map<std::pair<pid_t, bool>, uint64_t>;

Likely LikelyIn(const Json& answer) {
  Likely result;
  for (const Json& holder : answer.at("inferred"))
    for (const Json& part : holder.at("pages"))
      result[{holder.at("process").at("pid"), part.at("alone")}] +=
          part.at("pins").at("pages").get<uint64_t>();
  return result;
}

// What a look at all memory says, once searches have come so far.
Json OwnersWith(const Attributions& wanted) {
  Json owners;
  EXPECT_TRUE(Eventually(seconds(90), [&] {
    owners = FreshOwners();
    return AttributionsIn(owners) == wanted;
  })) << owners;
  return owners;
}

std::vector<std::string> EvidenceOf(pid_t pid, const Json& owners) {
  for (const Json& holder : owners.at("inferred"))
    if (holder.at("process").at("pid") == pid) return holder.at("evidence");
  return {};
}

// What the kernel accounts to the process as pinned, in its own words.
std::string VmPinOf(pid_t pid) {
  const std::string status =
      ReadFile("/proc/" + std::to_string(pid) + "/status");
  const size_t begin = status.find("VmPin:");
  std::string value =
      status.substr(begin + 6, status.find('\n', begin) - begin - 6);
  value.erase(0, value.find_first_not_of(" \t"));
  return "VmPin " + value;
}

TEST_F(Inferred, OlderPinsAreLikelyOfWhoMapsThemAndShowsThatItPins) {
  Workload sole({"pin-iouring", "--pages", "23", "--memfd"});
  const Innocent innocent(sole);
  Workload first({"pin-iouring", "--pages", "11", "--memfd"});
  Workload second({"pin-iouring", "--pages", "11", "--share-with",
                   std::to_string(first.pid()) + ":" +
                       std::to_string(first.held().at("fd").get<int>())});
  ASSERT_EQ(first.pfns(), second.pfns());
  // Its memory went with the process: nobody maps it.
  Workload passed({"pin-iouring", "--pages", "7", "--pass-ring"});
  passed.WaitForEnd();
  const Daemon daemon({"--holders.infer"});
  Workload fresh({"pin-iouring", "--pages", "37"});

  const Json owners =
      OwnersWith({{{kHeld, ""}, Pins{37, 37}},
                  {{kInferred, "mapped_by_one"}, Pins{23, 23}},
                  {{kInferred, "mapped_by_several"}, Pins{11, 22}},
                  {{kUnattributed, "no_candidate"}, Pins{7, 7}}});
  EXPECT_EQ(LikelyIn(owners), (Likely{{{sole.pid(), true}, 23},
                                      {{first.pid(), false}, 11},
                                      {{second.pid(), false}, 11}}));
  // Linux v7.3 counts the buffers of a ring for nobody who has CAP_IPC_LOCK.
  const std::string vm_pin = VmPinOf(sole.pid());
  std::vector<std::string> evidence = {kRing};
  if (vm_pin != "VmPin 0 kB") {
    EXPECT_EQ(vm_pin, "VmPin 92 kB") << "the kernel's own word";
    evidence.insert(evidence.begin(), vm_pin);
  }
  EXPECT_EQ(EvidenceOf(sole.pid(), owners), evidence);
  for (const Json& owner : owners.at("owners"))
    if (!owner.at("holdings").empty()) {
      EXPECT_EQ(owner.at("process").at("pid"), fresh.pid()) << owner;
    }
  EXPECT_EQ(Sum(ReadMetrics(), "pinwatch_attributed_pages",
                {{"certainty", "inferred"}}),
            23 + 11);

  const Json page = ExplainPage(sole.pfns().at(11));
  EXPECT_EQ(page.at("attribution").at("certainty"), kInferred) << page;
  EXPECT_EQ(LikelyIn(page), (Likely{{{sole.pid(), true}, 1}}));
  EXPECT_TRUE(page.at("owners").empty()) << page;
  EXPECT_TRUE(LikelyIn(ExplainPage(fresh.pfns().at(0))).empty());
  EXPECT_NE(Ask({"pinwatch", "top"}).find("23 pages (92 KiB); it maps them"),
            std::string::npos);

  sole.Release();
  first.Release();
  EXPECT_EQ(
      LikelyIn(OwnersWith({{{kHeld, ""}, Pins{37, 37}},
                           {{kInferred, "mapped_by_one"}, Pins{11, 11}},
                           {{kUnattributed, "no_candidate"}, Pins{7, 7}}})),
      (Likely{{{second.pid(), true}, 11}}));
}

std::string XdpEvidence(uint64_t pages) {
  // Which the daemon has had the kernel load by now, where it has it.
  Process load({"modprobe", "-q", "xsk_diag"});
  return load.Wait(seconds(30)) == 0 ? "AF_XDP socket with a umem of " +
                                           std::to_string(pages) + " pages"
                                     : "AF_XDP socket";
}

TEST_F(Inferred, AUmemIsLikelyOfWhoHasItsSocketInWhateverNetwork) {
  Workload here({"pin-xdp", "--pages", "1023"});
  Workload elsewhere({"unshare", "-n", "pin-xdp", "--pages", "37"});
  const Daemon daemon({"--holders.infer"});
  const Json owners =
      OwnersWith({{{kInferred, "mapped_by_one"}, Pins{1023 + 37, 1023 + 37}}});
  EXPECT_EQ(LikelyIn(owners), (Likely{{{here.pid(), true}, 1023},
                                      {{elsewhere.pid(), true}, 37}}));
  EXPECT_EQ(EvidenceOf(here.pid(), owners),
            std::vector<std::string>{XdpEvidence(1023)});
  // Of another network no more than that is told.
  EXPECT_EQ(EvidenceOf(elsewhere.pid(), owners),
            std::vector<std::string>{"AF_XDP socket"});
  here.Release();
  EXPECT_EQ(
      LikelyIn(OwnersWith({{{kInferred, "mapped_by_one"}, Pins{37, 37}}})),
      (Likely{{{elsewhere.pid(), true}, 37}}));
}

// Has the memory of one memfd charged to the cgroup.
class Toucher {
 public:
  Toucher(const Cgroup& cgroup, size_t nr_pages)
      : fd_(memfd_create("shared", MFD_CLOEXEC)), size_(nr_pages * kPageBytes) {
    if (fd_ < 0 || ftruncate(fd_, static_cast<off_t>(size_)) != 0)
      Fail("cannot make a memfd");
    cgroup.Take(getpid());
    data_ = mmap(nullptr, size_, PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_POPULATE, fd_, 0);
    WriteFile("/sys/fs/cgroup/cgroup.procs", std::to_string(getpid()));
    if (data_ == MAP_FAILED) Fail("cannot map a memfd");
  }
  ~Toucher() {
    munmap(data_, size_);
    close(fd_);
  }
  Toucher(const Toucher&) = delete;
  Toucher& operator=(const Toucher&) = delete;

  std::string Share() const {
    return std::to_string(getpid()) + ":" + std::to_string(fd_);
  }

 private:
  const int fd_;
  const size_t size_;
  void* data_ = nullptr;
};

TEST_F(Inferred, WhatPagesAreChargedToSpeaksForOrAgainstAHolder) {
  const Cgroup one("one"), other("other");
  Workload own(one.Command({"pin-iouring", "--pages", "23"}));
  const Toucher toucher(other, 11);
  Workload foreign(one.Command(
      {"pin-iouring", "--pages", "11", "--share-with", toucher.Share()}));
  for (const uint64_t pfn : own.pfns())
    ASSERT_EQ(ReadPageCgroup(pfn), one.inode());
  for (const uint64_t pfn : foreign.pfns())
    ASSERT_EQ(ReadPageCgroup(pfn), other.inode());
  const Daemon daemon({"--holders.infer"});
  const Json owners =
      OwnersWith({{{kInferred, "mapped_by_one"}, Pins{23, 23}},
                  {{kInferred, "charged_elsewhere"}, Pins{11, 11}}});
  EXPECT_EQ(LikelyIn(owners),
            (Likely{{{own.pid(), true}, 23}, {{foreign.pid(), true}, 11}}));
  EXPECT_EQ(EvidenceOf(own.pid(), owners).back(),
            "23 pages charged to its cgroup /one");
  EXPECT_EQ(EvidenceOf(foreign.pid(), owners).back(),
            "but 11 pages charged to other cgroups");
}

// One page of this process and a child of it, queued in a socket: a reference
// that is no pin, of which nothing tells who holds it.
class QueuedPage {
 public:
  QueuedPage()
      : data_(mmap(nullptr, kPageBytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
    if (data_ == MAP_FAILED) Fail("cannot map a page");
    static_cast<volatile char*>(data_)[0] = 1;
    child_ = fork();
    if (child_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      for (;;) pause();
    }
    int pipe_fds[2];
    if (pipe(pipe_fds) != 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, sockets_))
      Fail("cannot open a socket");
    iovec piece{data_, kPageBytes};
    if (vmsplice(pipe_fds[1], &piece, 1, 0) != kPageBytes ||
        splice(pipe_fds[0], nullptr, sockets_[0], nullptr, kPageBytes, 0) !=
            kPageBytes)
      Fail("cannot queue a page");
    close(pipe_fds[0]);
    close(pipe_fds[1]);
  }
  ~QueuedPage() {
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
    close(sockets_[0]);
    close(sockets_[1]);
    munmap(data_, kPageBytes);
  }
  QueuedPage(const QueuedPage&) = delete;
  QueuedPage& operator=(const QueuedPage&) = delete;

  pid_t child() const { return child_; }

  uint64_t pfn() const { return PfnOf(data_); }

 private:
  void* const data_;
  pid_t child_ = -1;
  int sockets_[2];
};

TEST_F(Inferred, WhoMapsAPageWithAPlainReferenceIsNamedAsThatAlone) {
  // In a cgroup of their own: such processes are looked at first.
  const Cgroup cgroup("queue");
  cgroup.Take(getpid());
  const QueuedPage queued;
  const std::vector<std::string> question = {"pinwatch", "explain", "pfn",
                                             std::to_string(queued.pfn())};
  {
    const Daemon daemon({"--holders.infer"});
    Json page;
    // In a guest that has the CPU not to itself the time for it may be over.
    EXPECT_TRUE(Eventually(seconds(90), [&] {
      page = ExplainPage(queued.pfn());
      return page.at("mapped_by").at("complete").get<bool>();
    })) << page;
    EXPECT_EQ(page.at("page_class"), "elevated") << page;
    EXPECT_TRUE(page.at("reference_holders").empty()) << page;
    EXPECT_EQ(page.at("pipes_searched"), true) << page;
    std::set<pid_t> pids;
    for (const Json& process : page.at("mapped_by").at("processes"))
      pids.insert(process.at("pid").get<pid_t>());
    EXPECT_EQ(pids, (std::set<pid_t>{getpid(), queued.child()})) << page;
    EXPECT_NE(Ask(question).find("It is mapped by "), std::string::npos)
        << Ask(question);
  }
  const Daemon daemon;
  EXPECT_FALSE(ExplainPage(queued.pfn()).contains("mapped_by"));
  EXPECT_NE(Ask(question).find("--holders.infer"), std::string::npos)
      << Ask(question);
  WriteFile("/sys/fs/cgroup/cgroup.procs", std::to_string(getpid()));
}

TEST_F(Inferred, WhoTookAPlainReferenceLastIsNamedAsThatAlone) {
  const Daemon daemon({"--references.follow"});
  const QueuedPage queued;
  const Json page = ExplainPage(queued.pfn());
  EXPECT_EQ(page.at("page_class"), "elevated") << page;
  EXPECT_TRUE(page.at("reference_holders").empty()) << page;
  EXPECT_EQ(page.at("taken_by").at("process").at("pid"), getpid()) << page;
  const std::string text =
      Ask({"pinwatch", "explain", "pfn", std::to_string(queued.pfn())});
  EXPECT_NE(text.find("took one last, through"), std::string::npos) << text;
  const Workload piped({"hold-vmsplice", "--pages", "7", "--references", "1"});
  for (const uint64_t pfn : piped.pfns())
    EXPECT_FALSE(ExplainPage(pfn).contains("taken_by")) << "it is in a pipe";
  if (DirectReadsPin()) return;
  const Workload reader({"odirect-loop", "--device", kSlowDisk, "--pages", "7",
                         "--readers", "3"});
  for (const uint64_t pfn : reader.pfns()) {
    const Json read = ExplainPage(pfn);
    EXPECT_EQ(read.at("taken_by").at("process").at("pid"), reader.pid())
        << read;
  }
}

TEST_F(Inferred, WithoutTheOptionOlderPinsAreUnattributedAndTheAdviceIsGiven) {
  Workload old({"pin-iouring", "--pages", "23", "--memfd"});
  const Daemon daemon;
  const Workload fresh({"pin-iouring", "--pages", "7"});
  const Json owners = OwnersWith(
      {{{kHeld, ""}, Pins{7, 7}}, {{kUnattributed, "no_claim"}, Pins{23, 23}}});
  EXPECT_TRUE(owners.at("inferred").empty()) << owners;
  for (const std::vector<std::string>& question :
       {std::vector<std::string>{"pinwatch", "top"},
        {"pinwatch", "status"},
        {"pinwatch", "explain", "pfn", std::to_string(old.pfns().at(0))}}) {
    const std::string text = Ask(question);
    EXPECT_NE(text.find("--holders.infer"), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace pinwatch::guest
