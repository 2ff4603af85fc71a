#include "harness/traffic/flow.hpp"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "harness/traffic/payload.hpp"
#include "lb/base/random.hpp"

namespace lb::traffic {
namespace {

constexpr std::uint32_t kLast = 1U << 31U;
constexpr std::uint64_t kPingEvery = 8;        // messages
constexpr std::uint64_t kFragmentedEvery = 5;  // messages
constexpr std::size_t kLineMax = 4U << 20U;

/// FNV-1a, carried on from `hash`.
std::uint64_t hashed(std::uint64_t hash, std::string_view bytes) noexcept {
  for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return hash;
}

template <class T>
void append_little(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

template <class T>
T little_at(const std::string& from, std::size_t at) noexcept {
  T value = 0;
  std::memcpy(&value, from.data() + at, sizeof value);
  return value;
}

void append_hex_bytes(std::string& out, std::string_view bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  for (const char c : bytes) {
    out += kDigits[static_cast<unsigned char>(c) >> 4U];
    out += kDigits[static_cast<unsigned char>(c) & 0xfU];
  }
}

int digit(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool read_hex_bytes(std::string_view text, std::string& bytes) {
  bytes.clear();
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
    const int high = digit(text[i]);
    const int low = digit(text[i + 1]);
    if (high < 0 || low < 0) return false;
    bytes += static_cast<char>(high * 16 + low);
  }
  return text.size() % 2 == 0;
}

}  // namespace

Flow::Flow(FlowWire wire, std::uint64_t nonce, bool client) : wire_(wire), client_(client), frames_(!client) {
  out_.key = payload_key(nonce, client ? Direction::request : Direction::response);
  in_.key = payload_key(nonce, client ? Direction::response : Direction::request);
  out_.hash = in_.hash = 0xcbf29ce484222325ULL;
}

void Flow::send(std::string& out, std::size_t body_bytes) {
  if (sent_end_) return;
  message(out, std::min<std::size_t>(body_bytes, kBodyMax), false);
  if (wire_ != FlowWire::websocket || out_.number % kPingEvery != 0) return;
  std::string payload;
  append_little(payload, ++pings_sent_);
  append_frame(out, {Opcode::ping, true, client_, static_cast<std::uint32_t>(mix64(out_.hash))}, payload);
}

void Flow::send_end(std::string& out) {
  if (sent_end_) return;
  sent_end_ = true;
  message(out, 0, true);
}

void Flow::message(std::string& out, std::size_t body_bytes, bool last) {
  std::string body;
  payload_append(body, out_.key, out_.offset, body_bytes);
  out_.offset += body_bytes;
  out_.hash = hashed(out_.hash, body);
  if (wire_ == FlowWire::events) {
    event(out, body, last);
  } else {
    std::string whole;
    append_little(whole, static_cast<std::uint32_t>(body_bytes) | (last ? kLast : 0U));
    append_little(whole, out_.number);
    append_little(whole, out_.hash);
    whole += body;
    wire_ == FlowWire::websocket ? frame(out, whole) : void(out += whole);
  }
  ++out_.number;
}

/// One message of WebSocket, now and then in two fragments.
void Flow::frame(std::string& out, std::string_view payload) {
  FrameOut first{Opcode::binary, true, client_, static_cast<std::uint32_t>(mix64(out_.hash + 1))};
  if (out_.number % kFragmentedEvery != kFragmentedEvery - 1) return append_frame(out, first, payload);
  const std::size_t half = payload.size() / 2;
  first.final = false;
  append_frame(out, first, payload.substr(0, half));
  append_frame(out, {Opcode::continuation, true, client_, ~first.mask}, payload.substr(half));
}

void Flow::event(std::string& out, std::string_view body, bool last) {
  if (last) out += "event: end\n";
  out += "id: ";
  out += std::to_string(out_.number);
  out += "\ndata: ";
  append_nonce(out, out_.hash);
  out += ' ';
  append_hex_bytes(out, body);
  out += "\n\n";
}

Detail Flow::receive(std::string_view bytes, std::string& out) {
  switch (wire_) {
    case FlowWire::raw:
      wrong_ = take_payload(bytes);
      break;
    case FlowWire::events:
      wrong_ = take_event_bytes(bytes);
      break;
    case FlowWire::websocket: {
      const bool good = frames_.feed(
          bytes,
          [&](std::string_view piece) {
            if (wrong_ == Detail::none) wrong_ = take_payload(piece);
          },
          [&](Opcode opcode, std::string_view payload) {
            if (wrong_ == Detail::none) on_control(opcode, payload, out);
          });
      if (!good && wrong_ == Detail::none) wrong_ = Detail::bad_frame;
      // The client begins the closing handshake, once both directions have ended.
      if (client_ && wrong_ == Detail::none && sent_end_ && received_end_ && !sent_close_) {
        sent_close_ = true;
        append_frame(out, {Opcode::close, true, true, static_cast<std::uint32_t>(out_.key)}, "\x03\xe8");
      }
      break;
    }
  }
  return wrong_;
}

void Flow::on_control(Opcode opcode, std::string_view payload, std::string& out) {
  const auto mask = static_cast<std::uint32_t>(mix64(out_.hash + 2 + pongs_received_));
  if (opcode == Opcode::ping) {
    append_frame(out, {Opcode::pong, true, client_, mask}, payload);
  } else if (opcode == Opcode::pong) {
    std::uint64_t number = 0;
    if (payload.size() == sizeof number) std::memcpy(&number, payload.data(), sizeof number);
    if (number != ++pongs_received_ || number > pings_sent_) wrong_ = Detail::bad_frame;
  } else {
    received_close_ = true;
    if (!sent_close_) append_frame(out, {Opcode::close, true, client_, mask}, "\x03\xe8");
    sent_close_ = true;
    if (!received_end_) wrong_ = Detail::message_missing;
    if (pongs_received_ != pings_sent_) wrong_ = Detail::bad_frame;
  }
}

/// Bytes of messages, however they are cut.
Detail Flow::take_payload(std::string_view bytes) {
  while (!bytes.empty()) {
    if (received_end_) return Detail::extra_bytes;
    if (!in_body_) {
      const std::size_t n = std::min(kHeadBytes - head_.size(), bytes.size());
      head_ += bytes.substr(0, n);
      bytes.remove_prefix(n);
      if (head_.size() < kHeadBytes) return Detail::none;
      if (const Detail wrong = take_head(); wrong != Detail::none) return wrong;
    }
    const std::size_t n = std::min<std::size_t>(body_left_, bytes.size());
    if (const Detail wrong = take_body(bytes.substr(0, n)); wrong != Detail::none) return wrong;
    bytes.remove_prefix(n);
    body_left_ -= static_cast<std::uint32_t>(n);
    if (body_left_ > 0) continue;
    if (const Detail wrong = message_complete(); wrong != Detail::none) return wrong;
  }
  return Detail::none;
}

Detail Flow::check_number(std::uint64_t number) const noexcept {
  if (number == in_.number) return Detail::none;
  return number < in_.number ? Detail::message_repeated : Detail::message_missing;
}

Detail Flow::take_head() {
  const auto length = little_at<std::uint32_t>(head_, 0);
  const auto number = little_at<std::uint32_t>(head_, 4);
  hash_announced_ = little_at<std::uint64_t>(head_, 8);
  head_.clear();
  last_ = (length & kLast) != 0;
  body_left_ = length & ~kLast;
  // A number far away is no message of ours: the bytes themselves have moved.
  constexpr std::uint32_t kNear = 1U << 16U;
  const bool far = number > in_.number + kNear || number + kNear < in_.number;
  if (body_left_ > kBodyMax || far) return Detail::byte_differs;
  in_body_ = true;
  return check_number(number);
}

Detail Flow::take_body(std::string_view piece) {
  if (!payload_matches(piece, in_.key, in_.offset)) return Detail::byte_differs;
  in_.hash = hashed(in_.hash, piece);
  in_.offset += piece.size();
  return Detail::none;
}

Detail Flow::message_complete() {
  in_body_ = false;
  ++in_.number;
  if (in_.hash != hash_announced_) return Detail::hash_differs;
  if (last_) received_end_ = true;
  return Detail::none;
}

Detail Flow::take_event_bytes(std::string_view bytes) {
  while (!bytes.empty()) {
    const std::size_t end = bytes.find('\n');
    head_ += bytes.substr(0, end);
    if (head_.size() > kLineMax) return Detail::bad_frame;
    if (end == std::string_view::npos) return Detail::none;
    bytes.remove_prefix(end + 1);
    const bool blank = head_.empty();
    event_ += head_;
    event_ += '\n';
    head_.clear();
    if (!blank) continue;
    const Detail wrong = take_event();
    event_.clear();
    if (wrong != Detail::none) return wrong;
  }
  return Detail::none;
}

Detail Flow::take_event() {
  if (received_end_) return Detail::extra_bytes;
  std::string_view rest = event_;
  std::optional<std::uint64_t> number;
  std::string_view data;
  last_ = false;
  while (!rest.empty()) {
    const std::size_t end = rest.find('\n');
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end + 1);
    if (line == "event: end") last_ = true;
    if (line.starts_with("data: ")) data = line.substr(6);
    if (line.starts_with("id: ")) {
      std::uint64_t n = 0;
      if (std::from_chars(line.data() + 4, line.data() + line.size(), n).ec == std::errc{}) number = n;
    }
  }
  std::string body;
  const std::size_t space = data.find(' ');
  if (!number || space == std::string_view::npos || !parse_nonce(data.substr(0, space), hash_announced_) ||
      !read_hex_bytes(data.substr(space + 1), body)) {
    return Detail::bad_frame;
  }
  if (const Detail wrong = check_number(*number); wrong != Detail::none) return wrong;
  if (const Detail wrong = take_body(body); wrong != Detail::none) return wrong;
  return message_complete();
}

}  // namespace lb::traffic
