// The MTP layer: a decoder layer after the last one, which guesses the token after the next.
//
// Its row for position t combines the final hidden state of t with the embedding of token t + 1. It
// is kept in slot t + 1, the slot of the youngest token it depends on. So every layer's rows of a
// page follow from the same tokens, and prefixes are shared, copied, cut and evicted without a
// thought for drafts. Rows rotate by their slots, for only distances matter. Slot 0 has no such row
// and is never looked at.

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/assert.h"
#include "engine/cpu_model.h"
#include "engine/model_workspace.h"

namespace ponder::engine {

std::span<const float> CpuModel::hidden(std::size_t row) const {
  const std::size_t size = config_.hidden_size;
  return {ws_->final_hidden.data() + row * size, size};
}

/// The layer's cache rows for the tokens just computed. What it would make of them is left out.
void CpuModel::extend_mtp_cache(std::span<const BatchSegment> segments) {
  const std::size_t hidden = config_.hidden_size;
  ws_->final_hidden.resize(std::max(ws_->final_hidden.size(), ws_->rows * hidden));
  kernels::rms_norm(executor(), {.y = ws_->final_hidden.data(),
                                 .y_stride = hidden,
                                 .x = ws_->hidden.data(),
                                 .x_stride = hidden,
                                 .weight = weights_.norm.data(),
                                 .rows = ws_->rows,
                                 .dim = hidden,
                                 .eps = static_cast<float>(config_.rms_norm_eps)});
  float* before = ws_->output.data();
  std::size_t row = 0;
  for (const BatchSegment& segment : segments) {
    if (segment.hidden_before.empty()) {
      std::fill_n(before + row * hidden, hidden, 0.0F);
    } else {
      std::ranges::copy(segment.hidden_before, before + row * hidden);
    }
    const std::size_t rest = segment.tokens.size() - 1;
    std::memcpy(before + (row + 1) * hidden, ws_->final_hidden.data() + row * hidden,
                rest * hidden * sizeof(float));
    row += segment.tokens.size();
  }
  combine_mtp_input(segments);
  start_attention(config_.num_hidden_layers, segments, Goal::cache_rows);
}

std::span<const float> CpuModel::draft(std::span<const DraftRow> rows) {
  PONDER_ASSERT(weights_.mtp.has_value() && rows.size() <= ws_->rows_capacity);
  const std::size_t hidden = config_.hidden_size;
  ws_->draft_segments.clear();
  for (std::size_t row = 0; row < rows.size(); ++row) {
    PONDER_ASSERT(rows[row].position > 0 && rows[row].hidden.size() == hidden);
    std::ranges::copy(rows[row].hidden, ws_->output.data() + row * hidden);
    ws_->draft_segments.push_back({.table = rows[row].table,
                                   .first_position = rows[row].position,
                                   .tokens = {&rows[row].token, 1}});
  }
  const std::span<const BatchSegment> segments = ws_->draft_segments;
  const std::size_t layer = config_.num_hidden_layers;
  start_batch(segments);
  fill_rope_tables();
  combine_mtp_input(segments);
  start_attention(layer, segments);
  select_for_drafts(rows, segments);
  finish_attention(layer, segments);
  feed_forward(layer, nullptr);
  kernels::rms_norm(executor(), {.y = ws_->final_hidden.data(),
                                 .y_stride = hidden,
                                 .x = ws_->hidden.data(),
                                 .x_stride = hidden,
                                 .weight = weights_.mtp->shared_head_norm.data(),
                                 .rows = ws_->rows,
                                 .dim = hidden,
                                 .eps = static_cast<float>(config_.rms_norm_eps)});
  return apply_lm_head(ws_->final_hidden.data(), ws_->rows);
}

/// eh_proj([enorm(embedding) | hnorm(hidden state before)]) into `hidden`; the hidden states before
/// lie in `output`. The models were trained with no embedding for the token at position 1.
void CpuModel::combine_mtp_input(std::span<const BatchSegment> segments) {
  const std::size_t hidden = config_.hidden_size;
  embed(segments);
  for (std::size_t row = 0; row < ws_->rows; ++row) {
    if (ws_->positions[row] <= 1) std::fill_n(ws_->hidden.data() + row * hidden, hidden, 0.0F);
  }
  ws_->mtp_input.resize(std::max(ws_->mtp_input.size(), ws_->rows * 2 * hidden));
  const auto norm = [&](float* y, const float* x, std::span<const float> weight) {
    kernels::rms_norm(executor(), {.y = y,
                                   .y_stride = 2 * hidden,
                                   .x = x,
                                   .x_stride = hidden,
                                   .weight = weight.data(),
                                   .rows = ws_->rows,
                                   .dim = hidden,
                                   .eps = static_cast<float>(config_.rms_norm_eps)});
  };
  PONDER_ASSERT(weights_.mtp);
  const MtpWeights& weights = *weights_.mtp;
  norm(ws_->mtp_input.data(), ws_->hidden.data(), weights.enorm);
  norm(ws_->mtp_input.data() + hidden, ws_->output.data(), weights.hnorm);
  kernels::matmul(executor(), weights.eh_proj.args(ws_->hidden.data(), hidden,
                                                   ws_->mtp_input.data(), 2 * hidden, ws_->rows));
}

void CpuModel::select_for_drafts(std::span<const DraftRow> rows,
                              std::span<const BatchSegment> segments) {
  const bool is_shared = config_.index_share_for_mtp_iteration && rows[0].selection != nullptr;
  if (!is_shared || rows[0].selection->empty()) {
    select(config_.num_hidden_layers, segments, nullptr);
    for (std::size_t row = 0; is_shared && row < rows.size(); ++row) {
      const std::int32_t* first = ws_->selection.data() + row * config_.index_topk;
      rows[row].selection->assign(first, first + ws_->num_selected[row]);
    }
    return;
  }
  for (std::size_t row = 0; row < rows.size(); ++row) {
    const std::vector<std::int32_t>& selection = *rows[row].selection;
    if (rows[row].position <= config_.index_topk) {
      select_from_one(row, rows[row].position);
    } else {
      std::ranges::copy(selection, ws_->selection.data() + row * config_.index_topk);
      ws_->num_selected[row] = static_cast<std::int32_t>(selection.size());
    }
  }
}

/// All that a row with at most index_topk visible positions sees.
void CpuModel::select_from_one(std::size_t row, std::size_t position) {
  std::int32_t* first = ws_->selection.data() + row * config_.index_topk;
  std::iota(first, first + position, 1);
  ws_->num_selected[row] = static_cast<std::int32_t>(position);
}

}  // namespace ponder::engine
