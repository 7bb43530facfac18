#include "runtime/agent/approval.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/digest.h"
#include "context/json.h"
#include "runtime/text.h"

namespace ponder::runtime {
namespace {

using context::Json;

}  // namespace

bool needs_approval(tools::Effect effect) {
  return effect != tools::Effect::pure && effect != tools::Effect::idempotent;
}

std::string approval_digest(std::string_view tool, std::string_view canonical) {
  return sha256_hex(fmt::format("{}\n{}", tool, canonical));
}

Result<ApprovalQuestion> question_about(const context::ToolCall& call, tools::Effect effect) {
  ApprovalQuestion question;
  PONDER_TRY(question.arguments, canonical_arguments(call.arguments));
  question.digest = approval_digest(call.name, question.arguments);
  question.tool = call.name;
  question.effect = effect;
  return question;
}

Result<ApprovalRule> rule_for(const ApprovalQuestion& question,
                              const std::vector<std::string>& keys) {
  PONDER_TRY(const Json arguments, context::parse_json(question.arguments));
  ApprovalRule rule;
  rule.tool = question.tool;
  for (const std::string& key : keys) {
    const Json* value = arguments.find(key);
    if (value == nullptr) {
      return fail(Errc::not_found, fmt::format("{} has no argument '{}'", question.tool, key));
    }
    rule.fixed.emplace_back(key, context::print_json(*value));
  }
  return rule;
}

std::optional<ApprovalAnswered> answer_event(ApprovalAnswered event,
                                             Result<ApprovalAnswer> answer) {
  if (answer) {
    event.decision = answer->decision;
    event.reason = clean_utf8(answer->reason);
    event.rule = std::move(answer->rule);
    return event;
  }
  const Error& error = answer.error();
  if (error.code == Errc::cancelled) return std::nullopt;
  const bool is_late = error.code == Errc::deadline;
  event.decision = is_late ? ApprovalDecision::expired : ApprovalDecision::deny;
  if (!is_late) event.reason = clean_utf8(error.message);
  return event;
}

bool rule_allows(const ApprovalRule& rule, const context::ToolCall& call) {
  if (rule.tool != call.name) return false;
  const auto canonical = canonical_arguments(call.arguments);
  if (!canonical) return false;
  const auto arguments = context::parse_json(*canonical);
  if (!arguments) return false;
  return std::all_of(rule.fixed.begin(), rule.fixed.end(), [&](const auto& fixed) {
    const Json* value = arguments->find(fixed.first);
    return value != nullptr && context::print_json(*value) == fixed.second;
  });
}

}  // namespace ponder::runtime
