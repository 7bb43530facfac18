// Steps of decoding as graphs: the bits of a row are those of a step that is launched operation by
// operation, in every shape, beside rows that are empty, and whatever came before.

#include "engine/device_graphs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "engine/device_model.h"
#include "tests/engine/golden_model.h"
#include "tests/engine/parity_fixture.h"
#include "tests/engine/small_model.h"
#include "tests/kernels/device/device_cases.h"

namespace ponder::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::size_t kNoLimit = std::numeric_limits<std::size_t>::max();

TEST(DeviceGraphShapes, HoldTheRowsAndAreFew) {
  std::vector<std::size_t> shapes;
  for (std::size_t rows = 1; rows <= 500; ++rows) {
    const std::size_t shape = DeviceGraphs::shape_rows(rows, 500);
    EXPECT_GE(shape, rows);
    EXPECT_LE(shape, 500U);
    if (shapes.empty() || shapes.back() != shape) shapes.push_back(shape);
  }
  EXPECT_THAT(shapes, ElementsAre(1, 2, 4, 8, 16, 32, 64, 128, 192, 256, 320, 384, 448, 500));
}

TEST(DeviceGraphShapes, HoldTheKeysInWholePages) {
  EXPECT_EQ(DeviceGraphs::shape_keys(1, 16, 1000), 64U);
  EXPECT_EQ(DeviceGraphs::shape_keys(64, 16, 1000), 64U);
  EXPECT_EQ(DeviceGraphs::shape_keys(65, 16, 1000), 128U);
  EXPECT_EQ(DeviceGraphs::shape_keys(257, 16, 1000), 512U);
  EXPECT_EQ(DeviceGraphs::shape_keys(513, 16, 1000), 1000U);  // and no more than there can be
  EXPECT_EQ(DeviceGraphs::shape_keys(1, 2048, 163840), 2048U);
  EXPECT_EQ(DeviceGraphs::shape_keys(2049, 2048, 163840), 4096U);
}

struct Format {
  const char* name;
  WeightDType weights;
  CacheDType cache;
  IndexKeys index_keys;
  bool is_glm = false;  // shared indexers
};

/// Sequences that decode, each twice: by graphs, and operation by operation.
class GraphSteps : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string why;
    device_ = kernels::device_under_test(why);
    if (device_ == nullptr) GTEST_SKIP() << "no GPU: " << why;
    kernels::watch_emulated_memory(false);  // the tests of each kernel do
  }
  void TearDown() override { kernels::watch_emulated_memory(true); }

  static constexpr std::size_t kStepsMax = 24;  // of a sequence

  void load(const Format& format, bool has_drafts = false) {
    ModelOptions options;
    options.device = device_;
    options.batch_rows_max = 160;
    options.cache_dtype = format.cache;
    options.index_keys = format.index_keys;
    options.has_drafts = has_drafts;
    options.on_notice = [this](const std::string& notice) { notices_.push_back(notice); };
    auto model = Model::load(
        format.is_glm ? parity_model_dir("glm_shared") : small_model_dir(format.weights), options);
    ASSERT_TRUE(model.has_value()) << model.error().message;
    model_ = std::move(*model);
    auto pool = model_->create_pool(160 * model_->cache_layout().page_bytes);
    ASSERT_TRUE(pool.has_value());
    pool_ = std::make_unique<PagePool>(std::move(*pool));
  }
  DeviceModel& model() { return dynamic_cast<DeviceModel&>(*model_); }

  struct Sequence {
    BlockTable table;
    std::size_t position;
    TokenId token;
  };
  /// One whose prompt has been computed, with pages for what it will decode.
  Sequence start(std::size_t length, TokenId first) {
    auto prompt = golden_prompt(length);
    prompt[0] = first;
    for (TokenId& token : prompt) token %= model_->config().vocab_size;
    Sequence sequence{BlockTable(*pool_), length, 0};
    while (sequence.table.capacity() < length + kStepsMax) sequence.table.append(*pool_->acquire());
    const BatchSegment segment{
        .table = &sequence.table, .first_position = 0, .tokens = prompt, .wants_logits = true};
    sequence.token = best(model_->forward({&segment, 1}));
    return sequence;
  }
  void start_pairs(const std::vector<std::size_t>& lengths) {
    for (std::size_t i = 0; i < lengths.size(); ++i) {
      by_graph_.push_back(start(lengths[i], static_cast<TokenId>(i + 1)));
      plain_.push_back(start(lengths[i], static_cast<TokenId>(i + 1)));
    }
  }
  static TokenId best(std::span<const float> logits) {
    return static_cast<TokenId>(std::ranges::max_element(logits) - logits.begin());
  }

  /// The next token of some sequences; their logits.
  std::vector<float> step(std::vector<Sequence>& sequences, const std::vector<std::size_t>& which) {
    std::vector<BatchSegment> segments;
    for (const std::size_t i : which) {
      segments.push_back({.table = &sequences[i].table,
                          .first_position = sequences[i].position,
                          .tokens = {&sequences[i].token, 1},
                          .wants_logits = true});
    }
    const auto logits = model_->forward(segments);
    const std::size_t vocab = model_->config().vocab_size;
    EXPECT_EQ(logits.size(), which.size() * vocab);
    for (std::size_t row = 0; row < which.size(); ++row) {
      ++sequences[which[row]].position;
      sequences[which[row]].token = best(logits.subspan(row * vocab, vocab));
    }
    return {logits.begin(), logits.end()};
  }
  void expect_equal_steps(const std::vector<std::size_t>& which, std::size_t num_steps) {
    for (std::size_t i = 0; i < num_steps; ++i) {
      SCOPED_TRACE(::testing::Message() << which.size() << " rows, step " << i);
      model().use_graphs(false);
      const auto want = step(plain_, which);
      model().use_graphs(true);
      const auto got = step(by_graph_, which);
      ASSERT_TRUE(std::ranges::equal(got, want, [](float a, float b) {
        return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b);
      }));
    }
  }
  /// What the two have left in their pages.
  void expect_equal_pages() {
    const std::size_t bytes = pool_->layout().page_bytes;
    std::vector<std::byte> a(bytes);
    std::vector<std::byte> b(bytes);
    for (std::size_t i = 0; i < plain_.size(); ++i) {
      for (std::size_t page = 0; page < plain_[i].table.pages().size(); ++page) {
        ASSERT_TRUE(pool_->read(by_graph_[i].table.pages()[page], a));
        ASSERT_TRUE(pool_->read(plain_[i].table.pages()[page], b));
        EXPECT_EQ(a, b) << "sequence " << i << ", page " << page;
      }
    }
  }
  std::uint64_t graphs_launched() const { return kernels::emulated_launches().graphs; }
  bool is_emulated() const { return device_ == &kernels::emulated_device(); }

  const kernels::DeviceTable* device_ = nullptr;
  std::vector<std::string> notices_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<PagePool> pool_;
  std::vector<Sequence> by_graph_;
  std::vector<Sequence> plain_;
};

/// What only the emulated device can tell, or be made to do.
class EmulatedGraphs : public GraphSteps {
 protected:
  void SetUp() override {
    device_ = &kernels::emulated_device();
    kernels::watch_emulated_memory(false);
  }
  void TearDown() override {
    GraphSteps::TearDown();
    kernels::limit_emulated_graphs(kNoLimit);
    kernels::lose_emulated_device(false);
  }
};

class GraphFormats : public GraphSteps, public ::testing::WithParamInterface<Format> {};

/// Contexts cross from one number of pages to the next, and batches come back with other members.
TEST_P(GraphFormats, EveryRowHasTheBitsOfAStepWithoutGraphs) {
  load(GetParam());
  start_pairs({62, 5, 125, 17, 64, 1, 30, 90});
  const std::uint64_t before = graphs_launched();
  expect_equal_steps({0}, 5);
  expect_equal_steps({1, 3}, 3);
  expect_equal_steps({0, 2, 5}, 4);
  expect_equal_steps({6, 1, 4, 7, 3}, 3);
  expect_equal_steps({0, 1, 2, 3, 4, 5, 6, 7}, 3);
  expect_equal_steps({7, 5, 2}, 2);
  expect_equal_steps({2}, 3);
  expect_equal_steps({3, 4, 5, 6, 7, 0}, 2);
  expect_equal_pages();
  if (is_emulated()) {
    EXPECT_GT(graphs_launched(), before + 10);
  }
  EXPECT_EQ(model_->num_nan_scores(), 0U);
  EXPECT_TRUE(model_->check().has_value());
  EXPECT_THAT(notices_, IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(
    All, GraphFormats,
    ::testing::Values(
        Format{"f32_int8_keys", WeightDType::f32, CacheDType::f32, IndexKeys::int8},
        Format{"f32_floating_keys", WeightDType::f32, CacheDType::f32, IndexKeys::floating},
        Format{"bf16_bf16_cache", WeightDType::bf16, CacheDType::bf16, IndexKeys::floating},
        Format{"fp8_fp8_cache_fp8_keys", WeightDType::fp8, CacheDType::fp8, IndexKeys::fp8},
        Format{"fp8_fp8_cache_int8_keys", WeightDType::fp8, CacheDType::fp8, IndexKeys::int8},
        Format{"shared_indexers", WeightDType::f32, CacheDType::fp8, IndexKeys::int8, true}),
    [](const auto& info) { return info.param.name; });

TEST_F(EmulatedGraphs, AStepIsOneGraphAndTheHead) {
  load({"", WeightDType::fp8, CacheDType::fp8, IndexKeys::fp8});
  start_pairs({20, 21, 22});
  step(by_graph_, {0, 1, 2});
  step(by_graph_, {0, 1, 2});
  const auto before = kernels::emulated_launches();
  step(by_graph_, {0, 1, 2});
  const auto after = kernels::emulated_launches();
  EXPECT_EQ(after.graphs - before.graphs, 1U);
  EXPECT_EQ(after.operations - before.operations, 1U);
}

/// More rows than a piece of the head has, in a shape of 128.
TEST_F(GraphSteps, ManyRowsHaveTheirBitsToo) {
  load({"", WeightDType::fp8, CacheDType::fp8, IndexKeys::int8});
  std::vector<std::size_t> lengths;
  std::vector<std::size_t> all;
  for (std::size_t i = 0; i < 66; ++i) {
    lengths.push_back(1 + i % 31);
    all.push_back(i);
  }
  start_pairs(lengths);
  expect_equal_steps(all, 3);
  expect_equal_steps({all.begin(), all.begin() + 11}, 3);
  expect_equal_pages();
}

/// docs/cuda.md has these numbers.
TEST_F(EmulatedGraphs, WithoutGraphsALayerTakesDozensOfLaunches) {
  const auto launches_of = [&](std::size_t num_dense, std::size_t num_moe) {
    nlohmann::json json = small_config_json();
    json.update({{"num_hidden_layers", num_dense + num_moe},
                 {"num_nextn_predict_layers", 0},
                 {"first_k_dense_replace", num_dense},
                 {"kv_lora_rank", 128},
                 {"max_position_embeddings", 256}});
    ModelOptions options;
    options.device = device_;
    options.cache_dtype = CacheDType::fp8;
    options.index_keys = IndexKeys::int8;
    options.device_graphs = false;
    auto loaded = DeviceModel::with_random_weights(*parse_config(json.dump()), options);
    EXPECT_TRUE(loaded.has_value());
    model_ = std::move(*loaded);
    pool_ = std::make_unique<PagePool>(
        std::move(*model_->create_pool(4 * model_->cache_layout().page_bytes)));
    std::vector<Sequence> one;
    one.push_back(start(20, 1));  // more than are selected without scores
    const std::uint64_t before = kernels::emulated_launches().operations;
    step(one, {0});
    return kernels::emulated_launches().operations - before;
  };
  const std::uint64_t base = launches_of(1, 0);
  const std::uint64_t of_dense = launches_of(2, 0) - base;
  const std::uint64_t of_moe = launches_of(1, 1) - base;
  const std::uint64_t of_the_rest = base - of_dense;
  EXPECT_EQ(of_dense, 21U);
  EXPECT_EQ(of_moe, 27U);
  EXPECT_EQ(of_the_rest, 4U);
  EXPECT_EQ(3 * of_dense + 58 * of_moe + of_the_rest, 1633U);  // DeepSeek-V3.2
}

TEST_F(EmulatedGraphs, AShapeThatComesOnceMakesNoGraph) {
  load({"", WeightDType::f32, CacheDType::f32, IndexKeys::int8});
  start_pairs({20, 21, 22});
  const auto before = kernels::emulated_launches();
  step(by_graph_, {0});
  step(by_graph_, {0, 1});
  EXPECT_EQ(kernels::emulated_launches().graphs_held, before.graphs_held);
  step(by_graph_, {1});
  EXPECT_EQ(kernels::emulated_launches().graphs_held, before.graphs_held + 1);
  step(by_graph_, {2});
  EXPECT_EQ(kernels::emulated_launches().graphs_held, before.graphs_held + 1);
  model_.reset();
  EXPECT_EQ(kernels::emulated_launches().graphs_held, before.graphs_held);
}

/// A row's NaN reach its own logits and what it leaves in the scratch memory, and nothing else.
TEST_F(GraphSteps, WhatLiesInEmptyRowsChangesNothing) {
  load({"", WeightDType::fp8, CacheDType::fp8, IndexKeys::int8});
  start_pairs({20, 33, 70, 25});
  expect_equal_steps({0, 1, 2}, 3);
  std::vector<float> nan(pool_->layout().page_bytes / sizeof(float),
                         std::numeric_limits<float>::quiet_NaN());
  for (auto* sequences : {&by_graph_, &plain_}) {
    ASSERT_TRUE(pool_->write(sequences->at(3).table.pages()[0], std::as_bytes(std::span(nan))));
  }
  model().use_graphs(true);
  for (int i = 0; i < 2; ++i) {
    const auto logits = step(by_graph_, {0, 1, 2, 3});
    EXPECT_TRUE(std::isnan(logits.back()));
    EXPECT_FALSE(std::isnan(logits.front()));
    by_graph_[3].token = 0;
    model().use_graphs(false);
    step(plain_, {0, 1, 2, 3});
    plain_[3].token = 0;
    model().use_graphs(true);
  }
  expect_equal_steps({0, 1, 2}, 2);
}

TEST_F(GraphSteps, WithAnMtpLayerItsRowsFollowTheGraph) {
  load({"", WeightDType::f32, CacheDType::f32, IndexKeys::floating}, true);
  start_pairs({62, 5, 20});
  for (int i = 0; i < 4; ++i) {
    model().use_graphs(false);
    const auto want = step(plain_, {0, 1, 2});
    const std::vector<float> hidden(model_->hidden(2).begin(), model_->hidden(2).end());
    model().use_graphs(true);
    EXPECT_EQ(step(by_graph_, {0, 1, 2}), want);
    EXPECT_TRUE(std::ranges::equal(model_->hidden(2), hidden));
  }
  expect_equal_pages();
}

TEST_F(GraphSteps, WhatTheHostDecidesOrLooksAtIsLaunchedAsBefore) {
  load({"", WeightDType::f32, CacheDType::f32, IndexKeys::floating});
  start_pairs({20, 30});
  expect_equal_steps({0, 1}, 3);
  const std::uint64_t before = graphs_launched();
  ForcedChoices forced;
  forced.experts = [](std::size_t, std::size_t) { return std::vector<std::int32_t>{3, 1}; };
  model_->force(&forced);
  const auto want = step(by_graph_, {0, 1});
  EXPECT_EQ(graphs_launched(), before);
  model().use_graphs(false);
  EXPECT_EQ(step(plain_, {0, 1}), want);
  model_->force(nullptr);
  expect_equal_steps({0, 1}, 1);

  RowTrace trace;
  const BatchSegment segment{.table = &by_graph_[0].table,
                             .first_position = by_graph_[0].position,
                             .tokens = {&by_graph_[0].token, 1},
                             .wants_logits = true};
  const std::uint64_t traced = graphs_launched();
  model_->forward({&segment, 1}, &trace);
  model_->forward({&segment, 1}, &trace);
  EXPECT_EQ(graphs_launched(), traced);
  EXPECT_GT(trace.back().residual_norm, 0.0);
}

TEST_F(EmulatedGraphs, OnlySoManyAreKeptAndTheOneUsedLeastRecentlyGoes) {
  auto device = OpenDevice::open(*device_);
  ASSERT_TRUE(device.has_value());
  const auto held = [] { return kernels::emulated_launches().graphs_held; };
  const std::size_t before = held();
  std::size_t num_calls = 0;
  {
    DeviceGraphs graphs(*device, true, {});
    const auto run = [&](std::size_t rows) {
      graphs.run({rows, 64, nullptr}, [&] { ++num_calls; });
    };
    for (std::size_t rows = 1; rows <= DeviceGraphs::kGraphsMax; ++rows) {
      run(rows);
      run(rows);
    }
    EXPECT_EQ(held(), before + DeviceGraphs::kGraphsMax);
    EXPECT_EQ(num_calls, 2 * DeviceGraphs::kGraphsMax);
    run(1);  // by its graph
    EXPECT_EQ(num_calls, 2 * DeviceGraphs::kGraphsMax);
    run(1000);  // in the place of shape 2
    EXPECT_EQ(held(), before + DeviceGraphs::kGraphsMax - 1);
    num_calls = 0;
    run(1);
    EXPECT_EQ(num_calls, 0U);
    run(2);
    run(2);
    EXPECT_EQ(num_calls, 2U);
    EXPECT_LE(held(), before + DeviceGraphs::kGraphsMax);
  }
  EXPECT_EQ(held(), before);
}

TEST_F(EmulatedGraphs, WhereMemoryIsFullTheOneUsedLeastRecentlyMakesRoom) {
  auto device = OpenDevice::open(*device_);
  ASSERT_TRUE(device.has_value());
  const std::size_t before = kernels::emulated_launches().graphs_held;
  kernels::limit_emulated_graphs(before + 2);
  std::vector<std::string> notices;
  DeviceGraphs graphs(*device, true, [&](const std::string& notice) { notices.push_back(notice); });
  std::size_t num_calls = 0;
  const auto calls_of = [&](std::size_t rows) {
    num_calls = 0;
    graphs.run({rows, 64, nullptr}, [&] { ++num_calls; });
    return num_calls;
  };
  for (const std::size_t rows : {1, 2}) {
    for (int i = 0; i < 2; ++i) EXPECT_EQ(calls_of(rows), 1U);
    EXPECT_EQ(calls_of(rows), 0U) << "by its graph";
  }
  EXPECT_EQ(calls_of(3), 1U);
  EXPECT_EQ(calls_of(3), 2U) << "recorded, in vain, and launched";
  EXPECT_EQ(kernels::emulated_launches().graphs_held, before + 1);
  EXPECT_EQ(calls_of(2), 0U);
  EXPECT_EQ(calls_of(3), 1U) << "recorded";
  EXPECT_EQ(calls_of(3), 0U);
  EXPECT_EQ(calls_of(2), 0U);
  EXPECT_EQ(calls_of(1), 1U) << "in the place of 3";
  EXPECT_EQ(kernels::emulated_launches().graphs_held, before + 1);
  EXPECT_TRUE(graphs.is_on());
  EXPECT_THAT(notices, IsEmpty());
}

/// Where the operations of a step go through.
std::int32_t slots_in_groups = 0;  // of the last layer
const kernels::DeviceTable& watched_device() {
  static const kernels::DeviceTable table = [] {
    kernels::DeviceTable watched = kernels::emulated_device();
    watched.group_by_expert = [](const kernels::GroupByExpertArgs& args) {
      kernels::emulated_device().group_by_expert(args);
      slots_in_groups = args.expert_begin[args.num_experts];
    };
    return watched;
  }();
  return table;
}

TEST_F(EmulatedGraphs, RowsOfAShapeThatAreNotThereAreInNoExpertsGroup) {
  device_ = &watched_device();
  load({"", WeightDType::f32, CacheDType::f32, IndexKeys::floating});
  const std::size_t topk = model_->config().num_experts_per_tok;
  for (const std::size_t length : {20, 30, 25}) by_graph_.push_back(start(length, 1));
  step(by_graph_, {0, 1, 2});  // launched for four rows, and for the first time one by one
  EXPECT_EQ(slots_in_groups, static_cast<std::int32_t>(3 * topk));
}

// Failures.

TEST_F(EmulatedGraphs, WhereNoGraphCanBeMadeStepsGoOnWithoutAndThatIsSaidOnce) {
  load({"", WeightDType::f32, CacheDType::f32, IndexKeys::floating});
  start_pairs({20, 30});
  kernels::limit_emulated_graphs(0);
  const std::uint64_t before = graphs_launched();
  expect_equal_steps({0, 1}, 3);
  expect_equal_steps({1}, 3);
  kernels::limit_emulated_graphs(kNoLimit);
  expect_equal_steps({0, 1}, 3);
  EXPECT_EQ(graphs_launched(), before);
  EXPECT_TRUE(model_->check().has_value());
  EXPECT_THAT(notices_, ElementsAre(HasSubstr("steps are launched one operation at a time")));
  EXPECT_THAT(notices_.at(0), HasSubstr("out of memory"));
}

TEST_F(EmulatedGraphs, ADeviceThatIsLostWhileAGraphIsMadeOrLaunchedIsReported) {
  for (const int num_steps : {1, 2}) {  // the next one makes a graph, or launches it
    load({"", WeightDType::f32, CacheDType::f32, IndexKeys::floating});
    by_graph_.clear();
    by_graph_.push_back(start(20, 1));
    for (int i = 0; i < num_steps; ++i) step(by_graph_, {0});
    EXPECT_TRUE(model_->check().has_value());
    kernels::lose_emulated_device(true);
    step(by_graph_, {0});
    kernels::lose_emulated_device(false);
    const Status status = model_->check();
    ASSERT_FALSE(status.has_value());
    EXPECT_THAT(status.error().message, HasSubstr("device lost"));
    by_graph_.clear();
  }
  EXPECT_THAT(notices_, IsEmpty());  // the loss is what is to be said
}

}  // namespace
}  // namespace ponder::engine
