// Files: reading, and noticing that one has changed.
#include <algorithm>

#include "lb/base/file.hpp"
#include "lb/base/guard.hpp"
#include "lb/base/hash.hpp"
#include "lb/config/config.hpp"
#include "lb/config/decode.hpp"
#include "lb/config/error_list.hpp"
#include "lb/config/json_reader.hpp"
#include "lb/config/rules.hpp"
#include "lb/config/wording.hpp"
#include "lb/config/yaml_reader.hpp"

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

/// Errors go to `errors`, warnings are returned.
std::vector<ConfigError> look_further(const Node& root, const Decoded& decoded, const ConfigCheck& check,
                                      ErrorList& errors) {
  std::vector<ConfigError> warnings;
  for (ConfigFinding& finding : check(decoded.config, decoded.listen_pointers)) {
    const Position at = find_position(root, finding.pointer);
    ConfigError error{at.line, at.column, std::move(finding.pointer), std::move(finding.message)};
    if (finding.warning) {
      warnings.push_back(std::move(error));
    } else {
      errors.add(std::move(error));
    }
  }
  return warnings;
}

ConfigErrors unreadable(std::string message) {
  return {.kind = ConfigErrors::Kind::unreadable, .errors = {{.message = std::move(message)}}};
}

/// The inner result is the reader's; the outer one says that there is no reader, or that it broke.
Result<std::expected<Node, ConfigError>> read_tree(std::string_view text, ConfigFormat format) {
  if (format == ConfigFormat::json) return read_json(text);
  return guarded("read_yaml", [&] { return read_yaml(text); });
}

bool ends_with_ignoring_case(std::string_view text, std::string_view lower_end) {
  if (text.size() < lower_end.size()) return false;
  return std::ranges::equal(text.substr(text.size() - lower_end.size()), lower_end, {}, [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
}

}  // namespace

ConfigFormat config_format(std::string_view path) {
  const bool yaml = ends_with_ignoring_case(path, ".yaml") || ends_with_ignoring_case(path, ".yml");
  return yaml ? ConfigFormat::yaml : ConfigFormat::json;
}

ConfigResult config_parse(std::string_view text, ConfigFormat format, const ConfigCheck& check) {
  ErrorList errors;
  auto tree = read_tree(text, format);
  if (!tree) return std::unexpected(unreadable("this build reads no YAML: " + tree.error().message));
  std::expected<Node, ConfigError>& root = *tree;
  if (!root) {
    errors.add(std::move(root).error());
    return std::unexpected(errors.take());
  }
  Decoded decoded = decode_config(*root, errors);
  if (root->kind == Node::Kind::object) check_decoded(*root, decoded, errors);
  std::vector<ConfigError> warnings;
  if (check && errors.total() == 0) warnings = look_further(*root, decoded, check, errors);
  if (errors.total() > 0) return std::unexpected(errors.take());
  return LoadedConfig{.config = std::make_shared<const Config>(std::move(decoded.config)),
                      .text = std::string{text},
                      .hash = hash_bytes(text),
                      .format = format,
                      .warnings = std::move(warnings)};
}

ConfigResult config_load(const std::string& path, const ConfigCheck& check) {
  auto text = read_file(path, kConfigBytesMax);
  if (!text) return std::unexpected(unreadable("cannot " + text.error().message));
  return config_parse(*text, config_format(path), check);
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
                                                           const ConnectivityProbe& probe,
                                                           const ConfigCheck& check) {
  auto loaded = config_load(path, check);
  if (!loaded) return std::unexpected(std::move(loaded).error());
  ReloadCandidate candidate{.loaded = *std::move(loaded), .warnings = {}};
  for (const ConfigError& warning : candidate.loaded.warnings) {
    candidate.warnings.push_back(config_error_line(path, warning));
  }
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
