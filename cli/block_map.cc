// SPDX-License-Identifier: Apache-2.0
#include "cli/block_map.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "cli/proto_time.h"
#include "cli/text.h"

namespace pinwatch {
namespace {

constexpr size_t kGlyphsARow = 64;

struct Glyph {
  v1::Verdict verdict;
  char glyph;
  const char* color;
};

constexpr Glyph kGlyphs[] = {
    {v1::VERDICT_REMOVABLE, '.', "32"},
    {v1::VERDICT_REMOVABLE_AFTER_MIGRATION, 'm', "36"},
    {v1::VERDICT_BLOCKED_BY_SHORT_TERM_PINS, 'p', "33"},
    {v1::VERDICT_BLOCKED_BY_PLAIN_REFERENCES, 'r', "33"},
    {v1::VERDICT_BLOCKED_BY_LONG_TERM_PINS, 'P', "31"},
    {v1::VERDICT_BLOCKED_BY_KERNEL_MEMORY, 'K', "35"},
    {v1::VERDICT_ALREADY_OFFLINE, '-', "2"},
    {v1::VERDICT_UNKNOWN, '?', "1"},
};

const Glyph& GlyphOf(v1::Verdict verdict) {
  for (const Glyph& glyph : kGlyphs)
    if (glyph.verdict == verdict) return glyph;
  return *std::prev(std::end(kGlyphs));
}

std::string Paint(const Glyph& glyph, absl::string_view text, bool color) {
  if (!color) return std::string(text);
  return absl::StrCat("\x1b[", glyph.color, "m", text, "\x1b[0m");
}

// The same for as many blocks as follow each other.
std::string PaintRow(const std::vector<const Glyph*>& row, bool color) {
  std::string text;
  for (size_t i = 0; i < row.size();) {
    size_t end = i + 1;
    while (end < row.size() && row[end] == row[i]) ++end;
    text += Paint(*row[i], std::string(end - i, row[i]->glyph), color);
    i = end;
  }
  return text;
}

std::string NodeText(const v1::BlockVerdict& block) {
  return block.has_nid() ? absl::StrCat(block.nid()) : "?";
}

class Map {
 public:
  explicit Map(bool color) : color_(color) {}

  void Add(const v1::BlockVerdict& block) {
    const bool follows = !row_.empty() && block.block() == next_;
    if (!follows || row_.size() == kGlyphsARow) EndRow();
    if (row_.empty()) first_ = block.block();
    row_.push_back(&GlyphOf(block.verdict()));
    next_ = block.block() + 1;
  }

  std::string Take() {
    EndRow();
    EndRun();
    return std::exchange(text_, {});
  }

 private:
  bool IsUniform() const {
    return std::all_of(row_.begin(), row_.end(),
                       [&](const Glyph* glyph) { return glyph == row_[0]; });
  }

  void EndRow() {
    if (row_.empty()) return;
    const bool uniform = IsUniform() && row_.size() == kGlyphsARow;
    if (!uniform || row_[0] != run_ || first_ != run_next_) EndRun();
    if (uniform) {
      if (!run_) run_first_ = first_;
      run_ = row_[0];
      run_next_ = next_;
    } else {
      AddRow(first_, PaintRow(row_, color_));
    }
    row_.clear();
  }

  void EndRun() {
    if (!run_) return;
    const uint64_t blocks = run_next_ - run_first_;
    std::string row =
        Paint(*run_, std::string(kGlyphsARow, run_->glyph), color_);
    AddRow(run_first_, row);
    if (blocks > kGlyphsARow)
      absl::StrAppendFormat(&text_, "%11s %s to memory%d, %s blocks alike\n",
                            "", Paint(*run_, "...", color_), run_next_ - 1,
                            Count(blocks));
    run_ = nullptr;
  }

  void AddRow(uint64_t first, const std::string& glyphs) {
    absl::StrAppendFormat(&text_, "%-11s %s\n", absl::StrCat("memory", first),
                          glyphs);
  }

  const bool color_;
  std::string text_;
  std::vector<const Glyph*> row_;
  uint64_t first_ = 0;  // block of the row
  uint64_t next_ = 0;
  const Glyph* run_ = nullptr;  // rows that are all this
  uint64_t run_first_ = 0;
  uint64_t run_next_ = 0;
};

std::string Legend(
    const google::protobuf::RepeatedPtrField<v1::BlockVerdict>& blocks,
    bool color) {
  std::string text = "\n";
  for (const Glyph& glyph : kGlyphs)
    if (std::any_of(blocks.begin(), blocks.end(), [&](const auto& block) {
          return &GlyphOf(block.verdict()) == &glyph;
        }))
      absl::StrAppend(&text, Paint(glyph, std::string(1, glyph.glyph), color),
                      "  ", VerdictWords(glyph.verdict), "\n");
  return text;
}

}  // namespace

std::string VerdictWords(v1::Verdict verdict) {
  absl::string_view name = v1::Verdict_Name(verdict);
  absl::ConsumePrefix(&name, "VERDICT_");
  return absl::StrReplaceAll(absl::AsciiStrToLower(name), {{"_", " "}});
}

const char* Word(v1::Confidence confidence) {
  switch (confidence) {
    case v1::CONFIDENCE_LOW:
      return "low";
    case v1::CONFIDENCE_MEDIUM:
      return "medium";
    case v1::CONFIDENCE_HIGH:
      return "high";
    default:
      return "?";
  }
}

std::string VerdictCounts(
    const google::protobuf::RepeatedPtrField<v1::VerdictCount>& counts) {
  std::vector<std::string> parts;
  for (const Glyph& glyph : kGlyphs) {
    uint64_t blocks = 0;
    for (const v1::VerdictCount& count : counts)
      if (&GlyphOf(count.verdict()) == &glyph) blocks += count.blocks();
    if (blocks)
      parts.push_back(
          absl::StrCat(Count(blocks), " ", VerdictWords(glyph.verdict)));
  }
  return absl::StrJoin(parts, ", ");
}

std::string BlockMap(const v1::ListBlocksResponse& blocks, bool color) {
  if (blocks.blocks().empty()) return "no memory block is like that\n";
  using Place = std::pair<std::string, std::string>;  // node, zone
  std::map<Place, std::vector<const v1::BlockVerdict*>> places;
  for (const v1::BlockVerdict& block : blocks.blocks())
    places[{NodeText(block), block.zone()}].push_back(&block);
  std::string text;
  for (const auto& [place, members] : places) {
    google::protobuf::RepeatedPtrField<v1::VerdictCount> counts;
    Map map(color);
    for (const v1::BlockVerdict* block : members) {
      v1::VerdictCount& count = *counts.Add();
      count.set_verdict(block->verdict());
      count.set_blocks(1);
      map.Add(*block);
    }
    if (!text.empty()) text += "\n";
    text += Paragraph(absl::StrCat(
        "node ", place.first, ", zone ", place.second, ": ",
        Count(members.size()), members.size() == 1 ? " block, " : " blocks, ",
        Bytes(static_cast<double>(members.size()) *
              static_cast<double>(blocks.block_size_bytes())),
        ": ", VerdictCounts(counts)));
    text += map.Take();
  }
  return text + Legend(blocks.blocks(), color);
}

std::string BlockLines(const v1::ListBlocksResponse& blocks, absl::Time now) {
  std::string text =
      "BLOCK        NODE  ZONE      VERDICT                      "
      "CONFIDENCE  LOOK AGE\n";
  for (const v1::BlockVerdict& block : blocks.blocks())
    absl::StrAppendFormat(
        &text, "%-12s %4s  %-8s  %-27s  %-10s  %8s\n",
        absl::StrCat("memory", block.block()), NodeText(block),
        Fit(block.zone(), 8), VerdictWords(block.verdict()),
        Word(block.confidence()),
        block.has_look() ? Age(now - ToTime(block.look())) : "-");
  return text;
}

}  // namespace pinwatch
