// SPDX-License-Identifier: Apache-2.0
#include "daemon/log.h"

#include <bpf/libbpf.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"

namespace pinwatch {
namespace {

int LogLibbpf(libbpf_print_level level, const char* format, va_list args) {
  // libbpf warns of what the prober merely tries out: its text is for
  // debugging.
  if (level == LIBBPF_DEBUG || !spdlog::should_log(spdlog::level::debug))
    return 0;
  // The verifier's reasons run to many lines.
  std::string text(64 * 1024, '\0');
  const int size = vsnprintf(text.data(), text.size(), format, args);
  text.resize(std::clamp<int>(size, 0, static_cast<int>(text.size()) - 1));
  while (!text.empty() && text.back() == '\n') text.pop_back();
  spdlog::debug("{}", text);
  return 0;
}

// The mark that gives a line its level in the journal; see sd-daemon(3).
class JournalLevel : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm&,
              spdlog::memory_buf_t& out) override {
    const char* mark = message.level >= spdlog::level::err    ? "<3>"
                       : message.level == spdlog::level::warn ? "<4>"
                       : message.level == spdlog::level::info ? "<6>"
                                                              : "<7>";
    out.append(mark, mark + 3);
  }

  std::unique_ptr<custom_flag_formatter> clone() const override {
    return std::make_unique<JournalLevel>();
  }
};

}  // namespace

bool IsJournal(int fd, const char* journal_stream) {
  struct stat file;
  return journal_stream && fstat(fd, &file) == 0 &&
         absl::StrCat(file.st_dev, ":", file.st_ino) == journal_stream;
}

void SetUpLog(const std::string& level) {
  auto logger = spdlog::stderr_logger_mt("pinwatchd");
  auto formatter = std::make_unique<spdlog::pattern_formatter>();
  if (IsJournal(STDERR_FILENO, getenv("JOURNAL_STREAM")))
    // It knows the time and the name.
    formatter->add_flag<JournalLevel>('*').set_pattern("%*%v");
  else
    formatter->set_pattern("pinwatchd: %l: %v");
  logger->set_formatter(std::move(formatter));
  logger->set_level(spdlog::level::from_str(level == "error" ? "err" : level));
  spdlog::set_default_logger(logger);
  libbpf_set_print(LogLibbpf);
}

}  // namespace pinwatch
