#include "runtime/agent/replay.h"

#include <string>
#include <utility>
#include <vector>

#include "runtime/agent/context_keeper.h"
#include "runtime/session/log_diff.h"
#include "runtime/session/session_state.h"
#include "runtime/text.h"

namespace ponder::runtime {
namespace {

using Ids = std::vector<context::TokenId>;

/// Whether the model can be asked what was asked in this state.
bool can_ask(const SessionState& state, const ModelClient& model) {
  const bool has_request = state.start && state.is_turn_open && !state.has_open_calls();
  return has_request && state.start->vocabulary == model.vocabulary() && model.tokenizer();
}

std::optional<context::TokenId> id_at(const std::vector<context::TokenId>& ids, std::size_t i) {
  if (i >= ids.size()) return std::nullopt;
  return ids[i];
}

Ids ids_of(const std::string& text, const ModelClient& model) {
  return model.tokenizer()(text, /*match_added_tokens=*/false);
}

/// A completion of the log.
struct Recorded {
  ModelRequest request;
  Ids sampled;
  std::string prompt_hash;
};

std::optional<Recorded> recorded_in(const Record& record, const SessionState& state,
                                    const ModelClient& model) {
  if (!can_ask(state, model)) return std::nullopt;
  if (const auto* e = std::get_if<ModelCompleted>(&record.event)) {
    if (e->prompt_hash.empty() || e->message.sampled.empty()) return std::nullopt;
    return Recorded{next_request(state), e->message.sampled, e->prompt_hash};
  }
  const auto& e = std::get<ContextReduced>(record.event);
  return Recorded{summary_request_of(state, e.reduction), ids_of(e.reduction.summary, model),
                  e.summary_prompt_hash};
}

bool has_summary(const Record& record) {
  const auto* e = std::get_if<ContextReduced>(&record.event);
  return e != nullptr && !e->summary_prompt_hash.empty();
}

void compare(const Ids& before, const Ids& now, ReplayDifference where, ReplayReport& report) {
  if (!where.is_in_prompt) {
    where.position = first_difference(before, now);
    report.tokens_compared += where.position;
    if (before == now) {
      ++report.same;
      return;
    }
    where.recorded = id_at(before, where.position);
    where.sampled = id_at(now, where.position);
  }
  ++report.different;
  if (!report.first) report.first = where;
}

void no_listener(const ModelDelta&) {}

}  // namespace

// NOLINTBEGIN(cppcoreguidelines-avoid-reference-coroutine-parameters): the caller waits for it
boost::asio::awaitable<Result<ReplayReport>> replay(std::vector<Record> records,
                                                    ModelClient& model) {
  ReplayReport report;
  SessionState state;
  for (const Record& record : records) {
    const bool is_summary = has_summary(record);
    if (is_summary || std::holds_alternative<ModelCompleted>(record.event)) {
      ++report.completions;
      report.summaries += is_summary ? 1 : 0;
      auto recorded = recorded_in(record, state, model);
      if (recorded) {
        ModelSink sink = no_listener;
        auto completion = co_await model.complete(std::move(recorded->request), std::move(sink));
        PONDER_CO_CHECK(completion);
        ReplayDifference where;
        where.seq = record.seq;
        where.turn = state.turns;
        where.step = state.step;
        where.is_summary = is_summary;
        where.is_in_prompt = completion->prompt_hash != recorded->prompt_hash;
        Ids sampled = std::move(completion->message.sampled);
        if (is_summary) sampled = ids_of(clean_utf8(completion->message.content), model);
        compare(recorded->sampled, sampled, where, report);
      } else {
        ++report.not_comparable;
      }
    }
    apply(state, record);
  }
  co_return report;
}
// NOLINTEND(cppcoreguidelines-avoid-reference-coroutine-parameters)

}  // namespace ponder::runtime
