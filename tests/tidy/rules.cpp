#include "tests/tidy/rules.h"

#include <algorithm>
#include <map>
#include <regex>
#include <set>

namespace ponder::tidy {
namespace {

std::vector<std::string> split_lines(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const auto end = text.find('\n');
    lines.emplace_back(text.substr(0, end));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return lines;
}

bool starts_with_any(std::string_view text, const std::vector<std::string_view>& prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [&](std::string_view prefix) { return text.starts_with(prefix); });
}

std::string folder_of(const std::string& path) { return path.substr(0, path.find('/')); }

bool is_source(const std::string& path) {
  return path.ends_with(".h") || path.ends_with(".cpp") || path.ends_with(".cu") ||
         path.ends_with(".cuh");
}

bool is_product_source(const std::string& path) {
  return is_source(path) && !path.starts_with("tests/");
}

/// The line without a trailing comment and without the insides of string literals.
std::string code_of(const std::string& line) {
  std::string code;
  bool in_string = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false, code += c;
      continue;
    }
    if (c == '/' && i + 1 < line.size() && line[i + 1] == '/') break;
    if (c == '"' && (i == 0 || line[i - 1] != '\'')) in_string = true;
    code += c;
  }
  return code;
}

/// Folders that each folder may include besides itself.
const std::map<std::string, std::set<std::string>>& allowed_includes() {
  static const std::map<std::string, std::set<std::string>> allowed = {
      {"base", {}},
      {"kernels", {}},
      {"engine", {"kernels", "base"}},
      {"context", {"base"}},
      {"tools", {"context", "base"}},
      {"runtime", {"tools", "engine", "context", "kernels", "base"}},
      {"tests", {"runtime", "tools", "engine", "context", "kernels", "base"}},
  };
  return allowed;
}

/// The rooms of runtime/ that each of its rooms may include besides itself. The files at its root
/// (text, whole_file) are for all; runtime/cli and runtime/bench may include every room.
const std::map<std::string, std::set<std::string>>& allowed_rooms() {
  static const std::map<std::string, std::set<std::string>> allowed = {
      {"runtime/session", {}},
      {"runtime/model", {"runtime/session"}},
      {"runtime/agent", {"runtime/session", "runtime/model"}},
      {"runtime/store", {"runtime/session", "runtime/agent"}},  // the doctor reads logs as an agent
      {"runtime/workflow", {"runtime/session", "runtime/model", "runtime/agent"}},
  };
  return allowed;
}

/// The first two folders of a path: "runtime/store" for "runtime/store/postgres/link.h".
std::string room_of(const std::string& path) {
  return path.substr(0, path.find('/', path.find('/') + 1));
}

bool is_wrong_room(const std::string& path, const std::string& target) {
  const auto own = allowed_rooms().find(room_of(path));
  const std::string room = room_of(target);
  if (own == allowed_rooms().end() || room == own->first) return false;
  return target.find('/') != target.rfind('/') && !own->second.contains(room);
}

struct Banned {
  Banned(const char* pattern, const char* instead, std::vector<std::string_view> except)
      : pattern(pattern), instead(instead), except(std::move(except)) {}
  std::regex pattern;
  const char* instead;
  std::vector<std::string_view> except;  // path prefixes where it is at home
};

const std::vector<Banned>& banned_calls() {
  static const std::vector<Banned> banned = {
      {R"(asio::detached|\bdetached\b\s*\))", "a TaskGroup that waits for its children", {}},
      {R"(this_thread::sleep|\busleep\s*\()", "an event or a timer", {}},
      {R"(system_clock::now)", "a Clock passed in", {"base/clock.cpp"}},
      // A private constructor leaves unique_ptr<T>(new T(...)) or unique_ptr<T> name(new T(...)).
      {R"(^(?!.*unique_ptr<).*(=\s*new\s|\(new\s|return new\s))", "std::make_unique", {}},
      {R"(\bgetenv\s*\()",
       "a value passed down from main",
       {"runtime/main.cpp", "runtime/cli/", "tests/"}},
      {R"(\b(rand|srand)\s*\()", "a seeded generator", {}},
      {R"(\bcudaMalloc\s*\()", "DeviceBuffer", {}},
      {R"(\b(strcpy|strcat|sprintf|gets)\s*\()", "std::string or fmt", {}},
      {R"(std::cout|std::cerr)", "fmt::print, in the command line only", {"tests/"}},
      {R"(catch\s*\(\s*\.\.\.\s*\))",
       "a named boundary (docs/architecture.md)",
       {"base/async/", "runtime/main.cpp", "tests/"}},
  };
  return banned;
}

/// Longer than the limits for a reason; a new entry needs one.
const std::set<std::string>& long_files() {
  static const std::set<std::string> files = {};
  return files;
}

}  // namespace

Findings check_includes(const std::string& path, std::string_view text) {
  static const std::regex include(R"(^\s*#\s*include\s*\"([^\"]+)\")");
  Findings findings;
  const auto own = allowed_includes().find(folder_of(path));
  if (own == allowed_includes().end()) return findings;
  int number = 0;
  for (const auto& line : split_lines(text)) {
    ++number;
    std::smatch match;
    if (!std::regex_search(line, match, include)) continue;
    const std::string target = match[1];
    const std::string folder = folder_of(target);
    if (folder == own->first) {
      if (is_wrong_room(path, target)) {
        findings.push_back({path, number, room_of(path) + " may not include \"" + target + "\""});
      }
      continue;
    }
    if (!own->second.contains(folder))
      findings.push_back({path, number, own->first + " may not include \"" + target + "\""});
    else if (target.find("/detail/") != std::string::npos && own->first != "tests")
      findings.push_back({path, number, "\"" + target + "\" is private to its folder"});
  }
  return findings;
}

Findings check_lines(const std::string& path, std::string_view text) {
  static const std::regex leftover(
      "\\b(TO"
      "DO|FIX"
      "ME|XX"
      "X)\\b");
  Findings findings;
  int number = 0;
  for (const auto& line : split_lines(text)) {
    ++number;
    const auto columns =
        std::count_if(line.begin(), line.end(), [](char c) { return (c & 0xC0) != 0x80; });
    if (is_source(path) && columns > 100)
      findings.push_back({path, number, "line of " + std::to_string(columns) + " columns"});
    if (is_source(path) && line.find('\t') != std::string::npos)
      findings.push_back({path, number, "tab"});
    if (!line.empty() && (line.back() == ' ' || line.back() == '\r'))
      findings.push_back({path, number, "blank at the end of the line"});
    if (std::regex_search(line, leftover))
      findings.push_back({path, number, "leftover note; do it or file it"});
  }
  return findings;
}

Findings check_sizes(const std::string& path, std::string_view text) {
  constexpr std::size_t kFileLinesMax = 500;
  constexpr int kFunctionLinesMax = 70;
  Findings findings;
  if (long_files().contains(path)) return findings;
  const auto lines = split_lines(text);
  if (lines.size() > kFileLinesMax)
    findings.push_back({path, 0, "file of " + std::to_string(lines.size()) + " lines"});
  // Kernels are exempt from the function limit: unrolled tiles are long by nature.
  if (path.starts_with("kernels/")) return findings;
  // By layout: a function starts at column 0 with a line that holds its name and "(", and ends
  // with "}" at column 0. Tables and types hold no "(" there.
  static const std::regex starts(R"(^[A-Za-z_][^;=]*\(.*|^[A-Za-z_].*\boperator.*\()");
  int start = 0;
  for (int i = 0; i < static_cast<int>(lines.size()); ++i) {
    const auto& line = lines[static_cast<std::size_t>(i)];
    if (start == 0 && std::regex_search(line, starts) &&
        !starts_with_any(line, {"TEST", "namespace", "constexpr", "const ", "class ", "struct "}))
      start = i + 1;
    if (start != 0 && line.ends_with(");") && i + 1 == start) start = 0;  // a declaration
    if (start != 0 && line.starts_with("}")) {
      const int length = i + 2 - start;
      // Tables and embedded texts end with "};" or ")\""; only functions end with a lone brace.
      if (length > kFunctionLinesMax && line == "}")
        findings.push_back({path, start, "function of " + std::to_string(length) + " lines"});
      start = 0;
    }
  }
  return findings;
}

Findings check_banned(const std::string& path, std::string_view text) {
  Findings findings;
  int number = 0;
  for (const auto& raw : split_lines(text)) {
    ++number;
    const auto line = code_of(raw);
    for (const auto& banned : banned_calls()) {
      if (starts_with_any(path, banned.except)) continue;
      std::smatch match;
      if (std::regex_search(line, match, banned.pattern))
        findings.push_back({path, number, "'" + match.str() + "': use " + banned.instead});
    }
  }
  return findings;
}

Findings check_co_await(const std::string& path, std::string_view text) {
  static const std::vector<std::pair<std::regex, const char*>> forms = [] {
    std::vector<std::pair<std::regex, const char*>> list;
    list.emplace_back(R"(\b(if|while|switch|for)\s*\(.*co_await)", "co_await in a condition");
    list.emplace_back(R"(co_await\b.*[(,]\s*\{)", "braced temporary beside co_await");
    list.emplace_back(R"(co_await\b[^;]*[(,]\s*[A-Za-z_:]+\{)", "aggregate beside co_await");
    list.emplace_back(R"(co_await\b.*\[[^\]]*\]\s*(\(|\{|mutable))", "lambda beside co_await");
    list.emplace_back(R"(\{[^}]*co_await)", "co_await inside braces");
    list.emplace_back(R"(co_await\b[^;]*\?)", "conditional under co_await");
    list.emplace_back(R"(\?.*co_await.*:)", "co_await in a conditional");
    list.emplace_back(R"(PONDER_(CO_)?(TRY|CHECK)\(.*co_await)", "co_await inside a macro");
    return list;
  }();
  Findings findings;
  int number = 0;
  for (const auto& raw : split_lines(text)) {
    ++number;
    const auto line = code_of(raw);
    if (line.find("co_await") == std::string::npos) continue;
    for (const auto& [form, what] : forms)
      if (std::regex_search(line, form)) findings.push_back({path, number, what});
  }
  return findings;
}

Findings check_isa_file(const std::string& path, std::string_view text) {
  static const std::regex standard(R"(std::|#\s*include\s*<(?!immintrin|cstd|stdint|stddef))");
  Findings findings;
  int number = 0;
  for (const auto& raw : split_lines(text)) {
    ++number;
    auto line = code_of(raw);
    // Types without code are harmless.
    line = std::regex_replace(line, std::regex(R"(std::(size_t|u?int\d+_t|ptrdiff_t))"), "");
    if (std::regex_search(line, standard))
      findings.push_back({path, number, "standard library in a file for one instruction set"});
  }
  return findings;
}

Findings check_links(const std::filesystem::path& root, const std::string& path,
                     std::string_view text) {
  static const std::regex link(R"(\]\(([^)#\s]+)(#[^)]*)?\))");
  Findings findings;
  int number = 0;
  for (const auto& line : split_lines(text)) {
    ++number;
    for (std::sregex_iterator it(line.begin(), line.end(), link), end; it != end; ++it) {
      const std::string target = (*it)[1];
      if (target.find("://") != std::string::npos || target.starts_with("mailto:")) continue;
      const auto resolved = (root / path).parent_path() / target;
      if (!std::filesystem::exists(resolved))
        findings.push_back({path, number, "link to '" + target + "', which does not exist"});
    }
  }
  return findings;
}

Findings check_file(const std::filesystem::path& root, const std::string& path,
                    std::string_view text) {
  Findings all;
  const auto add = [&](Findings more) { all.insert(all.end(), more.begin(), more.end()); };
  add(check_lines(path, text));
  if (path.ends_with(".md")) add(check_links(root, path, text));
  if (!is_source(path)) return all;
  add(check_includes(path, text));
  add(check_banned(path, text));
  add(check_co_await(path, text));
  if (is_product_source(path)) add(check_sizes(path, text));
  if (path.starts_with("kernels/cpu/") && path.ends_with(".cpp")) add(check_isa_file(path, text));
  return all;
}

}  // namespace ponder::tidy
