#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <span>
#include <vector>

#include "engine/model.h"
#include "tests/engine/golden_model.h"

/// A model and its pages, for tests that compute step by step and compare bits.
namespace ponder::engine {

class SteppedModel {
 protected:
  void take_model(std::unique_ptr<Model> model, std::size_t num_pages) {
    model_ = std::move(model);
    auto pool = model_->create_pool(num_pages * model_->cache_layout().page_bytes);
    ASSERT_TRUE(pool.has_value()) << pool.error().message;
    pool_ = std::make_unique<PagePool>(std::move(*pool));
  }

  std::vector<TokenId> prompt(std::size_t length) const {
    std::vector<TokenId> tokens = golden_prompt(length);
    for (TokenId& token : tokens) token %= model_->config().vocab_size;
    return tokens;
  }
  BlockTable table(std::size_t num_tokens) {
    BlockTable table(*pool_);
    while (table.capacity() < num_tokens) table.append(*pool_->acquire());
    return table;
  }
  /// The tokens from `first` on, so many at a time; the logits of the last.
  std::vector<float> compute(BlockTable& table, std::span<const TokenId> tokens, std::size_t first,
                             std::size_t chunk) {
    std::vector<float> logits;
    for (std::size_t at = first; at < tokens.size(); at += chunk) {
      const BatchSegment segment{.table = &table,
                                 .first_position = at,
                                 .tokens = tokens.subspan(at, std::min(chunk, tokens.size() - at)),
                                 .wants_logits = true};
      const auto out = model_->forward({&segment, 1});
      logits.assign(out.begin(), out.end());
    }
    return logits;
  }
  std::vector<float> whole(std::span<const TokenId> tokens) {
    BlockTable pages = table(tokens.size());
    return compute(pages, tokens, 0, tokens.size());
  }

  std::unique_ptr<Model> model_;
  std::unique_ptr<PagePool> pool_;
};

}  // namespace ponder::engine
