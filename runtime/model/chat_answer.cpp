#include "runtime/model/chat_answer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <utility>

#include "runtime/text.h"

namespace ponder::runtime {
namespace {

using context::Json;

constexpr std::size_t kExcerptBytesMax = 300;
constexpr std::size_t kCallsMax = 256;
/// Reasons to finish that mean: this is not the whole answer, ask again. DeepSeek's API, vLLM and
/// SGLang, OpenRouter, in this order.
constexpr std::array<std::string_view, 3> kBrokenOff = {"insufficient_system_resource", "abort",
                                                        "error"};

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

bool is_json_object(const std::string& text) {
  const auto parsed = context::parse_json(text);
  return parsed && parsed->is_object();
}

/// Whether an error is the request's fault, so that asking again is of no use.
bool is_refusal(const Json& error) {
  const std::uint32_t code = number_of(error, "code");
  const bool is_status = code >= 400 && code < 500 && code != 408 && code != 429;
  return is_status || text_of(error, "type") == "invalid_request_error";
}

std::size_t bytes_of(const context::Message& message) {
  std::size_t bytes = message.reasoning.size() + message.content.size();
  for (const context::ToolCall& call : message.tool_calls) {
    bytes += call.name.size() + call.arguments.size();
  }
  return bytes;
}

std::string on_one_line(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool is_blank = c == ' ' || c == '\n' || c == '\r' || c == '\t';
    if (!is_blank) out += c;
    if (is_blank && !out.empty() && out.back() != ' ') out += ' ';
  }
  return std::string(cut_utf8(out, kExcerptBytesMax));
}

}  // namespace

std::string error_words(std::string_view body) {
  const std::string text = clean_utf8(body);
  const auto json = context::parse_json(text);
  if (!json) return on_one_line(text);
  const bool is_list = json->is_array() && !json->as_array()->empty();
  const Json& answer = is_list ? json->as_array()->front() : *json;
  for (const char* key : {"error", "message", "detail"}) {
    const Json* found = answer.find(key);
    if (found == nullptr) continue;
    if (found->is_object()) {
      const std::string message = text_of(*found, "message");
      return on_one_line(message.empty() ? context::print_json(*found) : message);
    }
    if (found->is_string()) return on_one_line(*found->as_string());
  }
  return on_one_line(text);
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
    return fail(is_refusal(*error) ? Errc::invalid_argument : Errc::unavailable,
                fmt::format("the endpoint reports: {}", error_words(data)));
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
  const std::size_t bytes_before = bytes_of(completion_.message);
  std::string reasoning = text_of(message, "reasoning_content");
  if (reasoning.empty()) reasoning = text_of(message, "reasoning");
  std::string content = text_of(message, "content");
  completion_.message.reasoning += reasoning;
  completion_.message.content += content;
  tell(ModelDelta::Kind::reasoning, std::move(reasoning));
  tell(ModelDelta::Kind::content, std::move(content));
  const Json* calls = message.find("tool_calls");
  if (calls != nullptr && calls->is_array()) {
    for (const Json& call : *calls->as_array()) take_call(call);
  }
  if (bytes_of(completion_.message) > bytes_before) ++pieces_;
}

Usage ChatAnswer::usage_so_far() const {
  Usage out = completion_.usage;
  out.tokens_generated = std::max(out.tokens_generated, pieces_);
  return out;
}

std::size_t ChatAnswer::place_of(const Json& call, const std::string& id,
                                 const std::string& name) const {
  const auto& calls = completion_.message.tool_calls;
  const Json* index = call.find("index");
  if (index == nullptr || !index->is_integer()) {
    const bool goes_on = !calls.empty() && (id.empty() ? name.empty() : calls.back().id == id);
    return goes_on ? calls.size() - 1 : calls.size();
  }
  const std::uint32_t wanted = number_of(call, "index");
  for (std::size_t i = calls.size(); i-- > 0;) {
    if (indices_[i] != wanted) continue;
    // Some give each call the same index, some each fragment an id of its own but only one a name.
    const bool is_another = !name.empty() && !calls[i].name.empty() &&
                            (id.empty() ? is_json_object(calls[i].arguments) : calls[i].id != id);
    return is_another ? calls.size() : i;
  }
  return calls.size();
}

void ChatAnswer::take_call(const Json& call) {
  auto& calls = completion_.message.tool_calls;
  const Json* function = call.find("function");
  const std::string id = text_of(call, "id");
  std::string name = function == nullptr ? std::string() : text_of(*function, "name");
  const std::size_t place = place_of(call, id, name);
  if (place == calls.size()) {
    calls.emplace_back();
    indices_.push_back(number_of(call, "index"));
  }
  context::ToolCall& target = calls[place];
  if (target.id.empty()) target.id = id;
  if (function == nullptr) return;
  if (target.name != name) {  // a server may repeat it with each fragment
    target.name += name;
    tell(ModelDelta::Kind::call_name, std::move(name));
  }
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
  if (!has_begun_) return fail(Errc::unavailable, "the endpoint's answer is empty");
  if (std::find(kBrokenOff.begin(), kBrokenOff.end(), finish_reason_) != kBrokenOff.end()) {
    return fail(Errc::unavailable,
                fmt::format("the endpoint broke its answer off ({})", finish_reason_));
  }
  Completion out = completion_;
  out.message.role = context::Role::assistant;
  const bool is_filtered = finish_reason_ == "content_filter";
  if (is_filtered) out.notes.emplace_back("the endpoint's content filter cut the answer off");
  out.finish = is_filtered || finish_reason_ == "length" ? Finish::length : Finish::stop;
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
