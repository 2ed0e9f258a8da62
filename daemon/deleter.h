// SPDX-License-Identifier: Apache-2.0
#ifndef PINWATCH_DAEMON_DELETER_H_
#define PINWATCH_DAEMON_DELETER_H_

namespace pinwatch {

// Owns a C object by its release function.
template <auto Free>
struct Deleter {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_DELETER_H_
