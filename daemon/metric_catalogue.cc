// SPDX-License-Identifier: Apache-2.0
//
// Prints the catalogue of metrics as JSON, for what is generated from it. Runs
// where pinwatch is built; no host needs it.
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "daemon/metrics.h"

// By MetricType.
constexpr const char* kTypes[] = {"gauge", "counter", "histogram"};

int main(int argc, char**) {
  if (argc != 1) {
    std::cerr << "metric_catalogue: takes no arguments\n";
    return 64;
  }
  auto metrics = nlohmann::ordered_json::array();
  for (const pinwatch::MetricDef& metric : pinwatch::Metrics()) {
    metrics.push_back({{"name", metric.name},
                       {"type", kTypes[static_cast<size_t>(metric.type)]},
                       {"help", metric.help},
                       {"unit", pinwatch::UnitOf(metric.name)},
                       {"labels", nlohmann::ordered_json::array()}});
    for (const std::string_view label : metric.labels)
      metrics.back()["labels"].push_back(label);
  }
  std::cout << metrics.dump(1) << std::endl;
  return std::cout.good() ? 0 : 74;
}
