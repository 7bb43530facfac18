#include "engine/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>

#include "engine/detail/file_error.h"
#include "engine/detail/json_input.h"
#include "engine/numeric_formats.h"

namespace ponder::engine {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little, "weights are read in place");

constexpr std::string_view kIndexName = "model.safetensors.index.json";
constexpr std::string_view kSingleName = "model.safetensors";

constexpr std::string_view kRemedy = "use config.json and weights of one and the same model";

template <class T, class Decode>
void decode_elements(const TensorView& tensor, std::vector<float>& out, Decode decode) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    T element;
    std::memcpy(&element, tensor.data + i * sizeof(T), sizeof(T));
    out[i] = decode(element);
  }
}

std::size_t num_blocks(std::size_t length) { return (length + kFp8BlockSize - 1) / kFp8BlockSize; }

void scale_blocks(std::vector<float>& values, std::size_t cols, const std::vector<float>& scales) {
  const std::size_t scale_cols = num_blocks(cols);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::size_t row = i / cols;
    values[i] *= scales[row / kFp8BlockSize * scale_cols + i % cols / kFp8BlockSize];
  }
}

bool is_weight_dtype(DType dtype) {
  return dtype == DType::bf16 || dtype == DType::f16 || dtype == DType::f8_e4m3;
}

bool is_aligned(const TensorView& tensor, std::size_t alignment) {
  return reinterpret_cast<std::uintptr_t>(tensor.data) % alignment == 0;
}

/// The slice of a fused tensor that is one projection of one expert.
TensorView expert_slice(const TensorView& fused, std::string name, std::size_t offset_elements,
                        std::vector<std::size_t> shape) {
  TensorView slice = fused;
  const std::size_t width = dtype_bytes(fused.dtype);
  slice.name = std::move(name);
  slice.num_bytes = shape[0] * shape[1] * width;
  slice.data = fused.data + offset_elements * width;
  slice.shape = std::move(shape);
  return slice;
}

}  // namespace

Result<Checkpoint> Checkpoint::open(const fs::path& dir) {
  std::error_code ignored;
  if (!fs::is_directory(dir, ignored)) {
    return fail(Errc::not_found, dir.string() + ": no such model directory");
  }
  Checkpoint checkpoint;
  const fs::path index = dir / kIndexName;
  const fs::path single = dir / kSingleName;
  if (fs::exists(index, ignored)) {
    PONDER_CHECK(checkpoint.add_shards(dir, index));
  } else if (fs::exists(single, ignored)) {
    PONDER_CHECK(checkpoint.add_file(single));
  } else {
    return fail(Errc::not_found, fmt::format("{}: holds neither {} nor {}; point to the folder "
                                             "of a downloaded or exported model",
                                             dir.string(), kSingleName, kIndexName));
  }
  PONDER_CHECK(checkpoint.add_fused_experts());
  PONDER_CHECK(checkpoint.finish());
  return checkpoint;
}

Status Checkpoint::add_file(const fs::path& path) {
  PONDER_TRY(MappedFile file, MappedFile::open(path));
  auto tensors = parse_safetensors(file.bytes());
  if (!tensors) return detail::fail_in_file(path, std::move(tensors).error());
  const auto file_idx = static_cast<std::uint32_t>(files_.size());
  for (TensorView& tensor : *tensors) {
    tensor.file_idx = file_idx;
    tensors_.push_back(std::move(tensor));
  }
  files_.push_back(std::move(file));
  paths_.push_back(path);
  return {};
}

Status Checkpoint::add_shards(const fs::path& dir, const fs::path& index) {
  const auto damaged = [&](const std::string& why) {
    return detail::fail_in_file(index, Error(Errc::corrupt, why));
  };
  PONDER_TRY(const MappedFile file, MappedFile::open(index));
  const auto bytes = file.bytes();
  auto parsed = detail::parse_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  if (!parsed) return detail::fail_in_file(index, parsed.error());
  const json& root = *parsed;
  if (!root.is_object() || !root.contains("weight_map") || !root["weight_map"].is_object()) {
    return damaged("has no weight_map object");
  }
  std::map<std::string, std::vector<std::string>> shards;  // file name -> tensors wanted from it
  for (const auto& [tensor, shard] : root["weight_map"].items()) {
    // A shard lies beside its index: anything else could read any file of this machine.
    if (!shard.is_string() || fs::path(shard.get<std::string>()).has_parent_path()) {
      return damaged(fmt::format("{} lies in {}, which is no file beside the index", tensor,
                                 detail::brief(shard)));
    }
    shards[shard.get<std::string>()].push_back(tensor);
  }
  for (const auto& [name, wanted] : shards) {
    const std::size_t first = tensors_.size();
    PONDER_CHECK(add_file(dir / name));
    // Only what the index assigns to this shard counts, so that no name can come from two files.
    const auto is_stray = [&](const TensorView& t) {
      return !std::ranges::binary_search(wanted, t.name);
    };
    const auto begin = tensors_.begin() + static_cast<std::ptrdiff_t>(first);
    tensors_.erase(std::remove_if(begin, tensors_.end(), is_stray), tensors_.end());
    if (tensors_.size() - first != wanted.size()) {
      return damaged(fmt::format("{} tensors are missing from {}",
                                 wanted.size() - (tensors_.size() - first), name));
    }
  }
  return {};
}

Status Checkpoint::add_fused_experts() {
  constexpr std::string_view kGateUp = ".experts.gate_up_proj";
  constexpr std::string_view kDown = ".experts.down_proj";
  const std::size_t num_stored = tensors_.size();
  for (std::size_t i = 0; i < num_stored; ++i) {
    const TensorView fused = tensors_[i];
    const bool is_gate_up = fused.name.ends_with(kGateUp);
    if (!is_gate_up && !fused.name.ends_with(kDown)) continue;
    if (fused.shape.size() != 3 || fused.dtype == DType::f8_e4m3 || fused.num_bytes == 0 ||
        (is_gate_up && fused.shape[1] % 2 != 0)) {
      return tl::unexpected(misfit(fused, "fused experts [E, 2M, H] or [E, H, M], not FP8"));
    }
    const std::string prefix = fused.name.substr(0, fused.name.rfind('.') + 1);
    const std::size_t rows = is_gate_up ? fused.shape[1] / 2 : fused.shape[1];
    const std::vector<std::size_t> shape{rows, fused.shape[2]};
    const std::size_t expert_elements = fused.shape[1] * fused.shape[2];
    for (std::size_t e = 0; e < fused.shape[0]; ++e) {
      const std::string name = fmt::format("{}{}.", prefix, e);
      const std::size_t at = e * expert_elements;
      if (is_gate_up) {
        tensors_.push_back(expert_slice(fused, name + "gate_proj.weight", at, shape));
        tensors_.push_back(
            expert_slice(fused, name + "up_proj.weight", at + rows * shape[1], shape));
      } else {
        tensors_.push_back(expert_slice(fused, name + "down_proj.weight", at, shape));
      }
    }
  }
  return {};
}

Status Checkpoint::finish() {
  std::ranges::sort(tensors_, {}, &TensorView::name);
  const auto twice = std::ranges::adjacent_find(tensors_, {}, &TensorView::name);
  if (twice != tensors_.end()) {
    return fail(Errc::corrupt, fmt::format("tensor {} in {} stands twice, fused and on its own",
                                           twice->name, file_of(*twice).string()));
  }
  bool has_fp8 = false;
  bool has_narrow = false;
  for (const TensorView& tensor : tensors_) {
    has_fp8 = has_fp8 || tensor.dtype == DType::f8_e4m3;
    has_narrow = has_narrow || is_weight_dtype(tensor.dtype);
  }
  compute_dtype_ = has_fp8 ? DType::f8_e4m3 : has_narrow ? DType::bf16 : DType::f32;
  return {};
}

const TensorView* Checkpoint::find(std::string_view name) const {
  const auto it = std::ranges::lower_bound(
      tensors_, name, {}, [](const TensorView& tensor) { return std::string_view(tensor.name); });
  return it == tensors_.end() || it->name != name ? nullptr : &*it;
}

Error Checkpoint::misfit(const TensorView& tensor, std::string_view expected) const {
  return {Errc::corrupt, fmt::format("tensor {} in {}: expected {}, found {} {}; {}", tensor.name,
                                     file_of(tensor).string(), expected, dtype_name(tensor.dtype),
                                     shape_text(tensor.shape), kRemedy)};
}

Result<const TensorView*> Checkpoint::require(std::string_view name,
                                              std::span<const std::size_t> shape) const {
  const TensorView* tensor = find(name);
  if (tensor == nullptr) {
    const std::string where =
        paths_.size() == 1
            ? paths_[0].string()
            : fmt::format("{} ({} files)", paths_[0].parent_path().string(), paths_.size());
    return fail(Errc::not_found,
                fmt::format("tensor {}: missing from {}; {}", name, where, kRemedy));
  }
  if (!std::ranges::equal(tensor->shape, shape)) {
    return tl::unexpected(misfit(*tensor, "shape " + shape_text(shape)));
  }
  return tensor;
}

Result<std::vector<float>> Checkpoint::load_scales(const TensorView& weight) const {
  if (weight.shape.size() != 2) return tl::unexpected(misfit(weight, "an FP8 matrix [out, in]"));
  const std::string name = weight.name + "_scale_inv";
  const std::array<std::size_t, 2> shape{num_blocks(weight.shape[0]), num_blocks(weight.shape[1])};
  PONDER_TRY(const TensorView* scales, require(name, shape));
  if (scales->dtype != DType::f32) return tl::unexpected(misfit(*scales, "dtype F32"));
  std::vector<float> out(scales->num_elements());
  std::memcpy(out.data(), scales->data, scales->num_bytes);
  return out;
}

Result<std::vector<float>> Checkpoint::load_f32(std::string_view name,
                                                std::span<const std::size_t> shape) const {
  PONDER_TRY(const TensorView* tensor, require(name, shape));
  std::vector<float> out(tensor->num_elements());
  switch (tensor->dtype) {
    case DType::f32:
      std::memcpy(out.data(), tensor->data, tensor->num_bytes);
      return out;
    case DType::bf16:
      decode_elements<std::uint16_t>(*tensor, out, bf16_to_float);
      return out;
    case DType::f16:
      decode_elements<std::uint16_t>(*tensor, out, fp16_to_float);
      return out;
    case DType::f8_e4m3: {
      PONDER_TRY(const std::vector<float> scales, load_scales(*tensor));
      decode_elements<std::uint8_t>(*tensor, out, e4m3_to_float);
      scale_blocks(out, tensor->shape[1], scales);
      return out;
    }
    default:
      return tl::unexpected(misfit(*tensor, "dtype F32, BF16, F16 or F8_E4M3"));
  }
}

Result<std::vector<float>> Checkpoint::load_f32(std::string_view name,
                                                std::initializer_list<std::size_t> shape) const {
  return load_f32(name, std::span(shape.begin(), shape.size()));
}

Result<std::span<const std::uint16_t>> Checkpoint::raw_bf16(
    std::string_view name, std::span<const std::size_t> shape) const {
  PONDER_TRY(const TensorView* tensor, require(name, shape));
  if (tensor->dtype != DType::bf16 || !is_aligned(*tensor, alignof(std::uint16_t))) {
    return tl::unexpected(misfit(*tensor, "aligned BF16 data"));
  }
  return std::span(reinterpret_cast<const std::uint16_t*>(tensor->data), tensor->num_elements());
}

Result<std::span<const float>> Checkpoint::raw_f32(std::string_view name,
                                                   std::span<const std::size_t> shape) const {
  PONDER_TRY(const TensorView* tensor, require(name, shape));
  if (tensor->dtype != DType::f32 || !is_aligned(*tensor, alignof(float))) {
    return tl::unexpected(misfit(*tensor, "aligned F32 data"));
  }
  return std::span(reinterpret_cast<const float*>(tensor->data), tensor->num_elements());
}

Result<Fp8Weight> Checkpoint::raw_fp8(std::string_view name,
                                      std::span<const std::size_t> shape) const {
  PONDER_TRY(const TensorView* tensor, require(name, shape));
  if (tensor->dtype != DType::f8_e4m3) return tl::unexpected(misfit(*tensor, "dtype F8_E4M3"));
  Fp8Weight weight;
  PONDER_TRY(weight.scales, load_scales(*tensor));
  weight.codes = {reinterpret_cast<const std::uint8_t*>(tensor->data), tensor->num_elements()};
  weight.scale_cols = num_blocks(tensor->shape[1]);
  return weight;
}

}  // namespace ponder::engine
