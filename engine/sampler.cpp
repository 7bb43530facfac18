#include "engine/sampler.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

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

}  // namespace

double counter_uniform(std::uint64_t seed, std::uint64_t position) noexcept {
  const std::uint64_t key = mix(seed + 0x9E3779B97F4A7C15);
  const std::uint64_t bits = mix(key ^ mix(position + 0xD1B54A32D192ED03));
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

std::optional<TokenId> Sampler::sample(std::span<const float> logits,
                                       std::span<const std::uint64_t> mask,
                                       const SamplingParams& params, std::uint64_t position) {
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  float best = kNone;
  std::size_t best_id = 0;
  for_each_allowed(logits.size(), mask, [&](std::size_t id) {
    if (logits[id] > best) {  // never true for NaN
      best = logits[id];
      best_id = id;
    }
  });
  if (best == kNone) return std::nullopt;
  if (params.temperature == 0.0F) return static_cast<TokenId>(best_id);

  collect(logits, mask, params.temperature, best);
  double total = 0.0;
  for (const Candidate& candidate : candidates_) total += candidate.weight;
  if (params.top_p < 1.0F) {
    keep_top_p(params.top_p, total);
    total = 0.0;
    for (const Candidate& candidate : candidates_) total += candidate.weight;
  }
  double left = counter_uniform(params.seed, position) * total;
  for (const Candidate& candidate : candidates_) {
    left -= candidate.weight;
    if (left < 0.0) return candidate.id;
  }
  return candidates_.back().id;  // rounding left a crumb
}

void Sampler::collect(std::span<const float> logits, std::span<const std::uint64_t> mask,
                      float temperature, float best) {
  // Below this a token's share is under 1e-17: it cannot change the sum it would be added to.
  constexpr double kNegligible = -40.0;
  candidates_.clear();
  for_each_allowed(logits.size(), mask, [&](std::size_t id) {
    // Infinite logits have no difference: the largest ones are alike.
    const double exponent = logits[id] == best ? 0.0 : (double{logits[id]} - best) / temperature;
    if (exponent > kNegligible) {
      candidates_.push_back({static_cast<TokenId>(id), std::exp(exponent)});
    }
  });
}

void Sampler::keep_top_p(double top_p, double total) {
  // All tokens under this share together hold less than 1 - top_p, so they need not be sorted.
  const double floor = (1.0 - top_p) * total / static_cast<double>(candidates_.size());
  std::erase_if(candidates_, [&](const Candidate& candidate) { return candidate.weight < floor; });
  std::sort(candidates_.begin(), candidates_.end(), [](const Candidate& a, const Candidate& b) {
    return a.weight != b.weight ? a.weight > b.weight : a.id < b.id;
  });
  double mass = 0.0;
  std::size_t n = 0;
  while (n < candidates_.size() && (n == 0 || mass < top_p * total)) {
    mass += candidates_[n].weight;
    ++n;
  }
  candidates_.resize(n);
}

}  // namespace ponder::engine
