// The MTP layer on a device; engine/model_mtp.cpp says what it computes and in which slots.

#include <algorithm>
#include <numeric>

#include "base/assert.h"
#include "engine/device_model.h"
#include "engine/device_workspace.h"

namespace ponder::engine {

std::span<const float> DeviceModel::hidden(std::size_t row) const {
  return std::span(final_hidden_).subspan(row * config_.hidden_size, config_.hidden_size);
}

void DeviceModel::download_final_hidden() {
  final_hidden_.resize(std::max(final_hidden_.size(), step_.rows * config_.hidden_size));
  note(table().download(final_hidden_.data(), ws_->final_hidden,
                        step_.rows * config_.hidden_size * sizeof(float)));
}

/// The layer's cache rows for the tokens just computed. What it would make of them is left out.
void DeviceModel::extend_mtp_cache(std::span<const BatchSegment> segments) {
  const std::size_t hidden = config_.hidden_size;
  table().gather_rows({.y = ws_->output,
                       .y_stride = hidden,
                       .table = ws_->final_hidden,
                       .dtype = kernels::DType::f32,
                       .indices = ws_->input(Workspace::rows_before),
                       .rows = step_.rows,
                       .dim = hidden});
  std::size_t row = 0;
  for (const BatchSegment& segment : segments) {
    if (!segment.hidden_before.empty()) upload(ws_->output + row * hidden, segment.hidden_before);
    row += segment.tokens.size();
  }
  download_final_hidden();
  combine_mtp_input();
  start_attention(config_.num_hidden_layers);
}

std::span<const float> DeviceModel::draft(std::span<const DraftRow> rows) {
  PONDER_ASSERT(weights_.mtp.has_value() && rows.size() <= rows_max_);
  const std::size_t hidden = config_.hidden_size;
  const std::size_t layer = config_.num_hidden_layers;
  std::vector<BatchSegment> segments;
  for (std::size_t row = 0; row < rows.size(); ++row) {
    PONDER_ASSERT(rows[row].position > 0 && rows[row].hidden.size() == hidden);
    upload(ws_->output + row * hidden, rows[row].hidden);
    segments.push_back({.table = rows[row].table,
                        .first_position = rows[row].position,
                        .tokens = {&rows[row].token, 1}});
  }
  set_rows(segments);
  upload_step(segments);
  combine_mtp_input();
  start_attention(layer);
  select_for_drafts(rows);
  finish_attention(layer);
  feed_forward(layer, nullptr);
  count_nan_scores();
  download_final_hidden();
  std::vector<const RowSampling*> samplings;
  for (const DraftRow& row : rows) samplings.push_back(row.sampling);
  return apply_head(ws_->final_hidden, samplings);
}

/// eh_proj([enorm(embedding) | hnorm(hidden state before)]) into `hidden`, ready for the layer; the
/// hidden states before lie in `output`.
void DeviceModel::combine_mtp_input() {
  const std::size_t hidden = config_.hidden_size;
  PONDER_ASSERT(weights_.mtp);
  const DeviceMtp& weights = *weights_.mtp;
  embed(ws_->input(Workspace::mtp_tokens));
  normalise(ws_->mtp_input, 2 * hidden, ws_->hidden, hidden, weights.enorm, step_.rows, hidden,
            config_.rms_norm_eps);
  normalise(ws_->mtp_input + hidden, 2 * hidden, ws_->output, hidden, weights.hnorm, step_.rows,
            hidden, config_.rms_norm_eps);
  multiply({{weights.eh_proj, ws_->hidden}}, ws_->mtp_input, step_.rows);
  start_layers(config_.num_hidden_layers);
}

void DeviceModel::select_for_drafts(std::span<const DraftRow> rows) {
  const std::size_t topk = config_.index_topk;
  const bool is_shared = config_.index_share_for_mtp_iteration && rows[0].selection != nullptr;
  if (is_shared && !rows[0].selection->empty()) return use_selections(rows);
  select(config_.num_hidden_layers, nullptr);
  if (!is_shared) return;
  const std::vector<std::int32_t> selections = download(ws_->selection, step_.rows * topk);
  const std::vector<std::int32_t> counts = download(ws_->num_selected, step_.rows);
  for (std::size_t row = 0; row < rows.size(); ++row) {
    const auto first = selections.begin() + static_cast<std::ptrdiff_t>(row * topk);
    rows[row].selection->assign(first, first + counts[row]);
  }
}

/// The selections that the first drafts left, but where everything is visible.
void DeviceModel::use_selections(std::span<const DraftRow> rows) {
  const std::size_t topk = config_.index_topk;
  std::vector<std::int32_t> selections(step_.rows * topk, -1);
  std::vector<std::int32_t> counts;
  for (std::size_t row = 0; row < rows.size(); ++row) {
    const auto first = selections.begin() + static_cast<std::ptrdiff_t>(row * topk);
    if (rows[row].position <= topk) {
      std::iota(first, first + static_cast<std::ptrdiff_t>(rows[row].position), 1);
      counts.push_back(static_cast<std::int32_t>(rows[row].position));
    } else {
      std::ranges::copy(*rows[row].selection, first);
      counts.push_back(static_cast<std::int32_t>(rows[row].selection->size()));
    }
  }
  upload(ws_->selection, std::span<const std::int32_t>(selections));
  upload(ws_->num_selected, std::span<const std::int32_t>(counts));
  translate_selection();
}

}  // namespace ponder::engine
