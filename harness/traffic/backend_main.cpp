// lb_backend: fake backends, driven by JSON lines on stdin. See README.md.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <exception>
#include <nlohmann/json.hpp>

#include "harness/traffic/backend_server.hpp"
#include "harness/traffic/lines.hpp"

namespace lb::traffic {
namespace {

using Json = nlohmann::json;

struct Options {
  std::vector<std::string> backends;
  std::string certificate;
  std::string key;
  std::string ledger;
  double time_limit_s = 3600;
  std::size_t records_max = 20'000'000;
  std::uint64_t seed = 0;
};

class BackendProgram final {
 public:
  BackendProgram(Loop& loop, const Options& options)
      : loop_(loop), options_(options), server_(loop, options.records_max) {}

  Result<void> open_all();
  int run(int signal_fd);

 private:
  static constexpr Token kStdin = kOwnToken | 1U;
  static constexpr Token kSignals = kOwnToken | 2U;

  void announce();
  void command(std::string_view line);
  Json answer(const std::string& name, const Json& command);
  Json stats() const;
  Result<void> flush();

  Loop& loop_;
  const Options& options_;
  BackendServer server_;
  LineReader reader_;
  LineWriter writer_{STDOUT_FILENO};
  bool quit_ = false;
};

Json failed(std::string_view why) {
  return {{"ok", false}, {"error", std::string(why)}};
}

Result<void> BackendProgram::open_all() {
  if (!options_.certificate.empty()) {
    if (auto read = server_.set_certificate(options_.certificate, options_.key); !read) return read;
  }
  for (const std::string& text : options_.backends) {
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0) {
      return std::unexpected(Error{Fault::config, "--backend '" + text + "': expected NAME=ADDR", 0, false});
    }
    auto port = server_.add(text.substr(0, equals), text.substr(equals + 1));
    if (!port) return std::unexpected(port.error());
  }
  return {};
}

void BackendProgram::announce() {
  Json backends = Json::array();
  for (const auto& backend : server_.backends()) {
    backends.push_back({{"name", backend->name}, {"listen", backend->listen}, {"port", backend->port}});
  }
  writer_.line(Json{{"event", "ready"}, {"pid", ::getpid()}, {"backends", std::move(backends)}}.dump());
}

Json BackendProgram::stats() const {
  Json all = Json::array();
  for (const auto& backend : server_.backends()) {
    const BackendCounters& c = backend->counters;
    all.push_back({{"name", backend->name},
                   {"port", backend->port},
                   {"listening", static_cast<bool>(backend->listener)},
                   {"accepted", c.accepted},
                   {"connections", c.connections},
                   {"in_flight", c.in_flight},
                   {"requests", c.requests},
                   {"completed", c.completed},
                   {"health", c.health},
                   {"without_nonce", c.without_nonce},
                   {"bad_requests", c.bad_requests},
                   {"wrong_bodies", c.wrong_bodies},
                   {"aborted", c.aborted},
                   {"upgrades", c.upgrades},
                   {"bytes_in", c.bytes_in},
                   {"bytes_out", c.bytes_out}});
  }
  return all;
}

Result<void> BackendProgram::flush() {
  if (options_.ledger.empty()) return {};
  return write_ledger(options_.ledger, server_.records(), server_.tables(), options_.seed);
}

Json BackendProgram::answer(const std::string& name, const Json& command) {
  const auto text = [&](const char* key) {
    return command.value(key, Json()).is_string() ? command.at(key).get<std::string>() : "";
  };
  Json out = {{"ok", true}};
  if (name == "add") {
    auto port = server_.add(text("name"), text("listen"));
    if (!port) return failed(port.error().message);
    out["name"] = text("name");
    out["port"] = *port;
  } else if (name == "remove") {
    if (auto removed = server_.remove(text("name")); !removed) return failed(removed.error().message);
  } else if (name == "script") {
    auto script = parse_script(command.value("script", Json::object()).dump());
    if (!script) return failed(script.error().message);
    auto count = server_.set_script(text("backend"), *script);
    if (!count) return failed(count.error().message);
    out["backends"] = *count;
  } else if (name == "stats") {
    out["t_ns"] = now_ns();
    out["records"] = server_.records().size();
    out["backends"] = stats();
  } else if (name == "flush" || name == "quit") {
    if (auto flushed = flush(); !flushed) return failed(flushed.error().message);
    out["records"] = server_.records().size();
    out["file"] = options_.ledger;
    quit_ = name == "quit";
  } else if (name == "clear") {
    out["records"] = server_.records().size();
    server_.records().clear();
  } else {
    return failed("unknown command");
  }
  return out;
}

void BackendProgram::command(std::string_view line) {
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

int BackendProgram::run(int signal_fd) {
  if (!loop_.watch_readable(STDIN_FILENO, kStdin) || !loop_.watch_readable(signal_fd, kSignals)) {
    std::fprintf(stderr, "lb_backend: stdin cannot be watched; give it a pipe or a terminal\n");
    return 2;
  }
  const Nanos limit = now_ns() + static_cast<Nanos>(options_.time_limit_s * 1e9);
  bool at_limit = false;
  announce();
  while (!quit_) {
    const Nanos now = now_ns();
    at_limit = now >= limit;
    if (at_limit) break;
    const Nanos until = std::min(limit, now + (writer_.pending() ? 5 * kMilli : kSecond));
    loop_.turn(
        until,
        [&](Token token, std::uint32_t events) {
          if (token == kStdin) {
            quit_ = !reader_.read_some(STDIN_FILENO, [&](std::string_view line) { command(line); }) || quit_;
          } else if (token == kSignals) {
            quit_ = next_signal(signal_fd) != 0 || quit_;
          } else {
            server_.on_io(token, events);
          }
        },
        [&](Token token, std::uint32_t tag) { server_.on_timer(token, tag); });
    server_.reap();
    if (writer_.pending()) writer_.flush();
  }
  if (auto flushed = flush(); !flushed) {
    std::fprintf(stderr, "lb_backend: %s\n", flushed.error().message.c_str());
    return 2;
  }
  if (server_.records().full())
    std::fprintf(stderr, "lb_backend: the ledger is full, later requests are missing\n");
  writer_.finish();
  return at_limit ? 3 : 0;
}

int main_checked(int argc, char** argv) {
  Options options;
  CLI::App app("Fake backends; commands are JSON lines on stdin, see harness/traffic/README.md",
               "lb_backend");
  app.add_option("--backend", options.backends,
                 "NAME=ADDR or NAME=tls:ADDR, one each; port 0 lets the kernel choose");
  app.add_option("--certificate", options.certificate, "PEM file, for backends at tls:ADDR");
  app.add_option("--key", options.key, "PEM file with its key");
  app.add_option("--ledger", options.ledger, "file for the record of each request");
  app.add_option("--time-limit", options.time_limit_s, "exits by itself after so many seconds")
      ->check(CLI::Range(0.001, 86400.0));
  app.add_option("--records-max", options.records_max, "records kept at most");
  app.add_option("--seed", options.seed, "noted in the ledger");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  raise_fd_limit();
  auto signals = signal_descriptor();
  auto loop = Loop::make();
  if (!signals || !loop) {
    std::fprintf(stderr, "lb_backend: %s\n", (!signals ? signals.error() : loop.error()).message.c_str());
    return 2;
  }
  auto program = std::make_unique<BackendProgram>(*loop, options);
  if (auto opened = program->open_all(); !opened) {
    std::fprintf(stderr, "lb_backend: %s\n", opened.error().message.c_str());
    return 2;
  }
  return program->run(signals->get());
}

}  // namespace
}  // namespace lb::traffic

int main(int argc, char** argv) {
  try {
    return lb::traffic::main_checked(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "lb_backend: %s\n", error.what());
    return 2;
  }
}
