// SPDX-License-Identifier: Apache-2.0
//
// pinwatchd: reads which memory is pinned on this host and serves what it
// knows over HTTP and gRPC.
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_join.h"
#include "daemon/admin.h"
#include "daemon/aggregator.h"
#include "daemon/bpf_source.h"
#include "daemon/clock.h"
#include "daemon/doors.h"
#include "daemon/history.h"
#include "daemon/host_files.h"
#include "daemon/http.h"
#include "daemon/kept_state.h"
#include "daemon/log.h"
#include "daemon/loop.h"
#include "daemon/probes.h"
#include "daemon/published.h"
#include "daemon/service.h"
#include "daemon/supervision.h"
#include "daemon/version.h"

namespace pinwatch {
namespace {

// Exit codes of sysexits.h; the systemd unit restarts after the second alone.
constexpr int kExitUsage = 64;
constexpr int kExitUnavailable = 69;
constexpr int kExitNoPermission = 77;
constexpr int kExitConfig = 78;

struct Options {
  std::vector<std::string> listen_addresses = {"127.0.0.1:19620"};
  std::string socket_path = "/run/pinwatch/ro.sock";
  std::string socket_group;
  std::string admin_socket_path;  // empty: beside the other
  std::string log_level = "info";
  double census_cpu_percent = 0.1;
  double hooks_cpu_percent = 2;
  uint64_t hooks_calls_per_second = 0;
  double hooks_off_seconds = 60;
  double overdue_seconds = 1;
  double suspect_seconds = 600;
  uint64_t retry_rounds = PinRules().retry_rounds;
  double retry_seconds = 1;
  bool infer_holders = false;
  bool follow_references = false;
  std::string bpf_dir;       // empty: claims end with the daemon
  std::string history_file;  // empty: past attempts are not kept
  ClaimOptions claims;
};

void AddOptions(CLI::App& app, Options& options) {
  app.set_version_flag("--version", std::string(kVersion));
  // What a unit gives, the options after it may take back.
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.add_option("--web.listen-address", options.listen_addresses,
                 "Address of /metrics; may be given more than once")
      ->take_all()
      ->capture_default_str();
  app.add_option("--grpc.socket", options.socket_path,
                 "Unix socket the pinwatch command asks")
      ->capture_default_str();
  app.add_option("--grpc.socket-group", options.socket_group,
                 "Group that may ask; without it root alone");
  app.add_option("--grpc.admin-socket", options.admin_socket_path,
                 "Unix socket on which root may pause the daemon; admin.sock "
                 "beside --grpc.socket by default");
  app.add_option("--census.cpu-percent", options.census_cpu_percent,
                 "Share of one CPU for looks at memory that nobody asked for")
      ->check(CLI::Range(0.001, 100.0))
      ->capture_default_str();
  app.add_option("--claims.without", options.claims.without_doors,
                 "Pin function that is not to be followed, such as "
                 "pin_user_pages_fast; may be given more than once")
      ->take_all()
      ->check(CLI::IsMember(DoorNames()));
  app.add_option("--claims.bytes-at-start", options.claims.chunk_bytes_at_start,
                 "Memory for claims that is taken at start; more is taken as "
                 "it is needed, up to 0.1 % of the host's")
      ->capture_default_str();
  app.add_option("--hooks.cpu-percent", options.hooks_cpu_percent,
                 "Share of all CPUs that the hooks on pin functions may cost, "
                 "by estimate; beyond it short-term calls are sampled, then a "
                 "function is let go for a while")
      ->check(CLI::Range(0.001, 100.0))
      ->capture_default_str();
  app.add_option("--hooks.calls-per-second", options.hooks_calls_per_second,
                 "Short-term calls a second beyond which the same is done; 0 "
                 "is as many as there are")
      ->capture_default_str();
  app.add_option("--hooks.let-go-for", options.hooks_off_seconds,
                 "Seconds for which a function is let go at first, and twice "
                 "as long each time, up to an hour")
      ->check(CLI::Range(1.0, 3600.0))
      ->capture_default_str();
  app.add_option("--pins.overdue-after", options.overdue_seconds,
                 "Seconds after which a pin that is meant to be short counts "
                 "as held for long")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  app.add_option("--pins.suspect-after", options.suspect_seconds,
                 "Seconds of growth without an end after which who pins for "
                 "long is a suspected leak")
      ->check(CLI::Range(1.0, 1e6))
      ->capture_default_str();
  app.add_option("--pins.retry-rounds", options.retry_rounds,
                 "Rounds after which a call that pins for long and comes round "
                 "again and again, since a page does not let it, is told of")
      ->check(CLI::Range(1, 1000000000))
      ->capture_default_str();
  app.add_option("--pins.retry-after", options.retry_seconds,
                 "Seconds after which the same is done with fewer rounds, of "
                 "two or more")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  app.add_flag("--pins.follow-moves", options.claims.follow_moves,
               "Tell what long-term calls have to move out of movable memory "
               "first, and which come round and round, also where that takes "
               "hooks on whatever anybody moves: up to Linux v6.10; later for "
               "how often there was no memory to move to");
  app.add_flag("--holders.infer", options.infer_holders,
               "Look for the likely holders of pages that nobody claimed, such "
               "as those pinned before pinwatchd; takes CAP_SYS_ADMIN, "
               "CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH");
  app.add_flag(
      "--references.follow", options.follow_references,
      "Note who takes plain references through get_user_pages_fast, "
      "as direct I/O does before v6.5; each such call then costs more");
  app.add_option("--claims.max-bytes", options.claims.max_chunk_bytes,
                 "Most memory for claims; by default half of the service's "
                 "memory limit");
  app.add_option("--claims.max-owners", options.claims.max_owners,
                 "Most processes by call site and kind of pin; fewer where a "
                 "quarter of the service's memory limit has no room for them, "
                 "at 2 KiB each")
      ->check(CLI::Range(1, PINWATCH_MAX_OWNERS))
      ->capture_default_str();
  app.add_option("--claims.max-runs", options.claims.max_runs,
                 "Most runs of neighbouring pages whose claims have no table")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--bpf.dir", options.bpf_dir,
                 "Directory of bpffs, such as /sys/fs/bpf/pinwatch, in which "
                 "claims and what records them outlive pinwatchd, for the next "
                 "one; without it they end with this one");
  app.add_option("--history.file", options.history_file,
                 "File in which past attempts to take memory offline or online "
                 "outlive pinwatchd; without it they end with this one");
  app.add_option("--log.level", options.log_level)
      ->check(CLI::IsMember({"debug", "info", "warn", "error"}))
      ->capture_default_str();
}

// Readable once SIGTERM or SIGINT has come. Call it before any thread starts,
// since threads inherit the mask.
int OpenStopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return signalfd(-1, &signals, SFD_CLOEXEC);
}

int Fail(int code, const absl::Status& status) {
  spdlog::error("{}", std::string(status.message()));
  return code;
}

// Another start may find the port or the socket free, but no other options.
int FailToServe(const absl::Status& status) {
  if (absl::IsInvalidArgument(status) || absl::IsNotFound(status))
    return Fail(kExitConfig, status);
  if (absl::IsPermissionDenied(status)) return Fail(kExitNoPermission, status);
  return Fail(kExitUnavailable, status);
}

int64_t ToNs(double seconds) { return static_cast<int64_t>(seconds * 1e9); }

std::string AdminSocketPath(const Options& options) {
  if (!options.admin_socket_path.empty()) return options.admin_socket_path;
  return std::filesystem::path(options.socket_path)
      .replace_filename("admin.sock")
      .string();
}

void LogPause(const absl::StatusOr<PauseState>& state, Timestamp ordered) {
  if (!state.ok())
    spdlog::warn("pause: {}", std::string(state.status().message()));
  else if (state->since)
    spdlog::warn("paused by order: no hook is attached; that took {} ms",
                 (Now().monotonic_ns - ordered.monotonic_ns) / 1'000'000);
  else if (state->lasted_ns)
    spdlog::info("resumed after {} s", *state->lasted_ns / 1'000'000'000);
}

void LogGoverned(const GovernorState& state) {
  switch (state.stage) {
    case GovernorStage::kAll:
      spdlog::info("hooks: short-term calls are recorded as before");
      break;
    case GovernorStage::kSampled:
      spdlog::warn("hooks: one short-term call in 64 is recorded, after {}",
                   state.reason);
      break;
    case GovernorStage::kOff:
      spdlog::warn("hooks: {} not followed for now, after {}",
                   absl::StrJoin(state.doors_off, ", "), state.reason);
      break;
  }
}

// Tells nobody where systemd did not start the daemon.
Supervision SuperviseBySystemd() {
  uint64_t watchdog_us = 0;
  if (sd_watchdog_enabled(/*unset_environment=*/0, &watchdog_us) <= 0)
    watchdog_us = 0;
  return Supervision(static_cast<int64_t>(watchdog_us) * 1000,
                     [](const std::string& state) {
                       sd_notify(/*unset_environment=*/0, state.c_str());
                     });
}

std::vector<Fact> FileFacts(const absl::Status& zones,
                            const absl::Status& blocks) {
  const auto fact = [](std::string name, std::string source,
                       const absl::Status& status) {
    return Fact{std::move(name), status.ok(),
                status.ok() ? std::move(source) : "",
                std::string(status.message())};
  };
  return {fact("memory_blocks", "/sys/devices/system/memory", blocks),
          fact("zones", "/proc/zoneinfo", zones)};
}

void LogFacts(const std::vector<Fact>& facts) {
  for (const Fact& fact : facts) {
    if (fact.observable)
      spdlog::info("fact={} source=\"{}\"{}{}", fact.name, fact.source,
                   fact.reason.empty() ? "" : " not complete: ", fact.reason);
    else
      spdlog::log(fact.by_choice ? spdlog::level::info : spdlog::level::warn,
                  "fact={} not observable: {}", fact.name, fact.reason);
  }
}

void TakeOverHistory(const std::string& path, Aggregator& aggregator) {
  absl::StatusOr<AttemptHistory> attempts = LoadAttempts(path, Now());
  if (attempts.ok())
    aggregator.SetHistory(*std::move(attempts));
  else if (!absl::IsNotFound(attempts.status()))
    spdlog::warn("past attempts: {}", std::string(attempts.status().message()));
}

std::unique_ptr<HistoryWriter> KeepHistory(const std::string& path) {
  if (path.empty()) return nullptr;
  return std::make_unique<HistoryWriter>(
      path, [failed = false](const absl::Status& status) mutable {
        if (!status.ok() && !failed)
          spdlog::warn("past attempts: {}", std::string(status.message()));
        failed = !status.ok();
      });
}

int Run(const Options& options) {
  SetUpLog(options.log_level);
  if (absl::Status status = RequireCapabilities(); !status.ok())
    return Fail(kExitNoPermission, status);
  const Timestamp started = Now();
  const int stop_fd = OpenStopSignals();
  signal(SIGPIPE, SIG_IGN);

  absl::StatusOr<Zoneinfo> zoneinfo = ReadZoneinfo("");
  const absl::StatusOr<MemoryBlocks> blocks = ReadMemoryBlocks("");
  ClaimOptions claims = options.claims;
  // Tables of claims are memory of ours, since Linux v5.11.
  if (const auto limit = ReadMemoryLimit("")) {
    claims.max_chunk_bytes = std::min(claims.max_chunk_bytes, *limit / 2);
    claims.max_owners = static_cast<uint32_t>(
        std::clamp<uint64_t>(*limit / 4 / kBytesAnOwner, 1, claims.max_owners));
    spdlog::info("memory limit={} for tables of claims={} most owners={}",
                 *limit, claims.max_chunk_bytes, claims.max_owners);
  }
  absl::StatusOr<std::unique_ptr<KeptState>> kept =
      absl::CancelledError("no --bpf.dir");
  if (!options.bpf_dir.empty()) kept = KeptState::Open(options.bpf_dir);
  if (absl::IsAlreadyExists(kept.status()))
    return Fail(kExitUnavailable, kept.status());
  if (kept.ok())
    claims.kept = kept->get();
  else
    claims.kept = kept.status();
  const HostInfo host = ReadHostInfo("");
  claims.boot_id = host.boot_id;
  const std::unique_ptr<BpfSource> source = BpfSource::Open(
      zoneinfo.value_or(Zoneinfo{}), blocks.value_or(MemoryBlocks{}), claims,
      options.follow_references);

  std::vector<Fact> facts = source->facts();
  for (Fact& fact : FileFacts(zoneinfo.status(), blocks.status()))
    facts.push_back(std::move(fact));
  facts.push_back(ExecutablesFact());
  const Fact inferred = InferredHoldersFact(options.infer_holders);
  facts.push_back(inferred);
  std::sort(facts.begin(), facts.end(),
            [](const Fact& a, const Fact& b) { return a.name < b.name; });
  LogFacts(facts);

  Aggregator aggregator(host, source->names(), facts, started,
                        {.overdue_ns = ToNs(options.overdue_seconds),
                         .suspect_after_ns = ToNs(options.suspect_seconds),
                         .infer_holders = inferred.observable,
                         .retry_rounds = options.retry_rounds,
                         .retry_after_ns = ToNs(options.retry_seconds)});
  if (!options.history_file.empty())
    TakeOverHistory(options.history_file, aggregator);
  std::unique_ptr<HistoryWriter> history;

  Published<Snapshot> published;
  Supervision supervision = SuperviseBySystemd();
  Loop loop(
      {.governor = {.cpu_share = options.hooks_cpu_percent / 100,
                    .calls_per_second = options.hooks_calls_per_second,
                    .cpus = std::max(1u, std::thread::hardware_concurrency()),
                    .off_for_ns = ToNs(options.hooks_off_seconds)},
       .census_cpu_share = options.census_cpu_percent / 100,
       .infer_holders = inferred.observable,
       .on_turn = [&](const Turn& turn) { supervision.OnTurn(turn); },
       .on_governed = LogGoverned,
       .on_history =
           [&](AttemptHistory attempts) {
             if (history) history->Set(std::move(attempts));
           }},
      source.get(), std::move(aggregator), &published);
  // All is open that takes them, and no thread has been started.
  if (absl::Status status = DropCapabilities(inferred.observable); !status.ok())
    spdlog::warn("{}", std::string(status.message()));
  history = KeepHistory(options.history_file);

  const absl::StatusOr<std::unique_ptr<HttpServer>> http =
      HttpServer::Start({.listen_addresses = options.listen_addresses,
                         .build = {.version = std::string(kVersion),
                                   .revision = std::string(kRevision),
                                   .compiler = std::string(kCompiler),
                                   .libbpf = BpfSource::LibbpfVersion()}},
                        &published);
  if (!http.ok()) return FailToServe(http.status());

  const absl::StatusOr<std::unique_ptr<GrpcServer>> grpc = GrpcServer::Start(
      {.socket_path = options.socket_path,
       .socket_group = options.socket_group,
       .version = std::string(kVersion),
       .revision = std::string(kRevision)},
      &published,
      {.look = [&](int64_t max_age_ns,
                   Answer answer) { loop.Ask(max_age_ns, std::move(answer)); },
       .block =
           [&](uint64_t block_id, BlockAnswer answer) {
             loop.AskAboutBlock(block_id, std::move(answer));
           },
       .page =
           [&](uint64_t pfn, PageAnswer answer) {
             loop.AskAboutPage(pfn, std::move(answer));
           },
       .blocks =
           [&](BlockQuery query, BlocksAnswer answer) {
             loop.AskForBlockList(std::move(query), std::move(answer));
           },
       .plan =
           [&](PlanQuery query, PlanAnswer answer) {
             loop.AskForOfflinePlan(std::move(query), std::move(answer));
           }});
  if (!grpc.ok()) return FailToServe(grpc.status());

  const absl::StatusOr<std::unique_ptr<AdminServer>> admin = AdminServer::Start(
      AdminSocketPath(options), [&](bool pause, PauseAnswer answer) {
        loop.AskToPause(
            pause, [answer = std::move(answer), ordered = Now()](auto state) {
              LogPause(state, ordered);
              answer(std::move(state));
            });
      });
  if (!admin.ok()) return FailToServe(admin.status());

  for (const std::string& address : options.listen_addresses)
    spdlog::info("serving http://{}/metrics", address);
  spdlog::info("serving gRPC on {}", options.socket_path);
  loop.Run(stop_fd);
  sd_notify(0, "STOPPING=1\nSTATUS=ends what is still asked");
  spdlog::info("stopping");
  (*admin)->Stop();
  (*grpc)->Stop();
  return 0;
}

}  // namespace
}  // namespace pinwatch

int main(int argc, char** argv) {
  CLI::App app(
      "Tells which memory of this host is pinned, where, and what migration "
      "achieves.",
      "pinwatchd");
  pinwatch::Options options;
  pinwatch::AddOptions(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : pinwatch::kExitUsage;
  }
  return pinwatch::Run(options);
}
