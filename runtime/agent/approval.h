#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "context/message.h"
#include "runtime/session/canonical_arguments.h"
#include "runtime/session/event.h"
#include "tools/tool.h"

/// A person's word before a call with a lasting effect runs.
///
/// Asked for are calls of tools that are compensable or irreversible (or say nothing); pure and
/// idempotent ones run without. A question and its answer are bound to the digest of the tool's
/// name and its exact arguments: an answer counts for nothing else. The question goes to an
/// Approver, which is a way to a person and to nobody else; neither the model nor a tool's output
/// can reach it. No answer in time is a no.
namespace ponder::runtime {

enum class ApprovalMode {
  ask,     // the approver; without one the call is denied
  never,   // no such call runs
  always,  // every call runs
};

struct ApprovalQuestion {
  std::string digest;  // approval_digest()
  std::string tool;
  std::string arguments;  // canonical_arguments()
  tools::Effect effect = tools::Effect::irreversible;
  std::string sub_agent;  // the session that asks, when it is one; else empty
};

struct ApprovalAnswer {
  ApprovalDecision decision = ApprovalDecision::deny;
  std::string reason;  // deny: in the person's words; may be empty
  ApprovalRule rule;   // allow_session
};

/// The way to a person.
class Approver {
 public:
  virtual ~Approver() = default;
  /// Waits for the person; several questions may wait at once. Runs on the session's executor.
  /// Cancelling it withdraws the question and gives Errc::cancelled.
  virtual boost::asio::awaitable<Result<ApprovalAnswer>> ask(ApprovalQuestion question) = 0;
};

/// How an agent comes by approvals.
struct ApprovalPolicy {
  ApprovalMode mode = ApprovalMode::ask;
  Approver* approver = nullptr;          // outlives the agent
  std::int64_t answer_ms_max = 600'000;  // then the call is denied
};

bool needs_approval(tools::Effect effect);

/// SHA-256, in hex, of the tool's name, a line break and the canonical arguments.
std::string approval_digest(std::string_view tool, std::string_view canonical);

/// The question about a call. Fails as canonical_arguments().
Result<ApprovalQuestion> question_about(const context::ToolCall& call, tools::Effect effect);

/// The rule that fixes these keys to the values of the question. Fails with not_found for a key
/// that the arguments lack.
Result<ApprovalRule> rule_for(const ApprovalQuestion& question,
                              const std::vector<std::string>& keys);

/// The event of an approver's answer; `event` names the call. None when the question was withdrawn,
/// which answers nothing. Any failure is a no.
std::optional<ApprovalAnswered> answer_event(ApprovalAnswered event, Result<ApprovalAnswer> answer);

bool rule_allows(const ApprovalRule& rule, const context::ToolCall& call);

}  // namespace ponder::runtime
