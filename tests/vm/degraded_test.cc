// SPDX-License-Identifier: Apache-2.0
//
// Where the kernel allows less: booted with lockdown=confidentiality it lets no
// BPF program read its memory. Run by name, and only there.
#include "tests/vm/guest.h"

namespace pinwatch::guest {
namespace {

class Degraded : public GuestTest {
 protected:
  void SetUp() override {
    const std::string mode = ReadFile("/sys/kernel/security/lockdown");
    ASSERT_NE(mode.find("[confidentiality]"), std::string::npos)
        << "boot with lockdown=confidentiality";
    GuestTest::SetUp();
  }
};

std::map<std::string, Json> Facts() {
  std::map<std::string, Json> facts;
  const Json info = Status(/*fresh=*/false).at("info");
  for (const Json& fact : info.at("facts")) facts[fact.at("name")] = fact;
  return facts;
}

TEST_F(Degraded, TheCensusIsNotObservableAndSaysWhy) {
  const auto facts = Facts();
  EXPECT_EQ(facts.at("census").at("observable"), false);
  EXPECT_NE(facts.at("census").at("reason").get<std::string>().find(
                "locked down (confidentiality)"),
            std::string::npos)
      << facts.at("census");
  for (const char* name :
       {"memory_blocks", "migrations", "node_counters", "zones"})
    EXPECT_EQ(facts.at(name).at("observable"), true) << name;
  EXPECT_NE(facts.at("node_counters").at("reason"), "");

  const std::vector<Sample> metrics = ReadMetrics();
  EXPECT_EQ(Sum(metrics, "pinwatch_kernel_feature_info",
                {{"feature", "census"}, {"state", "not_observable"}}),
            1);
  EXPECT_EQ(Sum(metrics, "pinwatch_kernel_feature_info",
                {{"state", "not_observable"}}),
            5)
      << "the census, claims, which are of no use without it, attempts, whose "
         "block is read from memory, ranges wanted as a whole, and pipes";
  for (const char* name : {"claims", "contig_ranges", "hotplug", "pipes"})
    EXPECT_NE(facts.at(name).at("reason").get<std::string>().find(
                  "locked down (confidentiality)"),
              std::string::npos)
        << facts.at(name);
}

TEST_F(Degraded, WhatRestsOnTheCensusIsAbsentNotZero) {
  Workload workload({"pin-iouring", "--pages", "23"});
  // A fresh look cannot be had, and is not waited for.
  const Json snapshot = FreshSnapshot();
  for (const Json& zone : snapshot.at("zones")) {
    EXPECT_TRUE(zone.at("migratetypes").empty()) << zone;
    EXPECT_FALSE(zone.contains("oldest_look")) << zone;
  }
  for (const Json& node : snapshot.at("nodes")) {
    EXPECT_EQ(node.at("counters_exact"), false);
    EXPECT_EQ(node.at("census_current"), false);
    EXPECT_FALSE(node.contains("drift_references"));
  }
  for (const Sample& sample : ReadMetrics()) {
    EXPECT_FALSE(sample.name.starts_with("pinwatch_pinned_")) << sample.name;
    EXPECT_FALSE(sample.name.starts_with("pinwatch_possible_")) << sample.name;
    EXPECT_FALSE(sample.name.starts_with("pinwatch_census_")) << sample.name;
    EXPECT_NE(sample.name, "pinwatch_pages");
  }
}

TEST_F(Degraded, NodeCountersComeFromSysfs) {
  Workload workload({"pin-iouring", "--pages", "4097"});
  ReadPinCounters();  // sysfs has what every CPU has added, and now all has
  ASSERT_TRUE(Eventually(seconds(5), [] {
    return Sum(ReadMetrics(), "pinwatch_node_pinned_references") == 4097;
  })) << Sum(ReadMetrics(), "pinwatch_node_pinned_references");
  EXPECT_EQ(Sum(ReadMetrics(), "pinwatch_node_counters_exact"), 0);
}

TEST_F(Degraded, MigrationsAreStillCounted) {
  const Labels reason = {{"reason", "longterm_pin"}};
  const auto moved = [&] {
    return Sum(ReadMetrics(), "pinwatch_migrate_succeeded_pages_total", reason);
  };
  const double before = moved();
  Workload workload({"pin-iouring", "--pages", "23"});
  ASSERT_EQ(workload.held().at("moved_pages"), 23);
  EXPECT_TRUE(Eventually(seconds(5), [&] { return moved() == before + 23; }))
      << moved() - before;
}

TEST_F(Degraded, TheStatusTableNamesWhatIsNotObservable) {
  Process status({"pinwatch", "status"});
  const std::string text = status.ReadAll(seconds(30));
  EXPECT_EQ(status.Wait(seconds(30)), 0) << status.Errors();
  EXPECT_NE(text.find("NOT OBSERVABLE"), std::string::npos) << text;
  EXPECT_NE(text.find("census"), std::string::npos) << text;
}

}  // namespace
}  // namespace pinwatch::guest
