// Attention of a prompt's first rows over the keys and values of each head. Latents are read from
// the cache as it holds them, whoever computed them, and unfolded anew for every step and layer, so
// that a row's bits are those of one prompt computed at once. Sequences are taken together, and so
// are heads, as far as workspace reaches; neither changes a bit.

#include <algorithm>

#include "base/assert.h"
#include "engine/device_model.h"
#include "engine/device_workspace.h"
#include "engine/fp8_latent.h"

namespace ponder::engine {
namespace {

// What keys and values may take, in both forms; heads that do not fit are computed after the
// others.
constexpr std::size_t kExpandedBytesMax = std::size_t{256} << 20;

}  // namespace

bool DeviceModel::can_expand(const ModelConfig& config) {
  return kernels::fits_expanded(config.kv_lora_rank, config.qk_nope_head_dim,
                                config.qk_rope_head_dim, config.v_head_dim);
}

std::size_t DeviceModel::prompt_form_end() const {
  if (prompt_attention_ == PromptAttention::gathered) return 0;
  return std::min<std::size_t>(config_.index_topk, config_.max_position_embeddings);
}

std::uint64_t DeviceModel::turned_key_bytes(const ModelConfig& config, PromptAttention attention) {
  if (attention == PromptAttention::gathered || !can_expand(config)) return 0;
  return std::uint64_t{config.num_hidden_layers} * config.num_attention_heads *
         config.qk_nope_head_dim * config.kv_lora_rank * sizeof(kernels::bf16);
}

void DeviceModel::take_expanded(Workspace& ws, ArrayTaker& take) const {
  if (prompt_attention_ == PromptAttention::gathered) return;
  const ModelConfig& c = config_;
  const std::size_t pages = pages_for(prompt_form_end());
  const std::size_t key_words =
      pages * kPageTokens * (c.qk_nope_head_dim + c.v_head_dim) +
      pages * kernels::expanded_workspace_words(c.qk_head_dim(), c.v_head_dim);
  const std::size_t heads_max = std::clamp<std::size_t>(
      kExpandedBytesMax / (key_words * sizeof(float)), 1, c.num_attention_heads);
  const std::size_t groups = (c.num_attention_heads + heads_max - 1) / heads_max;
  const std::size_t heads = (c.num_attention_heads + groups - 1) / groups;
  ws.expanded_heads_max = heads;
  take(ws.expanded_latents, pages * kPageTokens * (c.kv_lora_rank + c.qk_rope_head_dim));
  take(ws.expanded_keys, heads * pages * kPageTokens * c.qk_nope_head_dim);
  take(ws.expanded_values, heads * pages * kPageTokens * c.v_head_dim);
  take(ws.expanded_stages,
       heads * pages * kernels::expanded_workspace_words(c.qk_head_dim(), c.v_head_dim));
  take(ws.expanded_pages, rows_max_ * pages);
  take(ws.expanded_page_keys, rows_max_ * pages);
  take(ws.expanded_tiles, rows_max_);
}

/// Which rows take which form: of every segment the prompt's rows that see at most index_topk
/// positions, unless selections are forced on them.
void DeviceModel::plan_rows(std::span<const BatchSegment> segments) {
  RowPlan& plan = step_.plan;
  plan = {};
  const bool is_forced = forced_ != nullptr && forced_->selection;
  const std::size_t form_end = is_forced ? 0 : prompt_form_end();
  std::size_t row = 0;
  for (const BatchSegment& segment : segments) {
    const std::size_t num_rows = segment.tokens.size();
    const std::size_t end = std::min(segment.prompt_end, form_end);
    const std::size_t first = std::min(segment.first_position, end);
    const std::size_t num_expanded = std::min(num_rows, end - first);
    if (num_expanded > 0) plan_expanded(segment, row, num_expanded);
    if (num_expanded < num_rows) {
      if (plan.gathered.empty() || plan.gathered.back().end() != row + num_expanded) {
        plan.gathered.push_back({row + num_expanded, 0});
      }
      plan.gathered.back().num_rows += num_rows - num_expanded;
    }
    row += num_rows;
  }
}

void DeviceModel::plan_expanded(const BatchSegment& segment, std::size_t first_row,
                                std::size_t num_rows) {
  RowPlan& plan = step_.plan;
  const std::size_t num_keys = segment.first_position + num_rows;
  const std::size_t pages = pages_for(num_keys);
  // Workspace holds the keys of any one sequence.
  const std::size_t pages_max = pages_for(prompt_form_end());
  if (plan.expanded.empty() || plan.expanded.back().num_pages + pages > pages_max) {
    plan.expanded.push_back({plan.pages.size(), 0, plan.tiles.size(), 0});
  }
  ExpandedPart& part = plan.expanded.back();
  // Tiles with the most keys come first, so that the last blocks of a launch are short ones.
  for (std::size_t tile = (num_rows - 1) / kernels::kExpandedRows + 1; tile-- > 0;) {
    const std::size_t before = tile * kernels::kExpandedRows;
    const std::size_t of_tile = std::min(kernels::kExpandedRows, num_rows - before);
    plan.tiles.push_back({static_cast<std::int32_t>(first_row + before),
                          static_cast<std::int32_t>(of_tile),
                          static_cast<std::int32_t>(part.num_pages),
                          static_cast<std::int32_t>(segment.first_position + before + 1)});
    ++part.num_tiles;
  }
  for (std::size_t page = 0; page < pages; ++page) {
    plan.pages.push_back(static_cast<std::int32_t>(segment.table->pages()[page]));
    plan.page_keys.push_back(
        static_cast<std::int32_t>(std::min(kPageTokens, num_keys - page * kPageTokens)));
  }
  part.num_pages += pages;
}

void DeviceModel::upload_plan() {
  const RowPlan& plan = step_.plan;
  if (plan.expanded.empty()) return;
  upload(ws_->expanded_pages, std::span<const std::int32_t>(plan.pages));
  upload(ws_->expanded_page_keys, std::span<const std::int32_t>(plan.page_keys));
  upload(ws_->expanded_tiles, std::span<const kernels::ExpandedTile>(plan.tiles));
}

void DeviceModel::attend_expanded(std::size_t layer) {
  const ModelConfig& c = config_;
  for (const ExpandedPart& part : step_.plan.expanded) {
    table().read_latents({.cache = latent_pages(layer),
                          .fp8 = fp8_latent_layout(c.kv_lora_rank, c.qk_rope_head_dim),
                          .pages = ws_->expanded_pages + part.first_page,
                          .page_keys = ws_->expanded_page_keys + part.first_page,
                          .latents = ws_->expanded_latents,
                          .pages_read = part.num_pages,
                          .kv_lora_rank = c.kv_lora_rank,
                          .qk_rope_head_dim = c.qk_rope_head_dim});
    for (std::size_t head = 0; head < c.num_attention_heads; head += ws_->expanded_heads_max) {
      const std::size_t heads = std::min(ws_->expanded_heads_max, c.num_attention_heads - head);
      attend_expanded_heads(layer, part, head, heads);
    }
  }
}

void DeviceModel::attend_expanded_heads(std::size_t layer, const ExpandedPart& part,
                                        std::size_t first_head, std::size_t heads) {
  const ModelConfig& c = config_;
  const DeviceLayer& weights = weights_.layers[layer];
  const std::size_t keys = part.num_pages * kPageTokens;
  const auto unfold = [&](const DeviceLinears& w, float* y) {
    table().matmul({.y = y,
                    .y_stride = w.out,
                    .y_batch_stride = keys * w.out,
                    .x = ws_->expanded_latents,
                    .x_stride = c.kv_lora_rank + c.qk_rope_head_dim,
                    .x_batch_stride = 0,
                    .w = w.matrices + first_head,
                    .w_dtype = w.dtype,
                    .batch = heads,
                    .m = keys,
                    .m_total = keys,
                    .n = w.out,
                    .k = w.in});
  };
  unfold(weights.keys, ws_->expanded_keys);
  unfold(weights.value_up, ws_->expanded_values);
  const std::size_t q_dim = c.qk_head_dim();
  table().attention_expanded({.q = ws_->q + first_head * q_dim,
                              .q_row_stride = c.num_attention_heads * q_dim,
                              .q_head_stride = q_dim,
                              .out = ws_->values + first_head * c.v_head_dim,
                              .out_row_stride = c.num_attention_heads * c.v_head_dim,
                              .out_head_stride = c.v_head_dim,
                              .keys = ws_->expanded_keys,
                              .values = ws_->expanded_values,
                              .latents = ws_->expanded_latents,
                              .tiles = ws_->expanded_tiles + part.first_tile,
                              .num_tiles = part.num_tiles,
                              .pages = part.num_pages,
                              .heads = heads,
                              .kv_lora_rank = c.kv_lora_rank,
                              .qk_nope_head_dim = c.qk_nope_head_dim,
                              .qk_rope_head_dim = c.qk_rope_head_dim,
                              .v_head_dim = c.v_head_dim,
                              .softmax_scale = static_cast<float>(c.softmax_scale),
                              .workspace = ws_->expanded_stages});
}

}  // namespace ponder::engine
