// The forward pass on a device, here the emulated one: the numbers of the golden model, the bits of
// deterministic mode, and the selections of the CPU.

#include "engine/device_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "engine/device_choice.h"
#include "engine/logits.h"
#include "engine/prefix_cache.h"
#include "tests/engine/golden_model.h"
#include "tests/engine/parity_fixture.h"
#include "tests/engine/small_model.h"
#include "tests/engine/stepped_model.h"
#include "tests/kernels/device/device_cases.h"

namespace ponder::engine {
namespace {

using ::testing::HasSubstr;

constexpr float kTolerance = 1e-4F;  // absolute, on logits, weights and scores of an fp32 engine

const kernels::DeviceTable* device() {
  std::string why;
  return kernels::device_under_test(why);
}

ModelOptions on_device(std::uint32_t batch_rows_max = 160) {
  ModelOptions options;
  options.device = device();
  options.batch_rows_max = batch_rows_max;
  return options;
}

class DeviceModelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string why;
    if (kernels::device_under_test(why) == nullptr) GTEST_SKIP() << "no GPU: " << why;
    kernels::watch_emulated_memory(false);  // the tests of each kernel do
  }
};

LogitsResult run(const std::filesystem::path& dir, const ModelOptions& options,
                 std::span<const TokenId> tokens) {
  auto runner = LogitsRunner::open(dir, options);
  EXPECT_TRUE(runner.has_value()) << runner.error().message;
  auto result = (*runner)->run(tokens, true);
  EXPECT_TRUE(result.has_value()) << result.error().message;
  return std::move(*result);
}

TEST_F(DeviceModelTest, TheGoldenRunAgrees) {
  const LogitsResult result = run(golden_dir(), on_device(), golden_prompt());
  const float first[] = {1.0095392F, -1.1636611F, 0.6691570F, -1.2371633F,
                         0.4687016F, -1.0050506F, 0.6026701F, -0.5721093F};
  for (std::size_t i = 0; i < 8; ++i) EXPECT_NEAR(result.logits[i], first[i], kTolerance) << i;
  EXPECT_EQ(std::ranges::max_element(result.logits) - result.logits.begin(), 1939);
  EXPECT_NEAR(result.logits[1939], 3.5534918F, kTolerance);
  const double norms[] = {18.3353168, 24.5656282, 27.1534305, 30.0122185, 33.7333713, 39.0465413};
  const std::pair<int, int> sums[] = {{3040, 193026}, {3105, 196945}, {2879, 181557},
                                      {3226, 206688}, {2848, 179386}, {3042, 192556}};
  const std::vector<std::vector<std::int32_t>> experts = {
      {}, {14, 13, 10, 8}, {12, 8, 11, 10}, {4, 3, 1, 6}, {13, 2, 14, 0}, {1, 8, 3, 11}};
  ASSERT_EQ(result.trace.size(), 6U);
  for (std::size_t layer = 0; layer < 6; ++layer) {
    const LayerTrace& trace = result.trace[layer];
    EXPECT_NEAR(trace.residual_norm, norms[layer], 1e-4) << layer;
    EXPECT_EQ(trace.experts, experts[layer]) << layer;
    std::pair<int, int> got{0, 0};
    for (const int position : trace.selection) {
      got.first += position;
      got.second += position * position;
    }
    EXPECT_EQ(got, sums[layer]) << layer;
  }
  const float scores[] = {-0.08202124F, 0.19262776F, 1.00439359F,
                          1.35131584F,  1.49339404F, 0.43476351F};
  for (std::size_t s = 0; s < 6; ++s) {
    EXPECT_NEAR(result.trace[0].index_scores[s], scores[s], kTolerance) << s;
  }
}

/// tests/engine/device_experts_test.cpp has more.
TEST_F(DeviceModelTest, TheGoldenRunAgreesWithExpertsInHostMemory) {
  ModelOptions options = on_device();
  options.experts = ExpertPlacement::host;
  const LogitsResult result = run(golden_dir(), options, golden_prompt());
  EXPECT_EQ(std::ranges::max_element(result.logits) - result.logits.begin(), 1939);
  EXPECT_NEAR(result.logits[1939], 3.5534918F, kTolerance);
  const std::vector<std::int32_t> experts = {1, 8, 3, 11};
  EXPECT_EQ(result.trace[5].experts, experts);
}

TEST_F(DeviceModelTest, TheLastDenseRowAgrees) {
  const LogitsResult result = run(golden_dir(), on_device(), golden_prompt(64));
  EXPECT_EQ(std::ranges::max_element(result.logits) - result.logits.begin(), 2121);
  EXPECT_NEAR(result.logits[2121], 3.3816514F, kTolerance);
}

/// Every stored type of weights and cache, and every kind of index keys, against the CPU.
struct Format {
  const char* name;
  WeightDType weights;
  CacheDType cache;
  IndexKeys index_keys;
};

class DeviceFormats : public DeviceModelTest, public ::testing::WithParamInterface<Format> {};

TEST_P(DeviceFormats, LogitsAndSelectionsAreThoseOfTheCpu) {
  auto tokens = golden_prompt(60);
  for (TokenId& token : tokens) token %= 320;
  const auto& dir = small_model_dir(GetParam().weights);
  ModelOptions options = on_device();
  options.cache_dtype = GetParam().cache;
  options.index_keys = GetParam().index_keys;
  const LogitsResult got = run(dir, options, tokens);
  options.device = nullptr;
  options.isa = "scalar";
  const LogitsResult want = run(dir, options, tokens);
  for (std::size_t i = 0; i < want.logits.size(); ++i) {
    ASSERT_NEAR(got.logits[i], want.logits[i], 2e-3F) << i;
  }
  // The first layer's keys come from equal inputs but for the order of a few sums.
  EXPECT_EQ(got.trace[0].selection, want.trace[0].selection);
}

INSTANTIATE_TEST_SUITE_P(All, DeviceFormats,
                         ::testing::Values(Format{"f32_int8_keys", WeightDType::f32,
                                                  CacheDType::f32, IndexKeys::int8},
                                           Format{"bf16_bf16_cache", WeightDType::bf16,
                                                  CacheDType::bf16, IndexKeys::floating},
                                           Format{"fp8_fp8_cache_fp8_keys", WeightDType::fp8,
                                                  CacheDType::fp8, IndexKeys::fp8}),
                         [](const auto& info) { return info.param.name; });

/// One row after a context of random pages, long enough that several blocks select for it.
TEST_F(DeviceModelTest, ARowOfALongContextSelectsTheBestOfItsScores) {
  constexpr std::size_t kKeys = kernels::kSelectSplitKeysMin + 100;
  nlohmann::json json = small_config_json();
  json["max_position_embeddings"] = kKeys;
  auto config = parse_config(json.dump());
  ASSERT_TRUE(config.has_value()) << config.error().message;
  auto model = Model::load(small_model_dir(), std::move(*config), on_device());
  ASSERT_TRUE(model.has_value()) << model.error().message;
  const std::size_t page_bytes = (*model)->cache_layout().page_bytes;
  auto pool = (*model)->create_pool((kKeys / kPageTokens + 1) * page_bytes);
  ASSERT_TRUE(pool.has_value());
  BlockTable table(*pool);
  std::mt19937 rng(3);
  std::vector<float> page(page_bytes / sizeof(float));
  while (table.capacity() < kKeys) {
    table.append(*pool->acquire());
    for (float& value : page) value = static_cast<float>(rng() % 2001) / 1000.0F - 1.0F;
    ASSERT_EQ(device()->upload(pool->data(table.pages().back()), page.data(), page_bytes), 0);
  }
  const TokenId token = 7;
  const BatchSegment segment{.table = &table, .first_position = kKeys - 1, .tokens = {&token, 1}};
  RowTrace trace;
  (*model)->forward({&segment, 1}, &trace);
  ASSERT_TRUE((*model)->check().has_value());
  for (const LayerTrace& layer : trace) {
    ASSERT_EQ(layer.index_scores.size(), kKeys);
    std::vector<std::int32_t> want((*model)->config().index_topk);
    std::vector<std::uint32_t> scratch(kKeys);
    kernels::scalar_table().topk(
        {layer.index_scores.data(), kKeys, want.size(), want.data(), scratch.data()});
    EXPECT_EQ(layer.selection, want);
  }
}

/// A model of a few layers with shared indexers and everything else.
class DeviceBits : public DeviceModelTest, protected SteppedModel {
 protected:
  void SetUp() override {
    DeviceModelTest::SetUp();
    if (IsSkipped()) return;
    ModelOptions options = on_device();
    options.cache_dtype = CacheDType::fp8;
    auto model = Model::load(parity_model_dir("glm_shared"), options);
    ASSERT_TRUE(model.has_value()) << model.error().message;
    take_model(std::move(*model), 32);
  }
};

TEST_F(DeviceBits, ChunkedPrefillEqualsWholePrefillEqualsStepByStep) {
  const auto tokens = prompt(70);
  const auto want = whole(tokens);
  for (const std::size_t chunk : {13U, 64U}) {
    BlockTable pages = table(tokens.size());
    EXPECT_EQ(compute(pages, tokens, 0, chunk), want) << "chunks of " << chunk;
  }
  BlockTable pages = table(tokens.size());
  compute(pages, std::span(tokens).first(62), 0, 62);
  EXPECT_EQ(compute(pages, tokens, 62, 1), want);
}

TEST_F(DeviceBits, APrefixCacheHitWithACopiedPageEqualsComputing) {
  const auto tokens = prompt(80);
  PrefixCache cache(*pool_);
  {
    auto other = prompt(90);
    other[70] = 3;  // within the second page
    BlockTable pages = table(other.size());
    compute(pages, other, 0, other.size());
    cache.insert(other, pages, true);
  }
  BlockTable pages(*pool_);
  const std::size_t num_cached = cache.match(std::span(tokens).first(79), pages).num_tokens;
  EXPECT_EQ(num_cached, 70U);
  cache.make_writable(pages, num_cached);
  while (pages.capacity() < tokens.size()) pages.append(*cache.acquire());
  EXPECT_EQ(compute(pages, tokens, num_cached, 100), whole(tokens));
}

TEST_F(DeviceBits, BatchingWithOthersChangesNothing) {
  const auto tokens = prompt(80);
  const auto want = whole(tokens);
  const auto other = prompt(70);
  BlockTable mine = table(tokens.size());
  BlockTable theirs = table(other.size());
  compute(mine, std::span(tokens).first(75), 0, 75);
  const BatchSegment segments[] = {
      {.table = &theirs, .first_position = 0, .tokens = other, .wants_logits = true},
      {.table = &mine,
       .first_position = 75,
       .tokens = std::span(tokens).subspan(75),
       .wants_logits = true}};
  const auto both = model_->forward(segments);
  ASSERT_EQ(both.size(), 2 * want.size());
  const auto middle = both.begin() + static_cast<std::ptrdiff_t>(want.size());
  EXPECT_EQ(std::vector<float>(middle, both.end()), want);
  EXPECT_EQ(std::vector<float>(both.begin(), middle), whole(other));
  EXPECT_EQ(model_->num_nan_scores(), 0U);
  EXPECT_TRUE(model_->check().has_value());
}

// Failures. They need a device that can be made to fail, so they run on the emulated one alone.

class DeviceFailures : public ::testing::Test {
 protected:
  void SetUp() override { options_.device = &kernels::emulated_device(); }
  void TearDown() override {
    kernels::set_emulated_memory(std::size_t{1} << 30);
    kernels::lose_emulated_device(false);
  }
  ModelOptions options_;
};

TEST_F(DeviceFailures, SmallPiecesBetweenLargeOnesTakeLittleMemory) {
  // As the scales between the matrices of a layer.
  const std::size_t before = kernels::emulated_memory_used();
  const auto device = OpenDevice::open(kernels::emulated_device());
  ASSERT_TRUE(device.has_value());
  {
    DeviceArena arena(*device);
    constexpr std::size_t kLarge = std::size_t{3} << 20;
    for (int i = 0; i < 20; ++i) {
      ASSERT_TRUE(arena.allocate(kLarge).has_value());
      ASSERT_TRUE(arena.allocate(4096).has_value());
    }
    EXPECT_LE(kernels::emulated_memory_used() - before, 20 * kLarge + (std::size_t{8} << 20));
  }
  EXPECT_EQ(kernels::emulated_memory_used(), before);
}

TEST_F(DeviceFailures, AModelThatDoesNotFitIsRefusedAndGivesItsMemoryBack) {
  const std::size_t before = kernels::emulated_memory_used();
  kernels::set_emulated_memory(before + 20'000'000);
  const auto model = Model::load(golden_dir(), options_);
  ASSERT_FALSE(model.has_value());
  EXPECT_EQ(model.error().code, Errc::exhausted);
  EXPECT_THAT(model.error().message, HasSubstr("emulated device: no memory for"));
  EXPECT_EQ(kernels::emulated_memory_used(), before);
}

TEST_F(DeviceFailures, ACacheThatDoesNotFitIsRefused) {
  const auto model = Model::load(parity_model_dir("glm_shared"), options_);
  ASSERT_TRUE(model.has_value());
  const auto pool = (*model)->create_pool(std::uint64_t{2} << 30);
  ASSERT_FALSE(pool.has_value());
  EXPECT_EQ(pool.error().code, Errc::exhausted);
}

TEST_F(DeviceFailures, ALostDeviceIsReportedAndStaysLost) {
  auto model = Model::load(parity_model_dir("glm_shared"), options_);
  ASSERT_TRUE(model.has_value());
  auto pool = (*model)->create_pool(2 * (*model)->cache_layout().page_bytes);
  ASSERT_TRUE(pool.has_value());
  BlockTable table(*pool);
  table.append(*pool->acquire());
  const std::vector<TokenId> tokens = {1, 2, 3};
  const BatchSegment segment{
      .table = &table, .first_position = 0, .tokens = tokens, .wants_logits = true};
  (*model)->forward({&segment, 1});
  EXPECT_TRUE((*model)->check().has_value());
  kernels::lose_emulated_device(true);
  (*model)->forward({&segment, 1});
  kernels::lose_emulated_device(false);
  const Status status = (*model)->check();
  ASSERT_FALSE(status.has_value());
  EXPECT_EQ(status.error().code, Errc::unavailable);
  EXPECT_THAT(status.error().message, HasSubstr("device lost"));
  (*model)->forward({&segment, 1});
  EXPECT_FALSE((*model)->check().has_value());
}

TEST(CudaByName, IsRefusedWithTheReasonWhereItCannotBeUsed) {
  const kernels::CudaLibrary library = kernels::load_cuda_library();
  if (library.table != nullptr) GTEST_SKIP() << "this machine has a GPU";
  const auto wanted = choose_device(DeviceChoice::cuda);
  ASSERT_FALSE(wanted.has_value());
  EXPECT_EQ(wanted.error().code, Errc::unavailable);
  EXPECT_EQ(wanted.error().message, "device cuda: " + library.reason);
  const auto perhaps = choose_device(DeviceChoice::automatic);
  ASSERT_TRUE(perhaps.has_value());
  EXPECT_EQ(perhaps->table, nullptr);
  EXPECT_EQ(perhaps->why_not, library.reason);
}

}  // namespace
}  // namespace ponder::engine
