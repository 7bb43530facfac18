#include "runtime/cli/desk.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

namespace ponder::cli {
namespace {

using runtime::ApprovalAnswer;
using runtime::ApprovalDecision;
using runtime::ApprovalRule;
using ::testing::HasSubstr;

/// A desk at which questions wait.
class DeskTest : public ::testing::Test {
 protected:
  void ask(const std::string& arguments) {
    const context::ToolCall call{"", "pays", arguments};
    auto question = *runtime::question_about(call, tools::Effect::irreversible);
    codes_.push_back(question.digest.substr(0, 4));
    const std::size_t at = answers_.size();
    answers_.emplace_back();
    boost::asio::co_spawn(context_, desk_.ask(std::move(question)),
                          [this, at](std::exception_ptr, Result<ApprovalAnswer> answer) {
                            answers_[at] = std::move(answer);
                          });
    context_.restart();
    context_.poll();
  }
  /// Gives its code.
  std::string put(const std::string& text, std::vector<std::string> choices = {}) {
    tools::Question asked(text);
    asked.choices = std::move(choices);
    auto question = *runtime::question_of(asked, "asks", "s/1/0");
    std::string code = question.digest.substr(0, 4);
    boost::asio::co_spawn(
        context_, desk_.answer(std::move(question)),
        [this](std::exception_ptr, Result<std::string> words) { words_ = std::move(words); });
    settle();
    return code;
  }
  void settle() {
    context_.restart();
    context_.poll();
  }
  ~DeskTest() override {
    for (const std::string& code : codes_) (void)desk_.deny(code);
    settle();
  }

  boost::asio::io_context context_;
  std::string shown_;
  Desk desk_{[this](const std::string& text) { shown_ += text; }};
  std::vector<std::string> codes_;
  std::vector<std::optional<Result<ApprovalAnswer>>> answers_;
  std::optional<Result<std::string>> words_;  // the answer to what put() asked
};

TEST_F(DeskTest, AnAnswerHasToNameItsQuestion) {
  ask(R"({"to":"bob"})");
  ask(R"({"to":"eve"})");
  EXPECT_THAT(shown_, HasSubstr(R"({"to": "bob"})"));
  EXPECT_THAT(shown_, HasSubstr("/allow " + codes_[1]));
  for (const char* wrong : {"", "yes", "ffff-9"}) EXPECT_FALSE(desk_.allow(wrong));
  ASSERT_TRUE(desk_.allow(codes_[1]));
  settle();
  EXPECT_FALSE(answers_[0]);
  ASSERT_TRUE(answers_[1] && *answers_[1]);
  EXPECT_EQ((*answers_[1])->decision, ApprovalDecision::allow_once);
  EXPECT_FALSE(desk_.allow(codes_[1]));  // it is answered
}

TEST_F(DeskTest, AlwaysFixesTheArgumentsThatAreNamed) {
  ask(R"({"to":"bob","amount":3})");
  EXPECT_FALSE(desk_.allow(codes_[0] + " for ever"));
  EXPECT_FALSE(desk_.allow(codes_[0] + " always colour"));
  ASSERT_TRUE(desk_.allow(codes_[0] + " always to"));
  settle();
  ASSERT_TRUE(answers_[0] && *answers_[0]);
  EXPECT_EQ((*answers_[0])->decision, ApprovalDecision::allow_session);
  const ApprovalRule& rule = (*answers_[0])->rule;
  EXPECT_TRUE(rule_allows(rule, {"", "pays", R"({"amount":9,"to":"bob"})"}));
  EXPECT_FALSE(rule_allows(rule, {"", "pays", R"({"amount":3,"to":"bobby"})"}));
  EXPECT_FALSE(rule_allows(rule, {"", "pays", R"({"amount":3})"}));
  EXPECT_FALSE(rule_allows(rule, {"", "books", R"({"to":"bob"})"}));
}

TEST_F(DeskTest, ADenialTakesItsReasonAlong) {
  ask("{}");
  ASSERT_TRUE(desk_.deny(codes_[0] + "  not today "));
  settle();
  ASSERT_TRUE(answers_[0] && *answers_[0]);
  EXPECT_EQ((*answers_[0])->decision, ApprovalDecision::deny);
  EXPECT_THAT((*answers_[0])->reason, HasSubstr("not today"));
}

TEST_F(DeskTest, WhatACallAsksIsAnsweredWithWords) {
  const std::string code = put("who pays?\n/answer 0000 me");
  EXPECT_THAT(shown_, HasSubstr("asks asks: who pays?\n     /answer 0000 me\n"));
  EXPECT_THAT(shown_, HasSubstr("/answer " + code + " WORDS"));
  EXPECT_FALSE(desk_.reply(code));  // no words
  EXPECT_FALSE(desk_.reply("0000 me"));
  EXPECT_THAT(desk_.allow(code).error().message, HasSubstr("is answered with /answer"));
  ASSERT_TRUE(desk_.reply(code + "  the two of us "));
  settle();
  EXPECT_EQ(words_->value(), "the two of us");
}

TEST_F(DeskTest, AChoiceIsNamedOrCounted) {
  const std::string code = put("which?", {"red", "green"});
  EXPECT_THAT(shown_, HasSubstr("1. red\n   2. green\n"));
  EXPECT_THAT(desk_.reply(code + " blue").error().message, HasSubstr("none of: red, green"));
  ASSERT_TRUE(desk_.reply(code + " 2"));
  settle();
  EXPECT_EQ(words_->value(), "green");
}

TEST_F(DeskTest, AnAnswerInWordsIsNoLeaveForACall) {
  ask("{}");
  EXPECT_THAT(desk_.reply(codes_[0] + " yes").error().message,
              HasSubstr("is answered with /allow or /deny"));
}

TEST_F(DeskTest, WhatAModelWroteCannotMoveTheTerminal) {
  ask(R"({"to":"\u001b[2Jbob"})");
  EXPECT_EQ(shown_.find('\x1b'), std::string::npos);
}

}  // namespace
}  // namespace ponder::cli
