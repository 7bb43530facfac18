#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#include "base/assert.h"
#include "engine/cpu_model.h"
#include "engine/device_model.h"
#include "engine/model_workspace.h"
#include "kernels/dispatch.h"

namespace ponder::engine {
namespace {

/// Each thread keeps candidates for 16 times as many keys, and each row of a batch a selection.
constexpr std::size_t kIndexTopkMax = std::size_t{1} << 18;

/// The kernels keep small arrays on their stacks; a model beyond them is refused, not overrun.
Status check_limits(const ModelConfig& config) {
  const auto at_most = [](const char* field, std::size_t value, std::size_t most) -> Status {
    if (value <= most) return {};
    return fail(Errc::invalid_argument,
                fmt::format("{}: {} is more than the kernels' {}", field, value, most));
  };
  PONDER_CHECK(at_most("kv_lora_rank + qk_rope_head_dim",
                       config.kv_lora_rank + config.qk_rope_head_dim, kernels::kLatentDimMax));
  PONDER_CHECK(at_most("index_head_dim", config.index_head_dim, kernels::kIndexHeadDimMax));
  PONDER_CHECK(at_most("index_n_heads", config.index_n_heads, kernels::kIndexHeadsMax));
  PONDER_CHECK(at_most("index_topk", config.index_topk, kIndexTopkMax));
  return at_most("n_routed_experts", config.n_routed_experts, kernels::kExpertsMax);
}

/// The rotation of rounded index keys exists for powers of two only.
Status check_index_keys(IndexKeys index_keys, const ModelConfig& config) {
  const std::size_t dim = config.index_head_dim;
  if (index_keys == IndexKeys::floating || (std::has_single_bit(dim) && dim >= 4)) return {};
  return fail(Errc::invalid_argument,
              fmt::format("index_keys {}: index_head_dim {} is not a power of two from 4 on",
                          index_keys_name(index_keys), dim));
}

/// Up to this many bytes of fp32 cache for each token, halving them is not worth the rounding.
constexpr std::size_t kSmallCacheBytesPerToken = 16 * 1024;

double l2_norm(std::span<const float> values) {
  double sum = 0.0;
  for (const float value : values) sum += double{value} * value;
  return std::sqrt(sum);
}

}  // namespace

Result<const kernels::KernelTable*> find_kernels(const std::string& isa) {
  if (isa.empty()) return &kernels::active();
  std::string names;
  for (const kernels::KernelTable* table : kernels::runnable_tables()) {
    if (isa == table->name) return table;
    names += fmt::format(" {}", table->name);
  }
  return fail(Errc::invalid_argument, fmt::format("isa \"{}\": this CPU can run:{}", isa, names));
}

kernels::DType choose_cache_dtype(CacheDType wanted, DType weights, const ModelConfig& config) {
  if (wanted == CacheDType::f32) return kernels::DType::f32;
  if (wanted == CacheDType::bf16) return kernels::DType::bf16;
  if (wanted == CacheDType::fp8) return kernels::DType::fp8_e4m3;
  const CacheLayout wide(config, kernels::DType::f32);
  const bool is_small = wide.page_bytes <= kPageTokens * kSmallCacheBytesPerToken;
  return is_small || weights == DType::f32 ? kernels::DType::f32 : kernels::DType::bf16;
}

WeightOptions cpu_weight_options(const ModelOptions& options) {
  return {.with_mtp = options.has_drafts,
          .activations = options.activations,
          .memory_bytes_max = options.memory_bytes_max,
          .copied_bytes_max = options.copied_bytes_max,
          .packs_bf16 = options.packs_bf16};
}

Status check_drafts(const ModelConfig& config, const ModelOptions& options) {
  if (!options.has_drafts || config.num_nextn_predict_layers > 0) return {};
  return fail(Errc::invalid_argument, "drafts: num_nextn_predict_layers is 0: no MTP layer");
}

Result<std::unique_ptr<Model>> Model::load(const std::filesystem::path& dir,
                                           const ModelOptions& options) {
  PONDER_TRY(ModelConfig config, load_config(dir));
  return load(dir, std::move(config), options);
}

Result<std::unique_ptr<Model>> Model::load(const std::filesystem::path& dir, ModelConfig config,
                                           const ModelOptions& options) {
  if (options.batch_rows_max == 0) return fail(Errc::invalid_argument, "batch_rows_max: 0");
  PONDER_CHECK(check_drafts(config, options));
  PONDER_CHECK(check_limits(config));
  PONDER_CHECK(check_index_keys(options.index_keys, config));
  if (options.device != nullptr) return DeviceModel::load(dir, std::move(config), options);
  return CpuModel::load(dir, std::move(config), options);
}

Result<std::unique_ptr<Model>> CpuModel::load(const std::filesystem::path& dir, ModelConfig config,
                                              const ModelOptions& options) {
  PONDER_TRY(const kernels::KernelTable* table, find_kernels(options.isa));
  PONDER_TRY(Checkpoint checkpoint, Checkpoint::open(dir));
  std::unique_ptr<CpuModel> model(
      new CpuModel(std::move(checkpoint), std::move(config), options, *table));
  WeightOptions how = cpu_weight_options(options);
  how.pool = &model->pool_;
  PONDER_TRY(model->weights_, load_weights(model->checkpoint_, model->config_, how));
  PONDER_CHECK(model->checkpoint_.check_unchanged());
  return model;
}

Result<PagePool> CpuModel::create_pool(std::uint64_t bytes_max) {
  return PagePool::create(layout_, bytes_max);
}

Status CpuModel::check() const {
  return weights_.is_read_in_place ? checkpoint_.check_unchanged() : Status();
}

CpuModel::CpuModel(Checkpoint checkpoint, ModelConfig config, ModelOptions options,
                   const kernels::KernelTable& table)
    : config_(std::move(config)),
      options_(std::move(options)),
      checkpoint_(std::move(checkpoint)),
      table_(&table),
      pool_({.num_threads = options_.num_threads, .pin = false}),
      layout_(config_,
              choose_cache_dtype(options_.cache_dtype, checkpoint_.compute_dtype(), config_),
              options_.has_drafts, options_.index_keys),
      ws_(std::make_unique<Workspace>(config_, options_.index_keys, pool_.num_threads())) {}

CpuModel::~CpuModel() = default;

std::string CpuModel::arithmetic_name() const {
  return fmt::format("{}{}", table_->name,
                     options_.activations == Activations::bf16 ? ", bf16 activations" : "");
}

std::span<const float> CpuModel::forward(std::span<const BatchSegment> segments, RowTrace* trace) {
  start_batch(segments);
  embed(segments);
  fill_rope_tables();
  if (trace != nullptr) trace->assign(config_.num_hidden_layers, {});
  const bool needs_all_rows = trace != nullptr || weights_.mtp.has_value();
  for (std::size_t layer = 0; layer < config_.num_hidden_layers; ++layer) {
    if (layer + 1 == config_.num_hidden_layers && !needs_all_rows) {
      segments = drop_unasked_rows(segments);
      if (segments.empty()) return {};
    }
    attention(layer, segments, trace);
    feed_forward(layer, trace);
    if (trace != nullptr) {
      const std::size_t hidden = config_.hidden_size;
      (*trace)[layer].residual_norm =
          l2_norm({ws_->hidden.data() + (ws_->rows - 1) * hidden, hidden});
    }
  }
  const std::span<const float> logits = compute_logits(segments);
  if (weights_.mtp) extend_mtp_cache(segments);
  return logits;
}

void CpuModel::start_batch(std::span<const BatchSegment> segments) {
  std::size_t rows = 0;
  for (const BatchSegment& segment : segments) {
    PONDER_ASSERT(!segment.tokens.empty());
    PONDER_ASSERT(segment.first_position + segment.tokens.size() <= segment.table->capacity());
    rows += segment.tokens.size();
  }
  PONDER_ASSERT(rows > 0 && rows <= options_.batch_rows_max);
  ws_->resize(rows);
  std::size_t row = 0;
  for (const BatchSegment& segment : segments) {
    for (std::size_t i = 0; i < segment.tokens.size(); ++i, ++row) {
      ws_->positions[row] = static_cast<std::int32_t>(segment.first_position + i);
      ws_->num_keys[row] = ws_->positions[row] + 1;
    }
  }
}

/// Before the last layer: rows that nobody asks for logits are worth no more than their cache rows.
/// Writes those of all rows, and leaves a batch of the rows that are asked.
std::span<const BatchSegment> CpuModel::drop_unasked_rows(std::span<const BatchSegment> segments) {
  std::vector<BatchSegment>& asked = ws_->asked_segments;
  asked.clear();
  std::size_t num_asked = 0;
  for (const BatchSegment& segment : segments) {
    if (!segment.wants_logits) continue;
    const std::size_t n = 1 + segment.num_drafts;
    asked.push_back(segment);
    asked.back().first_position += segment.tokens.size() - n;
    asked.back().tokens = segment.tokens.last(n);
    asked.back().num_known = n;
    num_asked += n;
  }
  if (num_asked == ws_->rows) return segments;
  start_attention(config_.num_hidden_layers - 1, segments, Goal::cache_rows);
  std::size_t from = 0;
  std::size_t to = 0;
  for (const BatchSegment& segment : segments) {
    from += segment.tokens.size();
    const std::size_t n = segment.wants_logits ? 1 + segment.num_drafts : 0;
    for (std::size_t i = n; i > 0; --i) move_row(to++, from - i);
  }
  if (asked.empty()) return {};
  start_batch(asked);
  fill_rope_tables();
  return asked;
}

/// What the layers before have left of a row: the residual stream and, for a layer that shares it,
/// the selection.
void CpuModel::move_row(std::size_t to, std::size_t from) {
  if (to == from) return;
  const std::size_t hidden = config_.hidden_size;
  const std::size_t topk = config_.index_topk;
  std::copy_n(ws_->hidden.data() + from * hidden, hidden, ws_->hidden.data() + to * hidden);
  ws_->num_selected[to] = ws_->num_selected[from];
  std::copy_n(ws_->selection.data() + from * topk, ws_->num_selected[from],
              ws_->selection.data() + to * topk);
}

void CpuModel::embed(std::span<const BatchSegment> segments) {
  const std::size_t hidden = config_.hidden_size;
  const Linear& table = weights_.embed_tokens;
  float* out = ws_->hidden.data();
  for (const BatchSegment& segment : segments) {
    for (const TokenId token : segment.tokens) {
      PONDER_ASSERT(token < config_.vocab_size);
      if (table.dtype == kernels::DType::bf16) {
        const auto* values = static_cast<const kernels::bf16*>(table.data);
        table_->bf16_to_f32(out, values + token * hidden, hidden);
      } else {
        const auto* values = static_cast<const float*>(table.data);
        std::memcpy(out, values + token * hidden, hidden * sizeof(float));
      }
      out += hidden;
    }
  }
}

/// One fp32 product for the angle, as every public implementation has it, then exact functions.
void CpuModel::fill_rope_tables() {
  const std::size_t half = config_.qk_rope_head_dim / 2;
  for (std::size_t row = 0; row < ws_->rows; ++row) {
    const auto position = static_cast<float>(ws_->positions[row]);
    for (std::size_t j = 0; j < half; ++j) {
      const float angle = position * config_.inv_freq[j];
      const double amplitude = config_.rope_amplitude;
      ws_->rope_cos[row * half + j] = static_cast<float>(amplitude * std::cos(double{angle}));
      ws_->rope_sin[row * half + j] = static_cast<float>(amplitude * std::sin(double{angle}));
    }
  }
}

std::span<const float> CpuModel::compute_logits(std::span<const BatchSegment> segments) {
  const std::size_t hidden = config_.hidden_size;
  ws_->logits_input.clear();
  std::size_t row = 0;
  for (const BatchSegment& segment : segments) {
    row += segment.tokens.size();
    if (!segment.wants_logits) continue;
    const float* end = ws_->hidden.data() + row * hidden;
    const float* first = end - (1 + segment.num_drafts) * hidden;
    ws_->logits_input.insert(ws_->logits_input.end(), first, end);
  }
  const std::size_t n = ws_->logits_input.size() / hidden;
  if (n == 0) return {};
  float* input = ws_->logits_input.data();
  kernels::rms_norm(executor(), {.y = input,
                                 .y_stride = hidden,
                                 .x = input,
                                 .x_stride = hidden,
                                 .weight = weights_.norm.data(),
                                 .rows = n,
                                 .dim = hidden,
                                 .eps = static_cast<float>(config_.rms_norm_eps)});
  return apply_lm_head(input, n);
}

std::span<const float> CpuModel::apply_lm_head(const float* input, std::size_t num_rows) {
  const std::size_t vocab = config_.vocab_size;
  ws_->logits.resize(std::max(ws_->logits.size(), num_rows * vocab));
  kernels::matmul(executor(), weights_.lm_head.args(ws_->logits.data(), vocab, input,
                                                    config_.hidden_size, num_rows));
  return {ws_->logits.data(), num_rows * vocab};
}

CpuModel::Workspace::Workspace(const ModelConfig& config, IndexKeys index_keys,
                               unsigned num_threads)
    : config(config), index_keys(index_keys), selector(num_threads, config.index_topk) {}

void CpuModel::Workspace::resize(std::size_t num_rows) {
  rows = num_rows;
  if (num_rows <= rows_capacity) return;
  rows_capacity = num_rows;
  const ModelConfig& c = config;
  const std::size_t heads = c.num_attention_heads;
  const std::size_t slots = num_rows * c.num_experts_per_tok;
  positions.resize(num_rows);
  for (auto* rows_of_hidden : {&hidden, &normed, &output}) {
    rows_of_hidden->resize(num_rows * c.hidden_size);
  }
  rope_cos.resize(num_rows * c.qk_rope_head_dim / 2);
  rope_sin.resize(rope_cos.size());
  q_latent.resize(num_rows * c.q_lora_rank);
  q.resize(num_rows * heads * c.qk_head_dim());
  latent.resize(num_rows * (c.kv_lora_rank + c.qk_rope_head_dim));
  q_absorbed.resize(num_rows * heads * c.kv_lora_rank);
  attended.resize(q_absorbed.size());
  values.resize(num_rows * heads * c.v_head_dim);
  attention_rows.resize(num_rows);
  index_q.resize(num_rows * c.index_n_heads * c.index_head_dim);
  index_k.resize(num_rows * c.index_head_dim);
  index_weights.resize(num_rows * c.index_n_heads);
  if (index_keys == IndexKeys::int8) {
    index_q_codes.resize(index_q.size());
    index_k_codes.resize(index_k.size());
    index_q_scales.resize(index_weights.size());
    index_k_scales.resize(num_rows);
  }
  num_keys.resize(num_rows);
  topk_results.resize(num_rows);
  selection.resize(num_rows * c.index_topk);
  num_selected.resize(num_rows);
  router_logits.resize(num_rows * c.n_routed_experts);
  experts.resize(slots);
  expert_weights.resize(slots);
}

}  // namespace ponder::engine
