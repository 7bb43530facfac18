#include "engine/logits.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "base/assert.h"
#include "engine/machine.h"

namespace ponder::engine {

Result<std::unique_ptr<LogitsRunner>> LogitsRunner::open(const std::filesystem::path& model_dir,
                                                         const ModelOptions& options) {
  PONDER_TRY(auto model, Model::load(model_dir, options));
  return std::unique_ptr<LogitsRunner>(new LogitsRunner(std::move(model)));
}

Result<std::unique_ptr<LogitsRunner>> LogitsRunner::open(const std::filesystem::path& model_dir,
                                                         ModelConfig config,
                                                         const ModelOptions& options) {
  PONDER_TRY(auto model, Model::load(model_dir, std::move(config), options));
  return std::unique_ptr<LogitsRunner>(new LogitsRunner(std::move(model)));
}

Result<std::unique_ptr<LogitsRunner>> LogitsRunner::open_as_engine(
    const std::filesystem::path& model_dir, const EngineOptions& options) {
  std::unique_ptr<Model> model;
  PONDER_CHECK(
      open_on_chosen_device(options, [&](const kernels::DeviceTable* device) -> Status {
        PONDER_TRY(model, Model::load(model_dir, model_options(options, device)));
        return {};
      }));
  tell_placement(*model, options);
  return std::unique_ptr<LogitsRunner>(new LogitsRunner(std::move(model)));
}

Result<LogitsResult> LogitsRunner::run(std::span<const TokenId> tokens, bool with_trace,
                                       std::size_t chunk_rows) {
  if (tokens.empty()) return fail(Errc::invalid_argument, "tokens: none");
  if (tokens.size() > config().max_position_embeddings) {
    return fail(Errc::invalid_argument, fmt::format("tokens: {}, the model takes {}", tokens.size(),
                                                    config().max_position_embeddings));
  }
  for (const TokenId token : tokens) {
    if (token < config().vocab_size) continue;
    return fail(Errc::invalid_argument,
                fmt::format("tokens: {} is not below vocab_size {}", token, config().vocab_size));
  }
  const std::size_t num_pages = pages_for(tokens.size());
  const CacheLayout& layout = model_->cache_layout();
  PONDER_TRY(PagePool pool, model_->create_pool(num_pages * layout.page_bytes));
  BlockTable table(pool);
  for (std::size_t i = 0; i < num_pages; ++i) {
    const std::optional<PageId> page = pool.acquire();
    PONDER_ASSERT(page);  // the pool was made for this many
    table.append(*page);
  }

  const std::size_t most = model_->batch_rows_max();
  const std::size_t chunk = chunk_rows == 0 ? most : std::min(chunk_rows, most);
  LogitsResult result;
  for (std::size_t begin = 0; begin < tokens.size(); begin += chunk) {
    const auto part = tokens.subspan(begin, std::min(chunk, tokens.size() - begin));
    const bool is_last = begin + part.size() == tokens.size();
    const BatchSegment segment{.table = &table,
                               .first_position = begin,
                               .tokens = part,
                               .wants_logits = is_last,
                               .prompt_end = tokens.size()};
    const auto logits =
        model_->forward({&segment, 1}, is_last && with_trace ? &result.trace : nullptr);
    result.logits.assign(logits.begin(), logits.end());
  }
  PONDER_CHECK(model_->check());
  return result;
}

}  // namespace ponder::engine
