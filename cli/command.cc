// SPDX-License-Identifier: Apache-2.0
#include "cli/command.h"

#include <sys/ioctl.h>
#include <sysexits.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "cli/attempts_table.h"
#include "cli/block_map.h"
#include "cli/block_table.h"
#include "cli/calls_table.h"
#include "cli/client.h"
#include "cli/dax_device.h"
#include "cli/explain_table.h"
#include "cli/follow_offline.h"
#include "cli/json.h"
#include "cli/memory_device.h"
#include "cli/migrations_log.h"
#include "cli/migrations_table.h"
#include "cli/node_table.h"
#include "cli/plan_table.h"
#include "cli/proto_time.h"
#include "cli/status_table.h"
#include "cli/text.h"
#include "cli/top_table.h"
#include "cli/uninstall.h"
#include "cli/watch_log.h"

namespace pinwatch {
namespace {

constexpr int kExitUsage = 2;
constexpr int kExitShort = 3;        // of plan, and offline
constexpr int kExitSignalled = 128;  // and the signal's number

constexpr double kTimeoutSeconds = 5;
// A fresh look reads every struct page: 4 s for 1 TiB of pages in use.
constexpr double kFreshTimeoutSeconds = 120;
// The kernel waits for its readers after each hook that comes or goes.
constexpr double kOrderTimeoutSeconds = 30;
constexpr double kMaxTimeoutSeconds = 86'400;

// The daemon reads what migration came to once a second.
constexpr absl::Duration kWatchPeriod = absl::Seconds(1);

constexpr int kMinWidth = 40;
constexpr int kWidth = 80;

constexpr char kExitCodes[] =
    "Exit codes: 0 success, 2 wrong usage, 69 pinwatchd is not there or does "
    "not\nanswer, 70 it refused, 74 output failed, 77 no permission.";

constexpr uint64_t kPageShift = 12;

enum class Subject { kBlock, kPage, kProcess, kNode, kDevice };

struct Options {
  std::string socket = "unix:/run/pinwatch/ro.sock";
  double timeout_seconds = 0;  // 0: the default
  std::string output = "table";
  bool fresh = false;
  bool no_color = false;
  std::string by;                     // of top
  size_t rows = 20;                   // of top
  Subject subject = Subject::kBlock;  // of explain
  uint64_t number = 0;                // of the subject
  std::string device;                 // such as "dax0.0" or "virtio3"
  bool list = false;                  // of blocks
  std::optional<uint32_t> nid;        // of blocks and plan
  std::string zone;                   // of blocks
  std::string verdict;                // of blocks
  uint64_t bytes = 0;                 // of plan
  std::string stopped;                // of plan
  bool explain = false;               // of offline
  bool watch = false;                 // of migrations
  std::string admin_socket;  // of pause and resume; empty: beside the other
  std::string bpf_dir = "/sys/fs/bpf/pinwatch";  // of uninstall
  // The subcommand.
  int (*run)(const Options&, std::ostream& out, std::ostream& err) = nullptr;
};

// Adds a subcommand; `json` says what its -o json gives, `example` what jq may
// make of that.
CLI::App* AddCommand(CLI::App& app, Options& options, const std::string& name,
                     const std::string& description, absl::string_view json,
                     absl::string_view example, decltype(Options::run) run) {
  CLI::App* const command = app.add_subcommand(name, description);
  command->footer(absl::StrCat(
      Wrap(absl::StrCat("JSON: ", json,
                        ", with the names of pinwatch.v1. 64-bit counts are "
                        "numbers. What is not known is absent, not 0:"),
           kWidth),
      "  pinwatch ", example, "\n\n", kExitCodes));
  command->add_option("-o,--output", options.output)
      ->check(CLI::IsMember({"table", "json"}))
      ->capture_default_str();
  command->add_flag_callback(
      "--json", [&options] { options.output = "json"; }, "The same as -o json");
  command->callback([&options, run] { options.run = run; });
  return command;
}

// Nothing for what is no number, or too large a one.
std::optional<uint64_t> ToNumber(absl::string_view digits) {
  uint64_t number;
  if (digits.empty() ||
      digits.find_first_not_of("0123456789") != absl::string_view::npos ||
      !absl::SimpleAtoi(digits, &number))
    return std::nullopt;
  return number;
}

// The kernel's log has them in hexadecimal.
std::optional<uint64_t> ToPfn(absl::string_view text) {
  uint64_t pfn;
  if (!absl::ConsumePrefix(&text, "0x")) return ToNumber(text);
  return absl::SimpleHexAtoi(text, &pfn) ? std::optional(pfn) : std::nullopt;
}

Subject SubjectOf(absl::string_view first) {
  if (first == "pfn" || absl::StartsWith(first, "0x")) return Subject::kPage;
  if (first == "pid") return Subject::kProcess;
  if (first == "node") return Subject::kNode;
  for (const char* device : {"dax", "virtio", "PNP0C80:"})
    if (absl::StartsWith(first, device)) return Subject::kDevice;
  return Subject::kBlock;
}

// The number that the words give the subject; nothing if they do not.
std::optional<uint64_t> NumberOf(const std::vector<std::string>& words,
                                 Subject subject) {
  absl::string_view digits = words.back();
  const bool has_kind =
      words[0] == "pfn" || words[0] == "pid" || words[0] == "node";
  if (words.size() != (has_kind ? 2 : 1)) return std::nullopt;
  if (subject == Subject::kDevice) return 0;
  if (subject == Subject::kBlock) absl::ConsumePrefix(&digits, "memory");
  if (subject != Subject::kPage) return ToNumber(digits);
  const std::optional<uint64_t> number = ToPfn(digits);
  if (!number || has_kind) return number;
  return *number >> kPageShift;
}

// What the words after "explain" ask about.
void SetSubject(const std::vector<std::string>& words, Options& options) {
  options.subject = SubjectOf(words.at(0));
  const std::optional<uint64_t> number = NumberOf(words, options.subject);
  const bool is_small =
      options.subject == Subject::kProcess || options.subject == Subject::kNode;
  if (!number || (is_small && *number > UINT32_MAX))
    throw CLI::ValidationError(
        "WHAT",
        absl::StrCat("is memoryN, N, 0xADDRESS, pfn N, pfn 0xN, pid N, node N, "
                     "daxN.N, virtioN or PNP0C80:NN, not ",
                     Printable(absl::StrJoin(words, " "))));
  options.number = *number;
  options.device = words[0];
}

v1::Verdict ToVerdict(absl::string_view word) {
  v1::Verdict verdict = v1::VERDICT_UNSPECIFIED;
  v1::Verdict_Parse(absl::StrCat("VERDICT_", absl::AsciiStrToUpper(word)),
                    &verdict);
  return verdict;
}

int RunBlocks(const Options& options, std::ostream& out, std::ostream& err);
int RunPlan(const Options& options, std::ostream& out, std::ostream& err);
int RunAttempts(const Options& options, std::ostream& out, std::ostream& err);
int RunCalls(const Options& options, std::ostream& out, std::ostream& err);
int RunExplain(const Options& options, std::ostream& out, std::ostream& err);
int RunOffline(const Options& options, std::ostream& out, std::ostream& err);
int RunMigrations(const Options& options, std::ostream& out, std::ostream& err);
int RunPause(const Options& options, std::ostream& out, std::ostream& err);
int RunResume(const Options& options, std::ostream& out, std::ostream& err);
int RunStatus(const Options& options, std::ostream& out, std::ostream& err);
int RunTop(const Options& options, std::ostream& out, std::ostream& err);
int RunUninstall(const Options& options, std::ostream& out, std::ostream& err);
int RunWatch(const Options& options, std::ostream& out, std::ostream& err);

void AddBlocks(CLI::App& app, Options& options) {
  CLI::App* const blocks = AddCommand(
      app, options, "blocks",
      "What would become of an attempt to take each memory block offline",
      "one object, ListBlocksResponse",
      "blocks -o json | jq '.blocks[] | {b: .block, v: .verdict}'", RunBlocks);
  blocks->add_option("--node", options.nid, "Only blocks of that node")
      ->type_name("N");
  blocks->add_option("--zone", options.zone, "Only blocks of that zone")
      ->type_name("NAME");
  blocks
      ->add_option("--device", options.device,
                   "Only blocks of virtioN (virtio-mem), PNP0C80:NN (a DIMM) "
                   "or, as root, daxN.N")
      ->type_name("NAME");
  blocks->add_option("--verdict", options.verdict, "Only blocks with it")
      ->check(CLI::IsMember(
          {"removable", "removable_after_migration",
           "blocked_by_long_term_pins", "blocked_by_short_term_pins",
           "blocked_by_plain_references", "blocked_by_kernel_memory",
           "already_offline", "unknown"}));
  blocks->add_flag("--list", options.list, "A line a block");
  blocks->add_flag("--fresh", options.fresh,
                   "Look at all memory again before answering");
  blocks->add_flag("--no-color", options.no_color,
                   "No colours; nor with NO_COLOR set or without a terminal");
}

void AddPlan(CLI::App& app, Options& options) {
  CLI::App* const plan = AddCommand(
      app, options, "plan",
      "The cheapest blocks to take offline for so much memory; exit code 3 if "
      "that cannot be had",
      "one object, PlanOfflineResponse",
      "plan --bytes 64G -o json | jq '.blocks[].verdict.block'", RunPlan);
  plan->add_option("--bytes", options.bytes, "How much; K, M, G and T are 1024")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/false))
      ->check(CLI::PositiveNumber)
      ->required();
  plan->add_option("--node", options.nid, "Only from that node")
      ->type_name("N");
  plan->add_option("--what-if-stopped", options.stopped,
                   "Take what that process, unit or cgroup alone pins to be "
                   "let go")
      ->type_name("PID|UNIT|/CGROUP");
  plan->add_flag("--fresh", options.fresh,
                 "Look at all memory again before answering");
}

void AddOffline(CLI::App& app, Options& options) {
  CLI::App* const offline = AddCommand(
      app, options, "offline",
      "Take a memory block offline; as root. Exit code 3 if it does not go, "
      "128 and the signal's number if it is interrupted",
      "one object, ListAttemptsResponse, of that attempt alone",
      "offline memory42 -o json | jq '.attempts[0].blockers'", RunOffline);
  offline
      ->add_option_function<std::string>(
          "BLOCK",
          [&options](const std::string& word) { SetSubject({word}, options); },
          "memoryN, as in /sys/devices/system/memory, or N")
      ->required();
  offline->add_flag("--explain", options.explain,
                    "Say how far it is meanwhile, and if it does not go, why, "
                    "and what would set it free");
}

void AddCommands(CLI::App& app, Options& options) {
  CLI::App* const status = AddCommand(
      app, options, "status",
      "What is pinned on this host, and what migration achieves",
      "one object, {\"info\": GetInfoResponse, \"snapshot\": Snapshot}",
      "status -o json | jq '.snapshot.nodes[].outstanding_references'",
      RunStatus);
  status->add_flag("--fresh", options.fresh,
                   "Look at all memory again before answering");
  status->add_flag("--no-color", options.no_color,
                   "No colours; nor with NO_COLOR set or without a terminal");

  CLI::App* const top = AddCommand(
      app, options, "top", "Who holds pinned pages, the largest first",
      "one object, ListOwnersResponse, of owners that hold pages",
      "top -o json | jq '.owners[] | {p: .process.pid, h: .holdings}'", RunTop);
  top->add_option("--by", options.by, "Add up by one thing only")
      ->check(CLI::IsMember({"process", "unit", "cgroup", "subsystem", "device",
                             "stack", "zone"}));
  top->add_option("-n,--rows", options.rows, "Rows of the table; 0 is all")
      ->type_name("N")
      ->capture_default_str();

  AddCommand(app, options, "calls",
             "What calls that pin pages ask for, get and take",
             "one object, Snapshot, with time, calls and claims alone",
             "calls -o json | jq '.calls[].outcomes'", RunCalls);

  AddBlocks(app, options);
  AddPlan(app, options);

  AddCommand(
      app, options, "explain",
      "What keeps a memory block, a page or a node in place, what a process "
      "pins",
      "one object, ExplainBlockResponse, ExplainPageResponse, for a process "
      "ListOwnersResponse, for a node Snapshot with nodes, verdicts and "
      "removable alone, for a device ListBlocksResponse",
      "explain memory42 -o json | jq '.owners[].process'", RunExplain)
      ->add_option_function<std::vector<std::string>>(
          "WHAT",
          [&options](const std::vector<std::string>& words) {
            SetSubject(words, options);
          },
          "memoryN, as in /sys/devices/system/memory, or N; 0xN, a physical "
          "address; pfn N, where the kernel's log has 0xN; pid N; node N; "
          "daxN.N, as in /sys/bus/dax/devices, as root; virtioN, of "
          "virtio-mem; PNP0C80:NN, a DIMM")
      ->expected(1, 2)
      ->required();

  AddCommand(app, options, "watch", "What changes, as it does, until Ctrl-C",
             "one WatchResponse a line",
             "watch -o json | jq -c '.difference.attempts[]?'", RunWatch);

  AddCommand(app, options, "attempts",
             "Who tried to take memory offline or online, and the outcome",
             "one object, ListAttemptsResponse",
             "attempts -o json | jq '.attempts[0].blockers'", RunAttempts);

  AddOffline(app, options);
  AddCommand(app, options, "migrations",
             "What moving pages came to, why pages stayed, and who holds them",
             "one object, ListMigrationsResponse; with --watch one a line",
             "migrations -o json | jq '.failures[-1].page'", RunMigrations)
      ->add_flag("--watch", options.watch,
                 "Tell what moves and what does not, as it does, until Ctrl-C");

  for (CLI::App* const order :
       {AddCommand(app, options, "pause",
                   "Take every hook of pinwatchd off the kernel; as root",
                   "one object, PauseResponse", "pause -o json | jq .since",
                   RunPause),
        AddCommand(app, options, "resume",
                   "End the pause: attach the hooks again; as root",
                   "one object, ResumeResponse", "resume -o json | jq .paused",
                   RunResume)})
    order
        ->add_option("--admin-socket", options.admin_socket,
                     "Socket of pinwatchd that takes orders; by default "
                     "admin.sock beside --socket")
        ->type_name("PATH");
}

// It asks nobody and answers with a line.
void AddUninstall(CLI::App& app, Options& options) {
  CLI::App* const command = app.add_subcommand(
      "uninstall",
      "Take out of the kernel what pinwatchd leaves there when it stops; as "
      "root");
  command->footer(kExitCodes);
  command
      ->add_option("--bpf-dir", options.bpf_dir,
                   "Where that is: the --bpf.dir of pinwatchd")
      ->type_name("PATH")
      ->capture_default_str();
  command->callback([&options] { options.run = RunUninstall; });
}

void AddOptions(CLI::App& app, absl::string_view version, Options& options) {
  app.set_version_flag("--version", absl::StrCat("pinwatch ", version));
  app.footer(kExitCodes);
  app.require_subcommand(1);
  app.fallthrough();  // so that --socket may stand behind "status"
  app.add_option("--socket", options.socket, "Socket of pinwatchd")
      ->envname("PINWATCH_SOCKET")
      ->type_name("PATH")
      ->capture_default_str();
  app.add_option("--timeout", options.timeout_seconds,
                 "Seconds to wait for an answer; 5 by default, 120 with "
                 "--fresh, 30 for pause and resume")
      ->type_name("S")
      ->check(CLI::Range(0.001, kMaxTimeoutSeconds));
  AddCommands(app, options);
  AddUninstall(app, options);
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

bool Write(const std::string& text, std::ostream& out) {
  return static_cast<bool>(out << text << std::flush);
}

int FailToWrite(std::ostream& err) {
  err << "pinwatch: cannot write the output\n";
  return EX_IOERR;
}

// Prints the answer, in one of its two forms, or why there is none.
template <typename Answer, typename ToTable>
int Print(const Options& options, const absl::StatusOr<Answer>& answer,
          ToTable to_table, std::ostream& out, std::ostream& err) {
  if (!answer.ok()) return Fail(answer.status(), err);
  const absl::StatusOr<std::string> text =
      options.output == "json" ? ToJson(*answer) : to_table(*answer);
  if (!text.ok()) return Fail(text.status(), err);
  return Write(*text, out) ? EX_OK : FailToWrite(err);
}

Question ToQuestion(const Options& options) {
  Question question{.socket_path = SocketPath(options.socket),
                    .timeout = Timeout(options),
                    .max_age = std::nullopt};
  if (options.fresh) question.max_age = absl::ZeroDuration();
  return question;
}

int RunAttempts(const Options& options, std::ostream& out, std::ostream& err) {
  const auto to_table = [](const v1::ListAttemptsResponse& attempts) {
    return AttemptsTable(attempts, absl::Now());
  };
  return Print(options, AskAttempts(ToQuestion(options)), to_table, out, err);
}

// Asks again and again, since a page's holder becomes known later than that it
// did not move.
int WatchMigrations(const Options& options, std::ostream& out,
                    std::ostream& err) {
  MigrationsLog log(absl::LocalTimeZone());
  std::string last;
  for (;; absl::SleepFor(kWatchPeriod)) {
    const auto migrations = AskMigrations(ToQuestion(options));
    if (!migrations.ok()) return Fail(migrations.status(), err);
    absl::StatusOr<std::string> text =
        options.output == "json" ? ToJsonLine(*migrations)
                                 : log.Lines(*migrations, absl::Now());
    if (!text.ok()) return Fail(text.status(), err);
    // The same object again is no news.
    if (options.output == "json" && *text == std::exchange(last, *text))
      continue;
    if (!Write(*text, out)) return FailToWrite(err);
  }
}

int RunMigrations(const Options& options, std::ostream& out,
                  std::ostream& err) {
  if (options.watch) return WatchMigrations(options, out, err);
  const auto to_table = [](const v1::ListMigrationsResponse& migrations) {
    return MigrationsTable(migrations, absl::Now());
  };
  return Print(options, AskMigrations(ToQuestion(options)), to_table, out, err);
}

int RunCalls(const Options& options, std::ostream& out, std::ostream& err) {
  absl::StatusOr<Answers> answers = Ask(ToQuestion(options));
  if (!answers.ok()) return Fail(answers.status(), err);
  v1::Snapshot& all = answers->snapshot;
  absl::StatusOr<v1::Snapshot> calls = v1::Snapshot();
  *calls->mutable_time() = std::move(*all.mutable_time());
  *calls->mutable_calls() = std::move(*all.mutable_calls());
  if (all.has_claims())
    *calls->mutable_claims() = std::move(*all.mutable_claims());
  *calls->mutable_pin_retries() = std::move(*all.mutable_pin_retries());
  *calls->mutable_landings() = std::move(*all.mutable_landings());
  if (all.has_moves_long_term_pins())
    calls->set_moves_long_term_pins(all.moves_long_term_pins());
  return Print(options, calls, CallsTable, out, err);
}

// The owners that are the process, or that it asked for.
absl::StatusOr<v1::ListOwnersResponse> AskAboutProcess(const Question& question,
                                                       uint32_t pid) {
  absl::StatusOr<v1::ListOwnersResponse> all =
      AskOwners(question, /*holding=*/false);
  if (!all.ok()) return all.status();
  v1::ListOwnersResponse owners;
  for (v1::PinOwner& owner : *all->mutable_owners())
    if (owner.process().pid() == pid || owner.via().pid() == pid)
      *owners.add_owners() = std::move(owner);
  for (v1::InferredHolder& holder : *all->mutable_inferred())
    if (holder.process().pid() == pid)
      *owners.add_inferred() = std::move(holder);
  return owners;
}

int ExplainNode(const Options& options, const Question& question,
                std::ostream& out, std::ostream& err) {
  const auto nid = static_cast<uint32_t>(options.number);
  const absl::StatusOr<Answers> answers = Ask(question);
  if (!answers.ok()) return Fail(answers.status(), err);
  const absl::StatusOr<v1::Snapshot> node = OfNode(answers->snapshot, nid);
  v1::ListOwnersResponse owners;
  // Where claims are not observable the rest is worth telling all the same.
  if (auto known = AskOwners(question, /*holding=*/true); known.ok())
    owners = *std::move(known);
  return Print(
      options, node,
      [&](const auto& of_node) {
        return NodeTable(nid, of_node, owners, absl::Now());
      },
      out, err);
}

// `header` tells what the device has to do with its blocks.
int PrintDevice(const Options& options,
                const absl::StatusOr<v1::ListBlocksResponse>& blocks,
                const std::function<std::string()>& header, std::ostream& out,
                std::ostream& err) {
  return Print(
      options, blocks,
      [&](const v1::ListBlocksResponse& of_device) {
        return header() + (of_device.blocks().empty()
                               ? ""
                               : BlockMap(of_device, WantsColor(options)));
      },
      out, err);
}

int ExplainDax(const Options& options, const Question& question,
               std::ostream& out, std::ostream& err) {
  const absl::StatusOr<PhysicalRange> range = DaxRange("", options.device);
  if (!range.ok()) return Fail(range.status(), err);
  absl::StatusOr<v1::ListBlocksResponse> blocks = AskBlocks(question, {});
  if (blocks.ok()) KeepBlocksIn(*range, *blocks);
  return PrintDevice(
      options, blocks,
      [&] { return DaxHeader(options.device, *range, *blocks); }, out, err);
}

int ExplainDevice(const Options& options, const Question& question,
                  std::ostream& out, std::ostream& err) {
  if (absl::StartsWith(options.device, "dax"))
    return ExplainDax(options, question, out, err);
  v1::ListBlocksRequest request;
  request.set_device(options.device);
  const absl::StatusOr<v1::ListBlocksResponse> blocks =
      AskBlocks(question, request);
  if (!blocks.ok()) return Fail(blocks.status(), err);
  const v1::MemoryDevice* device = FindDevice(*blocks, options.device);
  if (!device)
    return Fail(
        absl::NotFoundError(absl::StrCat(
            "no memory of this host came with ", options.device,
            blocks->devices_hidden().empty() ? "" : ", or it is hidden: ",
            Printable(blocks->devices_hidden()))),
        err);
  return PrintDevice(
      options, blocks,
      [&] {
        return DeviceHeader(*device,
                            device->has_requested_bytes()
                                ? device->requested_bytes()
                                : RequestedBytes("/dev/kmsg", options.device));
      },
      out, err);
}

int RunBlocks(const Options& options, std::ostream& out, std::ostream& err) {
  v1::ListBlocksRequest request;
  if (options.nid) request.set_nid(*options.nid);
  request.set_zone(options.zone);
  request.set_verdict(ToVerdict(options.verdict));
  std::optional<PhysicalRange> dax;
  if (absl::StartsWith(options.device, "dax")) {
    const absl::StatusOr<PhysicalRange> range = DaxRange("", options.device);
    if (!range.ok()) return Fail(range.status(), err);
    dax = *range;
  } else {
    request.set_device(options.device);
  }
  absl::StatusOr<v1::ListBlocksResponse> blocks =
      AskBlocks(ToQuestion(options), request);
  if (blocks.ok() && dax) KeepBlocksIn(*dax, *blocks);
  const auto to_text = [&](const v1::ListBlocksResponse& listed) {
    return options.list ? BlockLines(listed, absl::Now())
                        : BlockMap(listed, WantsColor(options));
  };
  return Print(options, blocks, to_text, out, err);
}

int RunPlan(const Options& options, std::ostream& out, std::ostream& err) {
  v1::PlanOfflineRequest request;
  request.set_bytes(options.bytes);
  if (options.nid) request.set_nid(*options.nid);
  const std::optional<uint64_t> pid = ToNumber(options.stopped);
  if (pid && *pid <= UINT32_MAX)
    request.set_stopped_pid(static_cast<uint32_t>(*pid));
  else if (absl::StartsWith(options.stopped, "/"))
    request.set_stopped_cgroup(options.stopped);
  else if (!options.stopped.empty())
    request.set_stopped_unit(options.stopped);
  const absl::StatusOr<v1::PlanOfflineResponse> plan =
      AskPlan(ToQuestion(options), request);
  const int code = Print(
      options, plan,
      [&](const auto& found) { return PlanTable(request, found, absl::Now()); },
      out, err);
  return code == EX_OK && !plan->reached() ? kExitShort : code;
}

int RunExplain(const Options& options, std::ostream& out, std::ostream& err) {
  const Question question = ToQuestion(options);
  switch (options.subject) {
    case Subject::kPage:
      return Print(
          options, AskPage(question, options.number),
          [](const auto& page) { return PageTable(page, absl::Now()); }, out,
          err);
    case Subject::kProcess: {
      const auto pid = static_cast<uint32_t>(options.number);
      return Print(
          options, AskAboutProcess(question, pid),
          [&](const auto& owners) {
            return ProcessTable(pid, owners, absl::Now());
          },
          out, err);
    }
    case Subject::kNode:
      return ExplainNode(options, question, out, err);
    case Subject::kDevice:
      return ExplainDevice(options, question, out, err);
    case Subject::kBlock:
      break;
  }
  return Print(
      options, AskBlock(question, options.number),
      [](const auto& block) { return BlockTable(block, absl::Now()); }, out,
      err);
}

// A failure is not told in the exit code of Fail() once the kernel was asked:
// that an explanation is missing is no reason to say that nothing was done.
int ExplainOffline(const Options& options, std::ostream& out,
                   std::ostream& err) {
  const auto block = AskBlock(ToQuestion(options), options.number);
  if (!block.ok()) {
    Fail(block.status(), err);
    return EX_OK;
  }
  return Write("\n" + BlockTable(*block, absl::Now()), out) ? EX_OK
                                                            : FailToWrite(err);
}

int RunOffline(const Options& options, std::ostream& out, std::ostream& err) {
  if (options.subject != Subject::kBlock) {
    err << "pinwatch: offline takes a memory block, memoryN or N\n";
    return kExitUsage;
  }
  const bool is_json = options.output == "json";
  std::optional<Question> question;
  if (options.explain || is_json) {
    question = ToQuestion(options);
    // Who cannot be told why shall know before anything is done.
    const auto attempts = AskAttempts(*question);
    if (!attempts.ok()) return Fail(attempts.status(), err);
  }
  const absl::StatusOr<OfflineEnd> end =
      FollowOffline("", options.number, question, [&](absl::string_view text) {
        return is_json || Write(std::string(text), out);
      });
  if (!end.ok()) return Fail(end.status(), err);
  int code = Print(
      options, absl::StatusOr<v1::ListAttemptsResponse>(end->story),
      [&](const auto&) { return OfflineEndText(options.number, *end); }, out,
      err);
  if (code == EX_OK && end->error && options.explain && !is_json)
    code = ExplainOffline(options, out, err);
  if (code != EX_OK || !end->error) return code;
  return end->signal ? kExitSignalled + end->signal : kExitShort;
}

Question ToOrder(const Options& options) {
  Question question = ToQuestion(options);
  if (options.timeout_seconds <= 0)
    question.timeout = absl::Seconds(kOrderTimeoutSeconds);
  question.socket_path = options.admin_socket.empty()
                             ? std::filesystem::path(question.socket_path)
                                   .replace_filename("admin.sock")
                                   .string()
                             : SocketPath(options.admin_socket);
  return question;
}

int RunPause(const Options& options, std::ostream& out, std::ostream& err) {
  const auto to_text = [](const v1::PauseResponse& pause) {
    const absl::Duration age = absl::Now() - ToTime(pause.since());
    return Wrap(
        absl::StrCat(
            "paused ", age < absl::Seconds(1) ? "now" : Age(age) + " ago",
            ": no hook is attached and no memory is looked at unasked; "
            "pinwatch resume ends that"),
        kWidth);
  };
  return Print(options, OrderPause(ToOrder(options)), to_text, out, err);
}

int RunResume(const Options& options, std::ostream& out, std::ostream& err) {
  const auto to_text = [](const v1::ResumeResponse& resume) {
    if (!resume.has_paused()) return std::string("it was not paused\n");
    return Wrap(absl::StrCat("resumed after ", Age(ToDuration(resume.paused())),
                             ": who took pins meanwhile is not known"),
                kWidth);
  };
  return Print(options, OrderResume(ToOrder(options)), to_text, out, err);
}

int RunStatus(const Options& options, std::ostream& out, std::ostream& err) {
  const auto to_table = [&](const Answers& answers) {
    return StatusTable(
        answers.info, answers.snapshot,
        {.now = absl::Now(), .width = Width(), .color = WantsColor(options)});
  };
  return Print(options, Ask(ToQuestion(options)), to_table, out, err);
}

int RunTop(const Options& options, std::ostream& out, std::ostream& err) {
  const auto to_table = [&](const v1::ListOwnersResponse& owners) {
    return TopTable(
        owners, {.now = absl::Now(), .by = options.by, .rows = options.rows});
  };
  return Print(options, AskOwners(ToQuestion(options), /*holding=*/true),
               to_table, out, err);
}

int RunUninstall(const Options& options, std::ostream& out, std::ostream& err) {
  const absl::StatusOr<Removed> removed = Uninstall(options.bpf_dir);
  if (absl::IsPermissionDenied(removed.status()))
    return Fail(absl::PermissionDeniedError(absl::StrCat(
                    removed.status().message(), ": only root may do that")),
                err);
  if (!removed.ok()) return Fail(removed.status(), err);
  const std::string text =
      removed->links + removed->programs + removed->maps == 0
          ? absl::StrCat("nothing of pinwatchd is in ", options.bpf_dir, "\n")
          : absl::StrCat("removed ", removed->links, " links, ",
                         removed->programs, " programs and ", removed->maps,
                         " maps from ", options.bpf_dir,
                         ": no pin is followed any more\n");
  return Write(text, out) ? EX_OK : FailToWrite(err);
}

int RunWatch(const Options& options, std::ostream& out, std::ostream& err) {
  WatchLog log(absl::LocalTimeZone());
  bool written = true;
  const absl::Status end = Watch(
      ToQuestion(options),
      [&](const v1::WatchResponse& message) -> absl::Status {
        const absl::StatusOr<std::string> text =
            options.output == "json" ? ToJsonLine(message) : log.Lines(message);
        if (!text.ok()) return text.status();
        written = Write(*text, out);
        return written ? absl::OkStatus() : absl::AbortedError("output failed");
      });
  return written ? Fail(end, err) : FailToWrite(err);
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
  return options.run(options, out, err);
}

}  // namespace pinwatch
