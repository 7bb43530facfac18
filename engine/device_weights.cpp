#include "engine/device_weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <span>

#include "base/assert.h"
#include "kernels/packed_weights.h"

namespace ponder::engine {
namespace {

std::size_t data_bytes(const Linear& linear) {
  const std::size_t values = linear.out * linear.in;
  switch (linear.dtype) {
    case kernels::DType::f32:
      return values * sizeof(float);
    case kernels::DType::bf16:
      return values * sizeof(kernels::bf16);
    case kernels::DType::fp8_e4m3:
      return values;
    case kernels::DType::int8:
    case kernels::DType::int4:
      break;
  }
  const std::size_t row_bytes = linear.dtype == kernels::DType::int4 ? linear.in / 2 : linear.in;
  return linear.is_packed ? kernels::packed_bytes(linear.out, row_bytes) : linear.out * row_bytes;
}

/// In tiles, so that neither side is read or written a column at a time.
template <class T>
void transpose(const Linear& linear, std::byte* to) {
  constexpr std::size_t kTile = 32;
  const auto* from = static_cast<const T*>(linear.data);
  auto* turned = reinterpret_cast<T*>(to);
  for (std::size_t top = 0; top < linear.out; top += kTile) {
    for (std::size_t left = 0; left < linear.in; left += kTile) {
      for (std::size_t row = top; row < std::min(linear.out, top + kTile); ++row) {
        for (std::size_t column = left; column < std::min(linear.in, left + kTile); ++column) {
          turned[column * linear.out + row] = from[row * linear.in + column];
        }
      }
    }
  }
}

class Uploader {
 public:
  explicit Uploader(DeviceArena& arena) : arena_(arena) {}

  Result<kernels::DeviceMatrix> matrix(const Linear& linear) {
    const std::span bytes(static_cast<const std::byte*>(linear.data), data_bytes(linear));
    kernels::DeviceMatrix result{};
    PONDER_TRY(result.data, arena_.upload(bytes));
    result.dtype = linear.dtype;
    result.is_packed = linear.is_packed;
    if (!linear.scales.empty()) {
      PONDER_TRY(result.scales, arena_.upload(std::span(linear.scales)));
      result.scales_stride = static_cast<std::uint32_t>(linear.scales_stride);
    }
    if (linear.group_scales != nullptr) {
      const std::size_t blocks = (linear.out + kernels::kScaleRows - 1) / kernels::kScaleRows;
      const std::size_t n = blocks * kernels::kScaleRows * (linear.in / linear.group);
      PONDER_TRY(result.group_scales, arena_.upload(std::span(linear.group_scales, n)));
      result.group = static_cast<std::uint16_t>(linear.group);
    }
    return result;
  }

  /// `n` matrices of one shape, the i-th of which is `get(i)`.
  Result<DeviceLinears> linears(std::size_t n,
                                const std::function<const Linear&(std::size_t)>& get) {
    DeviceLinears result;
    if (n == 0 || get(0).data == nullptr) return result;
    std::vector<kernels::DeviceMatrix> matrices;
    for (std::size_t i = 0; i < n; ++i) {
      if (get(i).dtype != get(0).dtype || get(i).is_packed != get(0).is_packed) {
        return fail(Errc::invalid_argument,
                    fmt::format("expert {}: stored in another type than the first", i));
      }
      PONDER_TRY(const kernels::DeviceMatrix uploaded, matrix(get(i)));
      matrices.push_back(uploaded);
    }
    PONDER_TRY(result.matrices, arena_.upload(std::span<const kernels::DeviceMatrix>(matrices)));
    result.dtype = get(0).dtype;
    result.batch = n;
    result.out = get(0).out;
    result.in = get(0).in;
    return result;
  }
  Result<DeviceLinears> one(const Linear& linear) {
    // NOLINTNEXTLINE(bugprone-return-const-ref-from-parameter): used while this call lasts
    return linears(1, [&](std::size_t) -> const Linear& { return linear; });
  }
  Result<DeviceLinears> all(const std::vector<Linear>& heads) {
    return linears(heads.size(), [&](std::size_t i) -> const Linear& { return heads[i]; });
  }
  /// The transposes of matrices in F32 or BF16. Where memory is only counted nothing is computed.
  Result<DeviceLinears> turned(const std::vector<Linear>& heads) {
    std::vector<std::vector<std::byte>> values;
    std::vector<Linear> result;
    for (const Linear& head : heads) {
      const bool is_f32 = head.dtype == kernels::DType::f32;
      PONDER_ASSERT(is_f32 || head.dtype == kernels::DType::bf16);
      Linear& linear = result.emplace_back();
      linear.data = head.data;
      if (arena_.device() != nullptr) {
        std::vector<std::byte>& bytes = values.emplace_back(data_bytes(head));
        is_f32 ? transpose<float>(head, bytes.data())
               : transpose<kernels::bf16>(head, bytes.data());
        linear.data = bytes.data();
      }
      linear.dtype = head.dtype;
      linear.out = head.in;
      linear.in = head.out;
    }
    return all(result);
  }
  Result<DeviceFfn> ffn(const FfnWeights& weights) {
    DeviceFfn result;
    PONDER_TRY(result.gate, one(weights.gate));
    PONDER_TRY(result.up, one(weights.up));
    PONDER_TRY(result.down, one(weights.down));
    return result;
  }
  Result<DeviceFfn> experts(const std::vector<FfnWeights>& weights) {
    const auto uploaded = [&](Linear FfnWeights::* part) {
      return linears(weights.size(),
                     [&](std::size_t i) -> const Linear& { return weights[i].*part; });
    };
    DeviceFfn result;
    PONDER_TRY(result.gate, uploaded(&FfnWeights::gate));
    PONDER_TRY(result.up, uploaded(&FfnWeights::up));
    PONDER_TRY(result.down, uploaded(&FfnWeights::down));
    return result;
  }
  Result<float*> vector(const std::vector<float>& values) {
    return arena_.upload(std::span<const float>(values));
  }
  Result<DeviceLayer> layer(const LayerWeights& weights, bool is_expanded);

 private:
  DeviceArena& arena_;
};

Result<DeviceLayer> Uploader::layer(const LayerWeights& weights, bool is_expanded) {
  DeviceLayer result;
  PONDER_TRY(result.input_layernorm, vector(weights.input_layernorm));
  PONDER_TRY(result.post_attention_layernorm, vector(weights.post_attention_layernorm));
  PONDER_TRY(result.q_a_layernorm, vector(weights.q_a_layernorm));
  PONDER_TRY(result.kv_a_layernorm, vector(weights.kv_a_layernorm));
  PONDER_TRY(result.q_a, one(weights.q_a));
  PONDER_TRY(result.q_b, one(weights.q_b));
  PONDER_TRY(result.kv_a, one(weights.kv_a));
  PONDER_TRY(result.key_up, all(weights.key_up));
  PONDER_TRY(result.value_up, all(weights.value_up));
  if (is_expanded) {
    PONDER_TRY(result.keys, turned(weights.key_up));
  }
  PONDER_TRY(result.o, one(weights.o));
  PONDER_TRY(result.wq_b, one(weights.indexer.wq_b));
  PONDER_TRY(result.wk, one(weights.indexer.wk));
  PONDER_TRY(result.weights_proj, one(weights.indexer.weights_proj));
  PONDER_TRY(result.k_norm, vector(weights.indexer.k_norm));
  PONDER_TRY(result.k_norm_bias, vector(weights.indexer.k_norm_bias));
  PONDER_TRY(result.dense, ffn(weights.dense));
  PONDER_TRY(result.router, one(weights.router));
  PONDER_TRY(result.router_bias, vector(weights.router_bias));
  PONDER_TRY(result.shared, ffn(weights.shared));
  return result;
}

}  // namespace

Result<DeviceFfn> upload_experts(const LayerWeights& weights, DeviceArena& arena) {
  return Uploader(arena).experts(weights.experts);
}

Result<DeviceWeights> upload_weights(const ModelWeights& weights, DeviceArena& arena,
                                     PromptAttention attention) {
  Uploader uploader(arena);
  DeviceWeights result;
  PONDER_TRY(const kernels::DeviceMatrix embedding, uploader.matrix(weights.embed_tokens));
  result.embed_tokens = embedding.data;
  result.embed_dtype = weights.embed_tokens.dtype;
  PONDER_TRY(result.norm, uploader.vector(weights.norm));
  PONDER_TRY(result.lm_head, uploader.one(weights.lm_head));
  for (const LayerWeights& layer : weights.layers) {
    // No prompt attends in the MTP layer, the last one.
    const bool is_mtp = weights.mtp && &layer == &weights.layers.back();
    const bool is_expanded = attention == PromptAttention::expanded && !is_mtp;
    PONDER_TRY(DeviceLayer uploaded, uploader.layer(layer, is_expanded));
    result.layers.push_back(uploaded);
  }
  if (weights.mtp) {
    DeviceMtp mtp;
    PONDER_TRY(mtp.enorm, uploader.vector(weights.mtp->enorm));
    PONDER_TRY(mtp.hnorm, uploader.vector(weights.mtp->hnorm));
    PONDER_TRY(mtp.eh_proj, uploader.one(weights.mtp->eh_proj));
    PONDER_TRY(mtp.shared_head_norm, uploader.vector(weights.mtp->shared_head_norm));
    result.mtp = mtp;
  }
  return result;
}

}  // namespace ponder::engine
