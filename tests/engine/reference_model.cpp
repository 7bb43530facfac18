#include "tests/engine/reference_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <span>
#include <stdexcept>

namespace ponder::engine::testing {
namespace {

double dot(const float* w, const double* x, std::size_t n) {
  double sums[8] = {};  // independent, so that the compiler may use vectors
  std::size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    for (std::size_t j = 0; j < 8; ++j) sums[j] += static_cast<double>(w[i + j]) * x[i + j];
  }
  double sum = std::accumulate(sums, sums + 8, 0.0);
  for (; i < n; ++i) sum += static_cast<double>(w[i]) * x[i];
  return sum;
}

double sigmoid(double z) { return 1.0 / (1.0 + std::exp(-z)); }

/// To the nearest value with eight significant bits, the even one of two.
double rounded_to_bf16(double value) {
  if (value == 0.0) return 0.0;
  const double unit = std::ldexp(1.0, std::ilogb(value) - 7);
  return std::nearbyint(value / unit) * unit;
}

}  // namespace

/// Four significant bits down to 2^-6, then multiples of 2^-9; the largest is 448.
double round_to_e4m3(double value, double scale) {
  const double x = value / scale;
  if (x == 0.0) return 0.0;
  const double unit = std::ldexp(1.0, std::max(std::ilogb(x), -6) - 3);
  return std::clamp(std::nearbyint(x / unit) * unit, -448.0, 448.0) * scale;
}

ReferenceModel::Rows ReferenceModel::linear(const std::string& name, std::size_t out,
                                            std::size_t in, const Rows& x) const {
  const auto matrix = checkpoint_.stored_matrix(name + ".weight", out, in);
  if (!matrix) throw std::runtime_error(matrix.error().message);
  const std::size_t rows = x.size() / in;
  Rows y(rows * out);
  std::vector<float> weights(in);
  for (std::size_t n = 0; n < out; ++n) {
    checkpoint_.load_rows(*matrix, n, weights);
    for (std::size_t row = 0; row < rows; ++row) {
      y[row * out + n] = dot(weights.data(), &x[row * in], in);
    }
  }
  return y;
}

std::vector<float> ReferenceModel::vector(const std::string& name, std::size_t width) const {
  auto values = checkpoint_.load_f32(name, {width});
  if (!values) throw std::runtime_error(values.error().message);
  return *std::move(values);
}

ReferenceModel::Rows ReferenceModel::rms_norm(const Rows& x, std::size_t width,
                                              const std::string& name, double eps) const {
  const std::vector<float> weight = vector(name + ".weight", width);
  Rows y(x.size());
  for (std::size_t begin = 0; begin < x.size(); begin += width) {
    double sum = 0.0;
    for (std::size_t i = 0; i < width; ++i) sum += x[begin + i] * x[begin + i];
    const double factor = 1.0 / std::sqrt(sum / static_cast<double>(width) + eps);
    for (std::size_t i = 0; i < width; ++i) y[begin + i] = weight[i] * x[begin + i] * factor;
  }
  return y;
}

/// The angle is one fp32 product, as every implementation of the family has it.
void ReferenceModel::rope(double* x, std::size_t row, RopeLayout layout) const {
  const std::size_t half = config_.qk_rope_head_dim / 2;
  for (std::size_t j = 0; j < half; ++j) {
    const float angle = static_cast<float>(row) * config_.inv_freq[j];
    const double c = config_.rope_amplitude * std::cos(double{angle});
    const double s = config_.rope_amplitude * std::sin(double{angle});
    double& a = layout == RopeLayout::interleaved ? x[2 * j] : x[j];
    double& b = layout == RopeLayout::interleaved ? x[2 * j + 1] : x[j + half];
    const double first = a * c - b * s;
    b = a * s + b * c;
    a = first;
  }
}

std::vector<double> ReferenceModel::scores(std::size_t row, const Rows& q, const Rows& k,
                                           const Rows& w) const {
  const std::size_t heads = config_.index_n_heads;
  const std::size_t dim = config_.index_head_dim;
  std::vector<double> result(row + 1);
  for (std::size_t key = 0; key <= row; ++key) {
    for (std::size_t h = 0; h < heads; ++h) {
      const double* query = &q[(row * heads + h) * dim];
      const double product = std::inner_product(query, query + dim, &k[key * dim], 0.0);
      result[key] += w[row * heads + h] * config_.indexer_scale * std::max(product, 0.0);
    }
  }
  return result;
}

void ReferenceModel::select(const std::string& layer, const Rows& x, const Rows& qr,
                            ReferenceLayer& seen) {
  const ModelConfig& c = config_;
  const std::string name = layer + "self_attn.indexer.";
  const std::size_t dim = c.index_head_dim;
  Rows q = linear(name + "wq_b", c.index_n_heads * dim, c.q_lora_rank, qr);
  Rows k = linear(name + "wk", dim, c.hidden_size, x);
  const Rows w = linear(name + "weights_proj", c.index_n_heads, c.hidden_size, x);
  const std::vector<float> weight = vector(name + "k_norm.weight", dim);
  const std::vector<float> bias = vector(name + "k_norm.bias", dim);
  const RopeLayout layout = c.layers[layer_idx_].indexer_rope_layout;
  for (std::size_t row = 0; row < num_rows_; ++row) {
    double* key = &k[row * dim];
    const double mean = std::accumulate(key, key + dim, 0.0) / static_cast<double>(dim);
    double variance = 0.0;
    for (std::size_t i = 0; i < dim; ++i) variance += (key[i] - mean) * (key[i] - mean);
    const double factor = 1.0 / std::sqrt(variance / static_cast<double>(dim) + 1e-6);
    for (std::size_t i = 0; i < dim; ++i) key[i] = weight[i] * (key[i] - mean) * factor + bias[i];
    rope(key, row, layout);
    for (std::size_t i = 0; cache_dtype_ == CacheDType::fp8 && i < dim; ++i) {
      key[i] = rounded_to_bf16(key[i]);
    }
    for (std::size_t h = 0; h < c.index_n_heads; ++h) {
      rope(&q[(row * c.index_n_heads + h) * dim], row, layout);
    }
  }
  selected_.assign(num_rows_, {});
  for (std::size_t row = 0; row < num_rows_; ++row) {
    const std::vector<double> score = scores(row, q, k, w);
    std::vector<std::int32_t> order(row + 1);
    std::iota(order.begin(), order.end(), 0);
    std::ranges::sort(order, [&](std::int32_t a, std::int32_t b) {
      const double a_score = score[static_cast<std::size_t>(a)];
      const double b_score = score[static_cast<std::size_t>(b)];
      return a_score != b_score ? a_score > b_score : a < b;
    });
    if (order.size() > c.index_topk) {
      seen.selection_margin = score[static_cast<std::size_t>(order[c.index_topk - 1])] -
                              score[static_cast<std::size_t>(order[c.index_topk])];
      order.resize(c.index_topk);
    }
    std::ranges::sort(order);
    selected_[row] = order;
  }
}

ReferenceModel::Rows ReferenceModel::attend(const Rows& q, const Rows& k_rope,
                                            const Rows& kv) const {
  const ModelConfig& c = config_;
  const std::size_t heads = c.num_attention_heads;
  const std::size_t nope = c.qk_nope_head_dim;
  const std::size_t kv_dim = nope + c.v_head_dim;
  Rows out(num_rows_ * heads * c.v_head_dim);
  for (std::size_t row = 0; row < num_rows_; ++row) {
    const auto& slots = selected_[row];
    for (std::size_t h = 0; h < heads; ++h) {
      const double* query = &q[(row * heads + h) * c.qk_head_dim()];
      std::vector<double> logits;
      for (const std::int32_t slot : slots) {
        const auto s = static_cast<std::size_t>(slot);
        const double* key = &kv[(s * heads + h) * kv_dim];
        const double plain = std::inner_product(query, query + nope, key, 0.0);
        const double rotated = std::inner_product(query + nope, query + c.qk_head_dim(),
                                                  &k_rope[s * c.qk_rope_head_dim], 0.0);
        logits.push_back((plain + rotated) * c.softmax_scale);
      }
      const double largest = *std::ranges::max_element(logits);
      double sum = 0.0;
      for (double& logit : logits) sum += logit = std::exp(logit - largest);
      double* to = &out[(row * heads + h) * c.v_head_dim];
      for (std::size_t i = 0; i < slots.size(); ++i) {
        const auto s = static_cast<std::size_t>(slots[i]);
        const double* value = &kv[(s * heads + h) * kv_dim + nope];
        for (std::size_t d = 0; d < c.v_head_dim; ++d) to[d] += logits[i] / sum * value[d];
      }
    }
  }
  return out;
}

/// Scales are powers of two, one for 128 values.
void ReferenceModel::round_latents(Rows& latent) const {
  const std::size_t rank = config_.kv_lora_rank;
  for (std::size_t row = 0; row < num_rows_; ++row) {
    for (std::size_t begin = 0; begin < rank; begin += 128) {
      const std::span group(&latent[row * rank + begin], std::min<std::size_t>(128, rank - begin));
      double absmax = 1e-4;
      for (const double value : group) absmax = std::max(absmax, std::fabs(value));
      const double scale = std::exp2(std::ceil(std::log2(absmax / 448.0)));
      for (double& value : group) value = round_to_e4m3(value, scale);
    }
  }
}

ReferenceModel::Rows ReferenceModel::attention(const std::string& layer, const Rows& x,
                                               ReferenceLayer& seen) {
  const ModelConfig& c = config_;
  const std::string name = layer + "self_attn.";
  const std::size_t heads = c.num_attention_heads;
  const std::size_t latent_dim = c.kv_lora_rank + c.qk_rope_head_dim;
  const LayerDescriptor& descriptor = c.layers[layer_idx_];
  const Rows qr = rms_norm(linear(name + "q_a_proj", c.q_lora_rank, c.hidden_size, x),
                           c.q_lora_rank, name + "q_a_layernorm", c.lora_norm_eps);
  Rows q = linear(name + "q_b_proj", heads * c.qk_head_dim(), c.q_lora_rank, qr);
  const Rows a = linear(name + "kv_a_proj_with_mqa", latent_dim, c.hidden_size, x);
  Rows latent(num_rows_ * c.kv_lora_rank);
  Rows k_rope(num_rows_ * c.qk_rope_head_dim);
  for (std::size_t row = 0; row < num_rows_; ++row) {
    const double* from = &a[row * latent_dim];
    std::copy_n(from, c.kv_lora_rank, &latent[row * c.kv_lora_rank]);
    std::copy_n(from + c.kv_lora_rank, c.qk_rope_head_dim, &k_rope[row * c.qk_rope_head_dim]);
    rope(&k_rope[row * c.qk_rope_head_dim], row, descriptor.rope_layout);
    for (std::size_t h = 0; h < heads; ++h) {
      rope(&q[(row * heads + h) * c.qk_head_dim() + c.qk_nope_head_dim], row,
           descriptor.rope_layout);
    }
  }
  latent = rms_norm(latent, c.kv_lora_rank, name + "kv_a_layernorm", c.lora_norm_eps);
  if (cache_dtype_ == CacheDType::fp8) {
    round_latents(latent);
    for (double& value : k_rope) value = rounded_to_bf16(value);
  }
  const Rows kv = linear(name + "kv_b_proj", heads * (c.qk_nope_head_dim + c.v_head_dim),
                         c.kv_lora_rank, latent);
  if (descriptor.indexer == IndexerKind::full) select(layer, x, qr, seen);
  seen.selection = selected_.back();
  return linear(name + "o_proj", c.hidden_size, heads * c.v_head_dim, attend(q, k_rope, kv));
}

ReferenceModel::Rows ReferenceModel::swiglu(const std::string& name, std::size_t width,
                                            const Rows& x) const {
  Rows gate = linear(name + ".gate_proj", width, config_.hidden_size, x);
  const Rows up = linear(name + ".up_proj", width, config_.hidden_size, x);
  for (std::size_t i = 0; i < gate.size(); ++i) gate[i] *= sigmoid(gate[i]) * up[i];
  return linear(name + ".down_proj", config_.hidden_size, width, gate);
}

/// The chosen experts, best first; ties go to the lower index.
std::vector<std::size_t> ReferenceModel::route(const double* p,
                                               const std::vector<float>& bias) const {
  const ModelConfig& c = config_;
  const std::size_t group_size = c.n_routed_experts / c.n_group;
  std::vector<double> biased(c.n_routed_experts);
  for (std::size_t e = 0; e < biased.size(); ++e) biased[e] = p[e] + bias[e];
  std::vector<std::pair<double, std::size_t>> groups;
  for (std::size_t g = 0; g < c.n_group; ++g) {
    std::vector<double> members(&biased[g * group_size], &biased[g * group_size] + group_size);
    std::ranges::sort(members, std::greater());
    groups.emplace_back(-(members[0] + (group_size > 1 ? members[1] : 0.0)), g);
  }
  std::ranges::sort(groups);
  std::vector<std::pair<double, std::size_t>> candidates;
  for (std::size_t i = 0; i < c.topk_group; ++i) {
    for (std::size_t e = groups[i].second * group_size; e < (groups[i].second + 1) * group_size;
         ++e) {
      candidates.emplace_back(-biased[e], e);
    }
  }
  std::ranges::sort(candidates);
  std::vector<std::size_t> chosen;
  for (std::size_t i = 0; i < c.num_experts_per_tok; ++i) chosen.push_back(candidates[i].second);
  return chosen;
}

ReferenceModel::Rows ReferenceModel::moe(const std::string& layer, const Rows& x,
                                         ReferenceLayer& seen) const {
  const ModelConfig& c = config_;
  const std::size_t hidden = c.hidden_size;
  Rows y = swiglu(layer + "mlp.shared_experts", c.moe_intermediate_size * c.n_shared_experts, x);
  Rows p = linear(layer + "mlp.gate", c.n_routed_experts, hidden, x);
  std::ranges::transform(p, p.begin(), sigmoid);
  const auto bias = vector(layer + "mlp.gate.e_score_correction_bias", c.n_routed_experts);
  std::vector<std::vector<std::pair<std::size_t, double>>> rows_of(c.n_routed_experts);
  for (std::size_t row = 0; row < num_rows_; ++row) {
    const double* scores = &p[row * c.n_routed_experts];
    const std::vector<std::size_t> chosen = route(scores, bias);
    double sum = 1e-20;
    for (const std::size_t e : chosen) sum += scores[e];
    if (!c.norm_topk_prob) sum = 1.0;
    for (const std::size_t e : chosen) {
      rows_of[e].emplace_back(row, scores[e] / sum * c.routed_scaling_factor);
    }
    if (row + 1 == num_rows_) seen.experts.assign(chosen.begin(), chosen.end());
  }
  for (std::size_t e = 0; e < c.n_routed_experts; ++e) {
    if (rows_of[e].empty()) continue;
    Rows inputs;
    for (const auto& [row, weight] : rows_of[e]) {
      inputs.insert(inputs.end(), &x[row * hidden], &x[row * hidden] + hidden);
    }
    const Rows outputs =
        swiglu(fmt::format("{}mlp.experts.{}", layer, e), c.moe_intermediate_size, inputs);
    for (std::size_t i = 0; i < rows_of[e].size(); ++i) {
      const auto& [row, weight] = rows_of[e][i];
      for (std::size_t d = 0; d < hidden; ++d) {
        y[row * hidden + d] += weight * outputs[i * hidden + d];
      }
    }
  }
  return y;
}

ReferenceResult ReferenceModel::run(const std::vector<TokenId>& tokens) {
  const ModelConfig& c = config_;
  num_rows_ = tokens.size();
  const auto embedding =
      checkpoint_.stored_matrix("model.embed_tokens.weight", c.vocab_size, c.hidden_size);
  if (!embedding) throw std::runtime_error(embedding.error().message);
  Rows h;
  std::vector<float> embedded(c.hidden_size);
  for (const TokenId token : tokens) {
    checkpoint_.load_rows(*embedding, token, embedded);
    h.insert(h.end(), embedded.begin(), embedded.end());
  }
  ReferenceResult result;
  for (layer_idx_ = 0; layer_idx_ < c.num_hidden_layers; ++layer_idx_) {
    ReferenceLayer& seen = result.layers.emplace_back();
    const std::string layer = fmt::format("model.layers.{}.", layer_idx_);
    const auto add = [&](const Rows& y) {
      for (std::size_t i = 0; i < h.size(); ++i) h[i] += y[i];
    };
    add(attention(layer, rms_norm(h, c.hidden_size, layer + "input_layernorm", c.rms_norm_eps),
                  seen));
    const Rows x = rms_norm(h, c.hidden_size, layer + "post_attention_layernorm", c.rms_norm_eps);
    add(c.layers[layer_idx_].ffn == FfnKind::moe ? moe(layer, x, seen)
                                                 : swiglu(layer + "mlp", c.intermediate_size, x));
    double sum = 0.0;
    for (auto it = h.end() - static_cast<std::ptrdiff_t>(c.hidden_size); it != h.end(); ++it) {
      sum += *it * *it;
    }
    seen.residual_norm = std::sqrt(sum);
  }
  const Rows last(h.end() - static_cast<std::ptrdiff_t>(c.hidden_size), h.end());
  result.logits =
      linear(c.tie_word_embeddings ? "model.embed_tokens" : "lm_head", c.vocab_size, c.hidden_size,
             rms_norm(last, c.hidden_size, "model.norm", c.rms_norm_eps));
  return result;
}

}  // namespace ponder::engine::testing
