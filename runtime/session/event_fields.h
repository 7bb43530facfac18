#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "context/budget.h"
#include "context/message.h"
#include "runtime/session/event.h"
#include "runtime/session/json_writer.h"

/// The pieces that several events share, as JSON (runtime/session/event_json.h has the events
/// themselves).
///
/// Reading throws std::exception for a wrong type, a missing required field or an unknown name;
/// read_event() turns that into an UnreadableEvent. Unknown fields are ignored, missing ones have
/// defaults.
namespace ponder::runtime::fields {

Outcome outcome_of(const std::string& name);
TurnEnd turn_end_of(const std::string& name);
Verdict verdict_of(const std::string& name);
Finish finish_of(const std::string& name);
tools::Effect effect_of(const std::string& name);
/// An unknown decision makes a damaged event, and so no approval.
ApprovalDecision decision_of(const std::string& name);
/// Likewise no answer.
QuestionEnd question_end_of(const std::string& name);
nlohmann::json tools_to_json(const std::vector<context::ToolSpec>& tools);
std::vector<context::ToolSpec> tools_from_json(const nlohmann::json& in);
nlohmann::json tool_values_to_json(const ToolValues& values);
ToolValues tool_values_from_json(const nlohmann::json& in);
nlohmann::json limits_to_json(const Limits& limits);
Limits limits_from_json(const nlohmann::json& in);
nlohmann::json sub_agent_budget_to_json(const SubAgentBudget& budget);
SubAgentBudget sub_agent_budget_from_json(const nlohmann::json& in);
nlohmann::json approval_rule_to_json(const ApprovalRule& rule);
ApprovalRule approval_rule_from_json(const nlohmann::json& in);
nlohmann::json budget_to_json(const ContextBudget& budget);
ContextBudget budget_from_json(const nlohmann::json& in);
nlohmann::json sampling_to_json(const Sampling& sampling);
Sampling sampling_from_json(const nlohmann::json& in);
void write_usage(JsonObject& out, std::string_view name, const Usage& usage);
Usage usage_from_json(const nlohmann::json& in);
void write_call(JsonObject& out, const context::ToolCall& call);
context::Message message_from_json(const nlohmann::json& in);
nlohmann::json paged_to_json(const std::vector<context::PagedResult>& paged_out);
context::Reduction reduction_from_json(const nlohmann::json& in);
nlohmann::json blobs_to_json(const std::vector<BlobRef>& blobs);
std::vector<BlobRef> blobs_from_json(const nlohmann::json& in);

}  // namespace ponder::runtime::fields
