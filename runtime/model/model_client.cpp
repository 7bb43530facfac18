#include "runtime/model/model_client.h"

#include <algorithm>

#include "base/assert.h"
#include "runtime/session/session_state.h"

namespace ponder::runtime {
namespace {

constexpr double kRetryTemperatureMin = 0.6;  // asking again greedily would only repeat the answer

/// What `read_blob` can be asked for: a hash that nobody has would cost a step.
LiveValues readable_blobs(const SessionState& state) {
  LiveValues live{context::kReadBlobTool, "hash", {}};
  for (const BlobRef& blob : state.blobs) {
    live.values.push_back(blob.hash.substr(0, context::kHashShown));
  }
  return live;
}

}  // namespace

ModelRequest next_request(const SessionState& state) {
  PONDER_ASSERT(state.start.has_value() && state.is_turn_open && !state.has_open_calls());
  Sampling sampling = state.start->sampling;
  if (state.attempt > 0) {
    sampling.temperature = std::max(sampling.temperature, kRetryTemperatureMin);
    sampling.seed += state.attempt;
  }
  const Limits& limits = state.start->limits;
  const auto spent = static_cast<std::uint32_t>(
      std::min<std::uint64_t>(state.tokens_generated_turn, limits.tokens_turn_max));
  ModelRequest request(state.conversation, state.start->family, sampling,
                       std::min(limits.tokens_step_max, limits.tokens_turn_max - spent));
  request.live_values = state.tool_values.values;
  if (!state.blobs.empty()) request.live_values.push_back(readable_blobs(state));
  return request;
}

Result<context::ThinkingPolicy> policy_of(const ModelRequest& request) {
  PONDER_TRY(const context::ChatFormat* format, context::chat_format(request.family));
  return context::thinking_policy(*format, request.sampling.is_thinking);
}

}  // namespace ponder::runtime
