#include "engine/bench/prompt_cases.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <span>

#include "kernels/numeric.h"

namespace ponder::engine::bench {
namespace {

constexpr std::size_t kRowsTogether = 128;  // of gathered attention
constexpr std::size_t kHeadsTogether = 43;  // of expanded: 256 MiB at DeepSeek-V3.2's shape

class PromptCases {
 public:
  PromptCases(DeviceTimer& timer, const DeviceData& data,
              const std::function<void(const Measurement&)>& report)
      : timer_(timer), d_(data), s_(data.shape), report_(report), arena_(data.device()) {}

  Status run() {
    PONDER_CHECK(make());
    PONDER_TRY(const double gathered_ms, timer_.median_ms([&](std::size_t) { gather(); }));
    report_({name("gathered"), gathered_ms, gathered_work(), ""});
    const std::vector<float> gathered = download_values();
    PONDER_TRY(const double expanded_ms, timer_.median_ms([&](std::size_t) { expand(); }));
    report_({name("expanded"), expanded_ms, expanded_work(),
             fmt::format("{:.2f} times as fast as gathered, values differ by {:.1e} at most",
                         gathered_ms / expanded_ms, largest_difference(gathered))});
    return {};
  }

 private:
  const kernels::DeviceTable& table() const { return d_.device()->table(); }
  std::vector<float> download_values() const {
    std::vector<float> values(rows() * s_.heads * s_.v_head_dim);
    d_.device()->note(table().download(values.data(), values_, values.size() * sizeof(float)));
    return values;
  }
  double largest_difference(const std::vector<float>& others) const {
    const std::vector<float> values = download_values();
    double largest = 0.0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      largest = std::max(largest, std::fabs(double{values[i]} - others[i]));
    }
    return largest;
  }
  std::size_t rows() const { return s_.prompt_rows; }
  std::size_t pages() const { return (rows() + kernels::kPageSize - 1) / kernels::kPageSize; }
  std::size_t q_dim() const { return s_.qk_nope_head_dim + s_.qk_rope_head_dim; }
  std::size_t latent_dim() const { return s_.kv_lora_rank + s_.qk_rope_head_dim; }
  std::size_t parts() const {
    return (rows() + kernels::kDevicePartSlots - 1) / kernels::kDevicePartSlots;
  }
  std::string name(const char* form) const {
    return fmt::format("prompt attention {}, {} x {}, {} heads", form, rows(), rows(), s_.heads);
  }

  Status make() {
    PONDER_TRY(q_, floats(rows() * s_.heads * q_dim(), true));
    PONDER_TRY(values_, floats(rows() * s_.heads * s_.v_head_dim, false));
    PONDER_TRY(q_absorbed_, floats(rows() * s_.heads * s_.kv_lora_rank, false));
    PONDER_TRY(attended_, floats(rows() * s_.heads * s_.kv_lora_rank, false));
    PONDER_TRY(parts_,
               floats(std::min(kRowsTogether, rows()) * parts() * s_.heads * (s_.kv_lora_rank + 2),
                      false));
    const auto keys_of = random_matrices(s_.qk_nope_head_dim, s_.kv_lora_rank);
    PONDER_TRY(keys_of_, upload_matrices(keys_of));
    PONDER_TRY(key_up_, upload_matrices(turned(keys_of, s_.qk_nope_head_dim, s_.kv_lora_rank)));
    PONDER_TRY(value_up_, upload_matrices(random_matrices(s_.v_head_dim, s_.kv_lora_rank)));
    const std::size_t keys = pages() * kernels::kPageSize;
    heads_together_ = std::min(kHeadsTogether, s_.heads);
    PONDER_TRY(latents_, floats(keys * latent_dim(), false));
    PONDER_TRY(keys_, floats(heads_together_ * keys * s_.qk_nope_head_dim, false));
    PONDER_TRY(unfolded_values_, floats(heads_together_ * keys * s_.v_head_dim, false));
    PONDER_TRY(stages_, arena_.allocate_array<std::uint32_t>(
                            heads_together_ * pages() *
                            kernels::expanded_workspace_words(q_dim(), s_.v_head_dim)));
    return make_rows();
  }

  Status make_rows() {
    std::vector<std::int32_t> num_slots;
    std::vector<std::int32_t> page_keys;
    std::vector<kernels::ExpandedTile> tiles;
    for (std::size_t row = 0; row < rows(); ++row) {
      num_slots.push_back(static_cast<std::int32_t>(row + 1));
      if (row % kernels::kExpandedRows != 0) continue;
      const std::size_t n = std::min(kernels::kExpandedRows, rows() - row);
      page_keys.push_back(static_cast<std::int32_t>(n));
      tiles.push_back({static_cast<std::int32_t>(row), static_cast<std::int32_t>(n), 0,
                       static_cast<std::int32_t>(row + 1)});
    }
    std::ranges::reverse(tiles);
    num_tiles_ = tiles.size();
    PONDER_TRY(num_slots_, arena_.upload(std::span<const std::int32_t>(num_slots)));
    PONDER_TRY(page_keys_, arena_.upload(std::span<const std::int32_t>(page_keys)));
    PONDER_TRY(tiles_, arena_.upload(std::span<const kernels::ExpandedTile>(tiles)));
    return {};
  }

  Result<float*> floats(std::size_t n, bool is_random) {
    if (!is_random) return arena_.allocate_array<float>(n);
    std::normal_distribution<float> normal;
    std::vector<float> values(n);
    for (float& value : values) value = normal(rng_);
    return arena_.upload(std::span<const float>(values));
  }

  /// One for each head, in BF16, that keep the size of what they are multiplied with.
  std::vector<kernels::bf16> random_matrices(std::size_t out, std::size_t in) {
    std::normal_distribution<float> normal(0.0F, 1.0F / std::sqrt(static_cast<float>(in)));
    std::vector<kernels::bf16> values(s_.heads * out * in);
    for (auto& value : values) value = kernels::f32_to_bf16(normal(rng_));
    return values;
  }
  std::vector<kernels::bf16> turned(const std::vector<kernels::bf16>& matrices, std::size_t out,
                                    std::size_t in) const {
    std::vector<kernels::bf16> result(matrices.size());
    for (std::size_t i = 0; i < matrices.size(); ++i) {
      const std::size_t in_head = i % (out * in);
      result[i - in_head + in_head % in * out + in_head / in] = matrices[i];
    }
    return result;
  }
  Result<const kernels::DeviceMatrix*> upload_matrices(const std::vector<kernels::bf16>& values) {
    PONDER_TRY(const kernels::bf16* at, arena_.upload(std::span<const kernels::bf16>(values)));
    std::vector<kernels::DeviceMatrix> heads(s_.heads);
    for (std::size_t head = 0; head < s_.heads; ++head) {
      heads[head].data = at + head * (values.size() / s_.heads);
      heads[head].dtype = kernels::DType::bf16;
    }
    PONDER_TRY(const kernels::DeviceMatrix* result,
               arena_.upload(std::span<const kernels::DeviceMatrix>(heads)));
    return result;
  }

  void multiply_heads(const kernels::DeviceMatrix* w, float* y, std::size_t n, const float* x,
                      std::size_t x_head_stride, std::size_t k) const {
    table().matmul({.y = y,
                    .y_stride = s_.heads * n,
                    .y_batch_stride = n,
                    .x = x,
                    .x_stride = s_.heads * x_head_stride,
                    .x_batch_stride = x_head_stride,
                    .w = w,
                    .w_dtype = kernels::DType::bf16,
                    .batch = s_.heads,
                    .m = rows(),
                    .m_total = rows(),
                    .n = n,
                    .k = k});
  }

  void gather() const {
    const std::size_t rank = s_.kv_lora_rank;
    multiply_heads(key_up_, q_absorbed_, rank, q_, q_dim(), s_.qk_nope_head_dim);
    // Every row's slots begin the list of all.
    table().attention({.q_nope = q_absorbed_,
                       .q_nope_row_stride = s_.heads * rank,
                       .q_nope_head_stride = rank,
                       .q_rope = q_ + s_.qk_nope_head_dim,
                       .q_rope_row_stride = s_.heads * q_dim(),
                       .q_rope_head_stride = q_dim(),
                       .out = attended_,
                       .cache = d_.latents,
                       .fp8 = d_.fp8,
                       .slots = d_.all_slots,
                       .num_slots = num_slots_,
                       .slots_stride = 0,
                       .rows = rows(),
                       .heads = s_.heads,
                       .kv_lora_rank = rank,
                       .qk_rope_head_dim = s_.qk_rope_head_dim,
                       .softmax_scale = scale(),
                       .parts = parts_,
                       .rows_together = std::min(kRowsTogether, rows()),
                       .parts_max = parts()});
    multiply_heads(value_up_, values_, s_.v_head_dim, attended_, rank, rank);
  }

  void expand() const {
    table().read_latents({.cache = d_.latents,
                          .fp8 = d_.fp8,
                          .pages = d_.block_tables,
                          .page_keys = page_keys_,
                          .latents = latents_,
                          .pages_read = pages(),
                          .kv_lora_rank = s_.kv_lora_rank,
                          .qk_rope_head_dim = s_.qk_rope_head_dim});
    for (std::size_t head = 0; head < s_.heads; head += heads_together_) {
      expand_heads(head, std::min(heads_together_, s_.heads - head));
    }
  }

  void expand_heads(std::size_t first, std::size_t heads) const {
    const std::size_t keys = pages() * kernels::kPageSize;
    const auto unfold = [&](const kernels::DeviceMatrix* w, float* y, std::size_t n) {
      table().matmul({.y = y,
                      .y_stride = n,
                      .y_batch_stride = keys * n,
                      .x = latents_,
                      .x_stride = latent_dim(),
                      .w = w + first,
                      .w_dtype = kernels::DType::bf16,
                      .batch = heads,
                      .m = keys,
                      .m_total = keys,
                      .n = n,
                      .k = s_.kv_lora_rank});
    };
    unfold(keys_of_, keys_, s_.qk_nope_head_dim);
    unfold(value_up_, unfolded_values_, s_.v_head_dim);
    table().attention_expanded({.q = q_ + first * q_dim(),
                                .q_row_stride = s_.heads * q_dim(),
                                .q_head_stride = q_dim(),
                                .out = values_ + first * s_.v_head_dim,
                                .out_row_stride = s_.heads * s_.v_head_dim,
                                .out_head_stride = s_.v_head_dim,
                                .keys = keys_,
                                .values = unfolded_values_,
                                .latents = latents_,
                                .tiles = tiles_,
                                .num_tiles = num_tiles_,
                                .pages = pages(),
                                .heads = heads,
                                .kv_lora_rank = s_.kv_lora_rank,
                                .qk_nope_head_dim = s_.qk_nope_head_dim,
                                .qk_rope_head_dim = s_.qk_rope_head_dim,
                                .v_head_dim = s_.v_head_dim,
                                .softmax_scale = scale(),
                                .workspace = stages_});
  }

  float scale() const { return 1.0F / std::sqrt(static_cast<float>(q_dim())); }

  /// Latents, queries and values, once each.
  double bytes() const {
    const std::size_t of_row = s_.heads * (q_dim() + s_.v_head_dim) * sizeof(float) + d_.fp8.bytes;
    return static_cast<double>(rows() * of_row);
  }
  double pairs() const { return 0.5 * static_cast<double>(rows() * (rows() + 1)); }
  Work work(std::size_t of_row, std::size_t of_pair) const {
    const double multiplications = static_cast<double>(rows()) * static_cast<double>(of_row) +
                                   pairs() * static_cast<double>(of_pair);
    return {bytes(), 2.0 * static_cast<double>(s_.heads) * multiplications, false};
  }
  /// The products with a head's matrices are as many for a row's query and sum as for a key.
  std::size_t of_matrices() const {
    return s_.kv_lora_rank * (s_.qk_nope_head_dim + s_.v_head_dim);
  }
  Work gathered_work() const {
    return work(of_matrices(), 2 * s_.kv_lora_rank + s_.qk_rope_head_dim);
  }
  Work expanded_work() const { return work(of_matrices(), q_dim() + s_.v_head_dim); }

  DeviceTimer& timer_;
  const DeviceData& d_;
  const LayerShape& s_;
  const std::function<void(const Measurement&)>& report_;
  DeviceArena arena_;
  std::mt19937_64 rng_{3};
  std::size_t heads_together_ = 1;
  std::size_t num_tiles_ = 0;
  float* q_ = nullptr;           // [rows, heads, q_dim()]
  float* values_ = nullptr;      // [rows, heads, v_head_dim]
  float* q_absorbed_ = nullptr;  // [rows, heads, kv_lora_rank]
  float* attended_ = nullptr;    // the same
  float* parts_ = nullptr;
  float* latents_ = nullptr;          // [64 pages, latent_dim()]
  float* keys_ = nullptr;             // [heads together, 64 pages, qk_nope_head_dim]
  float* unfolded_values_ = nullptr;  // [heads together, 64 pages, v_head_dim]
  std::uint32_t* stages_ = nullptr;
  const kernels::DeviceMatrix* key_up_ = nullptr;    // [heads]
  const kernels::DeviceMatrix* value_up_ = nullptr;  // [heads]
  const kernels::DeviceMatrix* keys_of_ = nullptr;   // [heads]
  const std::int32_t* num_slots_ = nullptr;          // [rows]
  const std::int32_t* page_keys_ = nullptr;          // [pages]
  const kernels::ExpandedTile* tiles_ = nullptr;
};

}  // namespace

Status measure_prompt_attention(DeviceTimer& timer, const DeviceData& data,
                                const std::function<void(const Measurement&)>& report) {
  return PromptCases(timer, data, report).run();
}

}  // namespace ponder::engine::bench
