// The traffic generator: clients, their connections, what is in flight, and the record of each request's
// fate. One thread, driven by a Loop the caller owns; nothing blocks and nothing is ever retried.
//
//   connection:  connecting -> open -> closing (answer complete; waits for the server's FIN)
//                              open -> tunnel (101)          every state -> closed
//                (with TLS the handshake is part of open: the first writes and reads drive it)
//
// A client *launches* (one request, or a batch when pipelined) when it is due and has room; a launch ends
// when all of its exchanges have a fate, and then the client's schedule decides about the next.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "harness/traffic/address.hpp"
#include "harness/traffic/channel.hpp"
#include "harness/traffic/flow.hpp"
#include "harness/traffic/loop.hpp"
#include "harness/traffic/message.hpp"
#include "harness/traffic/outcome.hpp"
#include "harness/traffic/records.hpp"
#include "harness/traffic/traffic_spec.hpp"

namespace lb::traffic {

/// Small numbers for texts that repeat (labels, backend names), in order of first appearance.
class Interner final {
 public:
  std::uint16_t number(std::string_view text);
  [[nodiscard]] const std::vector<std::string>& texts() const noexcept { return texts_; }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const noexcept {
      return std::hash<std::string_view>{}(text);
    }
  };
  std::unordered_map<std::string, std::uint16_t, Hash, std::equal_to<>> numbers_;
  std::vector<std::string> texts_;
};

struct StreamCounters {
  std::uint64_t done = 0, ok = 0, drops = 0, not_drops = 0, in_flight = 0, connections = 0, idle_closed = 0;
  std::array<std::uint64_t, kOutcomes> outcomes = {};
  std::uint64_t tls_handshakes = 0, tls_resumed = 0;
  std::uint64_t messages_sent = 0, messages_received = 0;  // of flows that have ended
  std::uint64_t interval_done = 0;
  std::vector<std::uint64_t> interval_latencies;  // of ok requests since the last progress, ns
};

struct TrafficOptions {
  TrafficSpec spec;
  std::vector<Address> targets;
  std::uint64_t seed = 1;
  int sources = 64;
  std::size_t records_max = 20'000'000;
};

class TrafficEngine final {
 public:
  static constexpr Token kClientToken = kOwnToken | (Token{1} << 33U);
  static constexpr Nanos kNever = ~Nanos{0};

  TrafficEngine(Loop& loop, TrafficOptions options);

  /// Reads the certificates that the streams name; before start. Fails when one cannot be read.
  Result<void> prepare();
  void start(Nanos now);
  /// No new launches; tunnels end themselves.
  void stop(Nanos now);
  /// stream < 0: all.
  void pause(int stream, bool paused, Nanos now);
  /// How many connections will send.
  std::size_t fire(int stream, Nanos at, Nanos spread);
  /// How many connections were opened. count 0: each stream's clients.
  std::size_t burst(int stream, std::uint32_t count, Nanos now);
  void set_targets(int stream, std::vector<Address> targets);
  /// After the grace: what is still in flight is `unfinished`.
  void abandon();

  void on_io(Token token, std::uint32_t events);
  void on_timer(Token token, std::uint32_t tag);
  /// Once a turn: timeouts (every 100 ms), and what was closed is destroyed.
  void end_turn(Nanos now);

  /// The index of the stream named so, or -1.
  [[nodiscard]] int stream_named(std::string_view name) const noexcept;
  [[nodiscard]] bool started() const noexcept { return t_start_ != 0; }
  [[nodiscard]] Nanos t_start() const noexcept { return t_start_; }
  [[nodiscard]] Nanos t_stop() const noexcept { return t_stop_; }
  [[nodiscard]] std::uint64_t in_flight() const noexcept { return in_flight_; }
  [[nodiscard]] const std::vector<StreamSpec>& specs() const noexcept { return specs_; }
  [[nodiscard]] std::vector<StreamCounters>& counters() noexcept { return counters_; }
  [[nodiscard]] RecordStore<TrafficRecord>& records() noexcept { return records_; }
  /// No more launches: there is room left only for what is in flight.
  [[nodiscard]] bool ledger_full() const noexcept { return records_.size() >= records_max_; }
  [[nodiscard]] const Interner& labels() const noexcept { return labels_; }
  [[nodiscard]] const Interner& backends() const noexcept { return backends_; }
  [[nodiscard]] std::string tables(std::string_view reason) const;

  /// Called for each drop as it is found.
  std::function<void(const TrafficRecord&)> on_drop;

 private:
  enum class State : std::uint8_t { connecting, open, tunnel, closing };
  enum class TimerKind : std::uint8_t { connect, send_after, pace, read, tunnel };

  struct Exchange {
    TrafficRecord record;
    Answer answer;
    std::uint64_t response_key = 0;
    std::uint64_t size = 0;  // expected body bytes
    std::uint64_t body = 0;  // request body bytes
    bool to_head = false;
    bool sent = false;  // its last byte was handed to the kernel
  };

  /// What is still to be made of the last request's body.
  struct Sender {
    std::uint64_t key = 0;
    std::uint64_t total = 0;
    std::uint64_t made = 0;
    std::uint64_t rate = 0;
    Nanos start = 0;
    Nanos continue_by = 0;  // waiting for 100 Continue until then; 0: not waiting
    bool chunked = false;
    bool active = false;
  };

  struct Tunnel {
    std::uint64_t key = 0;
    std::uint64_t sent = 0;
    std::uint64_t received = 0;
    Nanos end_at = 0;
    bool ending = false;
    bool shut = false;
  };

  struct Connection {
    Channel fd;
    Handle handle;
    std::uint32_t id = 0;
    std::uint32_t client = 0;
    std::uint16_t stream = 0;
    std::uint16_t local_port = 0;
    State state = State::connecting;
    bool hung_up = false;
    bool close_announced = false;
    bool in_body = false;
    bool closed = false;
    bool readable = false;
    bool batch_open = false;  // a launch is using it
    int send_error = 0;
    std::uint32_t requests = 0;
    std::uint64_t requests_max = 0;  // 0: no limit
    Nanos t_connect_begin = 0;
    Nanos t_connected = 0;
    Nanos progress = 0;
    Nanos read_start = 0;
    std::uint64_t read_bytes = 0;
    std::size_t last_record = RecordStore<TrafficRecord>::kFull;
    const Address* target = nullptr;
    std::string in;
    std::string out;
    std::size_t out_sent = 0;
    std::vector<Exchange> flights;
    std::size_t first = 0;  // flights before it have their fate
    BodyReader body;
    Sender sender;
    Tunnel tunnel;
    std::unique_ptr<Flow> flow;  // of the kinds that are one
  };

  struct Client {
    explicit Client(std::uint64_t seed, std::uint16_t of) : random(seed), stream(of) {}
    Random random;
    Handle connection;
    SslSessionPtr session;  // of its last connection, with tls_resume
    Nanos next_due = 0;
    std::uint32_t outstanding = 0;
    std::uint32_t timer = 0;  // tag of the one timer that counts
    std::uint16_t stream;
  };

  // Schedule (traffic_schedule.cpp).
  [[nodiscard]] bool may_launch(const Client& client) const noexcept;
  [[nodiscard]] std::uint32_t room(const Client& client) const noexcept;
  void set_timer(std::uint32_t client_index, Nanos at);
  void on_client_timer(std::uint32_t client_index, std::uint32_t tag);
  void launch(std::uint32_t client_index, Nanos due);
  void launch_done(std::uint32_t client_index, Outcome last);
  Connection* usable_connection(Client& client);
  void wake_idle(Nanos now);

  // Connections (traffic_connection.cpp).
  void open_connection(std::uint32_t client_index, Nanos due);
  void try_connect(Connection& c);
  void on_connected(Connection& c);
  Exchange& add_exchange(Connection& c, Nanos due);
  [[nodiscard]] Nanos end_of_life(const StreamSpec& spec, Random& random) const;
  void send_requests(Connection& c);
  void write_request(Connection& c, Exchange& x);
  void write_body_whole(Connection& c, std::uint64_t key, std::uint64_t size, bool chunked);
  void write_body_piece(Connection& c, std::uint64_t key, std::uint64_t offset, std::uint64_t size,
                        bool chunked);
  void fill(Connection& c);
  void note_idle_close(const Connection& c);
  void pump_write(Connection& c);
  void note_sent(Connection& c);
  void close_now(Connection& c);
  void arm(Connection& c, TimerKind kind, Nanos at);
  void sweep(Nanos now);
  void sweep_one(Connection& c, Nanos now);

  // Reading (traffic_read.cpp).
  void pump_read(Connection& c);
  [[nodiscard]] std::size_t read_allowance(Connection& c);
  void take_bytes(Connection& c, std::string_view bytes);
  std::size_t process(Connection& c, std::string_view bytes);
  std::size_t process_head(Connection& c, std::string_view bytes);
  void on_final_head(Connection& c, Exchange& x);
  void on_interim(Connection& c, int status);
  void answer_complete(Connection& c);
  void settle(Connection& c);
  void end_launch(Connection& c);
  void extra_bytes(Connection& c);
  void lost_while_idle(std::uint32_t client_index);
  void at_end(Connection& c, int os_error);
  [[nodiscard]] Phase phase_of(const Connection& c, std::size_t flight) const noexcept;
  void fail_all(Connection& c, Fate fate_of_all);
  void fail_each(Connection& c, int os_error);

  // Tunnels (traffic_tunnel.cpp).
  void begin_tunnel(Connection& c);
  void tunnel_tick(Connection& c);
  void tunnel_bytes(Connection& c, std::string_view bytes);
  void tunnel_end(Connection& c, int os_error);
  void tunnel_finish(Connection& c, Fate fate);
  void begin_flow(Connection& c);
  void flow_tick(Connection& c);
  void flow_bytes(Connection& c, std::string_view bytes);

  // Records (traffic_engine.cpp).
  void finish(Connection& c, Exchange& exchange, Fate fate);
  void count(const TrafficRecord& record, std::int64_t by);

  Loop& loop_;
  std::vector<StreamSpec> specs_;
  std::vector<StreamCounters> counters_;
  std::vector<bool> paused_;
  std::vector<SslContextPtr> tls_;  // of each stream; null: plain
  std::vector<Client> clients_;
  std::vector<std::uint32_t> first_client_;  // of each stream, and one past the end
  std::vector<Address> targets_;
  std::vector<std::unique_ptr<Address>> all_targets_;  // connections point here; never shrinks
  std::vector<std::vector<const Address*>> stream_targets_;
  std::size_t records_max_;
  RecordStore<TrafficRecord> records_;
  Slab<Connection> connections_{kConnectionsMax};
  Interner labels_;
  Interner backends_;
  Random random_;
  std::uint64_t seed_;
  std::uint64_t next_nonce_ = 0;
  std::uint64_t in_flight_ = 0;
  std::uint32_t next_id_ = 1;
  int sources_;
  Nanos ramp_;
  Nanos t_start_ = 0;
  Nanos t_stop_ = 0;
  Nanos next_sweep_ = 0;
  Head head_;
  std::array<char, 256U << 10U> scratch_;
};

}  // namespace lb::traffic
