// SPDX-License-Identifier: Apache-2.0
#include "daemon/kernel_symbols.h"

#include <malloc.h>

#include <algorithm>
#include <charconv>
#include <limits>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace pinwatch {
namespace {

// How often an unknown address is looked into while the modules stay, and
// whether they have changed where no address of theirs is asked for.
constexpr int64_t kMinReloadNs = 5'000'000'000;
constexpr int64_t kIdleNs = 60'000'000'000;

// The largest functions have some ten KiB. What is further from the last
// symbol before it belongs to nothing that is listed.
constexpr uint64_t kMaxFunctionBytes = 1 << 20;

// Of what is no line of /proc/modules: the kernel, and BPF programs.
constexpr uint64_t kNoEnd = std::numeric_limits<uint64_t>::max();

constexpr uint32_t kNoFunction = std::numeric_limits<uint32_t>::max();

// Addresses of the kernel are in the upper half.
bool IsKernelAddress(uint64_t address) { return address >> 63 != 0; }

// A line of /proc/kallsyms: "ffffffffc0201000 t vfio_init\t[vfio]".
struct Line {
  uint64_t address = 0;
  char kind = 0;
  absl::string_view name;
  absl::string_view module;
};

bool ParseLine(absl::string_view text, Line* line) {
  const char* end = text.data() + text.size();
  const auto [rest, error] =
      std::from_chars(text.data(), end, line->address, 16);
  if (error != std::errc() || end - rest < 4 || rest[0] != ' ' ||
      rest[2] != ' ')
    return false;
  line->kind = rest[1];
  line->name = absl::string_view(rest + 3, end - rest - 3);
  line->module = "";
  if (const size_t tab = line->name.find('\t');
      tab != absl::string_view::npos) {
    line->module = line->name.substr(tab + 1);
    line->name = line->name.substr(0, tab);
    if (!absl::ConsumePrefix(&line->module, "[") ||
        !absl::ConsumeSuffix(&line->module, "]"))
      return false;
  }
  return !line->name.empty();
}

bool IsFunction(char kind) {
  return kind == 't' || kind == 'T' || kind == 'w' || kind == 'W';
}

}  // namespace

KernelSymbols::KernelSymbols(const std::string& root)
    : kallsyms_(root + "/proc/kallsyms"),
      modules_file_(root + "/proc/modules") {}

KernelSymbols::Symbol KernelSymbols::Resolve(uint64_t address, int64_t now_ns) {
  LoadIfDue(kMinReloadNs, now_ns);
  const Entry* entry = FunctionAt(address);
  if (IsKernelAddress(address) && (!entry || IsOfModule(*entry))) {
    // A module may be used as soon as it is loaded, and be where functions of
    // another's initialisation were: ftrace has them listed after they are
    // gone. One look does for a whole stack.
    LoadIfDue(/*min_age_ns=*/1, now_ns);
    entry = FunctionAt(address);
    if (!entry && now_ns - loaded_ns_ >= kMinReloadNs) {
      Load(now_ns);
      entry = FunctionAt(address);
    }
  }
  if (entry)
    return {.name = names_.c_str() + entry->name,
            .module = modules_[entry->module].name,
            .offset = address - entry->address,
            .known = true};
  if (absl::IsFailedPrecondition(status_)) return {.name = "[ksym hidden]"};
  return {.name = absl::StrCat("0x", absl::Hex(address))};
}

absl::StatusOr<KernelSymbols::Range> KernelSymbols::Find(absl::string_view name,
                                                         int64_t now_ns) {
  LoadIfDue(kMinReloadNs, now_ns);
  if (!status_.ok()) return status_;
  const Entry* found = nullptr;
  for (const Entry& entry : entries_) {
    if (entry.name == kNoFunction || names_.c_str() + entry.name != name)
      continue;
    if (found && found->address != entry.address)
      return absl::FailedPreconditionError(
          absl::StrCat("the kernel has several functions ", name));
    found = &entry;
  }
  if (!found)
    return absl::NotFoundError(
        absl::StrCat("the kernel has no function ", name));
  return Range{.start = found->address, .end = EndOf(*found)};
}

void KernelSymbols::FreeIfIdle(int64_t now_ns) {
  if (!is_loaded_ || now_ns - used_ns_ < kIdleNs) return;
  Clear();
  malloc_trim(0);  // glibc keeps what was freed in pieces of this size
}

void KernelSymbols::LoadIfDue(int64_t min_age_ns, int64_t now_ns) {
  used_ns_ = now_ns;
  if (is_loaded_) {
    if (now_ns - checked_ns_ < min_age_ns) return;
    checked_ns_ = now_ns;
    if (ReadModules() == loaded_modules_) return;
  }
  Load(now_ns);
}

// The name, size and address of each line of /proc/modules. What is between
// changes with every user of a module, and a kernel without modules has none.
std::string KernelSymbols::ReadModules() {
  std::string modules;
  (void)modules_file_.ForEachLine([&](absl::string_view line) {
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
    if (words.size() >= 6)
      absl::StrAppend(&modules, words[0], " ", words[1], " ", words[5], "\n");
    return absl::OkStatus();
  });
  return modules;
}

void KernelSymbols::Load(int64_t now_ns) {
  Clear();
  is_loaded_ = true;
  checked_ns_ = loaded_ns_ = now_ns;
  // Before the symbols: a module that comes in between is found next time.
  loaded_modules_ = ReadModules();
  status_ = Parse();
  if (!status_.ok()) {
    entries_.clear();
    return;
  }
  Sort();
  ReadModuleEnds(loaded_modules_);
  entries_.shrink_to_fit();
  names_.shrink_to_fit();
}

absl::Status KernelSymbols::Parse() {
  const std::string& path = kallsyms_.path();
  size_t number = 0;
  bool any_function = false;
  const absl::Status status =
      kallsyms_.ForEachLine([&](absl::string_view text) {
        ++number;
        Line line;
        if (!ParseLine(text, &line))
          return absl::DataLossError(absl::StrCat(path, " line ", number,
                                                  ": not understood: \"",
                                                  text.substr(0, 80), "\""));
        any_function |= IsFunction(line.kind);
        // Offsets in the per-CPU area are listed beside the addresses.
        if (IsKernelAddress(line.address))
          AddEntry(line.address, IsFunction(line.kind), line.name, line.module);
        return absl::OkStatus();
      });
  if (!status.ok()) return status;
  if (!any_function)
    return absl::DataLossError(absl::StrCat(path, ": names no function"));
  if (entries_.empty())
    return absl::FailedPreconditionError(
        "kernel addresses are hidden: give CAP_SYSLOG and set "
        "kernel.kptr_restrict to 0 or 1");
  return absl::OkStatus();
}

void KernelSymbols::AddEntry(uint64_t address, bool is_function,
                             absl::string_view name, absl::string_view module) {
  // The lines of a module stand together.
  if (modules_.empty() || modules_.back().name != module)
    modules_.push_back({std::string(module), kNoEnd});
  Entry entry{.address = address,
              .name = kNoFunction,
              .module = static_cast<uint32_t>(modules_.size() - 1)};
  if (is_function) {
    entry.name = static_cast<uint32_t>(names_.size());
    names_.append(name.data(), name.size()).push_back('\0');
  }
  entries_.push_back(entry);
}

// Of data only where it begins is kept: there the function before it ends.
void KernelSymbols::Sort() {
  std::stable_sort(entries_.begin(), entries_.end(),
                   [](const Entry& a, const Entry& b) {
                     if (a.address != b.address) return a.address < b.address;
                     return a.name == kNoFunction && b.name != kNoFunction;
                   });
  entries_.erase(std::unique(entries_.begin(), entries_.end(),
                             [](const Entry& a, const Entry& b) {
                               return a.name == kNoFunction &&
                                      b.name == kNoFunction;
                             }),
                 entries_.end());
}

void KernelSymbols::ReadModuleEnds(absl::string_view proc_modules) {
  for (absl::string_view line : absl::StrSplit(proc_modules, '\n')) {
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
    uint64_t size, start;
    if (words.size() != 3 || !absl::SimpleAtoi(words[1], &size) ||
        !absl::SimpleHexAtoi(words[2], &start) || start == 0)
      continue;
    for (Module& module : modules_)
      if (module.name == words[0]) module.end = start + size;
  }
}

const KernelSymbols::Entry* KernelSymbols::FunctionAt(uint64_t address) const {
  auto entry = std::upper_bound(
      entries_.begin(), entries_.end(), address,
      [](uint64_t address, const Entry& e) { return address < e.address; });
  if (entry == entries_.begin() || (--entry)->name == kNoFunction)
    return nullptr;
  while (entry != entries_.begin() &&
         std::prev(entry)->address == entry->address &&
         std::prev(entry)->name != kNoFunction)
    --entry;
  return address < EndOf(*entry) ? &*entry : nullptr;
}

bool KernelSymbols::IsOfModule(const Entry& entry) const {
  return modules_[entry.module].end != kNoEnd;
}

uint64_t KernelSymbols::EndOf(const Entry& entry) const {
  const auto next = std::upper_bound(
      entries_.begin(), entries_.end(), entry.address,
      [](uint64_t address, const Entry& e) { return address < e.address; });
  uint64_t end =
      std::min(entry.address + kMaxFunctionBytes, modules_[entry.module].end);
  if (next != entries_.end()) end = std::min(end, next->address);
  return end;
}

void KernelSymbols::Clear() {
  is_loaded_ = false;
  status_ = absl::OkStatus();
  // Assigned, not cleared: that is what gives the memory back.
  loaded_modules_ = std::string();
  entries_ = std::vector<Entry>();
  names_ = std::string();
  modules_ = std::vector<Module>();
}

std::string ToText(const KernelSymbols::Symbol& symbol) {
  if (!symbol.known) return symbol.name;
  std::string text = absl::StrCat(symbol.name, "+0x", absl::Hex(symbol.offset));
  if (!symbol.module.empty()) absl::StrAppend(&text, " [", symbol.module, "]");
  return text;
}

}  // namespace pinwatch
