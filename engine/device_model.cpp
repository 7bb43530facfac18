#include "engine/device_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/assert.h"
#include "engine/device_random_weights.h"
#include "engine/device_workspace.h"
#include "engine/machine_memory.h"

namespace ponder::engine {
namespace {

// What scores, and parts of attention, may take; more rows are computed in several launches.
constexpr std::size_t kScoreBytesMax = std::size_t{256} << 20;
constexpr std::size_t kPartBytesMax = std::size_t{256} << 20;
constexpr std::size_t kLogitsRowsTogether = 64;
constexpr std::size_t kRoutingAlignment = 64;  // in floats, of what is read as vectors

}  // namespace

Result<std::unique_ptr<Model>> DeviceModel::load(const std::filesystem::path& dir,
                                                 ModelConfig config, const ModelOptions& options) {
  PONDER_TRY(Checkpoint checkpoint, Checkpoint::open(dir));
  PONDER_TRY(std::shared_ptr<OpenDevice> device, OpenDevice::open(*options.device));
  const std::uint64_t host_bytes_free =
      options.memory_bytes_max != 0 ? options.memory_bytes_max : machine_memory().available;
  PONDER_TRY(ModelWeights weights, load_weights(checkpoint, config,
                                                {.with_mtp = options.has_drafts,
                                                 .activations = options.activations,
                                                 .memory_bytes_max = options.memory_bytes_max,
                                                 .copied_bytes_max = options.copied_bytes_max}));
  const auto dtype = choose_cache_dtype(options.cache_dtype, checkpoint.compute_dtype(), config);
  CacheLayout layout(config, dtype, options.has_drafts, options.index_keys);
  std::unique_ptr<DeviceModel> model(
      new DeviceModel(std::move(config), options, std::move(layout), std::move(device)));
  PONDER_TRY(const DeviceNeed need, model->count_need(weights, options));
  if (options.prompt_attention != model->prompt_attention_ && options.on_notice) {
    options.on_notice("prompt attention: the GPU has no expanded form for heads of this shape");
  }
  const kernels::DeviceInfo& info = model->device_->info();
  PONDER_TRY(model->plan_,
             plan_experts(need, options.experts,
                          {info.name, info.memory_bytes, info.memory_bytes_free, host_bytes_free}));
  PONDER_TRY(model->weights_, upload_weights(weights, model->arena_, model->prompt_attention_));
  PONDER_CHECK(model->take_workspace());
  PONDER_CHECK(model->place_experts(std::move(checkpoint), std::move(weights), need, options));
  return model;
}

/// By taking everything in the order of load() from an arena that only counts.
Result<DeviceNeed> DeviceModel::count_need(const ModelWeights& weights,
                                           const ModelOptions& options) {
  DeviceArena arena = DeviceArena::that_counts();
  DeviceNeed need;
  PONDER_TRY(weights_, upload_weights(weights, arena, prompt_attention_));
  need.weight_bytes = arena.bytes();
  PONDER_CHECK(make_workspace(arena));
  need.workspace_bytes = arena.bytes() - need.weight_bytes;
  for (std::size_t layer = 0; layer < weights.layers.size(); ++layer) {
    if (weights.layers[layer].experts.empty()) continue;
    const std::uint64_t before = arena.bytes();
    PONDER_CHECK(upload_experts(weights.layers[layer], arena));
    need.experts.push_back({layer, arena.bytes() - before});
  }
  need.cache_bytes = cache_bytes(layout_, options);
  return need;
}

std::uint64_t DeviceModel::cache_bytes(const CacheLayout& layout, const ModelOptions& options) {
  const std::uint64_t of_a_batch = pages_for(options.batch_rows_max);
  return std::max(options.cache_bytes / layout.page_bytes, of_a_batch) * layout.page_bytes;
}

/// As planned. The host needs the weights only until they are copied, but for experts that stay.
Status DeviceModel::place_experts(Checkpoint checkpoint, ModelWeights weights,
                                  const DeviceNeed& need, const ModelOptions& options) {
  std::vector<std::size_t> staying;
  for (std::size_t i = 0; i < need.experts.size(); ++i) {
    const std::size_t layer = need.experts[i].layer;
    if (i < plan_.num_on_device) {
      PONDER_TRY(weights_.layers[layer].experts, upload_experts(weights.layers[layer], arena_));
    } else {
      staying.push_back(layer);
    }
  }
  PONDER_CHECK(device_status(table(), table().wait(), "load"));
  PONDER_CHECK(checkpoint.check_unchanged());
  if (staying.empty()) return {};
  PONDER_TRY(host_, HostExperts::create(config_, options, std::move(checkpoint), std::move(weights),
                                        staying));
  return {};
}

std::uint64_t DeviceModel::workspace_bytes(const ModelConfig& config, const ModelOptions& options) {
  DeviceModel model(config, options, CacheLayout(config, kernels::DType::bf16), nullptr);
  if (options.has_drafts) model.weights_.mtp.emplace();
  DeviceArena arena = DeviceArena::that_counts();
  const auto counted = model.make_workspace(arena);
  PONDER_ASSERT(counted.has_value());
  return arena.bytes();
}

Result<std::unique_ptr<DeviceModel>> DeviceModel::with_random_weights(ModelConfig config,
                                                                      const ModelOptions& options) {
  PONDER_TRY(std::shared_ptr<OpenDevice> device, OpenDevice::open(*options.device));
  const bool is_fp8 = options.cache_dtype == CacheDType::fp8;
  CacheLayout layout(config, is_fp8 ? kernels::DType::fp8_e4m3 : kernels::DType::bf16, false,
                     options.index_keys);
  std::unique_ptr<DeviceModel> model(
      new DeviceModel(std::move(config), options, std::move(layout), std::move(device)));
  model->prompt_attention_ = PromptAttention::gathered;
  PONDER_TRY(model->weights_, random_device_weights(model->config_, model->arena_));
  PONDER_CHECK(model->take_workspace());
  PONDER_CHECK(device_status(model->table(), model->table().wait(), "load"));
  return model;
}

DeviceModel::DeviceModel(ModelConfig config, const ModelOptions& options, CacheLayout layout,
                         std::shared_ptr<OpenDevice> device)
    : config_(std::move(config)),
      rows_max_(options.batch_rows_max),
      prompt_attention_(can_expand(config_) ? options.prompt_attention : PromptAttention::gathered),
      layout_(std::move(layout)),
      device_(std::move(device)),
      arena_(device_),
      graphs_(device_, options.device_graphs, options.on_notice) {}

DeviceModel::~DeviceModel() = default;

std::string DeviceModel::arithmetic_name() const {
  return fmt::format("{} {} version {}{}{}{}", table().name, device_->info().compute_capability,
                     table().version, host_ == nullptr ? "" : ", ",
                     host_ == nullptr ? "" : host_->arithmetic_name(),
                     prompt_form_end() == 0 ? "" : ", prompts expanded");
}

Result<std::unique_ptr<DeviceModel::Workspace>> DeviceModel::make_workspace(
    DeviceArena& arena) const {
  auto ws = std::make_unique<Workspace>();
  ws->rows_max = rows_max_;
  ArrayTaker take(arena);
  take(ws->inputs, Workspace::kNumInputs * rows_max_);
  ws->block_table_ints = rows_max_ * pages_for(config_.max_position_embeddings);
  take(ws->block_tables, ws->block_table_ints);
  for (auto* ints : {&ws->logits_rows, &ws->num_selected}) take(*ints, rows_max_);
  for (auto* of_hidden : {&ws->hidden, &ws->output, &ws->final_hidden}) {
    take(*of_hidden, rows_max_ * config_.hidden_size);
  }
  take_routing(*ws, take);
  take(ws->mtp_input, weights_.mtp ? rows_max_ * 2 * config_.hidden_size : 0);
  ws->logits_rows_max = std::min<std::size_t>(rows_max_, kLogitsRowsTogether);
  take(ws->logits, ws->logits_rows_max * config_.vocab_size);
  take_sampling(*ws, take);
  take_attention(*ws, take);
  take_expanded(*ws, take);
  take_indexer(*ws, take);
  take_ffn(*ws, take);
  if (!take.status) return tl::unexpected(take.status.error());
  return ws;
}

Status DeviceModel::take_workspace() {
  PONDER_TRY(ws_, make_workspace(arena_));
  return {};
}

void DeviceModel::take_routing(Workspace& ws, ArrayTaker& take) const {
  const std::size_t slots = rows_max_ * config_.num_experts_per_tok;
  ws.routing_floats = (2 * slots + kRoutingAlignment - 1) / kRoutingAlignment * kRoutingAlignment;
  take(ws.routing, ws.routing_floats + rows_max_ * config_.hidden_size);
  if (ws.routing == nullptr) return;
  ws.experts = reinterpret_cast<std::int32_t*>(ws.routing);
  ws.expert_weights = ws.routing + slots;
  ws.normed = ws.routing + ws.routing_floats;
}

void DeviceModel::take_attention(Workspace& ws, ArrayTaker& take) const {
  const ModelConfig& c = config_;
  const std::size_t rows = rows_max_;
  const std::size_t heads = c.num_attention_heads;
  take(ws.rope_cos, rows * c.qk_rope_head_dim / 2);
  take(ws.rope_sin, rows * c.qk_rope_head_dim / 2);
  take(ws.q_latent, rows * c.q_lora_rank);
  take(ws.q, rows * heads * c.qk_head_dim());
  take(ws.latent, rows * (c.kv_lora_rank + c.qk_rope_head_dim));
  take(ws.q_absorbed, rows * heads * c.kv_lora_rank);
  take(ws.attended, rows * heads * c.kv_lora_rank);
  take(ws.values, rows * heads * c.v_head_dim);
  ws.attention_parts_max =
      (c.index_topk + kernels::kDevicePartSlots - 1) / kernels::kDevicePartSlots;
  const std::size_t row_parts = ws.attention_parts_max * heads * (c.kv_lora_rank + 2);
  ws.attention_rows_together =
      std::clamp<std::size_t>(kPartBytesMax / (row_parts * sizeof(float)), 1, rows);
  take(ws.parts, ws.attention_rows_together * row_parts);
}

void DeviceModel::take_indexer(Workspace& ws, ArrayTaker& take) const {
  const ModelConfig& c = config_;
  const std::size_t rows = rows_max_;
  take(ws.index_q, rows * c.index_n_heads * c.index_head_dim);
  take(ws.index_k, rows * c.index_head_dim);
  take(ws.index_weights, rows * c.index_n_heads);
  take(ws.index_q_codes, rows * c.index_n_heads * c.index_head_dim);
  const std::size_t keys = c.max_position_embeddings;
  ws.num_scores = std::max(keys, std::min(rows * keys, kScoreBytesMax / sizeof(float)));
  take(ws.scores, ws.num_scores);
  take(ws.select_workspace,
       std::max(kernels::select_workspace_words(rows, keys),
                kernels::select_workspace_words(ws.logits_rows_max, c.vocab_size)));
  take(ws.selection, rows * c.index_topk);
  take(ws.selected_slots, rows * c.index_topk);
}

void DeviceModel::take_ffn(Workspace& ws, ArrayTaker& take) const {
  const ModelConfig& c = config_;
  const std::size_t rows = rows_max_;
  const std::size_t slots = rows * c.num_experts_per_tok;
  const std::size_t moe_widths = c.num_experts_per_tok + c.n_shared_experts;
  const std::size_t ffn =
      rows * std::max(c.intermediate_size, moe_widths * c.moe_intermediate_size);
  take(ws.gate, ffn);
  take(ws.up, ffn);
  take(ws.router_logits, rows * c.n_routed_experts);
  for (auto* ints : {&ws.slot_rows, &ws.source_rows}) take(*ints, slots);
  take(ws.expert_begin, c.n_routed_experts + 1);
  take(ws.expert_output, slots * c.hidden_size);
  const std::size_t x_values =
      std::max({rows * 2 * c.hidden_size, rows * c.q_lora_rank,
                rows * c.num_attention_heads * c.v_head_dim, ffn, slots * c.hidden_size});
  take(ws.x_codes, x_values);
  take(ws.x_scales, x_values / kernels::kActivationGroup + 1);
}

Result<PagePool> DeviceModel::create_pool(std::uint64_t bytes_max) {
  const std::uint64_t num_pages = bytes_max / layout_.page_bytes;
  if (num_pages == 0) {
    return fail(Errc::exhausted, fmt::format("cache: one page needs {} bytes, the limit is {}",
                                             layout_.page_bytes, bytes_max));
  }
  auto memory = DeviceBuffer::create(device_, num_pages * layout_.page_bytes);
  if (!memory) return fail_in("cache", memory.error());
  return PagePool(layout_, std::make_unique<DevicePageMemory>(device_, std::move(*memory)),
                  num_pages);
}

Status DeviceModel::check() const {
  PONDER_CHECK(device_status(table(), device_->error(), "forward pass"));
  return host_ == nullptr ? Status() : host_->check();
}

void DeviceModel::give_up() {
  PONDER_ASSERT(device_->error() != 0);
  is_given_up_ = true;
  host_.reset();
}

std::span<const float> DeviceModel::forward(std::span<const BatchSegment> segments,
                                            RowTrace* trace) {
  if (is_given_up_) return {};
  set_rows(segments);
  choices_.clear();
  std::span<const float> logits;
  if (trace == nullptr && can_capture() && is_decode(segments)) {
    logits = decode(segments);
  } else {
    upload_step(segments);
    compute_layers(trace);
    logits = compute_logits(segments);
  }
  count_nan_scores();
  if (weights_.mtp) extend_mtp_cache(segments);
  return logits;
}

/// From the embedding to the final norm. Without a trace, forced choices and experts in host
/// memory, it only launches operations.
void DeviceModel::compute_layers(RowTrace* trace) {
  embed(ws_->input(Workspace::tokens));
  start_layers(0);
  if (trace != nullptr) trace->assign(config_.num_hidden_layers, {});
  for (std::size_t layer = 0; layer < config_.num_hidden_layers; ++layer) {
    LayerTrace* const layer_trace = trace == nullptr ? nullptr : &(*trace)[layer];
    start_attention(layer);
    if (config_.layers[layer].indexer == IndexerKind::full) {
      select(layer, layer_trace);
      if (forced_ != nullptr) force_selections(layer);
    }
    if (layer_trace != nullptr) trace_selection(*layer_trace);
    finish_attention(layer);
    feed_forward(layer, layer_trace);
    if (layer_trace != nullptr) {
      const std::size_t hidden = config_.hidden_size;
      double squares = 0.0;
      for (const float x : download(ws_->hidden + (step_.rows - 1) * hidden, hidden)) {
        squares += double{x} * x;
      }
      layer_trace->residual_norm = std::sqrt(squares);
    }
  }
}

void DeviceModel::set_rows(std::span<const BatchSegment> segments) {
  step_.positions.clear();
  step_.num_keys.clear();
  for (const BatchSegment& segment : segments) {
    PONDER_ASSERT(!segment.tokens.empty());
    PONDER_ASSERT(segment.samplings.empty() ||
                  (segment.wants_logits && segment.samplings.size() == 1 + segment.num_drafts));
    PONDER_ASSERT(segment.first_position + segment.tokens.size() <= segment.table->capacity());
    PONDER_ASSERT(&segment.table->pool() == &segments.front().table->pool());
    for (std::size_t i = 0; i < segment.tokens.size(); ++i) {
      step_.positions.push_back(static_cast<std::int32_t>(segment.first_position + i));
      step_.num_keys.push_back(step_.positions.back() + 1);
    }
  }
  step_.rows = step_.num_rows();
  PONDER_ASSERT(step_.rows > 0 && step_.rows <= rows_max_);
  step_.keys_max = static_cast<std::size_t>(*std::ranges::max_element(step_.num_keys));
  step_.pages = segments.front().table->pool().data(PageId{0});
  plan_rows(segments);
}

/// Into memory that is the same in every step.
void DeviceModel::upload_step(std::span<const BatchSegment> segments) {
  fill_rows(segments);
  upload_block_tables(segments);
  upload_rope_tables();
  upload_plan();
}

void DeviceModel::fill_rows(std::span<const BatchSegment> segments) {
  std::vector<std::int32_t> inputs(Workspace::kNumInputs * rows_max_);
  const auto set = [&](Workspace::Input which, std::size_t row, std::size_t value) {
    inputs[which * rows_max_ + row] = static_cast<std::int32_t>(value);
  };
  constexpr auto kAbsent = static_cast<std::size_t>(-1);
  set(Workspace::num_rows, 0, step_.num_rows());
  for (std::size_t empty = step_.num_rows(); empty < step_.rows; ++empty) {
    for (const auto which : {Workspace::tokens, Workspace::slots}) set(which, empty, kAbsent);
  }
  std::size_t row = 0;
  for (std::size_t s = 0; s < segments.size(); ++s) {
    const BatchSegment& segment = segments[s];
    for (std::size_t i = 0; i < segment.tokens.size(); ++i, ++row) {
      PONDER_ASSERT(segment.tokens[i] < config_.vocab_size);
      const std::size_t position = segment.first_position + i;
      const auto page = static_cast<std::size_t>(segment.table->pages()[position / kPageTokens]);
      set(Workspace::tokens, row, segment.tokens[i]);
      set(Workspace::num_keys, row, position + 1);
      set(Workspace::row_sequences, row, s);
      set(Workspace::slots, row,
          i < segment.num_known ? kAbsent : page * kPageTokens + position % kPageTokens);
      // The models were trained with no embedding for the token at position 1.
      set(Workspace::mtp_tokens, row, position <= 1 ? kAbsent : segment.tokens[i]);
      set(Workspace::rows_before, row, i == 0 ? kAbsent : row - 1);
    }
  }
  upload(ws_->inputs, std::span<const std::int32_t>(inputs));
}

void DeviceModel::upload_block_tables(std::span<const BatchSegment> segments) {
  const std::size_t stride = pages_for(step_.keys_max);
  std::vector<std::int32_t> tables(segments.size() * stride, -1);
  for (std::size_t s = 0; s < segments.size(); ++s) {
    const BatchSegment& segment = segments[s];
    const std::size_t n = pages_for(segment.first_position + segment.tokens.size());
    for (std::size_t i = 0; i < n; ++i) {
      tables[s * stride + i] = static_cast<std::int32_t>(segment.table->pages()[i]);
    }
  }
  PONDER_ASSERT(tables.size() <= ws_->block_table_ints);
  upload(ws_->block_tables, std::span<const std::int32_t>(tables));
  step_.sequences = {ws_->block_tables, stride, ws_->input(Workspace::row_sequences)};
}

/// One fp32 product for the angle, as every public implementation has it, then exact functions.
void DeviceModel::upload_rope_tables() {
  const std::size_t half = config_.qk_rope_head_dim / 2;
  std::vector<float> cos(step_.num_rows() * half);
  std::vector<float> sin(cos.size());
  const double amplitude = config_.rope_amplitude;
  for (std::size_t row = 0; row < step_.num_rows(); ++row) {
    const auto position = static_cast<float>(step_.positions[row]);
    for (std::size_t j = 0; j < half; ++j) {
      const float angle = position * config_.inv_freq[j];
      cos[row * half + j] = static_cast<float>(amplitude * std::cos(double{angle}));
      sin[row * half + j] = static_cast<float>(amplitude * std::sin(double{angle}));
    }
  }
  upload(ws_->rope_cos, std::span<const float>(cos));
  upload(ws_->rope_sin, std::span<const float>(sin));
}

void DeviceModel::embed(const std::int32_t* tokens) {
  table().gather_rows({.y = ws_->hidden,
                       .y_stride = config_.hidden_size,
                       .table = weights_.embed_tokens,
                       .dtype = weights_.embed_dtype,
                       .indices = tokens,
                       .rows = step_.rows,
                       .dim = config_.hidden_size});
}

void DeviceModel::normalise(float* y, std::size_t y_stride, const float* x, std::size_t x_stride,
                            const float* weight, std::size_t rows, std::size_t dim, double eps) {
  table().rms_norm({.y = y,
                    .y_stride = y_stride,
                    .x = x,
                    .x_stride = x_stride,
                    .weight = weight,
                    .rows = rows,
                    .dim = dim,
                    .eps = static_cast<float>(eps)});
}

/// What the first layer of a stack reads.
void DeviceModel::start_layers(std::size_t first) {
  const std::size_t hidden = config_.hidden_size;
  normalise(ws_->normed, hidden, ws_->hidden, hidden, weights_.layers[first].input_layernorm,
            step_.rows, hidden, config_.rms_norm_eps);
}

/// y = x @ w^T for matrices that share x, all dense. Where they are int8 or int4, codes of x are
/// made once.
void DeviceModel::multiply(std::initializer_list<Product> products, const float* x,
                           std::size_t rows) {
  multiply_all(products, rows_of(x, rows));
}

kernels::DeviceMatmulArgs DeviceModel::rows_of(const float* x, std::size_t rows) const {
  kernels::DeviceMatmulArgs args{};
  args.x = x;
  args.batch = 1;
  args.m = rows;
  args.m_total = rows;
  args.x_codes = ws_->x_codes;
  args.x_scales = ws_->x_scales;
  return args;
}

void DeviceModel::multiply_all(std::initializer_list<Product> products,
                               kernels::DeviceMatmulArgs args) {
  for (const auto& [w, y] : products) {
    args.y = y;
    args.y_stride = w.out;
    args.x_stride = w.in;
    args.w = w.matrices;
    args.w_dtype = w.dtype;
    args.n = w.out;
    args.k = w.in;
    table().matmul(args);
    args.x_is_coded |= w.dtype == kernels::DType::int8 || w.dtype == kernels::DType::int4;
  }
}

std::span<const float> DeviceModel::compute_logits(std::span<const BatchSegment> segments) {
  std::vector<std::int32_t> rows;
  std::size_t end = 0;
  for (const BatchSegment& segment : segments) {
    end += segment.tokens.size();
    if (!segment.wants_logits) continue;
    for (std::size_t row = end - 1 - segment.num_drafts; row < end; ++row) {
      rows.push_back(static_cast<std::int32_t>(row));
    }
  }
  if (rows.empty()) return {};
  const std::size_t hidden = config_.hidden_size;
  upload(ws_->logits_rows, std::span<const std::int32_t>(rows));
  table().gather_rows({.y = ws_->normed,
                       .y_stride = hidden,
                       .table = ws_->final_hidden,
                       .dtype = kernels::DType::f32,
                       .indices = ws_->logits_rows,
                       .rows = rows.size(),
                       .dim = hidden});
  return apply_head(segments, ws_->normed);
}

std::span<const float> DeviceModel::apply_lm_head(const float* input, std::size_t num_rows) {
  const std::size_t vocab = config_.vocab_size;
  logits_.assign(num_rows * vocab, 0.0F);
  for (std::size_t row = 0; row < num_rows; row += ws_->logits_rows_max) {
    const std::size_t n = std::min(num_rows - row, ws_->logits_rows_max);
    multiply({{weights_.lm_head, ws_->logits}}, input + row * config_.hidden_size, n);
    note(table().download(logits_.data() + row * vocab, ws_->logits, n * vocab * sizeof(float)));
  }
  return logits_;
}

void DeviceModel::count_nan_scores() {
  for (const std::int32_t count : download(ws_->input(Workspace::num_nan), step_.rows)) {
    num_nan_scores_ += static_cast<std::uint64_t>(count);
  }
}

}  // namespace ponder::engine
