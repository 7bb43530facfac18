#include "tools/environment_check.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <memory>
#include <set>
#include <utility>

#include "tools/detail/random_play.h"
#include "tools/player.h"

namespace ponder::tools {
namespace {

constexpr std::size_t kProblemsMax = 100;
constexpr std::uint32_t kRepeatedWorlds = 2;  // that are built once more and compared
constexpr std::uint32_t kRepeatedTasks = 10;  // whose calls are made once more and compared

/// One environment under test, world after world.
class Check {
 public:
  Check(const CheckOptions& options, boost::asio::any_io_executor pool)
      : options_(options), pool_(std::move(pool)) {}

  Result<CheckReport> run() {
    for (std::uint32_t i = 0; i < options_.num_tasks; ++i) {
      const std::uint64_t seed = options_.task_seed + i;
      PONDER_CHECK(enter_world_of(seed));
      task_index_ = i;
      where_ = fmt::format("task {}", seed);
      const Status done = check_task(seed);
      if (!done) problem(done.error().message);
    }
    finish();
    return std::move(report_);
  }

 private:
  void problem(const std::string& what) {
    if (report_.problems.size() < kProblemsMax) report_.problems.push_back(where_ + ": " + what);
  }

  Status enter_world_of(std::uint64_t task_seed) {
    const std::uint64_t seed = options_.world_seed_of ? options_.world_seed_of(task_seed) : 1;
    if (environment_ && environment_->world().seed == seed) return {};
    WorldOptions world = options_.world;
    world.seed = seed;
    player_.reset();
    PONDER_TRY(environment_, Environment::open(world, pool_));
    where_ = fmt::format("world {}", seed);
    ++report_.num_worlds;
    if (report_.num_worlds > kRepeatedWorlds) return {};
    PONDER_TRY(const auto twin, Environment::open(world, pool_));
    PONDER_TRY(const std::string one, environment_->dump());
    PONDER_TRY(const std::string other, twin->dump());
    if (one != other) problem("built again, it is another world");
    return {};
  }

  void check_declarations() {
    const EnvironmentCard& card = environment_->card();
    const Registry& registry = player_->registry();
    report_.num_tools = static_cast<std::uint32_t>(registry.specs().size());
    report_.mutants_rejected_min = card.mutants_rejected_min;
    const std::string task = std::exchange(where_, environment_->name());
    if (card.instructions.empty() && !card.is_project) problem("it has no instructions");
    if (registry.specs().empty()) problem("it has no tools");
    if (!card.has_solver && !card.has_oracle) problem("it has neither solve() nor oracle()");
    for (const context::ToolSpec& spec : registry.specs()) {
      if (registry.find(spec.name)->effect() == Effect::irreversible) {
        problem(
            fmt::format("tool '{}' declares no effect, or an irreversible one: sessions could "
                        "not go on after a crash in it",
                        spec.name));
      }
    }
    where_ = task;
  }

  /// Begins the task anew. The tools of a project are those of its task.
  Status begin() {
    player_.reset();
    PONDER_CHECK(environment_->begin(task_));
    PONDER_TRY(player_, Player::make(*environment_));
    return {};
  }

  Status check_task(std::uint64_t seed) {
    PONDER_TRY(task_, environment_->task(seed));
    PONDER_TRY(const Task again, environment_->task(seed));
    if (again.json != task_.json) problem("drawn again, it is another task");
    if (task_.text.empty()) problem("it has no text");
    ++report_.kinds[task_.kind];
    const auto& kinds = environment_->card().kinds;
    if (!kinds.empty() && std::find(kinds.begin(), kinds.end(), task_.kind) == kinds.end()) {
      problem(fmt::format("its kind '{}' is not one of the declared ones: {}", task_.kind,
                          fmt::join(kinds, ", ")));
    }
    PONDER_CHECK(begin());
    if (task_index_ == 0) check_declarations();
    solution_ = {};
    if (environment_->card().has_solver) {
      PONDER_TRY(solution_, environment_->solve());
      if (!solution_.is_feasible) return check_infeasible();
    }
    PONDER_TRY(const Judgement idle, environment_->judge());
    report_.empty.add(idle.is_solved);
    if (idle.is_solved) problem("who submits nothing solves it");
    calls_.clear();
    PONDER_CHECK(environment_->card().has_oracle ? check_oracle() : check_solver());
    note_difficulty();
    PONDER_CHECK(check_mutants(seed));
    return try_random(seed);
  }

  Status check_infeasible() {
    ++report_.num_infeasible;
    if (!environment_->card().has_oracle) return {};
    PONDER_TRY(calls_, environment_->oracle());
    PONDER_TRY(const Judgement judged, play(calls_));
    if (!judged.is_solved) problem("the oracle does not solve it: " + judged.detail);
    return {};
  }

  /// Begins the task anew, makes the calls, and judges.
  Result<Judgement> play(const std::vector<context::ToolCall>& calls) {
    PONDER_CHECK(begin());
    last_error_.clear();
    for (std::size_t i = 0; i < calls.size(); ++i) {
      PONDER_TRY(const ToolOutput output, player_->call(calls[i], fmt::format("check/{}", i)));
      if (output.is_error) last_error_ = calls[i].name + ": " + output.content;
    }
    return environment_->judge();
  }

  Status check_oracle() {
    PONDER_TRY(calls_, environment_->oracle());
    PONDER_TRY(const Judgement judged, play(calls_));
    report_.oracle.add(judged.is_solved);
    if (!judged.is_solved) {
      problem(fmt::format("the oracle does not solve it: {}{}{}", judged.detail,
                          last_error_.empty() ? "" : "; ", last_error_));
    }
    if (task_index_ >= kRepeatedTasks) return {};
    PONDER_TRY(const std::string world, environment_->dump());
    PONDER_TRY(const Judgement ignored, play(calls_));
    PONDER_TRY(const std::string again, environment_->dump());
    if (world != again) problem("the same calls, made again, lead to another world");
    return check_repetition();
  }

  /// An idempotent call that is made twice under one key changes nothing the second time.
  Status check_repetition() {
    PONDER_CHECK(begin());
    for (std::size_t i = 0; i < calls_.size(); ++i) {
      const Tool* tool = player_->registry().find(calls_[i].name);
      const std::string key = fmt::format("check/{}", i);
      PONDER_TRY(const ToolOutput output, player_->call(calls_[i], key));
      const bool is_meant =
          tool != nullptr && tool->effect() == Effect::idempotent && !output.is_error;
      if (!is_meant) continue;
      PONDER_TRY(const std::string once, environment_->dump());
      PONDER_TRY(const ToolOutput ignored, player_->call(calls_[i], key));
      PONDER_TRY(const std::string twice, environment_->dump());
      if (once != twice) {
        problem(fmt::format("{} calls itself idempotent; made twice it changes the world twice",
                            calls_[i].name));
      }
    }
    return {};
  }

  Status check_solver() {
    PONDER_TRY(const Verification verified, environment_->verify(solution_.answer_json));
    report_.oracle.add(verified.is_ok);
    if (!verified.is_ok) {
      problem("the solver's answer is refused: " +
              (verified.violations.empty() ? "" : verified.violations.front()));
    }
    return {};
  }

  void note_difficulty() {
    if (!task_.difficulty) return;
    DifficultyLevel& level = report_.levels[*task_.difficulty];
    ++level.tasks;
    level.effort += task_.effort.value_or(static_cast<double>(calls_.size()));
  }

  Status check_mutants(std::uint64_t seed) {
    RandomNumbers random(seed);
    for (std::uint32_t i = 0; i < options_.mutants_per_task; ++i) {
      if (environment_->card().has_oracle) {
        PONDER_CHECK(check_changed_calls(random));
      } else {
        PONDER_CHECK(check_changed_answer(random));
      }
    }
    return {};
  }

  /// The oracle's calls with one that has an effect left out, or with other arguments.
  Status check_changed_calls(RandomNumbers& random) {
    std::vector<std::size_t> effective;
    for (std::size_t i = 0; i < calls_.size(); ++i) {
      const Tool* tool = player_->registry().find(calls_[i].name);
      if (tool != nullptr && tool->effect() != Effect::pure) effective.push_back(i);
    }
    if (effective.empty()) return {};
    const std::size_t chosen = effective[random.below(effective.size())];
    std::vector<context::ToolCall> calls = calls_;
    PONDER_TRY(const Json arguments, parse_json(calls[chosen].arguments));
    const Json changed = mutated(arguments, random);
    if (changed == arguments || random.chance(25)) {
      calls.erase(calls.begin() + static_cast<std::ptrdiff_t>(chosen));
    } else {
      calls[chosen].arguments = dump_json(changed);
    }
    PONDER_TRY(const Judgement judged, play(calls));
    report_.mutants.add(!judged.is_solved);
    return {};
  }

  Status check_changed_answer(RandomNumbers& random) {
    PONDER_TRY(const Json answer, parse_json(solution_.answer_json));
    const Json changed = mutated(answer, random);
    if (changed == answer) return {};
    const auto verified = environment_->verify(dump_json(changed));
    const bool is_misfit = !verified && verified.error().code == Errc::invalid_argument;
    if (!verified && !is_misfit) return tl::unexpected<Error>(verified.error());
    report_.mutants.add(is_misfit || !verified->is_ok);
    return {};
  }

  Status try_random(std::uint64_t seed) {
    if (player_->registry().specs().empty()) return {};
    PONDER_CHECK(begin());
    RandomAgent agent(player_->registry().specs(), seed);
    agent.read(task_.text);
    for (std::uint32_t i = 0; i < options_.random_calls; ++i) {
      PONDER_TRY(const ToolOutput output,
                 player_->call(agent.next_call(), fmt::format("random/{}", i)));
      agent.read(output.content);
    }
    PONDER_TRY(const Judgement judged, environment_->judge());
    report_.random.add(judged.is_solved);
    return {};
  }

  void finish() {
    where_ = "all tasks";
    if (report_.num_infeasible > 0 && report_.oracle.total == 0) {
      problem("the solver finds none of the tasks feasible");
    }
    if (report_.mutants.total > 0 && report_.mutants.share() < report_.mutants_rejected_min) {
      problem(fmt::format("{} of {} changed solutions were refused, {:.0f}% must be",
                          report_.mutants.hits, report_.mutants.total,
                          report_.mutants_rejected_min * 100));
    }
    const DifficultyLevel* below = nullptr;
    for (const auto& [difficulty, level] : report_.levels) {
      if (below != nullptr && level.effort_mean() < below->effort_mean()) {
        problem(
            fmt::format("difficulty {} takes an effort of {:.2f} on average, less than the "
                        "level below it: {:.2f}",
                        difficulty, level.effort_mean(), below->effort_mean()));
      }
      below = &level;
    }
  }

  const CheckOptions& options_;
  boost::asio::any_io_executor pool_;
  CheckReport report_;
  std::unique_ptr<Environment> environment_;
  std::unique_ptr<Player> player_;
  std::string where_;
  std::uint32_t task_index_ = 0;
  Task task_;
  Solution solution_;
  std::vector<context::ToolCall> calls_;  // the oracle's
  std::string last_error_;                // of the calls played last
};

}  // namespace

Result<CheckReport> check_environment(const CheckOptions& options,
                                      boost::asio::any_io_executor pool) {
  return Check(options, std::move(pool)).run();
}

std::string check_report_json(const std::string& name, const CheckReport& report) {
  const auto tally = [](const Tally& t) {
    return Json{{"hits", t.hits}, {"total", t.total}, {"share", t.share()}};
  };
  Json levels = Json::object();
  for (const auto& [difficulty, level] : report.levels) {
    levels[std::to_string(difficulty)] = {{"tasks", level.tasks},
                                          {"effort_mean", level.effort_mean()}};
  }
  return dump_json({{"environment", name},
                    {"problems", report.problems},
                    {"tools", report.num_tools},
                    {"worlds", report.num_worlds},
                    {"infeasible", report.num_infeasible},
                    {"oracle", tally(report.oracle)},
                    {"empty", tally(report.empty)},
                    {"random", tally(report.random)},
                    {"mutants_refused", tally(report.mutants)},
                    {"mutants_refused_min", report.mutants_rejected_min},
                    {"kinds", report.kinds},
                    {"difficulty", std::move(levels)}});
}

}  // namespace ponder::tools
