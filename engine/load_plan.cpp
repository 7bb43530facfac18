#include "engine/load_plan.h"

#include <fmt/format.h>

#include <optional>
#include <string_view>

#include "engine/machine_memory.h"
#include "engine/model_report.h"
#include "engine/pack_bf16.h"
#include "engine/tensor_inventory.h"
#include "kernels/kernel_table.h"
#include "kernels/packed_weights.h"

namespace ponder::engine {
namespace {

constexpr std::uint64_t kF32Bytes = sizeof(float);
constexpr std::uint64_t kBf16Bytes = sizeof(kernels::bf16);

std::uint64_t divide_up(std::uint64_t a, std::uint64_t b) { return (a + b - 1) / b; }

std::uint64_t num_values(const TensorSpec& spec) {
  std::uint64_t values = 1;
  for (const std::size_t dimension : spec.shape) values *= dimension;
  return values;
}

/// How a matrix is stored, in files or as published.
struct Storage {
  WeightFormat format;
  bool is_f16 = false;
  bool is_aligned = true;  // so that it can be read where it lies
};

/// Nothing: the checkpoint has no such matrix, or not one that could be loaded.
std::optional<Storage> storage_of(const ModelConfig& config, const Checkpoint* checkpoint,
                                  const TensorSpec& spec) {
  if (checkpoint == nullptr) return Storage{.format = {published_dtype(config, spec), 0}};
  const auto matrix = checkpoint->stored_matrix(spec.name, spec.shape[0], spec.shape[1]);
  if (!matrix) return std::nullopt;
  return Storage{.format = matrix->format,
                 .is_f16 = matrix->values->dtype == DType::f16,
                 .is_aligned = is_readable_in_place(*matrix)};
}

/// kv_b as two factors for each head, in F32 but for the types that BF16 holds.
LoadBytes factors_of(const TensorSpec& spec, const Storage& storage) {
  const WeightDType dtype = storage.format.dtype;
  const bool is_bf16 = dtype == WeightDType::bf16 && !storage.is_f16;
  if (!is_bf16 && dtype != WeightDType::fp8) return {.made = num_values(spec) * kF32Bytes};
  return {.factors = num_values(spec) * kBf16Bytes};
}

LoadBytes codes_of(const TensorSpec& spec, const WeightFormat& format) {
  const std::size_t out = spec.shape[0];
  const std::size_t in = spec.shape[1];
  const std::size_t row_bytes = format.dtype == WeightDType::int4 ? in / 2 : in;
  const std::uint64_t scale_rows = divide_up(out, kernels::kScaleRows) * kernels::kScaleRows;
  return {.made = scale_rows * (in / format.group) * kBf16Bytes,
          .codes = kernels::packed_bytes(out, row_bytes)};
}

/// Rows of the embedding are looked up, so it is not packed.
LoadBytes matrix_of(const TensorSpec& spec, const Storage& storage, bool is_looked_up) {
  const std::uint64_t values = num_values(spec);
  if (storage.is_f16) return {.made = values * kF32Bytes};
  switch (storage.format.dtype) {
    case WeightDType::f32:
      if (!storage.is_aligned) return {.made = values * kF32Bytes};
      return {.others = values * kF32Bytes};
    case WeightDType::bf16:
      if (!storage.is_aligned) return {.made = values * kBf16Bytes};
      if (is_looked_up) return {.others = values * kBf16Bytes};
      return {.bf16 = values * kBf16Bytes};
    case WeightDType::fp8:
      return {.made = divide_up(spec.shape[0], kFp8BlockSize) *
                      divide_up(spec.shape[1], kFp8BlockSize) * kF32Bytes,
              .others = values};
    case WeightDType::int8:
    case WeightDType::int4:
      return codes_of(spec, storage.format);
  }
  return {};
}

/// Adds one tensor of those that load_weights() reads.
void add(const ModelConfig& config, const Checkpoint* checkpoint, const TensorSpec& spec,
         LoadPlan& plan) {
  if (spec.shape.size() == 1) {
    if (checkpoint == nullptr || checkpoint->find(spec.name) != nullptr) {
      plan.all.made += num_values(spec) * kF32Bytes;
    }
    return;
  }
  const std::optional<Storage> storage = storage_of(config, checkpoint, spec);
  if (!storage) return;
  const std::string_view name = spec.name;
  if (name.ends_with(".self_attn.kv_b_proj.weight")) {
    plan.all += factors_of(spec, *storage);
  } else if (name.ends_with(".mlp.gate.weight")) {
    plan.all.made += num_values(spec) * kF32Bytes;
  } else if (name == "model.embed_tokens.weight") {
    plan.all += matrix_of(spec, *storage, /*is_looked_up=*/true);
    if (!config.tie_word_embeddings) return;
    plan.embedding_as_head = matrix_of(spec, *storage, /*is_looked_up=*/false);
    plan.all += plan.embedding_as_head;
  } else {
    const LoadBytes bytes = matrix_of(spec, *storage, /*is_looked_up=*/false);
    plan.all += bytes;
    if (name.find(".mlp.experts.") != std::string_view::npos) plan.routed_experts += bytes;
  }
}

}  // namespace

LoadBytes& LoadBytes::operator+=(const LoadBytes& other) {
  made += other.made;
  factors += other.factors;
  codes += other.codes;
  bf16 += other.bf16;
  others += other.others;
  return *this;
}

LoadPlan plan_load(const ModelConfig& config, const Checkpoint* checkpoint,
                   const WeightOptions& options) {
  LoadPlan plan;
  plan.available =
      options.memory_bytes_max != 0 ? options.memory_bytes_max : machine_memory().available;
  const std::size_t num_layers = config.num_hidden_layers + (options.with_mtp ? 1 : 0);
  for_each_tensor(config, [&](const TensorSpec& spec) {
    const bool is_loaded = spec.values_of.empty() && spec.layer.value_or(0) < num_layers;
    if (is_loaded) add(config, checkpoint, spec, plan);
  });
  plan.is_copied = model_amounts(config, checkpoint).stored.bytes <= options.copied_bytes_max;
  // Codes come first. What is copied anyway is packed in the same memory, or less.
  const bool may_pack_bf16 = options.packs_bf16 && options.activations != Activations::bf16;
  const std::uint64_t most = plan.available / 2;  // the rest is for caches and others
  plan.packs_factors = may_pack_bf16;
  plan.packs_codes = plan.is_copied || plan.all.made + plan.factor_bytes() + plan.all.codes <= most;
  plan.packs_bf16 = may_pack_bf16 && (plan.is_copied || plan.packed_bytes() <= most);
  return plan;
}

std::uint64_t LoadPlan::packed_bf16_bytes() const { return packed_bf16_estimate(all.bf16); }

std::uint64_t LoadPlan::factor_bytes() const {
  return packs_factors ? packed_bf16_estimate(all.factors) : all.factors;
}

std::uint64_t LoadPlan::packed_bytes() const {
  return all.made + factor_bytes() + all.codes + packed_bf16_bytes();
}

std::uint64_t LoadPlan::made_bytes() const {
  std::uint64_t bytes = all.made + factor_bytes();
  if (packs_codes) bytes += all.codes;
  if (packs_bf16) bytes += packed_bf16_bytes();
  if (is_copied) bytes += all.others + (packs_bf16 ? 0 : all.bf16);
  return bytes;
}

namespace {

std::uint64_t left_in_place(const LoadPlan& plan, const LoadBytes& bytes) {
  if (plan.is_copied) return 0;
  return bytes.others + (plan.packs_codes ? 0 : bytes.codes) + (plan.packs_bf16 ? 0 : bytes.bf16);
}

}  // namespace

std::uint64_t LoadPlan::in_place_bytes() const {
  return left_in_place(*this, all) - left_in_place(*this, embedding_as_head);
}

std::uint64_t LoadPlan::in_place_expert_bytes() const {
  return left_in_place(*this, routed_experts);
}

std::uint64_t LoadPlan::needed_bytes() const {
  return all.made + all.factors + (is_copied ? all.codes + all.bf16 + all.others : 0);
}

Status LoadPlan::check_memory() const {
  if (needed_bytes() <= available) return {};
  return fail(Errc::exhausted, fmt::format("loading takes {} of memory, {} are available",
                                           bytes_text(needed_bytes()), bytes_text(available)));
}

bool is_readable_in_place(const StoredMatrix& matrix) {
  std::size_t alignment = 1;
  if (matrix.format.dtype == WeightDType::f32) alignment = alignof(float);
  if (matrix.format.dtype == WeightDType::bf16) alignment = alignof(kernels::bf16);
  return reinterpret_cast<std::uintptr_t>(matrix.values->data) % alignment == 0;
}

}  // namespace ponder::engine
