#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/cache.h"
#include "engine/checkpoint.h"
#include "engine/config.h"
#include "engine/model_weights.h"
#include "kernels/ops.h"
#include "kernels/thread_pool.h"

namespace ponder::engine {

struct ModelOptions {
  std::uint32_t num_threads = 0;  // 0: one for each core
  std::uint32_t batch_rows_max = 512;
  CacheDType cache_dtype = CacheDType::automatic;
  IndexKeys index_keys = IndexKeys::floating;
  Activations activations = Activations::f32;
  std::string isa;  // empty: the best this CPU has
  bool has_drafts = false;             // loads the MTP layer too: Model::draft()
  std::uint64_t memory_bytes_max = 0;  // that loading may allocate; 0: what the machine has free
  /// A larger checkpoint is read in place: its files must stay as they are.
  std::uint64_t copied_bytes_max = kCopiedBytesMax;
};

/// Consecutive tokens of one sequence to be computed in one step. The earlier positions' cache rows
/// must have been computed, and the table must have room for the new ones.
struct BatchSegment {
  BlockTable* table = nullptr;
  std::size_t first_position = 0;
  std::span<const TokenId> tokens;  // not empty
  bool wants_logits = false;        // of the last token
  /// The last tokens that are only supposed: with wants_logits, each one's logits are wanted too,
  /// and those of the token before them.
  std::size_t num_drafts = 0;
  /// The first tokens whose cache rows exist already and stay: computed for what they lead to.
  std::size_t num_known = 0;
  /// With an MTP layer: the final hidden state of the position before the first; empty: none.
  std::span<const float> hidden_before = {};
};

/// One token for the MTP layer: what might follow it?
struct DraftRow {
  BlockTable* table = nullptr;
  std::size_t position = 0;  // of the token, at least 1
  TokenId token = 0;
  /// The final hidden state of the position before: [hidden_size]. Of a token that is itself a
  /// draft, what draft() left in its place. May point into the model.
  std::span<const float> hidden = {};
  /// With index_share_for_mtp_iteration: filled by the first draft after verified tokens, for which
  /// it is empty, and used by the later ones. Otherwise ignored.
  std::vector<std::int32_t>* selection = nullptr;
};

/// What one layer did with one row, for inspection.
struct LayerTrace {
  std::vector<std::int32_t> selection;  // positions, ascending
  std::vector<float> index_scores;      // of all visible keys; empty where all are selected
  std::vector<std::int32_t> experts;    // best first; empty on dense layers
  std::vector<float> expert_weights;
  double residual_norm = 0.0;  // L2, after the layer
};
using RowTrace = std::vector<LayerTrace>;  // [num_hidden_layers]

/// Decisions taken from outside, to tell an error in choosing from an error in what follows. A null
/// function, or an empty answer, leaves the row to the model.
struct ForcedChoices {
  using Choose =
      std::function<std::vector<std::int32_t>(std::size_t layer, std::size_t position)>;
  Choose selection;  // positions, ascending, at most index_topk; asked for full layers only
  Choose experts;    // num_experts_per_tok of them; their weights are still the model's
};

/// The forward pass: ragged batches of (sequence, position) rows through all layers.
///
/// Numerics: activations, scores, softmax and accumulation are fp32 for every checkpoint; BF16 and
/// FP8 weights are widened as they are read, unless ModelOptions::activations says bf16; the
/// indexer's queries and keys are neither rotated nor rounded, unless ModelOptions::index_keys says
/// so. Attention is computed in the absorbed form only. So a row's results depend on its own
/// sequence and position alone: not on the batch, the chunking, cache hits, or threads.
///
/// Thread: none; one forward at a time. No allocation in a forward pass once the sizes of batch and
/// context have been seen.
class Model {
 public:
  /// Fails with not_found, corrupt or invalid_argument, naming the file, tensor or field; with
  /// exhausted and the number of bytes, before anything is allocated, when memory will not do.
  static Result<std::unique_ptr<Model>> load(const std::filesystem::path& dir,
                                             const ModelOptions& options);
  /// The same with a configuration that differs from the directory's own.
  static Result<std::unique_ptr<Model>> load(const std::filesystem::path& dir, ModelConfig config,
                                             const ModelOptions& options);
  ~Model();

  const ModelConfig& config() const { return config_; }
  const char* isa_name() const { return table_->name; }
  /// The row of kernels and, if not fp32, its inputs: results of equal names have equal bits.
  std::string arithmetic_name() const;
  std::size_t batch_rows_max() const { return options_.batch_rows_max; }
  const CacheLayout& cache_layout() const { return layout_; }

  /// Computes the segments' rows, writing their cache rows. Returns logits [n, vocab_size] of the
  /// segments that want them, in order; valid until the next call. `trace`, if not null, receives
  /// what happened to the last row of the batch.
  /// Requires: at most batch_rows_max() rows; tokens below vocab_size; one segment per sequence.
  std::span<const float> forward(std::span<const BatchSegment> segments, RowTrace* trace = nullptr);

  /// The MTP layer's guess: logits [n, vocab_size] of what follows each row's token; valid until
  /// the next forward or draft. Writes the layer's cache rows at the tokens' positions, as
  /// forward() does for all its rows; a row sees the positions from 1 up to its own.
  /// Requires: ModelOptions::has_drafts; at most as many rows as the last forward(); one per
  /// sequence; positions before it computed.
  std::span<const float> draft(std::span<const DraftRow> rows);

  /// The final hidden state [hidden_size] of a row of the last forward() or draft(), normed; valid
  /// until the next forward. Requires: ModelOptions::has_drafts.
  std::span<const float> hidden(std::size_t row) const;

  /// Until called with null. Lifetime: the choices must outlive the forward passes they decide.
  void force(const ForcedChoices* choices) { forced_ = choices; }

  /// Fails (corrupt), naming the file, when weights that are read in place were changed under it:
  /// what was computed since is worth nothing, and so is all that follows. A system call per file.
  Status check_weights() const;

  /// Index scores that were NaN so far: not zero means broken weights.
  std::uint64_t num_nan_scores() const { return num_nan_scores_; }

 private:
  struct Workspace;
  Model(Checkpoint checkpoint, ModelConfig config, ModelOptions options,
        const kernels::KernelTable& table);

  // model.cpp
  void start_batch(std::span<const BatchSegment> segments);
  void embed(std::span<const BatchSegment> segments);
  void fill_rope_tables();
  std::span<const float> compute_logits(std::span<const BatchSegment> segments);
  std::span<const float> apply_lm_head(const float* input, std::size_t num_rows);
  kernels::Executor executor() { return {table_, &pool_}; }

  // model_attention.cpp
  void attention(std::size_t layer, std::span<const BatchSegment> segments, RowTrace* trace);
  void start_attention(std::size_t layer, std::span<const BatchSegment> segments);
  void finish_attention(std::size_t layer, std::span<const BatchSegment> segments);
  void project(const LayerWeights& weights, bool has_indexer);
  void normalise_projections(const LayerWeights& weights, bool has_indexer);
  void rotate(const LayerDescriptor& layer, bool has_indexer);
  void write_cache(std::size_t layer, std::span<const BatchSegment> segments, bool has_indexer);
  void store_latent(std::byte* to, const float* latent);
  void store_values(std::byte* to, const float* from, std::size_t n);
  void write_index_key(std::size_t layer, const BlockTable& table, std::size_t row,
                       std::size_t position);
  void absorb_queries(const LayerWeights& weights);
  void attend(std::size_t layer, std::span<const BatchSegment> segments);
  void project_output(const LayerWeights& weights);

  // model_indexer.cpp
  void round_index();
  void round_index_to_int8();
  void round_index_to_fp8();
  void select(std::size_t layer, std::span<const BatchSegment> segments, RowTrace* trace);
  void select_rows(const void* const* pages, std::size_t row, std::size_t num_rows,
                   std::size_t first_key);
  template <class Visit>
  void with_index_scores(const void* const* pages, std::size_t row, std::size_t num_rows,
                         Visit visit);
  void trace_selection(std::size_t layer, RowTrace& trace) const;

  // model_ffn.cpp
  void feed_forward(std::size_t layer, RowTrace* trace);
  void dense_ffn(const LayerWeights& weights);
  void moe_ffn(std::size_t layer, const LayerWeights& weights);
  void route(const LayerWeights& weights);
  void group_by_expert(const LayerWeights& weights);
  void expert_gate_up(const LayerWeights& weights);
  void expert_down(const LayerWeights& weights);
  template <class Visit>
  void for_each_used_expert(const LayerWeights& weights, Visit visit) const;

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
  CacheLayout layout_;
  std::uint64_t num_nan_scores_ = 0;
  const ForcedChoices* forced_ = nullptr;
  std::unique_ptr<Workspace> ws_;
};

}  // namespace ponder::engine
