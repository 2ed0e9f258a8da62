// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_TESTS_WORKLOADS_MISSING_MEMORY_H_
#define PINWATCH_TESTS_WORKLOADS_MISSING_MEMORY_H_

#include <cstddef>

namespace workload {

// Memory that stays missing, however one waits for it, until Resolve().
class MissingMemory {
 public:
  explicit MissingMemory(size_t nr_pages);

  char* data() const { return data_; }
  void WaitUntilTouched() const;
  void Resolve() const;

 private:
  char* const data_;
  const size_t size_;
  int fd_ = -1;
};

}  // namespace workload

#endif  // PINWATCH_TESTS_WORKLOADS_MISSING_MEMORY_H_
