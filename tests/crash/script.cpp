#include "tests/crash/script.h"

#include <fmt/format.h>

#include <utility>

#include "base/assert.h"
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
  int x;
};
using Step = std::vector<Call>;  // empty: the answer that ends the turn

const std::vector<std::vector<Step>>& turns() {
  static const std::vector<std::vector<Step>> turns = {
      {{{"reads", 1}, {"puts", 1}, {"books", 1}, {"pays", 1}},
       {{"pays", 2}},
       {{"pays", 3}, {"puts", 2}, {"pays", 4}},
       {}},
      {{{"pays", 5}, {"reads", 2}, {"books", 2}}, {}},
  };
  return turns;
}

/// Where a conversation stands: the turn, and the completions of it that came before.
std::pair<std::size_t, std::size_t> place_of(const context::Conversation& conversation) {
  std::size_t users = 0;
  std::size_t steps = 0;
  for (const context::Message& message : conversation) {
    if (message.role == context::Role::user) {
      ++users;
      steps = 0;
    }
    steps += message.role == context::Role::assistant ? 1 : 0;
  }
  PONDER_ASSERT(users > 0);
  return {users - 1, steps};
}

/// Ids that no tokenizer would make of the message's text: if a prompt has them, they are what was
/// sampled.
std::vector<context::TokenId> sampled_ids(std::size_t turn, std::size_t step) {
  std::vector<context::TokenId> ids = {2000, static_cast<context::TokenId>(2001 + turn)};
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
                                                  {"pays", Effect::irreversible}};
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
  for (const ScriptedTool& tool : scripted_tools()) {
    start.tools.push_back({tool.name, "A tool of the crash matrix.",
                           R"({"type": "object", "properties": {"x": {"type": "integer"}}})"});
  }
  return start;
}

const std::vector<std::string>& user_texts() {
  static const std::vector<std::string> texts = {"Pay the bills.", "Now the rest."};
  return texts;
}

Completion scripted_answer(const context::Conversation& conversation) {
  const auto [turn, step] = place_of(conversation);
  Completion out;
  out.message.role = context::Role::assistant;
  out.message.reasoning = fmt::format("turn {} step {}", turn, step);
  const Step& calls = turns().at(turn).at(step);
  if (calls.empty()) out.message.content = fmt::format("Turn {} is done.", turn);
  for (const Call& call : calls) {
    out.message.tool_calls.push_back({"", call.tool, fmt::format(R"({{"x": {}}})", call.x)});
  }
  out.message.sampled = sampled_ids(turn, step);
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
