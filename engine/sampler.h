#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "engine/row_sampling.h"
#include "engine/sampling_params.h"
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
  /// Not for is_all or temperature 0: the sums of exp((logit - largest) / temperature) over all
  /// that can be chosen of each `part_size` ids in a row, in double precision: added in any order,
  /// terms below exp(-40) left out, each exp off by at most 4 units in its last place.
  std::span<const double> totals = {};
  std::size_t part_size = 0;
  std::size_t num_logits = 0;  // of the whole row
  /// The logits of one such part, the last of which may be shorter; -inf where the mask has no bit.
  std::function<std::span<const float>(std::size_t part)> fetch_part = {};
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

  /// What sample() picks from the whole row, to the token; no choice where that cannot be told.
  /// Every weight that decides is computed here, as sample() computes it; what differs are the last
  /// digits of sums that weights of `totals` go into. So the choice is made when it is the same for
  /// all sums within twice the error that is possible.
  ///
  /// With top_p: of the best, in the same order, and when no id that is not listed could come
  /// before the last that is kept. Without it (1) the random number counts all ids in their order,
  /// and the part in which it ends is fetched.
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
  static RowChoice sample_in_parts(const BestLogits& best, const SamplingParams& params,
                                   std::uint64_t position, float largest);
  bool keep_top_p_of_best(const BestLogits& best, double top_p, double unseen_weight_max);
  TokenId draw(const SamplingParams& params, std::uint64_t position) const;

  std::vector<Candidate> candidates_;
};

}  // namespace ponder::engine
