#include "runtime/model/next_turn.h"

#include <algorithm>
#include <string>
#include <utility>

namespace ponder::runtime {
namespace {

context::Conversation with_user(context::Conversation conversation, std::string words) {
  context::Message message;
  message.role = context::Role::user;
  message.content = std::move(words);
  message.ends_turn = true;
  conversation.push_back(std::move(message));
  return conversation;
}

/// Answers the calls of the last completion that have no result yet.
context::Conversation with_results(context::Conversation conversation, const std::string& words) {
  const auto is_completion = [](const context::Message& message) {
    return message.role == context::Role::assistant;
  };
  const auto completion =
      std::ranges::find_if(conversation.rbegin(), conversation.rend(), is_completion);
  if (completion == conversation.rend()) return conversation;
  const std::vector<context::ToolCall> calls = completion->tool_calls;
  for (auto i = static_cast<std::size_t>(completion - conversation.rbegin()); i < calls.size();
       ++i) {
    context::Message result;
    result.role = context::Role::tool;
    result.content = words;
    result.tool_call_id = calls[i].id;
    conversation.push_back(std::move(result));
  }
  return conversation;
}

/// What the prompts of two conversations begin with.
Result<std::vector<context::TokenId>> common_prefix(const context::Conversation& a,
                                                    const context::Conversation& b,
                                                    const ModelRequest& request,
                                                    const context::TokenizeFn& tokenize) {
  PONDER_TRY(const context::ThinkingPolicy policy, policy_of(request));
  PONDER_TRY(const auto one, context::render_prompt(a, policy));
  PONDER_TRY(auto tokens, context::assemble(one, tokenize));
  std::vector<context::TokenId> ids = tokens.ids;
  PONDER_TRY(const auto other, context::render_prompt(b, policy));
  PONDER_TRY(tokens, context::assemble_again(other, tokenize, one, std::move(tokens)));
  const auto parts = std::mismatch(ids.begin(), ids.end(), tokens.ids.begin(), tokens.ids.end());
  ids.erase(parts.first, ids.end());
  return ids;
}

// What two texts without a common beginning have in common comes before them.
constexpr const char* kSomeWords = "a";
constexpr const char* kOtherWords = "1";

}  // namespace

Result<std::vector<context::TokenId>> next_turn_prefix(const ModelRequest& request,
                                                       const context::TokenizeFn& tokenize) {
  return common_prefix(with_user(request.conversation, kSomeWords),
                       with_user(request.conversation, kOtherWords), request, tokenize);
}

Result<std::vector<context::TokenId>> next_results_prefix(const ModelRequest& request,
                                                          const context::TokenizeFn& tokenize) {
  return common_prefix(with_results(request.conversation, kSomeWords),
                       with_results(request.conversation, kOtherWords), request, tokenize);
}

void expect_results(ModelClient& model, const SessionState& state) {
  if (!state.has_open_calls()) return;
  const SessionStarted& start = state.started();
  ModelRequest request(state.conversation, start.family, start.sampling, 0);
  for (const CallState& call : state.calls) {
    if (!call.finished) break;
    context::Message result;
    result.role = context::Role::tool;
    result.content = call.finished->content;
    result.tool_call_id = call.call.id;
    request.conversation.push_back(std::move(result));
  }
  model.expect_results(std::move(request));
}

void expect_user_turn(ModelClient& model, const SessionState& state) {
  const SessionStarted& start = state.started();
  model.expect_user_turn(ModelRequest(state.conversation, start.family, start.sampling, 0));
}

}  // namespace ponder::runtime
