#include "runtime/bench/context_cases.h"

#include <fmt/format.h>

#include <memory>
#include <optional>
#include <utility>

#include "base/assert.h"
#include "context/encoded_conversation.h"
#include "context/encoder.h"
#include "context/growing_prompt.h"
#include "context/json_lines.h"
#include "context/message_json.h"

namespace ponder::bench {
namespace {

using context::EncodedConversation;
using context::Json;

context::EncodeOptions thinking() { return {.thinking_mode = "thinking"}; }

Json tool(const char* name, const char* argument) {
  return Json::Object{
      {"type", "function"},
      {"function",
       Json::Object{
           {"name", name},
           {"description", fmt::format("{} a file of the project", name)},
           {"parameters",
            Json::Object{{"type", "object"},
                         {"properties", Json::Object{{"path", Json::Object{{"type", "string"}}},
                                                     {argument, Json::Object{{"type", "number"}}}}},
                         {"required", Json::Array{"path"}}}}}}};
}

std::string source_text(int step) {
  std::string text;
  for (int line = 0; line < 24; ++line) {
    text += fmt::format("{:4}  if (value_{} > {}) return \"naïve <{}>\";\n", line + 1, step,
                        line * 37 % 101, step % 7);
  }
  return text;
}

Json call_message(int step) {
  const std::string arguments = fmt::format(
      "{{\"path\": \"src/module_{}/part.cpp\", \"first_line\": {}, \"limits\": [1.5, 1e3, true]}}",
      step % 40, step);
  Json call = Json::Object{{"id", fmt::format("call_{}", step)},
                           {"type", "function"},
                           {"function", Json::Object{{"name", step % 3 == 0 ? "edit" : "read"},
                                                     {"arguments", arguments}}}};
  return Json::Object{
      {"role", "assistant"},
      {"content", ""},
      {"reasoning_content",
       fmt::format("Step {}: the caller passes the value on without a check, so the part that "
                   "reads it has to be looked at before anything is changed.",
                   step)},
      {"tool_calls", Json::Array{std::move(call)}}};
}

Json result_message(int step) {
  return Json::Object{{"role", "tool"},
                      {"tool_call_id", fmt::format("call_{}", step)},
                      {"content", source_text(step)}};
}

Json user_message(std::string content) {
  return Json::Object{{"role", "user"}, {"content", std::move(content)}};
}

Json::Array agent_conversation(std::size_t num_bytes) {
  Json::Array messages;
  messages.push_back(
      Json::Object{{"role", "system"},
                   {"content", "You are a careful engineer."},
                   {"tools", Json::Array{tool("read", "first_line"), tool("edit", "first_line")}}});
  messages.push_back(user_message("Find out why the totals differ and mend it."));
  auto made = EncodedConversation::create(messages, {}, thinking());
  PONDER_ASSERT(made);
  for (int step = 0; made->encoded().text.size() < num_bytes; ++step) {
    for (Json message : {call_message(step), result_message(step)}) {
      PONDER_ASSERT(made->append(message));
      messages.push_back(std::move(message));
    }
  }
  return messages;
}

std::string encode_request(const Json::Array& messages) {
  return context::print_json(Json::Object{{"messages", messages}, {"thinking_mode", "thinking"}});
}

/// Appends `message` to the conversation; `setup` messages were appended before, untimed.
Case append_case(std::string name, const std::shared_ptr<const Json::Array>& messages,
                 Json::Array setup, const Json& message) {
  struct State {
    std::optional<EncodedConversation> grown;
    Json message;
  };
  const auto state = std::make_shared<State>();
  return {std::move(name), 0,
          [state, messages, setup = std::move(setup), message] {
            auto made = EncodedConversation::create(*messages, {}, thinking());
            PONDER_ASSERT(made);
            for (const Json& before : setup) PONDER_ASSERT(made->append(before));
            state->grown.emplace(std::move(*made));
            state->message = message;
          },
          [state] { PONDER_ASSERT(state->grown->append(std::move(state->message))); }};
}

/// Stands for a tokenizer and costs next to nothing: one id for four bytes, and for a special
/// token.
std::vector<context::TokenId> coarse_tokens(std::string_view text, bool match_added_tokens) {
  const context::ChatFormat& format = context::dsv32();
  const bool is_special = text == format.bos || text == format.eos || text == format.user ||
                          text == format.assistant || text == format.think_open ||
                          text == format.think_close;
  const bool is_one = match_added_tokens && is_special;
  return std::vector<context::TokenId>(is_one ? 1 : text.size() / 4 + 1,
                                       static_cast<context::TokenId>(text.size()));
}

/// The same for a prompt's ids, without the time of a real tokenizer on the new message.
Case append_ids_case(std::string name, const std::shared_ptr<const Json::Array>& messages,
                     const Json& setup, const Json& message) {
  using context::GrowingPrompt;
  const auto grown = std::make_shared<std::optional<GrowingPrompt>>();
  const auto read = [](const Json& json) { return *context::message_from_json(json); };
  return {std::move(name), 0,
          [grown, messages, read, setup = read(setup)] {
            context::Conversation conversation;
            for (const Json& json : *messages) conversation.push_back(read(json));
            auto made = GrowingPrompt::create(std::move(conversation),
                                              *context::thinking_policy("dsv32"), coarse_tokens);
            PONDER_ASSERT(made && made->append(setup));
            grown->emplace(std::move(*made));
          },
          [grown, message = read(message)] { PONDER_ASSERT((*grown)->append(message)); }};
}

}  // namespace

std::string agent_conversation_line(std::size_t num_bytes) {
  return encode_request(agent_conversation(num_bytes));
}

std::vector<Case> make_cases(std::size_t num_bytes) {
  const auto messages = std::make_shared<const Json::Array>(agent_conversation(num_bytes));
  const auto line = std::make_shared<const std::string>(encode_request(*messages));
  const auto encoded = encode(*messages, {}, thinking());
  PONDER_ASSERT(encoded);
  std::vector<Case> cases;
  cases.push_back({"encode messages", encoded->text.size(), {}, [messages] {
                     PONDER_ASSERT(encode(*messages, {}, thinking()));
                   }});
  cases.push_back({"encode a JSON line", line->size(), {}, [line] {
                     PONDER_ASSERT(!context::encode_line(*line).empty());
                   }});
  cases.push_back(append_case("append a call", messages, {}, call_message(0)));
  cases.push_back(append_case("append its result", messages, {call_message(0)}, result_message(0)));
  cases.push_back(
      append_ids_case("append its result, with ids", messages, call_message(0), result_message(0)));
  cases.push_back(append_case("append a user turn", messages, {}, user_message("And now?")));
  return cases;
}

}  // namespace ponder::bench
