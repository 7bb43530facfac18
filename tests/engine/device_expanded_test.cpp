// Models whose prompts' attention is expanded on a device: near the gathered form, of equal bits
// however a prompt is cut, batched or cached, and never mixed up with generated rows. On the
// emulated device, or a GPU.

#include <gmock/gmock.h>

#include <algorithm>

#include "engine/device_model.h"
#include "engine/logits.h"
#include "engine/prefix_cache.h"
#include "tests/engine/device_of_test.h"
#include "tests/engine/golden_model.h"
#include "tests/engine/parity_fixture.h"
#include "tests/engine/small_model.h"

namespace ponder::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

LogitsResult run(const std::filesystem::path& dir, const ModelOptions& options,
                 std::span<const TokenId> tokens, std::size_t chunk_rows = 0) {
  auto runner = LogitsRunner::open(dir, options);
  EXPECT_TRUE(runner.has_value()) << runner.error().message;
  auto result = (*runner)->run(tokens, true, chunk_rows);
  EXPECT_TRUE(result.has_value()) << result.error().message;
  return std::move(*result);
}

std::vector<TokenId> prompt_below(std::size_t length, std::uint32_t vocab_size) {
  std::vector<TokenId> tokens = golden_prompt(length);
  for (TokenId& token : tokens) token %= vocab_size;
  return tokens;
}

class DeviceExpandedModel : public ::testing::Test, protected DeviceOfTest {
 protected:
  void SetUp() override {
    if (!take_device()) GTEST_SKIP() << no_device();
  }
  void TearDown() override { mend_emulator(); }

  ModelOptions options_for(PromptAttention attention, std::uint32_t batch_rows_max = 160) const {
    ModelOptions options;
    options.device = device_table();
    options.batch_rows_max = batch_rows_max;
    options.prompt_attention = attention;
    return options;
  }
};

/// The tolerance of an fp32 engine: two bf16 terms stay within it.
TEST_F(DeviceExpandedModel, TheGoldenRunAgrees) {
  const LogitsResult result =
      run(golden_dir(), options_for(PromptAttention::expanded), golden_prompt());
  const float first[] = {1.0095392F, -1.1636611F, 0.6691570F, -1.2371633F,
                         0.4687016F, -1.0050506F, 0.6026701F, -0.5721093F};
  for (std::size_t i = 0; i < 8; ++i) EXPECT_NEAR(result.logits[i], first[i], 1e-4F) << i;
  EXPECT_EQ(std::ranges::max_element(result.logits) - result.logits.begin(), 1939);
  const LogitsResult dense =
      run(golden_dir(), options_for(PromptAttention::expanded), golden_prompt(64));
  EXPECT_NEAR(dense.logits[2121], 3.3816514F, 1e-4F);
}

/// And it is another form that computed it.
TEST_F(DeviceExpandedModel, LogitsAreNearThoseOfGatheredPromptsInEveryCacheType) {
  const auto tokens = prompt_below(70, 100);
  for (const CacheDType dtype : {CacheDType::f32, CacheDType::bf16, CacheDType::fp8}) {
    ModelOptions gathered = options_for(PromptAttention::gathered);
    ModelOptions expanded = options_for(PromptAttention::expanded);
    gathered.cache_dtype = expanded.cache_dtype = dtype;
    // What two forms of rounding before the cache come to there: some of the cache's last bits.
    const float tolerance = dtype == CacheDType::f32 ? 1e-4F : 2e-2F;
    for (const char* name : {"glm_shared", "deepseek_plain_rope"}) {
      const LogitsResult want = run(parity_model_dir(name), gathered, tokens);
      const LogitsResult got = run(parity_model_dir(name), expanded, tokens);
      EXPECT_NE(got.logits, want.logits) << name;
      for (std::size_t i = 0; i < want.logits.size(); ++i) {
        ASSERT_NEAR(got.logits[i], want.logits[i], tolerance) << name << ", " << i;
      }
    }
  }
}

/// A model of 96 heads that see up to 8,192 positions, of which workspace has room for 85.
class ManyHeads : public DeviceExpandedModel {
 protected:
  void SetUp() override {
    DeviceExpandedModel::SetUp();
    if (IsSkipped()) return;
    nlohmann::json json = small_config_json();
    json.update({{"num_attention_heads", 96},
                 {"num_key_value_heads", 96},
                 {"index_topk", 8192},
                 {"max_position_embeddings", 8192}});
    const auto config = parse_config(json.dump());
    ASSERT_TRUE(config.has_value()) << config.error().message;
    RandomCheckpointOptions how;
    how.dtype = WeightDType::f32;
    ASSERT_TRUE(write_random_checkpoint(*config, json.dump(), dir_.path(), how).has_value());
  }
  // Of keys and values in both forms, for a head.
  static constexpr std::size_t kHeadBytes =
      128 * (64 * (16 + 16) + kernels::expanded_workspace_words(16 + 16, 16)) * 4;
  testing::TempDir dir_;
};

TEST_F(ManyHeads, ThoseThatDoNotFitTheWorkspaceFollowTheOthers) {
  EXPECT_EQ((std::size_t{256} << 20) / kHeadBytes, 85U);
  const auto tokens = prompt_below(10, 100);
  const LogitsResult want = run(dir_.path(), options_for(PromptAttention::gathered, 16), tokens);
  const LogitsResult got = run(dir_.path(), options_for(PromptAttention::expanded, 16), tokens);
  EXPECT_NE(got.logits, want.logits);
  for (std::size_t i = 0; i < want.logits.size(); ++i) {
    ASSERT_NEAR(got.logits[i], want.logits[i], 1e-4F) << i;
  }
}

TEST_F(ManyHeads, WhatTheyTakeIsCountedAndNothingIsTakenWithoutTheOption) {
  use_emulator();
  const auto config = load_config(dir_.path());
  const auto taken = [&](PromptAttention attention) {
    const std::size_t before = kernels::emulated_memory_used();
    const auto model = Model::load(dir_.path(), options_for(attention, 16));
    return static_cast<double>(kernels::emulated_memory_used() - before);
  };
  const auto counted = [&](PromptAttention attention) {
    return static_cast<double>(DeviceModel::workspace_bytes(*config, options_for(attention, 16)));
  };
  const double more = counted(PromptAttention::expanded) - counted(PromptAttention::gathered);
  const double latents = 8192.0 * (32 + 16) * 4;
  // Small pieces, as matrices are here, come from chunks of 8 MiB.
  constexpr double kChunk = 8 << 20;
  EXPECT_NEAR(more, 48.0 * kHeadBytes + latents, 1e5);
  EXPECT_NEAR(taken(PromptAttention::expanded) - taken(PromptAttention::gathered), more, kChunk);
  EXPECT_EQ(DeviceModel::turned_key_bytes(*config, PromptAttention::gathered), 0U);
  EXPECT_EQ(DeviceModel::turned_key_bytes(*config, PromptAttention::expanded),
            2U * 96 * 16 * 32 * sizeof(kernels::bf16));
}

TEST_F(DeviceExpandedModel, ForcedSelectionsAreGathered) {
  const auto tokens = prompt_below(20, 100);
  ForcedChoices forced;
  forced.selection = [](std::size_t, std::size_t position) {
    return std::vector<std::int32_t>{static_cast<std::int32_t>(position)};
  };
  const auto forced_run = [&](PromptAttention attention) {
    auto runner = LogitsRunner::open(parity_model_dir("glm_full"), options_for(attention));
    (*runner)->force(&forced);
    return (*runner)->run(tokens, false)->logits;
  };
  EXPECT_EQ(forced_run(PromptAttention::expanded), forced_run(PromptAttention::gathered));
}

TEST_F(DeviceExpandedModel, HeadsOfOtherShapesGatherAndItIsSaid) {
  nlohmann::json json = small_config_json();
  json["v_head_dim"] = 20;
  const auto config = parse_config(json.dump());
  ASSERT_TRUE(config.has_value()) << config.error().message;
  testing::TempDir dir;
  RandomCheckpointOptions how;
  how.dtype = WeightDType::f32;
  ASSERT_TRUE(write_random_checkpoint(*config, json.dump(), dir.path(), how).has_value());
  std::vector<std::string> notices;
  ModelOptions options = options_for(PromptAttention::expanded);
  options.on_notice = [&](const std::string& notice) { notices.push_back(notice); };
  const auto model = Model::load(dir.path(), options);
  ASSERT_TRUE(model.has_value()) << model.error().message;
  EXPECT_THAT(notices, ElementsAre(HasSubstr("no expanded form")));
  EXPECT_EQ((*model)->prompt_form_end(), 0U);
  EXPECT_THAT((*model)->arithmetic_name(), Not(HasSubstr("expanded")));
}

/// Bits: a model of nine layers with shared indexers and an FP8 cache, of which a prompt's first 32
/// rows are expanded.
class ExpandedBits : public DeviceExpandedModel {
 protected:
  void SetUp() override {
    DeviceExpandedModel::SetUp();
    if (IsSkipped()) return;
    ModelOptions options = options_for(PromptAttention::expanded);
    options.cache_dtype = CacheDType::fp8;
    auto model = Model::load(parity_model_dir("glm_shared"), options);
    ASSERT_TRUE(model.has_value()) << model.error().message;
    model_ = std::move(*model);
    auto pool = model_->create_pool(32 * model_->cache_layout().page_bytes);
    ASSERT_TRUE(pool.has_value());
    pool_ = std::make_unique<PagePool>(std::move(*pool));
  }
  std::vector<TokenId> prompt(std::size_t length, TokenId first = 0) const {
    auto tokens = prompt_below(length, model_->config().vocab_size);
    tokens[0] = (tokens[0] + first) % model_->config().vocab_size;
    return tokens;
  }
  BlockTable table(std::size_t num_tokens) {
    BlockTable table(*pool_);
    while (table.capacity() < num_tokens) table.append(*pool_->acquire());
    return table;
  }
  BatchSegment segment(BlockTable& table, std::span<const TokenId> tokens, std::size_t first,
                       std::size_t num_rows, std::size_t prompt_end) {
    return {.table = &table,
            .first_position = first,
            .tokens = tokens.subspan(first, num_rows),
            .wants_logits = true,
            .prompt_end = prompt_end};
  }
  std::vector<float> compute(BlockTable& table, std::span<const TokenId> tokens, std::size_t first,
                             std::size_t chunk, std::size_t prompt_end) {
    std::vector<float> logits;
    for (std::size_t at = first; at < tokens.size(); at += chunk) {
      const auto piece =
          segment(table, tokens, at, std::min(chunk, tokens.size() - at), prompt_end);
      const auto out = model_->forward({&piece, 1});
      logits.assign(out.begin(), out.end());
    }
    return logits;
  }
  std::vector<float> whole(std::span<const TokenId> tokens, std::size_t prompt_end) {
    BlockTable pages = table(tokens.size());
    return compute(pages, tokens, 0, tokens.size(), prompt_end);
  }

  std::unique_ptr<Model> model_;
  std::unique_ptr<PagePool> pool_;
};

TEST_F(ExpandedBits, ChunkedPromptsEqualWholeOnesEqualRowByRow) {
  ASSERT_EQ(model_->prompt_form_end(), 32U);
  for (const std::size_t length : {33U, 70U}) {
    const auto tokens = prompt(length);
    const auto want = whole(tokens, length);
    for (const std::size_t chunk : {length == 33 ? 1U : 64U, 13U}) {
      BlockTable pages = table(tokens.size());
      EXPECT_EQ(compute(pages, tokens, 0, chunk, length), want)
          << length << " in chunks of " << chunk;
    }
  }
}

/// Where the prompt ends counts up to there: generated rows behind it are gathered.
TEST_F(ExpandedBits, GeneratedRowsAreNotAPromptsButBehindTheFormsEnd) {
  const auto tokens = prompt(40);
  const auto as_prompt = whole(tokens, 40);
  EXPECT_EQ(whole(tokens, 32), as_prompt);
  EXPECT_NE(whole(tokens, 0), as_prompt);
  const auto after_20 = whole(tokens, 20);
  EXPECT_NE(after_20, as_prompt);
  BlockTable pages = table(tokens.size());
  EXPECT_EQ(compute(pages, tokens, 0, 9, 20), after_20);
}

TEST_F(ExpandedBits, ACacheHitWithACopiedPageEqualsComputing) {
  for (const std::size_t in_common : {5U, 31U, 40U}) {
    const auto tokens = prompt(60);
    PrefixCache cache(*pool_);
    {
      auto other = prompt(50);
      other[in_common] = 3;
      BlockTable pages = table(other.size());
      compute(pages, other, 0, other.size(), other.size());
      cache.insert(other, pages, true);
    }
    BlockTable pages(*pool_);
    const std::size_t num_cached = cache.match(std::span(tokens).first(59), pages).num_tokens;
    EXPECT_EQ(num_cached, in_common);
    cache.make_writable(pages, num_cached);
    EXPECT_EQ(compute(pages, tokens, num_cached, 100, 60), whole(tokens, 60)) << in_common;
  }
}

/// Pieces of prompts at several positions, one across the form's end, and generated rows between.
TEST_F(ExpandedBits, BatchingWithOthersChangesNothing) {
  struct Sequence {
    std::vector<TokenId> tokens;
    std::size_t before;
    std::size_t prompt_end;
  };
  const std::vector<Sequence> sequences = {{prompt(20, 1), 19, 10}, {prompt(30, 2), 0, 30},
                                           {prompt(50, 3), 25, 50}, {prompt(25, 4), 24, 25},
                                           {prompt(60, 5), 59, 60}, {prompt(12, 6), 7, 12}};
  std::vector<BlockTable> tables;
  std::vector<BatchSegment> segments;
  for (const Sequence& s : sequences) tables.push_back(table(s.tokens.size()));
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    const Sequence& s = sequences[i];
    const std::size_t n = s.tokens.size();
    compute(tables[i], std::span(s.tokens).first(s.before), 0, 100, s.prompt_end);
    segments.push_back(segment(tables[i], s.tokens, s.before, n - s.before, s.prompt_end));
  }
  const auto logits = model_->forward(segments);
  const std::vector<float> together(logits.begin(), logits.end());
  const std::size_t vocab = model_->config().vocab_size;
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    const auto begin = together.begin() + static_cast<std::ptrdiff_t>(i * vocab);
    EXPECT_EQ(std::vector<float>(begin, begin + static_cast<std::ptrdiff_t>(vocab)),
              whole(sequences[i].tokens, sequences[i].prompt_end))
        << i;
  }
  EXPECT_TRUE(model_->check().has_value());
}

/// With room for three pages of keys at a time: two sequences, one, and one that fills it.
TEST_F(DeviceExpandedModel, SequencesOfSeveralPagesShareWorkspaceAsFarAsItReaches) {
  nlohmann::json json = small_config_json();
  json["index_topk"] = 160;
  auto model = Model::load(small_model_dir(), *parse_config(json.dump()),
                           options_for(PromptAttention::expanded, 512));
  ASSERT_TRUE(model.has_value()) << model.error().message;
  auto pool = (*model)->create_pool(32 * (*model)->cache_layout().page_bytes);
  ASSERT_TRUE(pool.has_value());
  const auto forward = [&](std::span<const BatchSegment> segments) {
    const auto logits = (*model)->forward(segments);
    return std::vector<float>(logits.begin(), logits.end());
  };
  const std::size_t lengths[] = {20, 128, 70, 170};
  std::vector<std::vector<TokenId>> prompts;
  std::vector<BlockTable> tables;
  std::vector<BatchSegment> together;
  std::vector<float> alone;
  for (const std::size_t length : lengths) {
    auto& tokens = prompts.emplace_back(prompt_below(length, 320));
    tokens[0] = static_cast<TokenId>(length);
    for (int i = 0; i < 2; ++i) {
      BlockTable& table = tables.emplace_back(*pool);
      while (table.capacity() < length) table.append(*pool->acquire());
    }
  }
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    BatchSegment segment{.table = &tables[2 * i],
                         .tokens = prompts[i],
                         .wants_logits = true,
                         .prompt_end = prompts[i].size()};
    const auto logits = forward({&segment, 1});
    alone.insert(alone.end(), logits.begin(), logits.end());
    // The first rows of the other table, and then the rest together.
    const std::size_t before = lengths[i] / 3;
    segment.table = &tables[2 * i + 1];
    segment.tokens = std::span(prompts[i]).first(before);
    forward({&segment, 1});
    segment.first_position = before;
    segment.tokens = std::span(prompts[i]).subspan(before);
    together.push_back(segment);
  }
  EXPECT_EQ(forward(together), alone);
}

}  // namespace
}  // namespace ponder::engine
