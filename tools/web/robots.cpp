#include "tools/web/robots.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <utility>

namespace ponder::tools {
namespace {

constexpr std::size_t kBytesMax = 500 * 1024;  // RFC 9309, 2.5
constexpr std::size_t kRulesMax = 10'000;
constexpr std::size_t kPatternBytesMax = 2048;

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

/// Escapes in upper case, those of unreserved characters undone, other bytes than ASCII escaped:
/// the form in which patterns and paths are compared (RFC 9309, 2.2.2).
std::string normal(std::string_view text) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    auto byte = static_cast<unsigned char>(text[i]);
    bool is_escape = byte >= 0x80;
    if (byte == '%' && i + 2 < text.size()) {
      const std::size_t high = kHex.find(static_cast<char>(std::toupper(text[i + 1])));
      const std::size_t low = kHex.find(static_cast<char>(std::toupper(text[i + 2])));
      if (high != std::string_view::npos && low != std::string_view::npos) {
        byte = static_cast<unsigned char>(high * 16 + low);
        const bool is_unreserved = byte < 0x80 && (std::isalnum(byte) != 0 || byte == '-' ||
                                                   byte == '.' || byte == '_' || byte == '~');
        is_escape = !is_unreserved;
        i += 2;
      }
    }
    if (is_escape) {
      out += '%';
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    } else {
      out += static_cast<char>(byte);
    }
  }
  return out;
}

/// Whether `path` begins with what `pattern` says. One pass with a step back to the last star: no
/// pattern takes longer than the product of the lengths. Takes its steps off those that are left,
/// and is false when none are.
bool matches(std::string_view pattern, std::string_view path, std::size_t& steps_left) {
  const bool is_whole = pattern.ends_with('$');
  if (is_whole) pattern.remove_suffix(1);
  std::size_t at = 0;
  std::size_t in_path = 0;
  std::size_t star = std::string_view::npos;
  std::size_t behind_star = 0;
  while (steps_left > 0) {
    --steps_left;
    if (at == pattern.size() && (!is_whole || in_path == path.size())) return true;
    if (at < pattern.size() && pattern[at] == '*') {
      star = at++;
      behind_star = in_path;
    } else if (at < pattern.size() && in_path < path.size() && pattern[at] == path[in_path]) {
      ++at;
      ++in_path;
    } else if (star != std::string_view::npos && behind_star < path.size()) {
      at = star + 1;
      in_path = ++behind_star;
    } else {
      return false;
    }
  }
  return false;
}

struct Line {
  std::string key;
  std::string value;
};

/// The next line that says something; nothing at the end.
std::optional<Line> next_line(std::string_view& text) {
  while (!text.empty()) {
    const std::size_t end = text.find_first_of("\r\n");
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    line = line.substr(0, line.find('#'));
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    return Line{lower(trimmed(line.substr(0, colon))),
                std::string(trimmed(line.substr(colon + 1)))};
  }
  return std::nullopt;
}

/// Whether a group's name means the program: "Ponder/1.0" does, as "ponder" does.
bool names(std::string_view agent, std::string_view product) {
  const auto is_token = [](unsigned char c) {
    return std::isalpha(c) != 0 || c == '-' || c == '_';
  };
  const auto end = std::find_if_not(agent.begin(), agent.end(), is_token);
  return lower(agent.substr(0, static_cast<std::size_t>(end - agent.begin()))) == product;
}

}  // namespace

RobotsRules::RobotsRules(std::string_view robots_txt, std::string_view product) {
  if (robots_txt.starts_with("\xEF\xBB\xBF")) robots_txt.remove_prefix(3);
  robots_txt = robots_txt.substr(0, kBytesMax);
  std::vector<Rule> for_all;
  bool is_for_us = false;
  bool is_for_all = false;
  bool is_named = false;     // some group is ours
  bool is_in_names = false;  // consecutive user-agent lines name one group
  while (auto line = next_line(robots_txt)) {
    if (line->key == "user-agent") {
      if (!is_in_names) is_for_us = is_for_all = false;
      is_in_names = true;
      is_for_all = is_for_all || line->value == "*";
      is_for_us = is_for_us || names(line->value, product);
      is_named = is_named || is_for_us;
      continue;
    }
    const bool is_allowed = line->key == "allow";
    if (!is_allowed && line->key != "disallow") continue;
    is_in_names = false;
    const bool is_useful = !line->value.empty() && line->value.size() <= kPatternBytesMax;
    if (!is_useful || rules_.size() + for_all.size() >= kRulesMax) continue;
    const Rule rule{normal(line->value), is_allowed};
    if (is_for_us) rules_.push_back(rule);
    if (is_for_all) for_all.push_back(rule);
  }
  if (!is_named) rules_ = std::move(for_all);
}

bool RobotsRules::allows(std::string_view target) const {
  const std::string path = normal(target);
  if (path == "/robots.txt") return true;
  const Rule* best = nullptr;
  std::size_t steps_left = kRobotsStepsMax;
  for (const Rule& rule : rules_) {
    const bool is_better = best == nullptr || rule.pattern.size() > best->pattern.size() ||
                           (rule.pattern.size() == best->pattern.size() && rule.is_allowed);
    if (is_better && matches(rule.pattern, path, steps_left)) best = &rule;
  }
  if (steps_left == 0) return false;
  return best == nullptr || best->is_allowed;
}

}  // namespace ponder::tools
