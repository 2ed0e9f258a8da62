// SPDX-License-Identifier: Apache-2.0
#include "daemon/watch.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "daemon/service.h"
#include "pinwatch/v1/pinwatch.grpc.pb.h"
#include "tests/unit/temp_tree.h"

namespace pinwatch {
namespace {

using testing::ElementsAre;

using Stub = v1::PinwatchService::Stub;

class WatchTest : public testing::Test {
 protected:
  WatchTest() {
    snapshot_.zones = {{.nid = 0, .name = "Normal"}};
    auto server = GrpcServer::Start({.socket_path = path_}, &published_, {});
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    stub_ = Connect();
  }

  // On a connection of its own: one takes 32 calls. It takes 64 KiB that
  // nobody reads, and not more from time to time.
  std::unique_ptr<Stub> Connect() {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    arguments.SetMaxReceiveMessageSize(-1);
    return v1::PinwatchService::NewStub(grpc::CreateCustomChannel(
        "unix:" + path_, grpc::InsecureChannelCredentials(), arguments));
  }

  // Publishes snapshot_ as the next generation.
  std::weak_ptr<const Snapshot> Publish() {
    ++snapshot_.generation;
    auto snapshot = std::make_shared<const Snapshot>(snapshot_);
    published_.Set(snapshot);
    return snapshot;
  }

  std::weak_ptr<const Snapshot> PublishPins(uint64_t pages) {
    snapshot_.zones[0].managed_pages = pages;
    return Publish();
  }

  static void AwaitEndOf(const std::weak_ptr<const Snapshot>& snapshot) {
    while (!snapshot.expired()) std::this_thread::yield();
  }

  void AddLargeOwners() {
    std::vector<PinOwner> owners;
    for (uint32_t id = 0; id < 3000; ++id)
      owners.push_back({.id = id, .door = std::string(1000, 'x')});
    snapshot_.owners = OwnerList(owners);
  }

  const TempTree tree_;
  const std::string path_ = tree_.root() + "/ro.sock";
  Snapshot snapshot_;
  Published<Snapshot> published_;
  std::unique_ptr<GrpcServer> server_;
  std::unique_ptr<Stub> stub_;
};

// A client that watches, for at most 20 s.
class Client {
 public:
  explicit Client(Stub& stub) {
    context_.set_deadline(std::chrono::system_clock::now() +
                          std::chrono::seconds(20));
    reader_ = stub.Watch(&context_, {});
  }

  // The next message; an empty one when the stream has ended.
  v1::WatchResponse Read() {
    v1::WatchResponse message;
    reader_->Read(&message);
    return message;
  }

  void AwaitStart() { reader_->WaitForInitialMetadata(); }
  void Cancel() { context_.TryCancel(); }
  grpc::Status Finish() { return reader_->Finish(); }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::WatchResponse>> reader_;
};

TEST_F(WatchTest, TheFirstMessageIsEverything) {
  snapshot_.owners = {{.id = 7, .process = {.comm = "a\xff"}}};
  snapshot_.attempts = {{.operation = "offline", .block_id = 9}};
  snapshot_.attributions = {{.certainty = Certainty::kOneOf}};
  snapshot_.claims = ClaimTotals{.chunks = 23};
  Publish();
  Client client(*stub_);
  const v1::WatchResponse first = client.Read();
  EXPECT_EQ(first.sequence(), 1u);
  EXPECT_EQ(first.missed_snapshots(), 0u);
  EXPECT_FALSE(first.has_difference());
  EXPECT_EQ(first.snapshot().generation(), 1u);
  EXPECT_EQ(first.snapshot().zones(0).name(), "Normal");
  EXPECT_EQ(first.snapshot().owners(0).process().comm(), "a\xef\xbf\xbd");
  EXPECT_EQ(first.snapshot().attempts(0).block(), 9u);
  EXPECT_EQ(first.snapshot().attributions(0).certainty(), v1::CERTAINTY_ONE_OF);
  EXPECT_EQ(first.snapshot().claims().chunks(), 23u);
}

TEST_F(WatchTest, WhatChangesIsToldAndNothingElse) {
  snapshot_.owners = {{.id = 7}, {.id = 8}};
  Publish();
  Client client(*stub_);
  client.Read();
  snapshot_.owners = {{.id = 8}, {.id = 9, .pages = 23}};
  Publish();
  const v1::WatchResponse message = client.Read();
  EXPECT_EQ(message.sequence(), 2u);
  EXPECT_FALSE(message.has_snapshot());
  EXPECT_EQ(message.difference().generation(), 2u);
  ASSERT_EQ(message.difference().owners_size(), 1);
  EXPECT_EQ(message.difference().owners(0).id(), 9u);
  EXPECT_EQ(message.difference().owners(0).pages(), 23u);
  EXPECT_THAT(message.difference().owners_gone(), ElementsAre(7));
  EXPECT_EQ(message.difference().zones_size(), 0);
}

TEST_F(WatchTest, SnapshotsWithoutNewsAreNeitherToldNorMissed) {
  std::weak_ptr<const Snapshot> told = Publish();
  Client client(*stub_);
  client.Read();
  for (int i = 0; i < 7; ++i) {
    const std::weak_ptr<const Snapshot> next = Publish();
    AwaitEndOf(told);  // so that each is looked at by itself
    told = next;
  }
  PublishPins(23);
  const v1::WatchResponse message = client.Read();
  EXPECT_EQ(message.sequence(), 2u);
  EXPECT_EQ(message.difference().generation(), 9u);
  EXPECT_EQ(message.missed_snapshots(), 0u);
}

TEST_F(WatchTest, AReaderThatIsTooSlowMissesStatesAndNoOutcome) {
  // More than flow control lets pass to one who does not read.
  AddLargeOwners();
  Publish();
  Client slow(*stub_);
  slow.AwaitStart();
  for (uint64_t pages = 1; pages <= 7; ++pages) PublishPins(pages);
  EXPECT_EQ(slow.Read().snapshot().generation(), 1u);
  const v1::WatchResponse message = slow.Read();
  EXPECT_EQ(message.sequence(), 2u);
  EXPECT_EQ(message.difference().generation(), 8u);
  EXPECT_EQ(message.difference().zones(0).managed_pages(), 7u);
  EXPECT_EQ(message.difference().owners_size(), 0);
  EXPECT_EQ(message.missed_snapshots(), 6u);
  PublishPins(8);
  EXPECT_EQ(slow.Read().missed_snapshots(), 0u);
}

TEST_F(WatchTest, EachReaderGetsTheDifferenceToWhatItHas) {
  PublishPins(1);
  Client early(*stub_);
  early.Read();
  PublishPins(2);
  EXPECT_EQ(early.Read().difference().generation(), 2u);
  Client late(*stub_);
  EXPECT_EQ(late.Read().snapshot().generation(), 2u);
  PublishPins(3);
  EXPECT_EQ(early.Read().sequence(), 3u);
  EXPECT_EQ(late.Read().sequence(), 2u);
}

TEST_F(WatchTest, TheThirtyThirdReaderIsRefusedUntilOneEnds) {
  Publish();
  std::vector<std::unique_ptr<Client>> clients;
  for (size_t i = 0; i < Watchers::kMax; ++i) {
    clients.push_back(std::make_unique<Client>(*stub_));
    ASSERT_EQ(clients.back()->Read().sequence(), 1u);
  }
  const std::unique_ptr<Stub> other = Connect();
  Client refused(*other);
  EXPECT_EQ(refused.Read().sequence(), 0u);
  const grpc::Status status = refused.Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(status.error_message(),
            "32 clients watch already: end one of them");

  clients[5]->Cancel();
  EXPECT_EQ(clients[5]->Finish().error_code(), grpc::StatusCode::CANCELLED);
  // The server hears of it a little later.
  while (Client(*other).Read().sequence() == 0) std::this_thread::yield();
}

TEST_F(WatchTest, AReaderThatCancelsIsForgotten) {
  const std::weak_ptr<const Snapshot> told = Publish();
  Client client(*stub_);
  client.Read();
  client.Cancel();
  EXPECT_EQ(client.Read().sequence(), 0u);
  EXPECT_EQ(client.Finish().error_code(), grpc::StatusCode::CANCELLED);
  PublishPins(23);
  AwaitEndOf(told);
}

TEST_F(WatchTest, StopEndsEveryReader) {
  Publish();
  Client reader(*stub_);
  reader.Read();
  Client slow(*stub_);
  slow.AwaitStart();
  const auto start = std::chrono::steady_clock::now();
  server_->Stop();
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2));
  EXPECT_EQ(reader.Read().sequence(), 0u);
  const grpc::Status status = reader.Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(status.error_message(), "the daemon is stopping");
}

TEST_F(WatchTest, StopDoesNotWaitForAReaderThatTakesNothing) {
  AddLargeOwners();
  Publish();
  Client stuck(*stub_);
  stuck.AwaitStart();
  const auto start = std::chrono::steady_clock::now();
  server_->Stop();
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(3));
}

TEST_F(WatchTest, ReadersMayComeAndGoWhileSnapshotsAreMade) {
  Publish();
  std::atomic<bool> done = false;
  std::jthread owner([&] {
    for (uint64_t pages = 1; !done; ++pages) {
      PublishPins(pages);
      std::this_thread::yield();
    }
  });
  {
    std::vector<std::jthread> clients;
    for (int i = 0; i < 4; ++i)
      clients.emplace_back([&, i] {
        for (int j = 0; j < 20; ++j) {
          Client client(*stub_);
          uint64_t generation = 0;
          for (int k = 0; k < (i + j) % 5; ++k) {
            const v1::WatchResponse message = client.Read();
            EXPECT_EQ(message.sequence(), k + 1u);
            const uint64_t next = k ? message.difference().generation()
                                    : message.snapshot().generation();
            if (k) {
              EXPECT_EQ(next, generation + 1 + message.missed_snapshots());
            }
            generation = next;
          }
          client.Cancel();
          client.Finish();
        }
      });
  }
  done = true;
}

}  // namespace
}  // namespace pinwatch
