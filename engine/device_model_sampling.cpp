// Sampling beside the logits: the device takes penalties off, masks them and gives the best of each
// row and the sums of all weights, and Sampler chooses by these. Rows for which they are not enough
// come to the host.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>

#include "base/assert.h"
#include "engine/device_model.h"
#include "engine/device_workspace.h"

namespace ponder::engine {
namespace {

// Nuclei of more tokens are rare where it matters what is chosen.
constexpr std::size_t kBestMax = 512;

std::size_t mask_words(std::size_t vocab) { return (vocab + 63) / 64; }

/// What comes back of a step, one array after the other, so that it is one download. Nothing is
/// summed up for the single best.
struct BestLayout {
  std::size_t rows;
  std::size_t k;
  std::size_t parts;
  BestLayout(std::size_t rows, std::size_t k, std::size_t vocab)
      : rows(rows), k(k), parts(k == 1 ? 0 : kernels::logits_parts(vocab)) {}
  std::size_t ids() const { return rows * parts * sizeof(double); }
  std::size_t logits() const { return ids() + rows * k * sizeof(std::int32_t); }
  std::size_t bytes() const { return logits() + rows * k * sizeof(float); }
};

/// Those of one row, on the host.
struct RowBest {
  std::vector<TokenId> ids;
  std::vector<float> logits;
  std::vector<double> totals;
};

RowBest read_row(const BestLayout& layout, const std::vector<std::byte>& bytes, std::size_t row) {
  const auto read = [&]<class T>(std::vector<T>& to, std::size_t at) {
    const std::size_t size = to.size() * sizeof(T);
    if (size > 0) std::memcpy(to.data(), bytes.data() + at + row * size, size);
  };
  RowBest best;
  best.totals.resize(layout.parts);
  std::vector<std::int32_t> ids(layout.k);
  std::vector<float> logits(layout.k);
  read(best.totals, 0);
  read(ids, layout.ids());
  read(logits, layout.logits());
  for (std::size_t i = 0; i < layout.k; ++i) {
    if (std::isnan(logits[i]) || logits[i] == -HUGE_VALF) continue;
    best.ids.push_back(static_cast<TokenId>(ids[i]));
    best.logits.push_back(logits[i]);
  }
  return best;
}

}  // namespace

void DeviceModel::take_sampling(Workspace& ws, ArrayTaker& take) const {
  const std::size_t vocab = config_.vocab_size;
  const std::size_t rows = ws.logits_rows_max;
  take(ws.logits_info, rows);
  take(ws.masks, rows * mask_words(vocab));
  ws.penalties_max = vocab;
  take(ws.penalties, ws.penalties_max);
  take(ws.best_logits, BestLayout(rows, std::min(kBestMax, vocab), vocab).bytes());
  take(ws.part_maxima, rows * kernels::logits_parts(vocab));
  take(ws.num_logits, rows);
  take(ws.num_best, rows);
}

/// Of final hidden states, of all rows whose logits are wanted.
std::span<const float> DeviceModel::apply_head(std::span<const BatchSegment> segments,
                                               const float* hidden) {
  std::vector<const RowSampling*> samplings;
  for (const BatchSegment& segment : segments) {
    if (!segment.wants_logits) continue;
    for (std::size_t i = 0; i <= segment.num_drafts; ++i) {
      samplings.push_back(segment.samplings.empty() ? nullptr : &segment.samplings[i]);
    }
  }
  return apply_head(hidden, samplings);
}

/// The tokens that follow these rows, or their logits.
std::span<const float> DeviceModel::apply_head(const float* input, Samplings samplings) {
  const std::size_t rows = samplings.size();
  const std::size_t vocab = config_.vocab_size;
  choices_.clear();
  if (!std::ranges::any_of(samplings, std::identity())) return apply_lm_head(input, rows);
  choices_.assign(rows, {});
  logits_.resize(std::max(logits_.size(), rows * vocab));
  for (std::size_t first = 0; first < rows; first += ws_->logits_rows_max) {
    const auto together = samplings.subspan(first, std::min(rows - first, ws_->logits_rows_max));
    sample_rows(input + first * config_.hidden_size, first, together);
  }
  return std::span(logits_).first(rows * vocab);
}

/// As many as there is room for; the first of them is row `first` of all.
void DeviceModel::sample_rows(const float* input, std::size_t first, Samplings wanted) {
  const std::size_t vocab = config_.vocab_size;
  multiply({{weights_.lm_head, ws_->logits}}, input, wanted.size());
  std::vector<const RowSampling*> samplings(wanted.begin(), wanted.end());
  const std::size_t num_penalties = upload_penalties(samplings);
  const bool is_greedy = upload_samplings(samplings);
  choose_tokens(first, samplings, is_greedy ? 1 : std::min(kBestMax, vocab), num_penalties);
  for (std::size_t row = 0; row < wanted.size(); ++row) {
    if (choices_[first + row].is_made) continue;
    note(table().download(logits_.data() + (first + row) * vocab, ws_->logits + row * vocab,
                          vocab * sizeof(float)));
  }
}

/// Of the rows whose penalties fit; of the others the logits are wanted from now on. Returns how
/// many there are.
std::size_t DeviceModel::upload_penalties(std::vector<const RowSampling*>& samplings) {
  std::vector<kernels::LogitPenalty> penalties;
  for (std::size_t row = 0; row < samplings.size(); ++row) {
    if (samplings[row] == nullptr || samplings[row]->penalties.empty()) continue;
    const RowSampling& sampling = *samplings[row];
    if (penalties.size() + sampling.penalties.size() > ws_->penalties_max) {
      samplings[row] = nullptr;
      continue;
    }
    for (const TokenPenalty& penalty : sampling.penalties) {
      penalties.push_back({static_cast<std::int32_t>(row), static_cast<std::int32_t>(penalty.id),
                           sampling.params->repetition_penalty, penalty.frequency,
                           penalty.presence});
    }
  }
  if (!penalties.empty()) upload(ws_->penalties, std::span<const kernels::LogitPenalty>(penalties));
  return penalties.size();
}

/// Returns whether only the best token of each row is wanted.
bool DeviceModel::upload_samplings(Samplings samplings) {
  std::vector<kernels::LogitsRowInfo> info(samplings.size(), {0.0F, -1});
  std::vector<std::uint64_t> masks;
  bool is_greedy = true;
  std::int32_t num_masks = 0;
  for (std::size_t row = 0; row < samplings.size(); ++row) {
    if (samplings[row] == nullptr) continue;
    const RowSampling& sampling = *samplings[row];
    info[row].temperature = sampling.params->temperature;
    is_greedy = is_greedy && sampling.params->temperature == 0.0F;
    if (sampling.mask.empty()) continue;
    PONDER_ASSERT(sampling.mask.size() == mask_words(config_.vocab_size));
    masks.insert(masks.end(), sampling.mask.begin(), sampling.mask.end());
    info[row].mask = num_masks++;
  }
  upload(ws_->logits_info, std::span<const kernels::LogitsRowInfo>(info));
  if (num_masks > 0) upload(ws_->masks, std::span<const std::uint64_t>(masks));
  return is_greedy;
}

void DeviceModel::choose_tokens(std::size_t first, Samplings samplings, std::size_t k,
                                std::size_t num_penalties) {
  const std::size_t vocab = config_.vocab_size;
  const BestLayout layout(samplings.size(), k, vocab);
  std::byte* const at = ws_->best_logits;
  table().best_logits({.logits = ws_->logits,
                       .rows = layout.rows,
                       .vocab = vocab,
                       .k = k,
                       .rows_info = ws_->logits_info,
                       .masks = reinterpret_cast<const std::uint32_t*>(ws_->masks),
                       .mask_words = 2 * mask_words(vocab),
                       .penalties = ws_->penalties,
                       .num_penalties = num_penalties,
                       .ids = reinterpret_cast<std::int32_t*>(at + layout.ids()),
                       .best = reinterpret_cast<float*>(at + layout.logits()),
                       .totals = reinterpret_cast<double*>(at),
                       .part_maxima = ws_->part_maxima,
                       .num_logits = ws_->num_logits,
                       .num_selected = ws_->num_best,
                       .workspace = ws_->select_workspace});
  const std::vector<std::byte> bytes = download(at, layout.bytes());
  for (std::size_t row = 0; row < layout.rows; ++row) {
    if (samplings[row] == nullptr) continue;
    const RowBest best = read_row(layout, bytes, row);
    std::vector<float> part_logits;
    const auto fetch_part = [&](std::size_t part) {
      const std::size_t begin = part * kernels::kLogitsPart;
      part_logits = download(ws_->logits + row * vocab + begin,
                             std::min(kernels::kLogitsPart, vocab - begin));
      return std::span<const float>(part_logits);
    };
    const BestLogits listed{.ids = best.ids,
                            .logits = best.logits,
                            .is_all = best.ids.size() < k || k == vocab,
                            .totals = best.totals,
                            .part_size = kernels::kLogitsPart,
                            .num_logits = vocab,
                            .fetch_part = fetch_part};
    RowChoice& choice = choices_[first + row];
    choice = sampler_.sample(listed, *samplings[row]->params, samplings[row]->position);
    choice.is_penalized = true;
    // What was downloaded is nothing then; drafts go on with what they are told.
    if (device_->error() != 0) choice = {.is_made = true};
  }
}

}  // namespace ponder::engine
