// What a report says of loading against what loading does.

#include "engine/load_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "engine/convert_checkpoint.h"
#include "engine/tensor_inventory.h"
#include "tests/engine/golden_model.h"

namespace ponder::engine {
namespace {

namespace fs = std::filesystem;
using testing::TempDir;

/// The golden model in a format, written once.
const fs::path& model_in(const std::string& format) {
  if (!format.starts_with("int")) return golden_dir(parse_weight_format(format)->dtype);
  static std::map<std::string, std::unique_ptr<TempDir>> dirs;
  std::unique_ptr<TempDir>& dir = dirs[format];
  if (dir != nullptr) return dir->path();
  dir = std::make_unique<TempDir>();
  const auto done =
      convert_checkpoint(golden_dir(WeightDType::bf16), dir->path(), *parse_weight_format(format));
  EXPECT_TRUE(done) << done.error().message;
  return dir->path();
}

void for_each_vector(const LayerWeights& layer,
                     const std::function<void(const std::vector<float>&)>& visit) {
  for (const auto* vector : {&layer.input_layernorm, &layer.post_attention_layernorm,
                             &layer.q_a_layernorm, &layer.kv_a_layernorm, &layer.indexer.k_norm,
                             &layer.indexer.k_norm_bias, &layer.router_bias}) {
    visit(*vector);
  }
  for (const Linear* linear : {&layer.q_a, &layer.q_b, &layer.kv_a, &layer.o, &layer.indexer.wq_b,
                               &layer.indexer.wk, &layer.indexer.weights_proj}) {
    visit(linear->scales);
  }
  const auto visit_ffn = [&](const FfnWeights& ffn) {
    for (const Linear* linear : {&ffn.gate, &ffn.up, &ffn.down}) visit(linear->scales);
  };
  visit_ffn(layer.dense);
  visit_ffn(layer.shared);
  for (const FfnWeights& expert : layer.experts) visit_ffn(expert);
}

/// What the weights hold apart from the files.
std::uint64_t bytes_of(const ModelWeights& weights) {
  std::uint64_t bytes = weights.arena.bytes();
  const auto add = [&](const std::vector<float>& values) {
    bytes += values.size() * sizeof(float);
  };
  add(weights.norm);
  add(weights.lm_head.scales);
  for (const LayerWeights& layer : weights.layers) {
    bytes += layer.expert_arena.bytes();
    for_each_vector(layer, add);
  }
  if (weights.mtp) {
    for (const auto* vector :
         {&weights.mtp->enorm, &weights.mtp->hnorm, &weights.mtp->shared_head_norm}) {
      add(*vector);
    }
  }
  return bytes;
}

struct Loaded {
  LoadPlan plan;
  ModelWeights weights;
};

/// Planned by the headers alone.
Loaded load(const fs::path& dir, const WeightOptions& options) {
  const ModelConfig config = load_config(dir).value();
  const auto headers = Checkpoint::open_headers(dir);
  EXPECT_TRUE(headers) << headers.error().message;
  Loaded loaded;
  loaded.plan = plan_load(config, &*headers, options);
  const auto checkpoint = Checkpoint::open(dir);
  auto weights = load_weights(*checkpoint, config, options);
  EXPECT_TRUE(weights) << weights.error().message;
  loaded.weights = *std::move(weights);
  return loaded;
}

/// Pieces of an arena begin at multiples of 64 bytes, which is all that is not counted. BF16
/// matrices are packed to 12.2 bits a weight where 13 are counted, and to 14 at most.
void expect_agreement(const Loaded& loaded) {
  const LoadPlan& plan = loaded.plan;
  const double packed_bf16 = static_cast<double>((plan.packs_bf16 ? plan.all.bf16 : 0) +
                                                 (plan.packs_factors ? plan.all.factors : 0));
  const auto made = static_cast<double>(bytes_of(loaded.weights));
  const auto planned = static_cast<double>(plan.made_bytes());
  EXPECT_LE(made, 1.005 * planned + packed_bf16 / 16);
  EXPECT_GE(made, planned - 1.2 * packed_bf16 / 16);
  EXPECT_LE(made, 1.005 * static_cast<double>(plan.needed_bytes()) +
                      (plan.is_copied ? 0 : static_cast<double>(plan.all.codes) + packed_bf16));
  const Linear& o = loaded.weights.layers[0].o;
  const bool is_coded = o.group != 0;
  const bool is_bf16 = o.dtype == kernels::DType::bf16;
  EXPECT_EQ(o.is_packed, (is_coded && plan.packs_codes) || (is_bf16 && plan.packs_bf16));
  const LayerWeights& layer = loaded.weights.layers.back();
  const bool has_factors = plan.all.factors > 0;
  EXPECT_EQ(layer.key_up.back().is_packed, plan.packs_factors && has_factors);
  EXPECT_EQ(layer.value_up.back().is_packed, plan.packs_factors && has_factors);
  EXPECT_EQ(loaded.weights.is_read_in_place, !plan.is_copied);
}

TEST(LoadPlan, CountsWhatLoadingMakesInEveryFormatAndForm) {
  for (const char* format : {"f32", "bf16", "fp8", "int8", "int4-32", "int4-128"}) {
    const fs::path& dir = model_in(format);
    const auto checkpoint = Checkpoint::open_headers(dir);
    const std::uint64_t in_place =
        plan_load(load_config(dir).value(), &*checkpoint, {.copied_bytes_max = 1}).needed_bytes();
    for (const bool with_mtp : {false, true}) {
      for (const bool packs_bf16 : {false, true}) {
        for (const std::uint64_t copied_bytes_max : {std::uint64_t{1}, kCopiedBytesMax}) {
          SCOPED_TRACE(::testing::Message() << format << ", mtp " << with_mtp << ", packs_bf16 "
                                            << packs_bf16 << ", copies " << copied_bytes_max);
          const Loaded loaded = load(dir, {.with_mtp = with_mtp,
                                           .copied_bytes_max = copied_bytes_max,
                                           .packs_bf16 = packs_bf16});
          EXPECT_EQ(loaded.plan.is_copied, copied_bytes_max != 1);
          EXPECT_TRUE(loaded.plan.packs_codes);
          EXPECT_EQ(loaded.plan.packs_bf16, packs_bf16);
          EXPECT_EQ(loaded.plan.packs_factors, packs_bf16);
          expect_agreement(loaded);
        }
      }
    }
    SCOPED_TRACE(format);
    const Loaded short_of_memory =
        load(dir, {.memory_bytes_max = in_place, .copied_bytes_max = 1, .packs_bf16 = true});
    EXPECT_FALSE(short_of_memory.plan.packs_codes);
    EXPECT_FALSE(short_of_memory.plan.packs_bf16);
    EXPECT_TRUE(short_of_memory.plan.packs_factors);
    expect_agreement(short_of_memory);
  }
}

/// Both sides of each bound, to the byte.
TEST(LoadPlan, PacksWhatTakesUpToHalfOfTheMemoryWithTheRest) {
  const fs::path& dir = model_in("int8");
  const ModelConfig config = load_config(dir).value();
  const auto checkpoint = Checkpoint::open_headers(dir);
  const auto plan_in = [&](std::uint64_t memory) {
    return plan_load(config, &*checkpoint,
                     {.memory_bytes_max = memory, .copied_bytes_max = 1, .packs_bf16 = true});
  };
  const LoadPlan roomy = plan_in(std::uint64_t{1} << 40);
  ASSERT_GT(roomy.all.codes, 0U);
  ASSERT_GT(roomy.all.bf16, 0U);
  const std::uint64_t with_codes = roomy.all.made + roomy.factor_bytes() + roomy.all.codes;
  EXPECT_FALSE(plan_in(2 * with_codes - 1).packs_codes);
  EXPECT_TRUE(plan_in(2 * with_codes).packs_codes);
  EXPECT_FALSE(plan_in(2 * with_codes).packs_bf16);
  EXPECT_EQ(roomy.packed_bytes(), with_codes + roomy.packed_bf16_bytes());
  EXPECT_FALSE(plan_in(2 * roomy.packed_bytes() - 1).packs_bf16);
  EXPECT_TRUE(plan_in(2 * roomy.packed_bytes()).packs_bf16);
  // What is packed is no longer read in the file, and the other way round.
  const LoadPlan tight = plan_in(2 * with_codes - 1);
  EXPECT_EQ(tight.in_place_bytes(), roomy.all.codes + roomy.all.bf16 + roomy.all.others);
  EXPECT_EQ(tight.made_bytes(), roomy.all.made + roomy.factor_bytes());
  EXPECT_EQ(roomy.in_place_bytes(), roomy.all.others);
  EXPECT_EQ(roomy.made_bytes(), roomy.packed_bytes());
  EXPECT_GT(tight.in_place_expert_bytes(), 0U);
  EXPECT_EQ(roomy.in_place_expert_bytes(), 0U);
}

TEST(LoadPlan, RefusesAsLoadingDoes) {
  for (const char* format : {"bf16", "fp8", "int8", "int4-32"}) {
    for (const std::uint64_t copied_bytes_max : {std::uint64_t{1}, kCopiedBytesMax}) {
      SCOPED_TRACE(::testing::Message() << format << ", copies " << copied_bytes_max);
      const fs::path& dir = model_in(format);
      const ModelConfig config = load_config(dir).value();
      const auto checkpoint = Checkpoint::open(dir);
      WeightOptions options{.copied_bytes_max = copied_bytes_max, .packs_bf16 = true};
      options.memory_bytes_max = plan_load(config, &*checkpoint, options).needed_bytes();
      EXPECT_TRUE(plan_load(config, &*checkpoint, options).check_memory());
      EXPECT_TRUE(load_weights(*checkpoint, config, options));
      --options.memory_bytes_max;
      const Status planned = plan_load(config, &*checkpoint, options).check_memory();
      const auto loaded = load_weights(*checkpoint, config, options);
      ASSERT_FALSE(planned);
      ASSERT_FALSE(loaded);
      EXPECT_EQ(planned.error().code, Errc::exhausted);
      EXPECT_EQ(loaded.error().message, planned.error().message);
    }
  }
}

/// The golden model in BF16, all zeros, which take no disk: its routed experts one by one or fused,
/// its data at an odd place in the file or an even one.
void write_zeros(const fs::path& dir, bool is_fused, bool is_odd) {
  const ModelConfig config = testing::tiny_config();
  testing::write_file(dir / "config.json", testing::tiny_config_json());
  nlohmann::json header;
  std::size_t end = 0;
  const auto add = [&](const std::string& name, const char* dtype, std::vector<std::size_t> shape) {
    std::size_t bytes = dtype == std::string_view("F32") ? 4 : 2;
    for (const std::size_t dimension : shape) bytes *= dimension;
    header[name] = {{"dtype", dtype}, {"shape", shape}, {"data_offsets", {end, end + bytes}}};
    end += bytes;
  };
  for_each_tensor(config, [&](const TensorSpec& spec) {
    const auto experts = spec.name.find(".mlp.experts.");
    if (!is_fused || experts == std::string::npos) {
      return add(spec.name, spec.role == TensorRole::vector_f32 ? "F32" : "BF16", spec.shape);
    }
    if (!spec.name.ends_with(".experts.0.down_proj.weight")) return;
    const std::string prefix = spec.name.substr(0, experts) + ".mlp.experts.";
    const std::size_t hidden = spec.shape[0];
    const std::size_t width = spec.shape[1];
    add(prefix + "gate_up_proj", "BF16", {config.n_routed_experts, 2 * width, hidden});
    add(prefix + "down_proj", "BF16", {config.n_routed_experts, hidden, width});
  });
  std::string text = header.dump();
  text.resize((text.size() + 63) / 64 * 64 + (is_odd ? 1 : 0), ' ');
  const std::string begin = testing::safetensors_bytes(text, "");
  testing::write_file(dir / "model.safetensors", begin);
  fs::resize_file(dir / "model.safetensors", begin.size() + end);
}

TEST(LoadPlan, CountsFusedExpertsOnce) {
  const TempDir single;
  const TempDir fused;
  write_zeros(single.path(), false, false);
  write_zeros(fused.path(), true, false);
  const std::uint64_t stored = fs::file_size(golden_dir(WeightDType::bf16) / "model.safetensors");
  for (const TempDir* dir : {&single, &fused}) {
    const Loaded loaded = load(dir->path(), {.copied_bytes_max = stored, .packs_bf16 = true});
    EXPECT_TRUE(loaded.plan.is_copied);
    EXPECT_EQ(loaded.plan.all.bf16, load(single.path(), {}).plan.all.bf16);
    EXPECT_GT(loaded.plan.routed_experts.bf16, 0U);
  }
}

/// What a file aligns too badly is copied, whatever the size, and counts before it is allocated.
TEST(LoadPlan, CountsMatricesThatTheirFileAlignsTooBadlyAsMade) {
  const TempDir even;
  const TempDir odd;
  write_zeros(even.path(), false, false);
  write_zeros(odd.path(), false, true);
  const WeightOptions in_place{.copied_bytes_max = 1, .packs_bf16 = true};
  const LoadPlan aligned = load(even.path(), in_place).plan;
  const Loaded loaded = load(odd.path(), in_place);
  EXPECT_TRUE(aligned.packs_bf16);
  EXPECT_EQ(loaded.plan.all.bf16, 0U);
  EXPECT_EQ(loaded.plan.in_place_bytes(), 0U);
  EXPECT_EQ(loaded.plan.needed_bytes(),
            aligned.needed_bytes() + aligned.all.bf16 + aligned.all.others);
  EXPECT_NEAR(static_cast<double>(bytes_of(loaded.weights)),
              static_cast<double>(loaded.plan.made_bytes()), 0.005 * 26.4e6);
}

/// A head that is the embedding is read twice: looked up as it is stored, multiplied packed.
TEST(LoadPlan, CountsAHeadThatIsTheEmbeddingOnceInTheFile) {
  ModelConfig config = testing::tiny_config();
  const auto in_place = [&](std::uint64_t memory) {
    return plan_load(config, nullptr,
                     {.memory_bytes_max = memory, .copied_bytes_max = 1, .packs_bf16 = true});
  };
  const LoadPlan separate = in_place(1'000'000);
  ASSERT_FALSE(separate.packs_bf16);
  config.tie_word_embeddings = true;
  const LoadPlan tied = in_place(1'000'000);
  EXPECT_EQ(tied.in_place_bytes(), separate.in_place_bytes() - 2 * 4096 * 256);
  const LoadPlan packed = in_place(std::uint64_t{1} << 40);
  EXPECT_TRUE(packed.packs_bf16);
  EXPECT_EQ(packed.all.bf16, separate.all.bf16);
  EXPECT_EQ(packed.in_place_bytes(), 2U * 4096 * 256);
}

}  // namespace
}  // namespace ponder::engine
