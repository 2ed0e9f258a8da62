// SPDX-License-Identifier: Apache-2.0
#include "cli/text.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"

namespace pinwatch {
namespace {

std::string WithSeparators(uint64_t number) {
  std::string digits = absl::StrCat(number);
  for (size_t end = digits.size(); end > 3; end -= 3)
    digits.insert(end - 3, ",");
  return digits;
}

// Four digits of a number of 10^6 or more: "1.235 M".
std::string WithSiPrefix(double number) {
  const char* prefix = "MGTPE";
  number /= 1e6;
  for (; number >= 999.95 && prefix[1]; ++prefix) number /= 1000;
  const int decimals = number < 9.9995 ? 3 : number < 99.995 ? 2 : 1;
  return absl::StrFormat("%.*f %c", decimals, number, *prefix);
}

}  // namespace

std::string Printable(absl::string_view text) {
  std::string printable;
  for (const unsigned char byte : text) {
    if (byte >= ' ' && byte <= '~')
      printable += static_cast<char>(byte);
    else
      absl::StrAppendFormat(&printable, "\\x%02x", byte);
  }
  return printable;
}

std::string Fit(absl::string_view text, size_t width) {
  std::string fitting = Printable(text);
  if (fitting.size() <= width) return fitting;
  fitting.resize(width - 1);
  return fitting + "~";
}

std::string FitEnd(absl::string_view text, size_t width) {
  const std::string fitting = Printable(text);
  if (fitting.size() <= width) return fitting;
  return "~" + fitting.substr(fitting.size() - width + 1);
}

std::string Count(uint64_t count) {
  return count < 1'000'000'000 ? WithSeparators(count)
                               : WithSiPrefix(static_cast<double>(count));
}

std::string ShortCount(uint64_t count) {
  return count < 1'000'000 ? WithSeparators(count)
                           : WithSiPrefix(static_cast<double>(count));
}

std::string SignedCount(int64_t count) {
  // In unsigned arithmetic, since the lowest number has no negative.
  const uint64_t size = count < 0 ? 0 - static_cast<uint64_t>(count)
                                  : static_cast<uint64_t>(count);
  return absl::StrCat(count < 0 ? "-" : "+", ShortCount(size));
}

std::string Bytes(double bytes) {
  static constexpr const char* kUnits[] = {"KiB", "MiB", "GiB", "TiB",
                                           "PiB", "EiB", "ZiB"};
  if (bytes < 1024) return absl::StrFormat("%.0f B", bytes);
  size_t unit = 0;
  for (bytes /= 1024; bytes >= 1023.5 && unit + 1 < std::size(kUnits); ++unit)
    bytes /= 1024;
  if (bytes >= 1000 && unit + 1 == std::size(kUnits)) return ">999 ZiB";
  const int decimals = bytes == std::floor(bytes) || bytes >= 99.95 ? 0
                       : bytes < 9.995                              ? 2
                                                                    : 1;
  return absl::StrFormat("%.*f %s", decimals, bytes, kUnits[unit]);
}

std::string Age(absl::Duration age) {
  if (age < absl::ZeroDuration()) return "?";
  if (age < absl::Milliseconds(9'950))
    return absl::StrFormat("%.1f s", absl::ToDoubleSeconds(age));
  if (age < absl::Minutes(2))
    return absl::StrCat(absl::ToInt64Seconds(age), " s");
  if (age < absl::Hours(2))
    return absl::StrCat(absl::ToInt64Minutes(age), " min");
  if (age < absl::Hours(48)) return absl::StrCat(absl::ToInt64Hours(age), " h");
  const int64_t days = absl::ToInt64Hours(age) / 24;
  return days < 1'000'000 ? absl::StrCat(days, " d") : "?";
}

std::string Wrap(absl::string_view text, size_t width, size_t indent) {
  const std::string printable = Printable(text);
  std::string lines;
  std::string line;
  bool is_blank = true;
  const auto end_line = [&] {
    absl::StrAppend(&lines, line, "\n");
    line.assign(indent, ' ');
    is_blank = true;
  };
  for (absl::string_view word :
       absl::StrSplit(absl::string_view(printable), ' ', absl::SkipEmpty())) {
    if (!is_blank && line.size() + 1 + word.size() > width) end_line();
    if (!is_blank) line += ' ';
    for (; line.size() + word.size() > width; end_line()) {
      const size_t room = width - line.size();
      absl::StrAppend(&line, word.substr(0, room));
      word.remove_prefix(room);
    }
    absl::StrAppend(&line, word);
    is_blank = false;
  }
  if (!is_blank || lines.empty()) end_line();
  return lines;
}

std::string Paragraph(absl::string_view text) {
  return Wrap(text, /*width=*/80, /*indent=*/2);
}

std::string Detail(absl::string_view text, size_t width, size_t indent) {
  const std::string lines = Wrap(text, width - indent, indent);
  std::string detail;
  for (absl::string_view line : absl::StrSplit(lines, '\n', absl::SkipEmpty()))
    absl::StrAppend(&detail, std::string(indent, ' '), line, "\n");
  return detail;
}

std::string Reason(const std::string& code) {
  static constexpr std::pair<absl::string_view, absl::string_view> kWords[] = {
      {"", "no reason is given"},
      {"charged_elsewhere",
       "of those that pin, one process maps it; it is charged to another "
       "cgroup than that one's, as shared memory may be"},
      {"claimant_ended", "the process has ended"},
      {"claims_lost", "pins may have been taken unseen since it was claimed"},
      {"fewer_pins_than_claims", "more processes claim it than pins are left"},
      {"large_folio", "pins of a huge page do not tell its claimants apart"},
      {"many_references", "it has many other references"},
      {"mapped_by_one", "of those that pin, one process maps it"},
      {"mapped_by_several", "of those that pin, several processes map it"},
      {"maps_more_than_it_pins",
       "who maps it pins less than it maps: which of it is not known"},
      {"no_candidate",
       "pinned before pinwatchd attached, or unseen; no process that pins maps "
       "it"},
      {"no_claim",
       "pinned before pinwatchd attached, or unseen; pinwatchd --holders.infer "
       "would look for the likely holder"},
      {"not_searched",
       "pinned before pinwatchd attached, or unseen; its holder is yet to be "
       "looked for"},
      {"owner_unknown", "who claims it is not known yet"},
      {"page_reused", "who claims it has ended, and others map it now"},
      {"search_incomplete",
       "one process that pins maps it; not all memory of all was searched"},
  };
  for (const auto& [known, words] : kWords)
    if (code == known) return std::string(words);
  return code;
}

}  // namespace pinwatch
