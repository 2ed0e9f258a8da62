// SPDX-License-Identifier: Apache-2.0
//
// Who may include whom, as docs/architecture.md has it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>

namespace {

namespace fs = std::filesystem;

// The included paths of every source file below the folder, by file name.
std::map<std::string, std::set<std::string>> IncludesBelow(
    const std::string& folder) {
  std::map<std::string, std::set<std::string>> result;
  for (const auto& entry : fs::recursive_directory_iterator(
           fs::path(PINWATCH_SOURCE_DIR) / folder)) {
    const std::string extension = entry.path().extension();
    if (extension != ".h" && extension != ".cc" && extension != ".c") continue;
    std::ifstream file(entry.path());
    std::set<std::string>& includes = result[entry.path().filename()];
    for (std::string line; std::getline(file, line);) {
      if (!line.starts_with("#include ")) continue;
      const size_t begin = line.find_first_of("<\"") + 1;
      includes.insert(
          line.substr(begin, line.find_first_of(">\"", begin) - begin));
    }
  }
  return result;
}

// The files, of all those below `folder`, that include a path with the prefix.
std::set<std::string> FilesThatInclude(const std::string& folder,
                                       const std::string& prefix) {
  std::set<std::string> files;
  for (const auto& [file, includes] : IncludesBelow(folder))
    for (const std::string& include : includes)
      if (include.starts_with(prefix)) files.insert(file);
  return files;
}

using testing::ElementsAre;
using testing::IsEmpty;
using testing::IsSubsetOf;

TEST(Layering, LibbpfIsNamedOnlyWhereTheKernelIsReadAndForItsLog) {
  EXPECT_THAT(
      FilesThatInclude("daemon", "bpf/bpf.h"),
      ElementsAre("bpf_source.cc", "contig_source.cc", "hotplug_source.cc",
                  "kept_state.cc", "memmap_source.cc", "migration_source.cc",
                  "pin_source.cc", "pipe_search.cc", "virtio_mem_source.cc"));
  EXPECT_THAT(
      FilesThatInclude("daemon", "bpf/libbpf.h"),
      ElementsAre("bpf_source.cc", "contig_source.cc", "hotplug_source.cc",
                  "kept_state.cc", "log.cc", "memmap_source.cc",
                  "migration_source.cc", "pin_source.cc", "pipe_search.cc",
                  "reference_source.cc", "virtio_mem_source.cc"));
  EXPECT_THAT(FilesThatInclude("daemon", "bpf/btf.h"),
              ElementsAre("bpf_source.cc", "kept_state.cc", "probes.cc",
                          "virtio_mem_source.cc"));
  EXPECT_THAT(FilesThatInclude("cli", "bpf/"), IsEmpty());
}

TEST(Layering, SystemdIsNamedOnlyInMain) {
  EXPECT_THAT(FilesThatInclude("daemon", "systemd/"), ElementsAre("main.cc"));
  EXPECT_THAT(FilesThatInclude("cli", "systemd/"), IsEmpty());
}

TEST(Layering, BccIsNamedOnlyWhereUserStacksAreNamed) {
  EXPECT_THAT(FilesThatInclude("daemon", "bcc/"),
              ElementsAre("user_symbols.cc"));
  EXPECT_THAT(FilesThatInclude("cli", "bcc/"), IsEmpty());
}

TEST(Layering, PrometheusAndTheHttpLibraryAreNamedOnlyInHttp) {
  EXPECT_THAT(FilesThatInclude("daemon", "prometheus/"),
              ElementsAre("http.cc"));
  EXPECT_THAT(FilesThatInclude("daemon", "microhttpd.h"),
              ElementsAre("http.cc"));
}

TEST(Layering, GrpcIsNamedOnlyInTheServiceAndTheCommand) {
  EXPECT_THAT(
      FilesThatInclude("daemon", "grpc"),
      IsSubsetOf({"admin.cc", "admin.h", "grpc_socket.cc", "grpc_socket.h",
                  "health.cc", "health.h", "service.cc", "service.h",
                  "waiting_call.h", "watch.cc", "watch.h"}));
}

TEST(Layering, KernelTypesAreIncludedOnlyByPrograms) {
  EXPECT_THAT(FilesThatInclude("daemon", "bpf/kernel.h"), IsEmpty());
  EXPECT_THAT(FilesThatInclude("bpf", "kernel.h"),
              ElementsAre("census.bpf.c", "contig.bpf.c", "direct.h", "folio.h",
                          "holders.bpf.c", "hotplug.bpf.c", "migrate.bpf.c",
                          "pageblock.h", "pin.bpf.c", "references.bpf.c",
                          "virtio_mem.bpf.c"));
}

TEST(Layering, StateIncludesNothingOfItsReaders) {
  const std::set<std::string> state = {
      "snapshot.h",  "source.h",         "aggregator.h", "aggregator.cc",
      "published.h", "kernel_symbols.h", "subsystem.h",  "processes.h"};
  for (const auto& [file, includes] : IncludesBelow("daemon")) {
    if (!state.count(file)) continue;
    for (const char* reader : {"daemon/metrics.h", "daemon/http.h",
                               "daemon/service.h", "daemon/bpf_source.h"})
      EXPECT_FALSE(includes.count(reader)) << file << " includes " << reader;
  }
}

TEST(Layering, TheCommandKnowsTheDaemonOnlyThroughItsInterface) {
  EXPECT_THAT(FilesThatInclude("cli", "daemon/"),
              IsSubsetOf({"main.cc"}));  // for the version alone
}

}  // namespace
