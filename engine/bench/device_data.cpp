#include "engine/bench/device_data.h"

#include <algorithm>
#include <numeric>
#include <span>

#include "engine/fp8_latent.h"

namespace ponder::engine::bench {
namespace {

// Rows that are written at a time. No multiple of a page, so that pages differ.
constexpr std::size_t kFillRows = 8191;

}  // namespace

Result<std::unique_ptr<DeviceData>> DeviceData::create(std::shared_ptr<OpenDevice> device,
                                                       const LayerShape& shape) {
  std::unique_ptr<DeviceData> data(new DeviceData(std::move(device), shape));
  PONDER_CHECK(data->make_pages());
  PONDER_CHECK(data->fill_pages());
  PONDER_CHECK(data->make_rows());
  PONDER_CHECK(data->make_queries());
  PONDER_CHECK(data->make_attention());
  PONDER_CHECK(device_status(data->table(), data->table().wait(), "benchmark data"));
  return data;
}

Result<float*> DeviceData::random_floats(std::size_t n) {
  std::normal_distribution<float> normal;
  std::vector<float> values(n);
  for (float& value : values) value = normal(rng_);
  return arena_.upload(std::span<const float>(values));
}

Status DeviceData::make_pages() {
  fp8 = fp8_latent_layout(shape.kv_lora_rank, shape.qk_rope_head_dim);
  const std::size_t num_pages = shape.contexts * pages();
  const std::size_t latent_bytes = kernels::kPageSize * fp8.bytes;
  const std::size_t key_bytes = kernels::kPageSize * (shape.index_dim + sizeof(float));
  PONDER_TRY(std::byte * latents_at, arena_.allocate(num_pages * latent_bytes));
  PONDER_TRY(std::byte * keys_i8_at, arena_.allocate(num_pages * key_bytes));
  PONDER_TRY(std::byte * keys_fp8_at, arena_.allocate(num_pages * key_bytes));
  latents = {latents_at, latent_bytes, 0, fp8.bytes, kernels::DType::fp8_e4m3};
  keys_i8 = {keys_i8_at, key_bytes, 0, shape.index_dim, kernels::DType::int8};
  keys_fp8 = {keys_fp8_at, key_bytes, 0, shape.index_dim, kernels::DType::fp8_e4m3};
  std::vector<std::int32_t> order(num_pages);
  std::iota(order.begin(), order.end(), 0);
  std::ranges::shuffle(order, rng_);
  PONDER_TRY(block_tables, arena_.upload(std::span<const std::int32_t>(order)));
  return {};
}

/// Through the operation that the model writes its cache with. Nothing is turned, and norms weigh
/// alike.
Status DeviceData::fill_pages() {
  const std::size_t num_slots = shape.contexts * shape.keys;
  const std::size_t dim = shape.kv_lora_rank + shape.qk_rope_head_dim;
  const std::size_t together = std::min(kFillRows, num_slots);
  PONDER_TRY(const float* rows, random_floats(together * dim));
  PONDER_TRY(const float* keys, random_floats(together * shape.index_dim));
  const std::size_t num_angles = together * shape.qk_rope_head_dim / 2;
  const std::vector<float> ones_of(std::max({num_angles, shape.kv_lora_rank, shape.index_dim}), 1);
  PONDER_TRY(const float* ones, arena_.upload(std::span<const float>(ones_of)));
  PONDER_TRY(const float* zeros, arena_.allocate_array<float>(ones_of.size()));
  std::vector<std::int32_t> numbers(num_slots);
  std::iota(numbers.begin(), numbers.end(), 0);
  PONDER_TRY(const std::int32_t* slots_at, arena_.upload(std::span<const std::int32_t>(numbers)));
  for (std::size_t first = 0; first < num_slots; first += together) {
    const std::size_t n = std::min(together, num_slots - first);
    kernels::LatentsArgs args{};
    args.kv = {rows, ones, shape.kv_lora_rank, latents, fp8, kernels::RopeLayout::interleaved};
    args.index = {
        keys, ones, zeros, 1e-6F, shape.index_dim, keys_i8, kernels::RopeLayout::half_split};
    args.slots = slots_at + first;
    args.rope = {ones, zeros, shape.qk_rope_head_dim};
    args.rows = n;
    args.eps = 1e-6F;
    table().latents(args);
    args.kv.latents = nullptr;
    args.index.cache = keys_fp8;
    table().latents(args);
  }
  return {};
}

Status DeviceData::make_rows() {
  std::vector<std::int32_t> sequences(rows_max());
  std::vector<std::int32_t> visible(rows_max());
  for (std::size_t row = 0; row < rows_max(); ++row) {
    sequences[row] = static_cast<std::int32_t>(row % shape.contexts);
    const std::size_t behind = rows_max() - 1 - row;
    visible[row] =
        static_cast<std::int32_t>(shape.prefill_keys > behind ? shape.prefill_keys - behind : 1);
  }
  PONDER_TRY(row_sequences, arena_.upload(std::span<const std::int32_t>(sequences)));
  PONDER_TRY(prefill_num_keys, arena_.upload(std::span<const std::int32_t>(visible)));
  const std::vector<std::int32_t> all(rows_max(), static_cast<std::int32_t>(shape.keys));
  PONDER_TRY(num_keys, arena_.upload(std::span<const std::int32_t>(all)));
  PONDER_TRY(one_sequence, arena_.allocate_array<std::int32_t>(rows_max()));
  return {};
}

Status DeviceData::make_queries() {
  const std::size_t q_rows = rows_max() * shape.index_heads;
  PONDER_TRY(q_fp8, random_floats(q_rows * shape.index_dim));
  PONDER_TRY(q_codes, arena_.allocate_array<std::int8_t>(q_rows * shape.index_dim));
  PONDER_TRY(float* scales, arena_.allocate_array<float>(q_rows));
  PONDER_TRY(head_weights, random_floats(q_rows));
  kernels::QueriesArgs args{};
  args.rows = rows_max();
  args.index = {q_fp8,
                q_codes,
                scales,
                1.0F,
                shape.index_heads,
                shape.index_dim,
                kernels::DType::int8,
                kernels::RopeLayout::half_split};
  table().queries(args);
  args.index.key_dtype = kernels::DType::fp8_e4m3;
  args.index.weights = head_weights;
  table().queries(args);
  num_scores = std::max(shape.prefill_rows * shape.prefill_keys, shape.contexts * shape.keys);
  PONDER_TRY(scores, arena_.allocate_array<float>(num_scores));
  return {};
}

Status DeviceData::make_attention() {
  const std::size_t rows = std::max(shape.attention_rows, shape.contexts);
  PONDER_TRY(q, random_floats(rows * shape.heads * (shape.kv_lora_rank + shape.qk_rope_head_dim)));
  PONDER_TRY(out, arena_.allocate_array<float>(rows * shape.heads * shape.kv_lora_rank));
  for (auto** ints : {&positions, &slots}) {
    PONDER_TRY(*ints, arena_.allocate_array<std::int32_t>(rows * shape.topk));
  }
  for (auto** ints : {&num_selected, &num_nan}) {
    PONDER_TRY(*ints, arena_.allocate_array<std::int32_t>(rows));
  }
  const std::size_t words = kernels::select_workspace_words(rows, shape.keys);
  PONDER_TRY(select_workspace, arena_.allocate_array<std::uint32_t>(words));
  parts_max = (shape.keys + kernels::kDevicePartSlots - 1) / kernels::kDevicePartSlots;
  PONDER_TRY(parts,
             arena_.allocate_array<float>(parts_max * shape.heads * (shape.kv_lora_rank + 2) * 2));
  std::vector<std::int32_t> in_order(shape.contexts * shape.keys);
  for (std::size_t i = 0; i < in_order.size(); ++i) {
    in_order[i] = static_cast<std::int32_t>(i % shape.keys);
  }
  PONDER_TRY(const std::int32_t* all, arena_.upload(std::span<const std::int32_t>(in_order)));
  PONDER_TRY(all_slots, arena_.allocate_array<std::int32_t>(in_order.size()));
  table().translate({.sequences = {block_tables, pages(), row_sequences},
                     .positions = all,
                     .num_selected = num_keys,
                     .slots = all_slots,
                     .k = shape.keys,
                     .rows = shape.contexts});
  return {};
}

}  // namespace ponder::engine::bench
