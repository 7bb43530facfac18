#include "runtime/model/scripted_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <utility>

#include "base/json_problem.h"
#include "runtime/json_field.h"

namespace ponder::runtime {
namespace asio = boost::asio;
namespace {

using context::Role;

/// A word that is misspelt would be passed over in silence, and with it what it should have said.
void check_keys(const nlohmann::json& in) {
  if (!in.is_object()) return;
  for (const auto& [key, value] : in.items()) {
    if (key == "when" || key == "reasoning" || key == "content" || key == "calls") continue;
    throw std::invalid_argument(
        fmt::format("\"{}\" is not known; known: when, reasoning, content, calls", key));
  }
}

/// What one line of a script says.
ScriptedStep step_of(const nlohmann::json& in) {
  check_keys(in);
  Completion completion;
  completion.message.role = Role::assistant;
  completion.message.reasoning = field_or(in, "reasoning", "");
  completion.message.content = field_or(in, "content", "");
  for (const auto& call : field_or(in, "calls", nlohmann::json::array())) {
    const auto arguments = field_or(call, "arguments", nlohmann::json::object());
    completion.message.tool_calls.push_back(
        {"", field<std::string>(call, "name"), arguments.dump()});
  }
  completion.call_faults.resize(completion.message.tool_calls.size());
  ScriptedStep step(std::move(completion));
  step.when = field_or(in, "when", "");
  return step;
}

bool fits(const ScriptedStep& step, const context::Conversation& conversation) {
  if (step.when.empty()) return true;
  return std::any_of(conversation.begin(), conversation.end(), [&](const context::Message& m) {
    const bool was_told = m.role == Role::user || m.role == Role::tool;
    return was_told && m.content.find(step.when) != std::string::npos;
  });
}

void tell(const ModelSink& sink, const context::Message& message) {
  if (!sink) return;
  if (!message.reasoning.empty()) sink({ModelDelta::Kind::reasoning, message.reasoning});
  if (!message.content.empty()) sink({ModelDelta::Kind::content, message.content});
  for (const auto& call : message.tool_calls) {
    sink({ModelDelta::Kind::call_name, call.name});
    sink({ModelDelta::Kind::call_arguments, call.arguments});
  }
}

/// The results that must follow an assistant message at `i`; gives the place after them.
Result<std::size_t> check_results(const context::Conversation& conversation, std::size_t i) {
  const auto& calls = conversation[i].tool_calls;
  for (std::size_t k = 0; k < calls.size(); ++k) {
    const std::size_t at = i + 1 + k;
    const bool is_result = at < conversation.size() && conversation[at].role == Role::tool;
    if (!is_result || conversation[at].tool_call_id != calls[k].id) {
      return fail(
          Errc::invalid_argument,
          fmt::format("message {}: the result of call {} ({}) is missing", at, k, calls[k].id));
    }
  }
  return i + 1 + calls.size();
}

}  // namespace

Status check_conversation(const context::Conversation& conversation) {
  std::size_t i = 0;
  if (i < conversation.size() && conversation[i].role == Role::system) ++i;
  if (i == conversation.size()) return fail(Errc::invalid_argument, "no user message");
  while (i < conversation.size()) {
    const Role role = conversation[i].role;
    if (role == Role::assistant) {
      const bool follows_question = i > 0 && conversation[i - 1].role != Role::system &&
                                    (conversation[i - 1].role != Role::assistant);
      if (!follows_question) {
        return fail(Errc::invalid_argument, fmt::format("message {}: nobody asked", i));
      }
      PONDER_TRY(i, check_results(conversation, i));
    } else if (role == Role::user) {
      ++i;
    } else {
      return fail(Errc::invalid_argument, fmt::format("message {}: out of place", i));
    }
  }
  if (conversation.back().role == Role::assistant) {
    return fail(Errc::invalid_argument, "the last message is the assistant's own");
  }
  return {};
}

ScriptedModel::ScriptedModel(std::vector<ScriptedStep> steps)
    : steps_(std::make_move_iterator(steps.begin()), std::make_move_iterator(steps.end())) {}

Result<std::vector<ScriptedStep>> ScriptedModel::read_script(std::string_view json_lines) {
  std::vector<ScriptedStep> steps;
  int line_number = 0;
  while (!json_lines.empty()) {
    ++line_number;
    const std::size_t end = json_lines.find('\n');
    const std::string_view line = json_lines.substr(0, end);
    json_lines.remove_prefix(end == std::string_view::npos ? json_lines.size() : end + 1);
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    try {
      steps.push_back(step_of(nlohmann::json::parse(line)));
    } catch (const std::exception& e) {
      return fail(Errc::invalid_argument,
                  fmt::format("script line {}: {}", line_number, json_problem(e)));
    }
  }
  return steps;
}

void ScriptedModel::set_window(std::string family, std::uint32_t tokens_context_max,
                               context::TokenizeFn tokenizer) {
  family_ = std::move(family);
  tokens_context_max_ = tokens_context_max;
  tokenizer_ = std::move(tokenizer);
}

asio::awaitable<Result<Completion>> ScriptedModel::complete(ModelRequest request, ModelSink sink) {
  const Status checked = check_conversation(request.conversation);
  const auto next = std::find_if(steps_.begin(), steps_.end(), [&](const ScriptedStep& step) {
    return fits(step, request.conversation);
  });
  requests_.push_back(std::move(request));
  PONDER_CO_CHECK(checked);
  if (next == steps_.end()) co_return fail(Errc::exhausted, "the script has no further step");
  ScriptedStep step = std::move(*next);
  steps_.erase(next);
  if (step.hangs) {
    const auto executor = co_await asio::this_coro::executor;
    asio::steady_timer timer(executor);
    timer.expires_at(std::chrono::steady_clock::time_point::max());
    boost::system::error_code ignored;
    co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    co_return fail(Errc::cancelled, "the completion was cancelled");
  }
  co_await asio::post(asio::use_awaitable);  // like every real model, it answers later
  if (step.error) co_return tl::unexpected<Error>(std::move(*step.error));
  tell(sink, step.completion->message);
  co_return std::move(*step.completion);
}

}  // namespace ponder::runtime
