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

// Of bpf/pin_moves.h. The first must be there.
struct MoveProgram {
  std::string_view function;
  std::string_view program;
};
constexpr MoveProgram kMovePrograms[] = {
    {"folio_isolate_lru", "isolate_lru__fexit"},
    {"isolate_hugetlb", "isolate_hugetlb__fexit"},
    {"folio_isolate_hugetlb", "folio_isolate_hugetlb__fexit"},
    {"alloc_migration_target", "migration_target__fexit"},
    {"migrate_longterm_unpinnable_folios", "migrate_longterm__fexit"},
};

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
  return IsTracepoint(program) ||
         std::ranges::find(kMovePrograms, program, &MoveProgram::program) !=
             std::end(kMovePrograms);
}

std::set<std::string> MoveFunctions() {
  std::set<std::string> names;
  for (const MoveProgram& one : kMovePrograms) names.emplace(one.function);
  return names;
}

std::set<std::string> ChooseMovePrograms(
    const std::set<std::string>& functions, int migrate_args,
    const std::vector<std::string>& migrate_reasons) {
  std::set<std::string> programs;
  if (!functions.count("folio_isolate_lru") ||
      (migrate_args != 7 && migrate_args != 8) ||
      std::ranges::find(migrate_reasons, "longterm_pin") ==
          migrate_reasons.end())
    return programs;
  for (const MoveProgram& one : kMovePrograms)
    if (functions.count(std::string(one.function)))
      programs.emplace(one.program);
  programs.insert(migrate_args == 7 ? "pages_moved__7_args"
                                    : "pages_moved__8_args");
  return programs;
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
