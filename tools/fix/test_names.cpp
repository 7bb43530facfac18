#include "tools/fix/test_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "tools/files/text_lines.h"

namespace ponder::tools {
namespace {

bool is_word(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/// What a definition is called: "add[1]" of "a_test.py::ATest::add[1]", "Adds" of "Rows/S.Adds/2",
/// "test_add" of "test_add (a.ATest.test_add)", "TestAdd" of "TestAdd/case".
std::string_view last_part(std::string_view name) {
  if (const auto at = name.rfind("::"); at != std::string_view::npos) {
    name.remove_prefix(at + 2);
    return name.substr(0, name.find('['));
  }
  if (name.ends_with(')')) return name.substr(0, name.find(" ("));
  if (const auto dot = name.find('.'); dot != std::string_view::npos) name.remove_prefix(dot + 1);
  return name.substr(0, name.find('/'));
}

/// `text` with `with` wherever `word` stands as a whole.
std::string with_word_changed(std::string text, std::string_view word, std::string_view with) {
  for (auto at = text.find(word); at != std::string::npos; at = text.find(word, at)) {
    const auto end = at + word.size();
    const bool is_whole =
        (at == 0 || !is_word(text[at - 1])) && (end == text.size() || !is_word(text[end]));
    if (is_whole) text.replace(at, word.size(), with);
    at += is_whole ? with.size() : word.size();
  }
  return text;
}

struct Form {
  std::string_view before;
  std::string_view after;
};

/// What stands around a test's name where it is defined; the line begins with `before`, but for
/// GoogleTest, whose suite comes first.
Form form_of(TestFileKind kind) {
  switch (kind) {
    case TestFileKind::python:
      return {"def ", "("};
    case TestFileKind::go:
      return {"func ", "("};
    case TestFileKind::google_test:
      return {", ", ")"};
    case TestFileKind::own:
      return {"expect(\"", "\","};
    case TestFileKind::unknown:
      break;
  }
  return {};
}

/// Where the name begins that the line defines; npos when it defines none.
std::size_t begin_of_name(TestFileKind kind, std::string_view line) {
  auto first = std::min(line.find_first_not_of(" \t"), line.size());
  const Form form = form_of(kind);
  if (kind == TestFileKind::google_test) {
    if (!line.substr(first).starts_with("TEST")) return std::string_view::npos;
    const auto comma = line.find(form.before);
    return comma == std::string_view::npos ? comma : comma + form.before.size();
  }
  if (kind == TestFileKind::python && line.substr(first).starts_with("async ")) first += 6;
  if (!line.substr(first).starts_with(form.before)) return std::string_view::npos;
  return first + form.before.size();
}

}  // namespace

TestFileKind test_file_kind(std::string_view path, std::string_view text) {
  if (path.ends_with(".py")) return TestFileKind::python;
  if (path.ends_with("_test.go")) return TestFileKind::go;
  if (text.find("gtest/gtest.h") != std::string_view::npos) return TestFileKind::google_test;
  for (const std::string_view line : split_lines(text)) {
    const auto first = std::min(line.find_first_not_of(' '), line.size());
    const std::string_view words = line.substr(first);
    if (words.starts_with("finish(") || words.starts_with("return finish(")) {
      return TestFileKind::own;
    }
  }
  return TestFileKind::unknown;
}

TestNames::TestNames(std::string mark, const std::vector<std::string>& reported,
                     std::string_view test_command)
    : mark_(std::move(mark)) {
  for (const std::string& name : reported) {
    const std::string part(last_part(name));
    if (part.empty() || test_command.find(part) != std::string_view::npos) continue;
    reported_.push_back(name);
    const auto make = [this](std::string prefix) {
      return fmt::format("{}{}t{}", std::move(prefix), mark_, wanted_.size());
    };
    if (part.starts_with("test")) {
      wanted_.try_emplace(part, make("test_"));
    } else if (part.starts_with("Test")) {
      wanted_.try_emplace(part, make("Test_"));
    } else {
      wanted_.try_emplace(part, make(""));
    }
    wanted_.try_emplace(name, make(""));  // of "own" tests, which any text names
  }
}

std::string TestNames::change_line(TestFileKind kind, std::string_view line) {
  const auto begin = begin_of_name(kind, line);
  if (begin == std::string_view::npos) return std::string(line);
  const auto end = line.find(form_of(kind).after, begin);
  if (end == std::string_view::npos) return std::string(line);
  const auto found = wanted_.find(line.substr(begin, end - begin));
  if (found == wanted_.end()) return std::string(line);
  changed_.insert(*found);
  return std::string(line.substr(0, begin)) + found->second + std::string(line.substr(end));
}

std::string TestNames::changed(TestFileKind kind, std::string_view text) {
  if (kind == TestFileKind::unknown) return std::string(text);
  std::string out;
  for (const std::string_view line : split_lines(text)) out += change_line(kind, line);
  return out;
}

std::vector<std::string> TestNames::in_state(const TestRun& run, TestState state) const {
  std::vector<std::string> out;
  for (const std::string& name : reported_) {
    // The names of "own" tests are whole texts; of others, a part of the name has changed.
    const auto whole = changed_.find(name);
    const auto part = changed_.find(last_part(name));
    if (whole == changed_.end() && part == changed_.end()) continue;
    const std::string now = whole != changed_.end()
                                ? whole->second
                                : with_word_changed(name, part->first, part->second);
    const auto& tests = run.report.tests;
    const bool is_there = std::any_of(tests.begin(), tests.end(), [&](const TestOutcome& test) {
      return test.name == now && test.state == state;
    });
    if (is_there) out.push_back(name);
  }
  return out;
}

}  // namespace ponder::tools
