#include "tests/crash/script.h"

#include <fmt/format.h>

#include <iterator>
#include <map>
#include <string_view>
#include <utility>

#include "base/assert.h"
#include "runtime/agent/agent_tool.h"
#include "runtime/agent/sub_agents.h"
#include "runtime/model/embedded_model.h"
#include "tests/context/byte_tokenizer.h"

namespace ponder::crash {
namespace {

using runtime::Completion;
using tools::Effect;

constexpr std::size_t kAnswerBytes = 6000;
constexpr context::TokenId kEndOfThinking = 1005;  // as byte_tokens has it
constexpr context::TokenId kEndOfTurn = 1001;

struct Call {
  const char* tool;
  std::string arguments;
};
using Step = std::vector<Call>;  // empty: the answer that ends the turn

Call act(const char* tool, int x) { return {tool, fmt::format(R"({{"x": {}}})", x)}; }
Call hand_out(const char* task, bool is_fork = false) {
  return {runtime::kAgentTool, fmt::format(R"({{"task": "{}", "fork": {}}})", task, is_fork)};
}

constexpr const char* kTrains = "Book the trains.";
constexpr const char* kFees = "Pay the fees.";
constexpr const char* kSeats = "Choose the seats.";

/// What an agent does about a user's message or a task, step by step.
const std::map<std::string, std::vector<Step>>& plans() {
  static const std::map<std::string, std::vector<Step>> plans = {
      {"Pay the bills.",
       {{act("reads", 1), act("puts", 1), act("books", 1), act("pays", 1)},
        {act("pays", 2)},
        {act("pays", 3), act("puts", 2), act("pays", 4)},
        {}}},
      {"Now the rest.", {{act("pays", 5), act("reads", 2), act("books", 2)}, {}}},
      {"Get help.",
       {{hand_out(kTrains), act("asks", 1), hand_out(kFees, true), act("pays", 6)}, {}}},
      {kTrains, {{act("books", 3), hand_out(kSeats), act("asks", 2)}, {act("pays", 7)}, {}}},
      {kFees, {{act("pays", 8), act("reads", 3)}, {}}},
      {kSeats, {{act("asks", 3), act("pays", 9)}, {}}},
  };
  return plans;
}

/// What the agent of a conversation works on, and the completions since it was told so. A fork
/// finds its task as the result of a call (runtime/agent/sub_agents.cpp).
std::pair<std::string, std::size_t> place_of(const context::Conversation& conversation) {
  constexpr std::string_view kTaskOfFork = "\nTask: ";
  std::string task;
  std::size_t steps = 0;
  for (const context::Message& message : conversation) {
    const std::size_t told = message.content.find(kTaskOfFork);
    const bool is_fork = message.role == context::Role::tool && told != std::string::npos;
    if (message.role == context::Role::user) task = message.content;
    if (is_fork) task = message.content.substr(told + kTaskOfFork.size());
    if (is_fork || message.role == context::Role::user) steps = 0;
    steps += message.role == context::Role::assistant ? 1 : 0;
  }
  return {task, steps};
}

/// Ids that no tokenizer would make of the message's text: if a prompt has them, they are what was
/// sampled.
std::vector<context::TokenId> sampled_ids(const std::string& task, std::size_t step) {
  const auto place = std::distance(plans().begin(), plans().find(task));
  std::vector<context::TokenId> ids = {2000, static_cast<context::TokenId>(2001 + place)};
  ids.push_back(kEndOfThinking);
  ids.push_back(static_cast<context::TokenId>(2100 + step));
  ids.push_back(kEndOfTurn);
  return ids;
}

}  // namespace

const std::vector<ScriptedTool>& scripted_tools() {
  static const std::vector<ScriptedTool> tools = {{"reads", Effect::pure},
                                                  {"puts", Effect::idempotent},
                                                  {"books", Effect::compensable},
                                                  {"pays", Effect::irreversible},
                                                  {"asks", Effect::idempotent, true}};
  return tools;
}

std::string answer_of(const std::string& tool, const std::string& arguments) {
  std::string out = fmt::format("{} did {} ", tool, arguments);
  while (out.size() < kAnswerBytes) out += fmt::format("{} ", out.size());
  return out;
}

runtime::SessionStarted scripted_start(const std::string& owner) {
  runtime::SessionStarted start;
  start.model = "script";
  start.family = "dsv32";
  start.workflow = owner;
  start.instructions = "Pay what is due.";
  start.limits.agent_depth_max = 2;
  for (const ScriptedTool& tool : scripted_tools()) {
    start.tools.push_back({tool.name, "A tool of the crash matrix.",
                           R"({"type": "object", "properties": {"x": {"type": "integer"}}})"});
  }
  return start;
}

const std::vector<std::string>& user_texts() {
  static const std::vector<std::string> texts = {"Pay the bills.", "Now the rest.", "Get help."};
  return texts;
}

bool is_sub_agent(const runtime::SessionId& id) {
  return !runtime::parent_of_sub_agent(id.value).empty();
}

Completion scripted_answer(const context::Conversation& conversation) {
  const auto [task, step] = place_of(conversation);
  Completion out;
  out.message.role = context::Role::assistant;
  out.message.reasoning = fmt::format("\"{}\", step {}", task, step);
  const Step& calls = plans().at(task).at(step);
  if (calls.empty()) out.message.content = fmt::format("\"{}\" is done.", task);
  for (const Call& call : calls) out.message.tool_calls.push_back({"", call.tool, call.arguments});
  out.message.sampled = sampled_ids(task, step);
  out.call_faults.resize(calls.size());
  out.usage.tokens_generated = static_cast<std::uint32_t>(out.message.sampled.size());
  return out;
}

std::vector<context::TokenId> scripted_prompt(const runtime::ModelRequest& request) {
  const auto policy = runtime::policy_of(request);
  PONDER_ASSERT(policy.has_value());
  auto tokens = context::assemble(request.conversation, *policy, context::testing::byte_tokens);
  PONDER_ASSERT(tokens.has_value());
  return std::move(tokens->ids);
}

}  // namespace ponder::crash
