#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "engine/device_choice.h"
#include "engine/device_memory.h"
#include "engine/model_weights.h"

/// The weights of a model in device memory: those of ModelWeights, byte for byte.
namespace ponder::engine {

/// Matrices of one shape and type that are multiplied together: one, the heads', or the experts'.
struct DeviceLinears {
  kernels::DeviceMatrix* matrices = nullptr;  // [batch], in device memory
  kernels::DType dtype = kernels::DType::f32;
  std::size_t batch = 0;  // 0: there are none
  std::size_t out = 0;
  std::size_t in = 0;
};

struct DeviceFfn {
  DeviceLinears gate;
  DeviceLinears up;
  DeviceLinears down;
};

struct DeviceLayer {
  float* input_layernorm = nullptr;
  float* post_attention_layernorm = nullptr;
  float* q_a_layernorm = nullptr;
  float* kv_a_layernorm = nullptr;
  DeviceLinears q_a;
  DeviceLinears q_b;
  DeviceLinears kv_a;
  DeviceLinears key_up;    // [heads]
  DeviceLinears value_up;  // [heads]
  DeviceLinears keys;      // [heads] key_up turned back, for expanded prompts; none without them
  DeviceLinears o;
  DeviceLinears wq_b;
  DeviceLinears wk;
  DeviceLinears weights_proj;
  float* k_norm = nullptr;
  float* k_norm_bias = nullptr;
  DeviceFfn dense;
  DeviceLinears router;
  float* router_bias = nullptr;
  DeviceFfn shared;
  DeviceFfn experts;  // [n_routed_experts]; none where they stay in host memory
};

struct DeviceMtp {
  float* enorm = nullptr;
  float* hnorm = nullptr;
  DeviceLinears eh_proj;
  float* shared_head_norm = nullptr;
};

struct DeviceWeights {
  const void* embed_tokens = nullptr;  // [vocab_size, hidden_size]
  kernels::DType embed_dtype = kernels::DType::f32;
  float* norm = nullptr;
  DeviceLinears lm_head;
  std::vector<DeviceLayer> layers;
  std::optional<DeviceMtp> mtp;
};

/// Everything but the routed experts. Fails with exhausted when the device has not enough memory.
Result<DeviceWeights> upload_weights(const ModelWeights& weights, DeviceArena& arena,
                                     PromptAttention attention = PromptAttention::gathered);

/// The routed experts of one layer. Fails as upload_weights() does, and with invalid_argument when
/// they are stored in different types.
Result<DeviceFfn> upload_experts(const LayerWeights& weights, DeviceArena& arena);

}  // namespace ponder::engine
