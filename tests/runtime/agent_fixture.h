#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime/agent/agent.h"
#include "runtime/model/scripted_model.h"
#include "runtime/session/event_json.h"
#include "tests/context/byte_tokenizer.h"
#include "tests/runtime/fake_tools.h"
#include "tests/runtime/store_place.h"
#include "tests/runtime/support.h"

namespace ponder::runtime::test {

/// Makes the completion of a script: calls are (name, arguments).
inline Completion says(std::string content,
                       std::vector<std::pair<std::string, std::string>> calls = {}) {
  Completion completion;
  completion.message.reasoning = "hm";
  completion.message.content = std::move(content);
  for (auto& [name, arguments] : calls) {
    completion.message.tool_calls.push_back({"", name, arguments});
  }
  completion.call_faults.resize(completion.message.tool_calls.size());
  completion.usage.tokens_generated = 10;
  return completion;
}

/// Writes down what it sees, and does something when a type of event comes by.
class Recorder final : public EventSink {
 public:
  void on_event(const SessionId&, const Record& record) override {
    types.push_back(event_type(record.event));
    if (types.back() == trigger && action) action();
  }
  void on_delta(const SessionId&, const ModelDelta& delta) override {
    types.push_back("delta " + delta.text);
  }
  void on_progress(const SessionId&, const CallProgress& progress) override {
    this->progress.push_back(progress);
  }
  std::vector<std::string> types;
  std::vector<CallProgress> progress;
  std::string trigger;
  std::function<void()> action;
};

/// A store on disk, a registry of fake tools, a scripted model and an agent over them.
class AgentFixture : public ::testing::Test {
 protected:
  AgentFixture() : store_(place_.open()) {}

  void add_tool(const std::string& name, tools::Effect effect, FakeTool::Work work,
                std::vector<std::string> capabilities = {}) {
    const Status added = registry_.add(std::make_unique<FakeTool>(
        name, effect, std::move(work), &journal_, std::move(capabilities)));
    PONDER_ASSERT(added.has_value());
  }

  AgentParts parts() {
    AgentParts parts(*model_, registry_, *store_, clock_);
    parts.grants = grants_;
    parts.approvals = approvals_;
    parts.questions = questions_;
    parts.sinks = {&recorder_};
    parts.prices = prices_;
    return parts;
  }

  /// A new session whose model answers with these steps.
  Agent& start(std::vector<ScriptedStep> steps) {
    use_script(std::move(steps));
    SessionStarted start;
    start.model = "script";
    start.family = model_->family();
    start.context = budget_;
    start.instructions = "be brief";
    start.tools = registry_.specs();
    start.limits = limits_;
    auto agent = run(context_, Agent::start(parts(), start));
    PONDER_ASSERT(agent.has_value());
    agent_ = std::move(*agent);
    return *agent_;
  }

  /// The session of the log with a new process around it.
  Agent& reopen(const SessionId& id, std::vector<ScriptedStep> steps) {
    use_script(std::move(steps));
    auto agent = Agent::open(parts(), id);
    PONDER_ASSERT(agent.has_value());
    agent_ = std::move(*agent);
    return *agent_;
  }

  void use_script(std::vector<ScriptedStep> steps) {
    model_ = std::make_unique<ScriptedModel>(std::move(steps));
    if (window_ > 0) model_->set_window(family_, window_, context::testing::byte_tokens);
  }

  TurnEnded turn(const std::string& words = "go") {
    const auto result = run(context_, agent_->run_turn(words));
    EXPECT_TRUE(result) << result.error().message;
    return result ? *result : TurnEnded{};
  }

  /// The outcomes in the log, in the order in which they came.
  std::vector<ToolFinished> outcomes() const {
    std::vector<ToolFinished> out;
    const auto records = store_->load(agent_->id());
    for (const Record& record : records.value()) {
      if (const auto* e = std::get_if<ToolFinished>(&record.event)) out.push_back(*e);
    }
    return out;
  }

  std::size_t count(const std::string& type) const {
    return static_cast<std::size_t>(
        std::count(recorder_.types.begin(), recorder_.types.end(), type));
  }

  TempDir dir_;
  ManualClock clock_;
  StorePlace place_{dir_, clock_};
  boost::asio::io_context context_;
  std::unique_ptr<SessionStore> store_;
  tools::Registry registry_;
  std::vector<std::string> grants_;
  ApprovalPolicy approvals_ = {ApprovalMode::always, nullptr, 600'000};
  QuestionPolicy questions_;
  std::vector<std::string> journal_;
  Recorder recorder_;
  Limits limits_;
  Prices prices_;
  ContextBudget budget_;
  std::string family_ = "dsv32";  // of a model with a window
  std::uint32_t window_ = 0;      // of the model, whose tokens are bytes; 0: it makes no prompts
  std::unique_ptr<ScriptedModel> model_;
  std::unique_ptr<Agent> agent_;
};

}  // namespace ponder::runtime::test
