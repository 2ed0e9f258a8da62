// SPDX-License-Identifier: Apache-2.0
#include "cli/attempts_table.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "cli/proto_time.h"
#include "cli/text.h"
#include "cli/words.h"

namespace pinwatch {
namespace {

constexpr size_t kWidth = 80;
constexpr size_t kAskerWidth = 17;
constexpr size_t kOtherWidth = 27;
constexpr int kMaxBlockers = 3;

void AddRow(std::string& text, absl::string_view began, absl::string_view block,
            absl::string_view operation, absl::string_view result,
            absl::string_view took, absl::string_view failed,
            absl::string_view asker) {
  absl::StrAppendFormat(&text, "%8s  %-12s %-7s  %-8s %8s %11s  %s\n", began,
                        block, operation, result, took, failed, asker);
}

// What became of it, or keeps it from an end, in the kernel's steps.
std::string Story(const v1::Attempt& attempt) {
  if (attempt.operation() != "offline") return "";
  if (attempt.running())
    return attempt.step() == "migrating" && attempt.failed_pages()
               ? "migrating; so far these do not move:"
               : std::string(Printable(attempt.step()));
  const std::string& reason = attempt.reason();
  if (reason == "unmovable_page")
    return attempt.step() == "isolating" ? "refused at once: not movable"
                                         : "a page turned out not to move";
  if (reason == "interrupted")
    return "interrupted by a signal to the asker before all pages had moved";
  if (reason == "isolation_contended")
    return "somebody else isolates pages of the block: try again";
  if (reason == "refused_by_notifier")
    return "refused by a part of the kernel that uses the block";
  if (reason == "huge_pages_in_use")
    return "free huge pages could not be dissolved";
  if (reason == "no_memory") return "no memory was left for it";
  if (reason == "holes_or_several_zones")
    return "the block has holes, or lies in several zones";
  if (reason == "no_single_zone") return "the block is in no single zone";
  if (reason == "refused_before")
    return "refused before anything had been done";
  return "";
}

// The first pages that were in the way, below the row of their attempt.
void AddBlockers(std::string& text, const v1::Attempt& attempt,
                 const OwnersById& owners) {
  const int shown = std::min(attempt.blockers_size(), kMaxBlockers);
  for (int i = 0; i < shown; ++i)
    absl::StrAppend(&text,
                    Fit(absl::StrCat("          ",
                                     BlockerText(attempt.blockers(i), owners)),
                        kWidth),
                    "\n");
  if (const int more = attempt.blockers_size() - shown)
    absl::StrAppend(&text, "          and ", more,
                    " more pages in the way; -o json shows them\n");
}

// The attempt of another asker at the same block which this one came right
// after; null if there is none.
const v1::Attempt* AttemptBefore(const v1::Attempt& attempt,
                                 const v1::ListAttemptsResponse& attempts) {
  for (const v1::Attempt& other : attempts.attempts())
    if (other.id() < attempt.id() &&
        std::ranges::find(attempt.contends_with(), other.id()) !=
            attempt.contends_with().end())
      return &other;
  return nullptr;
}

// Two who want the same, or the opposite, of one block.
void AddContender(std::string& text, const v1::Attempt& attempt,
                  const v1::ListAttemptsResponse& attempts) {
  if (const v1::Attempt* other = AttemptBefore(attempt, attempts))
    absl::StrAppend(&text, "          right after another asker, ",
                    NameWithPid(other->comm(), other->pid(), kOtherWidth), ": ",
                    Fit(other->operation(), 7), "\n");
}

// Where the block is and by which way it was asked for, as far as is known.
void AddPlace(std::string& text, const v1::Attempt& attempt) {
  std::vector<std::string> parts;
  if (attempt.has_nid()) parts.push_back(absl::StrCat("node ", attempt.nid()));
  if (attempt.zone() == "none")
    parts.push_back("several zones");
  else if (!attempt.zone().empty())
    parts.push_back(absl::StrCat("zone ", attempt.zone()));
  if (!attempt.road().empty() && attempt.road() != "unknown")
    parts.push_back(absl::StrCat("through ", attempt.road()));
  if (!attempt.unit().empty())
    parts.push_back(absl::StrCat("by ", attempt.unit()));
  if (parts.empty()) return;
  const std::string line =
      Fit(absl::StrCat("          ", absl::StrJoin(parts, ", ")), kWidth);
  absl::StrAppend(&text, absl::StripTrailingAsciiWhitespace(line), "\n");
}

// "offline: 3 ok, 7 EBUSY", or nothing where none ended.
std::string Outcomes(const v1::ListAttemptsResponse& attempts,
                     absl::string_view operation) {
  std::string line;
  for (const v1::AttemptCount& count : attempts.counts()) {
    if (count.operation() != operation || count.attempts() == 0) continue;
    absl::StrAppend(&line, line.empty() ? "" : ", ", Count(count.attempts()),
                    " ", Printable(count.outcome()));
  }
  return line.empty() ? line : absl::StrCat(operation, ": ", line, "\n");
}

}  // namespace

std::string AttemptText(const v1::Attempt& attempt, const OwnersById& owners) {
  std::string text;
  if (const std::string story = Story(attempt); !story.empty())
    absl::StrAppend(&text, "          ", story, "\n");
  AddBlockers(text, attempt, owners);
  return text;
}

std::string AttemptsTable(const v1::ListAttemptsResponse& attempts,
                          absl::Time now) {
  const std::string outcomes =
      Outcomes(attempts, "offline") + Outcomes(attempts, "online");
  if (attempts.attempts().empty() && outcomes.empty())
    return "no attempt to take memory offline or online since pinwatchd "
           "started\n";
  std::string text;
  AddRow(text, "BEGAN", "BLOCK", "WANTED", "RESULT", "TOOK", "FAILED", "ASKER");
  const OwnersById owners = ById(attempts.owners());
  for (const v1::Attempt& attempt : attempts.attempts()) {
    AddRow(text, Age(now - ToTime(attempt.begin())),
           Fit(absl::StrCat("memory", attempt.block()), 12),
           Fit(attempt.operation(), 7),
           attempt.running() ? "running" : Fit(attempt.outcome(), 8),
           Age(ToDuration(attempt.duration())), Count(attempt.failed_pages()),
           NameWithPid(attempt.comm(), attempt.pid(), kAskerWidth));
    AddPlace(text, attempt);
    AddContender(text, attempt, attempts);
    text += AttemptText(attempt, owners);
  }
  absl::StrAppend(&text,
                  "BEGAN: ago; FAILED: pages that did not move, in every round "
                  "of migration\n\n",
                  outcomes);
  if (attempts.stories_lost())
    absl::StrAppend(&text, "of these, ", Count(attempts.stories_lost()),
                    " without a story\n");
  return text;
}

}  // namespace pinwatch
