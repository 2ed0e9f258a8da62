// SPDX-License-Identifier: Apache-2.0
//
// pinwatchd: reads which memory is pinned on this host and serves what it
// knows over HTTP and gRPC.
#include <bpf/libbpf.h>
#include <signal.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <string>
#include <vector>

#include "daemon/aggregator.h"
#include "daemon/bpf_source.h"
#include "daemon/clock.h"
#include "daemon/host_files.h"
#include "daemon/http.h"
#include "daemon/loop.h"
#include "daemon/probes.h"
#include "daemon/published.h"
#include "daemon/service.h"
#include "daemon/version.h"

namespace pinwatch {
namespace {

// Exit codes of sysexits.h; the systemd unit must not restart after the last.
constexpr int kExitUsage = 64;
constexpr int kExitUnavailable = 69;
constexpr int kExitNoPermission = 77;

struct Options {
  std::vector<std::string> listen_addresses = {"127.0.0.1:19620"};
  std::string socket_path = "/run/pinwatch/ro.sock";
  std::string socket_group;
  std::string log_level = "info";
  double census_cpu_percent = 0.1;
  ClaimOptions claims;
};

void AddOptions(CLI::App& app, Options& options) {
  app.set_version_flag("--version", std::string(kVersion));
  app.add_option("--web.listen-address", options.listen_addresses,
                 "Address of /metrics; may be given more than once")
      ->capture_default_str();
  app.add_option("--grpc.socket", options.socket_path,
                 "Unix socket the pinwatch command asks")
      ->capture_default_str();
  app.add_option("--grpc.socket-group", options.socket_group,
                 "Group that may ask; without it root alone");
  app.add_option("--census.cpu-percent", options.census_cpu_percent,
                 "Share of one CPU for looks at memory that nobody asked for")
      ->check(CLI::Range(0.001, 100.0))
      ->capture_default_str();
  app.add_option("--claims.without", options.claims.without_doors,
                 "Pin function that is not to be followed, such as "
                 "pin_user_pages_fast; may be given more than once")
      ->check(CLI::IsMember(PinSource::DoorNames()));
  app.add_option("--claims.bytes-at-start", options.claims.chunk_bytes_at_start,
                 "Memory for claims that is taken at start; more is taken as "
                 "it is needed, up to 0.1 % of the host's")
      ->capture_default_str();
  app.add_option("--log.level", options.log_level)
      ->check(CLI::IsMember({"debug", "info", "warn", "error"}))
      ->capture_default_str();
}

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

void SetUpLog(const std::string& level) {
  auto logger = spdlog::stderr_logger_mt("pinwatchd");
  logger->set_pattern("pinwatchd: %l: %v");
  logger->set_level(spdlog::level::from_str(level == "error" ? "err" : level));
  spdlog::set_default_logger(logger);
  libbpf_set_print(LogLibbpf);
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
      spdlog::info("fact={} source=\"{}\"", fact.name, fact.source);
    else
      spdlog::warn("fact={} not observable: {}", fact.name, fact.reason);
  }
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
  const std::unique_ptr<BpfSource> source =
      BpfSource::Open(zoneinfo.value_or(Zoneinfo{}),
                      blocks.value_or(MemoryBlocks{}), options.claims);

  std::vector<Fact> facts = source->facts();
  for (Fact& fact : FileFacts(zoneinfo.status(), blocks.status()))
    facts.push_back(std::move(fact));
  std::sort(facts.begin(), facts.end(),
            [](const Fact& a, const Fact& b) { return a.name < b.name; });
  LogFacts(facts);

  Published<Snapshot> published;
  Loop loop({.census_cpu_share = options.census_cpu_percent / 100},
            source.get(),
            Aggregator(ReadHostInfo(""), source->names(), facts, started),
            &published);

  const absl::StatusOr<std::unique_ptr<HttpServer>> http =
      HttpServer::Start({.listen_addresses = options.listen_addresses,
                         .build = {.version = std::string(kVersion),
                                   .revision = std::string(kRevision),
                                   .compiler = std::string(kCompiler),
                                   .libbpf = BpfSource::LibbpfVersion()}},
                        &published);
  if (!http.ok()) return Fail(kExitUnavailable, http.status());

  const absl::StatusOr<std::unique_ptr<GrpcServer>> grpc = GrpcServer::Start(
      {.socket_path = options.socket_path,
       .socket_group = options.socket_group,
       .version = std::string(kVersion),
       .revision = std::string(kRevision)},
      &published,
      [&](int64_t max_age_ns, Answer answer) {
        loop.Ask(max_age_ns, std::move(answer));
      },
      [&](uint64_t block_id, BlockAnswer answer) {
        loop.AskAboutBlock(block_id, std::move(answer));
      });
  if (!grpc.ok()) return Fail(kExitUnavailable, grpc.status());

  for (const std::string& address : options.listen_addresses)
    spdlog::info("serving http://{}/metrics", address);
  spdlog::info("serving gRPC on {}", options.socket_path);
  loop.Run(stop_fd);
  spdlog::info("stopping");
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
