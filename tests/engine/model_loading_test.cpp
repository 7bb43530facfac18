// What stands between a damaged or unsuitable checkpoint and a wrong answer.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "engine/checkpoint.h"
#include "engine/convert_checkpoint.h"
#include "engine/load_plan.h"
#include "engine/logits.h"
#include "engine/model_weights.h"
#include "engine/tensor_inventory.h"
#include "kernels/dispatch.h"
#include "tests/engine/golden_model.h"

namespace ponder::engine {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;
using testing::TempDir;

Error load_error(const fs::path& dir, const ModelOptions& options = {}) {
  const auto runner = LogitsRunner::open(dir, options);
  return runner ? Error(Errc::internal, "no error") : runner.error();
}

TEST(ModelLoading, RefusesWhatDoesNotFitIntoMemoryWithTheNumber) {
  ModelOptions options;
  options.memory_bytes_max = 1'000'000;
  const Error error = load_error(golden_dir(WeightDType::bf16), options);
  EXPECT_EQ(error.code, Errc::exhausted);
  EXPECT_THAT(error.message, HasSubstr("loading takes 26.4 MB of memory, 1.0 MB are available"));
}

TEST(ModelLoading, RefusesASelectionBeyondTheKernelsBeforeItTakesMemoryForIt) {
  ModelConfig config = testing::tiny_config();
  config.index_topk = std::size_t{1} << 40;
  const auto model = Model::load(golden_dir(), config, {});
  ASSERT_FALSE(model);
  EXPECT_EQ(model.error().code, Errc::invalid_argument);
  EXPECT_THAT(model.error().message, HasSubstr("index_topk: 1099511627776 is more than"));
}

/// Reads a model in place, however small.
ModelOptions in_place(std::uint64_t memory_bytes_max = 0) {
  ModelOptions options;
  options.copied_bytes_max = 1;
  options.memory_bytes_max = memory_bytes_max;
  return options;
}

/// The golden model with one element of one tensor replaced by the bytes.
void break_element(const fs::path& dir, WeightDType dtype, const std::string& name,
                   std::size_t element, const std::string& bytes) {
  fs::copy(golden_dir(dtype), dir, fs::copy_options::recursive);
  std::string file = testing::read_file(dir / "model.safetensors");
  std::uint64_t header = 0;
  std::memcpy(&header, file.data(), sizeof header);
  const auto entry = json::parse(file.substr(8, header)).at(name);
  const auto begin = entry.at("data_offsets")[0].get<std::size_t>();
  file.replace(8 + header + begin + element * bytes.size(), bytes.size(), bytes);
  testing::write_file(dir / "model.safetensors", file);
}

TEST(ModelLoading, NamesWeightsThatAreNotFinite) {
  struct Case {
    WeightDType dtype;
    std::string name;
    std::string bytes;
  };
  const std::string layer = "model.layers.2.";
  const Case cases[] = {
      {WeightDType::bf16, layer + "input_layernorm.weight", "\xC0\x7F"},
      {WeightDType::bf16, layer + "mlp.experts.3.up_proj.weight", "\x80\xFF"},
      {WeightDType::bf16, layer + "self_attn.kv_b_proj.weight", "\xC0\x7F"},
      {WeightDType::fp8, layer + "self_attn.q_a_proj.weight", "\x7F"},
      {WeightDType::fp8, layer + "self_attn.q_a_proj.weight_scale_inv",
       std::string("\x00\x00\xC0\x7F", 4)},
      {WeightDType::fp8, layer + "self_attn.kv_b_proj.weight_scale_inv",
       std::string("\x00\x00\xC0\x7F", 4)},
  };
  for (const Case& broken : cases) {
    const TempDir dir;
    break_element(dir.path(), broken.dtype, broken.name, 1, broken.bytes);
    const Error error = load_error(dir.path());
    EXPECT_EQ(error.code, Errc::corrupt);
    EXPECT_THAT(error.message, HasSubstr("tensor " + broken.name + " in "));
    EXPECT_THAT(error.message, HasSubstr("element 1 is NaN or infinite"));
  }
}

/// A checkpoint of zeros of more than a GiB that takes next to no disk: large enough to be read in
/// place.
fs::path write_sparse_checkpoint(const fs::path& dir) {
  json text = json::parse(testing::tiny_config_json());
  text["num_hidden_layers"] = 2;
  text["num_nextn_predict_layers"] = 0;
  text["n_routed_experts"] = 1024;
  text["moe_intermediate_size"] = 1024;
  testing::write_file(dir / "config.json", text.dump());
  json header;
  std::size_t end = 0;
  for_each_tensor(*parse_config(text.dump()), [&](const TensorSpec& spec) {
    const bool is_f32 = spec.role == TensorRole::vector_f32;
    std::size_t bytes = is_f32 ? 4 : 2;
    for (const std::size_t dimension : spec.shape) bytes *= dimension;
    header[spec.name] = {{"dtype", is_f32 ? "F32" : "BF16"},
                         {"shape", spec.shape},
                         {"data_offsets", {end, end + bytes}}};
    end += bytes;
  });
  const fs::path path = dir / "model.safetensors";
  std::string padded = header.dump();
  padded.resize((padded.size() + 63) / 64 * 64, ' ');  // aligned, or else it would be copied
  const std::string begin = testing::safetensors_bytes(padded, "");
  testing::write_file(path, begin);
  fs::resize_file(path, begin.size() + end);
  return path;
}

TEST(ModelLoading, AFileTruncatedUnderARunningModelFailsTheRequestAndNotTheProcess) {
  const TempDir dir;
  const fs::path path = write_sparse_checkpoint(dir.path());
  ASSERT_GT(fs::file_size(path), std::size_t{1} << 30);
  ModelOptions options;
  options.packs_bf16 = false;  // so that all weights are read in place
  auto runner = LogitsRunner::open(dir.path(), options);
  ASSERT_TRUE(runner) << runner.error().message;
  const std::vector<TokenId> prompt = golden_prompt(4);
  const auto before = (*runner)->run(prompt, false);
  ASSERT_TRUE(before) << before.error().message;
  EXPECT_EQ(before->logits[7], 0.0F);
  fs::resize_file(path, 1 << 20);
  const auto after = (*runner)->run(prompt, false);
  ASSERT_FALSE(after);
  EXPECT_EQ(after.error().code, Errc::corrupt);
  EXPECT_THAT(after.error().message, HasSubstr("model.safetensors: parts could not be read"));
}

TEST(ModelLoading, AFileTruncatedUnderAPackedModelFailsTheRequestAsWell) {
  const TempDir dir;
  fs::copy(golden_dir(WeightDType::bf16), dir.path(), fs::copy_options::recursive);
  auto runner = LogitsRunner::open(dir.path(), in_place());
  ASSERT_TRUE(runner) << runner.error().message;
  ASSERT_TRUE((*runner)->run(golden_prompt(3), false));
  fs::resize_file(dir.path() / "model.safetensors", 1000);
  const auto after = (*runner)->run(golden_prompt(3), false);
  ASSERT_FALSE(after);
  EXPECT_EQ(after.error().code, Errc::corrupt);
}

TEST(ModelLoading, ACopiedModelDoesNotCareAboutItsFile) {
  const TempDir dir;
  fs::copy(golden_dir(WeightDType::bf16), dir.path(), fs::copy_options::recursive);
  auto runner = LogitsRunner::open(dir.path(), {});
  ASSERT_TRUE(runner) << runner.error().message;
  const auto before = (*runner)->run(golden_prompt(3), false);
  fs::resize_file(dir.path() / "model.safetensors", 1000);
  const auto after = (*runner)->run(golden_prompt(3), false);
  ASSERT_TRUE(after) << after.error().message;
  EXPECT_EQ(after->logits, before->logits);
}

/// What loading allocates of the golden model at least.
std::uint64_t bytes_in_place(const fs::path& dir) {
  const auto checkpoint = Checkpoint::open(dir);
  return plan_load(load_config(dir).value(), &*checkpoint, {.copied_bytes_max = 1}).needed_bytes();
}

TEST(ModelLoading, PackedBf16MatricesGiveTheBitsOfTheOthers) {
  const fs::path dir = golden_dir(WeightDType::bf16);
  const ModelOptions short_of_memory = in_place(bytes_in_place(dir));
  for (const kernels::KernelTable* table : kernels::runnable_tables()) {
    for (const std::size_t tokens : {1U, 3U, 40U}) {
      const std::vector<TokenId> prompt = golden_prompt(tokens);
      std::vector<std::vector<float>> logits;
      for (ModelOptions options : {ModelOptions(), in_place(), short_of_memory}) {
        for (const bool packs_bf16 : {false, true}) {
          options.packs_bf16 = packs_bf16;
          options.isa = table->name;
          options.num_threads = 2;
          auto runner = LogitsRunner::open(dir, options);
          ASSERT_TRUE(runner) << runner.error().message;
          const auto result = (*runner)->run(prompt, false);
          ASSERT_TRUE(result) << result.error().message;
          logits.push_back(result->logits);
        }
      }
      for (const std::vector<float>& other : logits) {
        EXPECT_EQ(other, logits[0]) << table->name << ", " << tokens << " tokens";
      }
    }
  }
}

/// Of a model in another type kv_b's factors are packed, and the few matrices that are BF16.
TEST(ModelLoading, PackedFactorsOfKvBGiveTheBitsOfTheOthers) {
  const TempDir int8;
  ASSERT_TRUE(
      convert_checkpoint(golden_dir(WeightDType::bf16), int8.path(), {WeightDType::int8, 128}));
  for (const fs::path& dir : {golden_dir(WeightDType::fp8), int8.path()}) {
    for (const kernels::KernelTable* table : kernels::runnable_tables()) {
      for (const std::size_t tokens : {1U, 40U}) {
        const auto logits = [&](bool packs_bf16) {
          ModelOptions options;
          options.packs_bf16 = packs_bf16;
          options.isa = table->name;
          options.num_threads = 2;
          auto runner = LogitsRunner::open(dir, options);
          EXPECT_TRUE(runner) << runner.error().message;
          const auto result = (*runner)->run(golden_prompt(tokens), false);
          EXPECT_TRUE(result) << result.error().message;
          return result->logits;
        };
        EXPECT_EQ(logits(true), logits(false)) << dir << ", " << table->name << ", " << tokens;
      }
    }
  }
}

TEST(ModelLoading, PacksBf16MatricesWhereThereIsRoomAndOnlyForProductsInFp32) {
  const fs::path dir = golden_dir(WeightDType::bf16);
  const auto checkpoint = Checkpoint::open(dir);
  const ModelConfig config = load_config(dir).value();
  const auto is_packed = [&](const WeightOptions& options) {
    const auto weights = load_weights(*checkpoint, config, options);
    EXPECT_TRUE(weights) << weights.error().message;
    EXPECT_FALSE(weights->embed_tokens.is_packed);  // its rows are looked up
    const LayerWeights& layer = weights->layers.back();
    EXPECT_EQ(layer.o.is_packed, weights->lm_head.is_packed);
    EXPECT_EQ(layer.o.is_packed, layer.experts.back().down.is_packed);
    // kv_b's factors are made in any case, and smaller packed: whatever room there is.
    const bool packs_factors = options.packs_bf16 && options.activations == Activations::f32;
    EXPECT_EQ(layer.key_up.back().is_packed, packs_factors);
    EXPECT_EQ(layer.value_up.back().is_packed, packs_factors);
    return layer.o.is_packed;
  };
  kernels::ThreadPool pool({.num_threads = 3});
  EXPECT_FALSE(is_packed({}));
  EXPECT_TRUE(is_packed({.packs_bf16 = true}));
  EXPECT_TRUE(is_packed({.copied_bytes_max = 1, .packs_bf16 = true, .pool = &pool}));
  EXPECT_FALSE(is_packed({.activations = Activations::bf16, .packs_bf16 = true}));
  EXPECT_FALSE(is_packed(
      {.memory_bytes_max = bytes_in_place(dir), .copied_bytes_max = 1, .packs_bf16 = true}));
}

}  // namespace
}  // namespace ponder::engine
