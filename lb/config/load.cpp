// Files: reading, and noticing that one has changed.
#include "lb/base/file.hpp"
#include "lb/base/hash.hpp"
#include "lb/config/config.hpp"
#include "lb/config/decode.hpp"
#include "lb/config/error_list.hpp"
#include "lb/config/json_reader.hpp"
#include "lb/config/rules.hpp"
#include "lb/config/wording.hpp"

namespace lb {
namespace {

void check_decoded(const Node& root, const Decoded& decoded, ErrorList& errors) {
  RuleContext context{.listen_pointers = decoded.listen_pointers};
  if (!decoded.doubtful.empty()) {
    context.doubtful = [&](const std::string& pointer) { return decoded.doubtful.contains(pointer); };
  }
  std::uint64_t reported = 0;
  check_rules(decoded.config, context, [&](std::string pointer, std::string message) {
    if (++reported > kConfigErrorsMax) return errors.add_uncounted(1);
    const Position at = find_position(root, pointer);
    errors.add({at.line, at.column, std::move(pointer), std::move(message)});
  });
}

}  // namespace

ConfigResult config_parse(std::string_view text) {
  ErrorList errors;
  auto root = read_json(text);
  if (!root) {
    errors.add(std::move(root).error());
    return std::unexpected(errors.take());
  }
  Decoded decoded = decode_config(*root, errors);
  if (root->kind == Node::Kind::object) check_decoded(*root, decoded, errors);
  if (errors.total() > 0) return std::unexpected(errors.take());
  return LoadedConfig{.config = std::make_shared<const Config>(std::move(decoded.config)),
                      .text = std::string{text},
                      .hash = hash_bytes(text)};
}

ConfigResult config_load(const std::string& path) {
  auto text = read_file(path, kConfigBytesMax);
  if (!text) {
    return std::unexpected(ConfigErrors{.kind = ConfigErrors::Kind::unreadable,
                                        .errors = {{.message = "cannot " + text.error().message}}});
  }
  return config_parse(*text);
}

Result<bool> ConfigWatchState::changed() {
  auto text = read_file(path_, kConfigBytesMax);
  if (!text) return std::unexpected(std::move(text).error());
  const std::uint64_t hash = hash_bytes(*text);
  const bool different = !seen_ || hash != hash_;
  seen_ = true;
  hash_ = hash;
  return different;
}

bool config_changed(const std::string& path, const LoadedConfig& loaded) {
  const auto text = read_file(path, kConfigBytesMax);
  return text && *text != loaded.text;
}

std::expected<ReloadCandidate, ConfigErrors> config_reload(const std::string& path,
                                                           const ConnectivityProbe& probe) {
  auto loaded = config_load(path);
  if (!loaded) return std::unexpected(std::move(loaded).error());
  ReloadCandidate candidate{.loaded = *std::move(loaded), .warnings = {}};
  const auto& backends = candidate.loaded.config->backends;
  const std::vector<std::string> answers = probe(backends);
  LB_ASSERT(answers.size() == backends.size());
  for (std::size_t i = 0; i < answers.size(); ++i) {
    if (answers[i].empty()) continue;
    const std::string& name = backends[i].name;
    const std::string address = backends[i].endpoint.text();
    candidate.warnings.push_back("backend " + shown_text(name) +
                                 (name == address ? "" : " (" + address + ")") + ": " + answers[i]);
  }
  return candidate;
}

}  // namespace lb
