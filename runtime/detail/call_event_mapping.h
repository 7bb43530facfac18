#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "runtime/event.h"
#include "runtime/event_fields.h"

/// The events of calls as JSON; runtime/event_json.cpp has those of the session.
namespace ponder::runtime::detail {

using namespace fields;
using nlohmann::json;

/// One struct of these per event: its name, and both directions.
template <class T>
struct Mapping;

template <>
struct Mapping<ApprovalAsked> {
  static constexpr const char* kType = "approval_asked";
  static json write(const ApprovalAsked& e) {
    return {{"step", e.step}, {"call", e.call_index}, {"digest", e.digest}};
  }
  static ApprovalAsked read(const json& in) {
    return {in.at("step").get<std::uint32_t>(), in.at("call").get<std::uint32_t>(),
            in.at("digest").get<std::string>()};
  }
};

template <>
struct Mapping<ApprovalAnswered> {
  static constexpr const char* kType = "approval_answered";
  static json write(const ApprovalAnswered& e) {
    json out = {{"step", e.step},
                {"call", e.call_index},
                {"digest", e.digest},
                {"decision", approval_decision_name(e.decision)},
                {"reason", e.reason}};
    if (e.decision == ApprovalDecision::allow_session) {
      out["rule"] = approval_rule_to_json(e.rule);
    }
    return out;
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
  static json write(const ToolIntended& e) {
    return {{"step", e.step}, {"call", e.call_index}, {"effect", effect_name(e.effect)}};
  }
  static ToolIntended read(const json& in) {
    return {in.at("step").get<std::uint32_t>(), in.at("call").get<std::uint32_t>(),
            effect_of(in.value("effect", "irreversible"))};
  }
};

template <>
struct Mapping<ToolStarted> {
  static constexpr const char* kType = "tool_started";
  static json write(const ToolStarted& e) { return {{"step", e.step}, {"call", e.call_index}}; }
  static ToolStarted read(const json& in) {
    return {in.at("step").get<std::uint32_t>(), in.at("call").get<std::uint32_t>()};
  }
};

template <>
struct Mapping<QuestionAsked> {
  static constexpr const char* kType = "question_asked";
  static json write(const QuestionAsked& e) {
    return {{"step", e.step},
            {"call", e.call_index},
            {"n", e.n},
            {"text", e.text},
            {"choices", e.choices}};
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
  static json write(const QuestionAnswered& e) {
    return {{"step", e.step},
            {"call", e.call_index},
            {"n", e.n},
            {"end", question_end_name(e.end)},
            {"answer", e.answer}};
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
  static json write(const ToolNoted& e) {
    return {{"step", e.step}, {"call", e.call_index}, {"kind", e.kind}, {"content", e.content}};
  }
  static ToolNoted read(const json& in) {
    return {in.at("step").get<std::uint32_t>(), in.at("call").get<std::uint32_t>(),
            in.at("kind").get<std::string>(), in.value("content", "")};
  }
};

template <>
struct Mapping<ToolValueSet> {
  static constexpr const char* kType = "tool_value_set";
  static json write(const ToolValueSet& e) {
    json out = {{"step", e.step}, {"call", e.call_index}, {"tool", e.tool}, {"key", e.key}};
    if (e.value) out["value"] = *e.value;
    return out;
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
  static json write(const SubAgentStarted& e) {
    return {{"step", e.step},
            {"call", e.call_index},
            {"child", e.child},
            {"fork", e.is_fork},
            {"budget", sub_agent_budget_to_json(e.budget)}};
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
  static json write(const SubAgentFinished& e) {
    return {{"step", e.step},   {"call", e.call_index},
            {"child", e.child}, {"reason", turn_end_name(e.reason)},
            {"steps", e.steps}, {"usage", usage_to_json(e.usage)}};
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
  static json write(const ToolFinished& e) {
    return {{"step", e.step},
            {"call", e.call_index},
            {"outcome", outcome_name(e.outcome)},
            {"content", e.content},
            {"elapsed_ms", e.elapsed_ms}};
  }
  static ToolFinished read(const json& in) {
    return {in.at("step").get<std::uint32_t>(), in.at("call").get<std::uint32_t>(),
            outcome_of(in.at("outcome").get<std::string>()), in.value("content", ""),
            in.value("elapsed_ms", std::int64_t{0})};
  }
};

}  // namespace ponder::runtime::detail
