#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/checkpoint.h"
#include "engine/config.h"
#include "engine/tokenizer.h"

/// The whole model once more, slowly and in float64, straight from the formulas: attention with
/// keys and values unfolded for every head (the engine computes the absorbed form), one row after
/// the other, no cache. Only parsing of the configuration and decoding of stored weights is shared
/// with the engine.
namespace ponder::engine::testing {

struct ReferenceLayer {
  std::vector<std::int32_t> selection;  // of the last row, ascending
  std::vector<std::int32_t> experts;    // of the last row, best first
  double residual_norm = 0.0;           // of the last row, after the layer
  double selection_margin = 0.0;        // between the last position selected and the first not
};

struct ReferenceResult {
  std::vector<double> logits;  // of the last row
  std::vector<ReferenceLayer> layers;
};

/// The nearest multiple of `scale` that E4M3 has, the even one of two: from the definition.
double round_to_e4m3(double value, double scale);

/// Lifetime: both outlive it.
class ReferenceModel {
 public:
  /// CacheDType::fp8: latents go through FP8, rotated and index keys through BF16. Otherwise
  /// nothing is rounded.
  ReferenceModel(const Checkpoint& checkpoint, const ModelConfig& config,
                 CacheDType cache_dtype = CacheDType::automatic)
      : checkpoint_(checkpoint), config_(config), cache_dtype_(cache_dtype) {}

  ReferenceResult run(const std::vector<TokenId>& tokens);

 private:
  using Rows = std::vector<double>;  // [num_rows_, width]

  Rows linear(const std::string& name, std::size_t out, std::size_t in, const Rows& x) const;
  std::vector<float> vector(const std::string& name, std::size_t width) const;
  Rows rms_norm(const Rows& x, std::size_t width, const std::string& name, double eps) const;
  void rope(double* x, std::size_t row, RopeLayout layout) const;
  void round_latents(Rows& latent) const;
  Rows attention(const std::string& layer, const Rows& x, ReferenceLayer& seen);
  void select(const std::string& layer, const Rows& x, const Rows& qr, ReferenceLayer& seen);
  std::vector<double> scores(std::size_t row, const Rows& q, const Rows& k, const Rows& w) const;
  Rows attend(const Rows& q, const Rows& k_rope, const Rows& kv) const;
  Rows swiglu(const std::string& name, std::size_t width, const Rows& x) const;
  Rows moe(const std::string& layer, const Rows& x, ReferenceLayer& seen) const;
  std::vector<std::size_t> route(const double* p, const std::vector<float>& bias) const;

  const Checkpoint& checkpoint_;
  const ModelConfig& config_;
  CacheDType cache_dtype_;
  mutable std::size_t num_rows_ = 0;
  std::size_t layer_idx_ = 0;
  std::vector<std::vector<std::int32_t>> selected_;  // [num_rows_], of the nearest full indexer
};

}  // namespace ponder::engine::testing
