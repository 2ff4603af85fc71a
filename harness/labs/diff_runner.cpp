// The runner of exercise 10.2: {"do": "diff", "before": TEXT, "after": TEXT} with JSON configurations; returns the
// changes as a list of {kind, path, before, after, words}, before and after as the submission spelt them.
#include "harness/labs/wire.hpp"
#include "lb/config/diff.hpp"

namespace {

using Json = nlohmann::json;

std::shared_ptr<const lb::Config> parse(const Json& text) {
  auto loaded = lb::config_parse(text.get<std::string>());
  if (!loaded) throw std::invalid_argument("the check's own configuration: " + loaded.error().text("file"));
  return loaded->config;
}

Json handle(const Json& request) {
  const auto before = parse(request.at("before"));
  const auto after = parse(request.at("after"));
  Json list = Json::array();
  for (const lb::ConfigChange& change : lb::config_diff(*before, *after)) {
    static constexpr const char* kKinds[] = {"added", "removed", "changed"};
    const auto kind = static_cast<std::size_t>(change.kind);
    list.push_back({{"kind", kind < 3 ? kKinds[kind] : "?"},
                    {"path", change.path},
                    {"before", change.before},
                    {"after", change.after},
                    {"words", change.words}});
  }
  return list;
}

}  // namespace

int main(int argc, char** argv) {
  return lb::labs::Wire{argc, argv}.serve(handle);
}
