// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_PUBLISHED_H_
#define PINWATCH_DAEMON_PUBLISHED_H_

#include <memory>
#include <mutex>
#include <utility>

namespace pinwatch {

// The latest value one thread has published, for any number of readers. A
// mutex, since ThreadSanitizer reports g++ 12's atomic<shared_ptr> as racy.
template <typename T>
class Published {
 public:
  void Set(std::shared_ptr<const T> value) {
    std::lock_guard lock(mutex_);
    value_ = std::move(value);
  }

  // Null until the first Set.
  std::shared_ptr<const T> Get() const {
    std::lock_guard lock(mutex_);
    return value_;
  }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const T> value_;
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_PUBLISHED_H_
