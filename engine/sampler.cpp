#include "engine/sampler.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

namespace ponder::engine {
namespace {

std::uint64_t mix(std::uint64_t z) {  // splitmix64's finaliser
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return z ^ (z >> 31);
}

/// Calls visit(id) for the allowed ids, ascending.
template <class Visit>
void for_each_allowed(std::size_t size, std::span<const std::uint64_t> mask, Visit visit) {
  if (mask.empty()) {
    for (std::size_t id = 0; id < size; ++id) visit(id);
    return;
  }
  for (std::size_t word = 0; word < mask.size(); ++word) {
    for (std::uint64_t bits = mask[word]; bits != 0; bits &= bits - 1) {
      const std::size_t id = word * 64 + static_cast<std::size_t>(std::countr_zero(bits));
      if (id < size) visit(id);
    }
  }
}

constexpr float kNone = -std::numeric_limits<float>::infinity();
// Below this a token's share is under 1e-17: it cannot change the sum it would be added to.
constexpr double kNegligible = -40.0;

/// Infinite logits have no difference: the largest ones are alike.
double exponent_of(float logit, float largest, float temperature) {
  return logit == largest ? 0.0 : (double{logit} - largest) / temperature;
}

/// The first of the largest; its logit is kNone when there is none.
struct Largest {
  TokenId id = 0;
  float logit = kNone;
};
template <class ForEach>
Largest find_largest(ForEach for_each) {
  Largest largest;
  for_each([&](TokenId id, float logit) {
    if (logit > largest.logit) largest = {id, logit};  // never true for NaN
  });
  return largest;
}

/// Of a total, for decisions that are the same whichever way it was added up. The error of a sum of
/// n terms is below n * 2^-53 of it: two such sums, their exps, the subtractions of draw(), and
/// what keep_top_p() leaves out before it sorts stay below this together.
double margin_of(const BestLogits& best) { return static_cast<double>(best.num_logits) * 0x1p-50; }

}  // namespace

double counter_uniform(std::uint64_t seed, std::uint64_t position) noexcept {
  const std::uint64_t key = mix(seed + 0x9E3779B97F4A7C15);
  const std::uint64_t bits = mix(key ^ mix(position + 0xD1B54A32D192ED03));
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

std::optional<TokenId> Sampler::sample(std::span<const float> logits,
                                       std::span<const std::uint64_t> mask,
                                       const SamplingParams& params, std::uint64_t position) {
  const auto for_each = [&](auto visit) {
    for_each_allowed(logits.size(), mask,
                     [&](std::size_t id) { visit(static_cast<TokenId>(id), logits[id]); });
  };
  return sample_each(for_each, params, position);
}

template <class ForEach>
std::optional<TokenId> Sampler::sample_each(ForEach for_each, const SamplingParams& params,
                                            std::uint64_t position) {
  const Largest largest = find_largest(for_each);
  if (largest.logit == kNone) return std::nullopt;
  if (params.temperature == 0.0F) return largest.id;
  collect(for_each, params.temperature, largest.logit);
  if (params.top_p < 1.0F) {
    double total = 0.0;
    for (const Candidate& candidate : candidates_) total += candidate.weight;
    keep_top_p(params.top_p, total);
  }
  return draw(params, position);
}

template <class ForEach>
void Sampler::collect(ForEach for_each, float temperature, float largest) {
  candidates_.clear();
  for_each([&](TokenId id, float logit) {
    const double exponent = exponent_of(logit, largest, temperature);
    if (exponent > kNegligible) candidates_.push_back({id, std::exp(exponent)});
  });
}

TokenId Sampler::draw(const SamplingParams& params, std::uint64_t position) const {
  double total = 0.0;
  for (const Candidate& candidate : candidates_) total += candidate.weight;
  double left = counter_uniform(params.seed, position) * total;
  for (const Candidate& candidate : candidates_) {
    left -= candidate.weight;
    if (left < 0.0) return candidate.id;
  }
  return candidates_.back().id;  // rounding left a crumb
}

void Sampler::keep_top_p(double top_p, double total) {
  // All tokens under this share together hold less than 1 - top_p, so they need not be sorted.
  const double floor = (1.0 - top_p) * total / static_cast<double>(candidates_.size());
  std::erase_if(candidates_, [&](const Candidate& candidate) { return candidate.weight < floor; });
  std::sort(candidates_.begin(), candidates_.end(), is_better);
  double mass = 0.0;
  std::size_t n = 0;
  while (n < candidates_.size() && (n == 0 || mass < top_p * total)) {
    mass += candidates_[n].weight;
    ++n;
  }
  candidates_.resize(n);
}

RowChoice Sampler::sample(const BestLogits& best, const SamplingParams& params,
                          std::uint64_t position) {
  const auto for_each = [&](auto visit) {
    for (std::size_t i = 0; i < best.ids.size(); ++i) visit(best.ids[i], best.logits[i]);
  };
  if (best.is_all || params.temperature == 0.0F) {
    return {true, sample_each(for_each, params, position)};
  }
  const float largest = find_largest(for_each).logit;
  if (params.top_p >= 1.0F) return sample_in_parts(best, params, position, largest);
  collect(for_each, params.temperature, largest);
  // Two exps of nearly equal numbers may be in the wrong order by their last bits.
  const double exponent = exponent_of(std::ranges::min(best.logits), largest, params.temperature);
  const double unseen_weight_max =
      exponent > kNegligible ? std::exp(exponent) * (1.0 + 0x1p-50) : 0.0;
  if (!keep_top_p_of_best(best, params.top_p, unseen_weight_max)) return {};
  return {true, draw(params, position)};
}

/// draw() from all ids, of which one part is in sight.
RowChoice Sampler::sample_in_parts(const BestLogits& best, const SamplingParams& params,
                                   std::uint64_t position, float largest) {
  const double total = std::accumulate(best.totals.begin(), best.totals.end(), 0.0);
  const double margin = margin_of(best) * total;
  const double drawn = counter_uniform(params.seed, position) * total;
  double mass = 0.0;  // of all ids before
  std::size_t part = 0;
  while (part < best.totals.size() && mass + best.totals[part] <= drawn)
    mass += best.totals[part++];
  if (part == best.totals.size()) return {};
  std::size_t id = part * best.part_size;
  for (const float logit : best.fetch_part(part)) {
    const double before = mass;
    const double exponent = exponent_of(logit, largest, params.temperature);
    if (exponent > kNegligible) mass += std::exp(exponent);
    if (mass > drawn) {
      const bool is_clear = before <= drawn - margin && mass >= drawn + margin;
      return is_clear ? RowChoice{true, static_cast<TokenId>(id)} : RowChoice{};
    }
    ++id;
  }
  return {};
}

/// keep_top_p() where others are not in sight. False when what it would keep cannot be told.
bool Sampler::keep_top_p_of_best(const BestLogits& best, double top_p, double unseen_weight_max) {
  const double total = std::accumulate(best.totals.begin(), best.totals.end(), 0.0);
  const double margin = margin_of(best);
  const double surely_less = (top_p - margin) * total;
  const double surely_enough = (top_p + margin) * total;
  const auto is_worse = [](const Candidate& a, const Candidate& b) { return is_better(b, a); };
  std::make_heap(candidates_.begin(), candidates_.end(), is_worse);
  double mass = 0.0;
  auto end = candidates_.end();  // from here on: those that are kept, the best last
  while (end != candidates_.begin() && (end == candidates_.end() || mass < surely_less)) {
    std::pop_heap(candidates_.begin(), end, is_worse);
    --end;
    mass += end->weight;
  }
  if (end == candidates_.end() || mass < surely_enough) return false;
  if (end->weight <= unseen_weight_max) return false;
  candidates_.erase(candidates_.begin(), end);
  std::ranges::reverse(candidates_);
  return true;
}

}  // namespace ponder::engine
