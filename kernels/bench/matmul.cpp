// ponder_bench_matmul [--json] [--isa NAME] [--threads N] [--repetitions N] [--filter TEXT]
//
// Products with weights of every format, as shares of what the machine can do in the same run.
//
// Decode: one to four rows of x by 512 MiB of weights, more than any cache holds, against plain
// reading of as many bytes. Prefill: many rows, against the rate of the same multiply instruction
// with weights from the second-level cache (product_probe.h), and against its rate in registers.
//
// Every repetition runs the product and what it is compared with once each, so that whatever else
// the machine does hits both alike. Times and rates are medians of wall time; shares stand beside
// each other for wall time and for processor time of all threads, which a busy machine disturbs
// less. Bytes are those of weights, scales, x and y, each once; a multiply-add is two operations.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "kernels/bench/memory.h"
#include "kernels/bench/options.h"
#include "kernels/bench/probes.h"
#include "kernels/bench/product_probe.h"
#include "kernels/dispatch.h"
#include "kernels/ops.h"
#include "kernels/packed_bf16.h"

namespace ponder::kernels::bench {
namespace {

struct Options {
  bool json = false;
  std::string isa;
  unsigned threads = 2;
  std::size_t repetitions = 11;
  std::string filter;  // part of a line's name
};

struct WeightFormat {
  const char* name;  // of the weights; and of the activations, if they are rounded
  DType dtype;
  std::size_t bits;
  std::size_t group;      // of int8 and int4
  bool rounds_x = false;  // to bf16
  bool is_packed_bf16 = false;
};
constexpr WeightFormat kFormats[] = {
    {"int8", DType::int8, 8, 128},
    {"int4-32", DType::int4, 4, 32},
    {"int4-64", DType::int4, 4, 64},
    {"int4-128", DType::int4, 4, 128},
    {"bf16", DType::bf16, 16, 0},
    {"fp8", DType::fp8_e4m3, 8, 0},
    {"f32", DType::f32, 32, 0},
    {"bf16-packed", DType::bf16, 16, 0, false, true},
    {"bf16/bf16", DType::bf16, 16, 0, true},
    {"fp8/bf16", DType::fp8_e4m3, 8, 0, true},
};

struct Shape {
  std::size_t m;
  std::size_t n;
  std::size_t k;
};
// An expert of DeepSeek-V3.2 (gate, down), and the MLP of a model of a billion parameters.
constexpr std::size_t kPrefillMatrices[][2] = {
    {2048, 7168}, {7168, 2048}, {5632, 2048}, {2048, 5632}};
constexpr std::size_t kPrefillRows[] = {64, 256, 1024};
constexpr std::size_t kDecodeRows[] = {1, 2, 3, 4};
constexpr std::size_t kDecodeInputs = 7168;
constexpr std::size_t kWeightBytes = std::size_t{512} << 20;

struct PrefillCase {
  std::string name;
  const WeightFormat* format;
  Shape shape;
};

// As random as those of a model: normal, of which some blocks are stored raw.
std::vector<bf16> normal_weights(std::size_t count) {
  constexpr std::size_t kDifferent = 1000003;
  std::mt19937_64 random(1);  // NOLINT(cert-msc51-cpp): the same in every run
  std::normal_distribution<float> normal(0.0F, 0.02F);
  std::vector<bf16> weights(count);
  for (std::size_t i = 0; i < count; ++i) {
    if (i >= kDifferent) {
      weights[i] = weights[i - kDifferent];
      continue;
    }
    const float value = normal(random);
    std::uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof bits);
    weights[i] = static_cast<bf16>(bits >> 16);
  }
  return weights;
}

// Packed BF16 weights of the shape that was asked for last.
class PackedMatrix {
 public:
  PackedMatrix() = default;
  PackedMatrix(const PackedMatrix&) = delete;
  PackedMatrix& operator=(const PackedMatrix&) = delete;
  ~PackedMatrix() { std::free(memory_); }

  void make(const Shape& shape) {
    if (shape.n == n_ && shape.k == k_) return;
    n_ = shape.n;
    k_ = shape.k;
    const std::vector<bf16> rows = normal_weights(n_ * k_);
    PackedBf16Plan plan(n_, k_);
    choose_windows(plan, rows.data(), 0, plan.shape.bands);
    bytes_ = place_bands(plan);
    std::free(memory_);
    memory_ = allocate(bytes_);
    pack_bands(plan, rows.data(), 0, plan.shape.bands, reinterpret_cast<std::uint8_t*>(memory_));
  }
  const std::byte* data() const { return memory_; }
  std::size_t bytes() const { return bytes_; }

 private:
  std::byte* memory_ = nullptr;
  std::size_t bytes_ = 0;
  std::size_t n_ = 0;
  std::size_t k_ = 0;
};

// The memory of all products, one after the other.
struct Data {
  std::byte* weights = allocate_codes(kWeightBytes);
  std::byte* scales = allocate_codes(kWeightBytes / 8);
  std::vector<float> x = std::vector<float>(1024 * 8192, 0.7F);
  std::vector<float> y = std::vector<float>(std::size_t{1} << 24);
  PackedMatrix packed;
};

MatmulArgs args_of(const Data& data, std::vector<float>& y, const WeightFormat& format,
                   const Shape& shape) {
  return {.y = y.data(),
          .y_stride = shape.n,
          .x = data.x.data(),
          .x_stride = shape.k,
          .w = format.is_packed_bf16 ? data.packed.data() : data.weights,
          .w_stride = shape.k,
          .w_scales = reinterpret_cast<const float*>(data.scales),
          .w_scales_stride = shape.k / kFp8BlockSize,
          .w_dtype = format.dtype,
          .m = shape.m,
          .n = shape.n,
          .k = shape.k,
          .w_group_scales = reinterpret_cast<const bf16*>(data.scales),
          .w_group = format.group,
          .w_is_packed = format.group != 0 || format.is_packed_bf16,
          .may_round_x = format.rounds_x};
}

double operations(const Shape& shape) {
  return 2.0 * static_cast<double>(shape.m) * static_cast<double>(shape.n) *
         static_cast<double>(shape.k);
}

double bytes(const Data& data, const WeightFormat& format, const Shape& shape) {
  const std::size_t weights = shape.n * shape.k;
  std::size_t scales = 0;
  if (format.group != 0) scales = weights / format.group * sizeof(bf16);
  if (format.dtype == DType::fp8_e4m3) scales = weights / kFp8BlockSize / kFp8BlockSize * 4;
  const std::size_t activations = shape.m * (shape.n + shape.k) * sizeof(float);
  const std::size_t codes = format.is_packed_bf16 ? data.packed.bytes() : weights * format.bits / 8;
  return static_cast<double>(codes + scales + activations);
}

struct Times {
  double wall;
  double processor;  // of all threads
};

// Medians of a product and of what it is compared with.
struct Compared {
  Times product;
  Times probe;
};

class Samples {
 public:
  void take(const std::function<void()>& run) {
    const double wall = wall_seconds();
    const double processor = process_seconds();
    run();
    wall_.push_back(wall_seconds() - wall);
    processor_.push_back(process_seconds() - processor);
  }
  Times medians() const { return {median(wall_), median(processor_)}; }

 private:
  std::vector<double> wall_;
  std::vector<double> processor_;
};

Compared alternate(std::size_t repetitions, const std::function<void()>& product,
                   const std::function<void()>& probe) {
  Samples products;
  Samples probes;
  product();
  for (std::size_t i = 0; i < repetitions; ++i) {
    probes.take(probe);
    products.take(product);
  }
  return {products.medians(), probes.medians()};
}

class Benchmark {
 public:
  Benchmark(const Options& options, const KernelTable& table)
      : options_(options),
        pool_({.num_threads = options.threads, .pin = true}),
        executor_{&table, &pool_, &prepared_},
        peaks_(measure_peaks()) {}

  void run() {
    if (!options_.json) {
      std::printf("row %s, %u threads, medians of %zu interleaved repetitions\n",
                  executor_.table->name, pool_.num_threads(), options_.repetitions);
    }
    decode();
    for (const Product product :
         {Product::int8, Product::bf16, Product::f32, Product::tile_int8, Product::tile_bf16}) {
      if (ProductProbe::is_runnable(product)) prefill(product);
    }
  }

 private:
  bool is_wanted(const std::string& name) const {
    return name.find(options_.filter) != std::string::npos;
  }
  void decode();
  void prefill(Product product);
  void decode_line(const WeightFormat& format, std::size_t rows);
  void prefill_line(const ProductProbe& probe, Product product, const PrefillCase& one);
  double register_rate(Product product) const;

  const Options& options_;
  ThreadPool pool_;
  PreparedInputs prepared_;
  Executor executor_;
  Peaks peaks_;
  Data data_;
};

void Benchmark::decode() {
  if (!options_.json) {
    std::printf("\n%-34s %8s %8s %8s %8s\n", "decode: few rows by 512 MiB", "ms", "GB/s", "of read",
                "(cpu)");
  }
  for (const WeightFormat& format : kFormats) {
    for (const std::size_t rows : kDecodeRows) decode_line(format, rows);
  }
}

void Benchmark::decode_line(const WeightFormat& format, std::size_t rows) {
  const std::string name = "decode " + std::string(format.name) + " m=" + std::to_string(rows);
  if (!is_wanted(name)) return;
  const Shape shape = {rows, kWeightBytes / kDecodeInputs * 8 / format.bits / 128 * 128,
                       kDecodeInputs};
  if (format.is_packed_bf16) data_.packed.make(shape);
  const MatmulArgs args = args_of(data_, data_.y, format, shape);
  const Compared times = alternate(
      options_.repetitions, [&] { matmul(executor_, args); },
      [&] { read_memory(pool_, data_.weights, kWeightBytes); });
  const double work = bytes(data_, format, shape);
  const double share = work / static_cast<double>(kWeightBytes);
  const double of_read = share * times.probe.wall / times.product.wall;
  const double of_read_processor = share * times.probe.processor / times.product.processor;
  if (options_.json) {
    std::printf(
        "{\"case\":\"%s\",\"isa\":\"%s\",\"threads\":%u,\"ms\":%.4f,\"gbytes_per_s\":%.3f,"
        "\"read_gbytes_per_s\":%.3f,\"share_of_read\":%.4f,\"share_of_read_processor\":%.4f}\n",
        name.c_str(), executor_.table->name, pool_.num_threads(), 1e3 * times.product.wall,
        1e-9 * work / times.product.wall, 1e-9 * kWeightBytes / times.probe.wall, of_read,
        of_read_processor);
  } else {
    std::printf("%-34s %8.2f %8.2f %7.0f%% %7.0f%%\n", name.c_str(), 1e3 * times.product.wall,
                1e-9 * work / times.product.wall, 100 * of_read, 100 * of_read_processor);
  }
  std::fflush(stdout);
}

// The instruction that a format's products are made of in this row of the table.
bool is_made_of(const KernelTable& table, const WeightFormat& format, Product product) {
  const std::string isa = table.name;
  const bool has_tiles = isa == "amx";
  const bool has_pairs = has_tiles || isa == "avx512bf16";
  const bool has_quads = has_pairs || isa == "avx512vnni";
  if (has_tiles && format.group != 0) return product == Product::tile_int8;
  if (has_quads && format.group != 0) return product == Product::int8;
  if (has_pairs && format.rounds_x) return product == Product::bf16;
  return product == Product::f32;
}

double Benchmark::register_rate(Product product) const {
  const double threads = pool_.num_threads();
  if (product == Product::f32) return threads * peaks_.float_flops;
  if (product == Product::bf16) return threads * peaks_.bf16_flops;
  if (product == Product::int8) return threads * peaks_.int8_ops;
  return 0.0;
}

void Benchmark::prefill(Product product) {
  std::vector<PrefillCase> cases;
  for (const WeightFormat& format : kFormats) {
    if (!is_made_of(*executor_.table, format, product)) continue;
    for (const auto& [n, k] : kPrefillMatrices) {
      for (const std::size_t m : kPrefillRows) {
        PrefillCase one = {"prefill " + std::string(format.name) + " " + std::to_string(m) + "x" +
                               std::to_string(n) + "x" + std::to_string(k),
                           &format,
                           {m, n, k}};
        if (is_wanted(one.name)) cases.push_back(std::move(one));
      }
    }
  }
  if (cases.empty()) return;
  const ProductProbe probe(product, pool_.num_threads());
  if (!options_.json) {
    std::printf("\n%-34s %8s %8s %8s %8s %8s\n",
                (std::string("prefill by ") + product_name(product)).c_str(), "ms", "Gop/s",
                "of L2", "(cpu)", "of peak");
  }
  for (const PrefillCase& one : cases) prefill_line(probe, product, one);
}

void Benchmark::prefill_line(const ProductProbe& probe, Product product, const PrefillCase& one) {
  const Shape& shape = one.shape;
  if (one.format->is_packed_bf16) data_.packed.make(shape);
  const MatmulArgs args = args_of(data_, data_.y, *one.format, shape);
  const Compared times =
      alternate(options_.repetitions, [&] { matmul(executor_, args); }, [&] { probe.run(pool_); });
  const double work = operations(shape);
  const double share = work / probe.operations();
  const double of_cache = share * times.probe.wall / times.product.wall;
  const double of_cache_processor = share * times.probe.processor / times.product.processor;
  const double in_registers = register_rate(product);  // of processor time
  const double rate = work / times.product.processor * pool_.num_threads();
  const double of_peak = in_registers == 0.0 ? 0.0 : rate / in_registers;
  if (options_.json) {
    std::printf(
        "{\"case\":\"%s\",\"isa\":\"%s\",\"threads\":%u,\"ms\":%.4f,\"gops\":%.2f,"
        "\"l2_gops\":%.2f,\"register_gops\":%.2f,\"share_of_l2\":%.4f,"
        "\"share_of_l2_processor\":%.4f,\"share_of_peak_processor\":%.4f}\n",
        one.name.c_str(), executor_.table->name, pool_.num_threads(), 1e3 * times.product.wall,
        1e-9 * work / times.product.wall, 1e-9 * probe.operations() / times.probe.wall,
        1e-9 * in_registers, of_cache, of_cache_processor, of_peak);
  } else {
    std::printf("%-34s %8.3f %8.1f %7.0f%% %7.0f%% %7.0f%%\n", one.name.c_str(),
                1e3 * times.product.wall, 1e-9 * work / times.product.wall, 100 * of_cache,
                100 * of_cache_processor, 100 * of_peak);
  }
  std::fflush(stdout);
}

}  // namespace

int main_with(int argc, char** argv) {
  Options options;
  const bool is_understood = parse_options(
      argc, argv,
      {flag("--json", options.json), text("--isa", options.isa),
       number("--threads", options.threads), number("--repetitions", options.repetitions),
       text("--filter", options.filter)},
      "ponder_bench_matmul [--json] [--isa NAME] [--threads N] [--repetitions N] [--filter TEXT]");
  if (!is_understood) return 2;
  const KernelTable* table = select(options.isa.c_str());
  if (table == nullptr) {
    std::fprintf(stderr, "cannot run kernels named %s here\n", options.isa.c_str());
    return 1;
  }
  Benchmark(options, *table).run();
  return 0;
}

}  // namespace ponder::kernels::bench

int main(int argc, char** argv) { return ponder::kernels::bench::main_with(argc, argv); }
