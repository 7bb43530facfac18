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
#include "engine/config.h"
#include "engine/device_choice.h"
#include "engine/model_weights.h"
#include "engine/row_sampling.h"

namespace ponder::engine {

struct ModelOptions {
  std::uint32_t num_threads = 0;  // 0: one for each core
  std::uint32_t batch_rows_max = 512;
  CacheDType cache_dtype = CacheDType::automatic;
  IndexKeys index_keys = IndexKeys::floating;
  Activations activations = Activations::f32;
  std::string isa;                     // a row of kernels; empty: the best this CPU has
  bool has_drafts = false;             // loads the MTP layer too: Model::draft()
  std::uint64_t memory_bytes_max = 0;  // that loading may allocate; 0: what the machine has free
  /// A larger checkpoint is read in place: its files must stay as they are.
  std::uint64_t copied_bytes_max = kCopiedBytesMax;
  /// Whether BF16 matrices are packed where there is room (WeightOptions). Changes no bit.
  bool packs_bf16 = true;
  /// Where weights, cache and arithmetic are; null: the CPU. On a device num_threads, isa and
  /// activations are those of experts in host memory. Lifetime: as long as the model. One model at
  /// a time may use a device.
  const kernels::DeviceTable* device = nullptr;
  ExpertPlacement experts = ExpertPlacement::automatic;          // with a device
  PromptAttention prompt_attention = PromptAttention::gathered;  // with a device
  /// On a device: what create_pool() will be asked for, to be left free. No less than the pages of
  /// a batch is.
  std::uint64_t cache_bytes = 0;
  /// Whether a device launches steps of decoding as graphs (device_graphs.h). Changes no bit.
  bool device_graphs = true;
  /// May be empty. Told, on the thread of forward(), when it cannot, and why.
  std::function<void(const std::string&)> on_notice = {};
};

/// As the CPU loads the weights; their `pool` is not set.
WeightOptions cpu_weight_options(const ModelOptions& options);

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
  /// Tokens at positions before this one are a prompt's: those before Model::prompt_form_end() may
  /// be computed in its form. What is generated, and what follows on it, is behind it.
  std::size_t prompt_end = 0;
  /// With an MTP layer: the final hidden state of the position before the first; empty: none.
  std::span<const float> hidden_before = {};
  /// With wants_logits, for a model that can_sample(): how the token that follows each of these
  /// 1 + num_drafts rows is sampled; empty: their logits are wanted. Lifetime: the forward pass.
  std::span<const RowSampling> samplings = {};
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
  /// For a model that can_sample(): how the token that might follow is sampled; null: its logits
  /// are wanted. Lifetime: the call.
  const RowSampling* sampling = nullptr;
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
  using Choose = std::function<std::vector<std::int32_t>(std::size_t layer, std::size_t position)>;
  Choose selection;  // positions, ascending, at most index_topk; asked for full layers only
  Choose experts;    // num_experts_per_tok of them; their weights are still the model's
};

/// The forward pass: ragged batches of (sequence, position) rows through all layers, on the CPU
/// (engine/cpu_model.h) or on a device with memory of its own (engine/device_model.h). Scheduling
/// and grammars do not know which; TokenChoice asks can_sample(), the prefix cache is_on_host().
///
/// A row's results depend on its own sequence and position alone: not on the batch, the chunking or
/// cache hits. With PromptAttention::expanded they depend also on the prompt_end of the sequence,
/// if that is below prompt_form_end(): cache rows are shared only by sequences that agree in it up
/// to there.
///
/// Thread: none; one forward at a time.
class Model {
 public:
  /// Fails with not_found, corrupt or invalid_argument, naming the file, tensor or field; with
  /// exhausted and the number of bytes when memory will not do; with unavailable when the device
  /// cannot be used.
  static Result<std::unique_ptr<Model>> load(const std::filesystem::path& dir,
                                             const ModelOptions& options);
  /// The same with a configuration that differs from the directory's own.
  static Result<std::unique_ptr<Model>> load(const std::filesystem::path& dir, ModelConfig config,
                                             const ModelOptions& options);
  virtual ~Model() = default;

  virtual const ModelConfig& config() const = 0;
  /// The row of kernels, or the device.
  virtual const char* isa_name() const = 0;
  /// That and, if not fp32, its inputs: results of equal names have equal bits.
  virtual std::string arithmetic_name() const = 0;
  /// Where the routed experts are, with the numbers, when they are not where the rest is computed;
  /// otherwise empty. One line.
  virtual std::string expert_placement() const { return {}; }
  virtual std::size_t batch_rows_max() const = 0;
  /// A prompt's rows at positions before this one have bits of their own; 0: there are none.
  virtual std::size_t prompt_form_end() const { return 0; }
  virtual const CacheLayout& cache_layout() const = 0;
  /// Pages where this model reads and writes them, as many as fit in `bytes_max`. Lifetime: the
  /// model must outlive them.
  virtual Result<PagePool> create_pool(std::uint64_t bytes_max) = 0;

  /// Computes the segments' rows, writing their cache rows. Returns logits [n, vocab_size] of the
  /// segments that want them, in order; valid until the next call. `trace`, if not null, receives
  /// what happened to the last row of the batch.
  /// Requires: at most batch_rows_max() rows; tokens below vocab_size; one segment per sequence.
  virtual std::span<const float> forward(std::span<const BatchSegment> segments,
                                         RowTrace* trace = nullptr) = 0;

  /// Whether it can make sense of RowSampling.
  virtual bool can_sample() const { return false; }
  /// Of each row of logits of the last forward() or draft(), in order: the token that was chosen on
  /// the way, the one that Sampler chooses from that row; empty when there are none. Where a choice
  /// was made, the logits that were returned have no meaning. Valid until the next of these calls.
  virtual std::span<const RowChoice> choices() const { return {}; }

  /// The MTP layer's guess: logits [n, vocab_size] of what follows each row's token; valid until
  /// the next forward or draft. Writes the layer's cache rows at the tokens' positions, as
  /// forward() does for all its rows; a row sees the positions from 1 up to its own.
  /// Requires: ModelOptions::has_drafts; at most as many rows as the last forward(); one per
  /// sequence; positions before it computed.
  virtual std::span<const float> draft(std::span<const DraftRow> rows) = 0;

  /// The final hidden state [hidden_size] of a row of the last forward() or draft(), normed; valid
  /// until the next forward. Requires: ModelOptions::has_drafts.
  virtual std::span<const float> hidden(std::size_t row) const = 0;

  /// Until called with null. Lifetime: the choices must outlive the forward passes they decide.
  virtual void force(const ForcedChoices* choices) = 0;

  /// Whether what was computed since the last call is worth anything. Fails, for good, with
  /// corrupt, naming the file, when weights that are read in place were changed under it, and with
  /// unavailable when the device was lost.
  virtual Status check() const = 0;

  /// check() fails, and another model is to take its place: lets go of what it holds of the host's
  /// memory, so that there is room for that. From now on check() still fails, and forward() gives
  /// nothing.
  virtual void give_up() {}

  /// Index scores that were NaN so far: not zero means broken weights.
  virtual std::uint64_t num_nan_scores() const = 0;
};

/// Of experts that were chosen outside: their weights follow from the router's logits as those of
/// chosen ones do. logits: [n_routed_experts]; weights: [chosen.size()], written.
void weigh_forced_experts(const ModelConfig& config, std::span<const std::int32_t> chosen,
                          const float* logits, float* weights);

/// Fails (invalid_argument) when drafts are wanted of a model without an MTP layer.
Status check_drafts(const ModelConfig& config, const ModelOptions& options);

/// The row of kernels with this name; empty: the best that this CPU has. Fails (invalid_argument)
/// naming the rows that it can run.
Result<const kernels::KernelTable*> find_kernels(const std::string& isa);

/// The type of a cache's latents, also when it is left to the model, whose weights are computed as
/// `weights` (Checkpoint::compute_dtype()).
kernels::DType choose_cache_dtype(CacheDType wanted, DType weights, const ModelConfig& config);

}  // namespace ponder::engine
