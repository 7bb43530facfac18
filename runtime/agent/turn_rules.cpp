#include "runtime/agent/turn_rules.h"

#include <fmt/format.h>

#include <utility>

#include "base/digest.h"
#include "context/budget.h"
#include "context/transitions.h"
#include "runtime/text.h"
#include "tools/registry.h"

namespace ponder::runtime {
namespace {

constexpr std::size_t kDetailBytesMax = 400;

/// Moves a result that is too long out of the conversation, but for its beginning. `bytes_whole`:
/// how long it was before its tool cut it, or 0.
void shorten(CallOutcome& out, std::size_t bytes_whole, const std::string& tool,
             const OutcomeRules& rules) {
  std::string text = std::move(out.finished.content);
  const std::size_t bytes = bytes_whole > 0 ? bytes_whole : text.size();
  if (text.size() <= rules.output_bytes_max) {
    out.finished.content = std::move(text);
    return;
  }
  std::string head(cut_utf8(text, rules.output_bytes_max));
  if (!rules.keeps_whole) {
    out.finished.content = fmt::format("{}\n[cut: {} of {} bytes]", head, head.size(), bytes);
    return;
  }
  if (text.size() > kResultKeptMax) text.resize(cut_utf8(text, kResultKeptMax).size());
  const std::string hash = sha256_hex(text);
  const std::string kept =
      text.size() < bytes ? fmt::format(", of which {} are kept", text.size()) : "";
  out.finished.content = fmt::format(
      "{}\n[the first {} of {} bytes{}; read on with {} {{\"hash\": \"{}\", \"offset\": {}}}]",
      head, head.size(), bytes, kept, context::kReadBlobTool, hash.substr(0, context::kHashShown),
      head.size());
  out.finished.whole = BlobRef{hash, text.size(), "result of " + tool};
  out.whole = Blob{hash, std::move(text)};
}

}  // namespace

TurnEnded ended(TurnEnd reason, std::string detail) { return {reason, std::move(detail)}; }

TurnEnded end_of_error(const Error& error) {
  const std::string detail = first_line(clean_utf8(error.message), kDetailBytesMax);
  if (error.code == Errc::cancelled) return ended(TurnEnd::cancelled, "");
  if (error.code == Errc::deadline) return ended(TurnEnd::deadline, detail);
  return ended(TurnEnd::model_failed, detail);
}

std::optional<TurnEnded> end_after_completion(const SessionState& state) {
  if (!state.completion) return std::nullopt;
  const CompletionState& completion = *state.completion;
  if (completion.is_cut_off) {
    return ended(TurnEnd::truncated, completion.has_calls
                                         ? "the completion was cut off; its calls did not run"
                                         : "the completion was cut off");
  }
  if (completion.has_calls) return std::nullopt;
  if (!completion.says_nothing) return ended(TurnEnd::answered, "");
  if (state.attempt == 0) return std::nullopt;
  return ended(TurnEnd::reasoning_only, "asked twice, the model only reasoned");
}

ModelCompleted event_of(Completion completion, const SessionState& state) {
  ModelCompleted event;
  event.step = state.step;
  event.message = std::move(completion.message);
  event.message.role = context::Role::assistant;
  event.message.reasoning = clean_utf8(event.message.reasoning);
  event.message.content = clean_utf8(event.message.content);
  for (std::size_t i = 0; i < event.message.tool_calls.size(); ++i) {
    context::ToolCall& call = event.message.tool_calls[i];
    call.name = clean_utf8(call.name);
    call.arguments = clean_utf8(call.arguments);
    if (call.id.empty()) call.id = fmt::format("call_{}_{}_{}", state.turns, state.step, i);
  }
  for (const std::string& fault : completion.call_faults) {
    event.call_faults.push_back(clean_utf8(fault));
  }
  event.call_faults.resize(event.message.tool_calls.size());
  event.finish = completion.finish;
  event.verdict = completion.verdict;
  for (const std::string& note : completion.notes) event.notes.push_back(clean_utf8(note));
  event.usage = completion.usage;
  event.usage_void = completion.usage_void;
  event.prompt_hash = std::move(completion.prompt_hash);
  return event;
}

CallOutcome outcome_of(const Result<tools::ToolOutput>& result, const std::string& tool,
                       const OutcomeRules& rules) {
  CallOutcome out;
  ToolFinished& finished = out.finished;
  if (result) {
    finished.outcome = result->is_error ? Outcome::error : Outcome::success;
    finished.content = clean_utf8(result->content);
    shorten(out, result->bytes_whole, tool, rules);
    return out;
  }
  const Error& error = result.error();
  std::string text = clean_utf8(error.message);
  if (error.code == Errc::deadline) {
    finished.outcome = Outcome::timeout;
    text = fmt::format("the call took longer than {} ms and was stopped", rules.tool_ms_max);
  } else if (error.code == Errc::cancelled) {
    finished.outcome = Outcome::cancelled;
    if (rules.is_superseded) {
      finished.content = context::kCancelledResult;
      return out;
    }
    text = "the call was cancelled";
  }
  finished.content = tools::error_output(text).content;
  shorten(out, 0, tool, rules);
  return out;
}

}  // namespace ponder::runtime
