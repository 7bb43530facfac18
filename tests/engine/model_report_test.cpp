// The published sizes of the family, to the parameter and the byte.

#include "engine/model_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/engine/small_model.h"
#include "tests/engine/support.h"

namespace ponder::engine {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

json deepseek_json() {
  return json::parse(testing::read_file("tests/engine/data/deepseek_v32/config.json"));
}

ModelConfig config_of(const json& text) {
  auto config = parse_config(text.dump());
  EXPECT_TRUE(config) << config.error().message;
  return *std::move(config);
}

/// GLM-5.2: indexers shared by four layers, no groups of experts.
json glm_json() {
  json config = deepseek_json();
  config["architectures"] = {"GlmMoeDsaForCausalLM"};
  config["model_type"] = "glm_moe_dsa";
  const std::pair<const char*, int> sizes[] = {{"num_hidden_layers", 78},
                                               {"hidden_size", 6144},
                                               {"intermediate_size", 12288},
                                               {"num_attention_heads", 64},
                                               {"q_lora_rank", 2048},
                                               {"qk_nope_head_dim", 192},
                                               {"v_head_dim", 256},
                                               {"index_n_heads", 32},
                                               {"n_group", 1},
                                               {"topk_group", 1},
                                               {"vocab_size", 154880},
                                               {"index_topk_freq", 4},
                                               {"index_skip_topk_offset", 3},
                                               {"max_position_embeddings", 1048576}};
  for (const auto& [key, value] : sizes) config[key] = value;
  config.erase("rope_scaling");
  config["rope_parameters"] = {{"rope_theta", 8000000}, {"rope_type", "default"}};
  config["eos_token_id"] = {154820, 154827, 154829};
  return config;
}

TEST(ModelReport, DeepSeekV32AddsUpToThePublishedCounts) {
  const ModelAmounts amounts = model_amounts(config_of(deepseek_json()), nullptr);
  const LayerAmounts& dense = amounts.layers[0];
  const LayerAmounts& moe = amounts.layers[3];
  EXPECT_EQ(dense.attention.parameters, 187'105'280U);
  EXPECT_EQ(dense.indexer.parameters, 13'959'424U);
  EXPECT_EQ(dense.attention.bytes + dense.indexer.bytes, 201'572'800U);
  EXPECT_EQ(dense.total().parameters, 597'442'816U);
  EXPECT_EQ(dense.total().bytes, 598'064'064U);
  EXPECT_EQ(moe.routed_experts.parameters, 256 * std::uint64_t{44'040'192});
  EXPECT_EQ(moe.routed_experts.bytes, 256 * std::uint64_t{44'050'944});
  EXPECT_EQ(moe.total().parameters, 11'521'245'696U);
  EXPECT_EQ(moe.total().bytes, 11'526'369'216U);
  EXPECT_EQ(amounts.embedding.parameters, 926'679'040U);
  EXPECT_EQ(amounts.embedding.bytes, 1'853'358'080U);
  EXPECT_EQ(amounts.main.parameters, 671'877'944'064U);
  EXPECT_EQ(amounts.mtp.parameters, 11'624'027'648U);
  EXPECT_EQ(amounts.active.parameters, 37'477'128'448U);
  EXPECT_EQ(amounts.stored.parameters, 685'396'921'376U);
  EXPECT_EQ(amounts.stored.bytes, 689'468'986'496U);
  EXPECT_EQ(amounts.tensors, 92'425U);
  EXPECT_EQ(bytes_text(amounts.resident.bytes), "19.96 GB");
}

TEST(ModelReport, WithoutQuantisationEverythingIsBf16) {
  json config = deepseek_json();
  config.erase("quantization_config");
  const ModelAmounts amounts = model_amounts(config_of(config), nullptr);
  EXPECT_EQ(amounts.layers[0].total().bytes, 1'194'885'632U);
  EXPECT_EQ(amounts.layers[3].total().bytes, 23'042'491'904U);
}

TEST(ModelReport, Glm52AddsUpToThePublishedCounts) {
  const ModelAmounts amounts = model_amounts(config_of(glm_json()), nullptr);
  EXPECT_EQ(amounts.stored.parameters, 753'375'793'584U);
  EXPECT_EQ(amounts.stored.bytes, 755'617'140'416U);
}

TEST(ModelReport, TheWorkedTinyModelAddsUp) {
  const ModelAmounts amounts = model_amounts(testing::tiny_config(), nullptr);
  EXPECT_EQ(amounts.main.parameters, 13'189'456U);
  EXPECT_EQ(amounts.mtp.parameters, 2'161'424U);
}

TEST(ModelReport, CacheBytesAreThePublishedLayouts) {
  const ModelConfig deepseek = config_of(deepseek_json());
  EXPECT_EQ(cache_bytes_per_token(deepseek, false).bf16, 85'888U);
  EXPECT_EQ(cache_bytes_per_token(deepseek, false).bf16_fp8_keys, 78'324U);
  EXPECT_EQ(cache_bytes_per_token(deepseek, false).fp8, 48'068U);
  EXPECT_EQ(cache_bytes_per_token(deepseek, true).bf16, 87'296U);
  EXPECT_EQ(cache_bytes_per_token(deepseek, true).fp8, 48'856U);
  EXPECT_EQ(cache_bytes_per_token(config_of(glm_json()), true).fp8, 54'728U);
}

TEST(ModelReport, TheEnginesOwnCacheTakesWhatItsPagesTake) {
  const ModelConfig config = config_of(deepseek_json());
  const auto bytes = [&](CacheDType dtype, IndexKeys keys) {
    ModelOptions how;
    how.cache_dtype = dtype;
    how.index_keys = keys;
    return cache_bytes_used(cache_layout(config, nullptr, how));
  };
  EXPECT_EQ(bytes(CacheDType::automatic, IndexKeys::floating), 61U * (1152 + 256));
  EXPECT_EQ(bytes(CacheDType::f32, IndexKeys::floating), 61U * 2 * (1152 + 256));
  // FP8 rows of 656 bytes take whole cache lines; 64 tokens end on a whole page of the machine's.
  const auto fp8 = static_cast<double>(bytes(CacheDType::fp8, IndexKeys::int8));
  EXPECT_NEAR(fp8, 61 * (704 + 132), 4096.0 / 64);
}

/// What automatic stands for follows from the weights and from how much it comes to.
TEST(ModelReport, TheCacheIsTheOneThatALoadedModelHas) {
  const auto deep = [](std::uint32_t num_layers) {
    json config = small_config_json();
    config["num_hidden_layers"] = num_layers;
    return config;
  };
  const struct {
    json config;
    WeightDType weights;
    kernels::DType cache;
  } cases[] = {{deep(2), WeightDType::bf16, kernels::DType::f32},
               {deep(60), WeightDType::f32, kernels::DType::f32},
               {deep(60), WeightDType::bf16, kernels::DType::bf16},
               {deep(60), WeightDType::fp8, kernels::DType::bf16}};
  for (const auto& one : cases) {
    const testing::TempDir dir;
    RandomCheckpointOptions random;
    random.dtype = one.weights;
    const ModelConfig config = config_of(one.config);
    ASSERT_TRUE(write_random_checkpoint(config, one.config.dump(), dir.path(), random));
    const auto checkpoint = Checkpoint::open_headers(dir.path());
    ASSERT_TRUE(checkpoint) << checkpoint.error().message;
    ModelOptions how;
    how.num_threads = 1;
    const auto model = Model::load(dir.path(), how);
    ASSERT_TRUE(model) << model.error().message;
    const CacheLayout layout = cache_layout(config, &*checkpoint, how);
    EXPECT_EQ(layout.dtype, one.cache);
    EXPECT_EQ(layout.dtype, (*model)->cache_layout().dtype);
    EXPECT_EQ(layout.page_bytes, (*model)->cache_layout().page_bytes);
  }
  // Without files only the size speaks.
  EXPECT_EQ(cache_layout(config_of(deep(2)), nullptr, {}).dtype, kernels::DType::f32);
  EXPECT_EQ(cache_layout(config_of(deep(60)), nullptr, {}).dtype, kernels::DType::bf16);
}

MemoryNeed need_of(const json& text, std::uint64_t available, std::uint64_t context,
                   bool has_drafts = false) {
  const ModelConfig config = config_of(text);
  ModelOptions how;
  how.memory_bytes_max = available;
  how.has_drafts = has_drafts;
  return memory_need(config, plan_load(config, nullptr, cpu_weight_options(how)), context,
                     cache_bytes_used(cache_layout(config, nullptr, how)), available);
}

std::pair<Verdict, std::string> verdict(std::uint64_t available, std::uint64_t context) {
  const MemoryNeed need = need_of(deepseek_json(), available, context);
  return {need.verdict, need.reason};
}

TEST(ModelReport, SaysWhetherAMachineCanRunItAndWhyNot) {
  constexpr std::uint64_t kGB = 1'000'000'000;
  EXPECT_EQ(verdict(24 * kGB, 4096).first, Verdict::runs_from_disk);
  EXPECT_EQ(verdict(800 * kGB, 131'072).first, Verdict::runs);
  const auto [small, small_reason] = verdict(16 * kGB, 4096);
  EXPECT_EQ(small, Verdict::does_not_run);
  EXPECT_THAT(small_reason, HasSubstr("needed even without routed experts, 16.00 GB of memory"));
  // The cache of a long context no longer fits beside the same weights.
  EXPECT_EQ(verdict(30 * kGB, 4096).first, Verdict::runs_from_disk);
  EXPECT_EQ(verdict(30 * kGB, 163'840).first, Verdict::does_not_run);
  EXPECT_THAT(verdict(800 * kGB, 200'000).second, HasSubstr("the model knows 163840 positions"));
}

/// The same 30 GB in BF16, read in place on a small machine and packed on a large one.
TEST(ModelReport, CountsWhatIsPackedInsteadOfTheFile) {
  constexpr std::uint64_t kGB = 1'000'000'000;
  json text = deepseek_json();
  text.erase("quantization_config");
  text["num_hidden_layers"] = 4;
  const ModelAmounts amounts = model_amounts(config_of(text), nullptr);
  ASSERT_NEAR(static_cast<double>(amounts.main.bytes), 30.3e9, 0.1e9);
  const MemoryNeed mapped = need_of(text, 40 * kGB, 4096);
  const MemoryNeed packed = need_of(text, 64 * kGB, 4096);
  EXPECT_EQ(mapped.verdict, Verdict::runs);
  EXPECT_EQ(packed.verdict, Verdict::runs);
  EXPECT_LT(mapped.made_bytes, kGB);
  EXPECT_GT(mapped.in_place_expert_bytes, 22 * kGB);
  EXPECT_EQ(packed.in_place_bytes, amounts.embedding.bytes);
  EXPECT_EQ(packed.in_place_expert_bytes, 0U);
  const std::uint64_t mapped_all = mapped.made_bytes + mapped.in_place_bytes;
  const std::uint64_t packed_all = packed.made_bytes + packed.in_place_bytes;
  EXPECT_NEAR(static_cast<double>(packed_all), 13.0 / 16 * static_cast<double>(mapped_all), 0.6e9);
  EXPECT_THAT(packed.reason,
              HasSubstr(bytes_text(packed_all + packed.cache_bytes) + " needed, 64.00 GB"));
}

/// A file's pages can be read again, packed weights cannot be given back.
TEST(ModelReport, PackedExpertsLeaveNoRoomForALongContextWhereMappedOnesWould) {
  constexpr std::uint64_t kGB = 1'000'000'000;
  json text = deepseek_json();
  text.erase("quantization_config");
  text["num_hidden_layers"] = 4;
  text["max_position_embeddings"] = 10'000'000;
  const MemoryNeed packed = need_of(text, 64 * kGB, 3'750'000);
  EXPECT_EQ(packed.verdict, Verdict::does_not_run) << packed.reason;
  EXPECT_THAT(packed.reason, HasSubstr(" needed, 64.00 GB of memory available"));
  EXPECT_EQ(need_of(text, 40 * kGB, 2'500'000).verdict, Verdict::runs_from_disk);
}

TEST(ModelReport, DraftsTakeTheMtpLayerToo) {
  const ModelConfig config = config_of(deepseek_json());
  const ModelAmounts amounts = model_amounts(config, nullptr);
  ModelOptions how;
  how.cache_bytes = std::uint64_t{4} << 30;
  const DeviceNeed plain = device_need(config, amounts, cache_layout(config, nullptr, how), how);
  how.has_drafts = true;
  how.batch_rows_max += 72;
  const DeviceNeed drafting = device_need(config, amounts, cache_layout(config, nullptr, how), how);
  ASSERT_EQ(drafting.experts.size(), plain.experts.size() + 1);
  EXPECT_EQ(drafting.experts.back().layer, 61U);
  EXPECT_EQ(drafting.experts.back().bytes, plain.experts.back().bytes);
  // Beside its experts the layer is as another one, with 2 norms and eh_proj.
  const LayerAmounts& mtp = amounts.layers[61];
  const std::uint64_t beside = mtp.total().bytes - mtp.routed_experts.bytes;
  EXPECT_EQ(drafting.weight_bytes - plain.weight_bytes,
            beside + unfolded_bytes(config, true) - unfolded_bytes(config));
  EXPECT_GT(drafting.workspace_bytes, plain.workspace_bytes);
  // Both caches fill what they are given, the one with a layer more in fewer pages.
  const std::size_t page = cache_layout(config, nullptr, how).page_bytes;
  EXPECT_EQ(page, 64U * 62 * (1152 + 256));
  EXPECT_EQ(drafting.cache_bytes, how.cache_bytes / page * page);
  // In host memory as well, with the router in F32, kv_b unfolded and packed, and eh_proj packed.
  const MemoryNeed need = need_of(deepseek_json(), 800'000'000'000, 4096);
  const MemoryNeed with = need_of(deepseek_json(), 800'000'000'000, 4096, true);
  EXPECT_EQ(with.cache_bytes - need.cache_bytes, 4096U * 1408);
  EXPECT_EQ(with.in_place_expert_bytes - need.in_place_expert_bytes,
            256 * std::uint64_t{3} * 7168 * 2048);
  const std::uint64_t kv_b = std::uint64_t{128} * 256 * 512;
  const std::uint64_t router = std::uint64_t{256} * 7168;
  const std::uint64_t eh_proj = std::uint64_t{2} * 7168 * 7168;
  // To what weights_proj [64, 7168] saves packed and norms take more.
  const auto wanted = static_cast<double>(amounts.mtp.bytes + kv_b + 2 * router) -
                      2 * static_cast<double>(kv_b + eh_proj) * 3 / 16;
  EXPECT_NEAR(static_cast<double>(with.made_bytes + with.in_place_bytes - need.made_bytes -
                                  need.in_place_bytes),
              wanted, 200e3);
}

}  // namespace
}  // namespace ponder::engine
