// Encoder and Decoder: a message struct to bytes and back, from one list of its fields (see messages.cpp).
// Integers are fixed 8 bytes, texts and lists are length-prefixed; the decoder checks every length against
// what is left and refuses bytes left over, so a truncated or grown message is an error and never a wrong
// value.
#pragma once

#include <concepts>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace lb {

class Encoder final {
 public:
  template <class... Ts>
  void operator()(const Ts&... values) {
    (put(values), ...);
  }
  /// Swapped: moving a short string, GCC 12 sees a copy of more bytes than it can hold.
  std::string take() {
    std::string taken;
    taken.swap(bytes_);
    return taken;
  }

 private:
  template <class T>
    requires std::integral<T> || std::is_enum_v<T>
  void put(T value) {
    const auto wide = static_cast<std::uint64_t>(value);
    bytes_.append(reinterpret_cast<const char*>(&wide), sizeof wide);
  }
  void put(const std::string& text) {
    put(text.size());
    bytes_.append(text);
  }
  template <class T>
  void put(const std::vector<T>& items) {
    put(items.size());
    for (const T& item : items) put(item);
  }
  template <class T>
    requires std::is_class_v<T>
  void put(const T& item) {
    fields(*this, const_cast<T&>(item));
  }

  std::string bytes_;
};

class Decoder final {
 public:
  static constexpr std::size_t kItemsMax = 1'000'000;

  explicit Decoder(std::string_view bytes) : left_(bytes) {}

  template <class... Ts>
  void operator()(Ts&... values) {
    (get(values), ...);
  }
  /// All fields were there and nothing more.
  [[nodiscard]] bool complete() const { return ok_ && left_.empty(); }

 private:
  template <class T>
    requires std::integral<T> || std::is_enum_v<T>
  void get(T& value) {
    std::uint64_t wide = 0;
    if (left_.size() < sizeof wide) {
      ok_ = false;
      left_ = {};
      return;
    }
    std::memcpy(&wide, left_.data(), sizeof wide);
    left_.remove_prefix(sizeof wide);
    if (static_cast<std::uint64_t>(static_cast<T>(wide)) != wide) ok_ = false;
    value = static_cast<T>(wide);
  }
  void get(std::string& text) {
    std::uint64_t size = 0;
    get(size);
    if (size > left_.size()) ok_ = false;
    if (!ok_) return;
    text.assign(left_.substr(0, size));
    left_.remove_prefix(size);
  }
  template <class T>
  void get(std::vector<T>& items) {
    std::uint64_t count = 0;
    get(count);
    if (count > kItemsMax || count * 8 > left_.size()) ok_ = false;  // an item takes at least 8 bytes
    items.clear();
    for (std::uint64_t i = 0; ok_ && i < count; ++i) get(items.emplace_back());
  }
  template <class T>
    requires std::is_class_v<T>
  void get(T& item) {
    fields(*this, item);
  }

  std::string_view left_;
  bool ok_ = true;
};

}  // namespace lb
