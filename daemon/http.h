// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_HTTP_H_
#define PINWATCH_DAEMON_HTTP_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/metrics.h"
#include "daemon/process_stats.h"
#include "daemon/published.h"
#include "daemon/snapshot.h"

namespace pinwatch {

// The text exposition format, version 0.0.4.
std::string ToPrometheusText(const std::vector<CollectedMetric>& metrics);

struct HttpOptions {
  // "127.0.0.1:19620", "[::1]:19620", or ":19620" for every address of both
  // families; "[::]:19620" is every IPv6 address. Port 0 takes a free one.
  std::vector<std::string> listen_addresses;
  BuildInfo build;
  uint64_t max_series = kDefaultMaxSeries;
  // Called for each scrape, by a thread of the server.
  std::function<absl::StatusOr<ProcessStats>()> read_process_stats = [] {
    return ReadProcessStats("");
  };
};

// Serves /, /metrics, /-/healthy and /-/ready until it is destroyed. One
// thread an address, which inherits the signal mask of the caller of Start.
class HttpServer {
  class Site;
  class Listener;

 public:
  // `snapshots` must outlive the server. InvalidArgument for an address of
  // another form; the error of the system where it cannot be listened on.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(
      HttpOptions options, const Published<Snapshot>* snapshots);
  explicit HttpServer(std::unique_ptr<Site> site);  // for Start alone
  ~HttpServer();

  // The ports listened on, in the order of the addresses.
  const std::vector<uint16_t>& ports() const { return ports_; }

 private:
  absl::Status Listen(const std::string& address);

  std::unique_ptr<Site> site_;
  std::vector<uint16_t> ports_;
  // Stopped first: their threads use the site.
  std::vector<std::unique_ptr<Listener>> listeners_;
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_HTTP_H_
