#include "tools/files/text_edit.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <vector>

#include "tools/files/text_lines.h"

namespace ponder::tools {
namespace {

constexpr std::size_t kContextLines = 3;
constexpr std::size_t kPlacesMax = 10;

std::string_view trimmed(std::string_view line) {
  const auto first = line.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return line.substr(first, line.find_last_not_of(" \t\r\n") - first + 1);
}

/// Where the first line that says anything stands but for blanks at its ends.
std::string nearest_place(std::string_view text, std::string_view before) {
  const auto wanted_lines = split_lines(before);
  const auto wanted = std::find_if(wanted_lines.begin(), wanted_lines.end(),
                                   [](std::string_view line) { return !trimmed(line).empty(); });
  if (wanted == wanted_lines.end()) return {};
  const auto lines = split_lines(text);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (trimmed(lines[i]) != trimmed(*wanted)) continue;
    return fmt::format("; line {} is like its first line: blanks or what follows differ", i + 1);
  }
  return {};
}

std::size_t line_of(std::string_view text, std::size_t offset) {
  return 1 + static_cast<std::size_t>(std::count(
                 text.begin(), text.begin() + static_cast<std::ptrdiff_t>(offset), '\n'));
}

void append_lines(std::string& diff, char mark, const std::vector<std::string_view>& lines,
                  std::size_t begin, std::size_t end) {
  for (std::size_t i = begin; i < end; ++i) {
    diff += mark;
    diff += lines[i];
    if (!lines[i].ends_with('\n')) diff += "\n\\ No newline at end of file\n";
  }
}

}  // namespace

std::string diff_of(std::string_view before, std::string_view after) {
  const auto a = split_lines(before);
  const auto b = split_lines(after);
  std::size_t head = 0;
  while (head < std::min(a.size(), b.size()) && a[head] == b[head]) ++head;
  std::size_t tail = 0;
  while (tail < std::min(a.size(), b.size()) - head &&
         a[a.size() - 1 - tail] == b[b.size() - 1 - tail]) {
    ++tail;
  }
  if (head == a.size() && head == b.size()) return {};
  const std::size_t first = head - std::min(head, kContextLines);
  const std::size_t last_a = a.size() - tail;
  const std::size_t last_b = b.size() - tail;
  const std::size_t after_lines = std::min(tail, kContextLines);
  const std::size_t count_a = last_a + after_lines - first;
  const std::size_t count_b = last_b + after_lines - first;
  std::string diff = fmt::format("@@ -{},{} +{},{} @@\n", count_a == 0 ? first : first + 1, count_a,
                                 count_b == 0 ? first : first + 1, count_b);
  append_lines(diff, ' ', a, first, head);
  append_lines(diff, '-', a, head, last_a);
  append_lines(diff, '+', b, head, last_b);
  append_lines(diff, ' ', a, last_a, last_a + after_lines);
  return diff;
}

Result<TextEdit> replace_only(std::string_view text, std::string_view before,
                              std::string_view after) {
  if (before.empty()) return fail(Errc::invalid_argument, "the text to replace is empty");
  if (before == after) return fail(Errc::invalid_argument, "old and new text are the same");
  std::vector<std::size_t> places;
  std::size_t count = 0;
  for (auto at = text.find(before); at != std::string_view::npos; at = text.find(before, at + 1)) {
    if (++count <= kPlacesMax) places.push_back(at);
  }
  if (count == 0) {
    return fail(Errc::invalid_argument,
                "the text to replace is not in the file" + nearest_place(text, before));
  }
  if (count > 1) {
    std::vector<std::size_t> lines;
    lines.reserve(places.size());
    for (const std::size_t place : places) lines.push_back(line_of(text, place));
    return fail(Errc::invalid_argument,
                fmt::format("the text to replace is there {} times (lines {}{}): give more of what "
                            "stands around it",
                            count, fmt::join(lines, ", "), count > kPlacesMax ? ", .." : ""));
  }
  TextEdit edit;
  edit.text = fmt::format("{}{}{}", text.substr(0, places[0]), after,
                          text.substr(places[0] + before.size()));
  edit.diff = diff_of(text, edit.text);
  return edit;
}

}  // namespace ponder::tools
