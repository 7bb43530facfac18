#pragma once

#include <string_view>
#include <vector>

/// The DeepSeek split: text into the pieces that BPE never merges across.
///
/// Three splits, each applied inside the pieces of the one before: runs of up to three digits; runs
/// of CJK and kana; then words, punctuation and blanks. A hand-written scanner that equals the
/// three regular expressions of tokenizer.json under Unicode 14. A byte that is no valid UTF-8
/// counts as a character of class `other`.
namespace ponder::engine::detail {

/// The regular expressions that split_pieces stands for, in order.
extern const std::string_view kDigitPattern;
extern const std::string_view kCjkPattern;
extern const std::string_view kWordPattern;

/// Appends the pieces of text, in order; together they are the text.
void split_pieces(std::string_view text, std::vector<std::string_view>& pieces);

}  // namespace ponder::engine::detail
