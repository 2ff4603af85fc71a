#include "lb/config/tree.hpp"

#include <algorithm>
#include <charconv>
#include <optional>

namespace lb {
namespace {

void append_escaped(std::string& out, std::string_view key) {
  for (const char c : key) {
    if (c == '~') {
      out += "~0";
    } else if (c == '/') {
      out += "~1";
    } else {
      out += c;
    }
  }
}

const Node* child_at(const Node& node, std::string_view token) {
  if (node.kind == Node::Kind::array) {
    std::size_t index = 0;
    const auto [end, error] = std::from_chars(token.data(), token.data() + token.size(), index);
    const bool whole = error == std::errc{} && end == token.data() + token.size();
    return whole && index < node.children.size() ? &node.children[index] : nullptr;
  }
  std::string escaped;
  for (const Node& child : node.children) {
    escaped.clear();
    append_escaped(escaped, child.key);
    if (escaped == token) return &child;
  }
  return nullptr;
}

}  // namespace

std::string Place::pointer() const {
  if (parent == nullptr) return {};
  std::string out = parent->pointer();
  out += '/';
  if (is_index) {
    out += std::to_string(index);
  } else {
    append_escaped(out, key);
  }
  return out;
}

Position find_position(const Node& root, std::string_view pointer) {
  const Node* node = &root;
  while (!pointer.empty()) {
    pointer.remove_prefix(1);
    const std::size_t end = std::min(pointer.find('/'), pointer.size());
    const Node* child = child_at(*node, pointer.substr(0, end));
    if (child == nullptr) break;
    node = child;
    pointer.remove_prefix(end);
  }
  return node->at;
}

}  // namespace lb
