// Exercise 10.2: what differs between two configurations. The contract is in lb/config/diff.hpp: the kinds of
// change with their paths and words, the order, what is a secret. This file is yours; config_diff is the one
// function that the balancer looks for in it. Everything below it is a suggestion.
#include "lb/config/diff.hpp"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lb/base/not_implemented.hpp"
#include "lb/config/keys.hpp"
#include "lb/config/tree.hpp"
#include "lb/config/wording.hpp"

namespace lb {
namespace {

/// Gathers the changes in the order in which they are found, which is the order of the contract if you ask in
/// that order: listen, algorithm, backends, pool, ... as in lb/config/keys.cpp.
class Differ final {
 public:
  void listeners(const std::vector<ListenerConfig>& before, const std::vector<ListenerConfig>& after);
  void backends(const std::vector<BackendConfig>& before, const std::vector<BackendConfig>& after);
  void rate_limit(const std::optional<RateLimitConfig>& before, const std::optional<RateLimitConfig>& after);
  void headers(const std::vector<HeaderField>& before, const std::vector<HeaderField>& after);

  /// Every other key: of the file, of /pool, /timeouts, ... The key table knows them all, and value_json()
  /// spells their values: a walk over it needs no line for each key.
  void plain_keys(const Config& before, const Config& after);

  std::vector<ConfigChange> take() { return std::move(changes_); }

 private:
  /// `place` makes the path: Place{}.member("backends").member("b/1").pointer() is "/backends/b~11".
  void added(const Place& place, std::string after, std::string words) {
    changes_.push_back({ConfigChange::Kind::added, place.pointer(), {}, std::move(after), std::move(words)});
  }

  std::vector<ConfigChange> changes_{};
};

void Differ::listeners(const std::vector<ListenerConfig>&, const std::vector<ListenerConfig>&) {
  // A listener is its text(). Which texts does only one of the two lists have? An example of an answer:
  //   const Place list = Place{}.member("listen");   (a Place keeps a pointer to the one it was made from)
  //   added(list.member(text), json_string(text), "listener " + bare_words(text) + " added");
  not_implemented("Differ::listeners");
}

void Differ::backends(const std::vector<BackendConfig>&, const std::vector<BackendConfig>&) {
  // A backend is its name, wherever it stands. Removed ones first, then the keys that differ of those that
  // stayed, the address before weight and max_connections, then the added ones. There may be 100,000.
  not_implemented("Differ::backends");
}

void Differ::rate_limit(const std::optional<RateLimitConfig>&, const std::optional<RateLimitConfig>&) {
  // Four cases: neither, only one of the two, both.
  not_implemented("Differ::rate_limit");
}

void Differ::headers(const std::vector<HeaderField>&, const std::vector<HeaderField>&) {
  // A header field is its name, letter case ignored (same_header_name). The value of a secret one
  // (is_secret_header) must not get into any member of a change.
  not_implemented("Differ::headers");
}

void Differ::plain_keys(const Config&, const Config&) {
  not_implemented("Differ::plain_keys");
}

}  // namespace

std::vector<ConfigChange> config_diff(const Config& before, const Config& after) {
  Differ differ;
  differ.plain_keys(before, after);  // some of these come before the lists, and some after them
  differ.listeners(before.listen, after.listen);
  differ.backends(before.backends, after.backends);
  differ.rate_limit(before.rate_limit, after.rate_limit);
  differ.headers(before.response_headers, after.response_headers);
  return differ.take();
}

}  // namespace lb
