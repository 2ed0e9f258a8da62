// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_TESTS_UNIT_TEMP_TREE_H_
#define PINWATCH_TESTS_UNIT_TEMP_TREE_H_

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace pinwatch {

// A directory that stands in for / and goes with the test.
class TempTree {
 public:
  TempTree() {
    std::string pattern = testing::TempDir() + "pinwatch-XXXXXX";
    root_ = mkdtemp(pattern.data());
  }
  ~TempTree() { std::filesystem::remove_all(root_); }
  TempTree(const TempTree&) = delete;
  TempTree& operator=(const TempTree&) = delete;

  // Writes a file at an absolute path below the root, directories included.
  void Write(const std::string& path, const std::string& text) const {
    const std::filesystem::path full = root_ + path;
    std::filesystem::create_directories(full.parent_path());
    std::ofstream(full) << text;
  }

  void MakeDirectory(const std::string& path) const {
    std::filesystem::create_directories(root_ + path);
  }

  const std::string& root() const { return root_; }

 private:
  std::string root_;
};

}  // namespace pinwatch

#endif  // PINWATCH_TESTS_UNIT_TEMP_TREE_H_
