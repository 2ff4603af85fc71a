// The runner of exercise 10.1. The kernel is in the other process (harness/lbgrader/fake_files.py): every
// call of FileEvents is forwarded over the wire. Instants are nanoseconds of the grader's virtual clock; null
// is kNever.
//
//   {"do": "start", "path", "debounce", "debounce_max", "now"}   a new watcher, in place of the one before
//       returns {"error": null | TEXT, "next": deadline}
//   {"do": "poll", "now"}                                         returns {"changed": bool, "next": deadline}
//   {"do": "next_deadline"}                                       returns the deadline
#include <cerrno>
#include <memory>
#include <stdexcept>

#include "harness/labs/wire.hpp"
#include "lb/watch/config_watcher.hpp"

namespace {

using Json = nlohmann::json;

class FakeFiles final : public lb::FileEvents {
 public:
  explicit FakeFiles(lb::labs::Wire& wire) : wire_(wire) {}

  lb::Result<int> add_watch(const std::string& path, std::uint32_t mask) override {
    return ask<int>({{"call", "add_watch"}, {"path", path}, {"mask", mask}}, "inotify_add_watch", path);
  }
  void remove_watch(int watch) override { wire_.call({{"call", "remove_watch"}, {"watch", watch}}); }
  std::vector<lb::FileEvent> read() override {
    std::vector<lb::FileEvent> events;
    for (const Json& event : wire_.call({{"call", "read"}})) {
      events.push_back({.watch = event.at(0).get<int>(),
                        .mask = event.at(1).get<std::uint32_t>(),
                        .cookie = event.at(2).get<std::uint32_t>(),
                        .name = event.at(3).get<std::string>()});
    }
    return events;
  }
  lb::Result<std::string> read_link(const std::string& path) override {
    return ask<std::string>({{"call", "read_link"}, {"path", path}}, "readlink", path);
  }
  lb::Result<std::string> read_file(const std::string& path) override {
    return ask<std::string>({{"call", "read_file"}, {"path", path}}, "open", path);
  }
  [[nodiscard]] int fd() const override { return -1; }

 private:
  template <class T>
  lb::Result<T> ask(const Json& message, const char* call, const std::string& path) {
    const Json answer = wire_.call(message);
    if (answer.contains("errno")) {
      return std::unexpected(lb::system_error(call, path, answer.at("errno").get<int>()));
    }
    return answer.at("ok").get<T>();
  }
  lb::labs::Wire& wire_;
};

lb::Instant instant(const Json& request) {
  return lb::Instant{lb::Duration{request.at("now").get<std::int64_t>()}};
}

class Runner final {
 public:
  explicit Runner(lb::labs::Wire& wire) : files_(wire) {}

  Json handle(const Json& request) {
    const auto what = request.at("do").get<std::string>();
    if (what == "start") {
      watcher_.reset();
      const auto duration = [&](const char* key) {
        return lb::Duration{request.at(key).get<std::int64_t>()};
      };
      auto made = lb::make_config_watcher({.path = request.at("path").get<std::string>(),
                                           .debounce = duration("debounce"),
                                           .debounce_max = duration("debounce_max")},
                                          files_);
      if (!made) throw std::logic_error("make_config_watcher returned no watcher");
      const lb::Result<void> started = made->start(instant(request));
      if (!started) return {{"error", started.error().message}, {"next", nullptr}};
      watcher_ = std::move(made);
      return {{"error", nullptr}, {"next", next_deadline()}};
    }
    if (!watcher_) throw std::logic_error("no watcher is started");
    if (what == "poll") {
      const bool changed = watcher_->poll(instant(request));
      return {{"changed", changed}, {"next", next_deadline()}};
    }
    return next_deadline();
  }

 private:
  [[nodiscard]] Json next_deadline() const {
    const lb::Instant next = watcher_->next_deadline();
    return next == lb::kNever ? Json{} : Json(lb::Duration{next.time_since_epoch()}.count());
  }
  FakeFiles files_;
  std::unique_ptr<lb::ConfigWatcher> watcher_;
};

}  // namespace

int main(int argc, char** argv) {
  lb::labs::Wire wire{argc, argv};
  Runner runner{wire};
  return wire.serve([&](const Json& request) { return runner.handle(request); });
}
