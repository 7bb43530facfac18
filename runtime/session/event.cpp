#include "runtime/session/event.h"

namespace ponder::runtime {

const char* outcome_name(Outcome outcome) noexcept {
  switch (outcome) {
    case Outcome::success:
      return "success";
    case Outcome::error:
      return "error";
    case Outcome::timeout:
      return "timeout";
    case Outcome::denied:
      return "denied";
    case Outcome::cancelled:
      return "cancelled";
    case Outcome::interrupted:
      return "interrupted";
  }
  return "unknown";
}

const char* approval_decision_name(ApprovalDecision decision) noexcept {
  switch (decision) {
    case ApprovalDecision::allow_once:
      return "allow_once";
    case ApprovalDecision::allow_session:
      return "allow_session";
    case ApprovalDecision::deny:
      return "deny";
    case ApprovalDecision::expired:
      return "expired";
  }
  return "unknown";
}

const char* question_end_name(QuestionEnd end) noexcept {
  switch (end) {
    case QuestionEnd::answered:
      return "answered";
    case QuestionEnd::expired:
      return "expired";
    case QuestionEnd::unavailable:
      return "unavailable";
  }
  return "unknown";
}

const char* turn_end_name(TurnEnd end) noexcept {
  switch (end) {
    case TurnEnd::answered:
      return "answered";
    case TurnEnd::cancelled:
      return "cancelled";
    case TurnEnd::deadline:
      return "deadline";
    case TurnEnd::step_limit:
      return "step_limit";
    case TurnEnd::token_limit:
      return "token_limit";
    case TurnEnd::repeated_call:
      return "repeated_call";
    case TurnEnd::reasoning_only:
      return "reasoning_only";
    case TurnEnd::truncated:
      return "truncated";
    case TurnEnd::model_failed:
      return "model_failed";
    case TurnEnd::context_full:
      return "context_full";
    case TurnEnd::no_progress:
      return "no_progress";
    case TurnEnd::money_limit:
      return "money_limit";
  }
  return "unknown";
}

const char* verdict_name(Verdict verdict) noexcept {
  switch (verdict) {
    case Verdict::ok:
      return "ok";
    case Verdict::repaired:
      return "repaired";
    case Verdict::truncated:
      return "truncated";
  }
  return "unknown";
}

const char* finish_name(Finish finish) noexcept {
  return finish == Finish::stop ? "stop" : "length";
}

const char* effect_name(tools::Effect effect) noexcept {
  switch (effect) {
    case tools::Effect::pure:
      return "pure";
    case tools::Effect::idempotent:
      return "idempotent";
    case tools::Effect::compensable:
      return "compensable";
    case tools::Effect::irreversible:
      return "irreversible";
  }
  return "unknown";
}

}  // namespace ponder::runtime
