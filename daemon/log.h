// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_LOG_H_
#define PINWATCH_DAEMON_LOG_H_

#include <string>

namespace pinwatch {

// Whether the descriptor is the stream that JOURNAL_STREAM, "DEVICE:INODE",
// names: then what is written there goes to the journal. Null: not set.
bool IsJournal(int fd, const char* journal_stream);

// Sends the default logger's lines, and libbpf's, to stderr. `level` is debug,
// info, warn or error. The journal is told the level of each line.
void SetUpLog(const std::string& level);

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_LOG_H_
