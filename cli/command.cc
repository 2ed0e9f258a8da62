// SPDX-License-Identifier: Apache-2.0
#include "cli/command.h"

#include <sys/ioctl.h>
#include <sysexits.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "cli/attempts_table.h"
#include "cli/client.h"
#include "cli/json.h"
#include "cli/status_table.h"
#include "cli/text.h"

namespace pinwatch {
namespace {

constexpr int kExitUsage = 2;

constexpr double kTimeoutSeconds = 5;
// A fresh look reads every struct page: 4 s for 1 TiB of pages in use.
constexpr double kFreshTimeoutSeconds = 120;
constexpr double kMaxTimeoutSeconds = 86'400;

constexpr int kMinWidth = 40;
constexpr int kWidth = 80;

constexpr char kFooter[] =
    "JSON: one object, {\"info\": GetInfoResponse, \"snapshot\": Snapshot}, "
    "with the\nnames of pinwatch.proto. 64-bit counts are numbers. What is not "
    "known is absent,\nnot 0:\n"
    "  pinwatch status -o json | jq "
    "'.snapshot.nodes[].outstanding_references'\n\n"
    "Exit codes: 0 success, 2 wrong usage, 69 pinwatchd is not there or does "
    "not\nanswer, 70 it refused, 74 output failed, 77 no permission on the "
    "socket.";

struct Options {
  std::string socket = "unix:/run/pinwatch/ro.sock";
  double timeout_seconds = 0;  // 0: the default
  std::string output = "table";
  bool fresh = false;
  bool no_color = false;
  bool attempts = false;  // the subcommand; otherwise it is status
};

void AddOptions(CLI::App& app, absl::string_view version, Options& options) {
  app.set_version_flag("--version", absl::StrCat("pinwatch ", version));
  app.footer(kFooter);
  app.require_subcommand(1);
  app.fallthrough();  // so that --socket may stand behind "status"
  app.add_option("--socket", options.socket, "Socket of pinwatchd")
      ->envname("PINWATCH_SOCKET")
      ->type_name("PATH")
      ->capture_default_str();
  app.add_option("--timeout", options.timeout_seconds,
                 "Seconds to wait; 5 by default, 120 with --fresh")
      ->type_name("S")
      ->check(CLI::Range(0.001, kMaxTimeoutSeconds));
  CLI::App* attempts = app.add_subcommand(
      "attempts",
      "Who tried to take memory offline or online, and the outcome");
  attempts->add_option("-o,--output", options.output)
      ->check(CLI::IsMember({"table", "json"}))
      ->capture_default_str();
  attempts->callback([&options] { options.attempts = true; });
  CLI::App* status = app.add_subcommand(
      "status", "What is pinned on this host, and what migration achieves");
  status->footer(kFooter);
  status->add_option("-o,--output", options.output)
      ->check(CLI::IsMember({"table", "json"}))
      ->capture_default_str();
  status->add_flag("--fresh", options.fresh,
                   "Look at all memory again before answering");
  status->add_flag("--no-color", options.no_color,
                   "No colours; nor with NO_COLOR set or without a terminal");
}

std::string SocketPath(absl::string_view socket) {
  if (absl::ConsumePrefix(&socket, "unix:")) absl::ConsumePrefix(&socket, "//");
  return std::string(socket);
}

absl::Duration Timeout(const Options& options) {
  if (options.timeout_seconds > 0)
    return absl::Seconds(options.timeout_seconds);
  return absl::Seconds(options.fresh ? kFreshTimeoutSeconds : kTimeoutSeconds);
}

bool WantsColor(const Options& options) {
  const char* no_color = std::getenv("NO_COLOR");
  return !options.no_color && isatty(STDOUT_FILENO) && !(no_color && *no_color);
}

// Tables take 80 columns; text goes along with a narrower terminal.
int Width() {
  winsize size;
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) || !size.ws_col) return kWidth;
  return std::clamp<int>(size.ws_col, kMinWidth, kWidth);
}

// Prints one line, whatever the daemon put into the message.
int Fail(const absl::Status& status, std::ostream& err) {
  int code = EX_SOFTWARE;
  std::string prefix = "pinwatch: ";
  if (absl::IsUnavailable(status))
    code = EX_UNAVAILABLE;
  else if (absl::IsPermissionDenied(status))
    code = EX_NOPERM;
  else
    absl::StrAppend(&prefix, absl::StatusCodeToString(status.code()), ": ");
  err << prefix << Printable(status.message()) << "\n";
  return code;
}

absl::StatusOr<std::string> Render(const Options& options,
                                   const Answers& answers) {
  if (options.output == "json") return ToJson(answers.info, answers.snapshot);
  return StatusTable(
      answers.info, answers.snapshot,
      {.now = absl::Now(), .width = Width(), .color = WantsColor(options)});
}

int Print(const absl::StatusOr<std::string>& text, std::ostream& out,
          std::ostream& err) {
  if (!text.ok()) return Fail(text.status(), err);
  if (out << *text << std::flush) return EX_OK;
  err << "pinwatch: cannot write the output\n";
  return EX_IOERR;
}

int Attempts(const Options& options, std::ostream& out, std::ostream& err) {
  const absl::StatusOr<v1::ListAttemptsResponse> attempts =
      AskAttempts({.socket_path = SocketPath(options.socket),
                   .timeout = Timeout(options),
                   .max_age = std::nullopt});
  if (!attempts.ok()) return Fail(attempts.status(), err);
  return Print(options.output == "json" ? ToJson(*attempts)
                                        : AttemptsTable(*attempts, absl::Now()),
               out, err);
}

int Status(const Options& options, std::ostream& out, std::ostream& err) {
  Question question{.socket_path = SocketPath(options.socket),
                    .timeout = Timeout(options),
                    .max_age = std::nullopt};
  if (options.fresh) question.max_age = absl::ZeroDuration();
  const absl::StatusOr<Answers> answers = Ask(question);
  if (!answers.ok()) return Fail(answers.status(), err);
  return Print(Render(options, *answers), out, err);
}

}  // namespace

int RunCommand(int argc, const char* const* argv, absl::string_view version,
               std::ostream& out, std::ostream& err) {
  CLI::App app(
      "Tells which memory of this host is pinned, where, and what migration "
      "achieves.",
      "pinwatch");
  Options options;
  AddOptions(app, version, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error, out, err) == 0 ? EX_OK : kExitUsage;
  }
  return options.attempts ? Attempts(options, out, err)
                          : Status(options, out, err);
}

}  // namespace pinwatch
