// The forward pass against numbers computed elsewhere (in float64, by two implementations).

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/checkpoint.h"
#include "engine/logits.h"
#include "engine/prefix_cache.h"
#include "kernels/dispatch.h"
#include "tests/engine/golden_model.h"
#include "tests/engine/parity_fixture.h"
#include "tests/engine/stepped_model.h"

namespace ponder::engine {
namespace {

constexpr float kTolerance = 1e-4F;  // absolute, on logits, weights and scores of an fp32 engine

std::vector<std::string> isa_names() {
  std::vector<std::string> names;
  for (const auto* table : kernels::runnable_tables()) names.emplace_back(table->name);
  return names;
}

std::unique_ptr<LogitsRunner> open_runner(const std::string& isa,
                                          WeightDType dtype = WeightDType::f32) {
  ModelOptions options;
  options.isa = isa;
  options.num_threads = 2;
  auto runner = LogitsRunner::open(golden_dir(dtype), options);
  EXPECT_TRUE(runner.has_value()) << runner.error().message;
  return runner ? std::move(*runner) : nullptr;
}

LogitsResult run(LogitsRunner& runner, std::span<const TokenId> tokens, bool with_trace = false,
                 std::size_t chunk = 0) {
  auto result = runner.run(tokens, with_trace, chunk);
  EXPECT_TRUE(result.has_value());
  return std::move(*result);
}

std::size_t argmax(const std::vector<float>& values) {
  return static_cast<std::size_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

class GoldenModel : public ::testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<LogitsRunner> runner_ = open_runner(GetParam());
};

TEST_P(GoldenModel, LastRowLogitsAndResidualsAgree) {
  const LogitsResult result = run(*runner_, golden_prompt(), true);
  const float first[] = {1.0095392F,  -1.1636611F, 0.6691570F, -1.2371633F,
                         0.4687016F, -1.0050506F, 0.6026701F, -0.5721093F};
  for (std::size_t i = 0; i < 8; ++i) EXPECT_NEAR(result.logits[i], first[i], kTolerance) << i;
  const std::pair<std::size_t, float> best[] = {{1939, 3.5534918F}, {212, 3.1948850F},
                                                {2394, 3.0662425F}, {3770, 3.0116050F},
                                                {1015, 2.9924290F}};
  std::vector<std::size_t> order(result.logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::partial_sort(order.begin(), order.begin() + 5, order.end(), [&](auto a, auto b) {
    return result.logits[a] > result.logits[b];
  });
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(order[i], best[i].first);
    EXPECT_NEAR(result.logits[best[i].first], best[i].second, kTolerance);
  }
  double sum = 0.0;
  for (const float logit : result.logits) sum += std::exp(double{logit});
  EXPECT_NEAR(std::log(sum), 8.80699578, 1e-5);

  const double norms[] = {18.3353168, 24.5656282, 27.1534305, 30.0122185, 33.7333713, 39.0465413};
  ASSERT_EQ(result.trace.size(), 6U);
  for (std::size_t layer = 0; layer < 6; ++layer) {
    EXPECT_NEAR(result.trace[layer].residual_norm, norms[layer], 1e-4) << layer;
  }
}

TEST_P(GoldenModel, TheLastDenseRowAgrees) {
  const LogitsResult result = run(*runner_, golden_prompt(64));
  EXPECT_EQ(argmax(result.logits), 2121U);
  EXPECT_NEAR(result.logits[2121], 3.3816514F, kTolerance);
}

TEST_P(GoldenModel, IndexScoresAndSelectionsAgreeInEveryLayer) {
  const RowTrace trace = run(*runner_, golden_prompt(), true).trace;
  const float scores[] = {-0.08202124F, 0.19262776F, 1.00439359F,
                          1.35131584F,  1.49339404F, 0.43476351F};
  ASSERT_EQ(trace[0].index_scores.size(), 96U);
  for (std::size_t s = 0; s < 6; ++s) {
    EXPECT_NEAR(trace[0].index_scores[s], scores[s], kTolerance) << s;
  }
  const std::pair<int, int> sums[] = {{3040, 193026}, {3105, 196945}, {2879, 181557},
                                      {3226, 206688}, {2848, 179386}, {3042, 192556}};
  for (std::size_t layer = 0; layer < 6; ++layer) {
    const auto& selection = trace[layer].selection;
    ASSERT_EQ(selection.size(), 64U);
    EXPECT_TRUE(std::is_sorted(selection.begin(), selection.end()));
    std::pair<int, int> got{0, 0};
    for (const int position : selection) {
      got.first += position;
      got.second += position * position;
    }
    EXPECT_EQ(got, sums[layer]) << "layer " << layer;
  }
  const auto first_ten = [](const LayerTrace& layer) {
    return std::vector<std::int32_t>(layer.selection.begin(), layer.selection.begin() + 10);
  };
  EXPECT_EQ(first_ten(trace[0]), (std::vector<std::int32_t>{1, 2, 3, 4, 5, 8, 9, 11, 13, 14}));
  EXPECT_EQ(first_ten(trace[5]), (std::vector<std::int32_t>{1, 2, 3, 4, 5, 6, 7, 10, 12, 14}));
}

TEST_P(GoldenModel, ExpertsAgree) {
  const RowTrace trace = run(*runner_, golden_prompt(), true).trace;
  const std::vector<std::vector<std::int32_t>> experts = {
      {}, {14, 13, 10, 8}, {12, 8, 11, 10}, {4, 3, 1, 6}, {13, 2, 14, 0}, {1, 8, 3, 11}};
  for (std::size_t layer = 0; layer < 6; ++layer) {
    EXPECT_EQ(trace[layer].experts, experts[layer]) << "layer " << layer;
  }
  const float first[] = {0.614467F, 0.631513F, 0.607427F, 0.646593F};
  const float last[] = {0.838817F, 0.601302F, 0.486610F, 0.573271F};
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_NEAR(trace[1].expert_weights[i], first[i], 1e-5F);
    EXPECT_NEAR(trace[5].expert_weights[i], last[i], 1e-5F);
  }
}

/// Of the rows whose selection ends in a tie at exactly zero, which only the tie rule decides.
TEST_P(GoldenModel, RowsWhoseSelectionEndsInATieAreAsManyAsExpected) {
  std::vector<int> ties(6, 0);
  const auto tokens = golden_prompt();
  for (std::size_t length = 65; length <= tokens.size(); ++length) {
    const RowTrace trace = run(*runner_, std::span(tokens).first(length), true).trace;
    for (std::size_t layer = 0; layer < 6; ++layer) {
      std::vector<float> scores = trace[layer].index_scores;
      std::sort(scores.begin(), scores.end(), std::greater<>());
      ties[layer] += scores[63] == 0.0F && scores[64] == 0.0F;
      if (length == 96 && layer == 1) {
        EXPECT_EQ(scores[63], 0.0F);
      }
    }
  }
  EXPECT_EQ(ties, (std::vector<int>{4, 2, 0, 1, 1, 0}));
}

TEST_P(GoldenModel, GreedyContinuationAgrees) {
  auto tokens = golden_prompt();
  std::vector<TokenId> continuation;
  for (int i = 0; i < 8; ++i) {
    continuation.push_back(static_cast<TokenId>(argmax(run(*runner_, tokens).logits)));
    tokens.push_back(continuation.back());
  }
  EXPECT_EQ(continuation,
            (std::vector<TokenId>{1939, 1554, 1847, 2699, 1189, 1451, 234, 2936}));
}

TEST_P(GoldenModel, TheWrongIndexerLayoutShowsInSparseRowsOnly) {
  auto config = load_config(golden_dir());
  ASSERT_TRUE(config.has_value());
  for (LayerDescriptor& layer : config->layers) {
    layer.indexer_rope_layout = RopeLayout::interleaved;
  }
  ModelOptions options;
  options.isa = GetParam();
  auto wrong = LogitsRunner::open(golden_dir(), *config, options);
  ASSERT_TRUE(wrong.has_value());
  const LogitsResult bad = run(**wrong, golden_prompt(), true);
  const LogitsResult good = run(*runner_, golden_prompt(), true);
  EXPECT_NE(argmax(bad.logits), argmax(good.logits));
  std::vector<std::int32_t> common;
  std::set_intersection(bad.trace[0].selection.begin(), bad.trace[0].selection.end(),
                        good.trace[0].selection.begin(), good.trace[0].selection.end(),
                        std::back_inserter(common));
  EXPECT_EQ(common.size(), 55U);
  EXPECT_EQ(run(**wrong, golden_prompt(64)).logits, run(*runner_, golden_prompt(64)).logits);
}

INSTANTIATE_TEST_SUITE_P(EveryIsa, GoldenModel, ::testing::ValuesIn(isa_names()),
                         [](const auto& info) { return info.param; });

/// The ways in which the same row can come about; all must give the same bits.
struct BitsCase {
  std::string isa;
  WeightDType dtype;
  bool has_shared_indexers = false;  // a GLM model, else the golden one
  CacheDType cache_dtype = CacheDType::automatic;
};

/// The scalar row takes a minute for each stored type, so it stands for f32 alone.
std::vector<BitsCase> bits_cases() {
  std::vector<BitsCase> cases;
  for (const std::string& isa : isa_names()) {
    cases.push_back({isa, WeightDType::f32});
    cases.push_back({isa, WeightDType::f32, true});
    cases.push_back({isa, WeightDType::f32, true, CacheDType::fp8});
    if (isa == "scalar") continue;
    cases.push_back({isa, WeightDType::bf16, false, CacheDType::bf16});
    cases.push_back({isa, WeightDType::fp8});
    cases.push_back({isa, WeightDType::f32, false, CacheDType::fp8});
  }
  return cases;
}

class SameBits : public ::testing::TestWithParam<BitsCase>, protected SteppedModel {
 protected:
  void SetUp() override {
    ModelOptions options;
    options.isa = GetParam().isa;
    options.num_threads = 2;
    options.cache_dtype = GetParam().cache_dtype;
    const auto& dir = GetParam().has_shared_indexers ? parity_model_dir("glm_shared")
                                                     : golden_dir(GetParam().dtype);
    auto model = Model::load(dir, options);
    ASSERT_TRUE(model.has_value()) << model.error().message;
    take_model(std::move(*model), 64);
  }
};

TEST_P(SameBits, ChunkedPrefillEqualsWholePrefillEqualsStepByStep) {
  const auto tokens = prompt(140);
  const auto want = whole(tokens);
  for (const std::size_t chunk : {1U, 7U, 64U, 100U}) {
    BlockTable pages = table(tokens.size());
    EXPECT_EQ(compute(pages, tokens, 0, chunk), want) << "chunks of " << chunk;
  }
}

TEST_P(SameBits, APrefixCacheHitEqualsComputing) {
  const auto tokens = prompt(140);
  PrefixCache cache(*pool_);
  {
    auto other = prompt(150);
    other[135] = 3;  // differs in the third page
    BlockTable pages = table(other.size());
    compute(pages, other, 0, other.size());
    cache.insert(other, pages, true);
  }
  BlockTable pages(*pool_);
  const std::size_t num_cached = cache.match(std::span(tokens).first(139), pages).num_tokens;
  EXPECT_EQ(num_cached, 135U);
  cache.make_writable(pages, num_cached);
  while (pages.capacity() < tokens.size()) pages.append(*cache.acquire());
  EXPECT_EQ(compute(pages, tokens, num_cached, 100), whole(tokens));
}

TEST_P(SameBits, BatchingWithOthersChangesNothing) {
  const auto tokens = prompt(120);
  const auto want = whole(tokens);
  std::vector<TokenId> other(130);
  for (std::size_t i = 0; i < other.size(); ++i) {
    other[i] = static_cast<TokenId>(i * 31 % model_->config().vocab_size);
  }

  BlockTable mine = table(tokens.size());
  BlockTable theirs = table(other.size());
  compute(mine, std::span(tokens).first(110), 0, 110);
  const BatchSegment segments[] = {
      {.table = &theirs, .first_position = 0, .tokens = other, .wants_logits = true},
      {.table = &mine,
       .first_position = 110,
       .tokens = std::span(tokens).subspan(110),
       .wants_logits = true}};
  const auto both = model_->forward(segments);
  ASSERT_EQ(both.size(), 2 * want.size());
  EXPECT_EQ(std::vector<float>(both.begin() + static_cast<std::ptrdiff_t>(want.size()), both.end()),
            want);
  const std::vector<float> first(both.begin(),
                                 both.begin() + static_cast<std::ptrdiff_t>(want.size()));
  EXPECT_EQ(first, whole(other));
  EXPECT_EQ(model_->num_nan_scores(), 0U);
}

/// With a trace every row goes through the last layer, without one only those that are asked.
TEST_P(SameBits, RowsThatNobodyAsksForChangeNoBitOfTheOthersNorOfTheCache) {
  const auto tokens = prompt(140);
  const auto run = [&](RowTrace* trace) {
    BlockTable unasked = table(110);
    BlockTable asked = table(71);
    BlockTable drafted = table(140);
    const BatchSegment segments[] = {
        {.table = &unasked, .first_position = 0, .tokens = std::span(tokens).first(100)},
        {.table = &asked,
         .first_position = 0,
         .tokens = std::span(tokens).first(70),
         .wants_logits = true},
        {.table = &drafted,
         .first_position = 0,
         .tokens = tokens,
         .wants_logits = true,
         .num_drafts = 2}};
    const auto out = model_->forward(segments, trace);
    std::vector<float> logits(out.begin(), out.end());
    EXPECT_EQ(logits.size(), 4 * model_->config().vocab_size);
    for (BlockTable* table : {&unasked, &asked}) {  // who goes on reads what was left behind
      const std::size_t end = table == &asked ? 71 : 110;
      const auto next = compute(*table, std::span(tokens).first(end), end == 71 ? 70 : 100, 10);
      logits.insert(logits.end(), next.begin(), next.end());
    }
    return logits;
  };
  RowTrace trace;
  EXPECT_EQ(run(nullptr), run(&trace));
}

std::string same_bits_name(const ::testing::TestParamInfo<SameBits::ParamType>& info) {
  const char* const types[] = {"f32", "bf16", "fp8"};
  const char* const model = info.param.has_shared_indexers ? "_shared_indexers" : "";
  const char* const cache = info.param.cache_dtype == CacheDType::fp8 ? "_fp8_cache" : "";
  return info.param.isa + "_" + types[static_cast<int>(info.param.dtype)] + model + cache;
}

INSTANTIATE_TEST_SUITE_P(EveryIsaAndType, SameBits, ::testing::ValuesIn(bits_cases()),
                         same_bits_name);

/// Writes the checkpoint's values as an F32 checkpoint, so that only the stored format differs.
void widen(const std::filesystem::path& from, const std::filesystem::path& to) {
  const auto checkpoint = Checkpoint::open(from);
  ASSERT_TRUE(checkpoint.has_value());
  std::vector<testing::StoredTensor> tensors;
  for (const TensorView& tensor : checkpoint->tensors()) {
    if (tensor.name.ends_with("_scale_inv")) continue;
    const auto values = checkpoint->load_f32(tensor.name, tensor.shape);
    ASSERT_TRUE(values.has_value());
    tensors.push_back({tensor.name, "F32", tensor.shape, testing::bytes_of(*values)});
  }
  testing::write_file(to / "model.safetensors", testing::safetensors_bytes(tensors));
  std::filesystem::copy_file(from / "config.json", to / "config.json");
}

class StoredFormats : public ::testing::TestWithParam<WeightDType> {};

TEST_P(StoredFormats, TheSameValuesStoredAsF32GiveTheSameLogits) {
  const testing::TempDir wide;
  widen(golden_dir(GetParam()), wide.path());
  ModelOptions options;
  options.cache_dtype = CacheDType::f32;
  const auto stored = LogitsRunner::open(golden_dir(GetParam()), options);
  const auto widened = LogitsRunner::open(wide.path(), options);
  ASSERT_TRUE(stored.has_value() && widened.has_value());
  const auto tokens = golden_prompt();
  const auto want = run(**widened, tokens).logits;
  const auto got = run(**stored, tokens).logits;
  for (std::size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(got[i], want[i], kTolerance) << i;
}

INSTANTIATE_TEST_SUITE_P(EveryType, StoredFormats,
                         ::testing::Values(WeightDType::bf16, WeightDType::fp8));

TEST(CacheDType, ABf16CacheMovesDenseRowsOnlyByItsRounding) {
  const auto tokens = golden_prompt(24);
  ModelOptions options;
  options.cache_dtype = CacheDType::bf16;
  const auto rounded = LogitsRunner::open(golden_dir(), options);
  ASSERT_TRUE(rounded.has_value());
  const auto want = run(*open_runner(""), tokens).logits;
  const auto got = run(**rounded, tokens).logits;
  float most = 0.0F;
  for (std::size_t i = 0; i < want.size(); ++i) most = std::max(most, std::abs(got[i] - want[i]));
  EXPECT_GT(most, 0.0F);
  EXPECT_LT(most, 0.1F);
}

TEST(LogitsRunner, BadTokensAreRefusedWithTheirValue) {
  const auto runner = open_runner("scalar");
  const auto message = [&](std::vector<TokenId> tokens) {
    const auto result = runner->run(tokens, false);
    return result ? std::string("accepted") : result.error().message;
  };
  EXPECT_EQ(message({}), "tokens: none");
  EXPECT_EQ(message({1, 4096}), "tokens: 4096 is not below vocab_size 4096");
  EXPECT_EQ(message(std::vector<TokenId>(4097, 1)), "tokens: 4097, the model takes 4096");
}

TEST(Model, AnUnknownIsaIsRefusedByName) {
  ModelOptions options;
  options.isa = "abacus";
  const auto model = Model::load(golden_dir(), options);
  ASSERT_FALSE(model.has_value());
  EXPECT_EQ(model.error().code, Errc::invalid_argument);
  EXPECT_NE(model.error().message.find("isa \"abacus\""), std::string::npos);
}

}  // namespace
}  // namespace ponder::engine
