// SPDX-License-Identifier: Apache-2.0
#include "daemon/doors.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <string_view>

namespace pinwatch {
namespace {

// A program reads parameters by their places: it fits the function that has
// just these.
struct Form {
  const char* door;
  const char* function;
  std::vector<std::string> parameters;
  const char* program;
  bool has_bounded;
};

// Fexit takes no function of seven arguments before Linux v6.6.
const std::vector<Form>& Forms() {
  static const std::vector<Form> forms = {
      {"memfd_pin_folios",
       "memfd_pin_folios",
       {"memfd", "start", "end", "folios", "max_folios", "offset"},
       "memfd_pin_folios__fexit",
       false},
      {"pin_user_pages",
       "pin_user_pages",
       {"start", "nr_pages", "gup_flags", "pages"},
       "pin_user_pages__fexit_4",
       false},
      {"pin_user_pages",
       "pin_user_pages",
       {"start", "nr_pages", "gup_flags", "pages", "vmas"},
       "pin_user_pages__fexit_5",
       true},
      {"pin_user_pages_fast",
       "pin_user_pages_fast",
       {"start", "nr_pages", "gup_flags", "pages"},
       "pin_user_pages_fast__fexit",
       true},
      {"pin_user_pages_fast_only",
       "pin_user_pages_fast_only",
       {"start", "nr_pages", "gup_flags", "pages"},
       "pin_user_pages_fast_only__fexit",
       true},
      {"pin_user_pages_locked",
       "pin_user_pages_locked",
       {"start", "nr_pages", "gup_flags", "pages", "locked"},
       "pin_user_pages_locked__fexit",
       true},
      {"pin_user_pages_remote",
       "pin_user_pages_remote",
       {"mm", "start", "nr_pages", "gup_flags", "pages", "locked"},
       "pin_user_pages_remote__fexit",
       false},
      {"pin_user_pages_unlocked",
       "pin_user_pages_unlocked",
       {"start", "nr_pages", "pages", "gup_flags"},
       "pin_user_pages_unlocked__fexit",
       true},
  };
  return forms;
}

// They take a folio that is pinned, and know no process.
const std::set<std::string>& Adders() {
  static const std::set<std::string> adders = {"folio_add_pin",
                                               "folio_add_pins"};
  return adders;
}

constexpr char kEntry[] = "_entry";
constexpr char kInner[] = "__gup_longterm_locked";
constexpr char kInnerProgram[] = "gup_longterm_locked__fexit";

// Of bpf/pin_moves.h.
struct MoveProgram {
  std::string_view function;
  std::string_view program;
};
// Those that run where a long-term call moves something, and never otherwise.
constexpr MoveProgram kRoundPrograms[] = {
    {"migrate_longterm_unpinnable_folios", "migrate_longterm_entry"},
    {"migrate_longterm_unpinnable_folios", "migrate_longterm__fexit"},
};
// What those take beside it.
constexpr std::string_view kCast = "bpf_rdonly_cast";
// Instead of them. The first must be there.
constexpr MoveProgram kIsolationPrograms[] = {
    {"folio_isolate_lru", "isolate_lru__fexit"},
    {"isolate_hugetlb", "isolate_hugetlb__fexit"},
    {"folio_isolate_hugetlb", "folio_isolate_hugetlb__fexit"},
};
constexpr MoveProgram kTargetProgram = {"alloc_migration_target",
                                        "migration_target__fexit"};

template <typename Visit>
void ForEachMoveProgram(Visit visit) {
  for (const MoveProgram& one : kRoundPrograms) visit(one);
  for (const MoveProgram& one : kIsolationPrograms) visit(one);
  visit(kTargetProgram);
}

// What follows the calls when they return, and what notes when they began.
std::array<std::string, 2> Programs(const std::string& name, bool bounded) {
  const std::string form = bounded ? "_bounded" : "";
  return {name + form, name + kEntry + form};
}

bool Has(const PinFunctions& functions, const std::string& name,
         const std::vector<std::string>& parameters) {
  const auto found = functions.find(name);
  return found != functions.end() && found->second == parameters;
}

}  // namespace

bool IsEntry(const std::string& program) {
  return program.find(kEntry) != std::string::npos;
}

bool IsTracepoint(const std::string& program) {
  return program == "pages_moved__7_args" || program == "pages_moved__8_args";
}

bool IsMoveProgram(const std::string& program) {
  bool is_one = IsTracepoint(program);
  ForEachMoveProgram(
      [&](const MoveProgram& one) { is_one |= program == one.program; });
  return is_one;
}

std::set<std::string> MoveFunctions() {
  std::set<std::string> names = {std::string(kCast)};
  ForEachMoveProgram(
      [&](const MoveProgram& one) { names.emplace(one.function); });
  return names;
}

MovePrograms ChooseMovePrograms(const std::set<std::string>& functions,
                                int migrate_args,
                                const std::vector<std::string>& migrate_reasons,
                                bool at_any_cost) {
  MovePrograms chosen;
  const auto has = [&](std::string_view function) {
    return functions.count(std::string(function)) != 0;
  };
  if ((migrate_args != 7 && migrate_args != 8) ||
      std::ranges::find(migrate_reasons, "longterm_pin") ==
          migrate_reasons.end())
    return chosen;
  chosen.sees_rounds = has(kRoundPrograms[0].function) && has(kCast);
  if (chosen.sees_rounds) {
    for (const MoveProgram& one : kRoundPrograms)
      chosen.programs.emplace(one.program);
  } else if (at_any_cost && has(kIsolationPrograms[0].function)) {
    for (const MoveProgram& one : kIsolationPrograms)
      if (has(one.function)) chosen.programs.emplace(one.program);
    chosen.programs.insert(migrate_args == 7 ? "pages_moved__7_args"
                                             : "pages_moved__8_args");
  } else {
    return chosen;
  }
  chosen.sees_targets = at_any_cost && has(kTargetProgram.function);
  if (chosen.sees_targets) chosen.programs.emplace(kTargetProgram.program);
  return chosen;
}

std::set<std::string> DoorFunctions() {
  std::set<std::string> names = Adders();
  names.insert(kInner);
  for (const Form& form : Forms()) names.insert(form.function);
  return names;
}

std::set<std::string> DoorNames() {
  std::set<std::string> names;
  for (const Form& form : Forms()) names.insert(form.door);
  return names;
}

Doors ChooseDoors(const PinFunctions& functions, bool bounded,
                  const std::set<std::string>& without) {
  Doors doors;
  std::set<std::string> present;
  for (const Form& form : Forms()) {
    if (functions.count(form.function)) present.insert(form.door);
    if (!Has(functions, form.function, form.parameters)) continue;
    if (without.count(form.door) || (bounded && !form.has_bounded)) continue;
    for (const std::string& program : Programs(form.program, bounded)) {
      doors.programs.insert(program);
      doors.short_term[program] = form.door;
    }
    doors.followed.insert(form.door);
  }
  // pin_user_pages_remote had seven parameters as long as both it and
  // pin_user_pages had `vmas`. Its long-term calls and all of the latter come
  // through the same inner function: one program there is cheaper than two.
  if (doors.followed.count("pin_user_pages") &&
      Has(functions, "pin_user_pages_remote",
          {"mm", "start", "nr_pages", "gup_flags", "pages", "vmas",
           "locked"}) &&
      Has(functions, kInner,
          {"mm", "start", "nr_pages", "pages", "vmas", "gup_flags"}) &&
      !without.count("pin_user_pages_remote")) {
    for (const std::string& program :
         Programs("pin_user_pages__fexit_5", bounded)) {
      doors.programs.erase(program);
      doors.short_term.erase(program);
    }
    for (const std::string& program : Programs(kInnerProgram, bounded))
      doors.programs.insert(program);
    doors.followed.insert("pin_user_pages_remote");
    doors.inner = "pin_user_pages";
  }
  for (const std::string& name : Adders())
    if (functions.count(name)) doors.implied.insert(name);
  std::set_difference(
      present.begin(), present.end(), doors.followed.begin(),
      doors.followed.end(),
      std::inserter(doors.not_followed, doors.not_followed.end()));
  return doors;
}

}  // namespace pinwatch
