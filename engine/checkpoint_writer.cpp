#include "engine/checkpoint_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "engine/checkpoint.h"

namespace ponder::engine {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr const char* kConfigName = "config.json";
constexpr const char* kIndexName = "model.safetensors.index.json";

/// A tensor as it stands in a file.
struct Part {
  std::string name;
  DType dtype;
  std::vector<std::size_t> shape;

  std::size_t num_bytes() const {
    std::size_t bytes = dtype_bytes(dtype);
    for (const std::size_t dimension : shape) bytes *= dimension;
    return bytes;
  }
};

std::size_t num_blocks(std::size_t length) { return (length + kFp8BlockSize - 1) / kFp8BlockSize; }

/// The codes first, then what belongs to them, in the order in which they are written.
std::vector<Part> parts_of(const OutputTensor& tensor) {
  const std::string& name = tensor.name;
  const auto& shape = tensor.shape;
  if (tensor.verbatim != nullptr) return {{name, tensor.verbatim->dtype, shape}};
  const auto group_scales = [&]() -> Part {
    return {name + "_scale", DType::bf16, {shape[0], shape[1] / tensor.format.group}};
  };
  switch (tensor.format.dtype) {
    case WeightDType::f32:
      break;
    case WeightDType::bf16:
      return {{name, DType::bf16, shape}};
    case WeightDType::fp8:
      return {{name, DType::f8_e4m3, shape},
              {name + "_scale_inv", DType::f32, {num_blocks(shape[0]), num_blocks(shape[1])}}};
    case WeightDType::int8:
      return {{name, DType::i8, shape}, group_scales()};
    case WeightDType::int4:
      return {{name + "_packed", DType::i32, {shape[0], shape[1] / 8}},
              group_scales(),
              {name + "_shape", DType::i64, {2}}};
  }
  return {{name, DType::f32, shape}};
}

std::size_t num_bytes(const OutputTensor& tensor) {
  std::size_t bytes = 0;
  for (const Part& part : parts_of(tensor)) bytes += part.num_bytes();
  return bytes;
}

/// Wide elements first, as the format's own writer does: then every tensor that is read in place is
/// aligned. Codes and what follows them need no alignment.
std::size_t alignment(const OutputTensor& tensor) {
  const std::vector<Part> parts = parts_of(tensor);
  return parts.size() > 1 ? 1 : dtype_bytes(parts[0].dtype);
}

using Shard = std::vector<OutputTensor>;

std::vector<Shard> split(std::vector<OutputTensor> tensors, std::size_t shard_bytes_max) {
  std::vector<Shard> shards(1);
  std::size_t shard_bytes = 0;
  for (OutputTensor& tensor : tensors) {
    const std::size_t bytes = num_bytes(tensor);
    if (!shards.back().empty() && shard_bytes + bytes > shard_bytes_max) {
      shards.emplace_back();
      shard_bytes = 0;
    }
    shard_bytes += bytes;
    shards.back().push_back(std::move(tensor));
  }
  for (Shard& shard : shards) {
    std::ranges::sort(shard, [](const OutputTensor& a, const OutputTensor& b) {
      const std::size_t a_bytes = alignment(a);
      const std::size_t b_bytes = alignment(b);
      return a_bytes != b_bytes ? a_bytes > b_bytes : a.name < b.name;
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

  void write(std::span<const std::byte> bytes) {
    stream_.write(reinterpret_cast<const char*>(bytes.data()),
                  static_cast<std::streamsize>(bytes.size()));
  }
  void write(const std::string& text) { write(std::as_bytes(std::span(text))); }
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

/// Length and header, padded so that the data starts at a multiple of 64 bytes.
std::string header_text(const Shard& shard) {
  constexpr std::size_t kDataAlignment = 64;
  json header;
  header["__metadata__"] = {{"format", "pt"}};
  std::size_t position = 0;
  for (const OutputTensor& tensor : shard) {
    for (const Part& part : parts_of(tensor)) {
      const std::size_t end = position + part.num_bytes();
      header[part.name] = {{"dtype", dtype_name(part.dtype)},
                           {"shape", part.shape},
                           {"data_offsets", {position, end}}};
      position = end;
    }
  }
  std::uint64_t length = 0;
  std::string text(sizeof length, '\0');
  text += header.dump();
  text.resize((text.size() + kDataAlignment - 1) / kDataAlignment * kDataAlignment, ' ');
  length = text.size() - sizeof length;
  std::memcpy(text.data(), &length, sizeof length);
  return text;
}

/// Encodes and writes a tensor in bands of rows, so that memory stays small.
Status write_tensor(const OutputTensor& tensor, const RowSource& rows, OutputFile& file) {
  if (tensor.verbatim != nullptr) {
    file.write({tensor.verbatim->data, tensor.verbatim->num_bytes});
    return {};
  }
  const std::size_t num_rows = tensor.shape.size() == 2 ? tensor.shape[0] : 1;
  const std::size_t cols = tensor.shape.back();
  std::vector<float> band;
  EncodedRows encoded;
  std::vector<std::byte> scales;
  for (std::size_t row = 0; row < num_rows && file.is_good(); row += kBandRows) {
    band.resize(std::min(kBandRows, num_rows - row) * cols);
    PONDER_CHECK(rows(tensor, row, band));
    encode_rows(tensor.format, band, cols, encoded);
    file.write(encoded.codes);
    scales.insert(scales.end(), encoded.scales.begin(), encoded.scales.end());
  }
  file.write(scales);
  if (tensor.format.dtype == WeightDType::int4) {
    const std::uint64_t shape[] = {num_rows, cols};
    file.write(std::as_bytes(std::span(shape)));
  }
  return {};
}

Status write_shard(const Shard& shard, const RowSource& rows, const fs::path& path) {
  OutputFile file(path);
  file.write(header_text(shard));
  for (const OutputTensor& tensor : shard) {
    PONDER_CHECK(write_tensor(tensor, rows, file));
  }
  return file.close();
}

Status write_text(const fs::path& path, const std::string& text) {
  OutputFile file(path);
  file.write(text);
  return file.close();
}

std::string shard_name(std::size_t shard_idx, std::size_t num_shards) {
  if (num_shards == 1) return "model.safetensors";
  return fmt::format("model-{:05}-of-{:06}.safetensors", shard_idx + 1, num_shards);
}

std::string index_text(const std::vector<Shard>& shards) {
  json weight_map = json::object();
  std::size_t total_bytes = 0;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const std::string name = shard_name(i, shards.size());
    for (const OutputTensor& tensor : shards[i]) {
      for (const Part& part : parts_of(tensor)) {
        weight_map[part.name] = name;
        total_bytes += part.num_bytes();
      }
    }
  }
  return json{{"metadata", {{"total_size", total_bytes}}}, {"weight_map", weight_map}}.dump(2) +
         "\n";
}

json int_weights(int num_bits, std::size_t group) {
  return {{"num_bits", num_bits},
          {"type", "int"},
          {"symmetric", true},
          {"strategy", "group"},
          {"group_size", group}};
}

}  // namespace

Status write_weights(detail::NewFiles& files, std::vector<OutputTensor> tensors,
                     std::size_t shard_bytes_max, const RowSource& rows) {
  const std::vector<Shard> shards = split(std::move(tensors), shard_bytes_max);
  std::vector<std::string> names = {kConfigName, "model.safetensors", kIndexName};
  for (std::size_t i = 0; i < shards.size(); ++i) names.push_back(shard_name(i, shards.size()));
  PONDER_CHECK(files.check_free(names));
  for (std::size_t i = 0; i < shards.size(); ++i) {
    PONDER_TRY(const fs::path path, files.begin(shard_name(i, shards.size())));
    PONDER_CHECK(write_shard(shards[i], rows, path));
  }
  if (shards.size() == 1) return {};
  PONDER_TRY(const fs::path path, files.begin(kIndexName));
  return write_text(path, index_text(shards));
}

Status write_config(detail::NewFiles& files, const std::string& config_json) {
  PONDER_TRY(const fs::path path, files.begin(kConfigName));
  return write_text(path, config_json);
}

Status write_checkpoint(const fs::path& dir, std::vector<OutputTensor> tensors,
                        const std::string& config_json, std::size_t shard_bytes_max,
                        const RowSource& rows) {
  PONDER_TRY(detail::NewFiles files, detail::NewFiles::in(dir));
  PONDER_CHECK(write_weights(files, std::move(tensors), shard_bytes_max, rows));
  PONDER_CHECK(write_config(files, config_json));
  files.keep();
  return {};
}

std::string quantization_config_json(const WeightFormat& format) {
  if (format.dtype == WeightDType::fp8) {
    return json{{"activation_scheme", "dynamic"},
                {"fmt", "e4m3"},
                {"quant_method", "fp8"},
                {"scale_fmt", "ue8m0"},
                {"weight_block_size", {kFp8BlockSize, kFp8BlockSize}}}
        .dump();
  }
  if (format.dtype != WeightDType::int8 && format.dtype != WeightDType::int4) return "";
  json groups;
  groups["group_0"] = {{"targets", {"Linear"}}, {"weights", int_weights(8, kInt8Group)}};
  if (format.dtype == WeightDType::int4) {
    groups["group_0"]["weights"] = int_weights(4, format.group);
    groups["group_1"] = {{"targets", {"re:.*indexer.*", "lm_head"}},
                         {"weights", int_weights(8, kInt8Group)}};
  }
  return json{{"quant_method", "compressed-tensors"},
              {"format", format.dtype == WeightDType::int4 ? "mixed-precision" : "int-quantized"},
              {"config_groups", groups}}
      .dump();
}

}  // namespace ponder::engine
