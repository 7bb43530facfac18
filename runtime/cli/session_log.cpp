#include <fmt/core.h>

#include <boost/asio/io_context.hpp>
#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

#include "runtime/agent/replay.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/compose.h"
#include "runtime/cli/go_on.h"
#include "runtime/cli/terminal.h"
#include "runtime/cli/version.h"
#include "runtime/session/event_json.h"
#include "runtime/session/log_diff.h"
#include "runtime/session/session_lines.h"
#include "runtime/session/session_state.h"
#include "runtime/session/trajectory.h"

/// `ponder sessions export|import|diff|replay`: sessions as files, side by side, and once more.
namespace ponder::cli {
namespace {

namespace asio = boost::asio;
using nlohmann::json;

constexpr std::size_t kEventColumns = 200;

void print_line(const json& line) {
  fmt::print("{}\n", line.dump(-1, ' ', false, json::error_handler_t::replace));
}

Result<std::string> read_all(const std::string& file) {
  if (file == "-") {
    return std::string(std::istreambuf_iterator<char>(std::cin), {});
  }
  std::ifstream in(file, std::ios::binary);
  if (!in) return fail(Errc::not_found, fmt::format("cannot read {}", file));
  return std::string(std::istreambuf_iterator<char>(in), {});
}

/// Sub-agents' work is in sessions of their own, which a copy of their caller does not hold.
void name_sub_agents(const runtime::SessionCopy& session) {
  const auto state = runtime::fold(session.records);
  if (state.sub_agents.empty()) return;
  std::string ids;
  for (const auto& agent : state.sub_agents) ids += " " + agent.started.child;
  fmt::print(stderr, "note: not in it are the sessions of its sub-agents; export each:{}\n",
             printable(ids));
}

// NOLINTNEXTLINE(cppcoreguidelines-avoid-reference-coroutine-parameters): the caller waits for it
asio::awaitable<int> bring_in(runtime::SessionStore& store, runtime::SessionCopy session,
                              bool as_json) {
  const runtime::SessionId id = session.id;
  const std::size_t events = session.records.size();
  const auto imported = co_await store.import(std::move(session));
  if (!imported) {
    const bool is_there = imported.error().code == Errc::invalid_argument;
    co_return complain(imported.error().message +
                       (is_there ? "; --as-new gives the copy an id of its own" : ""));
  }
  if (as_json)
    print_line({{"id", id.value}, {"events", events}});
  else
    fmt::print("session {}: {} events\n", id.value, events);
  co_return 0;
}

json side(const std::optional<runtime::Record>& record, std::uint64_t more) {
  if (!record) return {{"seq", nullptr}, {"events", 0}};
  return {{"seq", record->seq},
          {"type", runtime::event_type(record->event)},
          {"data", runtime::event_payload(record->event)},
          {"events", more}};
}

void print_side(const char* mark, const std::optional<runtime::Record>& record,
                std::uint64_t more) {
  if (!record) {
    fmt::print("{} ends here\n", mark);
    return;
  }
  fmt::print("{} event {}, {}: {}\n", mark, record->seq, runtime::event_type(record->event),
             one_line(runtime::event_payload(record->event), kEventColumns));
  if (more > 1) fmt::print("{} and {} more\n", mark, more - 1);
}

void print_difference(const runtime::LogDifference& found) {
  fmt::print("{} events are equal\n", found.events_equal);
  if (found.is_equal) return;
  if (found.token) fmt::print("the completions part at token {}\n", *found.token);
  print_side("<", found.left, found.left_more);
  print_side(">", found.right, found.right_more);
}

json to_json(const std::optional<context::TokenId>& id) { return id ? json(*id) : json(nullptr); }

void print_replay(const runtime::ReplayReport& report) {
  fmt::print(
      "{} completions ({} of them summaries): {} the same, {} different, {} not comparable; {} "
      "tokens compared\n",
      report.completions, report.summaries, report.same, report.different, report.not_comparable,
      report.tokens_compared);
  if (!report.first) return;
  const auto& first = *report.first;
  fmt::print("first difference: event {}, turn {}, step {}, {}", first.seq, first.turn, first.step,
             first.is_summary ? "of the summary " : "");
  if (first.is_in_prompt) {
    fmt::print("in the prompt: this model's tokenizer or chat format makes another\n");
    return;
  }
  const auto name = [](const std::optional<context::TokenId>& id) {
    return id ? std::to_string(*id) : std::string("the end");
  };
  fmt::print("token {}: {} in the log, {} now\n", first.position, name(first.recorded),
             name(first.sampled));
}

void print_replay_json(const runtime::ReplayReport& report) {
  json out = {{"completions", report.completions},
              {"summaries", report.summaries},
              {"same", report.same},
              {"different", report.different},
              {"not_comparable", report.not_comparable},
              {"tokens_compared", report.tokens_compared},
              {"first", nullptr}};
  if (report.first) {
    const auto& first = *report.first;
    out["first"] = {{"seq", first.seq},
                    {"turn", first.turn},
                    {"step", first.step},
                    {"summary", first.is_summary},
                    {"in_prompt", first.is_in_prompt},
                    {"position", first.position},
                    {"recorded", to_json(first.recorded)},
                    {"sampled", to_json(first.sampled)}};
  }
  print_line(out);
}

// NOLINTNEXTLINE(cppcoreguidelines-avoid-reference-coroutine-parameters): the caller waits for it
asio::awaitable<int> run_replay(std::vector<runtime::Record> records, runtime::ModelClient& model,
                                bool as_json) {
  const auto report = co_await runtime::replay(std::move(records), model);
  if (!report) co_return complain(report.error().message);
  if (as_json)
    print_replay_json(*report);
  else
    print_replay(*report);
  co_return report->different == 0 && report->same > 0 ? 0 : 1;
}

}  // namespace

int export_session(const runtime::SessionStore& store, const runtime::SessionId& id,
                   const std::string& format) {
  const auto session = store.copy(id);
  if (!session) return complain(session.error().message);
  if (format == "atif")
    fmt::print("{}", runtime::to_atif(*session, version_line().substr(sizeof "ponder")));
  else if (format == "markdown")
    fmt::print("{}", runtime::to_markdown(*session));
  else
    fmt::print("{}", runtime::write_lines(*session));
  name_sub_agents(*session);
  return 0;
}

int import_session(runtime::SessionStore& store, const SessionsOptions& options) {
  const auto text = read_all(options.id);
  if (!text) return complain(text.error().message);
  auto session = runtime::read_lines(*text);
  if (!session) return complain(fmt::format("{}: {}", options.id, session.error().message));
  const runtime::SessionId id = options.as_new ? store.new_id() : session->id;
  runtime::mark_as_imported(*session, system_clock().unix_ms(), id);
  asio::io_context io(1);
  return run_interruptibly(io, bring_in(store, std::move(*session), options.json));
}

int diff_sessions(const runtime::SessionStore& store, const runtime::SessionId& id,
                  const SessionsOptions& options) {
  const auto left = store.load(id);
  if (!left) return complain(left.error().message);
  const auto right = store.load(runtime::SessionId{options.other_id});
  if (!right) return complain(right.error().message);
  const auto found = runtime::diff_logs(*left, *right);
  if (!options.json) {
    print_difference(found);
  } else {
    print_line({{"equal", found.is_equal},
                {"events_equal", found.events_equal},
                {"token", found.token ? json(*found.token) : json(nullptr)},
                {"left", side(found.left, found.left_more)},
                {"right", side(found.right, found.right_more)}});
  }
  return found.is_equal ? 0 : 1;
}

constexpr const char* kScriptsName = "script";  // ScriptedModel's, in the log

int replay_session(const Environment& environment, const runtime::SessionStore& store,
                   const runtime::SessionId& id, const SessionsOptions& options) {
  const auto records = store.load(id);
  if (!records) return complain(records.error().message);
  ModelOptions model_options = options.model;
  const auto state = runtime::fold(*records);
  if (model_options.model.empty() && environment.model.empty() && state.start) {
    choose_logged_model(state.start->model, model_options);
  }
  if (model_options.is_from_log && model_options.model == kScriptsName) {
    return complain("a script answered in this session: name it again with --model script:FILE");
  }
  const auto model = open_model(environment, model_options);
  if (!model) return complain(model.error().message);
  asio::io_context io(1);
  return run_interruptibly(io, run_replay(*records, **model, options.json));
}

}  // namespace ponder::cli
