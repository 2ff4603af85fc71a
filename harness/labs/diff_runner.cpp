// The runner of exercise 10.2. before and after of a change come back as the submission spelt them.
//
//   {"do": "diff", "before": TEXT, "after": TEXT}             of two JSON configurations -> the list of
//   changes
//   {"do": "diff_pairs", "configs": [TEXT, ...], "pairs": [[i, k], ...]}    -> a list of such lists
//   {"do": "diff_many", "backends": N, "changed": [i, ...]}   N backends against the same in reverse order,
//   those of
//                                                             these numbers with another weight -> the list
//                                                             of changes
#include <algorithm>
#include <memory>
#include <stdexcept>
#include <vector>

#include "harness/labs/wire.hpp"
#include "lb/config/diff.hpp"

namespace {

using Json = nlohmann::json;

std::shared_ptr<const lb::Config> parse(const Json& text) {
  auto loaded = lb::config_parse(text.get<std::string>());
  if (!loaded) throw std::invalid_argument("the check's own configuration: " + loaded.error().text("file"));
  return loaded->config;
}

Json diff(const lb::Config& before, const lb::Config& after) {
  Json list = Json::array();
  for (const lb::ConfigChange& change : lb::config_diff(before, after)) {
    static constexpr const char* kKinds[] = {"added", "removed", "changed"};
    const auto kind = static_cast<std::size_t>(change.kind);
    list.push_back({{"kind", kind < std::size(kKinds) ? kKinds[kind] : "?"},
                    {"path", change.path},
                    {"before", change.before},
                    {"after", change.after},
                    {"words", change.words}});
  }
  return list;
}

Json diff_pairs(const Json& request) {
  std::vector<std::shared_ptr<const lb::Config>> configs;
  for (const Json& text : request.at("configs")) configs.push_back(parse(text));
  Json answers = Json::array();
  for (const Json& pair : request.at("pairs")) {
    answers.push_back(diff(*configs.at(pair.at(0)), *configs.at(pair.at(1))));
  }
  return answers;
}

Json diff_many(const Json& request) {
  lb::Config before;
  before.listen.push_back({{.host = "127.0.0.1", .port = 8080}});
  const auto count = request.at("backends").get<std::uint32_t>();
  for (std::uint32_t i = 0; i < count; ++i) {
    before.backends.push_back(
        {.name = "backend-" + std::to_string(i), .endpoint = {.host = "10.0.0.1", .port = 80}});
  }
  lb::Config after = before;
  for (const Json& i : request.at("changed")) after.backends.at(i.get<std::size_t>()).weight = 2;
  std::ranges::reverse(after.backends);
  return diff(before, after);
}

Json handle(const Json& request) {
  const Json& what = request.at("do");
  if (what == "diff_pairs") return diff_pairs(request);
  if (what == "diff_many") return diff_many(request);
  return diff(*parse(request.at("before")), *parse(request.at("after")));
}

}  // namespace

int main(int argc, char** argv) {
  return lb::labs::Wire{argc, argv}.serve(handle);
}
