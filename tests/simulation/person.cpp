#include "tests/simulation/person.h"

#include <boost/asio/this_coro.hpp>

namespace ponder::simulation {
namespace asio = boost::asio;
using runtime::ApprovalAnswer;
using runtime::ApprovalDecision;

asio::awaitable<Result<ApprovalAnswer>> SimulatedPerson::ask(runtime::ApprovalQuestion question) {
  co_await asio::this_coro::throw_if_cancelled(false);
  Inside inside(run_->live_questions);
  Random& random = run_->random;
  const std::chrono::milliseconds patience(run_->scene->plan.answer_ms_max);
  const bool is_away = run_->strikes(Fault::absent_person);
  const auto wait = is_away ? random.time_to(3 * patience) : random.time_to(patience / 2);
  const bool has_come = co_await run_->scene->pause(wait);
  if (!has_come) co_return fail(Errc::cancelled, "withdrawn");
  ApprovalAnswer answer;
  const std::uint64_t word = random.below(10);
  if (word < 2 && run_->strikes(Fault::foreign_bytes)) {
    co_return fail(Errc::internal, foreign_text(random));
  }
  if (word < 3) {
    answer.reason = run_->strikes(Fault::foreign_bytes) ? foreign_text(random) : "not today";
    co_return answer;
  }
  answer.decision = ApprovalDecision::allow_once;
  if (word > 7) {
    auto rule = runtime::rule_for(question, {"x"});
    if (rule) answer.rule = std::move(*rule);
    if (rule) answer.decision = ApprovalDecision::allow_session;
  }
  if (!run_->is_dead()) run_->session->allowed.insert(question.digest);
  co_return answer;
}

}  // namespace ponder::simulation
