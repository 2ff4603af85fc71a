// Bytes of a head written into memory of a fixed size, and the copying of field lines in long runs. Private
// to lb/http.
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "lb/http/message.hpp"

namespace lb::http {

class Output final {
 public:
  explicit Output(std::span<char> out) noexcept
      : begin_(out.data()), p_(out.data()), end_(out.data() + out.size()) {}

  void put(std::string_view text) noexcept {
    if (static_cast<std::size_t>(end_ - p_) < text.size()) return overflow();
    if (text.empty()) return;
    std::memcpy(p_, text.data(), text.size());
    p_ += text.size();
  }

  /// A literal: its size is known to the compiler, which then makes a few stores of it.
  template <std::size_t N>
  void put(const char (&literal)[N]) noexcept {
    if (static_cast<std::size_t>(end_ - p_) < N - 1) return overflow();
    std::memcpy(p_, literal, N - 1);
    p_ += N - 1;
  }

  void put_number(std::uint64_t number) noexcept {
    const auto [end, error] = std::to_chars(p_, end_, number);
    if (error != std::errc{}) return overflow();
    p_ = end;
  }

  /// Bytes written, 0 when they did not fit.
  [[nodiscard]] std::size_t size() const noexcept {
    return overflowed_ ? 0 : static_cast<std::size_t>(p_ - begin_);
  }

 private:
  void overflow() noexcept {
    overflowed_ = true;
    end_ = p_;
  }

  char* begin_;
  char* p_;
  char* end_;
  bool overflowed_ = false;
};

/// Copies field lines. Neighbours that were received exactly as they would be written ("Name: value" CRLF,
/// which the parser has checked byte for byte) are copied together. A Field whose strings were replaced is
/// written from its parts.
class LineCopier final {
 public:
  explicit LineCopier(Output& out) noexcept : out_(out) {}

  void add(const Field& field) noexcept {
    const char* const begin = field.name.data();
    if (!is_canonical(field)) {
      flush();
      out_.put(field.name);
      out_.put(": ");
      out_.put(field.value);
      out_.put("\r\n");
      return;
    }
    if (begin != run_end_) {
      flush();
      run_begin_ = begin;
    }
    run_end_ = field.value.data() + field.value.size() + 2;
  }

  void flush() noexcept {
    if (run_end_ == nullptr) return;
    out_.put(std::string_view{run_begin_, run_end_});
    run_begin_ = run_end_ = nullptr;
  }

 private:
  // The value begins two bytes after the name, so both come from one parsed line, and what follows the
  // value is a blank or its CRLF.
  static bool is_canonical(const Field& field) noexcept {
    const char* const name_end = field.name.data() + field.name.size();
    if (field.value.data() != name_end + 2 || name_end[0] != ':' || name_end[1] != ' ') return false;
    return field.value.data()[field.value.size()] == '\r';
  }

  Output& out_;
  const char* run_begin_ = nullptr;
  const char* run_end_ = nullptr;
};

/// The values of all fields with `id`, in order, joined by ", ". Returns whether there was a non-empty one.
inline bool put_joined(Output& out, const FieldTable& table, FieldId id) noexcept {
  bool any = false;
  for (const Field& field : table) {
    if (field.id != id || field.value.empty()) continue;
    if (any) out.put(", ");
    out.put(field.value);
    any = true;
  }
  return any;
}

/// The Via field of a message received with this version (RFC 9110 7.6.3). `seen`: it has one already.
inline void put_via(Output& out, const FieldTable& table, bool seen, std::uint8_t minor_version,
                    std::string_view name) noexcept {
  out.put("Via: ");
  if (seen && put_joined(out, table, FieldId::via)) out.put(", ");
  if (minor_version == 0) {
    out.put("1.0 ");
  } else {
    out.put("1.1 ");
  }
  out.put(name);
  out.put("\r\n");
}

}  // namespace lb::http
