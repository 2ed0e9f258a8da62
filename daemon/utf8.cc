// SPDX-License-Identifier: Apache-2.0
#include "daemon/utf8.h"

namespace pinwatch {

// The bounds of the second byte shut out overlong forms, surrogates and what
// is beyond U+10FFFF.
size_t Utf8Length(std::string_view text) {
  const auto in = [&](size_t i, unsigned low, unsigned high) {
    if (i >= text.size()) return false;
    const unsigned byte = static_cast<unsigned char>(text[i]);
    return low <= byte && byte <= high;
  };
  const auto tail = [&](size_t i) { return in(i, 0x80, 0xbf); };
  if (in(0, 0x00, 0x7f)) return 1;
  if (in(0, 0xc2, 0xdf)) return tail(1) ? 2 : 0;
  if (in(0, 0xe0, 0xef)) {
    const bool second = in(0, 0xe0, 0xe0)   ? in(1, 0xa0, 0xbf)
                        : in(0, 0xed, 0xed) ? in(1, 0x80, 0x9f)
                                            : tail(1);
    return second && tail(2) ? 3 : 0;
  }
  if (in(0, 0xf0, 0xf4)) {
    const bool second = in(0, 0xf0, 0xf0)   ? in(1, 0x90, 0xbf)
                        : in(0, 0xf4, 0xf4) ? in(1, 0x80, 0x8f)
                                            : tail(1);
    return second && tail(2) && tail(3) ? 4 : 0;
  }
  return 0;
}

std::string ToUtf8(std::string_view text) {
  std::string valid;
  valid.reserve(text.size());
  while (!text.empty()) {
    const size_t length = Utf8Length(text);
    valid += length ? text.substr(0, length) : kReplacementCharacter;
    text.remove_prefix(length ? length : 1);
  }
  return valid;
}

}  // namespace pinwatch
