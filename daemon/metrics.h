// SPDX-License-Identifier: Apache-2.0
//
// The catalogue of metrics: one row a metric. The exporter, docs/metrics.md,
// the units of dashboards and the checks of panels and alerts come from it.
#ifndef PINWATCH_DAEMON_METRICS_H_
#define PINWATCH_DAEMON_METRICS_H_

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "daemon/process_stats.h"
#include "daemon/snapshot.h"

namespace pinwatch {

struct BuildInfo {
  std::string version;
  std::string revision;
  std::string compiler;
  std::string libbpf;
};

// All that a metric can be read from.
struct Scrape {
  const Snapshot& snapshot;
  const BuildInfo& build;
  std::optional<ProcessStats> process;  // unset when it could not be read
  uint64_t failed_scrapes = 0;          // since the daemon started
  uint64_t series_dropped = 0;          // kept up to date by CollectMetrics
};

struct Histogram {
  std::vector<double> bounds;  // upper ones, rising; a last without is implied
  std::vector<uint64_t> counts;  // one more: each of its bucket alone
  double sum = 0;
};

struct Series {
  std::vector<std::string> labels;  // values, in the order of the row's labels
  double value = 0;
  std::optional<Histogram> histogram;  // instead of the value

  // Lines that it takes.
  uint64_t size() const { return histogram ? histogram->counts.size() + 2 : 1; }
};

// Takes the series of one metric from its reader.
class Emit {
 public:
  // Takes series as long as *room lasts and counts the others in *dropped.
  Emit(uint64_t* room, std::vector<Series>* series, uint64_t* dropped)
      : room_(room), series_(series), dropped_(dropped) {}

  // Label values, strings or integers, in the order of the row's labels.
  template <typename... Labels>
  void operator()(double value, const Labels&... labels) const {
    Add({{Text(labels)...}, value, std::nullopt});
  }
  template <typename... Labels>
  void operator()(Histogram histogram, const Labels&... labels) const {
    Add({{Text(labels)...}, 0, std::move(histogram)});
  }

 private:
  static std::string Text(std::string_view label) { return std::string(label); }
  static std::string Text(int label) { return std::to_string(label); }

  void Add(Series series) const;

  uint64_t* room_;
  std::vector<Series>* series_;
  uint64_t* dropped_;
};

enum class MetricType { kGauge, kCounter, kHistogram };

// Not a std::array of names: g++ 12 takes no part-filled one as a constant.
class LabelNames {
 public:
  static constexpr size_t kMax = 4;

  constexpr LabelNames(std::initializer_list<std::string_view> names = {})
      : size_(names.size()) {
    std::ranges::copy(names, names_);
  }
  constexpr const std::string_view* begin() const { return names_; }
  constexpr const std::string_view* end() const { return names_ + size_; }
  constexpr size_t size() const { return size_; }

 private:
  std::string_view names_[kMax];
  size_t size_;
};

struct MetricDef {
  std::string_view name;
  MetricType type = MetricType::kGauge;
  std::string_view help;
  LabelNames labels;
  void (*read)(const Scrape&, const Emit&) = nullptr;
};

// The rules of the catalogue. metrics.cc does not compile if a row breaks one.
constexpr bool HasOurPrefix(const MetricDef& metric) {
  return metric.name.starts_with("pinwatch_") ||
         metric.name.starts_with("process_");
}

constexpr bool HasTotalIfCounter(const MetricDef& metric) {
  return metric.name.ends_with("_total") ==
         (metric.type == MetricType::kCounter);
}

// The text format escapes neither in prometheus-cpp 1.0.1: a newline in a help
// text would start a line of its own.
constexpr bool HelpIsOneLine(const MetricDef& metric) {
  return metric.help.ends_with('.') &&
         metric.help.find_first_of("\n\r\\") == std::string_view::npos;
}

// Some of these the target or Prometheus itself sets and would rename ours;
// `type` says nothing.
constexpr bool LabelsAreOurs(const MetricDef& metric) {
  constexpr std::string_view kTaken[] = {"type",     "zone", "node",
                                         "instance", "job",  "le"};
  return std::ranges::none_of(metric.labels, [&](std::string_view label) {
    return std::ranges::find(kTaken, label) != std::end(kTaken);
  });
}

constexpr bool NamesAreUnique(std::span<const MetricDef> metrics) {
  for (size_t i = 0; i < metrics.size(); ++i)
    for (size_t j = i + 1; j < metrics.size(); ++j)
      if (metrics[i].name == metrics[j].name) return false;
  return true;
}

// What a figure of the metric is in, as its name says: a base unit, "unixtime"
// for a moment, or "" for a count of things.
constexpr std::string_view UnitOf(std::string_view name) {
  constexpr std::string_view kTotal = "_total";
  if (name.ends_with(kTotal)) name.remove_suffix(kTotal.size());
  if (name.ends_with("_timestamp_seconds") ||
      name.ends_with("_start_time_seconds"))
    return "unixtime";
  for (const std::string_view unit : {"seconds", "bytes", "pages"})
    if (name.ends_with(unit)) return unit;
  return "";
}

// Every metric, in the order of the exposition.
std::span<const MetricDef> Metrics();

// A metric and its series at one moment; it has at least one.
struct CollectedMetric {
  const MetricDef* metric;
  std::vector<Series> series;
};

inline constexpr uint64_t kDefaultMaxSeries = 2000;

// Reads every metric. Label values come out as valid UTF-8 of at most 128
// bytes. Series beyond `max_series` are dropped, those of the last rows first,
// and counted in pinwatch_series_dropped, which is always there.
std::vector<CollectedMetric> CollectMetrics(Scrape scrape, uint64_t max_series);

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_METRICS_H_
