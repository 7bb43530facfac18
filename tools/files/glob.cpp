#include "tools/files/glob.h"

#include <cstddef>
#include <optional>
#include <vector>

namespace ponder::tools {
namespace {

/// One step of a pattern.
struct Token {
  enum class Kind { literal, any_character, any_characters, any_folders, char_class };
  Kind kind = Kind::literal;
  char literal = '\0';
  std::string_view members;  // of a class, as written
  bool is_negated = false;
};

/// The class that begins at `at`, which is moved behind it; nullopt when it does not end.
std::optional<Token> read_class(std::string_view pattern, std::size_t& at) {
  std::size_t i = at + 1;
  Token token;
  token.kind = Token::Kind::char_class;
  token.is_negated = i < pattern.size() && (pattern[i] == '!' || pattern[i] == '^');
  if (token.is_negated) ++i;
  const std::size_t first = i;
  while (i < pattern.size() && (pattern[i] != ']' || i == first)) ++i;
  if (i >= pattern.size()) return std::nullopt;
  token.members = pattern.substr(first, i - first);
  at = i + 1;
  return token;
}

std::vector<Token> read_pattern(std::string_view pattern) {
  std::vector<Token> tokens;
  std::size_t i = 0;
  while (i < pattern.size()) {
    const bool begins_part = i == 0 || pattern[i - 1] == '/';
    const std::string_view rest = pattern.substr(i);
    Token token;
    if (begins_part && rest.starts_with("**/")) {
      token.kind = Token::Kind::any_folders;
      i += 3;
    } else if (rest.front() == '*') {
      token.kind = Token::Kind::any_characters;
      // At the end "/**" is everything inside: what an any_folders and a name are.
      if (begins_part && rest == "**") {
        Token folders;
        folders.kind = Token::Kind::any_folders;
        tokens.push_back(folders);
      }
      while (i < pattern.size() && pattern[i] == '*') ++i;
    } else if (rest.front() == '?') {
      token.kind = Token::Kind::any_character;
      ++i;
    } else if (rest.front() == '[') {
      auto found = read_class(pattern, i);
      if (found) {
        token = *found;
      } else {
        token.literal = pattern[i++];
      }
    } else {
      if (rest.front() == '\\' && rest.size() > 1) ++i;
      token.literal = pattern[i++];
    }
    tokens.push_back(token);
  }
  return tokens;
}

bool is_member(const Token& token, char c) {
  bool found = false;
  const std::string_view members = token.members;
  for (std::size_t i = 0; i < members.size(); ++i) {
    if (i + 2 < members.size() && members[i + 1] == '-') {
      found = found || (members[i] <= c && c <= members[i + 2]);
      i += 2;
    } else {
      found = found || members[i] == c;
    }
  }
  return found != token.is_negated;
}

bool takes(const Token& token, char c) {
  switch (token.kind) {
    case Token::Kind::literal:
      return token.literal == c;
    case Token::Kind::any_character:
    case Token::Kind::any_characters:
      return c != '/';
    case Token::Kind::any_folders:
      return true;
    case Token::Kind::char_class:
      return c != '/' && is_member(token, c);
  }
  return false;
}

}  // namespace

bool glob_matches(std::string_view pattern, std::string_view path) {
  const std::vector<Token> tokens = read_pattern(pattern);
  // reached[t]: the tokens before t can match the path read so far. A repeating token may be left
  // at any time, and `**/` only between folders.
  std::vector<bool> reached(tokens.size() + 1, false);
  const auto leave_repeats = [&](bool is_between_folders) {
    for (std::size_t t = 0; t < tokens.size(); ++t) {
      if (!reached[t]) continue;
      const bool may_leave = tokens[t].kind == Token::Kind::any_characters ||
                             (tokens[t].kind == Token::Kind::any_folders && is_between_folders);
      if (may_leave) reached[t + 1] = true;
    }
  };
  reached[0] = true;
  leave_repeats(true);
  for (const char c : path) {
    std::vector<bool> next(tokens.size() + 1, false);
    for (std::size_t t = 0; t < tokens.size(); ++t) {
      if (!reached[t] || !takes(tokens[t], c)) continue;
      const bool repeats = tokens[t].kind == Token::Kind::any_characters ||
                           tokens[t].kind == Token::Kind::any_folders;
      next[repeats ? t : t + 1] = true;
    }
    reached = std::move(next);
    leave_repeats(c == '/');
  }
  return reached[tokens.size()];
}

}  // namespace ponder::tools
