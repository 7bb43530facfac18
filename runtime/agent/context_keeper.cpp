#include "runtime/agent/context_keeper.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "base/digest.h"
#include "runtime/agent/blob_tool.h"
#include "runtime/agent/pins.h"
#include "runtime/text.h"

namespace ponder::runtime {
namespace {

constexpr std::uint32_t kSummaryTokensMax = 1024;
constexpr std::uint32_t kReservedShare = 10;  // at most a tenth of the window waits for the answer
constexpr std::size_t kWhyBytesMax = 200;

context::Window window_of(const ModelClient& model, const SessionState& state) {
  context::Window window;
  window.tokens_context_max = model.tokens_context_max();
  window.limit_percent = state.started().context.limit_percent;
  window.tokens_reserved = std::min<std::size_t>(next_request(state).tokens_generated_max,
                                                 window.tokens_context_max / kReservedShare);
  return window;
}

context::Strategy strategy_of(const SessionState& state) {
  const auto named = context::strategy_named(state.started().context.strategy);
  return named ? *named : context::default_strategy(state.has_side_effects);
}

TurnEnded no_room(const ContextKeeper::Decision& decision, const context::Window& window,
                  std::uint32_t attempts, std::size_t num_pinned) {
  return {
      TurnEnd::context_full,
      fmt::format("the prompt has {} tokens and may have {} ({}% of the model's {}, less {} for "
                  "the answer); after {} reductions nothing more can be cut{}",
                  decision.tokens_prompt, decision.tokens_prompt_max, window.limit_percent,
                  window.tokens_context_max, window.tokens_reserved, attempts,
                  num_pinned == 0 ? "" : fmt::format(" (pinned messages: {})", num_pinned))};
}

/// The name of the tool whose result stands at `message`.
std::string tool_of_result(const context::Conversation& conversation, std::size_t message) {
  std::size_t caller = message;
  while (conversation[caller].role == context::Role::tool) --caller;
  return conversation[caller].tool_calls.at(message - caller - 1).name;
}

/// Notes what a reduction takes out of the conversation, and stores it.
void add_blobs(ContextKeeper::Cut& cut, const SessionState& state) {
  const context::Reduction& reduction = cut.event.reduction;
  cut.blobs = blobs_of(state, reduction);
  for (const context::PagedResult& paged : reduction.paged_out) {
    const Blob& blob = cut.blobs[cut.event.blobs.size()];
    const std::string tool = tool_of_result(state.conversation, paged.message);
    cut.event.blobs.push_back({blob.hash, blob.text.size(), "result of " + tool});
  }
  if (reduction.removed.empty()) return;
  for (const std::size_t i : reduction.removed) {
    cut.event.removed_seqs.push_back(state.origins[i]);
  }
  const Blob& blob = cut.blobs.back();
  cut.event.blobs.push_back(
      {blob.hash, blob.text.size(), fmt::format("{} removed messages", reduction.removed.size())});
}

}  // namespace

std::vector<Blob> blobs_of(const SessionState& state, const context::Reduction& reduction) {
  std::vector<Blob> out;
  const auto add = [&out](std::string text) {
    std::string hash = sha256_hex(text);
    out.push_back({std::move(hash), std::move(text)});
  };
  for (const context::PagedResult& paged : reduction.paged_out) {
    add(state.conversation[paged.message].content);
  }
  if (!reduction.removed.empty()) add(context::transcript(state.conversation, reduction.removed));
  return out;
}

ModelRequest summary_request_of(const SessionState& state, const context::Reduction& reduction) {
  ModelRequest request = next_request(state);
  request.conversation = context::summary_request(state.conversation, reduction);
  request.sampling.is_thinking = false;
  request.tokens_generated_max = std::min(request.tokens_generated_max, kSummaryTokensMax);
  return request;
}

Result<std::uint64_t> ContextKeeper::count(const SessionState& state) {
  if (!counter_) {
    PONDER_TRY(const auto policy, policy_of(next_request(state)));
    counter_.emplace(policy, model_->tokenizer());
  }
  return counter_->count(state.conversation);
}

Result<ContextKeeper::Decision> ContextKeeper::decide(const SessionState& state) {
  Decision out;
  if (model_->tokens_context_max() == 0 || !model_->tokenizer()) return out;
  const context::Window window = window_of(*model_, state);
  out.tokens_prompt_max = window.tokens_prompt_max();
  PONDER_TRY(out.tokens_prompt, count(state));
  if (out.tokens_prompt <= out.tokens_prompt_max) return out;
  const std::vector<std::size_t> pinned = pinned_places(state);
  out.reduction = context::next_reduction(state.conversation, strategy_of(state),
                                          state.reductions_in_row, pinned, sha256_hex);
  if (!out.reduction) out.stop = no_room(out, window, state.reductions_in_row, pinned.size());
  return out;
}

Result<std::optional<ModelRequest>> ContextKeeper::summary_request(const SessionState& state,
                                                                   const Decision& decision) {
  std::optional<ModelRequest> none;
  PONDER_ASSERT(decision.reduction);
  if (decision.reduction->strategy != context::Strategy::summary) return none;
  ModelRequest request = summary_request_of(state, *decision.reduction);
  PONDER_TRY(const auto policy, policy_of(request));
  context::PromptCounter counter(policy, model_->tokenizer());
  PONDER_TRY(const std::size_t tokens, counter.count(request.conversation));
  if (tokens + request.tokens_generated_max > model_->tokens_context_max()) return none;
  return std::optional(std::move(request));
}

Result<ContextKeeper::Cut> ContextKeeper::cut(const SessionState& state, const Decision& decision,
                                              const std::optional<Result<Completion>>& summary) {
  PONDER_ASSERT(decision.reduction.has_value());
  context::Reduction reduction = *decision.reduction;
  if (reduction.strategy != context::Strategy::summary) {
    return cut_as(state, decision, std::move(reduction));
  }
  if (!summary) return cut_without_summary(state, decision, "the record is too long to summarise");
  if (!*summary) return cut_without_summary(state, decision, summary->error().message);
  const Completion& completion = **summary;
  Usage usage = completion.usage;
  add_usage(usage, completion.usage_void);
  const auto cut_unused = [&](const char* why) -> Result<Cut> {
    PONDER_TRY(Cut out, cut_without_summary(state, decision, why));
    out.event.summary_usage = usage;  // it has cost as much as one that is used
    return out;
  };
  reduction.summary = clean_utf8(completion.message.content);
  if (is_blank(reduction.summary)) return cut_unused("the model wrote no summary");
  PONDER_TRY(Cut out, cut_as(state, decision, std::move(reduction)));
  if (out.event.tokens_after >= out.event.tokens_before) {
    return cut_unused("the summary was longer than the record");
  }
  out.event.summary_usage = usage;
  out.event.summary_prompt_hash = completion.prompt_hash;
  return out;
}

Result<ContextKeeper::Cut> ContextKeeper::cut_without_summary(const SessionState& state,
                                                              const Decision& decision,
                                                              const std::string& why) {
  PONDER_TRY(Cut out,
             cut_as(state, decision,
                    context::plan_reduction(state.conversation, context::Strategy::discard_all,
                                            pinned_places(state), sha256_hex)));
  out.event.note = fmt::format("no summary: {}", first_line(clean_utf8(why), kWhyBytesMax));
  return out;
}

Result<ContextKeeper::Cut> ContextKeeper::cut_as(const SessionState& state,
                                                 const Decision& decision,
                                                 context::Reduction reduction) {
  Cut out;
  out.event.reduction = std::move(reduction);
  out.event.tokens_before = decision.tokens_prompt;
  out.event.tokens_prompt_max = decision.tokens_prompt_max;
  add_blobs(out, state);
  const bool has_tools = !state.started().tools.empty();
  if (state.blobs.empty() && has_tools) out.event.reader = blob_tool_spec();
  SessionState after = state;
  apply(after, Record{state.last_seq + 1, 0, out.event});
  PONDER_TRY(out.event.tokens_after, count(after));
  return out;
}

}  // namespace ponder::runtime
