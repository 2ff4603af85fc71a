// From a tree, whatever format it was read from, to a Config: types, ranges, unknown and missing keys,
// duplicate keys. The rules between values are in rules.hpp. Pure, any thread.
#pragma once

#include <string>
#include <unordered_set>
#include <vector>

#include "lb/config/error_list.hpp"
#include "lb/config/model.hpp"
#include "lb/config/tree.hpp"

namespace lb {

/// The model as far as the file says it, and what is needed to check and place the rules between values.
struct Decoded {
  Config config;
  std::vector<std::string> listen_pointers;  // where each element of config.listen was given
  std::unordered_set<std::string> doubtful;  // pointers of what had faults: rules must not judge it
};

/// Every fault goes to `errors`. A value with a fault leaves its member at the default; an element of an
/// array with a fault still takes its place, so that positions in the file and in the model agree.
Decoded decode_config(const Node& root, ErrorList& errors);

}  // namespace lb
