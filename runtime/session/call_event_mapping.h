#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "runtime/json_field.h"
#include "runtime/session/event.h"
#include "runtime/session/event_fields.h"
#include "runtime/session/json_writer.h"

/// The events of calls as JSON; runtime/session/event_json.cpp has those of the session.
namespace ponder::runtime::detail {

using namespace fields;
using nlohmann::json;

/// One struct of these per event: its name, and both directions. Members are written in the order
/// of their names.
template <class T>
struct Mapping;

template <>
struct Mapping<ApprovalAsked> {
  static constexpr const char* kType = "approval_asked";
  static void write(JsonObject& out, const ApprovalAsked& e) {
    out.add("call", e.call_index).add("digest", e.digest).add("step", e.step);
  }
  static ApprovalAsked read(const json& in) {
    return {field<std::uint32_t>(in, "step"), field<std::uint32_t>(in, "call"),
            field<std::string>(in, "digest")};
  }
};

template <>
struct Mapping<ApprovalAnswered> {
  static constexpr const char* kType = "approval_answered";
  static void write(JsonObject& out, const ApprovalAnswered& e) {
    out.add("call", e.call_index);
    out.add("decision", approval_decision_name(e.decision));
    out.add("digest", e.digest);
    out.add("reason", e.reason);
    if (e.decision == ApprovalDecision::allow_session) {
      out.add("rule", approval_rule_to_json(e.rule));
    }
    out.add("step", e.step);
  }
  static ApprovalAnswered read(const json& in) {
    ApprovalAnswered e;
    e.step = field<std::uint32_t>(in, "step");
    e.call_index = field<std::uint32_t>(in, "call");
    e.digest = field<std::string>(in, "digest");
    e.decision = decision_of(field<std::string>(in, "decision"));
    e.reason = field_or(in, "reason", "");
    if (e.decision == ApprovalDecision::allow_session) {
      e.rule = approval_rule_from_json(in.at("rule"));
    }
    return e;
  }
};

template <>
struct Mapping<ToolIntended> {
  static constexpr const char* kType = "tool_intended";
  static void write(JsonObject& out, const ToolIntended& e) {
    out.add("call", e.call_index).add("effect", effect_name(e.effect)).add("step", e.step);
  }
  static ToolIntended read(const json& in) {
    return {field<std::uint32_t>(in, "step"), field<std::uint32_t>(in, "call"),
            effect_of(field_or(in, "effect", "irreversible"))};
  }
};

template <>
struct Mapping<ToolStarted> {
  static constexpr const char* kType = "tool_started";
  static void write(JsonObject& out, const ToolStarted& e) {
    out.add("call", e.call_index).add("step", e.step);
  }
  static ToolStarted read(const json& in) {
    return {field<std::uint32_t>(in, "step"), field<std::uint32_t>(in, "call")};
  }
};

template <>
struct Mapping<QuestionAsked> {
  static constexpr const char* kType = "question_asked";
  static void write(JsonObject& out, const QuestionAsked& e) {
    out.add("call", e.call_index).add("choices", e.choices).add("n", e.n);
    out.add("step", e.step).add("text", e.text);
  }
  static QuestionAsked read(const json& in) {
    return {field<std::uint32_t>(in, "step"), field<std::uint32_t>(in, "call"),
            field<std::uint32_t>(in, "n"), field<std::string>(in, "text"),
            field_or(in, "choices", std::vector<std::string>())};
  }
};

template <>
struct Mapping<QuestionAnswered> {
  static constexpr const char* kType = "question_answered";
  static void write(JsonObject& out, const QuestionAnswered& e) {
    out.add("answer", e.answer).add("call", e.call_index);
    out.add("end", question_end_name(e.end)).add("n", e.n).add("step", e.step);
  }
  static QuestionAnswered read(const json& in) {
    return {field<std::uint32_t>(in, "step"), field<std::uint32_t>(in, "call"),
            field<std::uint32_t>(in, "n"), question_end_of(field<std::string>(in, "end")),
            field<std::string>(in, "answer")};
  }
};

template <>
struct Mapping<ToolNoted> {
  static constexpr const char* kType = "tool_noted";
  static void write(JsonObject& out, const ToolNoted& e) {
    out.add("call", e.call_index).add("content", e.content).add("kind", e.kind);
    out.add("step", e.step);
  }
  static ToolNoted read(const json& in) {
    return {field<std::uint32_t>(in, "step"), field<std::uint32_t>(in, "call"),
            field<std::string>(in, "kind"), field_or(in, "content", "")};
  }
};

template <>
struct Mapping<ToolValueSet> {
  static constexpr const char* kType = "tool_value_set";
  static void write(JsonObject& out, const ToolValueSet& e) {
    out.add("call", e.call_index).add("key", e.key).add("step", e.step).add("tool", e.tool);
    if (e.value) out.add("value", *e.value);
  }
  static ToolValueSet read(const json& in) {
    ToolValueSet e;
    e.step = field<std::uint32_t>(in, "step");
    e.call_index = field<std::uint32_t>(in, "call");
    e.tool = field<std::string>(in, "tool");
    e.key = field<std::string>(in, "key");
    if (in.contains("value")) e.value = in["value"].get<std::string>();
    return e;
  }
};

template <>
struct Mapping<SubAgentStarted> {
  static constexpr const char* kType = "sub_agent_started";
  static void write(JsonObject& out, const SubAgentStarted& e) {
    out.add("budget", sub_agent_budget_to_json(e.budget));
    out.add("call", e.call_index);
    out.add("child", e.child);
    out.add("fork", e.is_fork);
    out.add("step", e.step);
  }
  static SubAgentStarted read(const json& in) {
    return {field<std::uint32_t>(in, "step"), field<std::uint32_t>(in, "call"),
            field<std::string>(in, "child"), field_or(in, "fork", false),
            sub_agent_budget_from_json(in.at("budget"))};
  }
};

template <>
struct Mapping<SubAgentFinished> {
  static constexpr const char* kType = "sub_agent_finished";
  static void write(JsonObject& out, const SubAgentFinished& e) {
    out.add("call", e.call_index);
    out.add("child", e.child);
    out.add("reason", turn_end_name(e.reason));
    out.add("step", e.step);
    out.add("steps", e.steps);
    write_usage(out, "usage", e.usage);
  }
  static SubAgentFinished read(const json& in) {
    return {
        field<std::uint32_t>(in, "step"), field<std::uint32_t>(in, "call"),
        field<std::string>(in, "child"),  turn_end_of(field<std::string>(in, "reason")),
        field_or(in, "steps", 0U),        usage_from_json(field_or(in, "usage", json::object()))};
  }
};

template <>
struct Mapping<ToolFinished> {
  static constexpr const char* kType = "tool_finished";
  static void write(JsonObject& out, const ToolFinished& e) {
    out.add("call", e.call_index);
    out.add("content", e.content);
    out.add("elapsed_ms", e.elapsed_ms);
    out.add("outcome", outcome_name(e.outcome));
    out.add("step", e.step);
    if (e.reader) out.add("tools", tools_to_json({*e.reader}));
    if (e.whole) out.add("whole", blobs_to_json({*e.whole}).front());
  }
  static ToolFinished read(const json& in) {
    ToolFinished e;
    e.step = field<std::uint32_t>(in, "step");
    e.call_index = field<std::uint32_t>(in, "call");
    e.outcome = outcome_of(field<std::string>(in, "outcome"));
    e.content = field_or(in, "content", "");
    e.elapsed_ms = field_or(in, "elapsed_ms", std::int64_t{0});
    const auto tools = tools_from_json(field_or(in, "tools", json::array()));
    if (!tools.empty()) e.reader = tools.front();
    if (in.contains("whole")) e.whole = blobs_from_json(json::array({in["whole"]})).front();
    return e;
  }
};

}  // namespace ponder::runtime::detail
