// SPDX-License-Identifier: Apache-2.0
//
// Values as bytes, and back: most numbers are small and take one. What is known
// of every block and owner of a large host is kept like this.
//
// A struct is packed by its fields, told once for both ways:
//   template <typename Archive, Of<PinCount> T>
//   void Fields(Archive& archive, T& count) {
//     auto& [pages, references] = count;
//     archive(pages, references);
//   }
#ifndef PINWATCH_DAEMON_PACKED_H_
#define PINWATCH_DAEMON_PACKED_H_

#include <array>
#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "daemon/snapshot.h"

namespace pinwatch {

// T, or T that is const.
template <typename Value, typename T>
concept Of = std::same_as<std::remove_const_t<Value>, T>;

template <typename T>
concept Scalar = std::integral<T> || std::is_enum_v<T>;

class Packer {
 public:
  template <typename... Values>
  void operator()(const Values&... values) {
    (Put(values), ...);
  }

  std::string Take() { return std::move(bytes_); }

 private:
  // Seven bits a byte, the lowest ones first; the last byte is below 128.
  void PutNumber(uint64_t number) {
    for (; number >= 0x80; number >>= 7)
      bytes_.push_back(static_cast<char>(number | 0x80));
    bytes_.push_back(static_cast<char>(number));
  }

  // A time may be as far from another as can be.
  static uint64_t Minus(int64_t a, int64_t b) {
    return static_cast<uint64_t>(a) - static_cast<uint64_t>(b);
  }

  // Small ones stay small, below zero too.
  void PutSigned(int64_t number) {
    const auto bits = static_cast<uint64_t>(number);
    PutNumber(number < 0 ? ~(bits << 1) : bits << 1);
  }

  template <Scalar T>
  void Put(const T& value) {
    if constexpr (std::signed_integral<T>)
      PutSigned(value);
    else
      PutNumber(static_cast<uint64_t>(value));
  }

  void Put(const std::string& text) {
    PutNumber(text.size());
    bytes_ += text;
  }

  // By what lies between it and the one before.
  void Put(const Timestamp& time) {
    const uint64_t later_ns = Minus(time.monotonic_ns, time_.monotonic_ns);
    PutSigned(static_cast<int64_t>(later_ns));
    PutSigned(static_cast<int64_t>(Minus(time.realtime_ns, time_.realtime_ns) -
                                   later_ns));
    time_ = time;
  }

  template <typename T>
  void Put(const std::vector<T>& values) {
    PutNumber(values.size());
    for (const T& value : values) Put(value);
  }

  template <typename T>
  void Put(const std::optional<T>& value) {
    Put(value.has_value());
    if (value) Put(*value);
  }

  template <typename A, typename B>
  void Put(const std::pair<A, B>& values) {
    (*this)(values.first, values.second);
  }

  template <typename T, size_t size>
  void Put(const T (&values)[size]) {
    for (const T& value : values) Put(value);
  }

  template <typename T>
  void Put(const T& value) {
    Fields(*this, value);
  }

  std::string bytes_;
  Timestamp time_;
};

// Takes out what a Packer was given, in that order.
class Unpacker {
 public:
  explicit Unpacker(std::string_view bytes) : bytes_(bytes) {}

  template <typename... Values>
  void operator()(Values&... values) {
    (Get(values), ...);
  }

 private:
  uint64_t GetNumber() {
    uint64_t number = 0;
    for (unsigned shift = 0;; shift += 7) {
      const auto byte = static_cast<unsigned char>(bytes_.front());
      bytes_.remove_prefix(1);
      number |= uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) return number;
    }
  }

  static int64_t Plus(int64_t a, uint64_t b) {
    return static_cast<int64_t>(static_cast<uint64_t>(a) + b);
  }

  int64_t GetSigned() {
    const uint64_t bits = GetNumber();
    return static_cast<int64_t>(bits & 1 ? ~(bits >> 1) : bits >> 1);
  }

  template <Scalar T>
  void Get(T& value) {
    if constexpr (std::signed_integral<T>)
      value = static_cast<T>(GetSigned());
    else
      value = static_cast<T>(GetNumber());
  }

  void Get(std::string& text) {
    const uint64_t size = GetNumber();
    text = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
  }

  void Get(Timestamp& time) {
    const auto later_ns = static_cast<uint64_t>(GetSigned());
    const auto clock_ns = static_cast<uint64_t>(GetSigned());
    time.monotonic_ns = Plus(time_.monotonic_ns, later_ns);
    time.realtime_ns = Plus(time_.realtime_ns, later_ns + clock_ns);
    time_ = time;
  }

  template <typename T>
  void Get(std::vector<T>& values) {
    values.resize(GetNumber());
    for (T& value : values) Get(value);
  }

  template <typename T>
  void Get(std::optional<T>& value) {
    bool is_set;
    Get(is_set);
    value.reset();
    if (is_set) Get(value.emplace());
  }

  template <typename A, typename B>
  void Get(std::pair<A, B>& values) {
    (*this)(values.first, values.second);
  }

  template <typename T, size_t size>
  void Get(T (&values)[size]) {
    for (T& value : values) Get(value);
  }

  template <typename T>
  void Get(T& value) {
    Fields(*this, value);
  }

  std::string_view bytes_;
  Timestamp time_;
};

template <typename T>
std::string Pack(const T& value) {
  Packer packer;
  packer(value);
  std::string bytes = packer.Take();
  bytes.shrink_to_fit();
  return bytes;
}

template <typename T>
T Unpack(std::string_view bytes) {
  T value;
  Unpacker{bytes}(value);
  return value;
}

template <typename Archive, Of<PinCount> T>
void Fields(Archive& archive, T& count) {
  auto& [pages, references] = count;
  archive(pages, references);
}

}  // namespace pinwatch

#endif  // PINWATCH_DAEMON_PACKED_H_
