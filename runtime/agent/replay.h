#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "context/message.h"
#include "runtime/model/model_client.h"
#include "runtime/session/event.h"

/// A session once more, from its log: the tools' results as recorded, the completions asked for
/// again. The embedded engine samples the same ids from the same prompt and seed, so that whatever
/// differs has a cause: other weights, another tokenizer, other code, or a log that was changed.
namespace ponder::runtime {

/// Where a completion is not what the log has.
struct ReplayDifference {
  std::int64_t seq = 0;       // of the ModelCompleted
  std::uint32_t turn = 0;     // counts from 1
  std::uint32_t step = 0;     // counts from 0 within the turn
  bool is_summary = false;    // of what a cut removed; seq is that of the ContextReduced
  bool is_in_prompt = false;  // the prompt itself is another; then no token is compared
  std::size_t position = 0;   // of the first sampled id that differs
  std::optional<context::TokenId> recorded;  // none: the recorded completion ended before
  std::optional<context::TokenId> sampled;   // none: the new one did
};

struct ReplayReport {
  std::uint32_t completions = 0;     // in the log, summaries included
  std::uint32_t summaries = 0;       // of these, what cuts asked for
  std::uint32_t same = 0;            // sampled again, id for id
  std::uint32_t different = 0;       // of these the first is `first`
  std::uint32_t not_comparable = 0;  // another model's, an endpoint's, or after lost events
  std::uint64_t tokens_compared = 0;
  std::optional<ReplayDifference> first;
};

/// Fails as the model does. Of a summary the log has the text and not the ids: the text's ids are
/// compared. What goes on from it is always the log's.
boost::asio::awaitable<Result<ReplayReport>> replay(std::vector<Record> records,
                                                    ModelClient& model);

}  // namespace ponder::runtime
