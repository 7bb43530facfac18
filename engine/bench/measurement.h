#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/config.h"

/// What the benchmark of a device measures, and what it holds it against.
namespace ponder::engine::bench {

/// The device's rates, measured in the same run.
struct Ceilings {
  double bytes_per_s = 0.0;        // of a copy, bytes read and bytes written
  double bf16_flops = 0.0;         // a multiply-add counts as two; the best of those below
  double int8_ops = 0.0;           // the same
  double probe_bf16_flops = 0.0;   // tensor-core products of registers
  double cublas_bf16_flops = 0.0;  // a large product by cuBLAS; 0 where it is not installed
};

/// The least that an operation does: each input read once, each output written once.
struct Work {
  double bytes = 0.0;
  double flops = 0.0;
  bool is_int8 = false;
};

struct Measurement {
  std::string name;
  double ms = 0.0;  // median
  Work work;        // none: there is no bound
  std::string note;
};

/// The time that nothing can be under: bytes, or arithmetic, whichever takes longer.
double bound_ms(const Work& work, const Ceilings& ceilings);

/// The work of decoding one token of each of `batch` sequences of `context` tokens in one layer,
/// with an FP8 cache of latents and 8-bit index keys. Experts: as many as batch * top-k choices
/// are expected to hit if they fall evenly.
Work layer_decode_work(const ModelConfig& config, FfnKind ffn, std::size_t batch,
                       std::size_t context);
/// What comes on top of the layers: the head.
Work head_work(const ModelConfig& config, std::size_t batch);
Work operator+(const Work& a, const Work& b);

/// From the times of a step with the dense layers alone, and with some layers of experts too, what
/// a step with `num_layers` layers would take. Requires: num_moe > 0.
double extrapolate_ms(double dense_ms, double with_moe_ms, std::size_t num_moe,
                      std::size_t num_moe_wanted);

/// Where there is nothing to measure.
std::string no_device_text(const std::string& reason, bool is_json);
std::string ceilings_text(const Ceilings& ceilings);
std::string ceilings_json(const Ceilings& ceilings);
std::string table_header();
std::string table_line(const Measurement& measurement, const Ceilings& ceilings);
/// One object, without a line's end.
std::string json_line(const Measurement& measurement, const Ceilings& ceilings);

/// Layers with experts that fit beside everything else; at least 1 if even that is too many.
std::size_t moe_layers_that_fit(const ModelConfig& config, std::uint64_t bytes_free,
                                std::uint64_t bytes_for_the_rest);

}  // namespace ponder::engine::bench
