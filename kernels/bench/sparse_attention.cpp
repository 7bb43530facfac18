// ponder_bench_sparse_attention [--json] [--isa NAME] [--threads N] [--repetitions N] [--keys
// N,N,..]
//
// One decode token of one layer of DeepSeek-V3.2: sparse attention (scores and selection over int8
// index keys, then attention over 2048 gathered rows) against our own dense attention, which is the
// same kernel over all rows.
//
// Every repetition takes the next layer of a memory larger than the caches, with pages in permuted
// order, and runs each step once, so that whatever else the machine does hits all of them alike.
// Times are medians of processor time over all threads, divided by their number: what the step
// would take if nobody else used the cores. Medians of wall time stand beside them.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "kernels/attention.h"
#include "kernels/bench/memory.h"
#include "kernels/bench/options.h"
#include "kernels/bench/probes.h"
#include "kernels/dispatch.h"
#include "kernels/index_select.h"

namespace ponder::kernels::bench {
namespace {

constexpr std::size_t kHeads = 128;
constexpr std::size_t kRank = 512;
constexpr std::size_t kRope = 64;
constexpr std::size_t kDim = kRank + kRope;
constexpr std::size_t kIndexHeads = 64;
constexpr std::size_t kIndexDim = 128;
constexpr std::size_t kTopk = 2048;
constexpr std::size_t kTokens = std::size_t{1} << 20;  // of all layers: 1.1 GiB and 132 MiB

struct Options {
  bool json = false;
  std::string isa;
  unsigned threads = 2;
  std::size_t repetitions = 21;
  std::vector<std::size_t> keys = {2048, 4096, 8192, 16384, 32768, 65536, 131072};
};

// Cache pages of all layers in one permuted order, and a query.
struct Data {
  Data() {
    latents = allocate(kTokens * kDim * sizeof(bf16));
    index_keys = allocate(kTokens / kPageSize * index_page_bytes(kIndexDim));
    fill_latents();
    fill_index_keys();
    std::vector<std::size_t> order(kTokens / kPageSize);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::shuffle(order.begin(), order.end(), rng);
    for (const std::size_t page : order) {
      latent_pages.push_back(latents + page * kPageSize * kDim * sizeof(bf16));
      index_pages.push_back(index_keys + page * index_page_bytes(kIndexDim));
    }
    std::normal_distribution<float> normal;
    for (float& value : q) value = normal(rng);
    for (std::int8_t& code : index_q) code = static_cast<std::int8_t>(rng() % 255) - 127;
    for (float& weight : head_weights) weight = normal(rng);
  }

  void fill_latents() {
    auto* values = reinterpret_cast<bf16*>(latents);
    // Either sign, and magnitudes from 2^-4 to 1.
    for (std::size_t i = 0; i < kTokens * kDim; ++i) {
      const auto bits = static_cast<std::uint32_t>(rng());
      values[i] = static_cast<bf16>((bits & 0x8000u) | (0x3d80u + bits % 0x200u));
    }
  }
  void fill_index_keys() {
    constexpr std::size_t kCodes = kPageSize * kIndexDim;
    for (std::size_t page = 0; page < kTokens / kPageSize; ++page) {
      std::byte* at = index_keys + page * index_page_bytes(kIndexDim);
      for (std::size_t i = 0; i < kCodes; ++i) at[i] = static_cast<std::byte>(rng() % 255 - 127);
      for (std::size_t t = 0; t < kPageSize; ++t) {
        const float scale = 0.01f + 1e-6f * static_cast<float>(rng() % 1024);
        std::memcpy(at + kCodes + t * sizeof scale, &scale, sizeof scale);
      }
    }
  }

  std::minstd_rand rng{1};
  std::byte* latents = nullptr;
  std::byte* index_keys = nullptr;
  std::vector<const void*> latent_pages;
  std::vector<const void*> index_pages;
  std::vector<float> q = std::vector<float>(kHeads * kDim);
  std::vector<std::int8_t> index_q = std::vector<std::int8_t>(kIndexHeads * kIndexDim);
  std::vector<float> head_weights = std::vector<float>(kIndexHeads);
};

// The steps of one token in one layer with so many visible keys.
class Step {
 public:
  Step(const Executor& executor, const Data& data, std::size_t keys)
      : executor_(executor),
        data_(data),
        keys_(static_cast<std::int32_t>(keys)),
        selector_(executor.pool->num_threads(), kTopk),
        scores_(keys),
        positions_(kTopk),
        out_(kHeads * kRank) {}

  void use_layer(std::size_t layer) {
    const std::size_t layers = kTokens / static_cast<std::size_t>(keys_);
    first_page_ = layer % layers * static_cast<std::size_t>(keys_) / kPageSize;
  }
  void score() { index_scores(executor_, index_args()); }
  void select() { selector_.select(executor_, index_args(), {positions_.data(), kTopk, &result_}); }
  void attend_selected() { attend(positions_.data(), result_.num_selected); }
  void attend_all() { attend(nullptr, static_cast<std::size_t>(keys_)); }

 private:
  IndexScoresI8Args index_args() {
    return {.scores = scores_.data(),
            .scores_stride = scores_.size(),
            .q = data_.index_q.data(),
            .head_weights = data_.head_weights.data(),
            .pages = data_.index_pages.data() + first_page_,
            .num_keys = &keys_,
            .rows = 1,
            .heads = kIndexHeads,
            .dim = kIndexDim};
  }
  void attend(const std::int32_t* slots, std::size_t num_slots) {
    const AttentionRow row = {.q_nope = data_.q.data(),
                              .q_rope = data_.q.data() + kHeads * kRank,
                              .out = out_.data(),
                              .pages = data_.latent_pages.data() + first_page_,
                              .slots = slots,
                              .num_slots = num_slots};
    attention_.run(executor_, {.rows = &row,
                               .num_rows = 1,
                               .heads = kHeads,
                               .kv_lora_rank = kRank,
                               .qk_rope_head_dim = kRope,
                               .q_nope_stride = kRank,
                               .q_rope_stride = kRope,
                               .out_stride = kRank,
                               .cache_stride = kDim,
                               .cache_dtype = DType::bf16,
                               .softmax_scale = 0.01f});
  }

  Executor executor_;
  const Data& data_;
  std::int32_t keys_;
  IndexSelector selector_;
  Attention attention_;
  std::vector<float> scores_;
  std::vector<std::int32_t> positions_;
  std::vector<float> out_;
  TopkResult result_{};
  std::size_t first_page_ = 0;
};

struct Samples {
  std::vector<double> cpu;  // seconds of processor time per thread
  std::vector<double> wall;

  template <class Run>
  void take(unsigned threads, Run run) {
    const double cpu_begin = process_seconds();
    const double wall_begin = wall_seconds();
    run();
    wall.push_back(wall_seconds() - wall_begin);
    cpu.push_back((process_seconds() - cpu_begin) / threads);
  }
};

// Medians in milliseconds.
struct Times {
  double score;     // scores alone, written as a row of a matrix
  double select;    // scores and selection, streamed
  double gathered;  // attention over the selected rows
  double dense;     // attention over all rows
  double sparse() const { return select + gathered; }
};

struct Row {
  std::size_t keys;
  Times cpu;
  Times wall;
};

Row measure(const Executor& executor, const Data& data, const Options& options, std::size_t keys) {
  Step step(executor, data, keys);
  Samples score;
  Samples select;
  Samples gathered;
  Samples dense;
  const unsigned threads = executor.pool->num_threads();
  for (std::size_t i = 0; i <= options.repetitions; ++i) {
    if (i == 1) score = select = gathered = dense = {};  // the first one warms up
    // Each step reads a layer that no step has touched for a long time.
    step.use_layer(4 * i);
    score.take(threads, [&] { step.score(); });
    step.use_layer(4 * i + 1);
    select.take(threads, [&] { step.select(); });
    gathered.take(threads, [&] { step.attend_selected(); });
    step.use_layer(4 * i + 2);
    dense.take(threads, [&] { step.attend_all(); });
  }
  const auto ms = [](const std::vector<double>& values) { return 1e3 * median(values); };
  return {keys,
          {ms(score.cpu), ms(select.cpu), ms(gathered.cpu), ms(dense.cpu)},
          {ms(score.wall), ms(select.wall), ms(gathered.wall), ms(dense.wall)}};
}

// Times that the probes of this run allow, in milliseconds: the larger of bytes and operations.
struct Bounds {
  Bounds(const Peaks& peaks, double read, unsigned threads, std::size_t keys) {
    const auto count = static_cast<double>(keys);
    const double selected = std::min(count, static_cast<double>(kTopk));
    const auto bound = [&](double bytes, double ops, double rate) {
      return 1e3 * std::max(bytes / read, rate == 0.0 ? 0.0 : ops / rate) / threads;
    };
    const double attention_ops = 2.0 * kHeads * (2 * kRank + kRope);
    const double row_bytes = kDim * sizeof(bf16);
    index = bound(count * (kIndexDim + 4), count * 2 * kIndexHeads * kIndexDim, peaks.int8_ops);
    gathered = bound(selected * row_bytes, selected * attention_ops, peaks.bf16_flops);
    dense = bound(count * row_bytes, count * attention_ops, peaks.bf16_flops);
  }
  double index;
  double gathered;
  double dense;
};

// Where dense over sparse crosses one, between two measured points, on a logarithmic scale.
double break_even(const std::vector<Row>& rows) {
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const double above = std::log(rows[i].cpu.dense / rows[i].cpu.sparse());
    if (above < 0) continue;
    if (i == 0) return static_cast<double>(rows[0].keys);
    const double below = std::log(rows[i - 1].cpu.dense / rows[i - 1].cpu.sparse());
    const double from = std::log(static_cast<double>(rows[i - 1].keys));
    const double to = std::log(static_cast<double>(rows[i].keys));
    return std::exp(from + (to - from) * below / (below - above));
  }
  return 0.0;
}

void print_table(const Options& options, const KernelTable& table, unsigned threads,
                 const Peaks& peaks, double read, const std::vector<Row>& rows) {
  std::printf(
      "row %s, %u threads, medians of %zu interleaved repetitions, processor time per thread\n"
      "probes, one thread: read %.1f GB/s, fp32 %.0f GF/s, bf16 %.0f GF/s, int8 %.0f GOP/s\n\n",
      table.name, threads, options.repetitions, read / 1e9, peaks.float_flops / 1e9,
      peaks.bf16_flops / 1e9, peaks.int8_ops / 1e9);
  std::printf("%8s | %8s %8s %8s %8s %8s | %6s | %-24s | %s\n", "keys", "score", "select", "gather",
              "sparse", "dense", "ratio", "share of bound", "wall: sparse dense ratio");
  std::printf("%8s | %8s %8s %8s %8s %8s | %6s | %7s %8s %7s |\n", "", "ms", "ms", "ms", "ms", "ms",
              "", "score", "gather", "dense");
  for (const Row& row : rows) {
    const Bounds bounds(peaks, read, threads, row.keys);
    std::printf(
        "%8zu | %8.3f %8.3f %8.3f %8.3f %8.3f | %6.2f | %6.0f%% %7.0f%% %6.0f%% | %8.3f %8.3f "
        "%6.2f\n",
        row.keys, row.cpu.score, row.cpu.select, row.cpu.gathered, row.cpu.sparse(), row.cpu.dense,
        row.cpu.dense / row.cpu.sparse(), 100 * bounds.index / row.cpu.score,
        100 * bounds.gathered / row.cpu.gathered, 100 * bounds.dense / row.cpu.dense,
        row.wall.sparse(), row.wall.dense, row.wall.dense / row.wall.sparse());
  }
  std::printf(
      "\nscore: scores alone. select: scores and selection, streamed. gather: attention over "
      "%zu rows.\nsparse: select + gather. break-even: %.0f keys\n",
      kTopk, break_even(rows));
}

void print_json(const KernelTable& table, unsigned threads, const Peaks& peaks, double read,
                const std::vector<Row>& rows) {
  std::printf(
      "{\"isa\":\"%s\",\"threads\":%u,\"read_gbytes_per_s\":%.2f,\"fp32_gflops\":%.1f,"
      "\"bf16_gflops\":%.1f,\"int8_gops\":%.1f,\"break_even_keys\":%.0f}\n",
      table.name, threads, read / 1e9, peaks.float_flops / 1e9, peaks.bf16_flops / 1e9,
      peaks.int8_ops / 1e9, break_even(rows));
  for (const Row& row : rows) {
    const Bounds bounds(peaks, read, threads, row.keys);
    std::printf(
        "{\"keys\":%zu,\"score_ms\":%.4f,\"select_ms\":%.4f,\"gathered_ms\":%.4f,\"dense_ms\":%.4f,"
        "\"ratio\":%.3f,\"score_bound_ms\":%.4f,\"gathered_bound_ms\":%.4f,\"dense_bound_ms\":%.4f,"
        "\"wall_sparse_ms\":%.4f,\"wall_dense_ms\":%.4f}\n",
        row.keys, row.cpu.score, row.cpu.select, row.cpu.gathered, row.cpu.dense,
        row.cpu.dense / row.cpu.sparse(), bounds.index, bounds.gathered, bounds.dense,
        row.wall.sparse(), row.wall.dense);
  }
}

int run(const Options& options) {
  const KernelTable* table = select(options.isa.c_str());
  if (table == nullptr) {
    std::fprintf(stderr, "cannot run kernels named %s here\n", options.isa.c_str());
    return 1;
  }
  ThreadPool pool({.num_threads = options.threads, .pin = true});
  const Data data;
  const Peaks peaks = measure_peaks();
  const double read = measure_read(data.latents, std::size_t{256} << 20);
  std::vector<Row> rows;
  rows.reserve(options.keys.size());
  for (const std::size_t keys : options.keys) {
    rows.push_back(measure({table, &pool}, data, options, keys));
  }
  if (options.json) {
    print_json(*table, pool.num_threads(), peaks, read, rows);
  } else {
    print_table(options, *table, pool.num_threads(), peaks, read, rows);
  }
  return 0;
}

bool parse_keys(const char* text, std::vector<std::size_t>& keys) {
  keys.clear();
  for (char* end = nullptr; *text != '\0'; text = *end == ',' ? end + 1 : end) {
    const std::size_t value = std::strtoull(text, &end, 10);
    if (end == text || value == 0 || value % kPageSize != 0 || value > kTokens) return false;
    if (!keys.empty() && value <= keys.back()) return false;
    keys.push_back(value);
  }
  return !keys.empty();
}

}  // namespace

int main_with(int argc, char** argv) {
  Options options;
  const Option keys = {"--keys", true,
                       [&](const char* value) { return parse_keys(value, options.keys); }};
  const bool is_understood = parse_options(
      argc, argv,
      {flag("--json", options.json), text("--isa", options.isa),
       number("--threads", options.threads), number("--repetitions", options.repetitions), keys},
      "ponder_bench_sparse_attention [--json] [--isa NAME] [--threads N]\n"
      "           [--repetitions N] [--keys N,N,..]   keys: multiples of 64, ascending");
  return is_understood ? run(options) : 2;
}

}  // namespace ponder::kernels::bench

int main(int argc, char** argv) { return ponder::kernels::bench::main_with(argc, argv); }
