#include "tests/simulation/person.h"

#include <boost/asio/this_coro.hpp>

namespace ponder::simulation {
namespace asio = boost::asio;
using runtime::ApprovalAnswer;
using runtime::ApprovalDecision;

SessionFacts& SimulatedPerson::asker(const std::string& sub_agent) {
  // A session that has not begun has no id either.
  if (sub_agent.empty()) return *run_->session;
  return *run_->witness->find(sub_agent);
}

asio::awaitable<bool> SimulatedPerson::come() {
  const std::chrono::milliseconds patience(run_->scene->plan.answer_ms_max);
  const bool is_away = run_->strikes(Fault::absent_person);
  Random& random = run_->random;
  const auto wait = is_away ? random.time_to(3 * patience) : random.time_to(patience / 2);
  const bool has_come = co_await run_->scene->pause(wait);
  co_return has_come;
}

asio::awaitable<Result<std::string>> SimulatedPerson::answer(runtime::PersonQuestion question) {
  co_await asio::this_coro::throw_if_cancelled(false);
  Inside inside(run_->live_questions);
  const bool has_come = co_await come();
  if (!has_come) co_return fail(Errc::cancelled, "withdrawn");
  Random& random = run_->random;
  const bool is_foreign = run_->strikes(Fault::foreign_bytes);
  if (is_foreign && random.chance(30)) co_return fail(Errc::internal, foreign_text(random));
  std::string words = is_foreign ? foreign_text(random) : random.pick<std::string>({"yes", "2"});
  const auto chosen = runtime::choose_answer(question.choices, words);
  if (chosen && !run_->is_dead()) asker(question.sub_agent).said.insert(*chosen);
  co_return words;
}

asio::awaitable<Result<ApprovalAnswer>> SimulatedPerson::ask(runtime::ApprovalQuestion question) {
  co_await asio::this_coro::throw_if_cancelled(false);
  Inside inside(run_->live_questions);
  const bool has_come = co_await come();
  if (!has_come) co_return fail(Errc::cancelled, "withdrawn");
  Random& random = run_->random;
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
  if (!run_->is_dead()) asker(question.sub_agent).allowed.insert(question.digest);
  co_return answer;
}

}  // namespace ponder::simulation
