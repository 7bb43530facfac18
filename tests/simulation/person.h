#pragma once

#include "runtime/agent/approval.h"
#include "runtime/agent/question.h"
#include "tests/simulation/run.h"

namespace ponder::simulation {

/// A person who is asked for approvals and answers: at times slow, away, or writing nonsense.
class SimulatedPerson final : public runtime::Approver, public runtime::Respondent {
 public:
  explicit SimulatedPerson(Run& run) : run_(&run) {}
  boost::asio::awaitable<Result<runtime::ApprovalAnswer>> ask(
      runtime::ApprovalQuestion question) override;
  boost::asio::awaitable<Result<std::string>> answer(runtime::PersonQuestion question) override;

 private:
  /// The session that asks: the person's own, or a sub-agent's below it.
  SessionFacts& asker(const std::string& sub_agent);
  /// False when the question was withdrawn before the person came.
  boost::asio::awaitable<bool> come();

  Run* run_;
};

}  // namespace ponder::simulation
