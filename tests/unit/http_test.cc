// SPDX-License-Identifier: Apache-2.0
#include "daemon/http.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace pinwatch {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

// A connection to the server over loopback, closed at the end.
class Client {
 public:
  explicit Client(uint16_t port, int family = AF_INET)
      : fd_(socket(family, SOCK_STREAM, 0)) {
    const timeval patience = {.tv_sec = 5};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    const sockaddr_in in = {.sin_family = AF_INET,
                            .sin_port = htons(port),
                            .sin_addr = {htonl(INADDR_LOOPBACK)}};
    const sockaddr_in6 in6 = {.sin6_family = AF_INET6,
                              .sin6_port = htons(port),
                              .sin6_addr = in6addr_loopback};
    connected_ =
        family == AF_INET
            ? !connect(fd_, reinterpret_cast<const sockaddr*>(&in), sizeof(in))
            : !connect(fd_, reinterpret_cast<const sockaddr*>(&in6),
                       sizeof(in6));
  }
  Client(Client&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)), connected_(other.connected_) {}
  ~Client() {
    if (fd_ >= 0) close(fd_);
  }

  bool connected() const { return connected_; }

  void Send(const std::string& text) {
    EXPECT_EQ(send(fd_, text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }

  // The server may be gone.
  void TrySend(const std::string& text) {
    (void)!send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
  }

  // Up to the end of the connection, or what came until patience ran out.
  std::string ReadAll() {
    std::string text;
    char part[4096];
    for (ssize_t n; (n = recv(fd_, part, sizeof(part), 0)) > 0;)
      text.append(part, static_cast<size_t>(n));
    return text;
  }

  // Up to and with `end`.
  std::string ReadUntil(const std::string& end) {
    std::string text;
    for (char c; !text.ends_with(end) && recv(fd_, &c, 1, 0) == 1;) text += c;
    return text;
  }

 private:
  int fd_;
  bool connected_ = false;
};

class HttpTest : public testing::Test {
 protected:
  void Start(HttpOptions options = {}) {
    if (options.listen_addresses.empty())
      options.listen_addresses = {"127.0.0.1:0"};
    auto server = HttpServer::Start(std::move(options), &published_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  void Publish() {
    published_.Set(std::make_shared<const Snapshot>(Snapshot{.generation = 7}));
  }

  std::string Ask(const std::string& method, const std::string& path,
                  const std::string& headers = "") {
    Client client(server_->ports()[0]);
    client.Send(method + " " + path + " HTTP/1.1\r\nHost: x\r\n" + headers +
                "Connection: close\r\n\r\n");
    return client.ReadAll();
  }

  std::string Get(const std::string& path, const std::string& headers = "") {
    return Ask("GET", path, headers);
  }

  Published<Snapshot> published_;
  std::unique_ptr<HttpServer> server_;
};

std::string BodyOf(const std::string& answer) {
  return answer.substr(answer.find("\r\n\r\n") + 4);
}

constexpr char kOk[] = "HTTP/1.1 200 ";
constexpr char kNotFound[] = "HTTP/1.1 404 ";
constexpr char kNotAllowed[] = "HTTP/1.1 405 ";
constexpr char kFailed[] = "HTTP/1.1 500 ";
constexpr char kUnavailable[] = "HTTP/1.1 503 ";

TEST_F(HttpTest, MetricsAreTheExpositionOfTheLatestSnapshot) {
  Start();
  Publish();
  const std::string answer = Get("/metrics");
  EXPECT_THAT(answer, StartsWith(kOk));
  EXPECT_THAT(
      answer,
      HasSubstr(
          "\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
  EXPECT_THAT(answer, HasSubstr("\npinwatch_snapshots_total 7\n"));
  EXPECT_THAT(answer, HasSubstr("\nprocess_threads "));
  published_.Set(std::make_shared<const Snapshot>(Snapshot{.generation = 8}));
  EXPECT_THAT(Get("/metrics"), HasSubstr("\npinwatch_snapshots_total 8\n"));
}

TEST_F(HttpTest, BeforeTheFirstSnapshotItLivesButIsNotReady) {
  Start();
  EXPECT_THAT(Get("/-/healthy"), StartsWith(kOk));
  for (const char* path : {"/-/ready", "/metrics"}) {
    const std::string answer = Get(path);
    EXPECT_THAT(answer, StartsWith(kUnavailable));
    EXPECT_THAT(BodyOf(answer), StartsWith("no snapshot yet"));
  }
  Publish();
  EXPECT_THAT(Get("/-/ready"), StartsWith(kOk));
}

TEST_F(HttpTest, LandingPageIsEscapedAndLinksThePaths) {
  Start({.build = {.version = "<b>&\"'", .revision = "$version"}});
  const std::string answer = Get("/");
  EXPECT_THAT(answer, StartsWith(kOk));
  EXPECT_THAT(answer, HasSubstr("Content-Type: text/html; charset=utf-8\r\n"));
  EXPECT_THAT(answer,
              HasSubstr("Content-Security-Policy: default-src 'none'\r\n"));
  EXPECT_THAT(answer, HasSubstr("Version &lt;b&gt;&amp;&quot;&#39;, revision "
                                "$version."));
  for (const char* path : {"/metrics", "/-/healthy", "/-/ready"})
    EXPECT_THAT(answer, HasSubstr(std::string("href=\"") + path + "\""));
}

TEST_F(HttpTest, OnlyExactPathsAreServed) {
  Start();
  Publish();
  for (const char* path :
       {"/metricsfoo", "/metrics/foo", "/metrics/", "//metrics", "/Metrics",
        "/%6detrics", "/metrics%00", "/-/", "/-/healthy/", "/x"}) {
    EXPECT_THAT(Get(path), StartsWith(kNotFound)) << path;
  }
  EXPECT_THAT(Get("/metrics?name=a"), StartsWith(kOk));
}

TEST_F(HttpTest, HeadHasTheHeadersOfGetAndNoBody) {
  Start();
  Publish();
  for (const char* path : {"/", "/metrics", "/-/healthy", "/-/ready"}) {
    const std::string answer = Ask("HEAD", path);
    EXPECT_THAT(answer, StartsWith(kOk)) << path;
    EXPECT_THAT(answer, HasSubstr("\r\nContent-Length: ")) << path;
    EXPECT_THAT(answer, Not(HasSubstr("\r\nContent-Length: 0\r\n"))) << path;
    EXPECT_EQ(BodyOf(answer), "") << path;
  }
  EXPECT_THAT(Ask("HEAD", "/x"), StartsWith(kNotFound));
}

TEST_F(HttpTest, OtherMethodsAreNotAllowed) {
  Start();
  Publish();
  for (const char* method : {"POST", "PUT", "DELETE", "OPTIONS", "get", "X"}) {
    const std::string answer = Ask(method, "/metrics");
    EXPECT_THAT(answer, StartsWith(kNotAllowed)) << method;
    EXPECT_THAT(answer, HasSubstr("\r\nAllow: GET, HEAD\r\n")) << method;
  }
  Client upload(server_->ports()[0]);
  upload.Send(
      "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n");
  EXPECT_THAT(upload.ReadAll(), StartsWith(kNotAllowed));
}

TEST_F(HttpTest, AConnectionServesManyRequests) {
  Start();
  Publish();
  Client client(server_->ports()[0]);
  for (int i = 0; i < 3; ++i) {
    client.Send("GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_THAT(client.ReadUntil("healthy\n"), StartsWith(kOk));
  }
  // A body of a GET means nothing.
  client.Send(
      "GET /-/ready HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello");
  EXPECT_THAT(client.ReadUntil("ready\n"), StartsWith(kOk));
}

TEST_F(HttpTest, MalformedRequestsHarmNobody) {
  Start();
  const std::string hostile[] = {
      "\r\n\r\n",
      "GET\r\n\r\n",
      std::string(3, '\0'),
      std::string("\x16\x03\x01\x02\x00\x01", 6),  // TLS
      "GET / HTTP/9.9\r\n\r\n",
      "GET " + std::string(100'000, 'a') + " HTTP/1.1\r\n\r\n",
      "GET / HTTP/1.1\r\nA: " + std::string(100'000, 'a') + "\r\n\r\n",
      "GET /metrics HTTP/1.1\r\nAccept-Encoding: ;q=,,;;,gzip;q=x\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
  };
  for (const std::string& request : hostile) {
    Client client(server_->ports()[0]);
    client.Send(request);
  }
  EXPECT_THAT(Get("/-/healthy"), StartsWith(kOk));
}

// libmicrohttpd's own threads crashed here, once in some hundred times.
TEST_F(HttpTest, MalformedRequestsUntilItStopsHarmNobody) {
  for (int round = 0; round < 301; ++round) {
    Start();
    const uint16_t port = server_->ports()[0];
    std::atomic<bool> stopped = false;
    std::thread hostile([&] {
      while (!stopped) {
        Client client(port);
        if (!client.connected()) continue;
        client.TrySend("GET / HTTP/9.9\r\n\r\n");
        client.ReadAll();
      }
    });
    server_.reset();
    stopped = true;
    hostile.join();
  }
}

std::string Gunzip(const std::string& packed) {
  constexpr int kGzipFormat = 15 + 16;
  z_stream stream{};
  inflateInit2(&stream, kGzipFormat);
  std::string text(1 << 20, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
  stream.avail_in = static_cast<uInt>(packed.size());
  stream.next_out = reinterpret_cast<Bytef*>(text.data());
  stream.avail_out = static_cast<uInt>(text.size());
  EXPECT_EQ(inflate(&stream, Z_FINISH), Z_STREAM_END);
  text.resize(stream.total_out);
  inflateEnd(&stream);
  return text;
}

TEST_F(HttpTest, MetricsArePackedForAClientThatTakesGzip) {
  Start();
  Publish();
  const std::string answer = Get("/metrics", "Accept-Encoding: gzip\r\n");
  EXPECT_THAT(answer, StartsWith(kOk));
  EXPECT_THAT(answer, HasSubstr("\r\nContent-Encoding: gzip\r\n"));
  EXPECT_THAT(answer, HasSubstr("\r\nVary: Accept-Encoding\r\n"));
  EXPECT_THAT(Gunzip(BodyOf(answer)),
              HasSubstr("\npinwatch_snapshots_total 7\n"));
}

TEST_F(HttpTest, AcceptEncodingIsReadWithItsWeights) {
  Start();
  Publish();
  const std::string packed = "Content-Encoding: gzip";
  for (const char* takes :
       {"gzip", "GZIP", "deflate, gzip;q=0.5", "br , gzip ; q=1.0", "*",
        "gzip;q=0.001", "*;q=0, gzip", "gzip, *;q=0"}) {
    const std::string header = std::string("Accept-Encoding: ") + takes;
    EXPECT_THAT(Get("/metrics", header + "\r\n"), HasSubstr(packed)) << takes;
  }
  for (const char* refuses :
       {"", "identity", "deflate", "gzip;q=0", "gzip; q=0.000", "gzip;q=",
        "gzip;q=nan", "*, gzip;q=0", "*;q=0", "xgzip", "gzipx", "gzip;x=1"}) {
    const std::string header = std::string("Accept-Encoding: ") + refuses;
    EXPECT_THAT(Get("/metrics", header + "\r\n"), Not(HasSubstr(packed)))
        << refuses;
  }
  EXPECT_THAT(Get("/metrics"), Not(HasSubstr(packed)));
}

TEST_F(HttpTest, AnExceptionWhileCollectingIsCountedAndNotFatal) {
  auto fails = std::make_shared<std::atomic<bool>>(true);
  Start({.read_process_stats = [fails]() -> absl::StatusOr<ProcessStats> {
    if (*fails) throw std::runtime_error("no memory");
    return ProcessStats{};
  }});
  Publish();
  EXPECT_THAT(Get("/metrics"), StartsWith(kFailed));
  EXPECT_THAT(Get("/metrics"), StartsWith(kFailed));
  *fails = false;
  EXPECT_THAT(Get("/metrics"),
              HasSubstr("\npinwatch_failed_scrapes_total 2\n"));
}

TEST_F(HttpTest, UnreadableProcessStatsLeaveTheRest) {
  Start({.read_process_stats = [] {
    return absl::StatusOr<ProcessStats>(absl::NotFoundError("no /proc"));
  }});
  Publish();
  const std::string answer = Get("/metrics");
  EXPECT_THAT(answer, HasSubstr("\npinwatch_snapshots_total 7\n"));
  EXPECT_THAT(answer, Not(HasSubstr("\nprocess_")));
  EXPECT_THAT(answer,
              HasSubstr("pinwatch_collector_success{collector=\"process\"} 0"));
}

TEST_F(HttpTest, SixtyHalfOpenConnectionsDoNotDelayAScrape) {
  Start();
  Publish();
  std::vector<Client> half_open;
  for (int i = 0; i < 60; ++i) {
    half_open.emplace_back(server_->ports()[0]);
    half_open.back().Send("GET /metrics HTTP/1.1\r\nHost:");
  }
  const auto start = std::chrono::steady_clock::now();
  EXPECT_THAT(Get("/metrics"), StartsWith(kOk));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
}

TEST_F(HttpTest, AClientThatDoesNotReadDoesNotDelayAScrape) {
  Snapshot large;
  for (int i = 0; i < 300; ++i)
    large.migrations.push_back(
        {.reason = std::string(120, 'x') + std::to_string(i), .mode = "sync"});
  published_.Set(std::make_shared<const Snapshot>(std::move(large)));
  Start();
  std::vector<Client> deaf;
  for (int i = 0; i < 4; ++i) {
    deaf.emplace_back(server_->ports()[0]);
    // More than the buffers of both sockets hold.
    for (int k = 0; k < 20; ++k)
      deaf.back().Send("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
  }
  const auto start = std::chrono::steady_clock::now();
  EXPECT_THAT(Get("/metrics"), StartsWith(kOk));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

TEST_F(HttpTest, ScrapesBesidePublishingAreWhole) {
  Start({.listen_addresses = {"127.0.0.1:0", "127.0.0.1:0"}});
  Publish();
  std::jthread publisher([this](const std::stop_token& stop) {
    while (!stop.stop_requested()) Publish();
  });
  std::vector<std::jthread> scrapers;
  for (const uint16_t port : server_->ports()) {
    scrapers.emplace_back([port] {
      for (int i = 0; i < 20; ++i) {
        Client client(port);
        client.Send(
            "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        EXPECT_THAT(client.ReadAll(),
                    HasSubstr("\npinwatch_series_dropped 0\n"));
      }
    });
  }
}

TEST_F(HttpTest, EveryListenAddressIsServed) {
  Start({.listen_addresses = {"127.0.0.1:0", "[::1]:0", ":0"}});
  ASSERT_EQ(server_->ports().size(), 3u);
  const auto answers = [&](size_t i, int family) {
    Client client(server_->ports()[i], family);
    if (!client.connected()) return false;
    client.Send(
        "GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    return client.ReadAll().starts_with(kOk);
  };
  EXPECT_TRUE(answers(0, AF_INET));
  EXPECT_FALSE(answers(0, AF_INET6));
  EXPECT_TRUE(answers(1, AF_INET6));
  EXPECT_FALSE(answers(1, AF_INET));
  EXPECT_TRUE(answers(2, AF_INET));
  EXPECT_TRUE(answers(2, AF_INET6));
}

TEST_F(HttpTest, ItStopsWithOpenConnections) {
  Start();
  Client idle(server_->ports()[0]);
  idle.Send("GET / HTTP/1.1\r\n");
  const uint16_t port = server_->ports()[0];
  server_.reset();
  EXPECT_EQ(idle.ReadAll(), "");
  EXPECT_FALSE(Client(port).connected());
}

TEST_F(HttpTest, ABusyPortSaysWhatToDo) {
  Start();
  const std::string address =
      "127.0.0.1:" + std::to_string(server_->ports()[0]);
  const auto second =
      HttpServer::Start({.listen_addresses = {address}}, &published_);
  EXPECT_EQ(second.status().message(),
            "listen on " + address +
                ": Address already in use (another pinwatchd? choose another "
                "with --web.listen-address)");
}

TEST_F(HttpTest, AnAddressOfThisHostIsNeeded) {
  // TEST-NET-1, of no host.
  const auto server =
      HttpServer::Start({.listen_addresses = {"192.0.2.1:0"}}, &published_);
  EXPECT_EQ(server.status().message(),
            "listen on 192.0.2.1:0: Cannot assign requested address");
}

TEST_F(HttpTest, AddressesOfAnotherFormAreRefusedByName) {
  for (const char* address : {"",
                              "19620",
                              "127.0.0.1",
                              "127.0.0.1:",
                              "127.0.0.1:x",
                              "127.0.0.1:-1",
                              "127.0.0.1: 80",
                              "127.0.0.1:+80",
                              "127.0.0.1:65536",
                              "127.0.0.1:4294967376",
                              "::1:19620",
                              "[::1]",
                              "[]:1",
                              "[:1",
                              "[::1:1",
                              "[127.0.0.1]:1",
                              "localhost:19620",
                              "256.0.0.1:1",
                              " 127.0.0.1:1",
                              "http://127.0.0.1:1"}) {
    const auto server =
        HttpServer::Start({.listen_addresses = {address}}, &published_);
    ASSERT_EQ(server.status().code(), absl::StatusCode::kInvalidArgument)
        << address;
    EXPECT_EQ(server.status().message(),
              std::string("listen address \"") + address +
                  "\": want 127.0.0.1:19620, [::1]:19620 or :19620 for every "
                  "address");
  }
}

}  // namespace
}  // namespace pinwatch
