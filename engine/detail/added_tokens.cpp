#include "engine/detail/added_tokens.h"

#include <algorithm>

namespace ponder::engine::detail {

AddedTokenMatcher::AddedTokenMatcher(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  std::ranges::sort(tokens_, {}, &AddedToken::text);
  for (const AddedToken& token : tokens_) {
    is_first_byte_[static_cast<unsigned char>(token.text[0])] = true;
  }
}

std::optional<AddedTokenMatcher::Match> AddedTokenMatcher::find(std::string_view text,
                                                                std::size_t from) const {
  for (std::size_t at = from; at < text.size(); ++at) {
    if (!is_first_byte_[static_cast<unsigned char>(text[at])]) continue;
    if (const AddedToken* token = longest_at(text.substr(at))) return Match{at, token};
  }
  return std::nullopt;
}

const AddedToken* AddedTokenMatcher::longest_at(std::string_view text) const {
  // The tokens that agree with text so far are a range of the sorted list; it shrinks byte by byte.
  auto begin = tokens_.begin();
  auto end = tokens_.end();
  const AddedToken* longest = nullptr;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte_at = [i](const AddedToken& token) {
      return static_cast<unsigned char>(token.text[i]);
    };
    const auto range =
        std::ranges::equal_range(begin, end, static_cast<unsigned char>(text[i]), {}, byte_at);
    begin = range.begin();
    end = range.end();
    if (begin == end) break;
    if (begin->text.size() == i + 1) longest = &*begin++;
  }
  return longest;
}

}  // namespace ponder::engine::detail
