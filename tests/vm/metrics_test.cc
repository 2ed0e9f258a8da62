// SPDX-License-Identifier: Apache-2.0
//
// /metrics says what the snapshot says, and without being asked.
#include "tests/vm/guest.h"

namespace pinwatch::guest {
namespace {

using Metrics = GuestTest;
using UnaskedMetrics = OwnDaemonTest;

using Figures = std::map<Labels, double>;

Figures FiguresOf(const std::vector<Sample>& metrics, const std::string& name) {
  Figures figures;
  for (const Sample& sample : metrics)
    if (sample.name == name) figures[sample.labels] = sample.value;
  return figures;
}

Labels ZoneLabels(const Json& zone) {
  return {{"numa_node", std::to_string(zone.at("nid").get<int>())},
          {"mem_zone", zone.at("name")}};
}

Figures PinsInSnapshot(const Json& snapshot, const std::string& kind,
                       const std::string& unit) {
  Figures figures;
  for (const Json& zone : snapshot.at("zones")) {
    Labels labels = ZoneLabels(zone);
    for (const Json& part : zone.at("migratetypes")) {
      labels["migratetype"] = part.at("migratetype");
      figures[labels] = part.at(kind).at(unit);
    }
  }
  return figures;
}

TEST_F(Metrics, EqualTheSnapshot) {
  Workload workload({"pin-iouring", "--pages", "23"});
  const Json snapshot = FreshSnapshot();
  const std::vector<Sample> metrics = ReadMetrics();
  EXPECT_EQ(Sum(metrics, "pinwatch_pinned_pages"), 23);
  EXPECT_EQ(FiguresOf(metrics, "pinwatch_pinned_pages"),
            PinsInSnapshot(snapshot, "confirmed", "pages"));
  EXPECT_EQ(FiguresOf(metrics, "pinwatch_pinned_references"),
            PinsInSnapshot(snapshot, "confirmed", "references"));
  EXPECT_EQ(FiguresOf(metrics, "pinwatch_possible_pinned_pages"),
            PinsInSnapshot(snapshot, "possible", "pages"));
  EXPECT_EQ(FiguresOf(metrics, "pinwatch_possible_pinned_references"),
            PinsInSnapshot(snapshot, "possible", "references"));
  EXPECT_EQ(Sum(metrics, "pinwatch_pinned_bytes"), 23 * kPageBytes);
}

TEST_F(Metrics, SayOfEveryNodeWhatItsCountersSay) {
  Workload workload({"pin-iouring", "--pages", "23"});
  FreshSnapshot();
  const std::vector<Sample> metrics = ReadMetrics();
  for (int nid : ReadNodes()) {
    const Labels node = {{"numa_node", std::to_string(nid)}};
    const PinCounters counters = ReadPinCounters(nid);
    EXPECT_EQ(Sum(metrics, "pinwatch_node_pin_acquires_total", node),
              counters.acquired);
    EXPECT_EQ(Sum(metrics, "pinwatch_node_pin_releases_total", node),
              counters.released);
    EXPECT_EQ(Sum(metrics, "pinwatch_node_pinned_references", node),
              counters.outstanding());
  }
  EXPECT_EQ(Sum(metrics, "pinwatch_node_pinned_references"), 23);
}

TEST_F(Metrics, AreServedAsPrometheusText) {
  const std::optional<Response> response = Get("/metrics");
  ASSERT_TRUE(response);
  EXPECT_EQ(response->status, 200);
  EXPECT_NE(response->head.find(
                "\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8"),
            std::string::npos)
      << response->head;
  // Reading them holds each line to the format.
  EXPECT_GT(ReadMetrics().size(), 50u);
}

TEST_F(UnaskedMetrics, CatchUpWithPinsWithinFiveSeconds) {
  const Daemon daemon;
  const auto show = [](double pages) {
    return Eventually(seconds(5), [&] {
      return Sum(ReadMetrics(), "pinwatch_pinned_pages") == pages;
    });
  };
  EXPECT_TRUE(show(0));
  Workload workload({"pin-iouring", "--pages", "23"});
  EXPECT_TRUE(show(23));
  workload.Release();
  EXPECT_TRUE(show(0));
}

}  // namespace
}  // namespace pinwatch::guest
