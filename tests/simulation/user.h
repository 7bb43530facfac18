#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/async/task_group.h"
#include "runtime/agent/agent.h"
#include "tests/simulation/model.h"
#include "tests/simulation/person.h"
#include "tests/simulation/run.h"
#include "tests/simulation/tool.h"

namespace ponder::simulation {

/// What a user can do beside talking to one session.
struct UserPowers {
  runtime::SessionStore* store = nullptr;
  /// A user of the same process takes care of one more session.
  std::function<void(SessionFacts&)> adopt;
};

/// One session in one process, from the chair of the program that drives it: it opens the session,
/// has it take its turns, interferes, opens it again after errors, and checks what it can see.
class User final : public runtime::EventSink {
 public:
  User(Scene& scene, Witness& witness, ProcessFacts& process, SessionFacts& session,
       UserPowers powers, std::uint64_t seed);

  /// Until the session has had its turns or the process is dead.
  boost::asio::awaitable<void> drive();

  void on_event(const runtime::SessionId& id, const runtime::Record& record) override;
  void on_sub_agent_event(const runtime::SessionId& id, const runtime::Record& record) override;

 private:
  using Ending = std::optional<Result<runtime::TurnEnded>>;

  bool is_over() const;
  /// Opens the session where that is needed, and has it take a turn.
  boost::asio::awaitable<bool> go_on();
  boost::asio::awaitable<bool> open();
  boost::asio::awaitable<bool> start();
  bool reopen();
  runtime::AgentParts parts();
  void take_model();
  /// False when the agent is of no more use.
  boost::asio::awaitable<bool> take_turn();
  boost::asio::awaitable<void> run_agent(Ending* out, TaskGroup* meddlers);
  boost::asio::awaitable<void> meddle(TaskGroup* turn);
  boost::asio::awaitable<void> meddle_once(TaskGroup* turn);
  boost::asio::awaitable<void> fork();
  void reread_sub_agents();
  void check_ending(const runtime::TurnEnded& end, std::uint32_t turns);
  void check_error(const Error& error);
  void check_live_state();
  std::string words(const char* what);

  Run run_;
  UserPowers powers_;
  tools::Registry registry_;
  SimulatedPerson person_;
  std::unique_ptr<SimulatedModel> model_;
  std::unique_ptr<runtime::Agent> agent_;
  Clock::Instant began_;                      // the turn that runs
  std::chrono::milliseconds disk_before_{0};  // what the disks had done by then
  std::optional<Clock::Instant> cancelled_;
  bool has_rival_ = false;
  bool may_be_refused_ = false;  // an append, by a rival or the disk
  std::uint32_t failures_ = 0;   // in a row
};

}  // namespace ponder::simulation
