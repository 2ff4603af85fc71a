#include "lb/base/not_implemented.hpp"

#include <string>

namespace lb {
namespace {

std::string told(std::string_view what, const std::source_location& where) {
  std::string_view file = where.file_name();
  file = file.substr(file.rfind('/') + 1);
  std::string text = "not implemented: ";
  text.append(what).append(" (").append(file).append(":");
  return text + std::to_string(where.line()) + ")";
}

}  // namespace

NotImplemented::NotImplemented(std::string_view what, std::source_location where)
    : std::logic_error(told(what, where)) {}

void not_implemented(std::string_view what, std::source_location where) {
  throw NotImplemented(what, where);
}

}  // namespace lb
