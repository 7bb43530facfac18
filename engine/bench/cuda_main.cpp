// ponder_bench_cuda [--json] [--model DIR] [--only layer|stack|model] [--repetitions N]
//                   [--cache-gib N]
//
// The CUDA backend on the GPU of this machine: what the device can do (copies, products), the
// operations of sparse attention at the shape of DeepSeek-V3.2, a stack of its layers with random
// weights, and decoding with a model. Without a GPU it says so and ends.
//
// A bound is the larger of bytes over the copy rate and operations over the product rate, both of
// the same run; bytes count each input read once and each output written once.

#include <fmt/format.h>

#include <cstdio>
#include <string>

#include "engine/bench/layer_cases.h"
#include "engine/bench/model_cases.h"
#include "engine/bench/prompt_cases.h"
#include "kernels/bench/options.h"
#include "kernels/cuda_library.h"

namespace ponder::engine::bench {
namespace {

constexpr const char* kUsage =
    "ponder_bench_cuda [--json] [--model DIR] [--only layer|stack|model] [--repetitions N] "
    "[--cache-gib N]";
constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;
constexpr std::uint64_t kWorkspaceBytes = 4 * kGiB;
constexpr std::size_t kDecodeSteps = 64;

struct Options {
  bool json = false;
  std::string model = "engine/models/mini";
  std::string only;
  std::size_t repetitions = 21;
  std::size_t cache_gib = 16;
  bool wants(const char* part) const { return only.empty() || only == part; }
};

class Run {
 public:
  Run(const Options& options, const kernels::DeviceTable& device)
      : options_(options), device_(device) {}

  Status all() {
    PONDER_TRY(const FoundDevice found, find_device(device_));
    say(found.description());
    PONDER_CHECK(layer());
    if (options_.wants("stack")) {
      PONDER_CHECK(stack(found.info.memory_bytes_free));
    }
    if (options_.wants("model")) {
      PONDER_CHECK(measure_model(device_, options_.model, {1, 64}, kDecodeSteps, reporter()));
    }
    return {};
  }

 private:
  void say(const std::string& text) const {
    if (!options_.json) fmt::print("{}\n", text);
    std::fflush(stdout);
  }
  std::function<void(const Measurement&)> reporter() {
    return [this](const Measurement& m) {
      fmt::print("{}\n", options_.json ? json_line(m, ceilings_) : table_line(m, ceilings_));
      std::fflush(stdout);
    };
  }

  /// The ceilings are measured whatever is wanted: everything is held against them.
  Status layer() {
    PONDER_TRY(const std::shared_ptr<OpenDevice> device, OpenDevice::open(device_));
    Effort effort;
    effort.repetitions = options_.repetitions;
    PONDER_TRY(DeviceTimer timer, DeviceTimer::create(device, effort));
    PONDER_TRY(ceilings_, timer.measure_ceilings());
    if (options_.json) {
      fmt::print("{}\n", ceilings_json(ceilings_));
    } else {
      say(ceilings_text(ceilings_) + "\n\n" + table_header());
    }
    if (!options_.wants("layer")) return {};
    PONDER_TRY(const std::unique_ptr<DeviceData> data, DeviceData::create(device, LayerShape{}));
    PONDER_CHECK(measure_layer(timer, *data, reporter()));
    return measure_prompt_attention(timer, *data, reporter());
  }

  Status stack(std::uint64_t bytes_free) {
    StackOptions options;
    options.cache_bytes = options_.cache_gib * kGiB;
    options.dense = deepseek_v32_config(3);
    const std::size_t num_moe =
        moe_layers_that_fit(options.dense, bytes_free, options.cache_bytes + kWorkspaceBytes);
    options.with_moe = deepseek_v32_config(3 + num_moe);
    return measure_stack(device_, options, reporter());
  }

  const Options& options_;
  const kernels::DeviceTable& device_;
  Ceilings ceilings_;
};

int main_with(int argc, char** argv) {
  using kernels::bench::flag;
  using kernels::bench::number;
  using kernels::bench::text;
  Options options;
  if (!kernels::bench::parse_options(
          argc, argv,
          {flag("--json", options.json), text("--model", options.model),
           text("--only", options.only), number("--repetitions", options.repetitions),
           number("--cache-gib", options.cache_gib)},
          kUsage) ||
      2 * options.repetitions > kernels::kDeviceEventsMax) {
    return 2;
  }
  const kernels::CudaLibrary library = kernels::load_cuda_library();
  if (library.table == nullptr) {
    fmt::print("{}\n", no_device_text(library.reason, options.json));
    return 0;
  }
  if (const Status status = Run(options, *library.table).all(); !status) {
    fmt::print(stderr, "{}\n", status.error().message);
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace ponder::engine::bench

int main(int argc, char** argv) { return ponder::engine::bench::main_with(argc, argv); }
