#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/tokenizer.h"

namespace ponder::engine::detail {

struct AddedToken {
  TokenId id;
  std::string text;
  bool is_special;
  bool is_normalized;  // matched in a second pass, after those that are not
};

/// Finds added tokens in text: the leftmost match, the longest of those.
class AddedTokenMatcher {
 public:
  AddedTokenMatcher() = default;
  /// Requires: texts are distinct and not empty.
  explicit AddedTokenMatcher(std::vector<AddedToken> tokens);

  struct Match {
    std::size_t at;
    const AddedToken* token;
  };
  /// The first match at or after `from`.
  std::optional<Match> find(std::string_view text, std::size_t from) const;

 private:
  const AddedToken* longest_at(std::string_view text) const;

  std::vector<AddedToken> tokens_;  // sorted by text
  std::array<bool, 256> is_first_byte_{};
};

}  // namespace ponder::engine::detail
