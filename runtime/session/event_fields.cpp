#include "runtime/session/event_fields.h"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "runtime/json_field.h"

namespace ponder::runtime::fields {
namespace {

/// A name that no value of the enumeration has; read_event turns it into an UnreadableEvent.
[[noreturn]] void reject(const std::string& what, const std::string& name) {
  throw std::invalid_argument(fmt::format("unknown {} \"{}\"", what, name));
}

template <class Enum, std::size_t N>
Enum enum_of(const std::string& name, const std::array<Enum, N>& values,
             const char* (*name_of)(Enum) noexcept, const char* what) {
  for (const Enum value : values) {
    if (name == name_of(value)) return value;
  }
  reject(what, name);
}

}  // namespace

using nlohmann::json;

Outcome outcome_of(const std::string& name) {
  constexpr std::array kAll = {Outcome::success, Outcome::error,     Outcome::timeout,
                               Outcome::denied,  Outcome::cancelled, Outcome::interrupted};
  return enum_of(name, kAll, &outcome_name, "outcome");
}

TurnEnd turn_end_of(const std::string& name) {
  constexpr std::array kAll = {
      TurnEnd::answered,     TurnEnd::cancelled,     TurnEnd::deadline,       TurnEnd::step_limit,
      TurnEnd::token_limit,  TurnEnd::repeated_call, TurnEnd::reasoning_only, TurnEnd::truncated,
      TurnEnd::model_failed, TurnEnd::context_full,  TurnEnd::no_progress,    TurnEnd::money_limit};
  return enum_of(name, kAll, &turn_end_name, "reason");
}

Verdict verdict_of(const std::string& name) {
  constexpr std::array kAll = {Verdict::ok, Verdict::repaired, Verdict::truncated};
  return enum_of(name, kAll, &verdict_name, "verdict");
}

Finish finish_of(const std::string& name) {
  constexpr std::array kAll = {Finish::stop, Finish::length};
  return enum_of(name, kAll, &finish_name, "finish");
}

tools::Effect effect_of(const std::string& name) {
  constexpr std::array kAll = {tools::Effect::pure, tools::Effect::idempotent,
                               tools::Effect::compensable, tools::Effect::irreversible};
  return enum_of(name, kAll, &effect_name, "effect");
}

ApprovalDecision decision_of(const std::string& name) {
  constexpr std::array kAll = {ApprovalDecision::allow_once, ApprovalDecision::allow_session,
                               ApprovalDecision::deny, ApprovalDecision::expired};
  return enum_of(name, kAll, &approval_decision_name, "decision");
}

QuestionEnd question_end_of(const std::string& name) {
  constexpr std::array kAll = {QuestionEnd::answered, QuestionEnd::expired,
                               QuestionEnd::unavailable};
  return enum_of(name, kAll, &question_end_name, "end");
}

json tools_to_json(const std::vector<context::ToolSpec>& tools) {
  json out = json::array();
  for (const auto& tool : tools) {
    // The schema is kept as text: the order of its keys is part of the prompt.
    out.push_back(
        {{"name", tool.name}, {"description", tool.description}, {"parameters", tool.parameters}});
  }
  return out;
}

std::vector<context::ToolSpec> tools_from_json(const json& in) {
  std::vector<context::ToolSpec> out;
  for (const json& tool : in) {
    out.push_back({field_or(tool, "name", ""), field_or(tool, "description", ""),
                   field_or(tool, "parameters", "{}")});
  }
  return out;
}

json tool_values_to_json(const ToolValues& values) {
  json parameters = json::array();
  for (const LiveValues& live : values.values) {
    parameters.push_back(
        {{"tool", live.tool}, {"parameter", live.parameter}, {"values", live.values}});
  }
  return {{"parameters", parameters}, {"problems", values.problems}};
}

ToolValues tool_values_from_json(const json& in) {
  ToolValues out;
  for (const json& live : in.at("parameters")) {
    out.values.push_back({field<std::string>(live, "tool"), field<std::string>(live, "parameter"),
                          field<std::vector<std::string>>(live, "values")});
  }
  out.problems = field_or(in, "problems", std::vector<std::string>());
  return out;
}

json limits_to_json(const Limits& limits) {
  return {{"steps_max", limits.steps_max},
          {"tokens_step_max", limits.tokens_step_max},
          {"tokens_turn_max", limits.tokens_turn_max},
          {"calls_step_max", limits.calls_step_max},
          {"repeats_max", limits.repeats_max},
          {"output_bytes_max", limits.output_bytes_max},
          {"tool_ms_max", limits.tool_ms_max},
          {"turn_ms_max", limits.turn_ms_max},
          {"stale_steps_max", limits.stale_steps_max},
          {"agent_depth_max", limits.agent_depth_max},
          {"cost_pico_max", limits.cost_pico_max}};
}

Limits limits_from_json(const json& in) {
  Limits out;
  out.steps_max = field_or(in, "steps_max", out.steps_max);
  out.tokens_step_max = field_or(in, "tokens_step_max", out.tokens_step_max);
  out.tokens_turn_max = field_or(in, "tokens_turn_max", out.tokens_turn_max);
  out.calls_step_max = field_or(in, "calls_step_max", out.calls_step_max);
  out.repeats_max = field_or(in, "repeats_max", out.repeats_max);
  out.output_bytes_max = field_or(in, "output_bytes_max", out.output_bytes_max);
  out.tool_ms_max = field_or(in, "tool_ms_max", out.tool_ms_max);
  out.turn_ms_max = field_or(in, "turn_ms_max", out.turn_ms_max);
  // A log without these was written when nothing bounded them.
  out.stale_steps_max = field_or(in, "stale_steps_max", 0U);
  out.agent_depth_max = field_or(in, "agent_depth_max", 0U);
  out.cost_pico_max = field_or(in, "cost_pico_max", std::int64_t{0});
  return out;
}

json sub_agent_budget_to_json(const SubAgentBudget& budget) {
  return {{"steps_max", budget.steps_max},
          {"tokens_max", budget.tokens_max},
          {"ms_max", budget.ms_max},
          {"cost_pico_max", budget.cost_pico_max}};
}

SubAgentBudget sub_agent_budget_from_json(const json& in) {
  return {field_or(in, "steps_max", 0U), field_or(in, "tokens_max", 0U),
          field_or(in, "ms_max", std::int64_t{0}), field_or(in, "cost_pico_max", std::int64_t{0})};
}

json approval_rule_to_json(const ApprovalRule& rule) {
  json fixed = json::array();
  for (const auto& [key, value] : rule.fixed) fixed.push_back({{"key", key}, {"value", value}});
  return {{"tool", rule.tool}, {"fixed", std::move(fixed)}};
}

ApprovalRule approval_rule_from_json(const json& in) {
  ApprovalRule out;
  out.tool = field<std::string>(in, "tool");
  for (const json& fixed : in.at("fixed")) {
    out.fixed.emplace_back(fixed.at("key").get<std::string>(),
                           fixed.at("value").get<std::string>());
  }
  return out;
}

json budget_to_json(const ContextBudget& budget) {
  return {{"strategy", budget.strategy}, {"limit_percent", budget.limit_percent}};
}

ContextBudget budget_from_json(const json& in) {
  ContextBudget out;
  out.strategy = field_or(in, "strategy", out.strategy);
  out.limit_percent = field_or(in, "limit_percent", out.limit_percent);
  return out;
}

json sampling_to_json(const Sampling& sampling) {
  json out = {{"temperature", sampling.temperature},
              {"top_p", sampling.top_p},
              {"seed", sampling.seed},
              {"thinking", sampling.is_thinking},
              {"grammar", sampling.has_grammar}};
  const Sampling neutral;
  const auto add = [&out](const char* name, double value, double without) {
    if (value != without) out[name] = value;
  };
  add("repetition_penalty", sampling.repetition_penalty, neutral.repetition_penalty);
  add("frequency_penalty", sampling.frequency_penalty, neutral.frequency_penalty);
  add("presence_penalty", sampling.presence_penalty, neutral.presence_penalty);
  return out;
}

Sampling sampling_from_json(const json& in) {
  Sampling out;
  out.temperature = field_or(in, "temperature", out.temperature);
  out.top_p = field_or(in, "top_p", out.top_p);
  out.seed = field_or(in, "seed", out.seed);
  out.repetition_penalty = field_or(in, "repetition_penalty", out.repetition_penalty);
  out.frequency_penalty = field_or(in, "frequency_penalty", out.frequency_penalty);
  out.presence_penalty = field_or(in, "presence_penalty", out.presence_penalty);
  out.is_thinking = field_or(in, "thinking", out.is_thinking);
  out.has_grammar = field_or(in, "grammar", out.has_grammar);
  return out;
}

void write_call(JsonObject& out, const context::ToolCall& call) {
  out.add("arguments", call.arguments);
  out.add("id", call.id);
  out.add("name", call.name);
}

void write_usage(JsonObject& out, std::string_view name, const Usage& usage) {
  out.add_object(name, [&](JsonObject& inner) {
    inner.add("cost_pico", usage.cost_pico);
    inner.add("decode_ms", usage.decode_ms);
    inner.add("prefill_ms", usage.prefill_ms);
    inner.add("tokens_cached", usage.tokens_cached);
    inner.add("tokens_generated", usage.tokens_generated);
    inner.add("tokens_prompt", usage.tokens_prompt);
  });
}

Usage usage_from_json(const json& in) {
  Usage out;
  out.tokens_prompt = field_or(in, "tokens_prompt", std::uint64_t{0});
  out.tokens_cached = field_or(in, "tokens_cached", std::uint64_t{0});
  out.tokens_generated = field_or(in, "tokens_generated", std::uint64_t{0});
  out.prefill_ms = field_or(in, "prefill_ms", 0.0);
  out.decode_ms = field_or(in, "decode_ms", 0.0);
  out.cost_pico = field_or(in, "cost_pico", std::int64_t{0});
  return out;
}

context::Message message_from_json(const json& in) {
  context::Message out;
  out.role = context::Role::assistant;
  out.reasoning = field_or(in, "reasoning", "");
  out.content = field_or(in, "content", "");
  out.sampled = field_or(in, "sampled", std::vector<context::TokenId>());
  for (const json& call : field_or(in, "calls", json::array())) {
    out.tool_calls.push_back(
        {call.value("id", ""), call.value("name", ""), call.value("arguments", "{}")});
  }
  return out;
}

json paged_to_json(const std::vector<context::PagedResult>& paged_out) {
  json out = json::array();
  for (const context::PagedResult& paged : paged_out) {
    out.push_back({{"message", paged.message},
                   {"hash", paged.hash},
                   {"bytes", paged.bytes},
                   {"line", paged.line}});
  }
  return out;
}

context::Reduction reduction_from_json(const json& in) {
  context::Reduction out;
  const auto name = field<std::string>(in, "strategy");
  const auto strategy = context::strategy_named(name);
  if (!strategy) reject("strategy", name);
  out.strategy = *strategy;
  out.removed = field<std::vector<std::size_t>>(in, "removed");
  for (const json& paged : field_or(in, "paged_out", json::array())) {
    out.paged_out.push_back({paged.at("message").get<std::size_t>(),
                             paged.at("hash").get<std::string>(), paged.value("bytes", 0UL),
                             paged.at("line").get<std::string>()});
  }
  out.summary = field_or(in, "summary", "");
  return out;
}

json blobs_to_json(const std::vector<BlobRef>& blobs) {
  json out = json::array();
  for (const BlobRef& blob : blobs) {
    out.push_back({{"hash", blob.hash}, {"bytes", blob.bytes}, {"title", blob.title}});
  }
  return out;
}

std::vector<BlobRef> blobs_from_json(const json& in) {
  std::vector<BlobRef> out;
  for (const json& blob : in) {
    out.push_back({blob.at("hash").get<std::string>(), blob.value("bytes", std::uint64_t{0}),
                   blob.value("title", "")});
  }
  return out;
}

}  // namespace ponder::runtime::fields
