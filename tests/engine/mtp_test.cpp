// The MTP layer: what it guesses, and that its cache rows follow from the tokens alone.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "engine/model.h"
#include "kernels/dispatch.h"
#include "tests/engine/golden_model.h"
#include "tests/engine/parity_fixture.h"

namespace ponder::engine {
namespace {

using nlohmann::json;

std::vector<std::string> isa_names() {
  std::vector<std::string> names;
  for (const auto* table : kernels::runnable_tables()) names.emplace_back(table->name);
  return names;
}

// Logits are of the order of one; both sides differ in the rounding of fp32 sums of up to a hundred
// terms in at most six layers.
constexpr float kTolerance = 4e-5F;

std::vector<float> copy(std::span<const float> values) { return {values.begin(), values.end()}; }

/// A model with its MTP layer, and pages.
class Drafter {
 public:
  Drafter(const std::filesystem::path& dir, const std::string& isa) {
    ModelOptions options;
    options.isa = isa;
    options.num_threads = 2;
    options.has_drafts = true;
    auto model = Model::load(dir, options);
    EXPECT_TRUE(model.has_value()) << model.error().message;
    model_ = std::move(*model);
    auto pool = PagePool::create(model_->cache_layout(), 32 * model_->cache_layout().page_bytes);
    EXPECT_TRUE(pool.has_value());
    pool_ = std::make_unique<PagePool>(std::move(*pool));
  }

  Model& model() { return *model_; }

  BlockTable table(std::size_t num_tokens) {
    BlockTable table(*pool_);
    while (table.capacity() < num_tokens) table.append(*pool_->acquire());
    return table;
  }

  /// Computes the tokens from `first` on and returns the final hidden states of all those rows.
  std::vector<std::vector<float>> compute(BlockTable& table, std::span<const TokenId> tokens,
                                          std::size_t chunk, std::size_t first = 0,
                                          std::vector<float> before = {}) {
    std::vector<std::vector<float>> hidden;
    for (std::size_t at = first; at < tokens.size(); at += chunk) {
      const auto part = tokens.subspan(at, std::min(chunk, tokens.size() - at));
      const BatchSegment segment{
          .table = &table, .first_position = at, .tokens = part, .hidden_before = before};
      model_->forward({&segment, 1});
      for (std::size_t i = 0; i < part.size(); ++i) hidden.push_back(copy(model_->hidden(i)));
      before = hidden.back();
    }
    return hidden;
  }

  /// Logits of what follows the token at `position`.
  std::vector<float> guess(BlockTable& table, std::size_t position, TokenId token,
                           std::span<const float> hidden,
                           std::vector<std::int32_t>* selection = nullptr) {
    const DraftRow row{.table = &table,
                       .position = position,
                       .token = token,
                       .hidden = hidden,
                       .selection = selection};
    return copy(model_->draft({&row, 1}));
  }

  /// The layer's cache rows of a position.
  std::string rows_at(const BlockTable& table, std::size_t position) {
    const CacheLayout& layout = model_->cache_layout();
    const std::size_t layer = model_->config().num_hidden_layers;
    const auto text = [](const std::byte* row, std::size_t num_bytes) {
      return std::string(reinterpret_cast<const char*>(row), num_bytes);
    };
    return text(table.latent_row(layer, position), layout.latent_stride * layout.latent_bytes) +
           text(table.index_row(layer, position), layout.index_stride * layout.key_bytes);
  }

 private:
  std::unique_ptr<Model> model_;
  std::unique_ptr<PagePool> pool_;
};

class MtpLayer : public ::testing::TestWithParam<std::string> {
 protected:
  static std::vector<TokenId> tokens(std::size_t count) {
    std::vector<TokenId> ids = golden_prompt(count);
    for (TokenId& id : ids) id %= 192;
    return ids;
  }

  Drafter drafter_{parity_model_dir("mtp_deepseek"), GetParam()};
};

TEST_P(MtpLayer, TheGoldenModelGuessesAsItShould) {
  Drafter drafter(golden_dir(), GetParam());
  const auto tokens = golden_prompt();
  BlockTable pages = drafter.table(tokens.size());
  const auto hidden = drafter.compute(pages, tokens, 96);
  const auto logits = drafter.guess(pages, 95, tokens[95], hidden[94]);
  const float first[] = {0.7847495F, -1.2329191F, -0.9078960F, 0.0525216F};
  for (std::size_t i = 0; i < 4; ++i) EXPECT_NEAR(logits[i], first[i], 1e-4F) << i;
  for (const auto& [id, logit] :
       {std::pair{3886, 3.7375396F}, {3193, 3.7292072F}, {3629, 3.2988004F}}) {
    const auto i = static_cast<std::size_t>(id);
    EXPECT_NEAR(logits[i], logit, 1e-4F);
  }
  EXPECT_EQ(std::ranges::max_element(logits) - logits.begin(), 3886);
}

TEST_P(MtpLayer, ChunksAndStepsGiveTheBitsOfTheWhole) {
  const auto tokens = MtpLayer::tokens(130);
  BlockTable whole = drafter_.table(tokens.size());
  const auto hidden = drafter_.compute(whole, tokens, tokens.size());
  const auto want = drafter_.guess(whole, 129, tokens[129], hidden[128]);
  for (const std::size_t chunk : {1U, 7U, 64U, 100U}) {
    BlockTable pages = drafter_.table(tokens.size());
    EXPECT_EQ(drafter_.compute(pages, tokens, chunk), hidden) << "chunks of " << chunk;
    EXPECT_EQ(drafter_.guess(pages, 129, tokens[129], hidden[128]), want);
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      ASSERT_EQ(drafter_.rows_at(pages, i), drafter_.rows_at(whole, i)) << i;
    }
  }
}

/// A prefix from the cache has no hidden states: its last row is computed again, and stays.
TEST_P(MtpLayer, AKnownRowIsComputedAndNotWritten) {
  const auto tokens = MtpLayer::tokens(130);
  BlockTable pages = drafter_.table(tokens.size());
  const auto hidden = drafter_.compute(pages, tokens, tokens.size());
  std::vector<std::string> rows;
  for (std::size_t i = 0; i < tokens.size(); ++i) rows.push_back(drafter_.rows_at(pages, i));
  for (const std::size_t known : {1U, 64U, 100U}) {
    for (std::size_t i = known; i < tokens.size(); ++i) {  // as if never computed
      const CacheLayout& layout = drafter_.model().cache_layout();
      const std::size_t layer = drafter_.model().config().num_hidden_layers;
      std::memset(pages.latent_row(layer, i), 0, layout.latent_stride * layout.latent_bytes);
      std::memset(pages.index_row(layer, i), 0, layout.index_stride * layout.key_bytes);
    }
    const BatchSegment segment{.table = &pages,
                               .first_position = known - 1,
                               .tokens = std::span(tokens).subspan(known - 1),
                               .num_known = 1};
    drafter_.model().forward({&segment, 1});
    EXPECT_EQ(copy(drafter_.model().hidden(0)), hidden[known - 1]);
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      ASSERT_EQ(drafter_.rows_at(pages, i), rows[i]) << i << " with " << known << " known";
    }
  }
}

TEST_P(MtpLayer, RejectedDraftsLeaveNoTrace) {
  const auto tokens = MtpLayer::tokens(140);
  BlockTable pages = drafter_.table(tokens.size());
  auto hidden = drafter_.compute(pages, std::span(tokens).first(120), 120);
  drafter_.guess(pages, 119, tokens[119], hidden[118]);
  for (std::size_t i = 120; i < 123; ++i) {
    drafter_.guess(pages, i, static_cast<TokenId>(i), copy(drafter_.model().hidden(0)));
  }
  const auto rest = drafter_.compute(pages, tokens, 1, 120, hidden.back());
  const auto got = drafter_.guess(pages, 139, tokens[139], rest[18]);
  BlockTable fresh = drafter_.table(tokens.size());
  hidden = drafter_.compute(fresh, tokens, tokens.size());
  EXPECT_EQ(got, drafter_.guess(fresh, 139, tokens[139], hidden[138]));
}

TEST_P(MtpLayer, OtherSequencesInTheBatchChangeNoBit) {
  const auto tokens = MtpLayer::tokens(100);
  auto other = MtpLayer::tokens(70);
  other[0] = 3;
  BlockTable mine = drafter_.table(tokens.size());
  BlockTable theirs = drafter_.table(other.size());
  const auto hidden = drafter_.compute(mine, tokens, 100);
  const auto their_hidden = drafter_.compute(theirs, other, 70);
  const auto want = drafter_.guess(mine, 99, tokens[99], hidden[98]);
  drafter_.compute(mine, tokens, 100);  // both rows' batch must have been seen
  const DraftRow rows[] = {
      {.table = &theirs, .position = 69, .token = other[69], .hidden = their_hidden[68]},
      {.table = &mine, .position = 99, .token = tokens[99], .hidden = hidden[98]}};
  const auto both = drafter_.model().draft(rows);
  ASSERT_EQ(both.size(), 2 * want.size());
  EXPECT_EQ(copy(both.last(want.size())), want);
}

INSTANTIATE_TEST_SUITE_P(EveryIsa, MtpLayer, ::testing::ValuesIn(isa_names()),
                         [](const auto& info) { return info.param; });

/// Against scripts/fixtures/reference.py: after a prompt, then draft by draft, each from the hidden
/// state that the one before left; with a selection of its own or the first draft's.
class MtpParity : public ::testing::TestWithParam<std::tuple<std::string, std::string>> {};

TEST_P(MtpParity, EveryDraftsLogitsAgree) {
  const auto& [name, isa] = GetParam();
  const json fixture = parity_fixture(name);
  Drafter drafter(parity_model_dir(name), isa);
  const ModelConfig& config = drafter.model().config();
  const auto prompt = fixture.at("tokens").get<std::vector<TokenId>>();
  ASSERT_GT(prompt.size(), 3 * config.index_topk);
  const auto drafts = fixture.at("drafts").get<std::vector<TokenId>>();
  for (const json& run : fixture.at("runs")) {
    SCOPED_TRACE("length " + run.at("length").dump());
    const auto tokens = std::span(prompt).first(run["length"].get<std::size_t>());
    BlockTable pages = drafter.table(tokens.size() + drafts.size());
    const auto hidden = drafter.compute(pages, tokens, 50);
    std::vector<std::int32_t> selection;
    auto got = drafter.guess(pages, tokens.size() - 1, tokens.back(), hidden[tokens.size() - 2],
                             &selection);
    for (std::size_t depth = 0;; ++depth) {
      const auto want = run.at("logits").at(depth).get<std::vector<float>>();
      ASSERT_EQ(got.size(), want.size());
      for (std::size_t i = 0; i < want.size(); ++i) {
        ASSERT_NEAR(got[i], want[i], kTolerance) << "depth " << depth << ", logit " << i;
      }
      if (depth == drafts.size()) break;
      got = drafter.guess(pages, tokens.size() + depth, drafts[depth],
                          copy(drafter.model().hidden(0)), &selection);
    }
    EXPECT_EQ(selection.empty(), !config.index_share_for_mtp_iteration);
    EXPECT_EQ(drafter.model().num_nan_scores(), 0U);  // slot 0 does not count
  }
}

INSTANTIATE_TEST_SUITE_P(
    EveryConfigAndIsa, MtpParity,
    ::testing::Combine(::testing::Values("mtp_deepseek", "mtp_glm", "mtp_glm_unshared"),
                       ::testing::ValuesIn(isa_names())),
    [](const auto& info) { return std::get<0>(info.param) + "_" + std::get<1>(info.param); });

}  // namespace
}  // namespace ponder::engine
