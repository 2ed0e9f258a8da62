// SPDX-License-Identifier: Apache-2.0
#include "daemon/http.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <poll.h>
#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cmath>
#include <cstring>
#include <iterator>
#include <optional>
#include <sstream>
#include <string_view>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace pinwatch {
namespace {

constexpr unsigned kMaxConnections = 64;  // an address
constexpr unsigned kTimeoutSeconds = 10;  // without a byte moved
constexpr size_t kMemoryPerConnection = 32 * 1024;
constexpr int kBacklog = 128;

constexpr char kPlainText[] = "text/plain; charset=utf-8";
constexpr char kExposition[] = "text/plain; version=0.0.4; charset=utf-8";
constexpr char kHtml[] = "text/html; charset=utf-8";

constexpr char kLandingPage[] = R"(<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>pinwatch</title></head>
<body>
<h1>pinwatch</h1>
<p>Which memory of this host cannot be moved, and why.</p>
<p>Version $version, revision $revision.</p>
<ul>
<li><a href="/metrics">/metrics</a>: for Prometheus</li>
<li><a href="/-/healthy">/-/healthy</a>: whether pinwatchd lives</li>
<li><a href="/-/ready">/-/ready</a>: whether it has a snapshot to show</li>
</ul>
</body>
</html>
)";

using Headers = std::vector<std::pair<const char*, const char*>>;

struct Reply {
  unsigned status = MHD_HTTP_OK;
  const char* content_type = kPlainText;
  std::string body;
  Headers headers;
};

std::string EscapeHtml(const std::string& text) {
  return absl::StrReplaceAll(text, {{"&", "&amp;"},
                                    {"<", "&lt;"},
                                    {">", "&gt;"},
                                    {"\"", "&quot;"},
                                    {"'", "&#39;"}});
}

// Whether "q=0.5", the parameter of a coding, allows it.
bool HasWeight(absl::string_view parameter) {
  parameter = absl::StripAsciiWhitespace(parameter);
  double weight;
  return (absl::ConsumePrefix(&parameter, "q=") ||
          absl::ConsumePrefix(&parameter, "Q=")) &&
         absl::SimpleAtod(parameter, &weight) && weight > 0;
}

// Whether a client that sent this Accept-Encoding takes gzip (RFC 9110,
// 12.5.3). In doubt not: every client takes plain text.
bool AcceptsGzip(absl::string_view header) {
  bool accepts_any = false;
  for (absl::string_view item : absl::StrSplit(header, ',')) {
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(item, absl::MaxSplits(';', 1));
    const absl::string_view coding = absl::StripAsciiWhitespace(parts.first);
    const bool allowed =
        !absl::StrContains(item, ';') || HasWeight(parts.second);
    if (absl::EqualsIgnoreCase(coding, "gzip")) return allowed;
    if (coding == "*") accepts_any = allowed;
  }
  return accepts_any;
}

// Unset where zlib fails, which is out of memory.
std::optional<std::string> Gzip(const std::string& text) {
  constexpr int kGzipFormat = 15 + 16;
  constexpr int kDefaultMemory = 8;
  z_stream stream{};
  if (deflateInit2(&stream, Z_BEST_SPEED, Z_DEFLATED, kGzipFormat,
                   kDefaultMemory, Z_DEFAULT_STRATEGY) != Z_OK) {
    return std::nullopt;
  }
  std::string packed(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  const int result = deflate(&stream, Z_FINISH);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  if (result != Z_STREAM_END) return std::nullopt;
  return packed;
}

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;
};

SocketAddress Ipv4(in_addr host, uint16_t port) {
  SocketAddress address{.size = sizeof(sockaddr_in)};
  const sockaddr_in in{
      .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = host};
  std::memcpy(&address.storage, &in, sizeof(in));
  return address;
}

SocketAddress Ipv6(in6_addr host, uint16_t port) {
  SocketAddress address{.size = sizeof(sockaddr_in6)};
  const sockaddr_in6 in{
      .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = host};
  std::memcpy(&address.storage, &in, sizeof(in));
  return address;
}

std::optional<uint16_t> ParsePort(const std::string& text) {
  uint32_t port;
  // SimpleAtoi takes signs and spaces too.
  if (text.empty() || !std::ranges::all_of(text, absl::ascii_isdigit) ||
      !absl::SimpleAtoi(text, &port) || port > UINT16_MAX) {
    return std::nullopt;
  }
  return static_cast<uint16_t>(port);
}

// ":PORT" is every address of both families.
bool TakesBothFamilies(const std::string& address) {
  return address.starts_with(':');
}

std::optional<SocketAddress> ParseAddress(const std::string& text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos) return std::nullopt;
  const std::optional<uint16_t> port = ParsePort(text.substr(colon + 1));
  if (!port) return std::nullopt;
  if (colon == 0) return Ipv6(in6addr_any, *port);

  const std::string host = text.substr(0, colon);
  in_addr host4;
  if (inet_pton(AF_INET, host.c_str(), &host4) == 1) return Ipv4(host4, *port);
  if (!host.starts_with('[') || !host.ends_with(']')) return std::nullopt;
  in6_addr host6;
  if (inet_pton(AF_INET6, host.substr(1, host.size() - 2).c_str(), &host6) != 1)
    return std::nullopt;
  return Ipv6(host6, *port);
}

class Socket {
 public:
  explicit Socket(int fd) : fd_(fd) {}
  Socket(Socket&& other) noexcept : fd_(other.Release()) {}
  ~Socket() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }
  int Release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

absl::Status ListenError(const std::string& address, int error) {
  const absl::Status status =
      absl::ErrnoToStatus(error, absl::StrCat("listen on ", address));
  if (error != EADDRINUSE) return status;
  return absl::Status(status.code(),
                      absl::StrCat(status.message(),
                                   " (another pinwatchd? choose another with "
                                   "--web.listen-address)"));
}

// Bound, and both families or one as `text` says.
absl::StatusOr<Socket> OpenListener(const std::string& text) {
  const std::optional<SocketAddress> address = ParseAddress(text);
  if (!address) {
    return absl::InvalidArgumentError(absl::StrCat(
        "listen address \"", text,
        "\": want 127.0.0.1:19620, [::1]:19620 or :19620 for every address"));
  }
  const int family = address->storage.ss_family;
  Socket listener(
      socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (listener.get() < 0) {
    // Without IPv6 on this host, every address is every IPv4 address.
    if (errno == EAFNOSUPPORT && TakesBothFamilies(text))
      return OpenListener("0.0.0.0" + text);
    return ListenError(text, errno);
  }
  const int yes = 1;
  const int one_family = !TakesBothFamilies(text);
  const auto* name = reinterpret_cast<const sockaddr*>(&address->storage);
  if (setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) ||
      (family == AF_INET6 &&
       setsockopt(listener.get(), IPPROTO_IPV6, IPV6_V6ONLY, &one_family,
                  sizeof(one_family))) ||
      bind(listener.get(), name, address->size) ||
      listen(listener.get(), kBacklog)) {
    return ListenError(text, errno);
  }
  return listener;
}

uint16_t PortOf(const Socket& socket) {
  sockaddr_storage storage{};
  socklen_t size = sizeof(storage);
  getsockname(socket.get(), reinterpret_cast<sockaddr*>(&storage), &size);
  // The port stands in the same place in both families.
  sockaddr_in address;
  std::memcpy(&address, &storage, sizeof(address));
  return ntohs(address.sin_port);
}

bool ClientTakesGzip(MHD_Connection* connection) {
  const char* header = MHD_lookup_connection_value(
      connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT_ENCODING);
  return header != nullptr && AcceptsGzip(header);
}

MHD_Result Send(MHD_Connection* connection, Reply reply) {
  MHD_Response* response = MHD_create_response_from_buffer(
      reply.body.size(), reply.body.data(), MHD_RESPMEM_MUST_COPY);
  if (response == nullptr) return MHD_NO;
  MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE,
                          reply.content_type);
  MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
  for (const auto& [name, value] : reply.headers)
    MHD_add_response_header(response, name, value);
  const MHD_Result result =
      MHD_queue_response(connection, reply.status, response);
  MHD_destroy_response(response);
  return result;
}

// Paths are compared as they were sent: "%00" would end one early.
size_t LeaveEscaped(void*, MHD_Connection*, char* text) {
  return std::strlen(text);
}

prometheus::ClientMetric::Histogram ToClientHistogram(
    const Histogram& histogram) {
  prometheus::ClientMetric::Histogram out;
  for (size_t i = 0; i < histogram.counts.size(); ++i) {
    out.sample_count += histogram.counts[i];
    out.bucket.push_back({out.sample_count, i < histogram.bounds.size()
                                                ? histogram.bounds[i]
                                                : HUGE_VAL});
  }
  out.sample_sum = histogram.sum;
  return out;
}

prometheus::MetricFamily ToFamily(const CollectedMetric& collected) {
  const MetricDef& metric = *collected.metric;
  prometheus::MetricFamily family;
  family.name = metric.name;
  family.help = metric.help;
  const bool is_counter = metric.type == MetricType::kCounter;
  family.type = is_counter ? prometheus::MetricType::Counter
                : metric.type == MetricType::kHistogram
                    ? prometheus::MetricType::Histogram
                    : prometheus::MetricType::Gauge;
  for (const Series& series : collected.series) {
    prometheus::ClientMetric& out = family.metric.emplace_back();
    const std::string* value = series.labels.data();
    for (std::string_view label : metric.labels)
      out.label.push_back({std::string(label), *value++});
    if (series.histogram)
      out.histogram = ToClientHistogram(*series.histogram);
    else
      (is_counter ? out.counter.value : out.gauge.value) = series.value;
  }
  return family;
}

}  // namespace

std::string ToPrometheusText(const std::vector<CollectedMetric>& metrics) {
  std::vector<prometheus::MetricFamily> families;
  families.reserve(metrics.size());
  for (const CollectedMetric& metric : metrics)
    families.push_back(ToFamily(metric));
  return prometheus::TextSerializer().Serialize(families);
}

// What is served, apart from how: any thread may ask.
class HttpServer::Site {
 public:
  Site(HttpOptions options, const Published<Snapshot>* snapshots)
      : options_(std::move(options)), snapshots_(snapshots) {}

  // Called by libmicrohttpd first with a request's headers, then once for each
  // part of its body, then with none left.
  static MHD_Result OnRequest(void* site, MHD_Connection* connection,
                              const char* path, const char* method, const char*,
                              const char*, size_t* body_size, void** seen) {
    const std::string_view verb = method;
    try {
      if (verb != MHD_HTTP_METHOD_GET && verb != MHD_HTTP_METHOD_HEAD) {
        return Send(connection, {.status = MHD_HTTP_METHOD_NOT_ALLOWED,
                                 .body = "only GET and HEAD\n",
                                 .headers = {{"Allow", "GET, HEAD"}}});
      }
      // An answer before the last call would cost the client its connection.
      if (*seen == nullptr || *body_size > 0) {
        *seen = site;
        *body_size = 0;
        return MHD_YES;
      }
      return Send(connection, static_cast<Site*>(site)->Get(
                                  path, ClientTakesGzip(connection)));
    } catch (...) {
      return MHD_NO;  // closes the connection; C code is above us
    }
  }

 private:
  Reply Get(std::string_view path, bool gzip) {
    if (path == "/") return LandingPage();
    if (path == "/metrics") return Metrics(gzip);
    if (path == "/-/healthy") return {.body = "healthy\n"};
    if (path == "/-/ready") return Ready();
    return {.status = MHD_HTTP_NOT_FOUND, .body = "not found\n"};
  }

  Reply LandingPage() const {
    const BuildInfo& build = options_.build;
    return {.content_type = kHtml,
            .body = absl::StrReplaceAll(
                kLandingPage, {{"$version", EscapeHtml(build.version)},
                               {"$revision", EscapeHtml(build.revision)}}),
            .headers = {{"Content-Security-Policy", "default-src 'none'"}}};
  }

  Reply Ready() const {
    return snapshots_->Get() ? Reply{.body = "ready\n"} : NoSnapshotYet();
  }

  static Reply NoSnapshotYet() {
    return {.status = MHD_HTTP_SERVICE_UNAVAILABLE,
            .body = "no snapshot yet: pinwatchd is taking its first look\n"};
  }

  Reply Metrics(bool gzip) {
    const std::shared_ptr<const Snapshot> snapshot = snapshots_->Get();
    if (!snapshot) return NoSnapshotYet();
    try {
      return Exposition(*snapshot, gzip);
    } catch (...) {
      ++failed_scrapes_;
      return {.status = MHD_HTTP_INTERNAL_SERVER_ERROR,
              .body = "collecting the metrics failed\n"};
    }
  }

  Reply Exposition(const Snapshot& snapshot, bool gzip) {
    Scrape scrape{.snapshot = snapshot,
                  .build = options_.build,
                  .failed_scrapes = failed_scrapes_};
    if (const auto stats = options_.read_process_stats(); stats.ok())
      scrape.process = *stats;
    Reply reply{
        .content_type = kExposition,
        .body = ToPrometheusText(CollectMetrics(scrape, options_.max_series)),
        .headers = {{"Vary", "Accept-Encoding"}}};
    if (!gzip) return reply;
    if (std::optional<std::string> packed = Gzip(reply.body)) {
      reply.body = *std::move(packed);
      reply.headers.push_back({"Content-Encoding", "gzip"});
    }
    return reply;
  }

  const HttpOptions options_;
  const Published<Snapshot>* const snapshots_;
  std::atomic<uint64_t> failed_scrapes_ = 0;
};

// Serves one socket by a thread of its own. libmicrohttpd's own threads are not
// used: a malformed request that its version 0.9.75 meets while such a thread
// is being stopped makes it read the headers of a response it does not have.
class HttpServer::Listener {
 public:
  Listener() : stop_(eventfd(0, EFD_CLOEXEC)) {}
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  ~Listener() {
    if (thread_.joinable()) {
      const uint64_t one = 1;
      (void)!write(stop_.get(), &one, sizeof(one));
      thread_.join();
    }
    if (daemon_ != nullptr) MHD_stop_daemon(daemon_);
  }

  // Whether it serves now.
  bool Start(Socket socket, Site* site) {
    if (stop_.get() < 0) return false;
    // libmicrohttpd owns the socket from here on: on failure it may be closed.
    daemon_ = MHD_start_daemon(
        MHD_USE_EPOLL, /*port=*/0, nullptr, nullptr, &Site::OnRequest, site,
        MHD_OPTION_LISTEN_SOCKET, socket.Release(), MHD_OPTION_CONNECTION_LIMIT,
        kMaxConnections, MHD_OPTION_CONNECTION_TIMEOUT, kTimeoutSeconds,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, kMemoryPerConnection,
        MHD_OPTION_UNESCAPE_CALLBACK, &LeaveEscaped, nullptr, MHD_OPTION_END);
    if (daemon_ == nullptr) return false;
    const auto* info = MHD_get_daemon_info(daemon_, MHD_DAEMON_INFO_EPOLL_FD);
    if (info == nullptr) return false;
    thread_ = std::thread([this, epoll_fd = info->epoll_fd] { Run(epoll_fd); });
    return true;
  }

 private:
  void Run(int epoll_fd) {
    pollfd fds[] = {{.fd = stop_.get(), .events = POLLIN},
                    {.fd = epoll_fd, .events = POLLIN}};
    while (fds[0].revents == 0) {
      poll(fds, std::size(fds), PatienceMs());
      MHD_run(daemon_);
    }
  }

  // Until a connection times out; -1 when there is none that could.
  int PatienceMs() {
    unsigned long long ms;  // NOLINT(google-runtime-int)
    if (MHD_get_timeout(daemon_, &ms) != MHD_YES) return -1;
    return static_cast<int>(std::min<uint64_t>(ms, INT_MAX));
  }

  const Socket stop_;
  MHD_Daemon* daemon_ = nullptr;
  std::thread thread_;
};

HttpServer::HttpServer(std::unique_ptr<Site> site) : site_(std::move(site)) {}

HttpServer::~HttpServer() = default;

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(
    HttpOptions options, const Published<Snapshot>* snapshots) {
  const std::vector<std::string> addresses = options.listen_addresses;
  auto server = absl::WrapUnique(
      new HttpServer(std::make_unique<Site>(std::move(options), snapshots)));
  for (const std::string& address : addresses) {
    const absl::Status status = server->Listen(address);
    if (!status.ok()) return status;
  }
  return server;
}

absl::Status HttpServer::Listen(const std::string& address) {
  absl::StatusOr<Socket> listener = OpenListener(address);
  if (!listener.ok()) return listener.status();
  ports_.push_back(PortOf(*listener));
  auto server = std::make_unique<Listener>();
  if (!server->Start(*std::move(listener), site_.get())) {
    return absl::InternalError(
        absl::StrCat("listen on ", address, ": cannot start a server"));
  }
  listeners_.push_back(std::move(server));
  return absl::OkStatus();
}

}  // namespace pinwatch
