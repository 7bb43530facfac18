#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

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
    return {in.at("step").get<std::uint32_t>(), in.at("call").get<std::uint32_t>(),
            in.at("digest").get<std::string>()};
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
    e.step = in.at("step").get<std::uint32_t>();
    e.call_index = in.at("call").get<std::uint32_t>();
    e.digest = in.at("digest").get<std::string>();
    e.decision = decision_of(in.at("decision").get<std::string>());
    e.reason = in.value("reason", "");
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
    return {in.at("step").get<std::uint32_t>(), in.at("call").get<std::uint32_t>(),
            effect_of(in.value("effect", "irreversible"))};
  }
};

template <>
struct Mapping<ToolStarted> {
  static constexpr const char* kType = "tool_started";
  static void write(JsonObject& out, const ToolStarted& e) {
    out.add("call", e.call_index).add("step", e.step);
  }
  static ToolStarted read(const json& in) {
    return {in.at("step").get<std::uint32_t>(), in.at("call").get<std::uint32_t>()};
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
    return {in.at("step").get<std::uint32_t>(), in.at("call").get<std::uint32_t>(),
            in.at("n").get<std::uint32_t>(), in.at("text").get<std::string>(),
            in.value("choices", std::vector<std::string>())};
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
    return {in.at("step").get<std::uint32_t>(), in.at("call").get<std::uint32_t>(),
            in.at("n").get<std::uint32_t>(), question_end_of(in.at("end").get<std::string>()),
            in.at("answer").get<std::string>()};
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
    return {in.at("step").get<std::uint32_t>(), in.at("call").get<std::uint32_t>(),
            in.at("kind").get<std::string>(), in.value("content", "")};
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
    e.step = in.at("step").get<std::uint32_t>();
    e.call_index = in.at("call").get<std::uint32_t>();
    e.tool = in.at("tool").get<std::string>();
    e.key = in.at("key").get<std::string>();
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
    return {in.at("step").get<std::uint32_t>(), in.at("call").get<std::uint32_t>(),
            in.at("child").get<std::string>(), in.value("fork", false),
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
    return {in.at("step").get<std::uint32_t>(),
            in.at("call").get<std::uint32_t>(),
            in.at("child").get<std::string>(),
            turn_end_of(in.at("reason").get<std::string>()),
            in.value("steps", 0U),
            usage_from_json(in.value("usage", json::object()))};
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
    e.step = in.at("step").get<std::uint32_t>();
    e.call_index = in.at("call").get<std::uint32_t>();
    e.outcome = outcome_of(in.at("outcome").get<std::string>());
    e.content = in.value("content", "");
    e.elapsed_ms = in.value("elapsed_ms", std::int64_t{0});
    const auto tools = tools_from_json(in.value("tools", json::array()));
    if (!tools.empty()) e.reader = tools.front();
    if (in.contains("whole")) e.whole = blobs_from_json(json::array({in["whole"]})).front();
    return e;
  }
};

}  // namespace ponder::runtime::detail
