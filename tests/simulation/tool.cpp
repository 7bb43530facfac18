#include "tests/simulation/tool.h"

#include <fmt/format.h>

#include <boost/asio/this_coro.hpp>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>

#include "base/assert.h"

namespace ponder::simulation {
namespace asio = boost::asio;
using std::chrono::milliseconds;
using tools::Effect;
using tools::ToolOutput;

SimulatedTool::SimulatedTool(Run& run, std::string name, Effect effect,
                             std::vector<std::string> capabilities)
    : run_(&run), effect_(effect), capabilities_(std::move(capabilities)) {
  spec_.name = std::move(name);
  spec_.description = "a simulated tool";
  spec_.parameters = R"({"type":"object","properties":{"x":{"type":"integer"}},"required":["x"]})";
}

void SimulatedTool::take_effect(const std::string& key) {
  if (effect_ == Effect::pure || run_->is_dead()) return;
  run_->witness->fired(key, effect_);
}

asio::awaitable<bool> SimulatedTool::use_services(tools::ToolContext context) {
  Random& random = run_->random;
  tools::CallServices& services = *context.services;
  const auto foreign = [this](std::string text) {
    return run_->strikes(Fault::foreign_bytes) ? foreign_text(run_->random) : std::move(text);
  };
  services.progress(foreign("half"), 0.5);
  tools::Note note("log", foreign("a note"));
  const Status noted = co_await services.note(std::move(note));
  (void)noted;  // the disk may refuse it, as any append
  std::string key = random.pick<std::string>({"a", "b"});
  std::optional<std::string> value;
  if (random.chance(80)) value = foreign(fmt::format("{}", random.below(100)));
  const Status kept = co_await services.set_value(std::move(key), std::move(value));
  (void)kept;
  const std::uint64_t num_questions = random.below(3);
  for (std::uint32_t n = 0; n < num_questions; ++n) {
    tools::Question question(fmt::format("question {}?", n));
    if (n == 1) question.choices = {"no", "yes"};
    const auto answer = co_await services.ask(std::move(question));
    if (run_->is_dead()) co_return false;
    if (answer) run_->witness->answered(context.idempotency_key, n, *answer);
    if (!answer && answer.error().code == Errc::cancelled) co_return false;
  }
  co_return true;
}

asio::awaitable<Result<ToolOutput>> SimulatedTool::invoke(std::string arguments,
                                                          tools::ToolContext context) {
  co_await asio::this_coro::throw_if_cancelled(false);
  Inside inside(run_->live_calls);
  Random& random = run_->random;
  auto began = run_->scene->clock.now();
  const std::string& key = context.idempotency_key;
  if (!run_->is_dead()) run_->witness->called(key, spec_.name, arguments);
  const bool acts_first = random.chance(50);
  if (acts_first) take_effect(key);
  bool was_cancelled = false;
  const bool asks = run_->strikes(Fault::asking_tool);
  if (asks) {
    const bool goes_on = co_await use_services(context);
    was_cancelled = !goes_on;
    began = run_->scene->clock.now();  // what is written takes as long as the disk does
  }
  const bool is_dead = run_->strikes(Fault::dead_tool);
  const bool is_slow = run_->strikes(Fault::slow_tool);
  if (was_cancelled) {
    // It was told to stop while it waited for the person.
  } else if (is_dead) {
    Timer never(run_->scene->home.get_executor(), Clock::Instant::max());
    co_await never.wait();
    was_cancelled = true;
  } else if (is_slow || random.chance(70)) {
    const milliseconds longest(is_slow ? 2 * run_->scene->plan.limits.tool_ms_max : 200);
    const bool has_come = co_await run_->scene->pause(random.time_to(longest));
    was_cancelled = !has_come;
  }
  const Deadline deadline(context.deadline.at() + context.services->waited());
  run_->expect_in_time(deadline, began, "a tool");
  const bool is_stubborn = was_cancelled && run_->strikes(Fault::stubborn_tool);
  if (is_stubborn) {
    co_await run_->insist(random.time_to(Run::kStubbornMax));
  }
  if (was_cancelled && !is_stubborn) co_return fail(Errc::cancelled, "stopped");
  if (!acts_first) take_effect(key);
  co_return answer();
}

Result<ToolOutput> SimulatedTool::answer() {
  Random& random = run_->random;
  const std::string foreign = run_->strikes(Fault::foreign_bytes) ? foreign_text(random) : "";
  if (run_->strikes(Fault::throwing_tool)) {
    if (random.chance(20)) throw random.below(10);
    throw std::runtime_error("broken " + foreign);
  }
  if (run_->strikes(Fault::failing_tool)) {
    return fail(static_cast<Errc>(random.below(8)), "failed " + foreign);
  }
  std::string content = "done " + foreign;
  if (run_->strikes(Fault::flooding_tool)) content += std::string(random.below(30'000), 'f');
  if (random.chance(20)) content.clear();
  return ToolOutput(std::move(content), random.chance(10));
}

void add_tools(tools::Registry& registry, Run& run) {
  const Effect effects[] = {Effect::pure, Effect::idempotent, Effect::compensable,
                            Effect::irreversible, Effect::irreversible};
  for (std::size_t i = 0; i < tool_names().size(); ++i) {
    std::vector<std::string> capabilities;
    if (tool_names()[i] == "launch") capabilities.emplace_back("rockets");
    auto tool =
        std::make_unique<SimulatedTool>(run, tool_names()[i], effects[i], std::move(capabilities));
    const Status added = registry.add(std::move(tool));
    PONDER_ASSERT(added.has_value());
  }
}

const std::vector<std::string>& tool_names() {
  static const std::vector<std::string> names = {"look", "note", "book", "pay", "launch"};
  return names;
}

}  // namespace ponder::simulation
