// The benchmark of the CUDA backend: what it computes with its measurements, and that every case of
// it runs, here on the emulated device with small shapes.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "engine/bench/layer_cases.h"
#include "engine/bench/model_cases.h"
#include "engine/bench/prompt_cases.h"
#include "engine/device_model.h"
#include "engine/device_random_weights.h"
#include "kernels/cuda/emulator/emulated_device.h"
#include "tests/engine/small_model.h"

namespace ponder::engine::bench {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::Gt;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Lt;
using ::testing::Not;

const Ceilings kCeilings{.bytes_per_s = 2e12, .bf16_flops = 5e14, .int8_ops = 1e15};

TEST(DeviceBench, TheBoundIsTheLongerOfBytesAndArithmetic) {
  EXPECT_DOUBLE_EQ(bound_ms({.bytes = 4e9, .flops = 1e11}, kCeilings), 2.0);
  EXPECT_DOUBLE_EQ(bound_ms({.bytes = 4e6, .flops = 1e12}, kCeilings), 2.0);
  EXPECT_DOUBLE_EQ(bound_ms({.bytes = 4e6, .flops = 1e12, .is_int8 = true}, kCeilings), 1.0);
}

TEST(DeviceBench, ALineHoldsTheShareOfTheBoundAndJsonParses) {
  const Measurement m{"a case", 4.0, {.bytes = 4e9, .flops = 1e11}, "a note"};
  EXPECT_THAT(table_line(m, kCeilings), HasSubstr("50.0%"));
  const auto json = nlohmann::json::parse(json_line(m, kCeilings));
  EXPECT_EQ(json["case"], "a case");
  EXPECT_DOUBLE_EQ(json["bound_ms"], 2.0);
  EXPECT_DOUBLE_EQ(json["gbytes_per_s"], 1000.0);
  EXPECT_DOUBLE_EQ(json["tflops"], 25.0);
  const Measurement without_bound{"a model", 4.0, {}, "16 tokens/s"};
  EXPECT_THAT(table_line(without_bound, kCeilings), Not(HasSubstr("%")));
  EXPECT_FALSE(nlohmann::json::parse(json_line(without_bound, kCeilings)).contains("bound_ms"));
  EXPECT_TRUE(nlohmann::json::parse(ceilings_json(kCeilings)).contains("copy_gbytes_per_s"));
}

TEST(DeviceBench, NoDeviceIsSaidWithTheReason) {
  EXPECT_EQ(no_device_text("no driver", false), "no device: no driver");
  const auto json = nlohmann::json::parse(no_device_text("a \"quoted\" reason", true));
  EXPECT_TRUE(json["device"].is_null());
  EXPECT_EQ(json["reason"], "a \"quoted\" reason");
}

TEST(DeviceBench, AWholeModelsStepFollowsFromTwoStacks) {
  EXPECT_DOUBLE_EQ(extrapolate_ms(3.0, 8.0, 5, 58), 3.0 + 58.0);
}

TEST(DeviceBench, TheShapeOfDeepseekHasTheSizeThatItsCheckpointHas) {
  const ModelConfig config = deepseek_v32_config(61);
  const double layers = 3.0 * static_cast<double>(random_layer_bytes(config, FfnKind::dense)) +
                        58.0 * static_cast<double>(random_layer_bytes(config, FfnKind::moe));
  // 671 billion parameters, nearly all of them of one byte.
  EXPECT_NEAR(layers + static_cast<double>(random_weight_bytes(config)), 674e9, 6e9);
}

TEST(DeviceBench, DecodingReadsEachWeightOnceAndTheContextOncePerRow) {
  const ModelConfig config = deepseek_v32_config(61);
  const Work one = layer_decode_work(config, FfnKind::dense, 1, 131072);
  const Work more = layer_decode_work(config, FfnKind::dense, 16, 131072);
  const double context = 131072.0 * 132 + 2048.0 * 656;
  EXPECT_NEAR(more.bytes - one.bytes, 15 * context, 1.0);
  EXPECT_NEAR(more.flops, 16 * one.flops, 1.0);
  // Eight of 256 experts by one row; nearly all of them by very many.
  const double expert = 3.0 * 7168 * 2048;
  const Work few = layer_decode_work(config, FfnKind::moe, 1, 64);
  const Work many = layer_decode_work(config, FfnKind::moe, 4096, 64);
  EXPECT_NEAR(many.bytes - 4095 * 64 * (132.0 + 656) - few.bytes, 248 * expert, 1e3);
}

TEST(DeviceBench, AsManyLayersOfExpertsAreTakenAsFitButOneAtLeast) {
  const ModelConfig config = deepseek_v32_config(3);
  const std::uint64_t layer = random_layer_bytes(config, FfnKind::moe);
  const std::uint64_t others =
      random_weight_bytes(config) + 3 * random_layer_bytes(config, FfnKind::dense);
  EXPECT_EQ(moe_layers_that_fit(config, others + 1000 + 5 * layer, 1000), 5U);
  EXPECT_EQ(moe_layers_that_fit(config, others + 999 + 5 * layer, 1000), 4U);
  EXPECT_EQ(moe_layers_that_fit(config, 1000, 1000), 1U);
}

/// Cases on the emulated device.
class DeviceCases : public ::testing::Test {
 protected:
  void SetUp() override { kernels::watch_emulated_memory(false); }

  std::function<void(const Measurement&)> keep() {
    return [this](const Measurement& m) { measured.push_back(m); };
  }
  static std::shared_ptr<OpenDevice> open() {
    return *OpenDevice::open(kernels::emulated_device());
  }
  static Effort little() {
    return {.warmup = 1,
            .repetitions = 3,
            .copy_bytes = 1 << 16,
            .probe_rounds = 2,
            .product_side = 16};
  }
  std::vector<Measurement> measured;
};

TEST_F(DeviceCases, EveryRepetitionIsLaunchedAndToldItsNumber) {
  auto timer = DeviceTimer::create(open(), little());
  ASSERT_TRUE(timer.has_value());
  std::vector<std::size_t> numbers;
  const auto ms = timer->median_ms([&](std::size_t i) { numbers.push_back(i); });
  ASSERT_TRUE(ms.has_value());
  EXPECT_EQ(numbers, (std::vector<std::size_t>{0, 1, 2, 3}));
}

TEST_F(DeviceCases, CeilingsAreMeasuredButForCublasWhichNeedsAStream) {
  auto timer = DeviceTimer::create(open(), little());
  const auto ceilings = timer->measure_ceilings();
  ASSERT_TRUE(ceilings.has_value());
  EXPECT_GT(ceilings->bytes_per_s, 0.0);
  EXPECT_GT(ceilings->int8_ops, 0.0);
  EXPECT_EQ(ceilings->bf16_flops, ceilings->probe_bf16_flops);
  EXPECT_EQ(ceilings->cublas_bf16_flops, 0.0);
}

TEST_F(DeviceCases, ALostDeviceEndsTheBenchmarkWithItsError) {
  auto timer = DeviceTimer::create(open(), little());
  kernels::lose_emulated_device(true);
  const auto ms = timer->median_ms([](std::size_t) {});
  kernels::lose_emulated_device(false);
  ASSERT_FALSE(ms.has_value());
  EXPECT_THAT(ms.error().message, HasSubstr("device lost"));
}

TEST_F(DeviceCases, EveryOperationOfALayerIsMeasuredOnRowsThatAreNoZeros) {
  LayerShape shape;
  shape.heads = 4;
  shape.kv_lora_rank = 128;
  shape.qk_rope_head_dim = 16;
  shape.index_heads = 4;
  shape.index_dim = 32;
  shape.topk = 32;
  shape.contexts = 2;
  shape.keys = 128;
  shape.attention_rows = 5;
  shape.prefill_rows = 6;
  shape.prefill_keys = 96;
  const auto device = open();
  auto timer = DeviceTimer::create(device, little());
  const auto data = DeviceData::create(device, shape);
  ASSERT_TRUE(data.has_value()) << data.error().message;
  const Status status = measure_layer(*timer, **data, keep());
  ASSERT_TRUE(status.has_value()) << status.error().message;
  EXPECT_EQ(measured.size(), 13U);
  for (const Measurement& m : measured) {
    EXPECT_GT(m.ms, 0.0) << m.name;
    EXPECT_GT(m.work.bytes, 0.0) << m.name;
  }
  // The last operation was dense attention: means of random latents, of all positions.
  std::vector<float> out(shape.contexts * shape.heads * shape.kv_lora_rank);
  kernels::emulated_device().download(out.data(), (*data)->out, out.size() * sizeof(float));
  double squares = 0.0;
  for (const float x : out) squares += double{x} * x;
  EXPECT_GT(squares, 0.0);
  EXPECT_LT(squares, static_cast<double>(out.size()));
  for (std::size_t row = 0; row < shape.contexts; ++row) {
    EXPECT_EQ((*data)->num_selected[row], static_cast<int>(shape.topk));
    EXPECT_EQ((*data)->num_nan[row], 0);
  }
}

TEST_F(DeviceCases, AttentionOfAPromptIsMeasuredInBothForms) {
  LayerShape shape;
  shape.heads = 4;
  shape.kv_lora_rank = 128;
  shape.qk_rope_head_dim = 16;
  shape.qk_nope_head_dim = 24;
  shape.v_head_dim = 32;
  shape.index_heads = 1;
  shape.index_dim = 32;
  shape.topk = 32;
  shape.contexts = 1;
  shape.keys = 128;
  shape.attention_rows = 1;
  shape.prefill_rows = 1;
  shape.prefill_keys = 64;
  shape.prompt_rows = 100;
  const auto device = open();
  auto timer = DeviceTimer::create(device, little());
  const auto data = DeviceData::create(device, shape);
  ASSERT_TRUE(data.has_value()) << data.error().message;
  const Status status = measure_prompt_attention(*timer, **data, keep());
  ASSERT_TRUE(status.has_value()) << status.error().message;
  ASSERT_EQ(measured.size(), 2U);
  EXPECT_EQ(measured[0].name, "prompt attention gathered, 100 x 100, 4 heads");
  EXPECT_EQ(measured[1].name, "prompt attention expanded, 100 x 100, 4 heads");
  const double rows = 100.0 * 128 * (24 + 32);
  EXPECT_DOUBLE_EQ(measured[0].work.flops, 2.0 * 4 * (rows + 5050.0 * (2 * 128 + 16)));
  EXPECT_DOUBLE_EQ(measured[1].work.flops, 2.0 * 4 * (rows + 5050.0 * (24 + 16 + 32)));
  const std::string& note = measured[1].note;
  const std::size_t at = note.find("values differ by ");
  ASSERT_NE(at, std::string::npos) << note;
  // Values of up to 4 or so, of which two bf16 may lose 3 * 2^-18.
  EXPECT_THAT(std::stod(note.substr(at + 17)), AllOf(Gt(0.0), Lt(5e-5)));
}

ModelConfig small_config(std::size_t layers) {
  nlohmann::json json = small_config_json();
  json.update({{"num_hidden_layers", layers},
               {"num_nextn_predict_layers", 0},
               {"first_k_dense_replace", 1},
               {"kv_lora_rank", 128},
               {"max_position_embeddings", 512}});
  return *parse_config(json.dump());
}

TEST_F(DeviceCases, AStackOfRandomLayersGivesNumbersForEveryBatchAndContext) {
  StackOptions options;
  options.dense = small_config(1);
  options.with_moe = small_config(3);
  options.num_layers_of_model = 9;
  const std::uint64_t graphs_before = kernels::emulated_launches().graphs;
  options.contexts = {64, 192};
  options.batches = {1, 3};
  options.cache_bytes = 600'000;
  options.repetitions = 1;
  const Status status = measure_stack(kernels::emulated_device(), options, keep());
  ASSERT_TRUE(status.has_value()) << status.error().message;
  ASSERT_EQ(measured.size(), 16U);  // step, the same without a graph, layer, extrapolation
  EXPECT_EQ(measured[0].name, "step, 1+2 layers, batch 1, 64 tokens");
  EXPECT_EQ(measured[1].name, "  without a graph, batch 1, 64 tokens");
  EXPECT_GT(measured[1].ms, 0.0);
  EXPECT_THAT(measured[3].note, HasSubstr("EXTRAPOLATED"));
  EXPECT_GT(kernels::emulated_launches().graphs, graphs_before);
}

TEST_F(DeviceCases, SequencesShareContextsWhenTheCacheIsTooSmallAndTheNoteSaysSo) {
  StackOptions options;
  options.dense = small_config(1);
  options.with_moe = small_config(2);
  options.contexts = {192};
  options.batches = {3};
  options.repetitions = 1;
  ModelOptions model_options;
  model_options.cache_dtype = CacheDType::fp8;
  model_options.index_keys = IndexKeys::int8;
  model_options.device = &kernels::emulated_device();
  auto model = DeviceModel::with_random_weights(options.with_moe, model_options);
  ASSERT_TRUE(model.has_value());
  // Two contexts of two full pages, and a page that each of three sequences writes to.
  options.cache_bytes = 7 * (*model)->cache_layout().page_bytes;
  model->reset();
  const Status status = measure_stack(kernels::emulated_device(), options, keep());
  ASSERT_TRUE(status.has_value()) << status.error().message;
  EXPECT_THAT(measured[0].note, HasSubstr("2 of 3 contexts"));
}

TEST_F(DeviceCases, RandomWeightsHaveTheShapesOfACheckpointsAndFiniteLogits) {
  const ModelConfig config = small_config(2);
  ModelOptions options;
  options.device = &kernels::emulated_device();
  auto model = DeviceModel::with_random_weights(config, options);
  ASSERT_TRUE(model.has_value()) << model.error().message;
  auto pool = (*model)->create_pool(4 * (*model)->cache_layout().page_bytes);
  ASSERT_TRUE(pool.has_value());
  BlockTable table(*pool);
  table.append(*pool->acquire());
  const std::vector<TokenId> tokens = {1,  2,  3,  4,  5,  6,  7,  8,  9,
                                       10, 11, 12, 13, 14, 15, 16, 17, 18};
  const BatchSegment segment{.table = &table, .tokens = tokens, .wants_logits = true};
  const auto logits = (*model)->forward({&segment, 1});
  ASSERT_EQ(logits.size(), config.vocab_size);
  double squares = 0.0;
  for (const float x : logits) squares += double{x} * x;
  EXPECT_TRUE(std::isfinite(squares));
  EXPECT_GT(squares, 0.0);
}

TEST_F(DeviceCases, AModelsTokensAreCountedForAllSequences) {
  const Status status =
      measure_model(kernels::emulated_device(), small_model_dir(), {1, 3}, 2, keep());
  ASSERT_TRUE(status.has_value()) << status.error().message;
  ASSERT_EQ(measured.size(), 4U);
  EXPECT_THAT(measured[1].name, EndsWith("batch 3"));
  EXPECT_THAT(measured[3].name, EndsWith("batch 3, without graphs"));
  EXPECT_THAT(measured[3].note, HasSubstr("tokens/s"));
}

}  // namespace
}  // namespace ponder::engine::bench
