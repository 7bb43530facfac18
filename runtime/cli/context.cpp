#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "engine/tokenizer.h"
#include "runtime/agent/context_report.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/compose.h"
#include "runtime/cli/terminal.h"
#include "runtime/data_dir.h"
#include "runtime/model/embedded_model.h"
#include "runtime/session/session_state.h"

/// `ponder context`: what the model sees of a session, and why.
namespace ponder::cli {
namespace {

using nlohmann::json;

constexpr std::size_t kTextColumns = 44;

/// The tokenizer that the session's prompts were made with.
Result<engine::Tokenizer> tokenizer_of(const Environment& environment,
                                       const std::vector<runtime::Record>& records,
                                       const ContextOptions& options) {
  if (!options.tokenizer.empty()) return engine::Tokenizer::load(options.tokenizer);
  const auto state = runtime::fold(records);
  if (!state.start) return fail(Errc::corrupt, "the session has no readable beginning");
  PONDER_TRY(const auto dir,
             runtime::find_model({state.start->model, environment.model, environment.executable}));
  return engine::Tokenizer::load(dir / "tokenizer.json");
}

json to_json(const runtime::ContextReport& report) {
  json segments = json::array();
  for (const auto& segment : report.segments) {
    segments.push_back({{"seq", segment.seq},
                        {"event", segment.event},
                        {"role", segment.role},
                        {"text", segment.text},
                        {"tokens", segment.tokens},
                        {"tokens_dropped", segment.tokens_dropped},
                        {"kept", segment.is_kept},
                        {"rule", segment.rule}});
  }
  json out = {{"policy", report.policy},         {"prompts", report.prompts},
              {"tokens", report.tokens},         {"tokens_cached", report.tokens_cached},
              {"segments", std::move(segments)}, {"divergence", nullptr}};
  if (report.divergence) {
    const auto& parted = *report.divergence;
    out["divergence"] = {{"tokens_before", parted.tokens_before},
                         {"tokens_now", parted.tokens_now},
                         {"tokens_common", parted.tokens_common},
                         {"tokens_new", parted.tokens_new},
                         {"tokens_again", parted.tokens_again},
                         {"seq", parted.seq},
                         {"rule", parted.rule}};
  }
  return out;
}

void print_table(const runtime::ContextReport& report) {
  fmt::print("policy {}; prompt {} of the session: {} tokens, {} of them from the cache\n\n",
             report.policy, report.prompts, report.tokens, report.tokens_cached);
  fmt::print("{:>5} {:<16} {:<9} {:>7} {:>8}  {:<44} {}\n", "event", "type", "role", "tokens",
             "dropped", "text", "rule");
  for (const auto& segment : report.segments) {
    fmt::print("{:>5} {:<16} {:<9} {:>7} {:>8}  {:<44} {}\n", segment.seq, segment.event,
               segment.role, segment.tokens, segment.tokens_dropped,
               one_line(segment.text, kTextColumns), segment.rule);
  }
  if (!report.divergence) {
    fmt::print("\nthis is the only prompt so far\n");
    return;
  }
  const auto& parted = *report.divergence;
  fmt::print("\nthe prompt before and its completion had {} tokens; ", parted.tokens_before);
  if (parted.tokens_common == parted.tokens_before) {
    fmt::print("the latest begins with all of them\n");
  } else {
    fmt::print("the latest parts from them after {}\nin the message of event {}: {}\n",
               parted.tokens_common, parted.seq, parted.rule);
  }
  fmt::print("computed for it: {} tokens of new messages, {} once more\n", parted.tokens_new,
             parted.tokens_again);
}

}  // namespace

int explain_context(const Environment& environment, const ContextOptions& options) {
  const auto store = open_store(environment);
  if (!store) return complain(store.error().message);
  const auto id = (*store)->resolve(options.id);
  if (!id) return complain(id.error().message);
  const auto records = (*store)->load(*id);
  if (!records) return complain(records.error().message);
  const auto tokenizer = tokenizer_of(environment, *records, options);
  if (!tokenizer) return complain(tokenizer.error().message);
  const auto report = runtime::report_context(*records, runtime::tokenize_fn(*tokenizer));
  if (!report) return complain(report.error().message);
  if (options.json)
    fmt::print("{}\n", to_json(*report).dump(-1, ' ', false, json::error_handler_t::replace));
  else
    print_table(*report);
  return 0;
}

}  // namespace ponder::cli
