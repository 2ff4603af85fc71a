// The fake backends: listeners, their connections and what they write down. One thread, driven by a Loop that
// the caller owns; nothing blocks.
//
//   reading:  head -> [body] -> wait -> head ...          writing:  none -> [delayed] -> sending -> done
//             head -> tunnel (an echo, or a conversation: backend_flow.cpp)
//                                                         A request ends when its body is read and its answer
//             any  -> discard (FIN sent, reads to EOF)    sent; with early_response the answer comes first.
//             any  -> stuck (mode hang)
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "harness/traffic/address.hpp"
#include "harness/traffic/backend_script.hpp"
#include "harness/traffic/channel.hpp"
#include "harness/traffic/flow.hpp"
#include "harness/traffic/loop.hpp"
#include "harness/traffic/message.hpp"
#include "harness/traffic/records.hpp"

namespace lb::traffic {

struct BackendCounters {
  std::uint64_t accepted = 0, connections = 0, in_flight = 0, requests = 0, completed = 0, health = 0;
  std::uint64_t without_nonce = 0, bad_requests = 0, wrong_bodies = 0, aborted = 0, upgrades = 0;
  std::uint64_t bytes_in = 0, bytes_out = 0;
};

struct Backend {
  std::string name;
  std::string listen;
  Address address;
  Fd listener;
  std::uint16_t port = 0;
  bool tls = false;
  bool removed = false;
  Script script;
  std::uint64_t fault_turn = 0;
  BackendCounters counters;
};

class BackendServer final {
 public:
  static constexpr Token kListenerToken = kOwnToken | (Token{1} << 32U);

  BackendServer(Loop& loop, std::size_t records_max) : loop_(loop), records_(records_max) {}

  /// Backends whose address begins with "tls:" speak TLS with this certificate (PEM files).
  Result<void> set_certificate(const std::string& certificate, const std::string& key);
  /// A new backend, or one removed before under its old name. The port it listens on.
  Result<std::uint16_t> add(const std::string& name, const std::string& where);
  Result<void> remove(std::string_view name);
  /// To one backend or to all ("*"). How many.
  Result<std::size_t> set_script(std::string_view name, const Script& script);

  void on_io(Token token, std::uint32_t events);
  void on_timer(Token token, std::uint32_t tag);
  /// Once a turn: destroys what was closed.
  void reap() { connections_.reap(); }

  [[nodiscard]] const std::vector<std::unique_ptr<Backend>>& backends() const noexcept { return backends_; }
  [[nodiscard]] RecordStore<BackendRecord>& records() noexcept { return records_; }
  /// The ledger's tables, as JSON.
  [[nodiscard]] std::string tables() const;

 private:
  enum class Read : std::uint8_t { head, body, wait, tunnel, discard, stuck };
  enum class Write : std::uint8_t { none, delayed, sending, done };
  enum class Ending : std::uint8_t { none, fin, rst };
  enum class TimerKind : std::uint8_t { delay, rate, discard, idle, read, flow, fin };

  struct Connection {
    Channel fd;
    Handle handle;
    std::uint32_t id = 0;
    std::uint16_t backend = 0;
    std::uint32_t requests = 0;
    Read read = Read::head;
    Write write = Write::none;
    bool readable = false;
    bool hung_up = false;  // FIN or worse is known to be waiting: read to the end
    bool eof = false;
    bool closed = false;
    std::string in;
    std::string out;
    std::size_t out_sent = 0;
    // The request.
    bool open = false;
    bool health = false;
    bool to_head = false;
    bool body_done = true;
    bool body_ok = true;
    bool close_after = false;
    bool says_keep_alive = false;
    BackendRecord record;
    BodyReader body;
    std::uint64_t request_key = 0;
    std::string echo;  // what echo=headers or echo=body answers with
    // The answer.
    Reply reply;
    Ending ending = Ending::none;
    bool literal = false;  // the body is `echo`, not the payload
    bool framing_done = false;
    std::uint8_t repeats = 0;
    std::uint64_t response_key = 0;
    std::uint64_t body_total = 0;  // announced
    std::uint64_t body_limit = 0;  // sent
    std::uint64_t body_made = 0;
    Nanos rate_start = 0;
    Nanos read_start = 0;
    std::uint64_t read_bytes = 0;
    // A conversation.
    std::unique_ptr<Flow> flow;
    std::uint64_t flow_random = 0;
    Nanos flow_end = 0;
    [[nodiscard]] bool reply_is_events() const noexcept { return flow && flow->wire() == FlowWire::events; }
  };

  Backend& backend_of(const Connection& c) noexcept { return *backends_[c.backend]; }
  bool open_listener(std::size_t index);
  void accept_some(std::size_t index);
  void adopt(std::size_t index, Fd fd);

  void pump_read(Connection& c);
  void take_bytes(Connection& c, std::string_view bytes);
  std::size_t process(Connection& c, std::string_view bytes);
  void resume_reading(Connection& c);
  void at_eof(Connection& c);
  [[nodiscard]] bool wants_bytes(const Connection& c) const noexcept;
  [[nodiscard]] std::size_t read_allowance(Connection& c);

  void begin_request(Connection& c);
  void choose_reply(Connection& c);
  void note_echo(Connection& c);
  void take_body(Connection& c, std::string_view piece);
  void body_complete(Connection& c);
  void bad_request(Connection& c);
  void begin_tunnel(Connection& c);
  void end_tunnel(Connection& c);

  void begin_flow(Connection& c, FlowWire wire);
  void flow_tick(Connection& c);
  void flow_send(Connection& c, bool last);
  void flow_bytes(Connection& c, std::string_view bytes);
  [[nodiscard]] bool flow_is_over(const Connection& c) const noexcept;
  static std::uint64_t pick(Connection& c, Span span) noexcept;

  void begin_answer(Connection& c);
  void emit_answer(Connection& c);
  bool emit_fault(Connection& c);
  void write_head(Connection& c);
  void fill(Connection& c);
  void fill_piece(Connection& c, std::uint64_t size);
  void pump_write(Connection& c);
  void answer_sent(Connection& c);
  void finish_request(Connection& c);

  void end_gracefully(Connection& c);
  void send_fin(Connection& c);
  void reset_now(Connection& c);
  void close_now(Connection& c);
  void record_now(Connection& c, bool complete);
  void arm(Connection& c, TimerKind kind, Nanos at);

  Loop& loop_;
  RecordStore<BackendRecord> records_;
  SslContextPtr tls_;
  std::vector<std::unique_ptr<Backend>> backends_;
  Slab<Connection> connections_{kConnectionsMax};
  std::uint32_t next_id_ = 1;
  Head head_;
  std::array<char, 256U << 10U> scratch_;
};

}  // namespace lb::traffic
