#pragma once

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "runtime/agent/approval.h"
#include "runtime/session/event.h"
#include "runtime/session/session_store.h"
#include "tests/simulation/random.h"

namespace ponder::simulation {

/// What can go wrong, or just come at the wrong time.
enum class Fault : std::uint8_t {
  slow_tool,
  dead_tool,      // never answers
  stubborn_tool,  // goes on after it was cancelled, and then answers all the same
  flooding_tool,  // much more output than a result may have
  foreign_bytes,  // broken UTF-8 and spelled special tokens, from tools, models and people
  throwing_tool,
  failing_tool,    // an error of any code
  malformed_call,  // arguments that are no object, of the wrong type, or damaged markup
  unknown_tool,
  duplicate_call,
  many_calls,
  reasoning_only,
  truncated_answer,
  endless_model,  // calls for ever, or tokens up to the limit
  slow_model,
  dead_model,
  failing_model,
  network,       // an endpoint that refuses, breaks off, stays silent or sends garbage
  other_model,   // the session goes on with a model of another family
  small_window,  // the prompt has to be cut
  slow_disk,
  full_disk,
  failing_writes,
  failing_syncs,
  crash,  // of the program
  power_cut,
  cancel,  // of the turn, or of the coroutine that runs it
  steer,
  send,
  pin,
  fork,
  absent_person,  // a question is answered late or never
  rival,          // another process works on the same sessions
  clock_jump,     // the wall clock
  small_log,      // SQLite moves its log into the file all the time
  asking_tool,    // asks the person in mid-call, keeps notes and values
  sub_agents,     // the model hands tasks to other agents, forks of itself among them
};
inline constexpr std::size_t kNumFaults = 37;

std::string_view fault_name(Fault fault);
/// `not_found` with the list of names.
Result<Fault> fault_of(std::string_view name);

/// One run, before it begins: what is there and what may happen to it. All of it follows from the
/// seed, apart from faults that were left out by hand.
struct Plan {
  explicit Plan(std::uint64_t seed);

  bool has(Fault fault) const { return faults[static_cast<std::size_t>(fault)]; }
  /// Whether the fault strikes at an opportunity.
  bool strikes(Fault fault, Random& random) const {
    return has(fault) && random.chance(percent[static_cast<std::size_t>(fault)]);
  }
  /// The names of the faults, in a line.
  std::string describe() const;

  std::uint64_t seed;
  std::bitset<kNumFaults> faults;
  std::array<std::uint8_t, kNumFaults> percent;  // at each opportunity
  std::size_t num_sessions = 1;
  std::uint32_t turns = 1;  // of each session
  runtime::Synchronous synchronous = runtime::Synchronous::full;
  runtime::ApprovalMode approval = runtime::ApprovalMode::ask;
  std::int64_t answer_ms_max = 0;
  runtime::Limits limits;
  runtime::ContextBudget budget;
  std::uint32_t window = 0;  // in tokens, of models that make their prompts
};

}  // namespace ponder::simulation
