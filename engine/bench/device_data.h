#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "engine/device_memory.h"

namespace ponder::engine::bench {

/// The shape of one attention layer and of what is asked of it.
struct LayerShape {
  std::size_t heads = 128;
  std::size_t kv_lora_rank = 512;
  std::size_t qk_rope_head_dim = 64;
  std::size_t index_heads = 64;
  std::size_t index_dim = 128;
  std::size_t topk = 2048;
  std::size_t contexts = 16;         // sequences, each with pages of its own
  std::size_t keys = 131072;         // of each; a multiple of the page size
  std::size_t attention_rows = 128;  // of a large batch
  std::size_t prefill_rows = 2048;
  std::size_t prefill_keys = 65536;  // at most `keys`
  std::size_t qk_nope_head_dim = 128;
  std::size_t v_head_dim = 128;
  std::size_t prompt_rows = 2048;  // of a prompt whose rows see everything; at most `keys`
};

/// Sequences with random rows in their pages, which lie in random order, and random queries: what
/// the operations of one layer read. Latents are in FP8, index keys in int8 and in E4M3.
class DeviceData {
 public:
  /// Fails with exhausted when the device has not enough memory.
  static Result<std::unique_ptr<DeviceData>> create(std::shared_ptr<OpenDevice> device,
                                                    const LayerShape& shape);

  const LayerShape shape;
  kernels::DevicePages latents{};
  kernels::DevicePages keys_i8{};
  kernels::DevicePages keys_fp8{};
  kernels::Fp8LatentLayout fp8{};
  const std::int32_t* block_tables = nullptr;      // [contexts, pages]
  const std::int32_t* row_sequences = nullptr;     // [rows_max]: row r reads sequence r % contexts
  const std::int32_t* one_sequence = nullptr;      // [rows_max] of 0
  const std::int32_t* num_keys = nullptr;          // [rows_max] of `keys`
  const std::int32_t* prefill_num_keys = nullptr;  // [rows_max], the last rows of `prefill_keys`
  float* q_fp8 = nullptr;          // [rows_max, index_heads, index_dim], values that E4M3 holds
  std::int8_t* q_codes = nullptr;  // the same
  float* head_weights = nullptr;   // [rows_max, index_heads]
  float* q = nullptr;              // [attention_rows, heads, kv_lora_rank + qk_rope_head_dim]
  float* out = nullptr;            // [attention_rows, heads, kv_lora_rank]
  float* scores = nullptr;
  std::size_t num_scores = 0;
  std::int32_t* positions = nullptr;          // [attention_rows, topk]
  std::int32_t* slots = nullptr;              // the same
  std::int32_t* num_selected = nullptr;       // [attention_rows]
  std::int32_t* num_nan = nullptr;            // the same
  std::uint32_t* select_workspace = nullptr;  // for any rows of `keys` keys
  std::int32_t* all_slots = nullptr;          // [contexts, keys]: everything
  float* parts = nullptr;
  std::size_t parts_max = 0;

  std::size_t pages() const { return shape.keys / kernels::kPageSize; }
  std::size_t rows_max() const { return std::max(shape.attention_rows, shape.prefill_rows); }
  const std::shared_ptr<OpenDevice>& device() const { return arena_.device(); }

 private:
  DeviceData(std::shared_ptr<OpenDevice> device, const LayerShape& of)
      : shape(of), arena_(std::move(device)) {}
  const kernels::DeviceTable& table() const { return arena_.device()->table(); }
  Status make_pages();
  Status fill_pages();
  Status make_rows();
  Status make_queries();
  Status make_attention();
  Result<float*> random_floats(std::size_t n);

  DeviceArena arena_;
  std::mt19937_64 rng_{1};
};

}  // namespace ponder::engine::bench
