#include "base/json_problem.h"

#include <fmt/format.h>

#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

namespace ponder {
namespace {

using nlohmann::json;

/// The text between two marks; empty where one of them is not there.
std::string_view between(std::string_view text, std::string_view begin, std::string_view end) {
  const auto first = text.find(begin);
  if (first == std::string_view::npos) return {};
  text.remove_prefix(first + begin.size());
  if (end.empty()) return text;
  const auto last = text.find(end);
  return last == std::string_view::npos ? std::string_view() : text.substr(0, last);
}

/// A kind of value as the library names it.
std::string kind(std::string_view name) {
  static const std::map<std::string_view, std::string_view> names = {
      {"string", "a string"},      {"number", "a number"}, {"array", "a list"},
      {"object", "an object"},     {"null", "null"},       {"boolean", "true or false"},
      {"discarded", "broken JSON"}};
  const auto found = names.find(name);
  return std::string(found == names.end() ? name : found->second);
}

/// Why a piece of text cannot be read, where that is more than "there".
constexpr std::array<std::pair<std::string_view, std::string_view>, 4> kReasons = {{
    {"ill-formed UTF-8", "ill-formed UTF-8"},
    {"missing closing quote", "a string has no end"},
    {"control character", "a control character stands in a string as it is"},
    {"invalid string", "a string that JSON does not have"},
}};

std::string parse_problem(const json::parse_error& error) {
  const std::string_view what = error.what();
  const bool is_cut = what.find("unexpected end of input") != std::string_view::npos;
  std::string out = fmt::format("{} at byte {}", is_cut ? "the JSON ends" : "no JSON", error.byte);
  const std::string_view expected = between(what, "; expected ", "");
  if (!expected.empty()) return out + fmt::format(": expected {}", expected);
  for (const auto& [its_words, ours] : kReasons) {
    if (what.find(its_words) != std::string_view::npos) return out + ": " + std::string(ours);
  }
  return out;
}

}  // namespace

std::string json_problem(const std::exception& error) {
  if (const auto* parse = dynamic_cast<const json::parse_error*>(&error)) {
    return parse_problem(*parse);
  }
  const std::string_view what = error.what();
  if (dynamic_cast<const json::exception*>(&error) == nullptr) return std::string(what);
  const std::string_view missing = between(what, "key '", "' not found");
  if (!missing.empty()) return fmt::format("there is no field '{}'", missing);
  const std::string_view wanted = between(what, "type must be ", ", but is ");
  if (!wanted.empty()) {
    return fmt::format("{} was expected, not {}", kind(wanted), kind(between(what, "but is ", "")));
  }
  const std::string_view no_object = between(what, "() with ", "");
  if (!no_object.empty()) return fmt::format("an object was expected, not {}", kind(no_object));
  return fmt::format("the JSON cannot be used: {}", between(what, "] ", ""));
}

}  // namespace ponder
