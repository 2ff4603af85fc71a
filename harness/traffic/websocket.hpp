// RFC 6455 as the referee speaks it: handshake keys, frames out, frames in. Written apart from the balancer,
// which passes these bytes on without reading them. Pure; any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace lb::traffic {

enum class Opcode : std::uint8_t { continuation = 0, text = 1, binary = 2, close = 8, ping = 9, pong = 10 };

/// Sec-WebSocket-Key of a connection: 16 bytes made from `seed`, in base64.
std::string websocket_key(std::uint64_t seed);
/// The Sec-WebSocket-Accept that answers `key` (RFC 6455, 4.2.2).
std::string websocket_accept(std::string_view key);

struct FrameOut {
  Opcode opcode = Opcode::binary;
  bool final = true;
  bool masked = false;  // a client's frames are, a server's are not (RFC 6455, 5.1)
  std::uint32_t mask = 0;
};
void append_frame(std::string& out, const FrameOut& frame, std::string_view payload);

/// Frames from a stream of bytes. Messages are handed on as bytes of their payload, whatever their fragments.
class FrameReader final {
 public:
  static constexpr std::uint64_t kPayloadMax = 1U << 20U;
  static constexpr std::size_t kControlMax = 125;

  /// `masked`: what the frames of the other side have to be.
  explicit FrameReader(bool masked) noexcept : masked_(masked) {}

  /// data(std::string_view) gets payload of data frames, control(Opcode, std::string_view) whole control
  /// frames. False when the bytes are no correct frames.
  template <class Data, class Control>
  bool feed(std::string_view bytes, Data&& data, Control&& control) {
    while (!bytes.empty() || (in_payload_ && left_ == 0)) {
      if (!in_payload_) {
        if (!take_head(bytes)) return false;
        if (!in_payload_) continue;
      }
      const std::size_t n = bytes.size() < left_ ? bytes.size() : static_cast<std::size_t>(left_);
      piece_.assign(bytes.substr(0, n));
      bytes.remove_prefix(n);
      unmask();
      left_ -= n;
      if (is_control()) {
        control_ += piece_;
      } else if (n > 0) {
        data(std::string_view(piece_));
      }
      if (left_ > 0) continue;
      in_payload_ = false;
      if (is_control()) control(opcode_, std::string_view(control_));
    }
    return true;
  }

 private:
  [[nodiscard]] bool is_control() const noexcept { return static_cast<std::uint8_t>(opcode_) >= 8; }
  /// Moves bytes of a head from `bytes`; when it is complete, in_payload_. False: no correct head.
  bool take_head(std::string_view& bytes);
  bool parse_head();
  void unmask() noexcept;

  std::array<unsigned char, 14> head_ = {};
  std::size_t head_size_ = 0;
  std::uint64_t left_ = 0;
  std::uint32_t mask_at_ = 0;
  std::array<unsigned char, 4> mask_ = {};
  std::string piece_;
  std::string control_;
  Opcode opcode_ = Opcode::binary;
  bool masked_;
  bool in_payload_ = false;
  bool in_message_ = false;  // a message's first frame was not its last
};

}  // namespace lb::traffic
