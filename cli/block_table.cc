// SPDX-License-Identifier: Apache-2.0
#include "cli/block_table.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "cli/block_map.h"
#include "cli/owner_text.h"
#include "cli/proto_time.h"
#include "cli/text.h"
#include "cli/words.h"

namespace pinwatch {
namespace {

constexpr int kMaxOwners = 4;
constexpr int kMaxBlockers = 5;

const char* Words(v1::Verdict verdict) {
  switch (verdict) {
    case v1::VERDICT_REMOVABLE:
      return "would succeed: nothing in it has to move";
    case v1::VERDICT_REMOVABLE_AFTER_MIGRATION:
      return "would succeed once its pages have moved";
    case v1::VERDICT_BLOCKED_BY_LONG_TERM_PINS:
      return "would fail, or not end, until long-term pins are released";
    case v1::VERDICT_BLOCKED_BY_SHORT_TERM_PINS:
      return "would wait for short-term pins, which are likely to pass";
    case v1::VERDICT_BLOCKED_BY_PLAIN_REFERENCES:
      return "would wait for references that are no pins";
    case v1::VERDICT_BLOCKED_BY_KERNEL_MEMORY:
      return "would fail: kernel memory does not move";
    case v1::VERDICT_ALREADY_OFFLINE:
      return "needs nothing: it is offline";
    default:
      return "may succeed or not: that is not known";
  }
}

class Report {
 public:
  Report(const v1::ExplainBlockResponse& block, absl::Time now)
      : block_(block), now_(now) {
    for (const v1::PinOwner& owner : block.owners()) owners_.push_back(&owner);
    std::stable_sort(owners_.begin(), owners_.end(), [](auto* a, auto* b) {
      return std::pair(a->long_term(), PagesHeld(*a)) >
             std::pair(b->long_term(), PagesHeld(*b));
    });
    for (const v1::StructPages& part : block.struct_pages()) {
      if (part.of_block() == block.block()) continue;
      others_.push_back(part.of_block());
      others_pages_ += part.pages();
    }
  }

  std::string Render() {
    AddHeader();
    AddHolders();
    AddRemedies();
    AddContents();
    AddBlockers();
    return std::move(text_);
  }

 private:
  void AddText(absl::string_view text) { text_ += Paragraph(text); }

  void AddTitle(absl::string_view title) {
    absl::StrAppend(&text_, "\n", title, "\n");
  }

  void AddHeader() {
    std::string line =
        absl::StrCat("memory", block_.block(), ": ",
                     block_.state().empty() ? "state ?" : block_.state());
    if (block_.has_nid()) absl::StrAppend(&line, ", node ", block_.nid());
    if (!block_.zone().empty() && block_.zone() != "none")
      absl::StrAppend(&line, ", zone ", block_.zone());
    if (!block_.device().empty())
      absl::StrAppend(&line, ", of ", block_.device());
    if (block_.has_look())
      absl::StrAppend(&line, ", looked at ", Age(now_ - ToTime(block_.look())),
                      " ago");
    AddText(line);
    AddText(absl::StrCat("An offline now ", Words(block_.verdict()), "."));
    if (block_.confidence() != v1::CONFIDENCE_UNSPECIFIED)
      AddText(absl::StrCat("Confidence: ", Word(block_.confidence()), "."));
    if (!block_.reason().empty()) AddText(block_.reason());
  }

  void AddHolders() {
    bool any = !owners_.empty();
    for (const v1::PinAttribution& part : block_.attributions())
      any = any || part.certainty() == v1::CERTAINTY_UNATTRIBUTED;
    const std::vector<std::string> pipes = Pipes();
    if (!any && block_.inferred().empty() && pipes.empty()) return;
    AddTitle("WHO HOLDS IT");
    for (const std::string& pipe : pipes) AddText(pipe);
    const int shown = std::min<int>(owners_.size(), kMaxOwners);
    for (int i = 0; i < shown; ++i) text_ += OwnerText(*owners_[i], now_);
    if (const size_t others = owners_.size() - shown)
      AddText(absl::StrCat("and ", others, " more; -o json shows all"));
    text_ += InferredTexts(block_.inferred());
    for (const v1::PinAttribution& part : block_.attributions()) {
      if (part.certainty() != v1::CERTAINTY_UNATTRIBUTED) continue;
      AddText(absl::StrCat("not known: ", PagesAndSize(part.pins().pages()),
                           ": ", Reason(part.reason())));
    }
  }

  // Of the first pages in the way, those in pipes, by who has these open.
  std::vector<std::string> Pipes() const {
    std::map<std::pair<std::string, int>, uint64_t> pages_by_end;
    for (const v1::BlockingPage& page : block_.blockers())
      for (const v1::ReferenceHolder& holder : page.reference_holders())
        ++pages_by_end[{ProcessName(holder.process()), holder.fd()}];
    std::vector<std::string> texts;
    for (const auto& [end, pages] : pages_by_end)
      texts.push_back(absl::StrCat(
          end.first, ": ", pages, " of the first ", block_.blockers_size(),
          " pages in the way ", pages == 1 ? "is" : "are",
          " in the pipe of its file descriptor ", end.second));
    return texts;
  }

  void AddReleases(bool long_term) {
    int shown = 0;
    std::vector<std::string> said;
    for (const v1::PinOwner* owner : owners_) {
      if (owner->long_term() != long_term || owner->holdings().empty())
        continue;
      std::string line = ReleaseText(*owner);
      if (std::find(said.begin(), said.end(), line) != said.end()) continue;
      if (shown++ < kMaxOwners) AddText(line);
      said.push_back(std::move(line));
    }
    if (shown > kMaxOwners) AddText("and so with the others");
    // How long it means to pin is not known.
    const int inferred = std::min(block_.inferred().size(), kMaxOwners);
    for (int i = 0; long_term && i < inferred; ++i)
      AddText(ReleaseText(block_.inferred(i)));
  }

  bool HasUnattributed() const {
    return std::any_of(
        block_.attributions().begin(), block_.attributions().end(),
        [](const v1::PinAttribution& part) {
          return part.certainty() == v1::CERTAINTY_UNATTRIBUTED &&
                 part.pins().pages();
        });
  }

  void AddRemedies() {
    switch (block_.verdict()) {
      case v1::VERDICT_BLOCKED_BY_LONG_TERM_PINS:
        AddTitle("WHAT WOULD SET IT FREE");
        AddReleases(/*long_term=*/true);
        if (HasUnattributed() || owners_.empty())
          AddText("where the holder is not known, only a reboot is sure");
        return;
      case v1::VERDICT_BLOCKED_BY_SHORT_TERM_PINS:
        AddTitle("WHAT WOULD SET IT FREE");
        AddText("wait: short-term pins pass with the I/O that took them; else");
        AddReleases(/*long_term=*/false);
        if (owners_.empty()) AddText("only a reboot is sure");
        return;
      case v1::VERDICT_BLOCKED_BY_PLAIN_REFERENCES:
        AddTitle("WHAT WOULD SET IT FREE");
        if (!Pipes().empty()) {
          AddText(
              "of what is in a pipe: whoever reads the pipe empty, or the end "
              "of all who have it open");
          return;
        }
        AddText(
            "wait: most references pass with the work that took them. Who "
            "holds one that stays, and is in no pipe, is not observable; then "
            "only a reboot is sure.");
        return;
      case v1::VERDICT_BLOCKED_BY_KERNEL_MEMORY:
        AddTitle("WHAT WOULD SET IT FREE");
        AddText(
            "only a reboot, and then only if the block comes up in zone "
            "Movable, where the kernel does not put such memory.");
        if (!others_.empty())
          AddText(absl::StrCat(
              "Pages that hold struct pages are freed when the blocks that "
              "these are of are removed: ",
              BlockRanges(others_), "."));
        return;
      default:
        return;
    }
  }

  // Pages that hold struct pages, the kernel's records of pages.
  void AddRecords() {
    if (const uint64_t own = block_.evidence().own_struct_pages())
      AddText(absl::StrCat(Count(own),
                           " of the kernel's hold the struct pages of this "
                           "block, and go with it"));
    if (others_pages_)
      AddText(absl::StrCat(Count(others_pages_),
                           others_pages_ == 1 ? " page holds" : " pages hold",
                           " the struct pages of ", BlockRanges(others_)));
  }

  void AddContents() {
    std::vector<std::pair<uint64_t, std::string>> classes;
    for (const v1::MigratetypePages& part : block_.migratetypes()) {
      const v1::PageClasses& pages = part.classes();
      const auto* descriptor = pages.GetDescriptor();
      classes.resize(descriptor->field_count());
      for (int i = 0; i < descriptor->field_count(); ++i) {
        const auto* field = descriptor->field(i);
        classes[i].first += pages.GetReflection()->GetUInt64(pages, field);
        classes[i].second = field->name();
      }
    }
    std::stable_sort(classes.begin(), classes.end(),
                     [](auto& a, auto& b) { return a.first > b.first; });
    std::vector<std::string> parts;
    for (const auto& [pages, name] : classes)
      if (pages) parts.push_back(absl::StrCat(Count(pages), " ", name));
    if (parts.empty()) return;
    AddTitle("WHAT STANDS IN IT, in pages");
    AddText(absl::StrJoin(parts, ", "));
    AddRecords();
  }

  void AddBlockers() {
    if (block_.blockers().empty()) return;
    AddTitle("FIRST PAGES IN THE WAY");
    const OwnersById owners = ById(block_.owners());
    const int shown = std::min(block_.blockers_size(), kMaxBlockers);
    for (int i = 0; i < shown; ++i)
      AddText(BlockerText(block_.blockers(i), owners));
    if (shown < block_.blockers_size())
      AddText(absl::StrCat("and ", block_.blockers_size() - shown,
                           " more; -o json shows them"));
  }

  const v1::ExplainBlockResponse& block_;
  const absl::Time now_;
  std::vector<const v1::PinOwner*> owners_;  // long-term ones first
  std::vector<uint64_t> others_;  // blocks whose struct pages stand in this one
  uint64_t others_pages_ = 0;     // that hold these
  std::string text_;
};

}  // namespace

std::string BlockTable(const v1::ExplainBlockResponse& block, absl::Time now) {
  return Report(block, now).Render();
}

}  // namespace pinwatch
