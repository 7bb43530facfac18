#include "engine/bench/measurement.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/device_random_weights.h"
#include "engine/fp8_latent.h"

namespace ponder::engine::bench {
namespace {

/// Routed experts of which at least one row is chosen.
double experts_hit(const ModelConfig& c, double batch) {
  const auto experts = static_cast<double>(c.n_routed_experts);
  const double missed = 1.0 - static_cast<double>(c.num_experts_per_tok) / experts;
  return experts * (1.0 - std::pow(missed, batch));
}

/// Bytes of a layer's weights beyond one for each: those in bf16 and fp32.
double bytes_beyond_one(const ModelConfig& c, bool is_moe) {
  const std::size_t heads =
      c.num_attention_heads * c.kv_lora_rank * (c.qk_nope_head_dim + c.v_head_dim);
  const std::size_t router = is_moe ? 3 * c.n_routed_experts * c.hidden_size : 0;
  return static_cast<double>(heads + c.index_n_heads * c.hidden_size + router);
}

double attended(const ModelConfig& c, std::size_t context) {
  return static_cast<double>(std::min(c.index_topk, context));
}

}  // namespace

double bound_ms(const Work& work, const Ceilings& ceilings) {
  const double flops = work.is_int8 ? ceilings.int8_ops : ceilings.bf16_flops;
  const double arithmetic = flops > 0.0 ? work.flops / flops : 0.0;
  const double bytes = ceilings.bytes_per_s > 0.0 ? work.bytes / ceilings.bytes_per_s : 0.0;
  return 1e3 * std::max(arithmetic, bytes);
}

Work operator+(const Work& a, const Work& b) {
  return {a.bytes + b.bytes, a.flops + b.flops, a.is_int8 && b.is_int8};
}

Work layer_decode_work(const ModelConfig& c, FfnKind ffn, std::size_t batch, std::size_t context) {
  const auto rows = static_cast<double>(batch);
  const auto layer = static_cast<double>(random_layer_bytes(c, ffn));
  const double expert = 3.0 * static_cast<double>(c.hidden_size * c.moe_intermediate_size);
  const bool is_moe = ffn == FfnKind::moe;
  const double idle =
      is_moe ? (static_cast<double>(c.n_routed_experts) - experts_hit(c, rows)) * expert : 0.0;
  const double latent =
      static_cast<double>(fp8_latent_layout(c.kv_lora_rank, c.qk_rope_head_dim).bytes);
  const double keys = static_cast<double>(context) * static_cast<double>(c.index_head_dim + 4);
  Work work;
  work.bytes = layer - idle + rows * (keys + attended(c, context) * latent);
  const double unused =
      is_moe ? static_cast<double>(c.n_routed_experts - c.num_experts_per_tok) * expert : 0.0;
  // Every weight that a row meets is one multiply-add.
  const double per_row = layer - bytes_beyond_one(c, is_moe) - unused;
  const double scores = static_cast<double>(context * c.index_n_heads * c.index_head_dim);
  const double attention = static_cast<double>(c.num_attention_heads) * attended(c, context) *
                           static_cast<double>(2 * c.kv_lora_rank + c.qk_rope_head_dim);
  work.flops = 2.0 * rows * (per_row + scores + attention);
  return work;
}

Work head_work(const ModelConfig& c, std::size_t batch) {
  const auto weights = static_cast<double>(c.vocab_size * c.hidden_size);
  return {2.0 * weights, 2.0 * static_cast<double>(batch) * weights, false};
}

double extrapolate_ms(double dense_ms, double with_moe_ms, std::size_t num_moe,
                      std::size_t num_moe_wanted) {
  const double layer = (with_moe_ms - dense_ms) / static_cast<double>(num_moe);
  return dense_ms + layer * static_cast<double>(num_moe_wanted);
}

std::string no_device_text(const std::string& reason, bool is_json) {
  if (is_json)
    return fmt::format(R"({{"device":null,"reason":{}}})", nlohmann::json(reason).dump());
  return fmt::format("no device: {}", reason);
}

std::string ceilings_text(const Ceilings& c) {
  return fmt::format(
      "copy {:.0f} GB/s; products in registers {:.0f} TFLOP/s bf16, {:.0f} TOP/s int8; cuBLAS bf16 "
      "{}",
      1e-9 * c.bytes_per_s, 1e-12 * c.probe_bf16_flops, 1e-12 * c.int8_ops,
      c.cublas_bf16_flops > 0.0 ? fmt::format("{:.0f} TFLOP/s", 1e-12 * c.cublas_bf16_flops)
                                : std::string("not installed"));
}

std::string ceilings_json(const Ceilings& c) {
  return fmt::format(
      R"({{"case":"ceilings","copy_gbytes_per_s":{:.3f},"register_bf16_tflops":{:.3f},)"
      R"("register_int8_tops":{:.3f},"cublas_bf16_tflops":{:.3f}}})",
      1e-9 * c.bytes_per_s, 1e-12 * c.probe_bf16_flops, 1e-12 * c.int8_ops,
      1e-12 * c.cublas_bf16_flops);
}

std::string table_header() {
  return fmt::format("{:<46} {:>10} {:>10} {:>9} {:>9} {:>9}  {}", "operation", "ms", "bound ms",
                     "of bound", "GB/s", "TFLOP/s", "note");
}

std::string table_line(const Measurement& m, const Ceilings& ceilings) {
  if (m.work.bytes == 0.0) {
    return fmt::format("{:<46} {:>10.4f} {:>10} {:>9} {:>9} {:>9}  {}", m.name, m.ms, "-", "-", "-",
                       "-", m.note);
  }
  const double bound = bound_ms(m.work, ceilings);
  return fmt::format("{:<46} {:>10.4f} {:>10.4f} {:>8.1f}% {:>9.1f} {:>9.2f}  {}", m.name, m.ms,
                     bound, 100.0 * bound / m.ms, 1e-6 * m.work.bytes / m.ms,
                     1e-9 * m.work.flops / m.ms, m.note);
}

std::string json_line(const Measurement& m, const Ceilings& ceilings) {
  if (m.work.bytes == 0.0) {
    return fmt::format(R"({{"case":"{}","ms":{:.6f},"note":"{}"}})", m.name, m.ms, m.note);
  }
  const double bound = bound_ms(m.work, ceilings);
  return fmt::format(R"({{"case":"{}","ms":{:.6f},"bound_ms":{:.6f},"share_of_bound":{:.5f},)"
                     R"("gbytes_per_s":{:.3f},"tflops":{:.4f},"note":"{}"}})",
                     m.name, m.ms, bound, bound / m.ms, 1e-6 * m.work.bytes / m.ms,
                     1e-9 * m.work.flops / m.ms, m.note);
}

std::size_t moe_layers_that_fit(const ModelConfig& config, std::uint64_t bytes_free,
                                std::uint64_t bytes_for_the_rest) {
  const std::uint64_t dense =
      config.first_k_dense_replace * random_layer_bytes(config, FfnKind::dense);
  const std::uint64_t taken = random_weight_bytes(config) + dense + bytes_for_the_rest;
  if (bytes_free <= taken) return 1;
  const std::uint64_t layer = random_layer_bytes(config, FfnKind::moe);
  return std::max<std::size_t>(1, (bytes_free - taken) / layer);
}

}  // namespace ponder::engine::bench
