#include "base/json_problem.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace ponder {
namespace {

using nlohmann::json;

/// What is said of the exception that `work` throws.
std::string problem_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const std::exception& error) {
    return json_problem(error);
  }
  return "nothing was thrown";
}

std::string problem_in(const std::string& text) {
  return problem_of([&] { EXPECT_FALSE(json::parse(text).is_discarded()); });
}

TEST(JsonProblem, TextThatIsNoJsonIsNamedByItsByte) {
  EXPECT_EQ(problem_in(R"({"a": 1,})"), "no JSON at byte 9: expected string literal");
  EXPECT_EQ(problem_in(R"({"a": [1, 2)"), "the JSON ends at byte 12: expected ']'");
  EXPECT_EQ(problem_in("nul"), "no JSON at byte 4");
  EXPECT_EQ(problem_in("[\"\xFF\"]"), "no JSON at byte 3: ill-formed UTF-8");
  EXPECT_EQ(problem_in("[\"a"), "no JSON at byte 4: a string has no end");
  EXPECT_EQ(problem_in("{} x"), "no JSON at byte 4: expected end of input");
}

TEST(JsonProblem, AFieldThatIsMissingIsNamed) {
  EXPECT_EQ(problem_of([] { (void)json{{"a", 1}}.at("b's").get<int>(); }),
            "there is no field 'b's'");
}

TEST(JsonProblem, AValueOfAnotherKindSaysWhatWasExpectedAndWhatIsThere) {
  EXPECT_EQ(problem_of([] { (void)json(1).get<std::string>(); }),
            "a string was expected, not a number");
  EXPECT_EQ(problem_of([] { (void)json("x").get<std::vector<int>>(); }),
            "a list was expected, not a string");
  EXPECT_EQ(problem_of([] { (void)json::array().at("a"); }), "an object was expected, not a list");
  EXPECT_EQ(problem_of([] { (void)json(nullptr).value("a", 1); }),
            "an object was expected, not null");
  EXPECT_EQ(problem_of([] { (void)json::parse("{", nullptr, false).at("a"); }),
            "an object was expected, not broken JSON");
}

TEST(JsonProblem, OtherExceptionsSpeakForThemselves) {
  EXPECT_EQ(json_problem(std::runtime_error("[no] tag")), "[no] tag");
}

TEST(JsonProblem, NoDamageBringsTheLibrarysOwnWords) {
  const std::string whole = R"({"a": [1, -2.5e3, "b\n\u00e9"], "c": {"d": null, "e": true}})";
  for (std::size_t at = 0; at < whole.size(); ++at) {
    for (const char bad : {'\0', '\xFF', '"', '{', ']', '\\', 'x'}) {
      std::string text = whole;
      text[at] = bad;
      const std::string problem = problem_in(text);
      EXPECT_EQ(problem.find("exception"), std::string::npos) << problem;
      EXPECT_EQ(problem.find("parse error"), std::string::npos) << problem;
    }
  }
}

}  // namespace
}  // namespace ponder
