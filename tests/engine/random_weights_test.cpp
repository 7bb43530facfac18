#include "engine/random_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cmath>
#include <csignal>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>

#include "engine/checkpoint.h"
#include "engine/numeric_formats.h"
#include "engine/tensor_inventory.h"
#include "tests/engine/support.h"

namespace ponder::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::TempDir;

std::vector<float> first_values(std::string_view name, std::size_t in, std::uint64_t first,
                                std::size_t count) {
  std::vector<float> values(count);
  fill_random_weights(name, in, first, values);
  return values;
}

TEST(RandomWeights, SeedsAndValuesAreThePublishedOnes) {
  EXPECT_EQ(weight_seed("lm_head.weight"), 0xab67eb515e1b6f0dU);
  EXPECT_EQ(weight_seed("model.layers.0.self_attn.q_a_proj.weight"), 0x409d2f67fd0a53b7U);
  const std::uint64_t seed = weight_seed("lm_head.weight");
  EXPECT_NEAR(weight_uniform(seed, 0), 0.985560060, 5e-10);
  EXPECT_NEAR(weight_uniform(seed, 1), 0.969471812, 5e-10);
  EXPECT_NEAR(weight_uniform(seed, 2), -0.916301489, 5e-10);
  EXPECT_NEAR(weight_uniform(seed, 3), -0.154443622, 5e-10);
  EXPECT_THAT(first_values("lm_head.weight", 256, 0, 3),
              ElementsAre(0.106690004F, 0.104948401F, -0.0991925448F));
  EXPECT_THAT(first_values("model.norm.weight", 256, 0, 3),
              ElementsAre(0.909737587F, 0.927564025F, 0.98041141F));
  EXPECT_THAT(first_values("model.embed_tokens.weight", 256, 7 * 256, 3),
              ElementsAre(0.987910151F, 0.840524316F, 0.433891267F));
}

TEST(RandomWeights, BiasesAreSmall) {
  for (const char* name : {"model.layers.1.self_attn.indexer.k_norm.bias",
                           "model.layers.1.mlp.gate.e_score_correction_bias"}) {
    for (const float value : first_values(name, 1, 0, 100)) EXPECT_LE(std::fabs(value), 0.1F);
  }
}

/// The published unit vector of FP8 quantisation: 128 values from the name "fp8test".
std::vector<float> fp8_unit() {
  std::vector<float> values(128);
  const std::uint64_t seed = weight_seed("fp8test");
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = bf16_to_float(float_to_bf16(static_cast<float>(3.0 * weight_uniform(seed, i))));
  }
  return values;
}

std::vector<int> quantised(const std::vector<float>& values, float scale) {
  std::vector<int> codes;
  for (const float value : values) codes.push_back(float_to_e4m3(value / scale));
  return codes;
}

TEST(RandomWeights, Fp8UnitQuantisesToThePublishedCodes) {
  const std::vector<float> values = fp8_unit();
  const float scale = ue8m0_scale(2.984375F);
  const std::vector<int> codes = quantised(values, scale);
  EXPECT_EQ(scale, 0x1p-7F);
  EXPECT_THAT(std::vector<int>(codes.begin(), codes.begin() + 16),
              ElementsAre(0xfb, 0x7b, 0xf2, 0xe2, 0x74, 0xf9, 0x65, 0x69, 0xd2, 0xf1, 0xf4, 0xe4,
                          0xf7, 0xf8, 0x7b, 0x7b));
  EXPECT_EQ(std::accumulate(codes.begin(), codes.end(), 0), 23855);
  const std::vector<int> plain = quantised(values, 2.984375F / 448.0F);
  EXPECT_EQ(std::accumulate(plain.begin(), plain.end(), 0), 24085);
}

struct Totals {
  std::size_t num_tensors = 0;  // scales counted
  std::size_t elements = 0;
  std::size_t bytes = 0;
};

Totals fp8_totals(const ModelConfig& config) {
  Totals totals;
  for_each_tensor(config, [&](const TensorSpec& spec) {
    std::size_t elements = 1;
    for (const std::size_t dimension : spec.shape) elements *= dimension;
    const bool is_fp8 = spec.role == TensorRole::matrix_fp8;
    totals.num_tensors += is_fp8 ? 2 : 1;
    totals.elements += elements;
    totals.bytes += elements * (is_fp8 ? 1 : spec.role == TensorRole::vector_f32 ? 4 : 2);
    if (!is_fp8) return;
    const std::size_t scales = ((spec.shape[0] + 127) / 128) * ((spec.shape[1] + 127) / 128);
    totals.elements += scales;
    totals.bytes += 4 * scales;
  });
  return totals;
}

TEST(TensorInventory, AddsUpToThePublishedCheckpoint) {
  const auto config = load_config("tests/engine/data/deepseek_v32");
  ASSERT_TRUE(config) << config.error().message;
  const Totals totals = fp8_totals(*config);
  EXPECT_EQ(totals.num_tensors, 92'425U);
  EXPECT_EQ(totals.elements, 685'396'921'376U);
  EXPECT_EQ(totals.bytes, 689'468'986'496U);
}

TEST(TensorInventory, SharedLayersHaveNoIndexerAndGlmRepeatsNoEmbedding) {
  auto json = nlohmann::json::parse(testing::tiny_config_json());
  json["architectures"] = {"GlmMoeDsaForCausalLM"};
  json["index_topk_pattern"] = "FSFSFS";
  const auto config = parse_config(json.dump());
  ASSERT_TRUE(config) << config.error().message;
  int num_indexers = 0;
  for_each_tensor(*config, [&](const TensorSpec& spec) {
    if (spec.name.ends_with("indexer.wk.weight")) ++num_indexers;
    EXPECT_FALSE(spec.name.ends_with("shared_head.head.weight"));
  });
  EXPECT_EQ(num_indexers, 4);  // layers 0, 2, 4 and the MTP layer
}

Checkpoint written(const TempDir& dir, const RandomCheckpointOptions& options) {
  const Status status = write_random_checkpoint(testing::tiny_config(), testing::tiny_config_json(),
                                                dir.path(), options);
  EXPECT_TRUE(status) << status.error().message;
  auto checkpoint = Checkpoint::open(dir.path());
  EXPECT_TRUE(checkpoint) << checkpoint.error().message;
  return std::move(*checkpoint);
}

const std::string kQa = "model.layers.0.self_attn.q_a_proj.weight";
const std::string kKva = "model.layers.0.self_attn.kv_a_proj_with_mqa.weight";

TEST(RandomCheckpoint, F32HoldsTheExactWeights) {
  const TempDir dir;
  const Checkpoint checkpoint = written(dir, {.dtype = WeightDType::f32});
  EXPECT_EQ(checkpoint.compute_dtype(), DType::f32);
  EXPECT_EQ(*checkpoint.load_f32(kQa, {128, 256}), first_values(kQa, 256, 0, 128 * 256));
  std::size_t main_elements = 0;
  std::size_t mtp_elements = 0;
  for (const TensorView& tensor : checkpoint.tensors()) {
    (tensor.name.starts_with("model.layers.6.") ? mtp_elements : main_elements) +=
        tensor.num_elements();
  }
  EXPECT_EQ(main_elements, 13'189'456U);
  EXPECT_EQ(mtp_elements, 2'161'424U + 2 * 4096 * 256);
  EXPECT_EQ(*checkpoint.load_f32("model.layers.6.embed_tokens.weight", {4096, 256}),
            *checkpoint.load_f32("model.embed_tokens.weight", {4096, 256}));
  EXPECT_EQ(*checkpoint.load_f32("model.layers.6.shared_head.head.weight", {4096, 256}),
            *checkpoint.load_f32("lm_head.weight", {4096, 256}));
  EXPECT_EQ(load_config(dir.path())->torch_dtype, "float32");
}

TEST(RandomCheckpoint, Bf16RoundsOnceAndKeepsTheSelectionBiasInF32) {
  const TempDir dir;
  const Checkpoint checkpoint = written(dir, {.dtype = WeightDType::bf16});
  EXPECT_EQ(checkpoint.compute_dtype(), DType::bf16);
  const std::vector<float> exact = first_values(kQa, 256, 0, 128 * 256);
  const auto loaded = checkpoint.load_f32(kQa, {128, 256});
  ASSERT_TRUE(loaded) << loaded.error().message;
  for (std::size_t i = 0; i < exact.size(); ++i) {
    ASSERT_EQ((*loaded)[i], bf16_to_float(float_to_bf16(exact[i]))) << i;
  }
  const std::string bias = "model.layers.1.mlp.gate.e_score_correction_bias";
  EXPECT_EQ(checkpoint.find(bias)->dtype, DType::f32);
  EXPECT_EQ(*checkpoint.load_f32(bias, {16}), first_values(bias, 1, 0, 16));
}

TEST(RandomCheckpoint, Fp8UsesOnePowerOfTwoScalePerBlock) {
  const TempDir dir;
  const Checkpoint checkpoint = written(dir, {.dtype = WeightDType::fp8});
  EXPECT_EQ(checkpoint.compute_dtype(), DType::f8_e4m3);
  const std::size_t rows = 160;  // the second row block is partial
  const std::size_t cols = 256;
  const std::vector<float> exact = first_values(kKva, cols, 0, rows * cols);
  const std::vector<std::size_t> shape{rows, cols};
  const auto raw = checkpoint.raw_fp8(kKva, shape);
  ASSERT_TRUE(raw) << raw.error().message;
  ASSERT_EQ(raw->scales.size(), 4U);
  for (std::size_t block = 0; block < 4; ++block) {
    const auto is_inside = [&](std::size_t i) {
      return i / cols / 128 * 2 + i % cols / 128 == block;
    };
    float amax = 0;
    for (std::size_t i = 0; i < exact.size(); ++i) {
      if (is_inside(i)) amax = std::max(amax, std::fabs(exact[i]));
    }
    const float scale = std::exp2(std::ceil(std::log2(amax / 448.0F)));
    EXPECT_EQ(raw->scales[block], scale);
    for (std::size_t i = 0; i < exact.size(); ++i) {
      if (!is_inside(i)) continue;
      ASSERT_EQ(raw->codes[i], float_to_e4m3(exact[i] / scale)) << i;
    }
  }
  EXPECT_EQ(checkpoint.find("lm_head.weight")->dtype, DType::bf16);
  EXPECT_EQ(checkpoint.find("model.layers.1.mlp.gate.weight")->dtype, DType::bf16);
  EXPECT_TRUE(load_config(dir.path())->quantization_config);
}

TEST(RandomCheckpoint, OddDimensionsStayAlignedForReadingInPlace) {
  auto json = nlohmann::json::parse(testing::tiny_config_json());
  json["hidden_size"] = 33;
  json["q_lora_rank"] = 17;
  const auto config = parse_config(json.dump());
  ASSERT_TRUE(config) << config.error().message;
  const TempDir dir;
  const Status status =
      write_random_checkpoint(*config, json.dump(), dir.path(), {.dtype = WeightDType::fp8});
  ASSERT_TRUE(status) << status.error().message;
  const auto checkpoint = Checkpoint::open(dir.path());
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  const std::vector<std::size_t> hidden{33};
  EXPECT_TRUE(checkpoint->raw_bf16("model.norm.weight", hidden));
  const std::vector<std::size_t> experts{16};
  EXPECT_TRUE(checkpoint->raw_f32("model.layers.1.mlp.gate.e_score_correction_bias", experts));
  EXPECT_TRUE(checkpoint->load_f32("model.layers.0.self_attn.q_b_proj.weight", {384, 17}));
}

TEST(RandomCheckpoint, LargeModelsAreSplitIntoShardsWithTheSameContent) {
  const TempDir whole;
  const TempDir split;
  const Checkpoint single = written(whole, {.dtype = WeightDType::fp8});
  const Checkpoint sharded =
      written(split, {.dtype = WeightDType::fp8, .shard_bytes_max = 4 << 20});
  std::size_t num_files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(split.path())) {
    if (entry.path().extension() != ".safetensors") continue;
    ++num_files;
    EXPECT_LE(entry.file_size(), std::size_t{5} << 20);
  }
  EXPECT_GE(num_files, 4U);
  ASSERT_EQ(single.tensors().size(), sharded.tensors().size());
  for (std::size_t i = 0; i < single.tensors().size(); ++i) {
    const TensorView& a = single.tensors()[i];
    const TensorView& b = sharded.tensors()[i];
    ASSERT_EQ(a.name, b.name);
    ASSERT_TRUE(std::equal(a.data, a.data + a.num_bytes, b.data, b.data + b.num_bytes)) << a.name;
  }
}

TEST(RandomCheckpoint, DoesNotTouchADirectoryInUse) {
  const TempDir dir;
  testing::write_file(dir.path() / "config.json", "mine");
  const Status status =
      write_random_checkpoint(testing::tiny_config(), testing::tiny_config_json(), dir.path(), {});
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message, HasSubstr("already holds config.json; choose an empty"));
  EXPECT_EQ(testing::read_file(dir.path() / "config.json"), "mine");
}

/// While it lives a file that grows beyond so many bytes is refused, as by a full disk.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    EXPECT_EQ(getrlimit(RLIMIT_FSIZE, &before_), 0);
    const rlimit limit{bytes, before_.rlim_max};
    EXPECT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  void (*handler_)(int);
  rlimit before_{};
};

Status write_tiny(const std::filesystem::path& dir) {
  const RandomCheckpointOptions options{.dtype = WeightDType::bf16, .shard_bytes_max = 8 << 20};
  return write_random_checkpoint(testing::tiny_config(), testing::tiny_config_json(), dir, options);
}

TEST(RandomCheckpoint, AFailedWriteLeavesNothingBehind) {
  const TempDir dir;
  std::filesystem::create_directory(dir.path() / "there");
  for (const char* name : {"new", "there"}) {
    const FileSizeLimit limit(1 << 20);
    const Status status = write_tiny(dir.path() / name);
    ASSERT_FALSE(status);
    EXPECT_THAT(status.error().message, HasSubstr("cannot write: File too large; check space"));
  }
  EXPECT_FALSE(std::filesystem::exists(dir.path() / "new"));
  EXPECT_TRUE(std::filesystem::is_empty(dir.path() / "there"));
}

TEST(RandomCheckpoint, LinksThatHaveAShardsNameAreNeitherFollowedNorRemoved) {
  const TempDir dir;
  // Whatever the number of shards, the first one is a link to a device that is always full.
  for (char num_shards = '2'; num_shards <= '9'; ++num_shards) {
    const std::string name = std::string("model-00001-of-00000") + num_shards + ".safetensors";
    std::filesystem::create_symlink("/dev/full", dir.path() / name);
  }
  const Status status = write_tiny(dir.path());
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Errc::invalid_argument);
  EXPECT_THAT(status.error().message, HasSubstr("already holds model-00001-of-00000"));
  std::size_t num_left = 0;
  for (const auto& entry : std::filesystem::directory_iterator(dir.path())) {
    EXPECT_TRUE(entry.is_symlink()) << entry.path();
    ++num_left;
  }
  EXPECT_EQ(num_left, 8U);
}

}  // namespace
}  // namespace ponder::engine
