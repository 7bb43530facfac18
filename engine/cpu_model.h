#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "engine/checkpoint.h"
#include "engine/cpu_ffn.h"
#include "engine/model.h"
#include "engine/model_weights.h"
#include "kernels/ops.h"
#include "kernels/thread_pool.h"

namespace ponder::engine {

/// The forward pass on the CPU.
///
/// Numerics: activations, scores, softmax and accumulation are fp32 for every checkpoint; BF16 and
/// FP8 weights are widened as they are read, unless ModelOptions::activations says bf16; the
/// indexer's queries and keys are neither rotated nor rounded, unless ModelOptions::index_keys says
/// so. Attention is computed in the absorbed form only. The number of threads changes no bit.
///
/// No allocation in a forward pass once the sizes of batch and context have been seen.
class CpuModel final : public Model {
 public:
  static Result<std::unique_ptr<Model>> load(const std::filesystem::path& dir, ModelConfig config,
                                             const ModelOptions& options);
  ~CpuModel() override;

  const ModelConfig& config() const override { return config_; }
  const char* isa_name() const override { return table_->name; }
  std::string arithmetic_name() const override;
  std::size_t batch_rows_max() const override { return options_.batch_rows_max; }
  const CacheLayout& cache_layout() const override { return layout_; }
  Result<PagePool> create_pool(std::uint64_t bytes_max) override;
  std::span<const float> forward(std::span<const BatchSegment> segments, RowTrace* trace) override;
  std::span<const float> draft(std::span<const DraftRow> rows) override;
  std::span<const float> hidden(std::size_t row) const override;
  void force(const ForcedChoices* choices) override { forced_ = choices; }
  /// A system call for each file that is read in place.
  Status check() const override;
  std::uint64_t num_nan_scores() const override { return num_nan_scores_; }

 private:
  struct Workspace;
  CpuModel(Checkpoint checkpoint, ModelConfig config, ModelOptions options,
           const kernels::KernelTable& table);

  // model.cpp
  void start_batch(std::span<const BatchSegment> segments);
  void embed(std::span<const BatchSegment> segments);
  std::span<const BatchSegment> drop_unasked_rows(std::span<const BatchSegment> segments);
  void move_row(std::size_t to, std::size_t from);
  void fill_rope_tables();
  std::span<const float> compute_logits(std::span<const BatchSegment> segments);
  std::span<const float> apply_lm_head(const float* input, std::size_t num_rows);
  kernels::Executor executor() { return {table_, &pool_, &prepared_}; }

  // model_attention.cpp
  void attention(std::size_t layer, std::span<const BatchSegment> segments, RowTrace* trace);
  /// What a layer's projections are for: rows that attend, or nothing but rows of the cache.
  enum class Goal { attention, cache_rows };
  struct Projections {
    bool queries;
    bool index_queries;
    bool index_keys;
  };
  void start_attention(std::size_t layer, std::span<const BatchSegment> segments,
                       Goal goal = Goal::attention);
  void finish_attention(std::size_t layer, std::span<const BatchSegment> segments);
  void project(const LayerWeights& weights, const Projections& wanted);
  void normalise_projections(const LayerWeights& weights, const Projections& wanted);
  void rotate(const LayerDescriptor& layer, const Projections& wanted);
  void write_cache(std::size_t layer, std::span<const BatchSegment> segments, bool has_indexer);
  void store_latent(std::byte* to, const float* latent);
  void store_values(std::byte* to, const float* from, std::size_t n);
  void write_index_key(std::size_t layer, const BlockTable& table, std::size_t row,
                       std::size_t position);
  void absorb_queries(const LayerWeights& weights);
  void attend(std::size_t layer, std::span<const BatchSegment> segments);
  void project_output(const LayerWeights& weights);

  // model_indexer.cpp
  bool has_scored_rows() const;
  void round_index(const Projections& wanted);
  void round_index_to_int8(const Projections& wanted);
  void round_index_to_fp8(const Projections& wanted);
  void select(std::size_t layer, std::span<const BatchSegment> segments, RowTrace* trace);
  void select_rows(std::size_t layer, const BlockTable& table, std::size_t row,
                   std::size_t num_rows, std::size_t first_key);
  template <class Visit>
  void with_index_scores(std::size_t layer, const BlockTable& table, std::size_t row,
                         std::size_t num_rows, Visit visit);
  void trace_selection(std::size_t layer, RowTrace& trace) const;

  // model_ffn.cpp
  void feed_forward(std::size_t layer, RowTrace* trace);
  void moe_ffn(std::size_t layer, const LayerWeights& weights);
  void route(const LayerWeights& weights);

  // model_mtp.cpp
  void extend_mtp_cache(std::span<const BatchSegment> segments);
  void combine_mtp_input(std::span<const BatchSegment> segments);
  void select_for_drafts(std::span<const DraftRow> rows, std::span<const BatchSegment> segments);
  void select_from_one(std::size_t row, std::size_t position);

  // model_forced.cpp
  void force_selections(std::size_t layer);
  void force_experts(std::size_t layer);

  ModelConfig config_;
  ModelOptions options_;
  Checkpoint checkpoint_;  // the weights point into its mapping
  ModelWeights weights_;
  const kernels::KernelTable* table_;
  kernels::ThreadPool pool_;
  kernels::PreparedInputs prepared_;
  CpuFfn ffn_{config_, executor()};
  CacheLayout layout_;
  std::uint64_t num_nan_scores_ = 0;
  const ForcedChoices* forced_ = nullptr;
  std::unique_ptr<Workspace> ws_;
};

}  // namespace ponder::engine
