#include "engine/device_random_weights.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <random>
#include <span>

namespace ponder::engine {
namespace {

constexpr std::size_t kBlockBytes = std::size_t{4} << 20;
constexpr std::size_t kStep = 4099 * 256;  // between the offsets of two matrices, modulo the block
constexpr std::size_t kFp8Side = kernels::kFp8BlockSize;

std::size_t scales_along(std::size_t n) { return (n + kFp8Side - 1) / kFp8Side; }

std::size_t element_bytes(kernels::DType dtype) {
  if (dtype == kernels::DType::f32) return sizeof(float);
  return dtype == kernels::DType::bf16 ? sizeof(kernels::bf16) : 1;
}

/// The shapes of a layer, in one place for its weights and their size.
struct Shapes {
  explicit Shapes(const ModelConfig& config) : c(config) {}
  std::array<std::size_t, 2> q_a() const { return {c.q_lora_rank, c.hidden_size}; }
  std::array<std::size_t, 2> q_b() const {
    return {c.num_attention_heads * c.qk_head_dim(), c.q_lora_rank};
  }
  std::array<std::size_t, 2> kv_a() const {
    return {c.kv_lora_rank + c.qk_rope_head_dim, c.hidden_size};
  }
  std::array<std::size_t, 2> o() const {
    return {c.hidden_size, c.num_attention_heads * c.v_head_dim};
  }
  std::array<std::size_t, 2> wq_b() const {
    return {c.index_n_heads * c.index_head_dim, c.q_lora_rank};
  }
  std::array<std::size_t, 2> wk() const { return {c.index_head_dim, c.hidden_size}; }
  const ModelConfig& c;
};

/// Fills matrices from one block of random bytes for each type.
class Maker {
 public:
  explicit Maker(DeviceArena& arena) : arena_(arena) {}

  Status prepare() {
    std::mt19937_64 rng(1);
    // Signs at random; magnitudes from 1/16 to below 2.
    std::vector<std::uint8_t> codes(kBlockBytes);
    for (auto& code : codes) {
      const auto bits = static_cast<std::uint32_t>(rng());
      code = static_cast<std::uint8_t>((bits & 0x80U) | (0x18U + bits % 0x28U));
    }
    std::vector<std::uint16_t> halves(kBlockBytes / 2);
    for (auto& half : halves) {
      const auto bits = static_cast<std::uint32_t>(rng());
      half = static_cast<std::uint16_t>((bits & 0x8000U) | (0x3c00U + bits % 0x180U));
    }
    PONDER_TRY(codes_, arena_.upload(std::span<const std::uint8_t>(codes)));
    PONDER_TRY(halves_, arena_.upload(std::span<const std::uint16_t>(halves)));
    return {};
  }

  Result<kernels::DeviceMatrix> matrix(std::array<std::size_t, 2> shape, kernels::DType dtype) {
    const auto [out, in] = shape;
    kernels::DeviceMatrix result{};
    result.dtype = dtype;
    if (dtype == kernels::DType::f32) {
      PONDER_TRY(result.data, vector(out * in, 1.0F / std::sqrt(static_cast<float>(in))));
      return result;
    }
    PONDER_TRY(std::byte * at, arena_.allocate(out * in * element_bytes(dtype)));
    const void* block = dtype == kernels::DType::bf16 ? static_cast<const void*>(halves_) : codes_;
    PONDER_CHECK(fill(at, static_cast<const std::byte*>(block), out * in * element_bytes(dtype)));
    result.data = at;
    if (dtype != kernels::DType::fp8_e4m3) return result;
    const std::vector<float> scales(scales_along(out) * scales_along(in),
                                    1.0F / std::sqrt(static_cast<float>(in)));
    PONDER_TRY(result.scales, arena_.upload(std::span(scales)));
    result.scales_stride = static_cast<std::uint32_t>(scales_along(in));
    return result;
  }

  Result<DeviceLinears> linears(std::size_t batch, std::array<std::size_t, 2> shape,
                                kernels::DType dtype = kernels::DType::fp8_e4m3) {
    DeviceLinears result;
    std::vector<kernels::DeviceMatrix> matrices;
    for (std::size_t i = 0; i < batch; ++i) {
      PONDER_TRY(const kernels::DeviceMatrix made, matrix(shape, dtype));
      matrices.push_back(made);
    }
    if (batch == 0) return result;
    PONDER_TRY(result.matrices, arena_.upload(std::span<const kernels::DeviceMatrix>(matrices)));
    result.dtype = dtype;
    result.batch = batch;
    result.out = shape[0];
    result.in = shape[1];
    return result;
  }

  Result<DeviceFfn> ffn(std::size_t batch, std::size_t hidden, std::size_t width) {
    DeviceFfn result;
    if (width == 0) return result;
    PONDER_TRY(result.gate, linears(batch, {width, hidden}));
    PONDER_TRY(result.up, linears(batch, {width, hidden}));
    PONDER_TRY(result.down, linears(batch, {hidden, width}));
    return result;
  }

  /// Uniform in [-magnitude, magnitude).
  Result<float*> vector(std::size_t n, float magnitude) {
    std::uniform_real_distribution<float> uniform(-magnitude, magnitude);
    std::vector<float> values(n);
    for (float& value : values) value = uniform(rng_);
    return arena_.upload(std::span<const float>(values));
  }
  Result<float*> ones(std::size_t n) {
    return arena_.upload(std::span<const float>(std::vector<float>(n, 1.0F)));
  }

 private:
  Status fill(std::byte* to, const std::byte* block, std::size_t bytes) {
    const auto& table = arena_.device()->table();
    offset_ = (offset_ + kStep) % kBlockBytes;
    std::size_t from = offset_;
    for (std::size_t done = 0; done < bytes;) {
      const std::size_t n = std::min(bytes - done, kBlockBytes - from);
      PONDER_CHECK(device_status(table, table.copy(to + done, block + from, n), "copy"));
      done += n;
      from = 0;
    }
    return {};
  }

  DeviceArena& arena_;
  const std::uint8_t* codes_ = nullptr;    // [kBlockBytes]
  const std::uint16_t* halves_ = nullptr;  // as many bytes
  std::size_t offset_ = 0;
  std::mt19937_64 rng_{2};
};

Status make_norms(const ModelConfig& c, Maker& maker, DeviceLayer& layer) {
  PONDER_TRY(layer.input_layernorm, maker.ones(c.hidden_size));
  PONDER_TRY(layer.post_attention_layernorm, maker.ones(c.hidden_size));
  PONDER_TRY(layer.q_a_layernorm, maker.ones(c.q_lora_rank));
  PONDER_TRY(layer.kv_a_layernorm, maker.ones(c.kv_lora_rank));
  PONDER_TRY(layer.k_norm, maker.ones(c.index_head_dim));
  PONDER_TRY(layer.k_norm_bias, maker.vector(c.index_head_dim, 0.1F));
  return {};
}

Status make_attention(const ModelConfig& c, Maker& maker, DeviceLayer& layer, bool has_indexer) {
  const Shapes shapes(c);
  const std::size_t heads = c.num_attention_heads;
  PONDER_TRY(layer.q_a, maker.linears(1, shapes.q_a()));
  PONDER_TRY(layer.q_b, maker.linears(1, shapes.q_b()));
  PONDER_TRY(layer.kv_a, maker.linears(1, shapes.kv_a()));
  PONDER_TRY(layer.key_up,
             maker.linears(heads, {c.kv_lora_rank, c.qk_nope_head_dim}, kernels::DType::bf16));
  PONDER_TRY(layer.value_up,
             maker.linears(heads, {c.v_head_dim, c.kv_lora_rank}, kernels::DType::bf16));
  PONDER_TRY(layer.o, maker.linears(1, shapes.o()));
  if (!has_indexer) return {};
  PONDER_TRY(layer.wq_b, maker.linears(1, shapes.wq_b()));
  PONDER_TRY(layer.wk, maker.linears(1, shapes.wk()));
  PONDER_TRY(layer.weights_proj,
             maker.linears(1, {c.index_n_heads, c.hidden_size}, kernels::DType::bf16));
  return {};
}

Result<DeviceLayer> make_layer(const ModelConfig& c, Maker& maker, const LayerDescriptor& kind) {
  DeviceLayer layer;
  PONDER_CHECK(make_norms(c, maker, layer));
  PONDER_CHECK(make_attention(c, maker, layer, kind.indexer == IndexerKind::full));
  if (kind.ffn == FfnKind::dense) {
    PONDER_TRY(layer.dense, maker.ffn(1, c.hidden_size, c.intermediate_size));
    return layer;
  }
  PONDER_TRY(layer.router,
             maker.linears(1, {c.n_routed_experts, c.hidden_size}, kernels::DType::f32));
  PONDER_TRY(layer.router_bias, maker.vector(c.n_routed_experts, 0.01F));
  PONDER_TRY(layer.shared,
             maker.ffn(1, c.hidden_size, c.n_shared_experts * c.moe_intermediate_size));
  PONDER_TRY(layer.experts, maker.ffn(c.n_routed_experts, c.hidden_size, c.moe_intermediate_size));
  return layer;
}

std::uint64_t area(std::array<std::size_t, 2> shape) { return shape[0] * shape[1]; }

}  // namespace

Result<DeviceWeights> random_device_weights(const ModelConfig& c, DeviceArena& arena) {
  Maker maker(arena);
  PONDER_CHECK(maker.prepare());
  DeviceWeights result;
  PONDER_TRY(const kernels::DeviceMatrix embedding,
             maker.matrix({c.vocab_size, c.hidden_size}, kernels::DType::bf16));
  result.embed_tokens = embedding.data;
  result.embed_dtype = embedding.dtype;
  PONDER_TRY(result.norm, maker.ones(c.hidden_size));
  PONDER_TRY(result.lm_head, maker.linears(1, {c.vocab_size, c.hidden_size}, kernels::DType::bf16));
  for (std::size_t i = 0; i < c.num_hidden_layers; ++i) {
    PONDER_TRY(DeviceLayer layer, make_layer(c, maker, c.layers[i]));
    result.layers.push_back(layer);
  }
  return result;
}

std::uint64_t random_weight_bytes(const ModelConfig& c) {
  return 2 * c.vocab_size * c.hidden_size * sizeof(kernels::bf16) + 2 * kBlockBytes;
}

std::uint64_t random_layer_bytes(const ModelConfig& c, FfnKind ffn) {
  const Shapes shapes(c);
  const std::uint64_t heads = c.num_attention_heads * c.kv_lora_rank *
                              (c.qk_nope_head_dim + c.v_head_dim) * sizeof(kernels::bf16);
  const std::uint64_t attention =
      area(shapes.q_a()) + area(shapes.q_b()) + area(shapes.kv_a()) + area(shapes.o()) + heads;
  const std::uint64_t indexer = area(shapes.wq_b()) + area(shapes.wk()) +
                                c.index_n_heads * c.hidden_size * sizeof(kernels::bf16);
  if (ffn == FfnKind::dense) return attention + indexer + 3 * c.hidden_size * c.intermediate_size;
  const std::uint64_t experts = c.n_routed_experts + c.n_shared_experts;
  return attention + indexer + c.n_routed_experts * c.hidden_size * sizeof(float) +
         3 * experts * c.hidden_size * c.moe_intermediate_size;
}

}  // namespace ponder::engine
