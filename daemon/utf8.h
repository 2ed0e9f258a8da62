// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_UTF8_H_
#define PINWATCH_DAEMON_UTF8_H_

#include <cstddef>
#include <string>
#include <string_view>

namespace pinwatch {

inline constexpr std::string_view kReplacementCharacter = "\xef\xbf\xbd";

// Length of the well-formed UTF-8 sequence that `text` starts with, 0 without
// one.
size_t Utf8Length(std::string_view text);

// `text` with U+FFFD for each byte that is not part of well-formed UTF-8. What
// the kernel hands out need not be, and one such byte makes a client fail to
// read a whole message, and Prometheus a whole scrape.
std::string ToUtf8(std::string_view text);

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_UTF8_H_
