// One long-lived connection's conversation: numbered messages both ways at once, each direction with a
// running hash, verified by whoever receives it. The same class stands at both ends (lb_traffic and
// lb_backend). It knows three wires: bytes as they are (a TCP tunnel), WebSocket frames, server-sent events
// (one way). Pure; any thread.
//
// A message is a head of 16 bytes (little endian: u32 bytes of its body, top bit set when it is the last; u32
// number from 0; u64 running hash of all body bytes of this direction, its own included) and its body, the
// next bytes of the payload stream of the nonce and direction. As server-sent events: `id: NUMBER`, `data:
// HASH BODY`, both in hexadecimal digits; the last one has `event: end` and no body.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "harness/traffic/outcome.hpp"
#include "harness/traffic/websocket.hpp"

namespace lb::traffic {

enum class FlowWire : std::uint8_t { raw, websocket, events };

class Flow final {
 public:
  static constexpr std::size_t kHeadBytes = 16;
  static constexpr std::uint32_t kBodyMax = 1U << 20U;

  /// `client`: which end this is.
  Flow(FlowWire wire, std::uint64_t nonce, bool client);

  /// Appends the next message with `body_bytes` (at most kBodyMax) of body, and now and then a ping.
  void send(std::string& out, std::size_t body_bytes);
  /// Appends the last message. Idempotent.
  void send_end(std::string& out);

  /// Takes bytes that came in and appends what they ask for (pong, close). What is wrong with them, or none;
  /// after the first thing wrong it must not be called again.
  Detail receive(std::string_view bytes, std::string& out);

  [[nodiscard]] FlowWire wire() const noexcept { return wire_; }
  /// The last message was sent (received).
  [[nodiscard]] bool sent_end() const noexcept { return sent_end_; }
  [[nodiscard]] bool received_end() const noexcept { return received_end_; }
  /// Nothing will come any more, by the protocol: the end and, with WebSocket, the closing handshake.
  [[nodiscard]] bool finished() const noexcept {
    return received_end_ && (wire_ != FlowWire::websocket || received_close_);
  }
  [[nodiscard]] std::uint32_t messages_sent() const noexcept { return out_.number; }
  [[nodiscard]] std::uint32_t messages_received() const noexcept { return in_.number; }
  [[nodiscard]] std::uint64_t bytes_received() const noexcept { return in_.offset; }

 private:
  struct Way {
    std::uint64_t key = 0;
    std::uint64_t offset = 0;  // body bytes so far
    std::uint64_t hash = 0;
    std::uint32_t number = 0;  // messages so far
  };

  void message(std::string& out, std::size_t body_bytes, bool last);
  void frame(std::string& out, std::string_view payload);
  void event(std::string& out, std::string_view body, bool last);
  Detail take_payload(std::string_view bytes);
  Detail take_head();
  Detail take_body(std::string_view piece);
  Detail message_complete();
  Detail take_event_bytes(std::string_view bytes);
  Detail take_event();
  Detail check_number(std::uint64_t number) const noexcept;
  void on_control(Opcode opcode, std::string_view payload, std::string& out);

  FlowWire wire_;
  bool client_;
  bool sent_end_ = false;
  bool received_end_ = false;
  bool sent_close_ = false;
  bool received_close_ = false;
  bool last_ = false;  // the message being received
  Detail wrong_ = Detail::none;
  Way out_, in_;
  std::uint64_t hash_announced_ = 0;
  std::uint32_t body_left_ = 0;
  bool in_body_ = false;
  std::string head_;   // bytes of a head, or a line of an event, that is not complete
  std::string event_;  // complete lines of the event being received
  std::uint64_t pings_sent_ = 0, pongs_received_ = 0;
  FrameReader frames_;
};

}  // namespace lb::traffic
