#include "tools/code/suspects.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <set>

#include "tools/code/line_changes.h"
#include "tools/files/file_tree.h"
#include "tools/files/text_lines.h"

namespace ponder::tools {
namespace {

constexpr std::size_t kFilesMax = 2000;
constexpr std::uint64_t kFileBytesMax = 256 << 10;
constexpr std::size_t kRowsMax = 60;
constexpr std::size_t kRowBytesMax = 200;
constexpr unsigned kTriesMax = 2;

constexpr std::array<std::string_view, 14> kEndings = {".py", ".lua", ".c",  ".cc",  ".cpp",
                                                       ".h",  ".hpp", ".js", ".mjs", ".ts",
                                                       ".go", ".rs",  ".rb", ".java"};
constexpr std::array<std::string_view, 10> kNoHeads = {
    "if", "elif", "elseif", "else", "for", "while", "switch", "return", "case", "with"};
constexpr std::array<std::string_view, 56> kNoNames = {
    "and", "as", "auto", "bool", "break", "catch", "char", "class", "const", "continue", "def",
    "do", "double", "elif", "else", "elseif", "end", "except", "false", "False", "float", "fn",
    "for", "from", "func", "function", "if", "import", "in", "int", "is", "lambda", "let",
    "local", "mut", "new", "nil", "None", "not", "null", "or", "pass", "raise", "repeat",
    "return", "self", "static", "then", "this", "throw", "true", "True", "until", "var", "void",
    "while"};
constexpr std::size_t kNamesMax = 12;
constexpr std::array<std::string_view, 8> kClosers = {"end", "else", "else:", "{",
                                                      "}",   "};",   "try:",  "} else {"};

template <std::size_t N>
bool is_one_of(const std::array<std::string_view, N>& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

bool is_word_char(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

std::size_t indent_of(std::string_view line) { return line.find_first_not_of(" \t"); }

/// The name that a line defines a function by, if it looks like the head of one.
std::string_view head_name(std::string_view line) {
  const std::string_view text = trimmed(line);
  const auto open = text.find('(');
  if (open == std::string_view::npos) return {};
  std::size_t begin = open;
  while (begin > 0 && is_word_char(text[begin - 1])) --begin;
  const std::string_view before = text.substr(0, begin);
  const auto is_usual = [](char c) {
    return is_word_char(c) || std::string_view(" :<>,&*.~[]").find(c) != std::string_view::npos;
  };
  if (before.empty() || !std::all_of(before.begin(), before.end(), is_usual)) return {};
  const auto end = std::find_if_not(before.begin(), before.end(), is_word_char);
  const std::string_view first = before.substr(0, static_cast<std::size_t>(end - before.begin()));
  return is_one_of(kNoHeads, first) ? std::string_view() : text.substr(begin, open - begin);
}

struct Function {
  std::string path;
  std::size_t first = 0;  // index of its head
  std::vector<std::string> lines;  // without their indentation
};
using Functions = std::map<std::string, Function, std::less<>>;

/// Adds the functions of a file: a head, what is indented below it, and the line that closes it.
void add_functions(const std::string& path, std::string_view content, Functions& out) {
  const auto lines = split_lines(content);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const std::string_view name = head_name(lines[i]);
    if (name.empty()) continue;
    std::size_t end = i + 1;
    for (; end < lines.size(); ++end) {
      const bool is_inside = indent_of(lines[end]) > indent_of(lines[i]);
      if (!is_inside && !trimmed(lines[end]).empty()) break;
    }
    while (end > i + 1 && trimmed(lines[end - 1]).empty()) --end;
    if (end == i + 1) continue;  // a call, or a declaration
    if (end < lines.size() && is_one_of(kClosers, trimmed(lines[end]))) ++end;
    Function found{path, i, {}};
    for (std::size_t n = i; n < end; ++n) found.lines.emplace_back(trimmed(lines[n]));
    out.emplace(std::string(name), std::move(found));
  }
}

/// The words of a test's name, without "test" before and parts behind: what it may be named after.
std::vector<std::string> names_in(std::string_view test) {
  std::vector<std::string> out;
  for (std::size_t i = 0; i < test.size(); ++i) {
    const std::size_t begin = i;
    while (i < test.size() && is_word_char(test[i])) ++i;
    std::string_view word = test.substr(begin, i - begin);
    if (word.starts_with("test_")) word.remove_prefix(5);
    while (!word.empty()) {
      out.emplace_back(word);
      const auto cut = word.rfind('_');
      word = cut == std::string_view::npos ? std::string_view() : word.substr(0, cut);
    }
  }
  return out;
}

/// The line without what stands between quotes.
std::string without_texts(std::string_view line) {
  std::string out;
  char quote = 0;
  for (const char c : line) {
    if (quote == 0 && (c == '"' || c == '\'')) {
      quote = c;
    } else if (c == quote) {
      quote = 0;
    }
    if (quote == 0 || c == quote) out += c;
  }
  return out;
}

/// Adds the names that a line uses: words but for those of the language, of functions that are
/// called, and of what belongs to something else ("a.b" has neither).
void add_names(const std::string& text, std::vector<std::string>& names) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const std::size_t begin = i;
    while (i < text.size() && is_word_char(text[i])) ++i;
    std::string word = text.substr(begin, i - begin);
    const char before = begin == 0 ? ' ' : text[begin - 1];
    const char after = i == text.size() ? ' ' : text[i];
    const bool is_name = !word.empty() && word != "_" && before != '.' && after != '(' &&
                         after != '.' && std::isdigit(static_cast<unsigned char>(word[0])) == 0 &&
                         !is_one_of(kNoNames, word);
    if (is_name && std::find(names.begin(), names.end(), word) == names.end()) {
      names.push_back(std::move(word));
    }
  }
}

std::string names_of(const Function& function) {
  std::vector<std::string> names;
  for (const std::string& line : function.lines) add_names(without_texts(line), names);
  if (names.size() > kNamesMax) names.resize(kNamesMax);
  return fmt::format("{}", fmt::join(names, ", "));
}

/// Whether there is anything to change in a line that is not its function's head.
bool may_be_wrong(std::string_view text) {
  const bool is_comment =
      text.starts_with('#') || text.starts_with("//") || text.starts_with("--");
  return text.size() <= kRowBytesMax && !is_comment && !is_one_of(kClosers, text);
}

/// A part of a large tree will do: what is found are hints.
Result<Functions> functions_below(const RootedFolder& root,
                                  const std::function<bool(std::string_view)>& is_source) {
  Functions out;
  std::size_t num_files = 0;
  const auto visit = [&](const std::string& path, const FileEntry& entry) {
    const auto dot = path.rfind('.');
    const bool is_code = entry.kind == FileEntry::Kind::file && dot != std::string::npos &&
                         is_one_of(kEndings, std::string_view(path).substr(dot));
    if (!is_code || !is_source(path)) return true;
    const auto content = root.read(path, kFileBytesMax);
    if (content) add_functions(path, *content, out);
    return ++num_files < kFilesMax;
  };
  PONDER_CHECK(walk_tree(root, "", {}, visit));
  return out;
}

}  // namespace

Result<Suspects> Suspects::find(const RootedFolder& root, const std::vector<std::string>& failing,
                                const std::function<bool(std::string_view)>& is_source) {
  PONDER_TRY(const Functions functions, functions_below(root, is_source));
  std::vector<Line> lines;
  std::set<std::string, std::less<>> seen;
  for (const std::string& test : failing) {
    const auto names = names_in(test);
    const auto is_known = [&](const std::string& name) { return functions.count(name) > 0; };
    const auto name = std::find_if(names.begin(), names.end(), is_known);
    if (name == names.end() || !seen.insert(*name).second) continue;
    const Function& function = functions.find(*name)->second;
    const std::string used = names_of(function);
    for (std::size_t i = 0; i < function.lines.size() && lines.size() < kRowsMax; ++i) {
      const std::string& text = function.lines[i];
      if (text.empty()) continue;
      const bool is_wrong_maybe = may_be_wrong(text) && (i > 0 || text.find('=') != text.npos);
      lines.push_back({function.path, function.first + i + 1, text.substr(0, kRowBytesMax), used,
                       is_wrong_maybe, 0});
    }
  }
  return Suspects(std::move(lines));
}

std::string Suspects::view() const {
  std::string out;
  const std::string* path = nullptr;
  for (const Line& line : lines_) {
    if (path == nullptr || *path != line.path) {
      out += fmt::format("Suspicious lines of {}:\n", line.path);
    }
    path = &line.path;
    out += fmt::format("{}: {}\n", line.number, line.text);
  }
  return out + next();
}

const Suspects::Line* Suspects::next_line() const {
  const Line* best = nullptr;
  for (const Line& line : lines_) {
    if (!line.is_candidate || line.tries >= kTriesMax) continue;
    if (best == nullptr || line.tries < best->tries) best = &line;
  }
  return best;
}

std::string Suspects::next() const {
  const Line* best = next_line();
  if (best == nullptr) return {};
  const std::string line = fmt::format("next{}: {} {}: {}\n", best->tries > 0 ? ", tried once" : "",
                                       best->path, best->number, best->text);
  return best->names.empty() ? line : fmt::format("{}names: {}\n", line, best->names);
}

std::optional<Suspects::Place> Suspects::next_place() const {
  const Line* best = next_line();
  if (best == nullptr) return std::nullopt;
  return Place{best->path, best->number};
}

void Suspects::note_tried(std::string_view path, std::size_t number) {
  for (Line& line : lines_) {
    if (line.path == path && line.number == number) ++line.tries;
  }
}

}  // namespace ponder::tools
