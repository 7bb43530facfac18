#include "context/encoder.h"

#include <fmt/format.h>

#include <utility>

namespace ponder::context {

std::string_view encode_fault_name(EncodeFault fault) {
  switch (fault) {
    case EncodeFault::mode:
      return "MODE";
    case EncodeFault::index:
      return "INDEX";
    case EncodeFault::shape:
      return "SHAPE";
    case EncodeFault::developer_empty:
      return "DEVELOPER_EMPTY";
    case EncodeFault::result_orphan:
      return "RESULT_ORPHAN";
    case EncodeFault::result_count:
      return "RESULT_COUNT";
    case EncodeFault::no_reasoning:
      return "NO_REASONING";
    case EncodeFault::args_json:
      return "ARGS_JSON";
    case EncodeFault::args_not_object:
      return "ARGS_NOT_OBJECT";
    case EncodeFault::args_type:
      return "ARGS_TYPE";
    case EncodeFault::role:
      return "ROLE";
  }
  return "UNKNOWN";
}

Error EncodeError::to_error() const {
  return Error(Errc::invalid_argument, fmt::format("{}: {}", encode_fault_name(fault), message));
}

namespace {

using Fault = tl::expected<void, EncodeError>;

std::string_view role_of(const Json& message) {
  const Json* role = message.find("role");
  const std::string* text = role == nullptr ? nullptr : role->as_string();
  return text == nullptr ? std::string_view() : std::string_view(*text);
}

/// The value of a key, null and absent being the same.
const Json* value_of(const Json& message, std::string_view key) {
  const Json* value = message.find(key);
  return value == nullptr || value->is_null() ? nullptr : value;
}

/// The entries of a list that is absent, null or falsy; nullptr if it is no list at all.
const Json::Array* list_of(const Json& message, std::string_view key) {
  static const Json::Array kNone;
  const Json* value = value_of(message, key);
  if (value == nullptr || !value->is_truthy()) return &kNone;
  return value->as_array();
}

bool is_pivot(const Json& message) {
  const std::string_view role = role_of(message);
  return role == "user" || role == "developer";
}

class Encoder {
 public:
  Encoder(std::span<const Json> messages, std::span<const Json> context,
          const EncodeOptions& options, const ChatFormat& format)
      : options_(options),
        format_(format),
        is_thinking_(options.thinking_mode == "thinking"),
        first_(context.size()),
        num_rendered_(messages.size()) {
    for (const Json& message : context) list_.push_back(&message);
    for (const Json& message : messages) list_.push_back(&message);
  }

  tl::expected<Encoded, EncodeError> run() {
    pivot_ = find_pivot();
    if (is_thinking_ && options_.drop_thinking) remove_before_pivot();
    find_anchors();
    if (options_.add_default_bos_token && first_ == 0) out_.text += format_.bos;
    for (std::size_t i = first_; i < first_ + num_rendered_; ++i) {
      const Fault rendered = render(i);
      if (!rendered) return tl::unexpected<EncodeError>(rendered.error());
      out_.message_ends.push_back(out_.text.size());
    }
    return std::move(out_);
  }

 private:
  using Index = std::ptrdiff_t;

  /// Index of the last user or developer message, -1 if there is none.
  Index find_pivot() const {
    for (auto i = static_cast<Index>(list_.size()); i-- > 0;) {
      if (is_pivot(*list_[static_cast<std::size_t>(i)])) return i;
    }
    return -1;
  }

  /// drop_thinking as the reference does it: before the pivot only user, system, tool and assistant
  /// messages stay. (Their reasoning needs no removal: the position rule hides it.)
  void remove_before_pivot() {
    std::vector<const Json*> kept;
    for (std::size_t i = 0; i < list_.size(); ++i) {
      const std::string_view role = role_of(*list_[i]);
      const bool stays = static_cast<Index>(i) >= pivot_ || role == "user" || role == "system" ||
                         role == "tool" || role == "assistant";
      if (stays) kept.push_back(list_[i]);
    }
    pivot_ -= pivot_ < 0 ? 0 : static_cast<Index>(list_.size() - kept.size());
    list_ = std::move(kept);
  }

  /// For each message the nearest one before it that is no tool message, -1 if there is none.
  void find_anchors() {
    Index anchor = -1;
    for (std::size_t i = 0; i < list_.size(); ++i) {
      anchors_.push_back(anchor);
      if (role_of(*list_[i]) != "tool") anchor = static_cast<Index>(i);
    }
  }

  Fault render(std::size_t index) {
    index_ = index;
    if (index >= list_.size()) {
      return error(EncodeFault::index, "lies beyond the messages that drop_thinking left");
    }
    if (!is_thinking_ && options_.thinking_mode != "chat") {
      return error(EncodeFault::mode,
                   fmt::format("thinking mode '{}' is unknown", options_.thinking_mode));
    }
    const Json& message = *list_[index];
    if (!message.is_object()) return error(EncodeFault::shape, "is not an object");
    if (const Fault ok = check_lists(message); !ok) return ok;
    const std::string_view role = role_of(message);
    if (role == "system") return render_system(message);
    if (role == "developer") return render_developer(message);
    if (role == "user") return render_user(message);
    if (role == "tool") return render_tool(message);
    if (role == "assistant") return render_assistant(message);
    return error(EncodeFault::role, fmt::format("has the unknown role '{}'", role));
  }

  Fault check_lists(const Json& message) {
    const Json::Array* tools = list_of(message, "tools");
    if (tools == nullptr) return error(EncodeFault::shape, "tools is not a list");
    for (const Json& tool : *tools) {
      if (tool.find("function") == nullptr) {
        return error(EncodeFault::shape, "a tools entry has no 'function'");
      }
    }
    const Json::Array* calls = list_of(message, "tool_calls");
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

  Fault render_system(const Json& message) {
    if (const Fault ok = put_text(message, "content", ""); !ok) return ok;
    put_blocks(message);
    return {};
  }

  Fault render_developer(const Json& message) {
    const Json* content = message.find("content");
    if (content == nullptr || !content->is_truthy()) {
      return error(EncodeFault::developer_empty, "is a developer message without content");
    }
    put(format_.user);
    put_blocks(message);
    put(format_.developer_question_prefix);
    if (const Fault ok = put_text(message, "content", ""); !ok) return ok;
    put(format_.assistant);
    put_think_token(static_cast<Index>(index_) == pivot_);
    return {};
  }

  Fault render_user(const Json& message) {
    put(format_.user);
    if (const Fault ok = put_text(message, "content", "None"); !ok) return ok;
    put(format_.assistant);
    put_think_token(static_cast<Index>(index_) == pivot_);
    return {};
  }

  Fault render_tool(const Json& message) {
    const Index anchor = anchors_[index_];
    // The reference indexes the message before this one; before the first, that is the last.
    const Json& caller = anchor >= 0 ? *list_[static_cast<std::size_t>(anchor)] : *list_.back();
    if (index_ > 0 && (anchor < 0 || role_of(caller) != "assistant")) {
      return error(EncodeFault::result_orphan,
                   "is a tool result that follows no assistant message");
    }
    const auto position = static_cast<std::size_t>(static_cast<Index>(index_) - anchor);
    const Json::Array* calls = list_of(caller, "tool_calls");
    if (calls == nullptr || calls->size() < position) {
      return error(EncodeFault::result_count, "is a tool result without a call");
    }
    if (position == 1) put(format_.results_open);
    put(format_.result_open);
    if (const Fault ok = put_text(message, "content", "None"); !ok) return ok;
    put(format_.result_close);
    if (position == calls->size()) {
      put(format_.results_close);
      put(format_.after_results);
      put_think_token(static_cast<Index>(index_) >= pivot_);
    }
    return {};
  }

  Fault render_assistant(const Json& message) {
    // Faults in the calls come before a missing reasoning, so the calls are read first.
    std::vector<Json::Object> arguments;
    const Json::Array& calls = *list_of(message, "tool_calls");
    for (const Json& call : calls) {
      if (const Fault ok = read_arguments(*call.find("function"), arguments); !ok) return ok;
    }
    if (is_thinking_ && static_cast<Index>(index_) > pivot_) {
      const Json* reasoning = message.find("reasoning_content");
      if (options_.requires_reasoning && calls.empty() &&
          (reasoning == nullptr || !reasoning->is_truthy())) {
        return error(EncodeFault::no_reasoning, "has neither reasoning nor calls");
      }
      if (const Fault ok = put_text(message, "reasoning_content", ""); !ok) return ok;
      put(format_.think_close);
    }
    if (const Fault ok = put_text(message, "content", ""); !ok) return ok;
    for (std::size_t i = 0; i < calls.size(); ++i) {
      put(i == 0 ? format_.calls_open : format_.calls_separator);
      put_call(*calls[i].find("function")->find("name")->as_string(), arguments[i]);
    }
    if (!calls.empty()) put(format_.calls_close);
    put(format_.eos);
    return {};
  }

  Fault read_arguments(const Json& function, std::vector<Json::Object>& arguments) {
    if (!function.find("name")->is_string()) {
      return error(EncodeFault::shape, "a tool call's name is not a string");
    }
    const std::string* text = function.find("arguments")->as_string();
    if (text == nullptr) {
      return error(EncodeFault::args_type, "a tool call's arguments are not a string");
    }
    Result<Json> parsed = parse_json(*text);
    if (!parsed) return error(EncodeFault::args_json, parsed.error().message);
    Json::Object* object = parsed->as_object();
    if (object == nullptr) {
      return error(EncodeFault::args_not_object, "a tool call's arguments are not an object");
    }
    arguments.push_back(std::move(*object));
    return {};
  }

  void put_call(const std::string& name, const Json::Object& arguments) {
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

  void put_blocks(const Json& message) {
    const Json::Array& tools = *list_of(message, "tools");
    for (std::size_t i = 0; i < tools.size(); ++i) {
      if (i == 0) put(format_.block_separator);
      put(i == 0 ? format_.tools_prefix : format_.tools_separator);
      put_content(print_json(*tools[i].find("function")));
    }
    if (!tools.empty()) put(format_.tools_suffix);
    const Json* response_format = message.find("response_format");
    if (response_format == nullptr || !response_format->is_truthy()) return;
    put(format_.block_separator);
    put(format_.response_format_prefix);
    put_content(print_json(*response_format));
  }

  /// Null is what the reference makes of it: nothing, or Python's word for it.
  Fault put_text(const Json& message, std::string_view key, std::string_view when_null) {
    const Json* value = value_of(message, key);
    if (value == nullptr) {
      put(when_null);
      return {};
    }
    const std::string* text = value->as_string();
    if (text == nullptr) return error(EncodeFault::shape, fmt::format("{} is not a string", key));
    put_content(*text);
    return {};
  }

  void put_think_token(bool is_open) {
    put(is_thinking_ && is_open ? format_.think_open : format_.think_close);
  }

  void put(std::string_view literal) { out_.text += literal; }

  void put_content(std::string_view text) {
    if (text.empty()) return;
    const std::size_t begin = out_.text.size();
    out_.text += text;
    out_.content.push_back({begin, out_.text.size()});
  }

  tl::unexpected<EncodeError> error(EncodeFault fault, std::string_view what) const {
    return tl::unexpected<EncodeError>(
        EncodeError{fault, fmt::format("message {} {}", index_, what)});
  }

  const EncodeOptions& options_;
  const ChatFormat& format_;
  bool is_thinking_;
  std::size_t first_;         // index of the first message to render
  std::size_t num_rendered_;  // counted before removals, as the reference does
  std::vector<const Json*> list_;
  std::vector<Index> anchors_;
  Index pivot_ = -1;
  std::size_t index_ = 0;  // the message being rendered
  Encoded out_;
};

}  // namespace

tl::expected<Encoded, EncodeError> encode(std::span<const Json> messages,
                                          std::span<const Json> context,
                                          const EncodeOptions& options, const ChatFormat& format) {
  return Encoder(messages, context, options, format).run();
}

}  // namespace ponder::context
