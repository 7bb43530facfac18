#include "engine/detail/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace ponder::engine::detail {
namespace {

/// YaRN's temperature: 0.1 * m * ln(factor) + 1.
double yarn_mscale(double factor, double m) {
  return factor <= 1.0 ? 1.0 : 0.1 * m * std::log(factor) + 1.0;
}

struct YarnRange {
  float low;
  float high;
};

/// The pairs between which YaRN goes over from extrapolation to interpolation.
YarnRange yarn_range(const RopeScaling& yarn, double dim, double theta) {
  const auto corr = [&](double rotations) {
    const auto orig = static_cast<double>(yarn.original_max_position_embeddings);
    return dim * std::log(orig / (2.0 * std::numbers::pi * rotations)) / (2.0 * std::log(theta));
  };
  const double low = std::max(std::floor(corr(yarn.beta_fast)), 0.0);
  double high = std::min(std::ceil(corr(yarn.beta_slow)), dim - 1.0);
  if (low == high) high += 0.001;
  return {static_cast<float>(low), static_cast<float>(high)};
}

}  // namespace

void derive_rope(ModelConfig& config) {
  const auto dim = static_cast<double>(config.qk_rope_head_dim);
  config.inv_freq.resize(config.qk_rope_head_dim / 2);
  for (std::size_t j = 0; j < config.inv_freq.size(); ++j) {
    // Rounded to float before the reciprocal, as the models were trained with.
    const double exponent = 2.0 * static_cast<double>(j) / dim;
    config.inv_freq[j] = 1.0F / static_cast<float>(std::pow(config.rope_theta, exponent));
  }
  config.rope_amplitude = 1.0;
  config.softmax_scale = 1.0 / std::sqrt(static_cast<double>(config.qk_head_dim()));
  config.indexer_scale = 1.0 / std::sqrt(static_cast<double>(config.index_head_dim)) /
                         std::sqrt(static_cast<double>(config.index_n_heads));
  if (!config.rope_scaling) return;

  const RopeScaling& yarn = *config.rope_scaling;
  const YarnRange range = yarn_range(yarn, dim, config.rope_theta);
  const auto factor = static_cast<float>(yarn.factor);
  for (std::size_t j = 0; j < config.inv_freq.size(); ++j) {
    const float position = (static_cast<float>(j) - range.low) / (range.high - range.low);
    const float kept = 1.0F - std::clamp(position, 0.0F, 1.0F);
    const float base = config.inv_freq[j];
    config.inv_freq[j] = base / factor * (1.0F - kept) + base * kept;
  }
  const double mscale_all_dim = yarn_mscale(yarn.factor, yarn.mscale_all_dim);
  config.rope_amplitude = yarn_mscale(yarn.factor, yarn.mscale) / mscale_all_dim;
  config.softmax_scale *= mscale_all_dim * mscale_all_dim;
}

}  // namespace ponder::engine::detail
