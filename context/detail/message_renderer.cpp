#include "context/detail/message_renderer.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>

namespace ponder::context::detail {

using Fault = MessageRenderer::Fault;

Fault MessageRenderer::render(std::size_t index) {
  index_ = index;
  if (index >= list_.size()) {
    return error(EncodeFault::index, "lies beyond the messages that drop_thinking left");
  }
  if (const Fault ok = check_options(); !ok) return ok;
  if (!message().is_object()) return error(EncodeFault::shape, "is not an object");
  if (const Fault ok = check_lists(); !ok) return ok;
  if (index == 0) {
    if (const Fault ok = render_leading(); !ok) return ok;
  }
  return render_by_kind();
}

Fault MessageRenderer::check_options() const {
  if (!is_thinking() && options_.thinking_mode != "chat") {
    return error(EncodeFault::mode,
                 fmt::format("thinking mode '{}' is unknown", options_.thinking_mode));
  }
  if (!is_thinking() && !format_.has_chat_mode) {
    return error(EncodeFault::mode, fmt::format("the format {} has no chat mode", format_.name));
  }
  const std::string& effort = options_.reasoning_effort;
  const bool is_known =
      effort.empty() || (!format_.effort_max.empty() && (effort == "high" || effort == "max"));
  if (is_known) return {};
  return error(EncodeFault::mode,
               fmt::format("the format {} knows no reasoning effort '{}'", format_.name, effort));
}

Fault MessageRenderer::check_lists() const {
  const Json::Array* tools = list_of(message(), "tools");
  if (tools == nullptr) return error(EncodeFault::shape, "tools is not a list");
  for (const Json& tool : *tools) {
    if (tool.find("function") == nullptr) {
      return error(EncodeFault::shape, "a tools entry has no 'function'");
    }
  }
  const Json::Array* calls = list_of(message(), "tool_calls");
  if (calls == nullptr) return error(EncodeFault::shape, "tool_calls is not a list");
  for (const Json& call : *calls) {
    const Json* function = call.find("function");
    if (function == nullptr || function->find("name") == nullptr ||
        function->find("arguments") == nullptr) {
      return error(EncodeFault::shape, "a tool call lacks 'function', 'name' or 'arguments'");
    }
  }
  return {};
}

Fault MessageRenderer::render_by_kind() {
  switch (list_[index_].kind) {
    case Kind::system:
      if (!format_.hoists_system) {
        if (const Fault ok = render_system(message()); !ok) return ok;
      }
      break;
    case Kind::developer:
      if (const Fault ok = render_developer(); !ok) return ok;
      break;
    case Kind::user:
      if (const Fault ok = render_user(); !ok) return ok;
      break;
    case Kind::tool:
      if (const Fault ok = render_tool(); !ok) return ok;
      break;
    case Kind::reminder:
      if (const Fault ok = render_reminder(); !ok) return ok;
      break;
    case Kind::assistant:
      if (const Fault ok = render_assistant(); !ok) return ok;
      break;
    case Kind::unknown: {
      const Json* role = message().find("role");
      const std::string* name = role == nullptr ? nullptr : role->as_string();
      return error(EncodeFault::role,
                   fmt::format("has the unknown role '{}'", name == nullptr ? "" : *name));
    }
  }
  return render_tail();
}

/// What stands before the first message, whatever that is.
Fault MessageRenderer::render_leading() {
  if (is_thinking() && options_.reasoning_effort == "max") put(format_.effort_max);
  if (!format_.hoists_system) return {};
  bool is_first = true;
  for (std::size_t i = 0; i < list_.size(); ++i) {
    if (list_[i].kind != Kind::system) continue;
    index_ = i;
    if (const Fault ok = check_lists(); !ok) return ok;
    if (!is_first) put(format_.system_separator);
    is_first = false;
    if (const Fault ok = render_system(message()); !ok) return ok;
  }
  index_ = 0;
  return {};
}

Fault MessageRenderer::render_system(const Json& system) {
  if (Fault ok = put_text(system, "content", "", ""); !ok) return ok;
  return put_blocks(system);
}

Fault MessageRenderer::render_developer() {
  const Json* content = message().find("content");
  if (content == nullptr || !content->is_truthy()) {
    return error(EncodeFault::developer_empty, "is a developer message without content");
  }
  put(format_.user);
  if (format_.question_first) {
    if (Fault ok = put_text(message(), "content", "", ""); !ok) return ok;
    return put_blocks(message());
  }
  if (const Fault ok = put_blocks(message()); !ok) return ok;
  put(format_.developer_question_prefix);
  return put_text(message(), "content", "", "");
}

Fault MessageRenderer::render_user() {
  const Json* content = message().find("content");
  if (format_.refuses_null_user && content != nullptr && content->is_null()) {
    return error(EncodeFault::shape, "is a user message whose content is null");
  }
  const bool begins_turn = list_[index_].turn == index_;
  put(begins_turn ? format_.user : format_.part_separator);
  return put_text(message(), "content", format_.missing_content, format_.null_content);
}

Fault MessageRenderer::render_reminder() {
  put(format_.reminder);
  return put_text(message(), "content", format_.null_content, format_.null_content);
}

Fault MessageRenderer::render_tool() {
  if (format_.results == ResultRule::by_call) return render_result_by_call();
  if (format_.results == ResultRule::in_user_turn) return render_result_in_turn();
  const Entry* previous = list_.before(index_);
  if (previous == nullptr || previous->kind != Kind::tool) put(format_.results_open);
  put(format_.result_open);
  Fault ok = put_text(message(), "content", format_.missing_content, format_.null_content);
  if (!ok) return ok;
  put(format_.result_close);
  const Entry* next = list_.after(index_);
  if (next == nullptr || next->kind == Kind::assistant) put(format_.results_close);
  return {};
}

Fault MessageRenderer::render_result_by_call() {
  const std::ptrdiff_t anchor = list_[index_].anchor;
  // The reference indexes the message before this one; before the first, that is the last.
  const Entry& caller = list_[anchor >= 0 ? static_cast<std::size_t>(anchor) : list_.size() - 1];
  if (index_ > 0 && (anchor < 0 || caller.kind != Kind::assistant)) {
    return error(EncodeFault::result_orphan, "is a tool result that follows no assistant message");
  }
  const auto position = static_cast<std::size_t>(static_cast<std::ptrdiff_t>(index_) - anchor);
  const Json::Array* calls = list_of(*caller.message, "tool_calls");
  if (calls == nullptr || calls->size() < position) {
    return error(EncodeFault::result_count, "is a tool result without a call");
  }
  if (position == 1) put(format_.results_open);
  put(format_.result_open);
  Fault ok = put_text(message(), "content", format_.missing_content, format_.null_content);
  if (!ok) return ok;
  put(format_.result_close);
  if (position < calls->size()) return {};
  put(format_.results_close);
  put(format_.after_results);
  put(list_.thinks_after(index_) ? format_.think_open : format_.think_close);
  return {};
}

Fault MessageRenderer::render_result_in_turn() {
  const std::size_t turn = list_[index_].turn;
  put(turn == index_ ? format_.user : format_.part_separator);
  if (turn != turn_) {
    turn_ = turn;
    num_written_ = 0;
    turn_results_ = list_.results_of(turn);
  }
  const Json& result = *turn_results_[num_written_++];
  put(format_.result_open);
  Fault ok = put_text(result, "content", format_.missing_content, format_.null_content);
  if (!ok) return ok;
  put(format_.result_close);
  return {};
}

Fault MessageRenderer::render_assistant() {
  // Faults in the calls come before a missing reasoning, so the calls are read first.
  std::vector<Json::Object> arguments;
  const Json::Array& calls = *list_of(message(), "tool_calls");
  for (const Json& call : calls) {
    if (const Fault ok = read_arguments(*call.find("function"), arguments); !ok) return ok;
  }
  if (format_.reopens_assistant && !is_opened()) put(format_.assistant);
  const bool follows_task = index_ > 0 && task_of(index_ - 1) != nullptr;
  if (list_.shows_reasoning(index_) && !follows_task) {
    const Json* reasoning = message().find("reasoning_content");
    if (format_.requires_reasoning && options_.requires_reasoning && calls.empty() &&
        (reasoning == nullptr || !reasoning->is_truthy())) {
      return error(EncodeFault::no_reasoning, "has neither reasoning nor calls");
    }
    if (Fault ok = put_text(message(), "reasoning_content", "", ""); !ok) return ok;
    put(format_.think_close);
  }
  if (const Fault ok = put_visible_content(!calls.empty()); !ok) return ok;
  for (std::size_t i = 0; i < calls.size(); ++i) {
    put(i == 0 ? format_.calls_open : format_.calls_separator);
    if (format_.calls_are_text) {
      put_text_call(calls[i]);
    } else {
      put_call(*calls[i].find("function")->find("name")->as_string(), arguments[i]);
    }
  }
  if (!calls.empty()) put(format_.calls_close);
  const Json* omits_eos = format_.tasks.empty() ? nullptr : message().find("wo_eos");
  if (omits_eos == nullptr || !omits_eos->is_truthy()) put(format_.eos);
  return {};
}

Fault MessageRenderer::read_arguments(const Json& function,
                                      std::vector<Json::Object>& arguments) const {
  if (!function.find("name")->is_string()) {
    return error(EncodeFault::shape, "a tool call's name is not a string");
  }
  const Json& given = *function.find("arguments");
  const std::string* text = given.as_string();
  if (format_.mends_arguments && given.is_object()) {
    arguments.push_back(*given.as_object());
    return {};
  }
  if (text == nullptr) {
    return error(EncodeFault::args_type, "a tool call's arguments are not a string");
  }
  if (format_.calls_are_text) return {};
  Result<Json> parsed = parse_json(*text);
  if (!parsed && format_.mends_arguments) {
    arguments.push_back(Json::Object{{"arguments", *text}});
    return {};
  }
  if (!parsed) return error(EncodeFault::args_json, parsed.error().message);
  Json::Object* object = parsed->as_object();
  if (object == nullptr) {
    return error(EncodeFault::args_not_object, "a tool call's arguments are not an object");
  }
  arguments.push_back(std::move(*object));
  return {};
}

void MessageRenderer::put_call(const std::string& name, const Json::Object& arguments) {
  put(format_.invoke_open);
  put_content(name);
  put(format_.invoke_name_close);
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const auto& [key, value] = arguments[i];
    if (i > 0) put(format_.param_separator);
    put(format_.param_open);
    put_content(key);
    if (const std::string* text = value.as_string()) {
      put(format_.param_name_close_string);
      put_content(*text);
    } else {
      put(format_.param_name_close_json);
      put_content(print_json(value));
    }
    put(format_.param_close);
  }
  put(format_.invoke_close);
}

void MessageRenderer::put_text_call(const Json& call) {
  const Json& function = *call.find("function");
  put(format_.invoke_open);
  if (!format_.invoke_type_close.empty()) {
    const Json* type = call.find("type");
    const std::string* text = type == nullptr ? nullptr : type->as_string();
    put_content(text == nullptr ? std::string_view("function") : std::string_view(*text));
    put(format_.invoke_type_close);
  }
  put_content(*function.find("name")->as_string());
  put(format_.invoke_name_close);
  put_content(*function.find("arguments")->as_string());
  put(format_.invoke_close);
}

/// What the format writes behind a message because of the one that follows it.
Fault MessageRenderer::render_tail() {
  const Kind kind = list_[index_].kind;
  const bool is_user = kind == Kind::user || kind == Kind::developer;
  if (format_.opening == OpeningRule::user_turn) {
    if (is_user) put_opening(list_.thinks_after(index_));
    return {};
  }
  if (!list_.is_last_of_turn(index_) || !list_.is_answered(index_)) return {};
  const Json* task = task_of(index_);
  const bool is_turn =
      is_user || (kind == Kind::tool && format_.results == ResultRule::in_user_turn);
  if (task == nullptr) {
    if (is_turn) put_opening(list_.thinks_after(index_));
    return {};
  }
  const auto known =
      std::find_if(format_.tasks.begin(), format_.tasks.end(),
                   [&](const TaskToken& token) { return *task == Json(token.name); });
  if (known == format_.tasks.end()) {
    return error(EncodeFault::shape, fmt::format("has the unknown task {}", print_json(*task)));
  }
  if (known->opens_turn) put_opening(is_thinking());
  put(known->token);
  return {};
}

void MessageRenderer::put_opening(bool thinks) {
  put(format_.assistant);
  put(thinks ? format_.opening_thinking : format_.opening_content);
}

/// The task that the turn of `index` asks for, nullptr if it is an ordinary turn.
const Json* MessageRenderer::task_of(std::size_t index) const {
  if (format_.tasks.empty()) return nullptr;
  const Entry& first = list_[list_[index].turn];
  const bool is_result = first.kind == Kind::tool;
  return is_result ? nullptr : value_of(*first.message, "task");
}

Fault MessageRenderer::put_blocks(const Json& owner) {
  const Json::Array& tools = *list_of(owner, "tools");
  if (!tools.empty() && format_.tools_prefix.empty()) {
    return error(EncodeFault::shape,
                 fmt::format("has tools, which the format {} cannot state", format_.name));
  }
  for (std::size_t i = 0; i < tools.size(); ++i) {
    if (i == 0) put(format_.block_separator);
    put(i == 0 ? format_.tools_prefix : format_.tools_separator);
    put_tool(*tools[i].find("function"));
  }
  if (!tools.empty()) put(format_.tools_suffix);
  const Json* response_format = owner.find("response_format");
  if (response_format == nullptr || !response_format->is_truthy()) return {};
  if (format_.response_format_prefix.empty()) {
    return error(EncodeFault::shape,
                 fmt::format("has a response_format, which the format {} cannot "
                             "state",
                             format_.name));
  }
  put(format_.block_separator);
  put(format_.response_format_prefix);
  put_content(print_json(*response_format));
  return {};
}

void MessageRenderer::put_tool(const Json& function) {
  if (format_.tool_name_open.empty()) {
    put_content(print_json(function));
    return;
  }
  const auto text_of = [&](std::string_view key) {
    const Json* value = value_of(function, key);
    const std::string* text = value == nullptr ? nullptr : value->as_string();
    return text == nullptr ? std::string_view() : std::string_view(*text);
  };
  put(format_.tool_name_open);
  put_content(text_of("name"));
  put(format_.tool_description_open);
  put_content(text_of("description"));
  put(format_.tool_parameters_open);
  const Json* parameters = value_of(function, "parameters");
  put_content(parameters == nullptr ? "{}" : print_json(*parameters));
}

Fault MessageRenderer::put_text(const Json& owner, std::string_view key,
                                std::string_view when_missing, std::string_view when_null) {
  const Json* value = owner.find(key);
  if (value == nullptr || value->is_null()) {
    put(value == nullptr ? when_missing : when_null);
    return {};
  }
  const std::string* text = value->as_string();
  if (text == nullptr) return error(EncodeFault::shape, fmt::format("{} is not a string", key));
  put_content(*text);
  return {};
}

/// Whether the assistant's turn was opened by the message before, or goes on after a result.
bool MessageRenderer::is_opened() const {
  const Entry* previous = list_.before(index_);
  return previous != nullptr && (previous->kind == Kind::user || previous->kind == Kind::tool);
}

/// An assistant message's content; formats that show no reasoning cut off what is spelled in it.
Fault MessageRenderer::put_visible_content(bool has_calls) {
  if (format_.content_cut == ContentCut::none || has_calls) {
    return put_text(message(), "content", "", "");
  }
  const Json* value = value_of(message(), "content");
  const std::string* text = value == nullptr ? nullptr : value->as_string();
  const Entry* previous = list_.before(index_);
  const bool follows_result = previous != nullptr && previous->kind == Kind::tool;
  if (text == nullptr || follows_result) return put_text(message(), "content", "", "");
  const std::size_t close = format_.content_cut == ContentCut::to_first_think_close
                                ? text->find(format_.think_close)
                                : text->rfind(format_.think_close);
  const std::string_view content(*text);
  const bool is_cut = close != std::string::npos;
  put_content(is_cut ? content.substr(close + format_.think_close.size()) : content);
  return {};
}

void MessageRenderer::put_content(std::string_view text) {
  if (text.empty()) return;
  const std::size_t begin = out_.text.size();
  out_.text += text;
  out_.content.push_back({begin, out_.text.size()});
}

tl::unexpected<EncodeError> MessageRenderer::error(EncodeFault fault, std::string_view what) const {
  return tl::unexpected<EncodeError>(
      EncodeError{fault, fmt::format("message {} {}", index_, what)});
}

}  // namespace ponder::context::detail
