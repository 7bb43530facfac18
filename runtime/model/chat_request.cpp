#include "runtime/model/chat_request.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>

#include "context/message_json.h"

namespace ponder::runtime {
namespace {

using context::Json;

constexpr std::string_view kNewTokensMaxName = "max_completion_tokens";
/// What an answer can be had without.
constexpr std::array<std::string_view, 7> kOptionalFields = {
    "temperature",       "top_p",           "seed", "stream_options", "repetition_penalty",
    "frequency_penalty", "presence_penalty"};

Json integer(std::uint64_t value) { return Json(context::JsonInteger{std::to_string(value)}); }

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

/// Whether `name` stands in `text`, and not as a part of a longer name.
bool names(std::string_view text, std::string_view name) {
  const auto is_part = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
  };
  for (std::size_t at = text.find(name); at != std::string_view::npos;
       at = text.find(name, at + 1)) {
    const std::size_t end = at + name.size();
    if ((at == 0 || !is_part(text[at - 1])) && (end == text.size() || !is_part(text[end]))) {
      return true;
    }
  }
  return false;
}

bool is_left_out(const RequestForm& form, std::string_view field) {
  return std::find(form.left_out.begin(), form.left_out.end(), field) != form.left_out.end();
}

/// The optional fields with their values. Penalties that do nothing are not sent.
Json::Object optional_fields(const Sampling& sampling) {
  Json::Object usage;
  usage.emplace_back("include_usage", true);
  Json::Object out;
  out.emplace_back("stream_options", std::move(usage));
  out.emplace_back("temperature", sampling.temperature);
  out.emplace_back("top_p", sampling.top_p);
  out.emplace_back("seed", integer(sampling.seed));
  const auto add_unless = [&out](double neutral, const char* name, double value) {
    if (value != neutral) out.emplace_back(name, value);
  };
  add_unless(1.0, "repetition_penalty", sampling.repetition_penalty);
  add_unless(0.0, "frequency_penalty", sampling.frequency_penalty);
  add_unless(0.0, "presence_penalty", sampling.presence_penalty);
  return out;
}

}  // namespace

Result<std::string> chat_request_body(const ModelRequest& request, const std::string& model,
                                      const RequestForm& form) {
  const std::vector<LiveValues> values =
      form.has_live_values ? request.live_values : std::vector<LiveValues>();
  Json::Array messages;
  Json::Array tools;
  const std::size_t begin = turn_begin(request.conversation);
  for (std::size_t i = 0; i < request.conversation.size(); ++i) {
    const context::Message& message = request.conversation[i];
    for (const context::ToolSpec& spec : message.tools) {
      PONDER_TRY(Json tool, context::tool_spec_to_json(with_enums(spec, values)));
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
  for (Json::Member& field : optional_fields(request.sampling)) {
    if (!is_left_out(form, field.first)) body.push_back(std::move(field));
  }
  body.emplace_back(form.tokens_max_name, integer(request.tokens_generated_max));
  return context::print_json(Json(std::move(body)));
}

std::optional<RequestForm> milder_form(const RequestForm& form, const ModelRequest& request,
                                       std::string_view refusal) {
  RequestForm out = form;
  if (form.tokens_max_name != kNewTokensMaxName && names(refusal, kNewTokensMaxName)) {
    out.tokens_max_name = kNewTokensMaxName;
    return out;
  }
  for (const std::string_view field : kOptionalFields) {
    if (is_left_out(form, field) || !names(refusal, field)) continue;
    out.left_out.emplace_back(field);
    return out;
  }
  if (!form.has_live_values || request.live_values.empty()) return std::nullopt;
  out.has_live_values = false;
  return out;
}

std::string omissions(const RequestForm& form) {
  std::vector<std::string> names = form.left_out;
  if (!form.has_live_values) names.emplace_back("live values");
  if (names.empty()) return {};
  return fmt::format("the endpoint refuses {}: asked without", fmt::join(names, ", "));
}

}  // namespace ponder::runtime
