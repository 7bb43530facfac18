#include "tests/simulation/plan.h"

#include <fmt/format.h>

#include <vector>

namespace ponder::simulation {
namespace {

constexpr std::array<std::string_view, kNumFaults> kNames = {
    "slow_tool",     "dead_tool",      "stubborn_tool",  "flooding_tool", "foreign_bytes",
    "throwing_tool", "failing_tool",   "malformed_call", "unknown_tool",  "duplicate_call",
    "many_calls",    "reasoning_only", "truncated",      "endless_model", "slow_model",
    "dead_model",    "failing_model",  "network",        "other_model",   "small_window",
    "slow_disk",     "full_disk",      "failing_writes", "failing_syncs", "crash",
    "power_cut",     "cancel",         "steer",          "send",          "pin",
    "fork",          "absent_person",  "rival",          "clock_jump",    "small_log",
    "asking_tool",   "sub_agents"};

}  // namespace

std::string_view fault_name(Fault fault) { return kNames[static_cast<std::size_t>(fault)]; }

Result<Fault> fault_of(std::string_view name) {
  std::string known;
  for (std::size_t i = 0; i < kNumFaults; ++i) {
    if (kNames[i] == name) return static_cast<Fault>(i);
    known += fmt::format(" {}", kNames[i]);
  }
  return fail(Errc::not_found, fmt::format("no fault '{}'; there are:{}", name, known));
}

Plan::Plan(std::uint64_t seed) : seed(seed) {
  Random random(seed, "plan");
  // A run with everything at once shows less than one in which a few things have room to happen.
  const unsigned density = static_cast<unsigned>(random.pick<int>({10, 30, 60}));
  const auto draw = [&](std::size_t i, Random& from) {
    faults[i] = from.chance(density);
    percent[i] = static_cast<std::uint8_t>(from.pick<int>({5, 15, 40}));
  };
  constexpr auto kAsking = static_cast<std::size_t>(Fault::asking_tool);
  for (std::size_t i = 0; i < kAsking; ++i) draw(i, random);
  // These came later: what other seeds tell stays as it was.
  Random later(seed, "asking_tool");
  draw(kAsking, later);
  Random latest(seed, "sub_agents");
  draw(static_cast<std::size_t>(Fault::sub_agents), latest);
  num_sessions = 1 + random.below(3);
  if (random.chance(5) && !has(Fault::rival)) num_sessions = 12;
  turns = static_cast<std::uint32_t>(1 + random.below(3));
  synchronous = random.chance(50) ? runtime::Synchronous::full : runtime::Synchronous::normal;
  approval = random.chance(60) ? runtime::ApprovalMode::ask : runtime::ApprovalMode::always;
  answer_ms_max = random.pick<std::int64_t>({1'000, 30'000, 600'000});
  limits.steps_max = static_cast<std::uint32_t>(random.between(2, 9));
  limits.tokens_step_max = static_cast<std::uint32_t>(random.between(200, 4000));
  limits.tokens_turn_max = static_cast<std::uint32_t>(random.between(1'000, 20'000));
  limits.calls_step_max = static_cast<std::uint32_t>(random.between(1, 6));
  limits.repeats_max = static_cast<std::uint32_t>(random.between(1, 3));
  limits.output_bytes_max = static_cast<std::uint32_t>(random.pick<int>({64, 700, 3000}));
  limits.tool_ms_max = random.pick<std::int64_t>({500, 5'000, 60'000});
  if (has(Fault::sub_agents))
    limits.agent_depth_max = 1 + static_cast<std::uint32_t>(latest.below(2));
  limits.turn_ms_max = random.pick<std::int64_t>({4'000, 60'000, 3'600'000});
  budget.strategy = random.pick<std::string>(
      {"auto", "summary", "discard-75", "discard-all", "page-out", "auto"});
  window = has(Fault::small_window) ? static_cast<std::uint32_t>(random.between(6'000, 16'000))
                                    : 1'000'000;
}

std::string Plan::describe() const {
  std::string names;
  for (std::size_t i = 0; i < kNumFaults; ++i) {
    if (faults[i]) names += fmt::format(" {}({}%)", kNames[i], percent[i]);
  }
  return fmt::format("{} sessions of {} turns, synchronous {}, approvals {};{}", num_sessions,
                     turns, synchronous == runtime::Synchronous::full ? "full" : "normal",
                     approval == runtime::ApprovalMode::ask ? "asked for" : "given",
                     names.empty() ? " no faults" : names);
}

}  // namespace ponder::simulation
