// SPDX-License-Identifier: Apache-2.0
#include "cli/owner_text.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "cli/proto_time.h"
#include "cli/text.h"
#include "cli/words.h"

namespace pinwatch {
namespace {

constexpr size_t kWidth = 80;
constexpr size_t kIndent = 2;
constexpr int kMaxFrames = 4;
constexpr int kMaxInferred = 8;

// "4,097 pages (16.0 MiB) held, 1 page (4 KiB) shared".
std::string Held(const v1::PinOwner& owner) {
  std::vector<std::string> parts;
  for (const v1::Certainty certainty :
       {v1::CERTAINTY_HELD, v1::CERTAINTY_SHARED, v1::CERTAINTY_ONE_OF,
        v1::CERTAINTY_PROBABLE}) {
    uint64_t pages = 0;
    for (const v1::PinHolding& holding : owner.holdings())
      if (holding.certainty() == certainty) pages += holding.pins().pages();
    if (pages)
      parts.push_back(absl::StrCat(PagesAndSize(pages), " ", Word(certainty)));
  }
  return absl::StrJoin(parts, ", ");
}

std::string Since(const v1::PinOwner& owner, absl::Time now) {
  absl::Time since = absl::InfiniteFuture();
  bool exact = true;
  for (const v1::PinHolding& holding : owner.holdings()) {
    since = std::min(since, ToTime(holding.since()));
    exact = exact && holding.since_exact();
  }
  return absl::StrCat(exact ? "for " : "for more than ", Age(now - since));
}

void AddStack(absl::string_view name,
              const google::protobuf::RepeatedPtrField<std::string>& frames,
              std::string& to) {
  if (frames.empty()) return;
  const int shown = std::min(frames.size(), kMaxFrames);
  to += Detail(
      absl::StrCat(name, ": ",
                   absl::StrJoin(frames.begin(), frames.begin() + shown, " < "),
                   shown < frames.size() ? " < ..." : ""),
      kWidth, kIndent);
}

std::string Stop(const v1::Process& process) {
  return absl::StrCat(
      "stop or drain ", ProcessName(process),
      process.unit().empty() ? "" : absl::StrCat(" of unit ", process.unit()));
}

std::string InferredText(const v1::InferredHolder& holder) {
  uint64_t alone = 0;
  uint64_t one_of = 0;
  for (const v1::InferredPages& part : holder.pages())
    (part.alone() ? alone : one_of) += part.pins().pages();
  std::vector<std::string> pages;
  if (alone) pages.push_back(PagesAndSize(alone));
  if (one_of)
    pages.push_back(absl::StrCat(PagesAndSize(one_of), " as one of several"));
  return Paragraph(absl::StrCat(
      ProcessName(holder.process()), ", inferred: ", absl::StrJoin(pages, ", "),
      "; it maps them; ", absl::StrJoin(holder.evidence(), ", ")));
}

}  // namespace

std::string OwnerText(const v1::PinOwner& owner, absl::Time now) {
  const v1::Process& process = owner.process();
  std::string text = Paragraph(absl::StrCat(
      ProcessName(process), process.ended() ? ", which has ended" : "", ": ",
      Held(owner), ", ", owner.long_term() ? "long-term" : "short-term", ", ",
      Since(owner, now)));
  std::vector<std::string> of;
  if (!process.unit().empty())
    of.push_back(absl::StrCat("unit ", process.unit()));
  else if (!process.cgroup().empty())
    of.push_back(absl::StrCat("cgroup ", process.cgroup()));
  if (!process.exe().empty()) of.push_back(process.exe());
  if (owner.has_via())
    of.push_back(absl::StrCat("asked by ", ProcessName(owner.via())));
  if (!of.empty()) text += Detail(absl::StrJoin(of, ", "), kWidth, kIndent);
  text += Detail(
      absl::StrCat("through ",
                   owner.subsystem().empty() ? "?" : owner.subsystem(), ": ",
                   owner.call_site().empty() ? "?" : owner.call_site(),
                   " called ", owner.door().empty() ? "?" : owner.door()),
      kWidth, kIndent);
  if (const std::string concern = ConcernText(owner, now); !concern.empty())
    text += Detail(concern, kWidth, kIndent);
  AddStack("kernel stack", owner.kernel_stack(), text);
  AddStack("user stack", owner.user_stack(), text);
  return text;
}

std::string InferredTexts(
    const google::protobuf::RepeatedPtrField<v1::InferredHolder>& holders) {
  std::string text;
  const int shown = std::min(holders.size(), kMaxInferred);
  for (int i = 0; i < shown; ++i) text += InferredText(holders[i]);
  if (shown < holders.size())
    text += Paragraph(absl::StrCat("and ", holders.size() - shown,
                                   " more inferred; -o json shows all"));
  return text;
}

std::string ConcernText(const v1::PinOwner& owner, absl::Time now) {
  if (owner.has_growth()) {
    const v1::PinGrowth& growth = owner.growth();
    return absl::StrCat("suspected leak: from ", Count(growth.from_pages()),
                        " to ", Count(PagesHeld(owner)), " pages in ",
                        Age(now - ToTime(growth.since())), ", ",
                        Count(growth.rises()), " rises and never a fall");
  }
  uint64_t overdue = 0;
  absl::Time since = absl::InfiniteFuture();
  for (const v1::PinHolding& holding : owner.holdings()) {
    if (!holding.overdue_pages()) continue;
    overdue += holding.overdue_pages();
    since = std::min(since, ToTime(holding.since()));
  }
  if (!overdue) return "";
  return absl::StrCat("short-term acting long-term: ", PagesAndSize(overdue),
                      " held for up to ", Age(now - since));
}

std::string ReleaseText(const v1::PinOwner& owner) {
  if (owner.process().ended())
    return absl::StrCat(ProcessName(owner.process()),
                        " has ended; stop what it left open, such as a child "
                        "with its io_uring or vfio file");
  const auto is_sure = [](const v1::PinHolding& holding) {
    return holding.certainty() == v1::CERTAINTY_HELD ||
           holding.certainty() == v1::CERTAINTY_SHARED;
  };
  const bool sure =
      std::any_of(owner.holdings().begin(), owner.holdings().end(), is_sure);
  return absl::StrCat(sure ? "" : "perhaps: ", Stop(owner.process()));
}

std::string ReleaseText(const v1::InferredHolder& holder) {
  return absl::StrCat("perhaps: ", Stop(holder.process()));
}

}  // namespace pinwatch
