// SPDX-License-Identifier: Apache-2.0
//
// How the command writes numbers, times and text of others. All of it is
// printable ASCII, so that a byte is a column.
#ifndef PINWATCH_CLI_TEXT_H_
#define PINWATCH_CLI_TEXT_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace pinwatch {

// `text` with every byte that is not printable ASCII as "\x1b". What the
// daemon and the kernel hand out may hold terminal escapes.
std::string Printable(absl::string_view text);

// Printable(text), cut to `width` columns and then ended with "~".
std::string Fit(absl::string_view text, size_t width);

// The same with its end: "~" stands first.
std::string FitEnd(absl::string_view text, size_t width);

// "12,345,678"; "1.235 G" from 10^9 on. At most 11 columns.
std::string Count(uint64_t count);

// "123,456"; "1.235 M" from 10^6 on. At most 7 columns.
std::string ShortCount(uint64_t count);

// "+3", "-1,234"; "+1.235 M" from 10^6 on. At most 8 columns.
std::string SignedCount(int64_t count);

// "512 B", "64 MiB", "1.88 GiB". At most 9 columns.
std::string Bytes(double bytes);

// "0.8 s", "12 s", "4 min", "3 h", "5 d"; "?" for a negative age, which a
// clock that was set gives. At most 8 columns.
std::string Age(absl::Duration age);

// Printable(text) in lines of at most `width` columns, each with its newline;
// all but the first begin with `indent` spaces, of which there are fewer.
std::string Wrap(absl::string_view text, size_t width, size_t indent = 0);

// The same as a table of 80 columns has its sentences.
std::string Paragraph(absl::string_view text);

// The same below something else, where its first line begins with `indent`
// spaces and the others with twice as many.
std::string Detail(absl::string_view text, size_t width, size_t indent);

// Why pages are not attributed better, in words: PinAttribution.reason is a
// code. One that is not known is shown as it is.
std::string Reason(const std::string& code);

}  // namespace pinwatch

#endif  // PINWATCH_CLI_TEXT_H_
