#include "lb/main/control_adapter.hpp"

#include "lb/admin/control_path.hpp"
#include "lb/admin/control_server.hpp"

namespace lb {
namespace {

ControlRequest::Kind kind_of(ControlCommand command) noexcept {
  switch (command) {
    case ControlCommand::reload:
      return ControlRequest::Kind::reload;
    case ControlCommand::reloads:
      return ControlRequest::Kind::reloads;
    case ControlCommand::plan:
      return ControlRequest::Kind::plan;
    case ControlCommand::status:
      break;
  }
  return ControlRequest::Kind::status;
}

class ControlServerPort final : public ControlPort {
 public:
  explicit ControlServerPort(std::unique_ptr<ControlServer> server) : server_(std::move(server)) {}

  int fd() const override { return server_->fd(); }
  Instant next_deadline() const override { return server_->next_deadline(); }
  std::vector<ControlRequest> poll(Instant now) override {
    std::vector<ControlRequest> requests;
    for (const auto& event : server_->poll(now)) {
      ControlRequest request{.kind = ControlRequest::Kind::left, .caller = event.caller, .pid = event.pid};
      if (event.kind == ControlServer::Event::Kind::request) {
        request.kind = kind_of(event.query.command);
        request.number = event.query.number;
        request.wait = event.query.wait;
      }
      requests.push_back(request);
    }
    return requests;
  }
  void answer(std::uint64_t caller, const std::string& json) override { server_->answer(caller, json); }
  void flush(Duration limit) override { server_->flush(limit); }

 private:
  std::unique_ptr<ControlServer> server_;
};

}  // namespace

OpenControlPort control_opener(std::string config_path) {
  return [config_path = std::move(config_path)](
             const std::string& path, const std::string& pid_file) -> Result<std::unique_ptr<ControlPort>> {
    std::vector<std::string> aliases;
    if (!pid_file.empty()) aliases.push_back(control_beside(pid_file));
    if (const auto folder = control_folder(true)) {
      sweep_control_folder(*folder);
      for (auto& name : control_names(*folder, config_path)) aliases.push_back(std::move(name));
    }
    auto server = ControlServer::open(path, aliases);
    if (!server) return std::unexpected(server.error());
    return std::make_unique<ControlServerPort>(std::move(*server));
  };
}

std::string default_control_path(const std::string& config_path, EventLog& log) {
  const auto folder = control_folder(true);
  if (folder) return control_names(*folder, config_path).front();
  log.warn("control.none", "no control socket: " + folder.error().message +
                               "; give --control PATH for `lb reload` and `lb status`");
  return {};
}

}  // namespace lb
