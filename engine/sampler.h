#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "engine/engine.h"
#include "engine/tokenizer.h"

namespace ponder::engine {

/// Random numbers that depend on nothing but the request's seed and the position: [0, 1).
double counter_uniform(std::uint64_t seed, std::uint64_t position) noexcept;

/// Picks the next token: mask, then temperature, then top_p, then one random number. Penalties come
/// before it (engine/penalties.h).
///
/// top_p keeps the shortest list of the most probable tokens (equal ones by ascending id) whose
/// mass reaches top_p, at least one. Temperature 0 takes the largest logit, the lowest id among
/// equals.
///
/// Thread: none; keeps scratch memory between calls.
class Sampler {
 public:
  /// `mask` is empty (everything is allowed) or has a bit for each logit. nullopt when nothing is
  /// left to choose from. NaN and -inf logits are never chosen.
  std::optional<TokenId> sample(std::span<const float> logits, std::span<const std::uint64_t> mask,
                                const SamplingParams& params, std::uint64_t position);

 private:
  struct Candidate {
    TokenId id;
    double weight;
  };
  void collect(std::span<const float> logits, std::span<const std::uint64_t> mask,
               float temperature, float best);
  void keep_top_p(double top_p, double total);

  std::vector<Candidate> candidates_;
};

}  // namespace ponder::engine
