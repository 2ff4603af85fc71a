// One line of text to a stream. Whether it could be written is asked once, of fflush, at the end.
#pragma once

#include <cstdio>
#include <string>

namespace lb {

inline void print_line(std::FILE* to, const std::string& text) {
  std::fprintf(to, "%s\n", text.c_str());
}

}  // namespace lb
