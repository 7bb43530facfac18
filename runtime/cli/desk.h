#pragma once

#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <list>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "base/result.h"
#include "runtime/agent/approval.h"
#include "runtime/agent/question.h"

namespace ponder::cli {

/// Puts what needs a person to the one at the terminal: whether calls may run, and what calls ask.
///
/// Each question has a code, the beginning of its digest, and an answer has to name it: what was
/// typed for one call can never be taken for another that came up meanwhile. Answers come from
/// allow(), deny() and answer() alone, which only what a person types reaches.
///
/// Thread: the session's executor.
class Desk final : public runtime::Approver, public runtime::Respondent {
 public:
  /// `show` prints text for the person.
  explicit Desk(std::function<void(const std::string&)> show) : show_(std::move(show)) {}

  boost::asio::awaitable<Result<runtime::ApprovalAnswer>> ask(
      runtime::ApprovalQuestion question) override;
  boost::asio::awaitable<Result<std::string>> answer(runtime::PersonQuestion question) override;

  /// Whether a call may run. `CODE`: once. `CODE always [ARGUMENT...]`: for the session, while
  /// these arguments stay as they are. Fails with not_found when no such question has the code, or
  /// no argument that name.
  Status allow(std::string_view words);
  /// `CODE [REASON]`.
  Status deny(std::string_view words);
  /// What a call asked: `CODE WORDS`. Fails with not_found when no such question has the code, with
  /// invalid_argument when the words are no answer to it.
  Status reply(std::string_view words);

 private:
  using Question = std::variant<runtime::ApprovalQuestion, runtime::PersonQuestion>;
  using Answer = std::variant<runtime::ApprovalAnswer, std::string>;
  struct Pending {
    Pending(Question question, std::string code, const boost::asio::any_io_executor& executor)
        : question(std::move(question)),
          code(std::move(code)),
          arrived(executor, boost::asio::steady_timer::time_point::max()) {}
    Question question;
    std::string code;
    boost::asio::steady_timer arrived;  // never expires; cancelled by the answer
    std::optional<Answer> answer;       // of the question's kind
  };
  /// Shows the question and waits for its answer.
  boost::asio::awaitable<Result<Answer>> wait(Question question);
  std::string code_for(const std::string& digest) const;
  /// The question of kind Q that has this code and waits.
  template <class Q>
  Result<Pending*> find(std::string_view code);
  static void settle(Pending& pending, Answer answer);

  std::function<void(const std::string&)> show_;
  std::list<Pending> pending_;
};

}  // namespace ponder::cli
