#pragma once

#include "runtime/approval.h"
#include "tests/simulation/run.h"

namespace ponder::simulation {

/// A person who is asked for approvals: at times slow, away, or writing nonsense.
class SimulatedPerson final : public runtime::Approver {
 public:
  explicit SimulatedPerson(Run& run) : run_(&run) {}
  boost::asio::awaitable<Result<runtime::ApprovalAnswer>> ask(
      runtime::ApprovalQuestion question) override;

 private:
  Run* run_;
};

}  // namespace ponder::simulation
