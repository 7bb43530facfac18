#include "engine/bench/layer_cases.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace ponder::engine::bench {
namespace {

/// "131072" as "128K".
std::string count_text(std::size_t n) {
  return n % 1024 == 0 ? fmt::format("{}K", n / 1024) : fmt::format("{}", n);
}

class LayerCases {
 public:
  LayerCases(DeviceTimer& timer, const DeviceData& data,
             const std::function<void(const Measurement&)>& report)
      : timer_(timer), d_(data), s_(data.shape), report_(report) {}

  Status run() {
    for (const kernels::DType dtype : {kernels::DType::int8, kernels::DType::fp8_e4m3}) {
      PONDER_CHECK(decode_scores(dtype, 1));
      PONDER_CHECK(decode_scores(dtype, s_.contexts));
      PONDER_CHECK(prefill_scores(dtype));
    }
    PONDER_CHECK(selection(1));
    PONDER_CHECK(selection(s_.contexts));
    PONDER_CHECK(gathered(s_.contexts));
    PONDER_CHECK(gathered(s_.attention_rows));
    return sparse_against_dense();
  }

 private:
  const kernels::DeviceTable& table() const { return d_.device()->table(); }

  Status measure(std::string name, const Work& work, const std::function<void(std::size_t)>& launch,
                 double* ms = nullptr, std::string note = {}) {
    PONDER_TRY(const double median, timer_.median_ms(launch));
    if (ms != nullptr) *ms = median;
    report_({std::move(name), median, work, std::move(note)});
    return {};
  }

  /// `rows` rows of which the first reads sequence `first`.
  kernels::DeviceSequences sequences(std::size_t first) const {
    return {d_.block_tables, d_.pages(), d_.row_sequences + first};
  }

  void score(kernels::DType dtype, std::size_t first, std::size_t rows) const {
    table().index_scores({.scores = d_.scores,
                          .scores_stride = s_.keys,
                          .cache = dtype == kernels::DType::int8 ? d_.keys_i8 : d_.keys_fp8,
                          .sequences = sequences(first),
                          .q = d_.q_fp8,
                          .q_codes = d_.q_codes,
                          .head_weights = d_.head_weights,
                          .num_keys = d_.num_keys,
                          .num_keys_max = s_.keys,
                          .keys_min = 0,
                          .rows = rows,
                          .heads = s_.index_heads,
                          .dim = s_.index_dim});
  }
  void select(std::size_t first, std::size_t rows) const {
    table().select({.scores = d_.scores,
                    .scores_stride = s_.keys,
                    .sequences = sequences(first),
                    .num_keys = d_.num_keys,
                    .first_key = 0,
                    .k = s_.topk,
                    .positions = d_.positions,
                    .slots = d_.slots,
                    .num_selected = d_.num_selected,
                    .num_nan = d_.num_nan,
                    .rows = rows,
                    .workspace = d_.select_workspace});
  }
  void attend(std::size_t rows, const std::int32_t* slots, std::size_t stride,
              const std::int32_t* num_slots) const {
    const std::size_t dim = s_.kv_lora_rank + s_.qk_rope_head_dim;
    const std::size_t row_parts =
        (stride + kernels::kDevicePartSlots - 1) / kernels::kDevicePartSlots;
    table().attention({.q_nope = d_.q,
                       .q_nope_row_stride = s_.heads * dim,
                       .q_nope_head_stride = dim,
                       .q_rope = d_.q + s_.kv_lora_rank,
                       .q_rope_row_stride = s_.heads * dim,
                       .q_rope_head_stride = dim,
                       .out = d_.out,
                       .cache = d_.latents,
                       .fp8 = d_.fp8,
                       .slots = slots,
                       .num_slots = num_slots,
                       .slots_stride = stride,
                       .rows = rows,
                       .heads = s_.heads,
                       .kv_lora_rank = s_.kv_lora_rank,
                       .qk_rope_head_dim = s_.qk_rope_head_dim,
                       .softmax_scale = 1.0F / std::sqrt(static_cast<float>(dim)),
                       .parts = d_.parts,
                       .rows_together = std::max<std::size_t>(1, 2 * d_.parts_max / row_parts),
                       .parts_max = row_parts});
  }

  Work score_work(double rows, double pairs, double keys_read, bool is_int8) const {
    const auto dim = static_cast<double>(s_.index_dim);
    const auto heads = static_cast<double>(s_.index_heads);
    const double q_bytes = rows * heads * (is_int8 ? dim : 4.0 * dim);
    return {keys_read * (dim + 4.0) + 4.0 * pairs + q_bytes, 2.0 * pairs * heads * dim, is_int8};
  }
  Work attention_work(std::size_t rows, std::size_t slots) const {
    const auto pairs = static_cast<double>(rows * slots);
    const auto width = static_cast<double>(2 * s_.kv_lora_rank + s_.qk_rope_head_dim);
    return {pairs * static_cast<double>(d_.fp8.bytes),
            2.0 * pairs * static_cast<double>(s_.heads) * width, false};
  }
  static const char* name_of(kernels::DType dtype) {
    return dtype == kernels::DType::int8 ? "int8" : "e4m3";
  }

  Status decode_scores(kernels::DType dtype, std::size_t rows) {
    const auto pairs = static_cast<double>(rows * s_.keys);
    const bool is_int8 = dtype == kernels::DType::int8;
    return measure(fmt::format("index scores {}, {} keys, batch {}", name_of(dtype),
                               count_text(s_.keys), rows),
                   score_work(static_cast<double>(rows), pairs, pairs, is_int8),
                   [&](std::size_t i) { score(dtype, rotation(i, rows), rows); });
  }
  /// Where in row_sequences a batch begins, so that repetitions read different pages.
  std::size_t rotation(std::size_t repetition, std::size_t rows) const {
    return rows < s_.contexts ? repetition % s_.contexts : 0;
  }

  Status prefill_scores(kernels::DType dtype) {
    const auto rows = static_cast<double>(s_.prefill_rows);
    const auto keys = static_cast<double>(s_.prefill_keys);
    const double pairs = rows * keys - rows * (rows - 1.0) / 2.0;
    return measure(
        fmt::format("index scores {}, {} queries x {} keys", name_of(dtype), s_.prefill_rows,
                    count_text(s_.prefill_keys)),
        score_work(rows, pairs, keys, dtype == kernels::DType::int8), [&](std::size_t) {
          table().index_scores({.scores = d_.scores,
                                .scores_stride = s_.prefill_keys,
                                .cache = dtype == kernels::DType::int8 ? d_.keys_i8 : d_.keys_fp8,
                                .sequences = {d_.block_tables, d_.pages(), d_.one_sequence},
                                .q = d_.q_fp8,
                                .q_codes = d_.q_codes,
                                .head_weights = d_.head_weights,
                                .num_keys = d_.prefill_num_keys + (d_.rows_max() - s_.prefill_rows),
                                .num_keys_max = s_.prefill_keys,
                                .keys_min = 0,
                                .rows = s_.prefill_rows,
                                .heads = s_.index_heads,
                                .dim = s_.index_dim});
        });
  }

  Status selection(std::size_t rows) {
    score(kernels::DType::int8, 0, rows);
    const auto keys = static_cast<double>(rows * s_.keys);
    const Work work{4.0 * keys + 8.0 * static_cast<double>(rows * s_.topk), 0.0, false};
    return measure(fmt::format("exact top-{} of {}, batch {}", s_.topk, count_text(s_.keys), rows),
                   work, [&](std::size_t) { select(0, rows); });
  }

  /// Rows beyond the contexts attend to what an earlier row of their sequence selected, so that a
  /// large batch needs no scores of its own; they still read pages in random order.
  Status gathered(std::size_t rows) {
    for (std::size_t first = 0; first < rows; first += s_.contexts) {
      const std::size_t n = std::min(s_.contexts, rows - first);
      score(kernels::DType::int8, 0, n);
      select(0, n);
      if (first == 0) continue;
      table().copy(d_.slots + first * s_.topk, d_.slots, n * s_.topk * sizeof(std::int32_t));
      table().copy(d_.num_selected + first, d_.num_selected, n * sizeof(std::int32_t));
    }
    return measure(fmt::format("gathered attention, {} heads, batch {}", s_.heads, rows),
                   attention_work(rows, s_.topk),
                   [&](std::size_t) { attend(rows, d_.slots, s_.topk, d_.num_selected); });
  }

  Status sparse_against_dense() {
    const std::size_t rows = s_.contexts;
    const auto pairs = static_cast<double>(rows * s_.keys);
    double sparse_ms = 0.0;
    double dense_ms = 0.0;
    // Its parts differ in the unit that bounds them: bytes alone are a bound of the sum.
    Work sparse =
        score_work(static_cast<double>(rows), pairs, pairs, true) + attention_work(rows, s_.topk);
    sparse.flops = attention_work(rows, s_.topk).flops;
    sparse.is_int8 = false;
    PONDER_CHECK(measure(
        fmt::format("scores, selection, attention, {} keys, batch {}", count_text(s_.keys), rows),
        sparse,
        [&](std::size_t) {
          score(kernels::DType::int8, 0, rows);
          select(0, rows);
          attend(rows, d_.slots, s_.topk, d_.num_selected);
        },
        &sparse_ms));
    PONDER_CHECK(measure(
        fmt::format("dense attention, {} keys, batch {}", count_text(s_.keys), rows),
        attention_work(rows, s_.keys),
        [&](std::size_t) { attend(rows, d_.all_slots, s_.keys, d_.num_keys); }, &dense_ms));
    report_({"sparse attention", sparse_ms, sparse,
             fmt::format("{:.2f} times as fast as dense", dense_ms / sparse_ms)});
    return {};
  }

  DeviceTimer& timer_;
  const DeviceData& d_;
  const LayerShape& s_;
  const std::function<void(const Measurement&)>& report_;
};

}  // namespace

Status measure_layer(DeviceTimer& timer, const DeviceData& data,
                     const std::function<void(const Measurement&)>& report) {
  return LayerCases(timer, data, report).run();
}

}  // namespace ponder::engine::bench
