#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/sampling_params.h"
#include "engine/tokenizer.h"

namespace ponder::engine {

/// What one token of a request takes off its logit beside the repetition penalty.
struct TokenPenalty {
  TokenId id;
  float frequency;  // times its number
  float presence;
};

/// The logit with this penalty: three operations in fp32, each rounded by itself, which a device
/// that has the logits can do with the same bits.
float penalized(float logit, float repetition_penalty, const TokenPenalty& penalty);

/// What a request's tokens so far take off the logits of its next one.
///
/// First the repetition penalty r, for each token of prompt and answer: a positive logit is divided
/// by r, any other multiplied by it (Keskar et al. 2019, https://arxiv.org/abs/1909.05858, section
/// 4.1, with the sign handled as transformers and vLLM do). Then, for a token that the answer has n
/// times, frequency * n + presence is subtracted (OpenAI's API reference). These are sums over the
/// request's own tokens: batching and drafts change nothing.
///
/// Thread: none; keeps scratch memory between calls.
class Penalties {
 public:
  /// Each token whose logit changes, once; none when `params` ask for no penalty. Valid until the
  /// next call. `tokens` are the request's, the first `num_prompt` of them its prompt; `drafts` are
  /// those of the answer that follow them.
  std::span<const TokenPenalty> list(const SamplingParams& params, std::span<const TokenId> tokens,
                                     std::size_t num_prompt, std::span<const TokenId> drafts = {});
  /// The logits to sample from, valid until the next call: `logits` itself when `params` ask for no
  /// penalty. Requires: every id is below logits.size().
  std::span<const float> apply(std::span<const float> logits, const SamplingParams& params,
                               std::span<const TokenId> tokens, std::size_t num_prompt,
                               std::span<const TokenId> drafts = {});

 private:
  struct Counts {
    std::uint32_t prompt = 0;
    std::uint32_t answer = 0;
  };
  Counts& counts_of(TokenId id);
  void add(TokenId id, const SamplingParams& params);

  std::vector<float> logits_;
  std::vector<TokenPenalty> list_;
  std::vector<Counts> counts_;  // by id; all zero between calls
};

}  // namespace ponder::engine
