#pragma once

#include <cstdint>

namespace ponder::engine {

/// How a request's tokens are drawn from the logits.
struct SamplingParams {
  float temperature = 1.0F;  // 0: greedy, ties to the lower id
  float top_p = 0.95F;
  std::uint64_t seed = 0;  // with the position it keys the random numbers: batching changes nothing
  // engine/penalties.h says what they do; these values do nothing.
  float repetition_penalty = 1.0F;  // above 0
  float frequency_penalty = 0.0F;
  float presence_penalty = 0.0F;

  bool has_penalties() const {
    return repetition_penalty != 1.0F || frequency_penalty != 0.0F || presence_penalty != 0.0F;
  }
};

}  // namespace ponder::engine
