#include "runtime/model/remote_protocol.h"

#include <fmt/format.h>

#include <cstdlib>
#include <utility>

#include "context/message_json.h"
#include "runtime/text.h"

namespace ponder::runtime {
namespace {

using context::Json;

constexpr std::size_t kExcerptBytesMax = 200;
constexpr std::size_t kCallsMax = 256;

Json integer(std::uint64_t value) { return Json(context::JsonInteger{std::to_string(value)}); }

std::string text_of(const Json& object, std::string_view key) {
  const Json* value = object.find(key);
  if (value == nullptr || value->as_string() == nullptr) return {};
  return *value->as_string();
}

std::uint32_t number_of(const Json& object, std::string_view key) {
  const Json* value = object.find(key);
  if (value == nullptr || value->as_integer() == nullptr) return 0;
  return static_cast<std::uint32_t>(std::strtoul(value->as_integer()->digits.c_str(), nullptr, 10));
}

/// The first message of the running turn: only from here on is reasoning part of the prompt.
std::size_t turn_begin(const context::Conversation& conversation) {
  std::size_t begin = 0;
  for (std::size_t i = 0; i < conversation.size(); ++i) {
    if (conversation[i].role == context::Role::user) begin = i;
  }
  return begin;
}

void remove(Json::Object& object, std::string_view key) {
  std::erase_if(object, [&](const Json::Member& member) { return member.first == key; });
}

Json* member(Json& object, std::string_view key) {
  if (!object.is_object()) return nullptr;
  for (Json::Member& member : *object.as_object()) {
    if (member.first == key) return &member.second;
  }
  return nullptr;
}

Result<Json> message_json(context::Message message, bool is_in_turn) {
  message.tools.clear();  // they stand beside the messages on the wire
  if (!is_in_turn) message.reasoning.clear();
  const bool has_reasoning = !message.reasoning.empty();
  PONDER_TRY(Json json, context::message_to_json(message));
  if (!has_reasoning) remove(*json.as_object(), "reasoning_content");
  return json;
}

/// The tool with what its parameters can be as `enum`s of its schema.
context::ToolSpec with_enums(context::ToolSpec spec, const std::vector<LiveValues>& live) {
  auto schema = context::parse_json(spec.parameters);
  Json* const properties = schema ? member(*schema, "properties") : nullptr;
  if (properties == nullptr) return spec;
  for (const LiveValues& one : live) {
    Json* const property = one.tool == spec.name ? member(*properties, one.parameter) : nullptr;
    if (property == nullptr || !property->is_object()) continue;
    property->set("enum", Json::Array(one.values.begin(), one.values.end()));
  }
  spec.parameters = context::print_json(*schema);
  return spec;
}

bool is_json_object(const std::string& text) {
  const auto parsed = context::parse_json(text);
  return parsed && parsed->is_object();
}

}  // namespace

Result<std::string> chat_request_body(const ModelRequest& request, const std::string& model) {
  Json::Array messages;
  Json::Array tools;
  const std::size_t begin = turn_begin(request.conversation);
  for (std::size_t i = 0; i < request.conversation.size(); ++i) {
    const context::Message& message = request.conversation[i];
    for (const context::ToolSpec& spec : message.tools) {
      PONDER_TRY(Json tool, context::tool_spec_to_json(with_enums(spec, request.live_values)));
      tools.push_back(std::move(tool));
    }
    PONDER_TRY(Json json, message_json(message, i >= begin));
    messages.push_back(std::move(json));
  }
  Json::Object body;
  body.emplace_back("model", model);
  body.emplace_back("messages", std::move(messages));
  if (!tools.empty()) body.emplace_back("tools", std::move(tools));
  body.emplace_back("stream", true);
  Json::Object stream_options;
  stream_options.emplace_back("include_usage", true);
  body.emplace_back("stream_options", std::move(stream_options));
  body.emplace_back("temperature", request.sampling.temperature);
  body.emplace_back("top_p", request.sampling.top_p);
  const Sampling& sampling = request.sampling;
  const auto add_unless = [&body](double neutral, const char* name, double value) {
    if (value != neutral) body.emplace_back(name, value);  // some endpoints refuse unknown fields
  };
  add_unless(1.0, "repetition_penalty", sampling.repetition_penalty);
  add_unless(0.0, "frequency_penalty", sampling.frequency_penalty);
  add_unless(0.0, "presence_penalty", sampling.presence_penalty);
  body.emplace_back("seed", integer(request.sampling.seed));
  body.emplace_back("max_tokens", integer(request.tokens_generated_max));
  return context::print_json(Json(std::move(body)));
}

void ChatAnswer::tell(ModelDelta::Kind kind, std::string text) const {
  if (sink_ == nullptr || !*sink_ || text.empty()) return;
  (*sink_)(ModelDelta{kind, std::move(text)});
}

Status ChatAnswer::take_chunk(std::string_view data) {
  if (data == "[DONE]") {
    is_done_ = true;
    return {};
  }
  const auto json = context::parse_json(data);
  if (!json) {
    return fail(Errc::unavailable,
                fmt::format("the endpoint sent no JSON ({}): {}", json.error().message,
                            first_line(clean_utf8(data), kExcerptBytesMax)));
  }
  if (const Json* error = json->find("error"); error != nullptr && error->is_truthy()) {
    const std::string message = text_of(*error, "message");
    return fail(Errc::unavailable,
                fmt::format("the endpoint reports: {}",
                            message.empty() ? context::print_json(*error) : message));
  }
  if (const Json* usage = json->find("usage"); usage != nullptr) take_usage(*usage);
  const Json* choices = json->find("choices");
  if (choices == nullptr || !choices->is_array() || choices->as_array()->empty()) return {};
  return take_choice(choices->as_array()->front(), "delta");
}

Status ChatAnswer::take_whole(std::string_view body) {
  PONDER_CHECK(take_chunk(body));
  const auto json = context::parse_json(body);
  const Json* choices = json ? json->find("choices") : nullptr;
  if (choices == nullptr || !choices->is_array() || choices->as_array()->empty()) {
    return fail(Errc::unavailable, "the endpoint's answer has no choices");
  }
  is_done_ = true;
  return take_choice(choices->as_array()->front(), "message");
}

Status ChatAnswer::take_choice(const Json& choice, const char* part) {
  const std::string reason = text_of(choice, "finish_reason");
  if (!reason.empty()) finish_reason_ = reason;
  const Json* message = choice.find(part);
  if (message != nullptr && message->is_object()) take_message(*message);
  if (completion_.message.tool_calls.size() > kCallsMax) {
    return fail(Errc::exhausted, fmt::format("the answer has more than {} calls", kCallsMax));
  }
  return {};
}

void ChatAnswer::take_message(const Json& message) {
  has_begun_ = true;
  std::string reasoning = text_of(message, "reasoning_content");
  if (reasoning.empty()) reasoning = text_of(message, "reasoning");
  std::string content = text_of(message, "content");
  completion_.message.reasoning += reasoning;
  completion_.message.content += content;
  tell(ModelDelta::Kind::reasoning, std::move(reasoning));
  tell(ModelDelta::Kind::content, std::move(content));
  const Json* calls = message.find("tool_calls");
  if (calls == nullptr || !calls->is_array()) return;
  for (const Json& call : *calls->as_array()) take_call(call);
}

void ChatAnswer::take_call(const Json& call) {
  auto& calls = completion_.message.tool_calls;
  const std::string id = text_of(call, "id");
  const Json* index = call.find("index");
  std::size_t place = calls.size();
  if (index != nullptr && index->is_integer()) {
    place = number_of(call, "index");
  } else if (id.empty() || (!calls.empty() && calls.back().id == id)) {
    place = calls.empty() ? 0 : calls.size() - 1;  // more of the last one
  }
  if (place > calls.size()) place = calls.size();
  if (place == calls.size()) calls.emplace_back();
  context::ToolCall& target = calls[place];
  if (target.id.empty()) target.id = id;
  const Json* function = call.find("function");
  if (function == nullptr) return;
  std::string name = text_of(*function, "name");
  target.name += name;
  tell(ModelDelta::Kind::call_name, std::move(name));
  const Json* arguments = function->find("arguments");
  if (arguments == nullptr || arguments->is_null()) return;
  std::string text =
      arguments->is_string() ? *arguments->as_string() : context::print_json(*arguments);
  target.arguments += text;
  tell(ModelDelta::Kind::call_arguments, std::move(text));
}

void ChatAnswer::take_usage(const Json& usage) {
  if (!usage.is_object()) return;
  completion_.usage.tokens_prompt = number_of(usage, "prompt_tokens");
  completion_.usage.tokens_generated = number_of(usage, "completion_tokens");
  completion_.usage.tokens_cached = number_of(usage, "prompt_cache_hit_tokens");
  if (const Json* details = usage.find("prompt_tokens_details"); details != nullptr) {
    const std::uint32_t cached = number_of(*details, "cached_tokens");
    if (cached > 0) completion_.usage.tokens_cached = cached;
  }
}

Result<Completion> ChatAnswer::finish() const {
  if (finish_reason_.empty() && !is_done_) {
    return fail(Errc::unavailable, "the connection was closed in the middle of the answer");
  }
  Completion out = completion_;
  out.message.role = context::Role::assistant;
  out.finish = finish_reason_ == "length" ? Finish::length : Finish::stop;
  if (out.finish == Finish::length) out.verdict = Verdict::truncated;
  for (context::ToolCall& call : out.message.tool_calls) {
    std::string fault;
    if (call.arguments.empty()) call.arguments = "{}";
    if (!is_json_object(call.arguments)) {
      fault = fmt::format("the arguments of {} are no JSON object: {}", call.name,
                          first_line(clean_utf8(call.arguments), kExcerptBytesMax));
      call.arguments = "{}";
    }
    out.call_faults.push_back(std::move(fault));
  }
  return out;
}

}  // namespace ponder::runtime
