#include "tools/code/line_changes.h"

#include <fmt/format.h>

namespace ponder::tools {
namespace {

constexpr std::string_view kBlanks = " \t\r\n";
constexpr std::string_view kArrow = " =>";
constexpr std::string_view kOperators = "<>=!~+-*/%&|^";

bool is_word(char c) {
  const char letter = static_cast<char>(c | 0x20);
  return (letter >= 'a' && letter <= 'z') || (c >= '0' && c <= '9') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}
bool is_operator(char c) { return kOperators.find(c) != std::string_view::npos; }

/// Whether two characters side by side belong to one token, nearly enough for any language.
bool is_joined(char before, char after) {
  return (is_word(before) && is_word(after)) || (is_operator(before) && is_operator(after));
}

}  // namespace

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return text.substr(text.size());
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

Result<TextPair> parse_text_pair(std::string_view text) {
  // The first arrow is ours; a line of code with arrows can be given as a whole text.
  const auto arrow = text.find(kArrow);
  if (arrow == std::string_view::npos || trimmed(text.substr(0, arrow)).empty()) {
    return fail(Errc::invalid_argument, fmt::format("changes: '{}' is not: old => new",
                                                    trimmed(text)));
  }
  return TextPair{std::string(trimmed(text.substr(0, arrow))),
                  std::string(trimmed(text.substr(arrow + kArrow.size())))};
}

std::vector<std::string> changed_lines(std::string_view line, const TextPair& change) {
  const std::string_view old = change.old_text;
  std::vector<std::string> lines;
  for (auto at = line.find(old); at != std::string_view::npos; at = line.find(old, at + 1)) {
    const std::string_view before = line.substr(0, at);
    std::string_view after = line.substr(at + old.size());
    if (!before.empty() && is_joined(before.back(), old.front())) continue;
    if (!after.empty() && is_joined(old.back(), after.front())) continue;
    if (change.new_text.empty() && after.starts_with(' ')) after.remove_prefix(1);
    const std::string changed = fmt::format("{}{}{}", before, change.new_text, after);
    lines.emplace_back(trimmed(changed));
  }
  return lines;
}

}  // namespace ponder::tools
