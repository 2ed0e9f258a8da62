// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_DOORS_H_
#define PINWATCH_DAEMON_DOORS_H_

#include <map>
#include <set>
#include <string>
#include <vector>

namespace pinwatch {

// What a kernel's types tell of functions that pin pages: the names of their
// parameters, by name.
using PinFunctions = std::map<std::string, std::vector<std::string>>;

// The functions that ChooseDoors() goes by.
std::set<std::string> DoorFunctions();

// The doors that can be followed, by name.
std::set<std::string> DoorNames();

struct Doors {
  std::set<std::string> programs;  // of bpf/pin.bpf.c, to be loaded
  // Of these, those that short-term calls come to or by, with their doors.
  std::map<std::string, std::string> short_term;
  // The door whose short-term calls come to a program that must stay for
  // long-term calls through another. Empty: none.
  std::string inner;
  std::set<std::string> followed;
  std::set<std::string> not_followed;  // though the kernel has them
  // Functions that add a pin where their caller has one already: that one's
  // claim is theirs.
  std::set<std::string> implied;
};

// Functions that ChooseMovePrograms() goes by.
std::set<std::string> MoveFunctions();

struct MovePrograms {
  std::set<std::string> programs;
  // They see begin and end of each round; otherwise rounds are derived.
  bool sees_rounds = false;
  bool sees_targets = false;  // and where there was no page to move one to
};

// The programs that follow what long-term calls have to move; none where the
// kernel does not move, or not by what is known here. `migrate_args`: of the
// tracepoint mm_migrate_pages. `at_any_cost`: those too that run whenever
// anybody moves a page.
MovePrograms ChooseMovePrograms(const std::set<std::string>& functions,
                                int migrate_args,
                                const std::vector<std::string>& migrate_reasons,
                                bool at_any_cost);

// Whether a program is one of these, and none of a door.
bool IsMoveProgram(const std::string& program);
// Whether it is attached to a tracepoint.
bool IsTracepoint(const std::string& program);

// Whether a program runs when calls begin, and not when they return.
bool IsEntry(const std::string& program);

// `bounded`: the kernel lacks what the programs' other form takes. Pure, so
// that it can be tested for kernels that are not here.
Doors ChooseDoors(const PinFunctions& functions, bool bounded,
                  const std::set<std::string>& without);

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_DOORS_H_
