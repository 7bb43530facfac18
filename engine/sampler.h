#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "engine/engine.h"
#include "engine/row_sampling.h"
#include "engine/tokenizer.h"

namespace ponder::engine {

/// Random numbers that depend on nothing but the request's seed and the position: [0, 1).
double counter_uniform(std::uint64_t seed, std::uint64_t position) noexcept;

/// The largest logits of a row whose others stay where they were computed, and what must be known
/// of those: enough to choose what would be chosen from the whole row, nearly always.
struct BestLogits {
  /// Ascending. No other id that the mask allows has a larger logit than any of these, nor an equal
  /// one and a lower id.
  std::span<const TokenId> ids = {};
  std::span<const float> logits = {};  // of the ids; -inf and NaN stand for nothing
  bool is_all = false;                 // whoever can be chosen is among the ids
  /// Not for is_all or temperature 0: the sum of exp((logit - largest) / temperature) over all that
  /// can be chosen, in double precision: added in any order, terms below exp(-40) left out, each
  /// exp off by at most 4 units in its last place.
  double total = 0.0;
  std::size_t num_logits = 0;  // of the whole row
};

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

  /// What sample() picks from the whole row, to the token; no choice where the best do not tell.
  /// All that decides is computed here, as sample() computes it: the same weights, in the same
  /// order, added to the same sums. Only how much of `total` top_p asks for may differ in its last
  /// digits. So the choice is made when it is the same for every total within twice the error that
  /// is possible, and when no id that is not listed could come before the last that is kept.
  /// Without top_p the random number counts all ids in their order: then the best are not enough.
  RowChoice sample(const BestLogits& best, const SamplingParams& params, std::uint64_t position);

 private:
  struct Candidate {
    TokenId id;
    double weight;
  };
  static bool is_better(const Candidate& a, const Candidate& b) {
    return a.weight != b.weight ? a.weight > b.weight : a.id < b.id;
  }
  /// `for_each` visits (id, logit) of whoever may be chosen, ids ascending.
  template <class ForEach>
  std::optional<TokenId> sample_each(ForEach for_each, const SamplingParams& params,
                                     std::uint64_t position);
  template <class ForEach>
  void collect(ForEach for_each, float temperature, float largest);
  void keep_top_p(double top_p, double total);
  bool keep_top_p_of_best(const BestLogits& best, double top_p, double unseen_weight_max);
  TokenId draw(const SamplingParams& params, std::uint64_t position) const;

  std::vector<Candidate> candidates_;
};

}  // namespace ponder::engine
