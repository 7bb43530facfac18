#include "engine/convert_checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/checkpoint.h"
#include "engine/config.h"
#include "engine/detail/json_input.h"
#include "engine/detail/new_files.h"
#include "engine/tensor_check.h"
#include "engine/tensor_inventory.h"

namespace ponder::engine {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

/// What belongs to a model beside config and weights.
constexpr const char* kSideFiles[] = {
    "tokenizer.json",          "tokenizer_config.json", "generation_config.json",
    "special_tokens_map.json", "chat_template.jinja",   "LICENSE",
};

/// The format that a matrix gets; nullopt: it stays as it is.
std::optional<WeightFormat> target_format(const TensorSpec& spec, const StoredMatrix& stored,
                                          const WeightFormat& to) {
  if (spec.precision == Precision::full || spec.name.ends_with("kv_b_proj.weight")) return {};
  const bool is_int = to.dtype != WeightDType::fp8;
  if (is_int && stored.in % kCodedWidthMultiple != 0) return {};
  if (!is_int && spec.role != TensorRole::matrix_fp8) return {};  // lm_head
  WeightFormat target = to;
  if (!may_be_stored_as(spec, to)) {
    const WeightDType now = stored.format.dtype;
    if (now == WeightDType::fp8 || now == WeightDType::int8) return {};
    target = {WeightDType::int8, kInt8Group};
  }
  if (target == stored.format) return {};
  return target;
}

/// Plans the output and feeds the writer.
class Conversion {
 public:
  Conversion(const Checkpoint& checkpoint, const WeightFormat& to)
      : checkpoint_(checkpoint), to_(to) {}

  Status plan(const ModelConfig& config);
  Status fill(const OutputTensor& tensor, std::size_t first_row, std::span<float> out) const;

  std::vector<OutputTensor> take_tensors() { return std::move(tensors_); }
  const ConvertReport& report() const { return report_; }

 private:
  Status plan_matrix(const TensorSpec& spec);
  void keep(const TensorView* tensor);

  const Checkpoint& checkpoint_;
  WeightFormat to_;
  std::vector<OutputTensor> tensors_;
  std::unordered_map<std::string, StoredMatrix> matrices_;  // by name, those to be converted
  ConvertReport report_;
};

Status Conversion::plan(const ModelConfig& config) {
  Status planned;
  for_each_tensor(config, [&](const TensorSpec& spec) {
    const bool is_matrix = spec.shape.size() == 2;
    const TensorView* tensor = checkpoint_.find(spec.name);
    const bool is_stored = tensor != nullptr || checkpoint_.find(spec.name + "_packed") != nullptr;
    if (!planned || !is_stored || !spec.values_of.empty()) return;
    if (is_matrix) {
      planned = plan_matrix(spec);
    } else {
      keep(tensor);
    }
  });
  return planned;
}

Status Conversion::plan_matrix(const TensorSpec& spec) {
  PONDER_TRY(StoredMatrix stored,
             checkpoint_.stored_matrix(spec.name, spec.shape[0], spec.shape[1]));
  const std::optional<WeightFormat> target = target_format(spec, stored, to_);
  if (!target) {
    keep(stored.values);
    keep(stored.scales);
    keep(checkpoint_.find(spec.name + "_shape"));
    return {};
  }
  tensors_.push_back({spec.name, spec.shape, *target});
  matrices_.emplace(spec.name, stored);
  ++report_.matrices_converted;
  return {};
}

void Conversion::keep(const TensorView* tensor) {
  if (tensor == nullptr) return;
  tensors_.push_back({tensor->name, tensor->shape, {}, tensor});
  ++report_.tensors_kept;
}

Status Conversion::fill(const OutputTensor& tensor, std::size_t first_row,
                        std::span<float> out) const {
  const StoredMatrix& matrix = matrices_.at(tensor.name);
  checkpoint_.load_rows(matrix, first_row, out);
  const auto broken = std::ranges::find_if(out, [](float v) { return !std::isfinite(v); });
  if (broken == out.end()) return {};
  const auto at = static_cast<std::size_t>(broken - out.begin());
  return fail(Errc::corrupt, fmt::format("tensor {} in {}: row {}, column {} is {}", tensor.name,
                                         checkpoint_.file_of(*matrix.values).string(),
                                         first_row + at / matrix.in, at % matrix.in, *broken));
}

Result<std::string> output_config(const fs::path& dir, const WeightFormat& to) {
  PONDER_TRY(const MappedFile file, MappedFile::open(dir / "config.json"));
  const auto bytes = file.bytes();
  PONDER_TRY(json config,
             detail::parse_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}));
  config["quantization_config"] = json::parse(quantization_config_json(to));
  return config.dump(2) + "\n";
}

std::vector<std::string> side_files(const fs::path& in) {
  std::vector<std::string> names;
  std::error_code ignored;
  for (const char* name : kSideFiles) {
    if (fs::exists(in / name, ignored)) names.emplace_back(name);
  }
  return names;
}

Status copy_file(const fs::path& from, const std::string& name, detail::NewFiles& files) {
  PONDER_TRY(const fs::path to, files.begin(name));
  std::error_code failure;
  fs::copy_file(from, to, failure);
  if (!failure) return {};
  return fail(Errc::unavailable,
              fmt::format("{}: cannot copy: {}", from.string(), failure.message()));
}

std::uint64_t weight_bytes(const Checkpoint& checkpoint) {
  std::uint64_t bytes = 0;
  for (const TensorView& tensor : checkpoint.tensors()) bytes += tensor.num_bytes;
  return bytes;
}

}  // namespace

Result<ConvertReport> convert_checkpoint(const fs::path& in, const fs::path& out,
                                         const WeightFormat& to, std::size_t shard_bytes_max) {
  if (to.dtype == WeightDType::f32 || to.dtype == WeightDType::bf16) {
    return fail(Errc::invalid_argument,
                fmt::format("cannot convert to {}: it would restore nothing that was lost",
                            weight_format_name(to)));
  }
  PONDER_TRY(const ModelConfig config, load_config(in));
  PONDER_TRY(const std::string config_json, output_config(in, to));
  PONDER_TRY(const Checkpoint checkpoint, Checkpoint::open(in));
  PONDER_CHECK(check_tensors(checkpoint, config));
  Conversion conversion(checkpoint, to);
  PONDER_CHECK(conversion.plan(config));
  const RowSource rows = [&](const OutputTensor& tensor, std::size_t first_row,
                             std::span<float> values) {
    return conversion.fill(tensor, first_row, values);
  };
  PONDER_TRY(detail::NewFiles files, detail::NewFiles::in(out));
  const std::vector<std::string> sides = side_files(in);
  PONDER_CHECK(files.check_free(sides));
  PONDER_CHECK(write_weights(files, conversion.take_tensors(), shard_bytes_max, rows));
  for (const std::string& name : sides) {
    PONDER_CHECK(copy_file(in / name, name, files));
  }
  PONDER_CHECK(checkpoint.check_unchanged());  // else what was written may hold anything
  PONDER_CHECK(write_config(files, config_json));
  ConvertReport report = conversion.report();
  PONDER_TRY(const Checkpoint written, Checkpoint::open_headers(out));
  report.bytes_before = weight_bytes(checkpoint);
  report.bytes_after = weight_bytes(written);
  files.keep();
  return report;
}

}  // namespace ponder::engine
