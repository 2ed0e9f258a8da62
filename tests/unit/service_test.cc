// SPDX-License-Identifier: Apache-2.0
#include "daemon/service.h"

#include <gmock/gmock.h>
#include <grp.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <fstream>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "daemon/to_proto.h"
#include "daemon/utf8.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "pinwatch/v1/pinwatch.grpc.pb.h"
#include "tests/unit/temp_tree.h"

namespace pinwatch {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using testing::HasSubstr;

constexpr int64_t kNsPerSecond = 1'000'000'000;

std::chrono::system_clock::time_point After(int milliseconds) {
  return std::chrono::system_clock::now() +
         std::chrono::milliseconds(milliseconds);
}

std::shared_ptr<const Snapshot> SomeSnapshot(uint64_t generation) {
  Snapshot snapshot;
  snapshot.generation = generation;
  snapshot.time.realtime_ns = 1'700'000'000 * kNsPerSecond + 5;
  snapshot.host = {"db17", "6.12.30", "some-boot-id"};
  snapshot.facts = {{"census", true, "struct page", ""}};
  return std::make_shared<const Snapshot>(snapshot);
}

// Keeps what is asked until the test answers it.
class Questions {
 public:
  AskForLook Asker() {
    return [this](int64_t max_age_ns, Answer answer) {
      std::lock_guard lock(mutex_);
      asked_.emplace_back(max_age_ns, std::move(answer));
      changed_.notify_all();
    };
  }

  AskForBlock BlockAsker() {
    return [this](uint64_t block_id, BlockAnswer answer) {
      std::lock_guard lock(mutex_);
      asked_of_blocks_.emplace_back(block_id, std::move(answer));
      changed_.notify_all();
    };
  }

  std::pair<uint64_t, BlockAnswer> TakeOfBlock() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !asked_of_blocks_.empty(); });
    auto question = std::move(asked_of_blocks_.back());
    asked_of_blocks_.pop_back();
    return question;
  }

  // Answers at once, with the page before the one asked about.
  AskForPage PageAsker() {
    return [](uint64_t pfn, PageAnswer answer) {
      if (pfn == 0) return answer(absl::NotFoundError("no block has pfn 0"));
      answer(PageReport{
          .pfn = pfn,
          .block = {.id = 9, .state = "online"},
          .look = Timestamp{.realtime_ns = kNsPerSecond},
          .nid = 1,
          .zone = "Movable",
          .migratetype = "movable",
          .page = PAGE_PINNED_EXACT,
          .refcount = 1025,
          .pins = 1,
          .attribution =
              PinAttribution{.certainty = Certainty::kHeld, .pins = {1, 1}},
          .owners = {{.id = 5}}});
    };
  }

  // Waits for a question and takes it.
  std::pair<int64_t, Answer> Take() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !asked_.empty(); });
    auto question = std::move(asked_.back());
    asked_.pop_back();
    return question;
  }

  bool empty() {
    std::lock_guard lock(mutex_);
    return asked_.empty();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::pair<int64_t, Answer>> asked_;
  std::vector<std::pair<uint64_t, BlockAnswer>> asked_of_blocks_;
};

// A bound socket; with a backlog it listens as a daemon that lives does.
class BoundSocket {
 public:
  BoundSocket(const std::string& path, bool listens)
      : fd_(socket(AF_UNIX, SOCK_STREAM, 0)) {
    sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = {}};
    std::copy(path.begin(), path.end(), address.sun_path);
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)),
              0);
    EXPECT_TRUE(!listens || listen(fd_, 1) == 0);
  }
  ~BoundSocket() { close(fd_); }

 private:
  const int fd_;
};

// Five blocks, 3 to 7, as far as the query goes.
void ListFive(const BlockQuery& query, const BlocksAnswer& answer) {
  BlockList list;
  for (uint64_t id = 3; id <= 7; ++id) {
    if (id < query.first_id) continue;
    list.more = list.blocks.size() == query.limit;
    if (list.more) break;
    list.blocks.push_back({.block = {.id = id, .state = "online"},
                           .verdict = Verdict::kRemovable});
  }
  answer(list);
}

class ServiceTest : public testing::Test {
 protected:
  ~ServiceTest() override {
    if (server_) server_->Stop();
  }

  absl::Status TryStart(const std::string& group = "") {
    auto server = GrpcServer::Start({.socket_path = path_,
                                     .socket_group = group,
                                     .version = "0.1.0",
                                     .revision = "0123abc"},
                                    &published_,
                                    {.look = questions_.Asker(),
                                     .block = questions_.BlockAsker(),
                                     .page = questions_.PageAsker(),
                                     .blocks = ListFive});
    if (!server.ok()) return server.status();
    server_ = *std::move(server);
    return absl::OkStatus();
  }

  void Start() {
    const absl::Status status = TryStart();
    ASSERT_TRUE(status.ok()) << status;
    channel_ = grpc::CreateChannel("unix:" + path_,
                                   grpc::InsecureChannelCredentials());
    stub_ = v1::PinwatchService::NewStub(channel_);
    health_ = grpc::health::v1::Health::NewStub(channel_);
  }

  grpc::Status GetSnapshot(const v1::GetSnapshotRequest& request,
                           int timeout_ms = 10'000) {
    grpc::ClientContext context;
    context.set_deadline(After(timeout_ms));
    return stub_->GetSnapshot(&context, request, &response_);
  }

  grpc::Status GetFreshSnapshot(int64_t seconds, int32_t nanos,
                                int timeout_ms = 10'000) {
    v1::GetSnapshotRequest request;
    request.mutable_max_age()->set_seconds(seconds);
    request.mutable_max_age()->set_nanos(nanos);
    return GetSnapshot(request, timeout_ms);
  }

  grpc::Status ListOwners(const v1::ListOwnersRequest& request,
                          v1::ListOwnersResponse* response) {
    grpc::ClientContext context;
    context.set_deadline(After(10'000));
    return stub_->ListOwners(&context, request, response);
  }

  grpc::Status ListMigrations(const v1::ListMigrationsRequest& request,
                              v1::ListMigrationsResponse* response) {
    grpc::ClientContext context;
    context.set_deadline(After(10'000));
    return stub_->ListMigrations(&context, request, response);
  }

  grpc::Status ExplainBlock(uint64_t block, v1::ExplainBlockResponse* response,
                            int timeout_ms = 10'000) {
    grpc::ClientContext context;
    context.set_deadline(After(timeout_ms));
    v1::ExplainBlockRequest request;
    request.set_block(block);
    return stub_->ExplainBlock(&context, request, response);
  }

  grpc::Status Check(const std::string& service,
                     HealthCheckResponse* response) {
    grpc::ClientContext context;
    context.set_deadline(After(10'000));
    HealthCheckRequest request;
    request.set_service(service);
    return health_->Check(&context, request, response);
  }

  // The raw answer of grpc.reflection to one raw request.
  std::string Reflect(const std::string& request) {
    grpc::GenericStub stub(channel_);
    grpc::ClientContext context;
    context.set_deadline(After(10'000));
    grpc::CompletionQueue queue;
    const auto await = [&] {
      void* tag;
      bool ok = false;
      return queue.Next(&tag, &ok) && ok;
    };
    const auto call = stub.PrepareCall(
        &context,
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        &queue);
    call->StartCall(nullptr);
    EXPECT_TRUE(await());
    const grpc::Slice sent(request);
    call->Write(grpc::ByteBuffer(&sent, 1), nullptr);
    EXPECT_TRUE(await());
    grpc::ByteBuffer answer;
    call->Read(&answer, nullptr);
    EXPECT_TRUE(await());
    grpc::Slice bytes;
    EXPECT_TRUE(answer.DumpToSingleSlice(&bytes).ok());
    call->WritesDone(nullptr);
    EXPECT_TRUE(await());
    grpc::Status status;
    call->Finish(&status, nullptr);
    EXPECT_TRUE(await());
    return {reinterpret_cast<const char*>(bytes.begin()), bytes.size()};
  }

  const TempTree tree_;
  std::string path_ = tree_.root() + "/ro.sock";
  Published<Snapshot> published_;
  Questions questions_;
  std::unique_ptr<GrpcServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::PinwatchService::Stub> stub_;
  std::unique_ptr<grpc::health::v1::Health::Stub> health_;
  v1::GetSnapshotResponse response_;
};

TEST_F(ServiceTest, InfoTellsOfDaemonAndHost) {
  published_.Set(SomeSnapshot(1));
  Start();
  grpc::ClientContext context;
  v1::GetInfoResponse info;
  ASSERT_TRUE(stub_->GetInfo(&context, {}, &info).ok());
  EXPECT_EQ(info.version(), "0.1.0");
  EXPECT_EQ(info.revision(), "0123abc");
  EXPECT_EQ(info.hostname(), "db17");
  EXPECT_EQ(info.kernel_release(), "6.12.30");
  EXPECT_EQ(info.boot_id(), "some-boot-id");
  ASSERT_EQ(info.facts_size(), 1);
  EXPECT_EQ(info.facts(0).name(), "census");
}

TEST_F(ServiceTest, AttemptsAreListedWithNameAndOutcome) {
  Snapshot snapshot = *SomeSnapshot(1);
  snapshot.attempts = {
      {.operation = "offline", .block_id = 9, .running = true, .comm = "a\xff"},
      {.operation = "offline", .error = 16}};
  snapshot.attempt_counts = {{"offline", "EBUSY", 7}};
  published_.Set(std::make_shared<const Snapshot>(snapshot));
  Start();
  grpc::ClientContext context;
  v1::ListAttemptsResponse response;
  ASSERT_TRUE(stub_->ListAttempts(&context, {}, &response).ok());
  ASSERT_EQ(response.attempts_size(), 2);
  EXPECT_EQ(response.attempts(0).block(), 9u);
  EXPECT_EQ(response.attempts(0).comm(), "a\xef\xbf\xbd");
  EXPECT_EQ(response.attempts(0).outcome(), "");
  EXPECT_FALSE(response.attempts(0).has_error());
  EXPECT_EQ(response.attempts(1).outcome(), "EBUSY");
  EXPECT_EQ(response.attempts(1).error(), 16);
  EXPECT_EQ(response.counts(0).attempts(), 7u);
}

TEST_F(ServiceTest, AttemptsComeInPagesTheOneUnderWayFirst) {
  Snapshot snapshot = *SomeSnapshot(1);
  for (uint32_t id = 263; id > 0; --id)
    snapshot.attempts.push_back({.id = id, .running = id == 263});
  snapshot.attempt_counts = {{"offline", "EBUSY", 262}};
  published_.Set(std::make_shared<const Snapshot>(snapshot));
  Start();
  const auto ask = [&](uint32_t size, const std::string& token,
                       v1::ListAttemptsResponse& response) {
    grpc::ClientContext context;
    v1::ListAttemptsRequest request;
    request.set_page_size(size);
    request.set_page_token(token);
    return stub_->ListAttempts(&context, request, &response);
  };
  v1::ListAttemptsResponse first, second;
  ASSERT_TRUE(ask(0, "", first).ok());
  EXPECT_EQ(first.attempts_size(), 256);
  EXPECT_TRUE(first.attempts(0).running());
  EXPECT_EQ(first.counts_size(), 1);
  ASSERT_TRUE(ask(1000, first.next_page_token(), second).ok());
  EXPECT_EQ(second.attempts_size(), 7);
  EXPECT_EQ(second.attempts(0).id(), 7u);
  EXPECT_EQ(second.counts_size(), 0);
  EXPECT_EQ(second.next_page_token(), "");

  // One by one, each comes once.
  std::string token;
  uint32_t expected = 263;
  do {
    v1::ListAttemptsResponse page;
    ASSERT_TRUE(ask(1, token, page).ok());
    ASSERT_EQ(page.attempts_size(), 1);
    EXPECT_EQ(page.attempts(0).id(), expected--);
    token = page.next_page_token();
  } while (!token.empty());
  EXPECT_EQ(expected, 0u);
  v1::ListAttemptsResponse none;
  for (const char* token : {"x", "0"})
    EXPECT_EQ(ask(0, token, none).error_code(),
              grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(ServiceTest, AttemptsAreRefusedWhereTheKernelHidesThem) {
  Snapshot snapshot = *SomeSnapshot(1);
  snapshot.facts = {{.name = "hotplug", .reason = "locked down"}};
  published_.Set(std::make_shared<const Snapshot>(snapshot));
  Start();
  grpc::ClientContext context;
  v1::ListAttemptsResponse response;
  const grpc::Status status = stub_->ListAttempts(&context, {}, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(status.error_message(), "attempts are not observable: locked down");
}

TEST_F(ServiceTest, AttemptsNameTheOwnersOfTheirBlockers) {
  Snapshot snapshot = *SomeSnapshot(1);
  snapshot.attempts = {{.operation = "offline",
                        .error = 16,
                        .blockers = {{.pfn = 0x1234,
                                      .nr_pages = 512,
                                      .page = PAGE_PINNED_LARGE,
                                      .refcount = -1,
                                      .pins = 2,
                                      .certainty = Certainty::kShared,
                                      .owners = {3, 9, 17}}}}};
  snapshot.owners = {{.id = 2}, {.id = 3}, {.id = 9}};
  published_.Set(std::make_shared<const Snapshot>(snapshot));
  Start();
  grpc::ClientContext context;
  v1::ListAttemptsResponse response;
  ASSERT_TRUE(stub_->ListAttempts(&context, {}, &response).ok());
  const v1::BlockingPage& page = response.attempts(0).blockers(0);
  EXPECT_EQ(page.pfn(), 0x1234u);
  EXPECT_EQ(page.nr_pages(), 512u);
  EXPECT_EQ(page.page_class(), "pinned_large");
  EXPECT_EQ(page.refcount(), -1);
  EXPECT_EQ(page.pins(), 2u);
  EXPECT_EQ(page.certainty(), v1::CERTAINTY_SHARED);
  EXPECT_THAT(page.owners(), testing::ElementsAre(3, 9, 17));
  ASSERT_EQ(response.owners_size(), 2) << "17 is not known any more";
  EXPECT_EQ(response.owners(0).id(), 3u);
  EXPECT_EQ(response.owners(1).id(), 9u);
}

TEST_F(ServiceTest, OwnersComeInPagesById) {
  Snapshot snapshot = *SomeSnapshot(1);
  std::vector<PinOwner> owners;
  for (uint32_t id = 2; id <= 2 * 1007; id += 2) owners.push_back({.id = id});
  snapshot.owners = OwnerList(owners);
  snapshot.attributions = {{.zone = "Normal", .pins = {23, 23}}};
  snapshot.claims = ClaimTotals{.owners = 1007};
  published_.Set(std::make_shared<const Snapshot>(snapshot));
  Start();

  v1::ListOwnersResponse page;
  ASSERT_TRUE(ListOwners({}, &page).ok());
  EXPECT_EQ(page.owners_size(), 500);
  EXPECT_EQ(page.next_page_token(), "1000");
  EXPECT_EQ(page.attributions(0).pins().pages(), 23u);
  EXPECT_EQ(page.claims().owners(), 1007u);

  v1::ListOwnersRequest request;
  request.set_page_size(100'000);
  request.set_page_token("1000");
  ASSERT_TRUE(ListOwners(request, &page).ok());
  EXPECT_EQ(page.owners_size(), 500);
  EXPECT_EQ(page.owners(0).id(), 1002u);
  EXPECT_EQ(page.next_page_token(), "2000");

  request.set_page_token("2000");
  ASSERT_TRUE(ListOwners(request, &page).ok());
  EXPECT_EQ(page.owners_size(), 7);
  EXPECT_EQ(page.next_page_token(), "");

  // Exactly as many as fit are the last page.
  request.set_page_size(7);
  ASSERT_TRUE(ListOwners(request, &page).ok());
  EXPECT_EQ(page.owners_size(), 7);
  EXPECT_EQ(page.next_page_token(), "");
}

TEST_F(ServiceTest, FailedMigrationsComeInPagesWithTheTotalsOnTheFirst) {
  Snapshot snapshot = *SomeSnapshot(1);
  snapshot.migrations = {{.reason = "longterm_pin", .mode = "sync"}};
  snapshot.migration_details = {
      {.reason = "longterm_pin", .failed_by_why = {3}}};
  snapshot.migration_places = {{.nid = 0, .zone = "Movable", .calls = 7},
                               {.calls = 3}};
  snapshot.migration_failures = {
      {.id = 4, .reason = "longterm_pin", .page = {.owners = {2}}},
      {.id = 5},
      {.id = 6}};
  snapshot.owners = {
      {.id = 1}, {.id = 2}, {.id = 3, .holdings = {{.huge_ranges = 7}}}};
  snapshot.pin_kinds = {{.nid = 0, .zone = "Normal", .huge_ranges = 9}};
  snapshot.calls = {
      {"vfio", true, {.outcomes = {.moves = PinMoves{.calls = 1}}}},
      {"rdma", true, {}}};
  published_.Set(std::make_shared<const Snapshot>(snapshot));
  Start();
  v1::ListMigrationsRequest request;
  request.set_page_size(2);
  v1::ListMigrationsResponse page;
  ASSERT_TRUE(ListMigrations(request, &page).ok());
  ASSERT_EQ(page.details_size(), 1);
  EXPECT_EQ(page.details(0).failed(0).why(), "pinned");
  EXPECT_EQ(page.details(0).failed(0).pages(), 3u);
  ASSERT_EQ(page.places_size(), 2);
  EXPECT_EQ(page.places(0).zone(), "Movable");
  EXPECT_EQ(page.places(0).calls(), 7u);
  EXPECT_FALSE(page.places(1).has_nid());
  ASSERT_EQ(page.failures_size(), 2);
  EXPECT_EQ(page.failures(0).id(), 4u);
  ASSERT_EQ(page.owners_size(), 2);
  EXPECT_EQ(page.owners(0).id(), 2u);
  EXPECT_EQ(page.owners(1).id(), 3u);
  ASSERT_EQ(page.huge_range_owners_size(), 1);
  EXPECT_EQ(page.huge_range_owners(0), 3u);
  ASSERT_EQ(page.huge_ranges_size(), 1);
  EXPECT_EQ(page.huge_ranges(0).pinned_ranges(), 9u);
  ASSERT_EQ(page.pin_moves_size(), 1);
  EXPECT_EQ(page.pin_moves(0).subsystem(), "vfio");
  EXPECT_EQ(page.pin_moves(0).moves().calls(), 1u);
  request.set_page_token(page.next_page_token());
  ASSERT_TRUE(ListMigrations(request, &page).ok());
  EXPECT_EQ(page.details_size(), 0);
  EXPECT_EQ(page.places_size(), 0);
  EXPECT_EQ(page.huge_ranges_size(), 0);
  EXPECT_EQ(page.pin_moves_size(), 0);
  ASSERT_EQ(page.failures_size(), 1);
  EXPECT_EQ(page.failures(0).id(), 6u);
  EXPECT_EQ(page.next_page_token(), "");
  request.set_page_token("no token");
  EXPECT_EQ(ListMigrations(request, &page).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(ServiceTest, PagesGoOnAfterTheirOwnersWent) {
  Snapshot snapshot = *SomeSnapshot(1);
  snapshot.owners = {{.id = 1}, {.id = 2}, {.id = 3}};
  published_.Set(std::make_shared<const Snapshot>(snapshot));
  Start();
  v1::ListOwnersRequest request;
  request.set_page_size(2);
  v1::ListOwnersResponse page;
  ASSERT_TRUE(ListOwners(request, &page).ok());
  ASSERT_EQ(page.next_page_token(), "2");
  snapshot.owners = {{.id = 1}, {.id = 3}, {.id = UINT32_MAX}};
  published_.Set(std::make_shared<const Snapshot>(snapshot));
  request.set_page_token(page.next_page_token());
  ASSERT_TRUE(ListOwners(request, &page).ok());
  ASSERT_EQ(page.owners_size(), 2);
  EXPECT_EQ(page.owners(0).id(), 3u);
  request.set_page_token("4294967295");
  ASSERT_TRUE(ListOwners(request, &page).ok());
  EXPECT_EQ(page.owners_size(), 0);
}

TEST_F(ServiceTest, OwnersThatHoldNothingMayBeLeftOut) {
  Snapshot snapshot = *SomeSnapshot(1);
  const PinHolding holding = {.zone = "Normal", .pins = {23, 23}};
  snapshot.owners = {{.id = 1},
                     {.id = 2, .holdings = {holding}},
                     {.id = 3},
                     {.id = 4, .holdings = {holding}},
                     {.id = 5}};
  published_.Set(std::make_shared<const Snapshot>(snapshot));
  Start();
  v1::ListOwnersRequest request;
  request.set_holding(true);
  request.set_page_size(1);
  v1::ListOwnersResponse page;
  ASSERT_TRUE(ListOwners(request, &page).ok());
  ASSERT_EQ(page.owners_size(), 1);
  EXPECT_EQ(page.owners(0).id(), 2u);
  request.set_page_token(page.next_page_token());
  ASSERT_TRUE(ListOwners(request, &page).ok());
  ASSERT_EQ(page.owners_size(), 1);
  EXPECT_EQ(page.owners(0).id(), 4u);
  EXPECT_EQ(page.next_page_token(), "");
}

TEST_F(ServiceTest, PageTokensOfOthersAreRefused) {
  published_.Set(SomeSnapshot(1));
  Start();
  for (const char* token :
       {"x", "-1", "+1", " 1", "01", "1 ", "4294967296", "1.0", "\xc3\xbc"}) {
    v1::ListOwnersRequest request;
    request.set_page_token(token);
    v1::ListOwnersResponse page;
    const grpc::Status status = ListOwners(request, &page);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << token;
    EXPECT_EQ(status.error_message(),
              "page_token is not one of ours: send the next_page_token of the "
              "page before, or none for the first page");
  }
}

TEST_F(ServiceTest, OwnersAreRefusedWhereTheKernelHidesThem) {
  Snapshot snapshot = *SomeSnapshot(1);
  snapshot.facts = {{.name = "claims", .reason = "no BTF"}};
  published_.Set(std::make_shared<const Snapshot>(snapshot));
  Start();
  v1::ListOwnersResponse page;
  const grpc::Status status = ListOwners({}, &page);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(status.error_message(), "owners are not observable: no BTF");
}

TEST_F(ServiceTest, ABlockIsExplainedByWhoOwnsTheState) {
  Start();
  std::jthread owner([&] {
    const auto [block, answer] = questions_.TakeOfBlock();
    EXPECT_EQ(block, 42u);
    answer(BlockReport{
        .block = {.id = 42, .state = "online", .nid = 1, .zone = "Movable"},
        .verdict = Verdict::kBlockedByLongTermPins,
        .reason = "23 pages are pinned for long",
        .look = Timestamp{.realtime_ns = 5 * kNsPerSecond},
        .migratetypes = {{.migratetype = "movable"}},
        .attributions = {{.zone = "Movable", .certainty = Certainty::kHeld}},
        .owners = {{.id = 7}},
        .blockers = {{.pfn = 23, .page = PAGE_PINNED_EXACT}}});
  });
  v1::ExplainBlockResponse response;
  ASSERT_TRUE(ExplainBlock(42, &response).ok());
  EXPECT_EQ(response.block(), 42u);
  EXPECT_EQ(response.state(), "online");
  EXPECT_EQ(response.nid(), 1u);
  EXPECT_EQ(response.zone(), "Movable");
  EXPECT_EQ(response.verdict(), v1::VERDICT_BLOCKED_BY_LONG_TERM_PINS);
  EXPECT_EQ(response.reason(), "23 pages are pinned for long");
  EXPECT_EQ(response.look().seconds(), 5);
  EXPECT_EQ(response.migratetypes(0).migratetype(), "movable");
  EXPECT_EQ(response.attributions(0).certainty(), v1::CERTAINTY_HELD);
  EXPECT_EQ(response.owners(0).id(), 7u);
  EXPECT_EQ(response.blockers(0).page_class(), "pinned_exact");
}

TEST_F(ServiceTest, WhyABlockCannotBeExplainedIsPassedOn) {
  Start();
  for (const auto& [status, code] :
       std::vector<std::pair<absl::Status, grpc::StatusCode>>{
           {absl::NotFoundError("no memory42 \xff"),
            grpc::StatusCode::NOT_FOUND},
           {absl::FailedPreconditionError("no census"),
            grpc::StatusCode::FAILED_PRECONDITION},
           {absl::UnavailableError("stopping"),
            grpc::StatusCode::UNAVAILABLE}}) {
    std::jthread owner(
        [&, status = status] { questions_.TakeOfBlock().second(status); });
    v1::ExplainBlockResponse response;
    const grpc::Status answer = ExplainBlock(42, &response);
    EXPECT_EQ(answer.error_code(), code);
    if (code == grpc::StatusCode::NOT_FOUND) {
      EXPECT_EQ(answer.error_message(), "no memory42 \xef\xbf\xbd");
    }
  }
}

TEST_F(ServiceTest, AnExplanationAfterTheDeadlineIsDropped) {
  Start();
  v1::ExplainBlockResponse response;
  EXPECT_EQ(ExplainBlock(42, &response, 50).error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  questions_.TakeOfBlock().second(BlockReport{});
}

TEST_F(ServiceTest, NothingIsTheAnswerBeforeTheFirstSnapshot) {
  Start();
  v1::ListOwnersResponse owners;
  grpc::ClientContext watch_context;
  const auto watch = stub_->Watch(&watch_context, {});
  grpc::ClientContext context;
  v1::GetInfoResponse info;
  for (const grpc::Status& status :
       {GetSnapshot({}), stub_->GetInfo(&context, {}, &info),
        ListOwners({}, &owners), watch->Finish()}) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
    EXPECT_EQ(status.error_message(),
              "no snapshot yet: the first census is under way");
  }
}

TEST_F(ServiceTest, WithoutAnAgeThePublishedSnapshotIsTheAnswer) {
  published_.Set(SomeSnapshot(7));
  Start();
  ASSERT_TRUE(GetSnapshot({}).ok());
  EXPECT_EQ(response_.snapshot().generation(), 7u);
  EXPECT_EQ(response_.snapshot().time().seconds(), 1'700'000'000);
  EXPECT_EQ(response_.snapshot().time().nanos(), 5);
  EXPECT_TRUE(questions_.empty());
}

TEST_F(ServiceTest, WithAnAgeTheAnswerIsAwaited) {
  Start();
  std::jthread owner([&] {
    const auto [max_age_ns, answer] = questions_.Take();
    EXPECT_EQ(max_age_ns, 2 * kNsPerSecond + 3);
    answer(SomeSnapshot(9));
  });
  ASSERT_TRUE(GetFreshSnapshot(2, 3).ok());
  EXPECT_EQ(response_.snapshot().generation(), 9u);
}

TEST_F(ServiceTest, BlocksAreListedInPages) {
  published_.Set(SomeSnapshot(7));
  Start();
  std::vector<uint64_t> ids;
  v1::ListBlocksRequest request;
  request.set_page_size(2);
  for (int pages = 1;; ++pages) {
    grpc::ClientContext context;
    v1::ListBlocksResponse response;
    ASSERT_TRUE(stub_->ListBlocks(&context, request, &response).ok());
    for (const v1::BlockVerdict& block : response.blocks())
      ids.push_back(block.block());
    request.set_page_token(response.next_page_token());
    if (request.page_token().empty()) {
      EXPECT_EQ(pages, 3);
      break;
    }
  }
  EXPECT_THAT(ids, testing::ElementsAre(3, 4, 5, 6, 7));
  request.set_page_token("07");
  grpc::ClientContext context;
  v1::ListBlocksResponse response;
  EXPECT_EQ(stub_->ListBlocks(&context, request, &response).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(ServiceTest, APageIsExplained) {
  Start();
  v1::ExplainPageRequest request;
  v1::ExplainPageResponse response;
  request.set_pfn(0x48d4c);
  {
    grpc::ClientContext context;
    ASSERT_TRUE(stub_->ExplainPage(&context, request, &response).ok());
  }
  EXPECT_EQ(response.pfn(), 0x48d4cu);
  EXPECT_EQ(response.block(), 9u);
  EXPECT_EQ(response.state(), "online");
  EXPECT_EQ(response.look().seconds(), 1);
  EXPECT_EQ(response.nid(), 1u);
  EXPECT_EQ(response.zone(), "Movable");
  EXPECT_EQ(response.migratetype(), "movable");
  EXPECT_EQ(response.page_class(), "pinned_exact");
  EXPECT_EQ(response.refcount(), 1025);
  EXPECT_EQ(response.pins(), 1u);
  EXPECT_EQ(response.attribution().certainty(), v1::CERTAINTY_HELD);
  EXPECT_EQ(response.owners(0).id(), 5u);

  request.set_pfn(0);
  grpc::ClientContext context;
  EXPECT_EQ(stub_->ExplainPage(&context, request, &response).error_code(),
            grpc::StatusCode::NOT_FOUND);
}

TEST_F(ServiceTest, AnAnswerMayComeBeforeTheAskerReturns) {
  server_ = *GrpcServer::Start(
      {.socket_path = path_}, &published_,
      {.look = [](int64_t, Answer answer) { answer(nullptr); }});
  stub_ = v1::PinwatchService::NewStub(
      grpc::CreateChannel("unix:" + path_, grpc::InsecureChannelCredentials()));
  const grpc::Status status = GetFreshSnapshot(0, 0);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(status.error_message(), "the daemon is stopping");
}

TEST_F(ServiceTest, AnAgeBeyondNanosecondsIsTheLargest) {
  Start();
  std::jthread owner([&] {
    const auto [max_age_ns, answer] = questions_.Take();
    EXPECT_EQ(max_age_ns, INT64_MAX);
    answer(SomeSnapshot(1));
  });
  EXPECT_TRUE(GetFreshSnapshot(INT64_MAX, 0).ok());
}

TEST_F(ServiceTest, NegativeOrMalformedAgesAreRefused) {
  Start();
  for (const auto& [seconds, nanos] :
       std::vector<std::pair<int64_t, int32_t>>{{-1, 0},
                                                {0, -1},
                                                {1, -1},
                                                {-1, 1},
                                                {0, 1'000'000'000},
                                                {INT64_MIN, INT32_MIN}}) {
    EXPECT_EQ(GetFreshSnapshot(seconds, nanos).error_code(),
              grpc::StatusCode::INVALID_ARGUMENT)
        << seconds << " s " << nanos << " ns";
  }
  EXPECT_TRUE(questions_.empty());
}

TEST_F(ServiceTest, AnswersAfterTheDeadlineAreDropped) {
  Start();
  EXPECT_EQ(GetFreshSnapshot(0, 0, 50).error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  const Answer answer = questions_.Take().second;
  answer(SomeSnapshot(1));
  published_.Set(SomeSnapshot(2));
  EXPECT_TRUE(GetSnapshot({}).ok());
}

TEST_F(ServiceTest, AnswersThatRaceWithCancellationsAreSafe) {
  Start();
  for (int i = 0; i < 200; ++i) {
    grpc::ClientContext context;
    std::jthread owner([&] { questions_.Take().second(SomeSnapshot(1)); });
    std::jthread canceller([&] { context.TryCancel(); });
    v1::GetSnapshotRequest request;
    request.mutable_max_age();
    v1::GetSnapshotResponse response;
    const grpc::Status status =
        stub_->GetSnapshot(&context, request, &response);
    EXPECT_TRUE(status.ok() ||
                status.error_code() == grpc::StatusCode::CANCELLED)
        << status.error_message();
    // A call that was cancelled before it left asks nothing.
    if (!status.ok() && questions_.empty())
      questions_.Asker()(0, [](std::shared_ptr<const Snapshot>) {});
  }
}

TEST_F(ServiceTest, AnswersMayOutliveTheServer) {
  Start();
  std::jthread client([&] {
    EXPECT_THAT(GetFreshSnapshot(0, 0).error_code(),
                testing::AnyOf(grpc::StatusCode::CANCELLED,
                               grpc::StatusCode::UNAVAILABLE));
  });
  const Answer answer = questions_.Take().second;
  server_.reset();
  answer(SomeSnapshot(1));
}

TEST_F(ServiceTest, RequestsThatAreTooLargeAreRefused) {
  published_.Set(SomeSnapshot(1));
  Start();
  HealthCheckResponse response;
  EXPECT_EQ(Check(std::string(100'000, 'x'), &response).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST_F(ServiceTest, StopEndsOpenCallsInTimeAndRemovesTheSocket) {
  Start();
  std::jthread waiting([&] { EXPECT_FALSE(GetFreshSnapshot(0, 0).ok()); });
  const Answer answer = questions_.Take().second;
  grpc::ClientContext context;
  const auto watch = health_->Watch(&context, {});
  HealthCheckResponse response;
  ASSERT_TRUE(watch->Read(&response));
  // A connection on which no byte comes.
  const int idle = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = {}};
  std::copy(path_.begin(), path_.end(), address.sun_path);
  ASSERT_EQ(
      connect(idle, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);

  const auto start = std::chrono::steady_clock::now();
  server_->Stop();
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2));
  EXPECT_NE(access(path_.c_str(), F_OK), 0);
  EXPECT_FALSE(watch->Read(&response));
  EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  close(idle);
  server_->Stop();
}

TEST_F(ServiceTest, HealthFollowsTheFirstSnapshot) {
  Start();
  HealthCheckResponse response;
  for (const char* service : {"", "pinwatch.v1.PinwatchService"}) {
    ASSERT_TRUE(Check(service, &response).ok());
    EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  }
  published_.Set(SomeSnapshot(1));
  for (const char* service : {"", "pinwatch.v1.PinwatchService"}) {
    ASSERT_TRUE(Check(service, &response).ok());
    EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
  }
  EXPECT_EQ(Check("pinwatch.v1.Nonsense", &response).error_code(),
            grpc::StatusCode::NOT_FOUND);
}

TEST_F(ServiceTest, HealthWatchersHearOfTheFirstSnapshot) {
  Start();
  grpc::ClientContext context;
  context.set_deadline(After(10'000));
  const auto watch = health_->Watch(&context, {});
  HealthCheckResponse response;
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  published_.Set(SomeSnapshot(1));
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
  context.TryCancel();
  EXPECT_FALSE(watch->Read(&response));
  EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(ServiceTest, HealthWatchersOfAnUnknownServiceAreToldAndKept) {
  published_.Set(SomeSnapshot(1));
  Start();
  grpc::ClientContext context;
  context.set_deadline(After(500));
  HealthCheckRequest request;
  request.set_service("pinwatch.v1.Nonsense");
  const auto watch = health_->Watch(&context, request);
  HealthCheckResponse response;
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVICE_UNKNOWN);
  EXPECT_FALSE(watch->Read(&response));
  EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
}

TEST_F(ServiceTest, HealthWatchersThatComeAndGoAreSafe) {
  Start();
  std::vector<std::jthread> clients;
  std::atomic<int> watching = 0;
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back([&, i] {
      for (int j = 0; j < 20; ++j) {
        grpc::ClientContext context;
        const auto watch = health_->Watch(&context, {});
        HealthCheckResponse response;
        if ((i + j) % 2) watch->Read(&response);
        ++watching;
        context.TryCancel();
        watch->Finish();
      }
    });
  }
  while (watching < 80) std::this_thread::yield();
  published_.Set(SomeSnapshot(1));
}

TEST_F(ServiceTest, ReflectionListsServicesAndHasTheirDescriptors) {
  Start();
  const std::string services = Reflect("\x3a\x01*");
  EXPECT_THAT(services, HasSubstr("pinwatch.v1.PinwatchService"));
  EXPECT_THAT(services, HasSubstr("grpc.health.v1.Health"));
  const std::string health = "grpc.health.v1.Health";
  const std::string file = Reflect(
      "\x22" + std::string(1, static_cast<char>(health.size())) + health);
  EXPECT_THAT(file, HasSubstr("grpc/health/v1/health.proto"));
  EXPECT_THAT(file, HasSubstr("SERVICE_UNKNOWN"));
}

TEST_F(ServiceTest, OnlyOwnerAndGroupMayConnect) {
  const mode_t old = umask(0);
  Start();
  EXPECT_EQ(umask(old), 0u) << "the umask was not put back";
  struct stat file;
  ASSERT_EQ(stat(path_.c_str(), &file), 0);
  EXPECT_TRUE(S_ISSOCK(file.st_mode));
  EXPECT_EQ(file.st_mode & 07777, 0660u);
  EXPECT_EQ(file.st_uid, geteuid());
  EXPECT_EQ(file.st_gid, getegid());
}

TEST_F(ServiceTest, TheSocketIsGivenToItsGroup) {
  if (geteuid() != 0) GTEST_SKIP() << "only root gives files away";
  const group* daemon_group = getgrnam("daemon");
  if (!daemon_group) GTEST_SKIP() << "there is no group daemon";
  const gid_t gid = daemon_group->gr_gid;
  ASSERT_TRUE(TryStart("daemon").ok());
  struct stat file;
  ASSERT_EQ(stat(path_.c_str(), &file), 0);
  EXPECT_EQ(file.st_gid, gid);
  EXPECT_EQ(file.st_mode & 07777, 0660u);
}

TEST_F(ServiceTest, AGroupThatDoesNotExistIsAnError) {
  const absl::Status status = TryStart("no-such-group");
  EXPECT_TRUE(absl::IsNotFound(status));
  EXPECT_EQ(status.message(), "socket group no-such-group does not exist");
  EXPECT_NE(access(path_.c_str(), F_OK), 0);
}

TEST_F(ServiceTest, TheDirectoryIsMadeWhateverTheUmask) {
  path_ = tree_.root() + "/run/ro.sock";
  const mode_t old = umask(0077);
  Start();
  umask(old);
  struct stat directory;
  ASSERT_EQ(stat((tree_.root() + "/run").c_str(), &directory), 0);
  EXPECT_EQ(directory.st_mode & 07777, 0755u);
}

TEST_F(ServiceTest, OddCharactersInThePathStandForThemselves) {
  path_ = tree_.root() + "/a%20b c.sock";
  ASSERT_TRUE(TryStart().ok());
  EXPECT_EQ(access(path_.c_str(), F_OK), 0);
}

TEST_F(ServiceTest, TheSocketOfADeadDaemonIsReplaced) {
  { const BoundSocket dead(path_, /*listens=*/true); }
  ASSERT_EQ(access(path_.c_str(), F_OK), 0);
  published_.Set(SomeSnapshot(1));
  Start();
  EXPECT_TRUE(GetSnapshot({}).ok());
}

TEST_F(ServiceTest, TheSocketOfALivingDaemonIsLeftAlone) {
  const BoundSocket living(path_, /*listens=*/true);
  const absl::Status status = TryStart();
  EXPECT_TRUE(absl::IsAlreadyExists(status));
  EXPECT_EQ(status.message(), "another pinwatchd answers on " + path_);
  EXPECT_EQ(access(path_.c_str(), F_OK), 0);
}

TEST_F(ServiceTest, AFileThatIsNoSocketIsLeftAlone) {
  tree_.Write("/ro.sock", "precious");
  EXPECT_EQ(TryStart().message(), path_ + " exists and is no socket");
  std::ifstream file(path_);
  std::string text;
  EXPECT_TRUE(file >> text && text == "precious");
}

TEST_F(ServiceTest, PathsThatAreTooLongAreRefused) {
  path_ = tree_.root() + "/" + std::string(108, 'x');
  EXPECT_TRUE(absl::IsInvalidArgument(TryStart()));
}

TEST(ToUtf8, WellFormedTextIsKept) {
  for (const std::string text :
       {"", "Normal", "z\xc3\xbcrich", "\xe2\x82\xac", "\xed\x9f\xbf",
        "\xf0\x9f\x90\xa7", "\xf4\x8f\xbf\xbf"})
    EXPECT_EQ(ToUtf8(text), text);
}

TEST(ToUtf8, EachByteThatIsNotPartOfATextIsReplaced) {
  const std::string r = "\xef\xbf\xbd";
  EXPECT_EQ(ToUtf8("a\xff\xfe"
                   "b"),
            "a" + r + r + "b");
  EXPECT_EQ(ToUtf8("\xc0\xaf"), r + r) << "overlong";
  EXPECT_EQ(ToUtf8("\xe0\x80\xaf"), r + r + r) << "overlong";
  EXPECT_EQ(ToUtf8("\xed\xa0\x80"), r + r + r) << "surrogate";
  EXPECT_EQ(ToUtf8("\xf4\x90\x80\x80"), r + r + r + r) << "beyond U+10FFFF";
  EXPECT_EQ(ToUtf8("\xe2\x82"), r + r) << "cut";
  EXPECT_EQ(ToUtf8("\xe2\x82z"), r + r + "z");
}

TEST(ToProto, WhatIsNotKnownIsUnset) {
  Snapshot snapshot;
  snapshot.nodes = {{.nid = 1}};
  snapshot.zones = {{.nid = 1, .name = "Normal"}};
  snapshot.blocks = {
      {.nid = -1, .zone = "none", .state = "online", .blocks = 2}};
  const v1::Snapshot proto = ToProto(snapshot);
  EXPECT_FALSE(proto.nodes(0).has_outstanding_references());
  EXPECT_FALSE(proto.nodes(0).has_drift_references());
  EXPECT_FALSE(proto.nodes(0).has_drift_time());
  EXPECT_FALSE(proto.zones(0).has_oldest_look());
  EXPECT_FALSE(proto.blocks(0).has_nid());
}

TEST(ToProto, EveryFigureArrives) {
  Snapshot snapshot;
  snapshot.generation = 1;
  snapshot.nodes = {{.nid = 1,
                     .acquired = 30,
                     .released = 10,
                     .counters_exact = true,
                     .census_references = 19,
                     .census_current = true,
                     .drift_references = 1,
                     .drift_time = Timestamp{.realtime_ns = 1'500'000'000},
                     .device_pages = 32768}};
  Zone zone{.nid = 1, .name = "Normal", .start_pfn = 2, .managed_pages = 5};
  zone.migratetypes = {{.migratetype = "cma",
                        .confirmed = {.pages = 6, .references = 7},
                        .possible = {.pages = 8, .references = 9}}};
  for (int c = 0; c < NR_PAGE_CLASSES; ++c)
    zone.migratetypes[0].pages[c] = 100 + c;
  snapshot.zones = {zone};
  snapshot.migrations = {{"compaction", "sync", {1, 2, 3, 4, 5, 6}}};
  snapshot.collectors = {{"zones", false, 7, "bad \xff"}};
  const v1::Snapshot proto = ToProto(snapshot);

  const v1::Node& node = proto.nodes(0);
  EXPECT_EQ(node.outstanding_references(), 20u);
  EXPECT_EQ(node.census_references(), 19u);
  EXPECT_EQ(node.drift_references(), 1);
  EXPECT_EQ(node.drift_time().nanos(), 500'000'000);
  EXPECT_EQ(node.device_pages(), 32768u);
  EXPECT_EQ(node.drift_cause(), "zone_device");
  const v1::MigratetypePages& pages = proto.zones(0).migratetypes(0);
  EXPECT_EQ(pages.confirmed().pages(), 6u);
  EXPECT_EQ(pages.possible().references(), 9u);
  // The fields of PageClasses stand in the order of enum page_class.
  const auto* classes = pages.classes().GetDescriptor();
  ASSERT_EQ(classes->field_count(), NR_PAGE_CLASSES);
  for (int c = 0; c < NR_PAGE_CLASSES; ++c)
    EXPECT_EQ(pages.classes().GetReflection()->GetUInt64(pages.classes(),
                                                         classes->field(c)),
              100u + c);
  EXPECT_EQ(proto.migrations(0).thp_split(), 6u);
  EXPECT_EQ(proto.collectors(0).error(), "bad \xef\xbf\xbd");
}

TEST(ToProto, TextsOfOwnersAreMadeValid) {
  const Process process = {.pid = 5,
                           .start_boottime_ns = 6,
                           .comm = "\xff",
                           .exe = "\xfe",
                           .cgroup = "\xfd",
                           .unit = "\xfc",
                           .ended = true};
  Snapshot snapshot;
  snapshot.owners = {
      {.id = 1,
       .long_term = true,
       .process = process,
       .via = process,
       .door = "\xff",
       .subsystem = "\xff",
       .call_site = "\xff",
       .devices = {{"\xff", "c"}},
       .kernel_stack = CallStack{"\xff", "a"},
       .user_stack = CallStack{"b", "\xff"},
       .calls = 7,
       .pages = 8,
       .first = {.realtime_ns = 9},
       .last = {.realtime_ns = 10},
       .holdings = {{.nid = 2,
                     .zone = "\xff",
                     .cma = true,
                     .certainty = Certainty::kProbable,
                     .pins = {11, 12},
                     .since = {.realtime_ns = 13},
                     .since_exact = false,
                     .overdue_pages = 16,
                     .huge_ranges = 27}},
       .growth = PinGrowth{
           .since = {.realtime_ns = 17}, .from_pages = 18, .rises = 19}}};
  snapshot.pin_kinds = {{.zone = "\xff",
                         .long_term = 20,
                         .short_term = 21,
                         .unknown = 22,
                         .long_term_older = {23, 24},
                         .short_term_older = {25},
                         .long_term_in_cma = 26,
                         .huge_ranges = 28}};
  snapshot.landings = {{.nid = 0, .zone = "\xff", .pages = 29}, {.pages = 30}};
  snapshot.attributions = {{.nid = 3,
                            .zone = "\xff",
                            .certainty = Certainty::kUnattributed,
                            .reason = "\xff",
                            .pins = {14, 15}}};
  // Protobuf says so when a text is not valid, and fails.
  const v1::Snapshot whole = ToWholeProto(snapshot);
  v1::Snapshot back;
  ASSERT_TRUE(back.ParseFromString(whole.SerializeAsString()));
  const v1::PinOwner& owner = back.owners(0);
  EXPECT_TRUE(owner.long_term());
  for (const v1::Process& one : {owner.process(), owner.via()}) {
    EXPECT_EQ(one.pid(), 5u);
    EXPECT_EQ(one.start_boottime_ns(), 6u);
    EXPECT_EQ(one.unit(), "\xef\xbf\xbd");
    EXPECT_TRUE(one.ended());
  }
  EXPECT_TRUE(owner.devices_known());
  EXPECT_EQ(owner.devices(0), "\xef\xbf\xbd");
  EXPECT_EQ(owner.devices(1), "c");
  EXPECT_EQ(owner.kernel_stack(1), "a");
  EXPECT_EQ(owner.user_stack(0), "b");
  EXPECT_EQ(owner.calls(), 7u);
  EXPECT_EQ(owner.pages(), 8u);
  EXPECT_EQ(owner.first().nanos(), 9);
  EXPECT_EQ(owner.last().nanos(), 10);
  EXPECT_EQ(owner.holdings(0).nid(), 2u);
  EXPECT_EQ(owner.holdings(0).certainty(), v1::CERTAINTY_PROBABLE);
  EXPECT_EQ(owner.holdings(0).pins().references(), 12u);
  EXPECT_EQ(owner.holdings(0).since().nanos(), 13);
  EXPECT_FALSE(owner.holdings(0).since_exact());
  EXPECT_TRUE(owner.holdings(0).cma());
  EXPECT_EQ(owner.holdings(0).overdue_pages(), 16u);
  EXPECT_EQ(owner.growth().since().nanos(), 17);
  EXPECT_EQ(owner.growth().from_pages(), 18u);
  EXPECT_EQ(owner.growth().rises(), 19u);
  const v1::PinKinds& kinds = back.pin_kinds(0);
  EXPECT_EQ(kinds.long_term_pages(), 20u);
  EXPECT_EQ(kinds.short_term_pages(), 21u);
  EXPECT_EQ(kinds.unknown_pages(), 22u);
  ASSERT_EQ(kinds.older_size(), 7);
  EXPECT_EQ(kinds.older(1).older_than(), "10s");
  EXPECT_EQ(kinds.older(1).long_term_pages(), 24u);
  EXPECT_EQ(kinds.older(0).short_term_pages(), 25u);
  EXPECT_EQ(kinds.long_term_cma_pages(), 26u);
  EXPECT_EQ(owner.holdings(0).huge_ranges(), 27u);
  EXPECT_EQ(kinds.huge_ranges(), 28u);
  EXPECT_EQ(back.landings(0).pages(), 29u);
  EXPECT_TRUE(back.landings(0).has_nid());
  EXPECT_FALSE(back.landings(1).has_nid());
  EXPECT_EQ(back.attributions(0).pins().pages(), 14u);
  EXPECT_FALSE(back.has_claims()) << "not observable is not zero";
  EXPECT_EQ(ToProto(snapshot).owners_size(), 0);
}

TEST(ToProto, EveryClaimTotalHasItsField) {
  Snapshot snapshot;
  snapshot.claims = ClaimTotals{.long_term_calls = 1,
                                .short_term_calls = 2,
                                .long_term_pages = 3,
                                .short_term_pages = 4,
                                .short_term_skipped = 5,
                                .lost_busy = 6,
                                .lost_recursion = 7,
                                .lost_owners = 8,
                                .lost_pages = 9,
                                .owners = 10,
                                .chunks = 11,
                                .chunk_bytes = 12,
                                .unattached_ns = 13'000'000'000};
  snapshot.claims->long_term_asked_pages = 14;
  snapshot.claims->short_term_asked_pages = 15;
  snapshot.claims->long_term_partial_calls = 16;
  snapshot.claims->short_term_partial_calls = 17;
  snapshot.claims->long_term_failed_calls = 18;
  snapshot.claims->short_term_failed_calls = 19;
  snapshot.claims->unmeasured_calls = 20;
  snapshot.claims->lost_errors = 21;
  snapshot.claims->follows_moves = true;
  snapshot.claims->follows_targets = true;
  snapshot.claims->moves_lost = 23;
  snapshot.claims->moves_missed = 24;
  const v1::ClaimTotals claims = ToProto(snapshot).claims();
  const auto* fields = claims.GetDescriptor();
  ASSERT_EQ(fields->field_count(), 25);
  EXPECT_TRUE(claims.follows_moves());
  EXPECT_TRUE(claims.follows_targets());
  for (int number = 1; number <= 24; ++number) {
    if (number == v1::ClaimTotals::kGapFieldNumber ||
        number == v1::ClaimTotals::kFollowsMovesFieldNumber)
      continue;
    const auto* field = fields->FindFieldByNumber(number);
    EXPECT_EQ(claims.GetReflection()->GetUInt64(claims, field), number)
        << field->name();
  }
  EXPECT_EQ(claims.gap().seconds(), 13);
}

TEST(ToProto, CallsOfASubsystemHaveWhatCameOfThem) {
  Snapshot snapshot;
  SubsystemCalls& calls =
      snapshot.calls.emplace_back(SubsystemCalls{"vfio", true, {}});
  calls.calls = {.calls = 7, .pages = 23, .outcomes = {}, .latencies = {}};
  calls.calls.latencies[3] = 5;
  calls.calls.outcomes = {.asked_pages = 37,
                          .partial_calls = 1,
                          .failed_calls = 4,
                          .errors = {{ENOMEM, 3}, {999, 1}},
                          .measured_calls = 11,
                          .measured_ns = 1'500'000'000,
                          .minor_faults = 12,
                          .major_faults = 13};
  const v1::SubsystemCalls out = ToProto(snapshot).calls(0);
  EXPECT_EQ(out.subsystem(), "vfio");
  EXPECT_TRUE(out.long_term());
  EXPECT_EQ(out.calls(), 7u);
  EXPECT_EQ(out.pages(), 23u);
  EXPECT_EQ(out.calls_by_time_size(), PINWATCH_LATENCY_BUCKETS);
  EXPECT_EQ(out.calls_by_time(3), 5u);
  EXPECT_EQ(out.outcomes().asked_pages(), 37u);
  EXPECT_EQ(out.outcomes().partial_calls(), 1u);
  EXPECT_EQ(out.outcomes().failed_calls(), 4u);
  ASSERT_EQ(out.outcomes().errors_size(), 2);
  EXPECT_EQ(out.outcomes().errors(0).name(), "ENOMEM");
  EXPECT_EQ(out.outcomes().errors(0).calls(), 3u);
  EXPECT_EQ(out.outcomes().errors(1).name(), "errno 999");
  EXPECT_EQ(out.outcomes().measured_calls(), 11u);
  EXPECT_EQ(out.outcomes().measured_time().nanos(), 500'000'000);
  EXPECT_EQ(out.outcomes().minor_faults(), 12u);
  EXPECT_EQ(out.outcomes().major_faults(), 13u);
}

}  // namespace
}  // namespace pinwatch
