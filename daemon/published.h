// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_PUBLISHED_H_
#define PINWATCH_DAEMON_PUBLISHED_H_

#include <condition_variable>
#include <memory>
#include <mutex>
#include <stop_token>
#include <utility>

namespace pinwatch {

// The latest value one thread has published, for any number of readers. A
// mutex, since ThreadSanitizer reports g++ 12's atomic<shared_ptr> as racy.
template <typename T>
class Published {
 public:
  void Set(std::shared_ptr<const T> value) {
    {
      std::lock_guard lock(mutex_);
      value_ = std::move(value);
    }
    changed_.notify_all();
  }

  // Null until the first Set.
  std::shared_ptr<const T> Get() const {
    std::lock_guard lock(mutex_);
    return value_;
  }

  // Waits for another value than `seen`, which may be null. Null when `stop`
  // is requested before there is one.
  std::shared_ptr<const T> WaitForOther(const std::shared_ptr<const T>& seen,
                                        std::stop_token stop) const {
    std::unique_lock lock(mutex_);
    const bool is_other =
        changed_.wait(lock, stop, [&] { return value_ != seen; });
    return is_other && !stop.stop_requested() ? value_ : nullptr;
  }

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable_any changed_;
  std::shared_ptr<const T> value_;
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_PUBLISHED_H_
