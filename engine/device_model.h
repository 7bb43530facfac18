#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/device_graphs.h"
#include "engine/device_memory.h"
#include "engine/device_weights.h"
#include "engine/expert_plan.h"
#include "engine/host_experts.h"
#include "engine/model.h"
#include "engine/sampler.h"

namespace ponder::engine {

/// The forward pass on a device: weights, cache pages and all rows of a step lie in its memory, and
/// only tokens, block tables, rotation angles, penalties and masks go in, only the best logits
/// (where sampling needs them, all; and with an MTP layer hidden states) come out. In between the
/// host looks at traces, forced choices, selections that drafts share, and the rows of experts that
/// it computes.
///
/// Numerics: fp32, as CpuModel's; sums have another order. Every row attends through the list of
/// its slots, also where it sees everything, so there is one form of attention. A row's bits do not
/// depend on the batch, the chunking or cache hits.
///
/// With PromptAttention::expanded there are two: a prompt's rows before prompt_form_end() attend to
/// keys and values of each head, each product to 3 * 2^-18 of itself, also where a step has but one
/// of them. Bits then depend on the row's sequence, its position and where its prompt ends.
/// Heads that the kernel is not made for, and rows whose selection is forced, gather.
///
/// Routed experts that the device's memory does not hold, or that are not to be there
/// (engine/expert_plan.h), stay in host memory: the CPU computes them while the device computes the
/// shared ones. Their choice is the device's, and outputs are added up in the same order. In each
/// such layer normed rows, choices and the shared experts' output come out, and sums go in.
///
/// Steps of decoding are launched as graphs (engine/device_graphs.h), but with experts in host
/// memory of other layers than the MTP layer: they are computed for as many rows and keys as their
/// shape has. Rows beyond those of the step see nothing and write nothing.
///
/// A device that fails stays failed: check() says so from then on, and what forward() returned is
/// worth nothing. All memory is allocated at load, and a step asks for none; what the driver takes
/// for graphs, and for kernels at their first launch, is not counted in it.
class DeviceModel final : public Model {
 public:
  static Result<std::unique_ptr<Model>> load(const std::filesystem::path& dir, ModelConfig config,
                                             const ModelOptions& options);
  /// The same with random weights of this shape, for measuring (engine/device_random_weights.h):
  /// all of them on the device, whatever options.experts says, and prompts gathered.
  static Result<std::unique_ptr<DeviceModel>> with_random_weights(ModelConfig config,
                                                                  const ModelOptions& options);
  /// What a batch of such a model takes of a device's memory beside weights and cache.
  static std::uint64_t workspace_bytes(const ModelConfig& config, const ModelOptions& options);
  /// What the main model's matrices for expanded prompts take, in BF16.
  static std::uint64_t turned_key_bytes(const ModelConfig& config, PromptAttention attention);
  /// What is kept free for its cache: whole pages, those of a batch at least.
  static std::uint64_t cache_bytes(const CacheLayout& layout, const ModelOptions& options);
  ~DeviceModel() override;

  const ModelConfig& config() const override { return config_; }
  const char* isa_name() const override { return table().name; }
  std::string arithmetic_name() const override;
  std::string expert_placement() const override { return host_ == nullptr ? "" : plan_.text; }
  std::size_t batch_rows_max() const override { return rows_max_; }
  std::size_t prompt_form_end() const override;
  const CacheLayout& cache_layout() const override { return layout_; }
  Result<PagePool> create_pool(std::uint64_t bytes_max) override;
  std::span<const float> forward(std::span<const BatchSegment> segments,
                                 RowTrace* trace = nullptr) override;
  bool can_sample() const override { return true; }
  std::span<const RowChoice> choices() const override { return choices_; }
  std::span<const float> draft(std::span<const DraftRow> rows) override;
  std::span<const float> hidden(std::size_t row) const override;
  void force(const ForcedChoices* choices) override { forced_ = choices; }
  Status check() const override;
  void give_up() override;
  std::uint64_t num_nan_scores() const override { return num_nan_scores_; }
  /// Whether steps of decoding are launched as graphs from now on, for measuring.
  void use_graphs(bool wanted) { graphs_.turn(wanted); }

 private:
  struct Workspace;
  class ArrayTaker;
  /// Consecutive rows of a step.
  struct RowRun {
    std::size_t first_row;
    std::size_t num_rows;
    std::size_t end() const { return first_row + num_rows; }
  };
  /// Sequences whose keys are unfolded together: pages and tiles of RowPlan.
  struct ExpandedPart {
    std::size_t first_page;
    std::size_t num_pages;
    std::size_t first_tile;
    std::size_t num_tiles;
  };
  /// Which form of attention the rows of a step take.
  struct RowPlan {
    std::vector<RowRun> gathered;
    std::vector<ExpandedPart> expanded;   // empty: all rows gather
    std::vector<std::int32_t> pages;      // of the expanded rows' keys
    std::vector<std::int32_t> page_keys;  // [pages] rows that there are
    std::vector<kernels::ExpandedTile> tiles;
  };
  /// What the operations of one step need to know of its rows.
  struct Step {
    std::size_t rows = 0;  // that operations are launched for; those beyond num_rows() are empty
    std::size_t keys_max = 0;    // of all rows, or more
    std::byte* pages = nullptr;  // the first page of the pool
    kernels::DeviceSequences sequences{};
    std::vector<std::int32_t> positions;  // [num_rows()]
    std::vector<std::int32_t> num_keys;   // the same
    RowPlan plan;
    std::size_t num_rows() const { return positions.size(); }
  };
  struct Product {
    const DeviceLinears& w;
    float* y;
  };

  DeviceModel(ModelConfig config, const ModelOptions& options, CacheLayout layout,
              std::shared_ptr<OpenDevice> device);
  const kernels::DeviceTable& table() const { return device_->table(); }
  template <class T>
  void upload(T* to, std::span<const T> values);
  template <class T>
  std::vector<T> download(const T* from, std::size_t n);
  void note(int code) { device_->note(code); }

  // device_model.cpp
  Result<DeviceNeed> count_need(const ModelWeights& weights, const ModelOptions& options);
  Status place_experts(Checkpoint checkpoint, ModelWeights weights, const DeviceNeed& need,
                       const ModelOptions& options);
  Status take_workspace();
  Result<std::unique_ptr<Workspace>> make_workspace(DeviceArena& arena) const;
  void take_routing(Workspace& ws, ArrayTaker& take) const;
  void take_attention(Workspace& ws, ArrayTaker& take) const;
  void take_indexer(Workspace& ws, ArrayTaker& take) const;
  void take_ffn(Workspace& ws, ArrayTaker& take) const;
  void set_rows(std::span<const BatchSegment> segments);
  void upload_step(std::span<const BatchSegment> segments);
  void compute_layers(RowTrace* trace);
  void fill_rows(std::span<const BatchSegment> segments);
  void upload_block_tables(std::span<const BatchSegment> segments);
  void upload_rope_tables();
  void embed(const std::int32_t* tokens);
  void normalise(float* y, std::size_t y_stride, const float* x, std::size_t x_stride,
                 const float* weight, std::size_t rows, std::size_t dim, double eps);
  void start_layers(std::size_t first);
  void multiply(std::initializer_list<Product> products, const float* x, std::size_t rows);
  kernels::DeviceMatmulArgs rows_of(const float* x, std::size_t rows) const;
  void multiply_all(std::initializer_list<Product> products, kernels::DeviceMatmulArgs args);
  std::span<const float> compute_logits(std::span<const BatchSegment> segments);
  std::span<const float> apply_lm_head(const float* input, std::size_t num_rows);
  void count_nan_scores();

  // device_model_sampling.cpp
  void take_sampling(Workspace& ws, ArrayTaker& take) const;
  using Samplings = std::span<const RowSampling* const>;  // of rows; null: the logits are wanted
  std::span<const float> apply_head(std::span<const BatchSegment> segments, const float* hidden);
  std::span<const float> apply_head(const float* input, Samplings samplings);
  void sample_rows(const float* input, std::size_t first, Samplings samplings);
  bool upload_samplings(Samplings samplings);
  std::size_t upload_penalties(std::vector<const RowSampling*>& samplings);
  void choose_tokens(std::size_t first, Samplings samplings, std::size_t k,
                     std::size_t num_penalties);

  // device_model_decode.cpp
  bool can_capture() const;
  bool is_decode(std::span<const BatchSegment> segments) const;
  std::span<const float> decode(std::span<const BatchSegment> segments);

  // device_model_attention.cpp
  void start_attention(std::size_t layer);
  void finish_attention(std::size_t layer);
  void finish_latents(std::size_t layer);
  void finish_queries(std::size_t layer);
  void attend_gathered(std::size_t layer, RowRun run);
  void select(std::size_t layer, LayerTrace* trace);
  void score_rows(std::size_t layer, std::size_t first, std::size_t num_rows, std::size_t stride);
  void force_selections(std::size_t layer);
  void translate_selection();
  void trace_selection(LayerTrace& trace);
  kernels::DevicePages latent_pages(std::size_t layer) const;
  kernels::DevicePages index_pages(std::size_t layer) const;

  // device_model_expanded.cpp
  static bool can_expand(const ModelConfig& config);
  void take_expanded(Workspace& ws, ArrayTaker& take) const;
  void plan_rows(std::span<const BatchSegment> segments);
  void plan_expanded(const BatchSegment& segment, std::size_t first_row, std::size_t num_rows);
  void upload_plan();
  void attend_expanded(std::size_t layer);
  void attend_expanded_heads(std::size_t layer, const ExpandedPart& part, std::size_t first_head,
                             std::size_t heads);

  // device_model_ffn.cpp
  void feed_forward(std::size_t layer, LayerTrace* trace);
  void dense_ffn(const DeviceFfn& ffn);
  void moe_ffn(std::size_t layer, kernels::ResidualNormArgs& sum);
  void choose_experts(std::size_t layer);
  void force_experts(std::size_t layer);
  void group_rows();
  void multiply_experts(std::initializer_list<Product> products, kernels::DeviceMatmulArgs rows);
  void activate(std::size_t n, bool as_codes);
  kernels::DeviceMatmulArgs activated(std::size_t first, bool as_codes) const;
  void moe_ffn_with_host(std::size_t layer, const DeviceFfn& shared);
  kernels::ResidualNormArgs sum_into(float* normed, const float* norm) const;
  kernels::ResidualNormArgs sum_after(std::size_t layer) const;

  // device_model_mtp.cpp
  void extend_mtp_cache(std::span<const BatchSegment> segments);
  void combine_mtp_input();
  void select_for_drafts(std::span<const DraftRow> rows);
  void use_selections(std::span<const DraftRow> rows);
  void download_final_hidden();

  ModelConfig config_;
  std::size_t rows_max_;
  PromptAttention prompt_attention_;
  CacheLayout layout_;
  std::shared_ptr<OpenDevice> device_;
  DeviceArena arena_;  // of the weights and the workspace
  DeviceWeights weights_;
  ExpertPlan plan_;
  std::unique_ptr<HostExperts> host_;  // null: all experts are on the device
  std::unique_ptr<Workspace> ws_;
  DeviceGraphs graphs_;
  Step step_;
  std::uint64_t num_nan_scores_ = 0;
  const ForcedChoices* forced_ = nullptr;
  bool is_given_up_ = false;
  std::vector<float> logits_;       // on the host
  std::vector<RowChoice> choices_;  // of the rows of logits_
  Sampler sampler_;
  std::vector<float> final_hidden_;         // of the last step; [rows, hidden_size]
  std::vector<float> host_rows_;            // of experts in host memory: Workspace::routing
  std::vector<std::int32_t> host_choices_;  // of the same: [rows, num_experts_per_tok]
  std::vector<float> host_output_;          // of the same: [rows, hidden_size]
};

}  // namespace ponder::engine
