#include <algorithm>
#include <numeric>

#include "engine/cpu_model.h"
#include "engine/index_fp8.h"
#include "engine/model_workspace.h"

namespace ponder::engine {

/// Whether any row sees more than index_topk positions: otherwise no index query is looked at.
bool CpuModel::has_scored_rows() const {
  const auto positions = std::span(ws_->positions).first(ws_->rows);
  return static_cast<std::size_t>(std::ranges::max(positions)) >= config_.index_topk;
}

/// Queries and keys are turned alike, so that their products are those of the rows as they were.
void CpuModel::round_index(const Projections& wanted) {
  if (layout_.index_keys == IndexKeys::int8) round_index_to_int8(wanted);
  if (layout_.index_keys == IndexKeys::fp8) round_index_to_fp8(wanted);
}

/// A key is rounded when it is written to its page.
void CpuModel::round_index_to_fp8(const Projections& wanted) {
  const std::size_t dim = config_.index_head_dim;
  const std::size_t heads = config_.index_n_heads;
  pool_.parallel_for(ws_->rows, 1, [&](std::size_t row, std::size_t) {
    rotate_index_row(ws_->index_k.data() + row * dim, dim);
    if (!wanted.index_queries) return;
    for (std::size_t head = row * heads; head < (row + 1) * heads; ++head) {
      rotate_index_row(ws_->index_q.data() + head * dim, dim);
      round_index_query(ws_->index_q.data() + head * dim, dim);
    }
  });
}

void CpuModel::round_index_to_int8(const Projections& wanted) {
  const ModelConfig& c = config_;
  if (wanted.index_queries) {
    kernels::index_quantize(executor(), {.x = ws_->index_q.data(),
                                         .x_stride = c.index_head_dim,
                                         .codes = ws_->index_q_codes.data(),
                                         .scales = ws_->index_q_scales.data(),
                                         .rows = ws_->rows * c.index_n_heads,
                                         .dim = c.index_head_dim});
  }
  kernels::index_quantize(executor(), {.x = ws_->index_k.data(),
                                       .x_stride = c.index_head_dim,
                                       .codes = ws_->index_k_codes.data(),
                                       .scales = ws_->index_k_scales.data(),
                                       .rows = ws_->rows,
                                       .dim = c.index_head_dim});
}

void CpuModel::write_index_key(std::size_t layer, const BlockTable& table, std::size_t row,
                               std::size_t position) {
  const std::size_t dim = config_.index_head_dim;
  const float* key = ws_->index_k.data() + row * dim;
  const std::size_t token = position % kPageTokens;
  switch (layout_.index_keys) {
    case IndexKeys::floating:
      store_values(table.index_row(layer, position), key, dim);
      return;
    case IndexKeys::int8:
      kernels::write_index_key(table.index_block(layer, position), token,
                               ws_->index_k_codes.data() + row * dim, ws_->index_k_scales[row],
                               dim);
      return;
    case IndexKeys::fp8:
      write_fp8_index_key(table.index_block(layer, position), token, key, dim);
      return;
  }
}

void CpuModel::select(std::size_t layer, std::span<const BatchSegment> segments, RowTrace* trace) {
  const std::size_t topk = config_.index_topk;
  const bool is_mtp = config_.layers[layer].is_mtp;
  const auto scale = static_cast<float>(config_.indexer_scale);
  const std::size_t num_weights = has_scored_rows() ? ws_->rows * config_.index_n_heads : 0;
  for (std::size_t i = 0; i < num_weights; ++i) ws_->index_weights[i] *= scale;
  if (layout_.index_keys == IndexKeys::int8) {
    for (std::size_t i = 0; i < num_weights; ++i) ws_->index_weights[i] *= ws_->index_q_scales[i];
  }
  std::size_t row = 0;
  for (const BatchSegment& segment : segments) {
    // Up to index_topk visible positions everything is selected, and nothing need be scored.
    const std::size_t last = row + segment.tokens.size();
    for (std::size_t position = segment.first_position; row < last && position < topk; ++position) {
      ws_->num_selected[row] = 0;
      if (is_mtp) select_from_one(row, position);
      ++row;
    }
    // The MTP layer has no row at position 0.
    const std::size_t first_key = is_mtp ? 1 : 0;
    if (row < last) select_rows(layer, *segment.table, row, last - row, first_key);
    row = last;
  }
  if (trace != nullptr && ws_->num_selected[row - 1] != 0) {
    std::vector<float>& scores = (*trace)[layer].index_scores;
    scores.resize(static_cast<std::size_t>(ws_->num_keys[row - 1]));
    with_index_scores(layer, *segments.back().table, row - 1, 1, [&](auto args) {
      args.scores = scores.data();
      args.scores_stride = scores.size();
      kernels::index_scores(executor(), args);
    });
  }
}

void CpuModel::select_rows(std::size_t layer, const BlockTable& table, std::size_t row,
                           std::size_t num_rows, std::size_t first_key) {
  const std::size_t topk = config_.index_topk;
  with_index_scores(layer, table, row, num_rows, [&](const auto& args) {
    ws_->selector.select(executor(), args,
                         {.positions = ws_->selection.data() + row * topk,
                          .stride = topk,
                          .results = ws_->topk_results.data() + row,
                          .first_key = first_key});
  });
  for (std::size_t r = row; r < row + num_rows; ++r) {
    ws_->num_selected[r] = static_cast<std::int32_t>(ws_->topk_results[r].num_selected);
    num_nan_scores_ += ws_->topk_results[r].num_nan;
  }
}

/// Calls visit with the arguments of the score kernel for this kind of keys; scores are left open.
template <class Visit>
void CpuModel::with_index_scores(std::size_t layer, const BlockTable& table, std::size_t row,
                                 std::size_t num_rows, Visit visit) {
  const ModelConfig& c = config_;
  const std::size_t index_dim = c.index_n_heads * c.index_head_dim;
  const float* head_weights = ws_->index_weights.data() + row * c.index_n_heads;
  const std::int32_t* num_keys = ws_->num_keys.data() + row;
  if (layout_.index_keys == IndexKeys::int8) {
    visit(kernels::IndexScoresI8Args{.scores = nullptr,
                                     .scores_stride = 0,
                                     .q = ws_->index_q_codes.data() + row * index_dim,
                                     .head_weights = head_weights,
                                     .pages = table.addresses(),
                                     .num_keys = num_keys,
                                     .rows = num_rows,
                                     .heads = c.index_n_heads,
                                     .dim = c.index_head_dim,
                                     .block_offset = layout_.index_offsets[layer]});
  } else {
    visit(kernels::IndexScoresArgs{.scores = nullptr,
                                   .scores_stride = 0,
                                   .q = ws_->index_q.data() + row * index_dim,
                                   .q_row_stride = index_dim,
                                   .q_head_stride = c.index_head_dim,
                                   .head_weights = head_weights,
                                   .head_weights_stride = c.index_n_heads,
                                   .pages = table.addresses(),
                                   .key_stride = layout_.index_stride,
                                   .key_dtype = layout_.key_dtype,
                                   .num_keys = num_keys,
                                   .rows = num_rows,
                                   .heads = c.index_n_heads,
                                   .dim = c.index_head_dim,
                                   .block_offset = layout_.index_offsets[layer]});
  }
}

void CpuModel::trace_selection(std::size_t layer, RowTrace& trace) const {
  const std::size_t row = ws_->rows - 1;
  std::vector<std::int32_t>& selection = trace[layer].selection;
  if (ws_->num_selected[row] == 0) {
    selection.resize(static_cast<std::size_t>(ws_->num_keys[row]));
    std::iota(selection.begin(), selection.end(), 0);
  } else {
    const std::int32_t* first = ws_->selection.data() + row * config_.index_topk;
    selection.assign(first, first + ws_->num_selected[row]);
  }
}

}  // namespace ponder::engine
