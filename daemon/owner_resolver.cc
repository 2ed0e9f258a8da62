// SPDX-License-Identifier: Apache-2.0
#include "daemon/owner_resolver.h"

#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "daemon/devices.h"
#include "daemon/hotplug_road.h"
#include "daemon/processes.h"
#include "daemon/subsystem.h"

namespace pinwatch {
namespace {

// Fields of /proc/PID/stat, by proc(5).
constexpr size_t kFlags = 9;
constexpr size_t kThreads = 20;
constexpr size_t kStartTime = 22;
constexpr size_t kVirtualSize = 23;

constexpr uint64_t kKernelThread = 0x00200000;  // PF_KTHREAD

// A process that waits to be reaped has no memory left and, of its threads,
// only the first.
bool IsZombie(const ProcStat& stat) {
  uint64_t flags = 0, threads = 0, virtual_size = 0;
  return stat.Get(kFlags, &flags) && !(flags & kKernelThread) &&
         stat.Get(kThreads, &threads) && threads <= 1 &&
         stat.Get(kVirtualSize, &virtual_size) && virtual_size == 0;
}

}  // namespace

OwnerResolver::OwnerResolver(std::string root)
    : root_(std::move(root)), kernel_symbols_(root_) {}

Process OwnerResolver::Find(uint32_t pid, uint64_t start_boottime_ns,
                            const std::string& comm) const {
  // The name as it was at the first pin, should the process be gone.
  Process process{
      .pid = pid, .start_boottime_ns = start_boottime_ns, .comm = comm};
  const absl::StatusOr<ProcessInfo> info = ReadProcess(root_, pid);
  process.ended =
      !info.ok() || !IsSameProcess(info->start_ticks, start_boottime_ns);
  if (process.ended) return process;
  process.comm = info->comm;
  process.exe = info->exe;
  process.cgroup = info->cgroup;
  process.unit = info->unit;
  return process;
}

std::vector<KernelSymbols::Symbol> OwnerResolver::Resolve(
    const std::vector<uint64_t>& addresses, int64_t now_ns) {
  std::vector<KernelSymbols::Symbol> symbols;
  for (const uint64_t address : addresses)
    symbols.push_back(kernel_symbols_.Resolve(address, now_ns));
  return symbols;
}

std::string OwnerResolver::FindRoad(const std::vector<uint64_t>& kernel_stack,
                                    int64_t now_ns) {
  return pinwatch::FindRoad(Resolve(kernel_stack, now_ns));
}

void OwnerResolver::NameKernelStack(const OwnerReading& reading, int64_t now_ns,
                                    PinOwner& owner) {
  const std::vector<KernelSymbols::Symbol> stack =
      Resolve(reading.kernel_stack, now_ns);
  CallSite site = FindCallSite(stack);
  owner.call_site = std::move(site.function);
  owner.subsystem = std::move(site.subsystem);
  CallStack frames;
  for (const KernelSymbols::Symbol& symbol : stack) {
    // The programs that took the stack say nothing of who pins.
    if (absl::StartsWith(symbol.name, "bpf_")) continue;
    frames.push_back(ToText(symbol));
  }
  owner.kernel_stack = std::move(frames);
}

void OwnerResolver::NameDevices(const OwnerReading& reading,
                                PinOwner& owner) const {
  const Process& process = owner.via ? *owner.via : owner.process;
  if (process.ended) return;
  const uint32_t pid = reading.via_pid ? reading.via_pid : reading.pid;
  auto devices = DevicesOf(root_, pid, owner.subsystem);
  if (!HasEnded(process)) owner.devices = std::move(devices);
}

// Costs a child process, so the many short-term owners go without.
void OwnerResolver::NameUserStack(const OwnerReading& reading,
                                  PinOwner& owner) {
  if (!reading.long_term || reading.user_stack.empty()) return;
  const uint32_t pid = reading.via_pid ? reading.via_pid : reading.pid;
  const Process& process = owner.via ? *owner.via : owner.process;
  if (process.ended) return;
  const std::vector<UserSymbol> symbols =
      user_symbols_.Resolve(static_cast<pid_t>(pid), reading.user_stack);
  if (HasEnded(process)) return;
  CallStack frames;
  for (const UserSymbol& symbol : symbols) frames.push_back(ToText(symbol));
  owner.user_stack = std::move(frames);
}

PinOwner OwnerResolver::Identify(const OwnerReading& reading, int64_t now_ns) {
  PinOwner owner{
      .process = Find(reading.pid, reading.start_boottime_ns, reading.comm)};
  if (reading.via_pid != 0)
    owner.via =
        Find(reading.via_pid, reading.via_start_boottime_ns, reading.via_comm);
  NameKernelStack(reading, now_ns, owner);
  NameDevices(reading, owner);
  NameUserStack(reading, owner);
  return owner;
}

bool OwnerResolver::HasEnded(const Process& process) const {
  const absl::StatusOr<ProcStat> stat =
      ProcStat::Read(absl::StrCat(root_, "/proc/", process.pid, "/stat"));
  if (!stat.ok()) return true;
  uint64_t start_ticks = 0;
  return !stat->Get(kStartTime, &start_ticks) ||
         !IsSameProcess(start_ticks, process.start_boottime_ns) ||
         IsZombie(*stat);
}

}  // namespace pinwatch
