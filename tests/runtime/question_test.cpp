#include "runtime/agent/question.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ponder::runtime {
namespace {

using ::testing::HasSubstr;

const std::vector<std::string> kColours = {"red", "green", "2"};

TEST(ChooseAnswer, WithoutChoicesTakesAnyWordsButNone) {
  EXPECT_EQ(*choose_answer({}, "  as you like \n"), "as you like");
  EXPECT_EQ(*choose_answer({}, "a\xFF"), "a\xEF\xBF\xBD");
  EXPECT_EQ(choose_answer({}, std::string(kAnswerBytesMax + 9, 'a'))->size(), kAnswerBytesMax);
  EXPECT_EQ(choose_answer({}, " \t").error().code, Errc::invalid_argument);
}

TEST(ChooseAnswer, TakesAChoiceByItsTextAndThenByItsPlace) {
  EXPECT_EQ(*choose_answer(kColours, " green "), "green");
  EXPECT_EQ(*choose_answer(kColours, "1"), "red");
  EXPECT_EQ(*choose_answer(kColours, "2"), "2");
  EXPECT_EQ(*choose_answer(kColours, "3"), "2");
  for (const char* wrong : {"", "0", "4", "Red", "red green", "01"}) {
    const auto answer = choose_answer(kColours, wrong);
    ASSERT_FALSE(answer) << wrong;
    EXPECT_EQ(answer.error().code, Errc::invalid_argument);
  }
  EXPECT_THAT(choose_answer(kColours, "blue").error().message,
              HasSubstr("'blue' is none of: red, green, 2"));
}

TEST(QuestionOf, CleansTextsAndRefusesWhatIsBeyondTheBounds) {
  tools::Question question("which\xFF?");
  question.choices = {" one ", "two"};
  const auto posed = question_of(question, "tool", "call/1/0");
  ASSERT_TRUE(posed) << posed.error().message;
  EXPECT_EQ(posed->text, "which\xEF\xBF\xBD?");
  EXPECT_EQ(posed->choices, (std::vector<std::string>{"one", "two"}));
  const auto refused = [](std::string text, std::vector<std::string> choices) {
    tools::Question question(std::move(text));
    question.choices = std::move(choices);
    const auto posed = question_of(question, "tool", "call/1/0");
    return !posed && posed.error().code == Errc::invalid_argument;
  };
  EXPECT_TRUE(refused(" ", {}));
  EXPECT_TRUE(refused(std::string(kQuestionBytesMax + 1, 'a'), {}));
  EXPECT_TRUE(refused("which?", std::vector<std::string>(kChoicesMax + 1, "a")));
  EXPECT_TRUE(refused("which?", {"a", " "}));
  EXPECT_TRUE(refused("which?", {std::string(kChoiceBytesMax + 1, 'a')}));
}

TEST(QuestionOf, TheDigestIsThatOfTheCallAndAllOfTheQuestion) {
  const auto digest = [](const char* text, std::vector<std::string> choices, const char* call) {
    tools::Question question(text);
    question.choices = std::move(choices);
    return question_of(question, "tool", call)->digest;
  };
  const std::string one = digest("which?", {"a", "b"}, "s/1/0");
  EXPECT_EQ(one, digest("which?", {"a", "b"}, "s/1/0"));
  EXPECT_NE(one, digest("which?", {"a", "b"}, "s/1/1"));
  EXPECT_NE(one, digest("which?", {"b", "a"}, "s/1/0"));
  EXPECT_NE(one, digest("why?", {"a", "b"}, "s/1/0"));
}

TEST(AnswerEvent, WhatARespondentGivesThatIsNoAnswerIsNone) {
  PersonQuestion question;
  question.choices = kColours;
  const auto end = [&](Result<std::string> answer) {
    return answer_event({}, question, answer).end;
  };
  EXPECT_EQ(end("red"), QuestionEnd::answered);
  EXPECT_EQ(end("blue"), QuestionEnd::unavailable);
  EXPECT_EQ(end(fail(Errc::deadline, "late")), QuestionEnd::expired);
  EXPECT_EQ(end(fail(Errc::internal, "lost")), QuestionEnd::unavailable);
  EXPECT_EQ(answer_of(answer_event({}, question, fail(Errc::deadline, ""))).error().code,
            Errc::deadline);
  EXPECT_EQ(answer_of(answer_event({}, question, fail(Errc::internal, ""))).error().code,
            Errc::unavailable);
}

}  // namespace
}  // namespace ponder::runtime
