#include "runtime/session/event_json.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "base/json_problem.h"
#include "runtime/json_field.h"
#include "runtime/session/call_event_mapping.h"
#include "runtime/session/event_fields.h"
#include "runtime/session/json_writer.h"

namespace ponder::runtime {
namespace detail {

template <>
struct Mapping<SessionStarted> {
  static constexpr const char* kType = "session_started";
  static void write(JsonObject& out, const SessionStarted& e) {
    out.add("context", budget_to_json(e.context));
    out.add("currency", e.currency);
    out.add("environment", e.environment);
    out.add("family", e.family);
    out.add("instructions", e.instructions);
    out.add("limits", limits_to_json(e.limits));
    out.add("model", e.model);
    out.add("policy", e.policy);
    out.add("sampling", sampling_to_json(e.sampling));
    out.add("tools", tools_to_json(e.tools));
    out.add("vocabulary", e.vocabulary);
    out.add("workflow", e.workflow);
  }
  static SessionStarted read(const json& in) {
    SessionStarted e;
    e.model = field_or(in, "model", "");
    e.family = field_or(in, "family", "");
    e.policy = field_or(in, "policy", "");
    e.vocabulary = field_or(in, "vocabulary", "");
    e.workflow = field_or(in, "workflow", "");
    e.instructions = field_or(in, "instructions", "");
    e.tools = tools_from_json(field_or(in, "tools", json::array()));
    e.limits = limits_from_json(field_or(in, "limits", json::object()));
    e.context = budget_from_json(field_or(in, "context", json::object()));
    e.sampling = sampling_from_json(field_or(in, "sampling", json::object()));
    e.environment = field_or(in, "environment", "");
    e.currency = field_or(in, "currency", "");
    return e;
  }
};

template <>
struct Mapping<SessionForked> {
  static constexpr const char* kType = "session_forked";
  static void write(JsonObject& out, const SessionForked& e) {
    out.add("parent", e.parent).add("parent_seq", e.parent_seq);
  }
  static SessionForked read(const json& in) {
    return {field<std::string>(in, "parent"), field<std::int64_t>(in, "parent_seq")};
  }
};

template <>
struct Mapping<SessionImported> {
  static constexpr const char* kType = "session_imported";
  static void write(JsonObject& out, const SessionImported& e) {
    if (!e.from.empty()) out.add("from", e.from);
  }
  static SessionImported read(const json& in) { return {field_or(in, "from", "")}; }
};

template <>
struct Mapping<TaskAssigned> {
  static constexpr const char* kType = "task_assigned";
  static void write(JsonObject& out, const TaskAssigned& e) {
    out.add("call", e.call_index);
    out.add("completion", e.completion_seq);
    out.add("depth", e.depth);
    out.add("limits", limits_to_json(e.limits));
    out.add("parent", e.parent);
    out.add("tools", e.tools);
  }
  static TaskAssigned read(const json& in) {
    return {field<std::string>(in, "parent"),
            field<std::int64_t>(in, "completion"),
            field<std::uint32_t>(in, "call"),
            field<std::uint32_t>(in, "depth"),
            field<std::vector<std::string>>(in, "tools"),
            limits_from_json(in.at("limits"))};
  }
};

template <>
struct Mapping<BudgetChanged> {
  static constexpr const char* kType = "budget_changed";
  static void write(JsonObject& out, const BudgetChanged& e) {
    out.add("cost_pico_max", e.cost_pico_max);
    if (e.steps_max) out.add("steps_max", *e.steps_max);
    if (e.tokens_turn_max) out.add("tokens_turn_max", *e.tokens_turn_max);
    if (e.turn_ms_max) out.add("turn_ms_max", *e.turn_ms_max);
  }
  static BudgetChanged read(const json& in) {
    BudgetChanged out;
    out.cost_pico_max = field<std::int64_t>(in, "cost_pico_max");
    if (in.contains("steps_max")) out.steps_max = in["steps_max"].get<std::uint32_t>();
    if (in.contains("tokens_turn_max"))
      out.tokens_turn_max = in["tokens_turn_max"].get<std::uint32_t>();
    if (in.contains("turn_ms_max")) out.turn_ms_max = in["turn_ms_max"].get<std::int64_t>();
    return out;
  }
};

template <>
struct Mapping<ModelChanged> {
  static constexpr const char* kType = "model_changed";
  static void write(JsonObject& out, const ModelChanged& e) {
    out.add("family", e.family);
    out.add("model", e.model);
    out.add("policy", e.policy);
    out.add("vocabulary", e.vocabulary);
  }
  static ModelChanged read(const json& in) {
    return {field<std::string>(in, "model"), field<std::string>(in, "family"),
            field_or(in, "policy", ""), field_or(in, "vocabulary", "")};
  }
};

template <>
struct Mapping<UserMessage> {
  static constexpr const char* kType = "user_message";
  static void write(JsonObject& out, const UserMessage& e) { out.add("content", e.content); }
  static UserMessage read(const json& in) { return {field_or(in, "content", "")}; }
};

template <>
struct Mapping<UserInterjected> {
  static constexpr const char* kType = "user_interjected";
  static void write(JsonObject& out, const UserInterjected& e) {
    out.add("content", e.content).add("ends_turn", e.ends_turn);
  }
  static UserInterjected read(const json& in) {
    return {field<std::string>(in, "content"), field_or(in, "ends_turn", false)};
  }
};

template <>
struct Mapping<ModeChanged> {
  static constexpr const char* kType = "mode_changed";
  static void write(JsonObject& out, const ModeChanged& e) {
    out.add("policy", e.policy);
    out.add("reason", e.reason);
    out.add("thinking", e.is_thinking);
  }
  static ModeChanged read(const json& in) {
    return {field<bool>(in, "thinking"), field_or(in, "policy", ""), field_or(in, "reason", "")};
  }
};

template <>
struct Mapping<MessagePinned> {
  static constexpr const char* kType = "message_pinned";
  static void write(JsonObject& out, const MessagePinned& e) {
    out.add("message", e.message_seq).add("pinned", e.is_pinned);
  }
  static MessagePinned read(const json& in) {
    return {field<std::int64_t>(in, "message"), field_or(in, "pinned", true)};
  }
};

template <>
struct Mapping<ModelStarted> {
  static constexpr const char* kType = "model_started";
  static void write(JsonObject& out, const ModelStarted& e) {
    out.add("attempt", e.attempt).add("step", e.step);
    if (e.values) out.add("values", tool_values_to_json(*e.values));
  }
  static ModelStarted read(const json& in) {
    ModelStarted e{field<std::uint32_t>(in, "step"), field_or(in, "attempt", 0U)};
    if (in.contains("values")) e.values = tool_values_from_json(in["values"]);
    return e;
  }
};

template <>
struct Mapping<ModelCompleted> {
  static constexpr const char* kType = "model_completed";
  static void write(JsonObject& out, const ModelCompleted& e) {
    out.add("call_faults", e.call_faults);
    out.add_objects("calls", e.message.tool_calls, write_call);
    out.add("content", e.message.content);
    out.add("finish", finish_name(e.finish));
    out.add("notes", e.notes);
    out.add("prompt_hash", e.prompt_hash);
    out.add("reasoning", e.message.reasoning);
    out.add("sampled", e.message.sampled);
    out.add("step", e.step);
    write_usage(out, "usage", e.usage);
    if (e.usage_void.tokens_prompt > 0 || e.usage_void.tokens_generated > 0) {
      write_usage(out, "usage_void", e.usage_void);
    }
    out.add("verdict", verdict_name(e.verdict));
  }
  static ModelCompleted read(const json& in) {
    ModelCompleted e;
    e.step = field<std::uint32_t>(in, "step");
    e.message = message_from_json(in);
    e.call_faults = field_or(in, "call_faults", std::vector<std::string>());
    e.call_faults.resize(e.message.tool_calls.size());
    e.finish = finish_of(field_or(in, "finish", "stop"));
    e.verdict = verdict_of(field_or(in, "verdict", "ok"));
    e.notes = field_or(in, "notes", std::vector<std::string>());
    e.usage = usage_from_json(field_or(in, "usage", json::object()));
    e.usage_void = usage_from_json(field_or(in, "usage_void", json::object()));
    e.prompt_hash = field_or(in, "prompt_hash", "");
    return e;
  }
};

template <>
struct Mapping<ModelRetried> {
  static constexpr const char* kType = "model_retried";
  static void write(JsonObject& out, const ModelRetried& e) {
    out.add("reason", e.reason).add("step", e.step);
  }
  static ModelRetried read(const json& in) {
    return {field<std::uint32_t>(in, "step"), field_or(in, "reason", "")};
  }
};

template <>
struct Mapping<ContextReduced> {
  static constexpr const char* kType = "context_reduced";
  static void write(JsonObject& out, const ContextReduced& e) {
    const context::Reduction& reduction = e.reduction;
    out.add("blobs", blobs_to_json(e.blobs));
    out.add("note", e.note);
    out.add("paged_out", paged_to_json(reduction.paged_out));
    out.add("removed", reduction.removed);
    out.add("removed_seqs", e.removed_seqs);
    out.add("strategy", context::strategy_name(reduction.strategy));
    out.add("summary", reduction.summary);
    out.add("summary_prompt_hash", e.summary_prompt_hash);
    write_usage(out, "summary_usage", e.summary_usage);
    out.add("tokens_after", e.tokens_after);
    out.add("tokens_before", e.tokens_before);
    out.add("tokens_prompt_max", e.tokens_prompt_max);
    out.add("tools", e.reader ? tools_to_json({*e.reader}) : json::array());
  }
  static ContextReduced read(const json& in) {
    ContextReduced e;
    e.reduction = reduction_from_json(in);
    e.removed_seqs = field_or(in, "removed_seqs", std::vector<std::int64_t>());
    e.blobs = blobs_from_json(field_or(in, "blobs", json::array()));
    const auto tools = tools_from_json(field_or(in, "tools", json::array()));
    if (!tools.empty()) e.reader = tools.front();
    e.tokens_before = field_or(in, "tokens_before", std::uint64_t{0});
    e.tokens_after = field_or(in, "tokens_after", std::uint64_t{0});
    e.tokens_prompt_max = field_or(in, "tokens_prompt_max", std::uint64_t{0});
    e.note = field_or(in, "note", "");
    e.summary_usage = usage_from_json(field_or(in, "summary_usage", json::object()));
    e.summary_prompt_hash = field_or(in, "summary_prompt_hash", "");
    return e;
  }
};

template <>
struct Mapping<TurnEnded> {
  static constexpr const char* kType = "turn_ended";
  static void write(JsonObject& out, const TurnEnded& e) {
    out.add("detail", e.detail).add("reason", turn_end_name(e.reason));
    if (e.usage_void.tokens_prompt > 0 || e.usage_void.tokens_generated > 0) {
      write_usage(out, "usage_void", e.usage_void);
    }
  }
  static TurnEnded read(const json& in) {
    return {turn_end_of(field<std::string>(in, "reason")), field_or(in, "detail", ""),
            usage_from_json(field_or(in, "usage_void", json::object()))};
  }
};

template <>
struct Mapping<WorkflowFinished> {
  static constexpr const char* kType = "workflow_finished";
  static void write(JsonObject& out, const WorkflowFinished& e) {
    out.add("detail", e.detail);
    out.add("directory", e.directory);
    out.add("files", e.files);
    out.add("solved", e.is_solved);
  }
  static WorkflowFinished read(const json& in) {
    return {field<bool>(in, "solved"), field_or(in, "detail", ""), field_or(in, "directory", ""),
            field_or(in, "files", std::vector<std::string>())};
  }
};

}  // namespace detail

namespace {

using detail::Mapping;
using nlohmann::json;

/// Tries each event type in turn; nothing when none has this name.
template <class... T>
std::optional<Event> read_known(std::string_view type, const json& in,
                                const std::variant<T...>* /*types*/) {
  std::optional<Event> out;
  const auto try_one = [&]<class E>(std::type_identity<E>) {
    if constexpr (!std::is_same_v<E, UnreadableEvent>) {
      if (!out && type == Mapping<E>::kType) out = Mapping<E>::read(in);
    }
  };
  (try_one(std::type_identity<T>()), ...);
  return out;
}

template <class... T>
std::vector<std::string> names_of(const std::variant<T...>* /*types*/) {
  std::vector<std::string> out;
  const auto add_one = [&]<class E>(std::type_identity<E>) {
    if constexpr (!std::is_same_v<E, UnreadableEvent>) out.push_back(Mapping<E>::kType);
  };
  (add_one(std::type_identity<T>()), ...);
  return out;
}

}  // namespace

const std::vector<std::string>& event_types() {
  static const std::vector<std::string> names = names_of(static_cast<const Event*>(nullptr));
  return names;
}

std::string event_type(const Event& event) {
  return std::visit(
      []<class E>(const E& e) -> std::string {
        if constexpr (std::is_same_v<E, UnreadableEvent>) {
          return e.type;
        } else {
          return Mapping<E>::kType;
        }
      },
      event);
}

int event_version(const Event& event) {
  const auto* unreadable = std::get_if<UnreadableEvent>(&event);
  return unreadable == nullptr ? kEventVersion : unreadable->version;
}

std::string event_payload(const Event& event) {
  return std::visit(
      []<class E>(const E& e) -> std::string {
        if constexpr (std::is_same_v<E, UnreadableEvent>) {
          return e.payload;
        } else {
          std::string out;
          JsonObject object(out);
          Mapping<E>::write(object, e);
          object.end();
          return out;
        }
      },
      event);
}

Event read_event(std::string_view type, int version, std::string_view payload) {
  const auto unreadable = [&](std::string problem) {
    return UnreadableEvent{std::string(type), std::string(payload), std::move(problem), version};
  };
  if (version < 1 || version > kEventVersion) {
    return unreadable(fmt::format("version {} is unknown", version));
  }
  try {
    const json in = json::parse(payload);
    if (!in.is_object()) return unreadable("the payload is no object");
    auto event = read_known(type, in, static_cast<const Event*>(nullptr));
    if (event) return std::move(*event);
    return unreadable("the type is unknown");
  } catch (const std::exception& e) {
    return unreadable(json_problem(e));
  }
}

std::string record_line(const SessionId& session, const Record& record) {
  std::string out;
  JsonObject line(out);
  line.add("session", session.value);
  line.add("seq", record.seq);
  line.add("time_ms", record.unix_ms);
  line.add("type", event_type(record.event));
  line.add("version", event_version(record.event));
  if (const auto* unreadable = std::get_if<UnreadableEvent>(&record.event)) {
    // It may be no JSON at all: it travels as a string.
    line.add("unreadable", true);
    line.add_object("data", [unreadable](JsonObject& data) {
      data.add("payload", unreadable->payload);
      data.add("problem", unreadable->problem);
    });
  } else {
    line.add_json("data", event_payload(record.event));
  }
  line.end();
  return out;
}

}  // namespace ponder::runtime
