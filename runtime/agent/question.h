#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "runtime/session/event.h"
#include "tools/tool.h"

/// What a call asks a person in the middle of its work (tools::CallServices::ask).
///
/// The question goes to a Respondent, which is a way to a person and to nobody else: neither the
/// model nor a tool's output can reach it. Question and answer are events of the call.
namespace ponder::runtime {

inline constexpr std::size_t kQuestionBytesMax = std::size_t{8} << 10;
inline constexpr std::size_t kChoicesMax = 20;
inline constexpr std::size_t kChoiceBytesMax = 200;
inline constexpr std::size_t kAnswerBytesMax = std::size_t{64} << 10;  // what is longer is cut

struct PersonQuestion {
  std::string digest;  // of the call and the question; the same when it is asked again
  std::string tool;
  std::string text;
  std::vector<std::string> choices;  // empty: any words
  std::string sub_agent;             // the session that asks, when it is one; else empty
};

/// The way to a person.
class Respondent {
 public:
  virtual ~Respondent() = default;
  /// Waits for the person; several questions may wait at once. Gives what choose_answer() gives.
  /// Runs on the session's executor. Cancelling it withdraws the question and gives
  /// Errc::cancelled.
  virtual boost::asio::awaitable<Result<std::string>> answer(PersonQuestion question) = 0;
};

/// How an agent comes by answers.
struct QuestionPolicy {
  Respondent* respondent = nullptr;      // outlives the agent; nullptr: nobody can be asked
  std::int64_t answer_ms_max = 600'000;  // then the question has expired
};

/// The question of the tool, with clean texts and a digest. `call` is the call's idempotency key.
/// `invalid_argument` when it is empty or beyond the bounds above.
Result<PersonQuestion> question_of(const tools::Question& question, const std::string& tool,
                                   const std::string& call);

/// What the words mean as an answer: any words, or the choice that they name, by its text or its
/// place from 1. `invalid_argument` for no words and for what is no choice.
Result<std::string> choose_answer(const std::vector<std::string>& choices, std::string_view words);

/// How the question ended; `event` names it. Requires: it was not withdrawn (Errc::cancelled).
QuestionAnswered answer_event(QuestionAnswered event, const PersonQuestion& question,
                              const Result<std::string>& answer);

/// What the tool that asked gets.
Result<std::string> answer_of(const QuestionAnswered& event);

}  // namespace ponder::runtime
