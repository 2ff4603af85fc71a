// StatusSet: which HTTP statuses count as good, from a text like "200-299,404". A value; any thread.
#pragma once

#include <bitset>
#include <cstdint>
#include <optional>
#include <string_view>

namespace lb {

class StatusSet final {
 public:
  static constexpr std::uint16_t kFirst = 100;
  static constexpr std::uint16_t kLast = 599;

  /// Numbers and ranges from 100 to 599, with commas between them and blanks where one likes; nothing when
  /// the text is not that.
  static std::optional<StatusSet> parse(std::string_view text);

  [[nodiscard]] bool contains(std::uint16_t status) const noexcept {
    return status >= kFirst && status <= kLast && members_[status - kFirst];
  }
  friend bool operator==(const StatusSet&, const StatusSet&) = default;

 private:
  std::bitset<kLast - kFirst + 1> members_;
};

}  // namespace lb
