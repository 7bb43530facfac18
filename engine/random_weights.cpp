#include "engine/random_weights.h"

#include <cmath>

namespace ponder::engine {

std::uint64_t weight_seed(std::string_view name) noexcept {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : name) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  }
  return hash;
}

double weight_uniform(std::uint64_t seed, std::uint64_t element_idx) noexcept {
  std::uint64_t z = seed + (element_idx + 1) * 0x9E3779B97F4A7C15;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  z ^= z >> 31;
  return 2.0 * (static_cast<double>(z >> 40) * 0x1p-24) - 1.0;
}

void fill_random_weights(std::string_view name, std::size_t in, std::uint64_t first,
                         std::span<float> out) {
  const std::uint64_t seed = weight_seed(name);
  double offset = 0.0;
  double gain = std::sqrt(3.0 / static_cast<double>(in));  // unit variance of the products
  if (name.ends_with("norm.weight")) {
    offset = 1.0;
    gain = 0.1;
  } else if (name.ends_with("k_norm.bias") || name.ends_with("e_score_correction_bias")) {
    gain = 0.1;
  } else if (name.ends_with("embed_tokens.weight")) {
    gain = std::sqrt(3.0);
  }
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = static_cast<float>(offset + gain * weight_uniform(seed, first + i));
  }
}

}  // namespace ponder::engine
