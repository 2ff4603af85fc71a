#include "lb/tls/openssl.hpp"

#include <openssl/err.h>

#include <cstring>

namespace lb::tls {

std::string take_errors() {
  std::string line;
  const char* data = nullptr;
  int flags = 0;
  while (const unsigned long code = ERR_get_error_all(nullptr, nullptr, nullptr, &data, &flags)) {
    if (!line.empty()) line += "; ";
    if (ERR_SYSTEM_ERROR(code)) {
      line += std::strerror(ERR_GET_REASON(code));
    } else if (const char* reason = ERR_reason_error_string(code)) {
      line += reason;
    } else {
      line += "error " + std::to_string(code);
    }
    if ((flags & ERR_TXT_STRING) != 0 && data != nullptr && *data != '\0') {
      line += " (" + std::string{data} + ")";
    }
  }
  for (char& c : line) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  return line;
}

Error openssl_error(const std::string& call, Fault fault) {
  const std::string reasons = take_errors();
  return Error{.fault = fault, .message = reasons.empty() ? call + " failed" : call + ": " + reasons};
}

}  // namespace lb::tls
