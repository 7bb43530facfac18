#include "kernels/bench/cases.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <random>

#include "kernels/attention.h"

namespace ponder::kernels::bench {
namespace {

std::mt19937 rng(1);

template <class T>
using Buffer = std::shared_ptr<std::vector<T>>;

Buffer<float> floats(std::size_t n) {
  auto buffer = std::make_shared<std::vector<float>>(n);
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
  for (float& value : *buffer) value = uniform(rng);
  return buffer;
}

// Bytes that begin with a cache line, as weights and cache pages do.
class AlignedBytes {
 public:
  explicit AlignedBytes(std::size_t bytes) : size_(bytes) {
    constexpr std::size_t kLine = 64;
    const std::size_t whole_lines = (bytes + kLine) / kLine * kLine;
    data_.reset(static_cast<std::uint8_t*>(std::aligned_alloc(kLine, whole_lines)), std::free);
  }
  std::uint8_t* data() const { return data_.get(); }
  std::size_t size() const { return size_; }

 private:
  std::shared_ptr<std::uint8_t> data_;
  std::size_t size_;
};

// Random codes of any type; bit patterns below 0x40.. are moderate numbers in all of them.
AlignedBytes codes(std::size_t bytes) {
  AlignedBytes buffer(bytes);
  for (std::size_t i = 0; i < bytes; ++i)
    buffer.data()[i] = static_cast<std::uint8_t>(rng() & 0x3f);
  return buffer;
}

struct WeightFormat {
  const char* name;
  DType dtype;
  std::size_t bits;
  std::size_t group;  // of int8 and int4
};
constexpr WeightFormat kFormats[] = {
    {"f32", DType::f32, 32, 0},        {"bf16", DType::bf16, 16, 0},
    {"fp8", DType::fp8_e4m3, 8, 0},    {"int8", DType::int8, 8, 128},
    {"int4-128", DType::int4, 4, 128}, {"int4-32", DType::int4, 4, 32},
};

constexpr std::size_t kStreamedBytesMin = std::size_t{32} << 20;  // more than a private cache

Case matmul_case(const WeightFormat& format, std::size_t m, std::size_t n, std::size_t k) {
  const auto x = floats(m * k);
  const auto y = floats(m * n);
  const AlignedBytes w = codes(n * k * format.bits / 8);
  const auto scales = floats((n / 128 + 1) * (k / 128 + 1));
  const std::size_t num_groups = format.group == 0 ? 0 : k / format.group;
  const AlignedBytes group_scales = codes((n + 15) / 16 * 16 * num_groups * sizeof(bf16));
  const MatmulArgs args{.y = y->data(),
                        .y_stride = n,
                        .x = x->data(),
                        .x_stride = k,
                        .w = w.data(),
                        .w_stride = k,
                        .w_scales = scales->data(),
                        .w_scales_stride = k / 128 + 1,
                        .w_dtype = format.dtype,
                        .m = m,
                        .n = n,
                        .k = k,
                        .w_group_scales = reinterpret_cast<const bf16*>(group_scales.data()),
                        .w_group = format.group,
                        .w_is_packed = format.group != 0};
  const double products = static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  return {std::string("matmul ") + format.name + " " + std::to_string(m) + "x" + std::to_string(n) +
              "x" + std::to_string(k),
          2 * products, static_cast<double>(w.size() + group_scales.size()),
          [=](const Executor& executor) {
            const auto keep = std::make_tuple(x, y, w, scales, group_scales);
            matmul(executor, args);
          },
          m == 1 && w.size() >= kStreamedBytesMin};
}

// Cache pages in permuted order; `bytes_per_row` each.
struct Pages {
  Pages(std::size_t tokens, std::size_t bytes_per_row)
      : memory(codes((tokens / kPageSize + 1) * kPageSize * bytes_per_row)),
        pages(std::make_shared<std::vector<const void*>>()) {
    for (std::size_t i = 0; i <= tokens / kPageSize; ++i) {
      pages->push_back(memory.data() + i * kPageSize * bytes_per_row);
    }
    std::shuffle(pages->begin(), pages->end(), rng);
  }
  AlignedBytes memory;
  Buffer<const void*> pages;
};

Case index_case(std::size_t rows, std::size_t keys, std::size_t heads, std::size_t dim) {
  const Pages cache(keys, dim * sizeof(bf16));
  const auto q = floats(rows * heads * dim);
  const auto weights = floats(rows * heads);
  const auto scores = floats(rows * keys);
  const auto num_keys =
      std::make_shared<std::vector<std::int32_t>>(rows, static_cast<std::int32_t>(keys));
  const IndexScoresArgs args{
      scores->data(),      keys, q->data(),   heads * dim,      dim,  weights->data(), heads,
      cache.pages->data(), dim,  DType::bf16, num_keys->data(), rows, heads,           dim};
  return {"index_scores " + std::to_string(rows) + " rows, " + std::to_string(keys) + " keys, " +
              std::to_string(heads) + "x" + std::to_string(dim),
          2.0 * static_cast<double>(rows * keys * heads * dim),
          static_cast<double>(keys * dim * sizeof(bf16)), [=](const Executor& executor) {
            const auto keep = std::make_tuple(cache, q, weights, scores, num_keys);
            index_scores(executor, args);
          }};
}

Case topk_case(std::size_t n, std::size_t k) {
  const auto scores = floats(n);
  const auto positions = std::make_shared<std::vector<std::int32_t>>(k);
  const auto scratch = std::make_shared<std::vector<std::uint32_t>>(n);
  return {"topk " + std::to_string(k) + " of " + std::to_string(n), 0.0,
          static_cast<double>(n * sizeof(float)), [=](const Executor& executor) {
            const TopkArgs args{scores->data(), n, k, positions->data(), scratch->data()};
            TopkResult result;
            topk(executor, &args, &result, 1);
          }};
}

Case attention_case(std::size_t rows, std::size_t slots, std::size_t context, std::size_t heads,
                    std::size_t rank, std::size_t rope) {
  const std::size_t dim = rank + rope;
  const Pages cache(context, dim * sizeof(bf16));
  const auto q = floats(rows * heads * dim);
  const auto out = floats(rows * heads * rank);
  const auto selected = std::make_shared<std::vector<std::int32_t>>(context);
  std::iota(selected->begin(), selected->end(), 0);
  std::shuffle(selected->begin(), selected->end(), rng);
  selected->resize(slots);
  std::sort(selected->begin(), selected->end());
  const auto batch = std::make_shared<std::vector<AttentionRow>>();
  const auto runner = std::make_shared<Attention>();
  for (std::size_t r = 0; r < rows; ++r) {
    const float* row_q = q->data() + r * heads * dim;
    batch->push_back({row_q, row_q + heads * rank, out->data() + r * heads * rank,
                      cache.pages->data(), selected->data(), slots});
  }
  const AttentionArgs args{batch->data(), rows, heads, rank,        rope, rank,
                           rope,          rank, dim,   DType::bf16, 0.1f};
  return {"attention " + std::to_string(rows) + " rows, " + std::to_string(slots) + " slots, " +
              std::to_string(heads) + "x(" + std::to_string(rank) + "+" + std::to_string(rope) +
              ")",
          2.0 * static_cast<double>(rows * slots * heads * (2 * rank + rope)),
          static_cast<double>(rows * slots * dim * sizeof(bf16)), [=](const Executor& executor) {
            const auto keep = std::make_tuple(cache, q, out, selected, batch);
            runner->run(executor, args);
          }};
}

}  // namespace

Case read_case() {
  constexpr std::size_t kBytes = std::size_t{256} << 20;
  constexpr std::size_t kWords = 16 * 1024;  // of a chunk
  const auto memory = std::make_shared<std::vector<std::uint64_t>>(kBytes / sizeof(std::uint64_t));
  std::iota(memory->begin(), memory->end(), 0);
  const auto sums = std::make_shared<std::vector<std::uint64_t>>(memory->size() / kWords);
  return {"read", 0.0, static_cast<double>(kBytes), [=](const Executor& executor) {
            executor.pool->parallel_for(sums->size(), 1, [&](std::size_t chunk, std::size_t) {
              const auto begin = memory->begin() + static_cast<std::ptrdiff_t>(chunk * kWords);
              (*sums)[chunk] = std::accumulate(begin, begin + kWords, std::uint64_t{0});
            });
          }};
}

std::vector<Case> make_cases() {
  std::vector<Case> cases;
  for (const WeightFormat& format : kFormats) {
    cases.push_back(matmul_case(format, 1, 768, 256));     // stays in a private cache
    cases.push_back(matmul_case(format, 1, 16384, 7168));  // streams from memory
    for (const std::size_t m : {4u, 16u, 128u, 512u}) {
      cases.push_back(matmul_case(format, m, 1024, 1024));
    }
    cases.push_back(matmul_case(format, 512, 768, 256));
  }
  cases.push_back(index_case(1, 8192, 4, 64));
  cases.push_back(index_case(64, 8192, 4, 64));
  cases.push_back(index_case(1, 32768, 64, 128));
  cases.push_back(topk_case(8192, 512));
  cases.push_back(topk_case(131072, 2048));
  cases.push_back(attention_case(1, 512, 8192, 8, 256, 32));
  cases.push_back(attention_case(64, 512, 8192, 8, 256, 32));
  cases.push_back(attention_case(1, 2048, 32768, 128, 512, 64));
  return cases;
}

}  // namespace ponder::kernels::bench
