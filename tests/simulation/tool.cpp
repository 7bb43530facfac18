#include "tests/simulation/tool.h"

#include <boost/asio/this_coro.hpp>
#include <memory>
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
  spec_.parameters =
      R"({"type":"object","properties":{"x":{"type":"integer"}},"required":["x"]})";
}

void SimulatedTool::take_effect(const std::string& key) {
  if (effect_ == Effect::pure || run_->is_dead()) return;
  run_->witness->fired(key, effect_);
}

asio::awaitable<Result<ToolOutput>> SimulatedTool::invoke(std::string arguments,
                                                          tools::ToolContext context) {
  co_await asio::this_coro::throw_if_cancelled(false);
  Inside inside(run_->live_calls);
  Random& random = run_->random;
  const auto began = run_->scene->clock.now();
  const std::string& key = context.idempotency_key;
  if (!run_->is_dead()) run_->witness->called(key, spec_.name, arguments);
  const bool acts_first = random.chance(50);
  if (acts_first) take_effect(key);
  bool was_cancelled = false;
  const bool is_dead = run_->strikes(Fault::dead_tool);
  const bool is_slow = run_->strikes(Fault::slow_tool);
  if (is_dead) {
    Timer never(run_->scene->home.get_executor(), Clock::Instant::max());
    co_await never.wait();
    was_cancelled = true;
  } else if (is_slow || random.chance(70)) {
    const milliseconds longest(is_slow ? 2 * run_->scene->plan.limits.tool_ms_max : 200);
    const bool has_come = co_await run_->scene->pause(random.time_to(longest));
    was_cancelled = !has_come;
  }
  run_->expect_in_time(context.deadline, began, "a tool");
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
    auto tool = std::make_unique<SimulatedTool>(run, tool_names()[i], effects[i],
                                                std::move(capabilities));
    const Status added = registry.add(std::move(tool));
    PONDER_ASSERT(added.has_value());
  }
}

const std::vector<std::string>& tool_names() {
  static const std::vector<std::string> names = {"look", "note", "book", "pay", "launch"};
  return names;
}

}  // namespace ponder::simulation
