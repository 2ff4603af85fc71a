// The referee's own reading of HTTP/1.x: heads, body framing, chunks. Written apart from the balancer's
// parser on purpose. It reads what it is given and keeps views into it. Pure; any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace lb::traffic {

struct Field {
  std::string_view name;
  std::string_view value;
};

bool same_name(std::string_view a, std::string_view b) noexcept;
/// Whether the comma-separated list has `token`, case-insensitively.
bool list_has(std::string_view list, std::string_view token) noexcept;

/// A request's or response's head. Reuse one object: it is large.
class Head final {
 public:
  static constexpr std::size_t kFieldsMax = 128;
  static constexpr std::size_t kBytesMax = 64U << 10U;

  enum class Parsed : std::uint8_t { incomplete, done, bad };

  /// Reads a head from the beginning of `bytes`; when done, `size()` of them were it. Views point into
  /// `bytes`.
  Parsed parse_request(std::string_view bytes) noexcept;
  Parsed parse_response(std::string_view bytes) noexcept;

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::string_view method() const noexcept { return first_; }
  [[nodiscard]] std::string_view target() const noexcept { return second_; }
  [[nodiscard]] int status() const noexcept { return status_; }
  /// 0 for HTTP/1.0, 1 for HTTP/1.1.
  [[nodiscard]] int minor() const noexcept { return minor_; }
  [[nodiscard]] std::size_t field_count() const noexcept { return count_; }
  [[nodiscard]] const Field& field(std::size_t i) const noexcept { return fields_[i]; }
  /// The first field of that name, or nullptr.
  [[nodiscard]] const Field* find(std::string_view name) const noexcept;

  [[nodiscard]] bool chunked() const noexcept { return chunked_; }
  [[nodiscard]] std::optional<std::uint64_t> content_length() const noexcept { return length_; }
  /// Whether the connection ends with this message (HTTP/1.0 included).
  [[nodiscard]] bool closes() const noexcept { return close_ || (minor_ == 0 && !keep_alive_); }
  [[nodiscard]] bool expects_continue() const noexcept { return expect_continue_; }
  [[nodiscard]] std::string_view upgrade() const noexcept {
    return connection_upgrade_ ? upgrade_ : std::string_view{};
  }
  [[nodiscard]] std::string_view nonce() const noexcept { return nonce_; }
  [[nodiscard]] std::string_view backend() const noexcept { return backend_; }
  [[nodiscard]] std::string_view label() const noexcept { return label_; }
  [[nodiscard]] std::string_view body_ok() const noexcept { return body_ok_; }

 private:
  Parsed parse(std::string_view bytes, bool request) noexcept;
  bool parse_request_line(std::string_view line) noexcept;
  bool parse_status_line(std::string_view line) noexcept;
  bool parse_field(std::string_view line) noexcept;
  bool note(const Field& field) noexcept;
  void reset() noexcept;

  std::string_view first_, second_;
  std::string_view upgrade_, nonce_, backend_, label_, body_ok_;
  std::size_t size_ = 0;
  std::size_t count_ = 0;
  std::optional<std::uint64_t> length_;
  int status_ = 0;
  int minor_ = 1;
  bool chunked_ = false;
  bool close_ = false;
  bool keep_alive_ = false;
  bool expect_continue_ = false;
  bool connection_upgrade_ = false;
  std::array<Field, kFieldsMax> fields_;
};

/// A body on the wire, by whatever framing, fed in pieces.
class BodyReader final {
 public:
  enum class Framing : std::uint8_t { none, length, chunked, until_close };

  void start(Framing framing, std::uint64_t length = 0) noexcept;
  /// Framing of a message with head `head`: of a request, or of a response to a request that was (not) HEAD.
  void start_request(const Head& head) noexcept;
  void start_response(const Head& head, bool to_head) noexcept;

  /// Consumes from the front of `bytes`; sink(std::string_view) gets the body's bytes. Returns how many were
  /// consumed: fewer than given only when done() or bad().
  template <class Sink>
  std::size_t feed(std::string_view bytes, Sink&& sink) {
    std::size_t used = 0;
    while (used < bytes.size() && !done_ && !bad_) {
      if (const std::size_t run = run_bytes(bytes.size() - used); run > 0) {
        sink(bytes.substr(used, run));
        used += run;
        took(run);
      } else {
        step(bytes[used++]);
      }
    }
    return used;
  }

  [[nodiscard]] bool done() const noexcept { return done_; }
  [[nodiscard]] bool bad() const noexcept { return bad_; }
  [[nodiscard]] Framing framing() const noexcept { return framing_; }
  /// Body bytes so far, without framing.
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }

 private:
  // size -> [ext] -> size_lf -> data -> data_cr -> data_lf -> size ...; a size of 0 leads to trailer lines,
  // of which an empty one ends the body.
  enum class Step : std::uint8_t { size, extension, size_lf, data, data_cr, data_lf, trailer, trailer_lf };

  [[nodiscard]] std::size_t run_bytes(std::size_t available) const noexcept;
  void took(std::size_t n) noexcept;
  void step(char c) noexcept;

  std::uint64_t left_ = 0;
  std::uint64_t bytes_ = 0;
  std::uint32_t digits_ = 0;
  std::uint32_t trailer_bytes_ = 0;
  Framing framing_ = Framing::none;
  Step step_ = Step::size;
  bool trailer_line_empty_ = true;
  bool done_ = true;
  bool bad_ = false;
};

}  // namespace lb::traffic
