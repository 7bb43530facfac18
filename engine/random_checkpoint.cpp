#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "engine/checkpoint.h"
#include "engine/detail/json_input.h"
#include "engine/numeric_formats.h"
#include "engine/random_weights.h"
#include "engine/tensor_inventory.h"

namespace ponder::engine {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

/// A tensor with the dtype that it gets in this checkpoint.
struct Planned {
  TensorSpec spec;
  DType dtype;

  std::size_t rows() const { return spec.shape.size() == 2 ? spec.shape[0] : 1; }
  std::size_t cols() const { return spec.shape.back(); }
  std::size_t scale_rows() const { return (rows() + kFp8BlockSize - 1) / kFp8BlockSize; }
  std::size_t scale_cols() const { return (cols() + kFp8BlockSize - 1) / kFp8BlockSize; }
  bool has_scales() const { return dtype == DType::f8_e4m3; }
  std::size_t weight_bytes() const { return rows() * cols() * dtype_bytes(dtype); }
  std::size_t scale_bytes() const { return has_scales() ? scale_rows() * scale_cols() * 4 : 0; }
};
using Shard = std::vector<Planned>;

DType dtype_for(TensorRole role, WeightDType wanted) {
  if (wanted == WeightDType::f32 || role == TensorRole::vector_f32) return DType::f32;
  if (wanted == WeightDType::fp8 && role == TensorRole::matrix_fp8) return DType::f8_e4m3;
  return DType::bf16;
}

std::vector<Shard> plan_shards(const ModelConfig& config, const RandomCheckpointOptions& options) {
  std::vector<Shard> shards(1);
  std::size_t shard_bytes = 0;
  for_each_tensor(config, [&](TensorSpec spec) {
    const DType dtype = dtype_for(spec.role, options.dtype);
    Planned planned{std::move(spec), dtype};
    const std::size_t num_bytes = planned.weight_bytes() + planned.scale_bytes();
    if (!shards.back().empty() && shard_bytes + num_bytes > options.shard_bytes_max) {
      shards.emplace_back();
      shard_bytes = 0;
    }
    shard_bytes += num_bytes;
    shards.back().push_back(std::move(planned));
  });
  // Wide elements first, as the format's own writer does: then every tensor is aligned.
  for (Shard& shard : shards) {
    std::ranges::sort(shard, [](const Planned& a, const Planned& b) {
      const std::size_t a_bytes = dtype_bytes(a.dtype);
      const std::size_t b_bytes = dtype_bytes(b.dtype);
      return a_bytes != b_bytes ? a_bytes > b_bytes : a.spec.name < b.spec.name;
    });
  }
  return shards;
}

/// A file being written. Failures are remembered by the stream and reported by close().
class OutputFile {
 public:
  explicit OutputFile(fs::path path) : path_(std::move(path)) {
    errno = 0;
    stream_.open(path_, std::ios::binary | std::ios::trunc);
  }

  void write(const void* data, std::size_t num_bytes) {
    stream_.write(static_cast<const char*>(data), static_cast<std::streamsize>(num_bytes));
  }
  bool is_good() const { return stream_.good(); }

  Status close() {
    stream_.close();
    if (stream_.good()) return {};
    return fail(Errc::unavailable,
                fmt::format("{}: cannot write: {}; check space and permissions", path_.string(),
                            errno != 0 ? std::strerror(errno) : "unknown error"));
  }

 private:
  fs::path path_;
  std::ofstream stream_;
};

void add_header_entry(json& header, const std::string& name, DType dtype,
                      const std::vector<std::size_t>& shape, std::size_t begin, std::size_t bytes) {
  header[name] = {
      {"dtype", dtype_name(dtype)}, {"shape", shape}, {"data_offsets", {begin, begin + bytes}}};
}

/// The header text, padded so that the data starts at a multiple of 8 bytes.
std::string header_text(const Shard& shard) {
  json header;
  header["__metadata__"] = {{"format", "pt"}};
  std::size_t position = 0;
  for (const Planned& planned : shard) {
    const std::string& name = planned.spec.name;
    add_header_entry(header, name, planned.dtype, planned.spec.shape, position,
                     planned.weight_bytes());
    position += planned.weight_bytes();
    if (planned.has_scales()) {
      add_header_entry(header, name + "_scale_inv", DType::f32,
                       {planned.scale_rows(), planned.scale_cols()}, position,
                       planned.scale_bytes());
      position += planned.scale_bytes();
    }
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

/// Quantises one band of up to 128 rows; appends its row of scales.
void quantise_band(const std::vector<float>& band, std::size_t cols,
                   std::vector<std::uint8_t>& codes, std::vector<float>& scales) {
  codes.resize(band.size());
  const std::size_t rows = band.size() / cols;
  for (std::size_t col = 0; col < cols; col += kFp8BlockSize) {
    const std::size_t col_end = std::min(col + kFp8BlockSize, cols);
    float amax = 0.0F;
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t c = col; c < col_end; ++c) {
        amax = std::max(amax, std::fabs(band[r * cols + c]));
      }
    }
    const float scale = ue8m0_scale(amax);
    scales.push_back(scale);
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t c = col; c < col_end; ++c) {
        codes[r * cols + c] = float_to_e4m3(band[r * cols + c] / scale);
      }
    }
  }
}

/// Generates and writes a tensor in bands of rows, so that memory stays small.
void write_tensor(const Planned& planned, OutputFile& file) {
  const TensorSpec& spec = planned.spec;
  const std::string& values_of = spec.values_of.empty() ? spec.name : spec.values_of;
  std::vector<float> band;
  std::vector<std::uint8_t> codes;
  std::vector<std::uint16_t> halves;
  std::vector<float> scales;
  for (std::size_t row = 0; row < planned.rows() && file.is_good(); row += kFp8BlockSize) {
    band.resize(std::min(kFp8BlockSize, planned.rows() - row) * planned.cols());
    fill_random_weights(values_of, planned.cols(), row * planned.cols(), band);
    if (planned.dtype == DType::f8_e4m3) {
      quantise_band(band, planned.cols(), codes, scales);
      file.write(codes.data(), codes.size());
    } else if (planned.dtype == DType::bf16) {
      halves.resize(band.size());
      std::ranges::transform(band, halves.begin(), float_to_bf16);
      file.write(halves.data(), halves.size() * sizeof(std::uint16_t));
    } else {
      file.write(band.data(), band.size() * sizeof(float));
    }
  }
  file.write(scales.data(), scales.size() * sizeof(float));
}

Status write_shard(const Shard& shard, const fs::path& path) {
  OutputFile file(path);
  const std::string header = header_text(shard);
  const std::uint64_t header_bytes = header.size();
  file.write(&header_bytes, sizeof header_bytes);
  file.write(header.data(), header.size());
  for (const Planned& planned : shard) write_tensor(planned, file);
  return file.close();
}

Status write_text(const fs::path& path, const std::string& text) {
  OutputFile file(path);
  file.write(text.data(), text.size());
  return file.close();
}

Result<std::string> output_config(std::string_view config_json, WeightDType dtype) {
  PONDER_TRY(json config, detail::parse_json(config_json));
  config.erase("dtype");
  config["torch_dtype"] = dtype == WeightDType::f32 ? "float32" : "bfloat16";
  config.erase("quantization_config");
  if (dtype == WeightDType::fp8) {
    config["quantization_config"] = {{"activation_scheme", "dynamic"},
                                     {"fmt", "e4m3"},
                                     {"quant_method", "fp8"},
                                     {"scale_fmt", "ue8m0"},
                                     {"weight_block_size", {kFp8BlockSize, kFp8BlockSize}}};
  }
  return config.dump(2) + "\n";
}

std::string shard_name(std::size_t shard_idx, std::size_t num_shards) {
  if (num_shards == 1) return "model.safetensors";
  return fmt::format("model-{:05}-of-{:05}.safetensors", shard_idx + 1, num_shards);
}

std::string index_text(const std::vector<Shard>& shards) {
  json weight_map = json::object();
  std::size_t total_bytes = 0;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const std::string name = shard_name(i, shards.size());
    for (const Planned& planned : shards[i]) {
      weight_map[planned.spec.name] = name;
      if (planned.has_scales()) weight_map[planned.spec.name + "_scale_inv"] = name;
      total_bytes += planned.weight_bytes() + planned.scale_bytes();
    }
  }
  return json{{"metadata", {{"total_size", total_bytes}}}, {"weight_map", weight_map}}.dump(2) +
         "\n";
}

/// Writes everything, noting each file before it is begun.
Status write_files(const std::vector<Shard>& shards, const std::string& config, const fs::path& dir,
                   std::vector<fs::path>& begun) {
  for (std::size_t i = 0; i < shards.size(); ++i) {
    begun.push_back(dir / shard_name(i, shards.size()));
    PONDER_CHECK(write_shard(shards[i], begun.back()));
  }
  if (shards.size() > 1) {
    begun.push_back(dir / "model.safetensors.index.json");
    PONDER_CHECK(write_text(begun.back(), index_text(shards)));
  }
  begun.push_back(dir / "config.json");
  return write_text(begun.back(), config);
}

}  // namespace

Status write_random_checkpoint(const ModelConfig& config, std::string_view config_json,
                               const fs::path& dir, const RandomCheckpointOptions& options) {
  std::error_code failure;
  fs::create_directories(dir, failure);
  if (failure) {
    return fail(Errc::unavailable,
                fmt::format("{}: cannot create: {}", dir.string(), failure.message()));
  }
  for (const char* name : {"config.json", "model.safetensors", "model.safetensors.index.json"}) {
    if (fs::exists(dir / name, failure)) {
      return fail(
          Errc::invalid_argument,
          fmt::format("{}: already holds {}; choose an empty directory", dir.string(), name));
    }
  }
  PONDER_TRY(const std::string out_config, output_config(config_json, options.dtype));
  std::vector<fs::path> begun;
  Status written = write_files(plan_shards(config, options), out_config, dir, begun);
  if (!written) {
    for (const fs::path& path : begun) fs::remove(path, failure);  // no half checkpoint stays
  }
  return written;
}

}  // namespace ponder::engine
