// lb_traffic: continuous traffic, driven by JSON lines on stdin. See README.md.
#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <nlohmann/json.hpp>

#include "harness/traffic/lines.hpp"
#include "harness/traffic/payload.hpp"
#include "harness/traffic/traffic_engine.hpp"
#include "lb/base/file.hpp"

namespace lb::traffic {
namespace {

using Json = nlohmann::json;

struct Options {
  std::string target;
  std::string spec;
  std::string ledger;
  std::uint64_t seed = 1;
  double time_limit_s = 600;
  double run_s = 0;
  std::size_t records_max = 20'000'000;
  int sources = 64;
  std::uint32_t progress_ms = 200;
  bool no_ledger = false;
};

Json failed(std::string_view why) {
  return {{"ok", false}, {"error", std::string(why)}};
}

Result<std::vector<Address>> parse_targets(const std::string& text) {
  std::vector<Address> all;
  for (std::size_t start = 0; start <= text.size();) {
    const std::size_t comma = std::min(text.find(',', start), text.size());
    auto address = parse_address(std::string_view(text).substr(start, comma - start));
    if (!address) return std::unexpected(address.error());
    all.push_back(std::move(*address));
    start = comma + 1;
  }
  return all;
}

class TrafficProgram final {
 public:
  TrafficProgram(Loop& loop, TrafficOptions traffic, const Options& options)
      : loop_(loop), options_(options), engine_(loop, std::move(traffic)) {
    engine_.on_drop = [this](const TrafficRecord& record) { tell_drop(record); };
  }
  Result<void> prepare() { return engine_.prepare(); }
  int run(int signal_fd);

 private:
  static constexpr Token kStdin = kOwnToken | 1U;
  static constexpr Token kSignals = kOwnToken | 2U;
  static constexpr int kDropsToldMax = 200;

  void command(std::string_view line);
  Json answer(const std::string& name, const Json& command);
  Result<int> stream_of(const Json& command) const;
  void begin_stop(std::string reason, Nanos grace);
  void tell_ready();
  void tell_drop(const TrafficRecord& record);
  Json state(Nanos now, bool consume_interval);
  Json stream_state(std::size_t index, double interval_s);
  void housekeeping(Nanos now);
  int finish();

  Loop& loop_;
  const Options& options_;
  TrafficEngine engine_;
  LineReader reader_;
  LineWriter writer_{STDOUT_FILENO};
  std::string reason_;  // of the stop; empty while going
  Nanos stop_by_ = 0;
  Nanos next_progress_ = 0;
  Nanos last_progress_ = 0;
  int drops_told_ = 0;
};

Result<int> TrafficProgram::stream_of(const Json& command) const {
  if (!command.contains("stream")) return -1;
  const Json& name = command.at("stream");
  const int index = name.is_string() ? engine_.stream_named(name.get_ref<const std::string&>()) : -1;
  if (index < 0) return std::unexpected(Error{Fault::config, "no stream " + name.dump(), 0, false});
  return index;
}

void TrafficProgram::begin_stop(std::string reason, Nanos grace) {
  const Nanos now = now_ns();
  if (!reason_.empty()) {
    stop_by_ = std::min(stop_by_, now + grace);
    return;
  }
  reason_ = std::move(reason);
  stop_by_ = now + grace;
  engine_.stop(now);
}

Json TrafficProgram::answer(const std::string& name, const Json& command) {
  const Nanos now = now_ns();
  const auto stream = stream_of(command);
  if (!stream) return failed(stream.error().message);
  const auto number = [&](const char* key, std::uint64_t otherwise) {
    const Json value = command.value(key, Json());
    return value.is_number_unsigned() ? value.get<std::uint64_t>() : otherwise;
  };
  Json out = {{"ok", true}, {"t_ns", now}};
  if (name == "start") {
    engine_.start(now);
    next_progress_ = now + options_.progress_ms * kMilli;
    last_progress_ = now;
  } else if (name == "pause" || name == "resume") {
    engine_.pause(*stream, name == "pause", now);
  } else if (name == "fire") {
    out["armed"] = engine_.fire(*stream, number("at_ns", now), number("offset_us", 0) * kMicro);
  } else if (name == "burst") {
    const std::uint64_t count = std::min<std::uint64_t>(number("count", 0), TrafficSpec::kClientsMax);
    out["opened"] = engine_.burst(*stream, static_cast<std::uint32_t>(count), now);
  } else if (name == "targets") {
    std::vector<Address> targets;
    for (const Json& item : command.value("targets", Json::array())) {
      auto address = parse_address(item.is_string() ? item.get<std::string>() : item.dump());
      if (!address) return failed(address.error().message);
      targets.push_back(std::move(*address));
    }
    if (targets.empty()) return failed("\"targets\" must be a list of addresses");
    engine_.set_targets(*stream, std::move(targets));
  } else if (name == "status") {
    out.update(state(now, false));
  } else if (name == "stop") {
    begin_stop("stop", number("grace_ms", 15'000) * kMilli);
  } else {
    return failed("unknown command");
  }
  return out;
}

void TrafficProgram::command(std::string_view line) {
  const Json parsed = Json::parse(line, nullptr, false);
  Json out;
  std::string name;
  if (!parsed.is_object() || !parsed.value("cmd", Json()).is_string()) {
    out = failed("expected an object with a string \"cmd\"");
  } else {
    name = parsed.at("cmd").get<std::string>();
    out = answer(name, parsed);
    if (parsed.contains("id")) out["id"] = parsed.at("id");
  }
  out["cmd"] = name;
  writer_.line(out.dump(-1, ' ', false, Json::error_handler_t::replace));
}

void TrafficProgram::tell_ready() {
  Json streams = Json::array();
  for (const StreamSpec& spec : engine_.specs()) {
    streams.push_back({{"name", spec.name}, {"kind", name_of(spec.kind)}, {"clients", spec.clients}});
  }
  const Json ready = {
      {"event", "ready"}, {"pid", ::getpid()}, {"t_ns", now_ns()}, {"streams", std::move(streams)}};
  writer_.line(ready.dump());
}

void TrafficProgram::tell_drop(const TrafficRecord& r) {
  if (drops_told_++ >= kDropsToldMax) return;
  const StreamSpec& spec = engine_.specs()[r.stream];
  const auto text = [](const Interner& from, std::uint16_t i) {
    return i == kNone16 ? Json() : Json(from.texts()[i]);
  };
  std::string nonce;
  append_nonce(nonce, r.nonce);
  const Json drop = {{"event", "drop"},
                     {"t_ns", r.t_end},
                     {"stream", spec.name},
                     {"kind", name_of(spec.kind)},
                     {"outcome", name_of(static_cast<Outcome>(r.outcome))},
                     {"detail", name_of(static_cast<Detail>(r.detail))},
                     {"phase", name_of(static_cast<Phase>(r.phase))},
                     {"errno", r.os_error},
                     {"errno_name", errno_name(r.os_error)},
                     {"status", r.status},
                     {"nonce", nonce},
                     {"connection", r.connection},
                     {"request_on_connection", r.request_on_connection},
                     {"local_port", r.local_port},
                     {"label", text(engine_.labels(), r.label)},
                     {"backend", text(engine_.backends(), r.backend)}};
  writer_.line(drop.dump(-1, ' ', false, Json::error_handler_t::replace), true);
}

Json TrafficProgram::stream_state(std::size_t index, double interval_s) {
  StreamCounters& n = engine_.counters()[index];
  const StreamSpec& spec = engine_.specs()[index];
  auto& latencies = n.interval_latencies;
  const auto percentile = [&](double p) -> Json {
    if (latencies.empty()) return nullptr;
    const auto rank = static_cast<std::size_t>(p * static_cast<double>(latencies.size() - 1));
    std::nth_element(latencies.begin(), latencies.begin() + static_cast<std::ptrdiff_t>(rank),
                     latencies.end());
    return static_cast<double>(latencies[rank]) / 1e3;
  };
  return {{"name", spec.name},
          {"kind", name_of(spec.kind)},
          {"done", n.done},
          {"ok", n.ok},
          {"drops", n.drops},
          {"in_flight", n.in_flight},
          {"connections", n.connections},
          {"idle_closed", n.idle_closed},
          {"tls_handshakes", n.tls_handshakes},
          {"tls_resumed", n.tls_resumed},
          {"messages_sent", n.messages_sent},
          {"messages_received", n.messages_received},
          {"rate", interval_s > 0 ? static_cast<double>(n.interval_done) / interval_s : 0.0},
          {"p50_us", percentile(0.5)},
          {"p99_us", percentile(0.99)}};
}

Json TrafficProgram::state(Nanos now, bool consume_interval) {
  const double interval_s = last_progress_ != 0 ? static_cast<double>(now - last_progress_) / 1e9 : 0;
  Json streams = Json::array();
  Json outcomes = Json::object();
  std::uint64_t done = 0, ok = 0, drops = 0, not_drops = 0, connections = 0, interval_done = 0;
  for (std::size_t i = 0; i < engine_.specs().size(); ++i) {
    streams.push_back(stream_state(i, interval_s));
    StreamCounters& n = engine_.counters()[i];
    done += n.done;
    ok += n.ok;
    drops += n.drops;
    not_drops += n.not_drops;
    connections += n.connections;
    interval_done += n.interval_done;
    for (std::size_t k = 0; k < kOutcomes; ++k) {
      const std::string name(name_of(static_cast<Outcome>(k)));
      if (n.outcomes[k] > 0) outcomes[name] = outcomes.value(name, std::uint64_t{0}) + n.outcomes[k];
    }
    if (!consume_interval) continue;
    n.interval_done = 0;
    n.interval_latencies.clear();
  }
  if (consume_interval) last_progress_ = now;
  const double elapsed = engine_.started() ? static_cast<double>(now - engine_.t_start()) / 1e9 : 0.0;
  return {{"t_ns", now},
          {"elapsed_s", elapsed},
          {"done", done},
          {"ok", ok},
          {"drops", drops},
          {"not_drops", not_drops},
          {"rate", interval_s > 0 ? static_cast<double>(interval_done) / interval_s : 0.0},
          {"in_flight", engine_.in_flight()},
          {"connections", connections},
          {"outcomes", std::move(outcomes)},
          {"streams", std::move(streams)}};
}

void TrafficProgram::housekeeping(Nanos now) {
  engine_.end_turn(now);
  if (engine_.started() && now >= next_progress_) {
    Json progress = state(now, true);
    progress["event"] = "progress";
    writer_.line(progress.dump(), true);
    next_progress_ = now + options_.progress_ms * kMilli;
  }
  if (engine_.ledger_full()) begin_stop("ledger_full", 15 * kSecond);
  if (writer_.pending()) writer_.flush();
}

int TrafficProgram::finish() {
  engine_.abandon();
  Json summary = state(now_ns(), true);
  summary["event"] = "summary";
  summary["reason"] = reason_;
  summary["records"] = engine_.records().size();
  summary["ledger"] = options_.ledger;
  summary["labels"] = engine_.labels().texts();
  summary["backends"] = engine_.backends().texts();
  rusage usage = {};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  summary["cpu_s"] = seconds(usage.ru_utime) + seconds(usage.ru_stime);
  int code = reason_ == "time_limit" ? 3 : 0;
  if (!options_.no_ledger) {
    auto wrote = write_ledger(options_.ledger, engine_.records(), engine_.tables(reason_), options_.seed);
    if (!wrote) {
      std::fprintf(stderr, "lb_traffic: %s\n", wrote.error().message.c_str());
      code = 2;
    }
  }
  writer_.line(summary.dump(-1, ' ', false, Json::error_handler_t::replace));
  writer_.finish();
  return code;
}

int TrafficProgram::run(int signal_fd) {
  const bool autonomous = options_.run_s > 0;
  const bool watched =
      loop_.watch_readable(signal_fd, kSignals) && (autonomous || loop_.watch_readable(STDIN_FILENO, kStdin));
  if (!watched) {
    std::fprintf(stderr, "lb_traffic: stdin cannot be watched; give it a pipe or a terminal, or use --run\n");
    return 2;
  }
  const Nanos begin = now_ns();
  const Nanos limit = begin + static_cast<Nanos>(options_.time_limit_s * 1e9);
  const Nanos run_end = autonomous ? begin + static_cast<Nanos>(options_.run_s * 1e9) : limit;
  tell_ready();
  if (autonomous) command(R"({"cmd":"start"})");
  while (true) {
    const Nanos now = now_ns();
    if (!reason_.empty() && (engine_.in_flight() == 0 || now >= stop_by_)) break;
    if (now >= limit) begin_stop("time_limit", 2 * kSecond);
    if (autonomous && now >= run_end) begin_stop("run", 15 * kSecond);
    Nanos until = now + (writer_.pending() ? 5 * kMilli : 50 * kMilli);
    if (reason_.empty()) until = std::min(until, std::min(limit, run_end));
    loop_.turn(
        until,
        [&](Token token, std::uint32_t events) {
          if (token == kStdin) {
            if (reader_.read_some(STDIN_FILENO, [&](std::string_view line) { command(line); })) return;
            loop_.forget(STDIN_FILENO);
            begin_stop("eof", kSecond);
          } else if (token == kSignals) {
            if (next_signal(signal_fd) != 0) begin_stop("signal", kSecond);
          } else {
            engine_.on_io(token, events);
          }
        },
        [&](Token token, std::uint32_t tag) { engine_.on_timer(token, tag); });
    housekeeping(now_ns());
  }
  return finish();
}

Result<TrafficOptions> load(const Options& options) {
  constexpr std::size_t kSpecBytesMax = 4U << 20U;
  std::string text;
  if (options.spec == "-") {
    for (char c = 0; ::read(STDIN_FILENO, &c, 1) == 1 && c != '\n' && text.size() < kSpecBytesMax;) text += c;
  } else {
    auto read = read_file(options.spec, kSpecBytesMax);
    if (!read) return std::unexpected(read.error());
    text = std::move(*read);
  }
  TrafficOptions traffic;
  auto spec = parse_traffic_spec(text);
  if (!spec) return std::unexpected(spec.error());
  auto targets = parse_targets(options.target);
  if (!targets) return std::unexpected(targets.error());
  traffic.spec = std::move(*spec);
  traffic.targets = std::move(*targets);
  traffic.seed = options.seed;
  traffic.sources = options.sources;
  traffic.records_max = options.records_max;
  return traffic;
}

/// Connections of all clients at once, and some for itself.
std::size_t descriptors_needed(const TrafficSpec& spec) {
  constexpr std::size_t kOwn = 64;
  std::size_t sum = kOwn;
  for (const StreamSpec& stream : spec.streams) sum += stream.clients;
  return sum;
}

int main_checked(int argc, char** argv) {
  Options options;
  CLI::App app(
      "Continuous traffic that never retries; commands are JSON lines on stdin, see "
      "harness/traffic/README.md",
      "lb_traffic");
  app.add_option("--target", options.target, "ADDR[,ADDR..]")->required();
  app.add_option("--spec", options.spec,
                 "JSON file with the streams; - reads it from the first line of stdin")
      ->required();
  app.add_option("--seed", options.seed, "replays the same choices");
  app.add_option("--ledger", options.ledger, "file for the record of each request");
  app.add_option("--time-limit", options.time_limit_s, "stops by itself after so many seconds")
      ->check(CLI::Range(0.001, 86400.0));
  app.add_option("--run", options.run_s, "starts at once, stops after so many seconds, ignores stdin")
      ->check(CLI::Range(0.001, 86400.0));
  app.add_option("--records-max", options.records_max, "stops when so many requests are recorded");
  app.add_option("--sources", options.sources, "local addresses used towards 127.0.0.0/8")
      ->check(CLI::Range(1, 60000));
  app.add_option("--progress-ms", options.progress_ms, "between progress events")
      ->check(CLI::Range(10, 60000));
  app.add_flag("--no-ledger", options.no_ledger, "only the summary");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  const auto fail = [](const std::string& message) {
    std::fprintf(stderr, "lb_traffic: %s\n", message.c_str());
    return 2;
  };
  if (options.ledger.empty() && !options.no_ledger) return fail("--ledger FILE is required (or --no-ledger)");
  raise_fd_limit();
  auto traffic = load(options);
  if (!traffic) return fail(traffic.error().message);
  if (const std::size_t needed = descriptors_needed(traffic->spec), limit = fd_limit(); needed > limit) {
    return fail("the load needs about " + std::to_string(needed) + " descriptors, and the limit is " +
                std::to_string(limit) + ": raise it (ulimit -n), or ask for fewer clients");
  }
  auto signals = signal_descriptor();
  if (!signals) return fail(signals.error().message);
  auto loop = Loop::make();
  if (!loop) return fail(loop.error().message);
  const auto program = std::make_unique<TrafficProgram>(*loop, std::move(*traffic), options);
  if (auto ready = program->prepare(); !ready) return fail(ready.error().message);
  return program->run(signals->get());
}

}  // namespace
}  // namespace lb::traffic

int main(int argc, char** argv) {
  try {
    return lb::traffic::main_checked(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "lb_traffic: %s\n", error.what());
    return 2;
  }
}
