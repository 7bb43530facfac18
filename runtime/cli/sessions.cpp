#include <fmt/core.h>

#include <algorithm>
#include <boost/asio/this_coro.hpp>
#include <ctime>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "runtime/agent/agent.h"
#include "runtime/agent/sub_agents.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/compose.h"
#include "runtime/cli/conclude.h"
#include "runtime/cli/desk_lines.h"
#include "runtime/cli/go_on.h"
#include "runtime/cli/live_view.h"
#include "runtime/cli/toolset_flags.h"
#include "runtime/session/work_queue.h"
#include "runtime/workflow/workflow.h"

/// `ponder sessions`: what is in the store, and going on where a session stopped.
namespace ponder::cli {
namespace {

namespace asio = boost::asio;

constexpr std::uint32_t kSessionsListed = 200;

std::string local_time(std::int64_t unix_ms) {
  const std::time_t seconds = unix_ms / 1000;
  std::tm parts{};
  localtime_r(&seconds, &parts);
  char text[20];
  const auto length = std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts);
  return std::string(text, length);
}

/// A session, and below it those of its sub-agents, by the calls that they work for.
void print_tree(const std::vector<runtime::SessionSummary>& all,
                const runtime::SessionSummary& session, int depth) {
  const std::string mark = depth == 0 ? "" : fmt::format("{:>{}}", "", 2 * depth);
  fmt::print("{}{}  {}  {:<12} {:>5} events  {:<18} {}\n", mark, printable(session.id.value),
             local_time(session.updated_unix_ms),
             one_line(std::filesystem::path(session.workflow).stem().string(), 9), session.events,
             printable(session.last_type), one_line(session.title, 60));
  // The list is sorted the other way round.
  for (auto other = all.rbegin(); other != all.rend(); ++other) {
    const bool is_child = runtime::parent_of_sub_agent(other->id.value) == session.id.value;
    if (is_child) print_tree(all, *other, depth + 1);
  }
}

void tell_more(std::size_t num_listed) {
  if (num_listed < kSessionsListed) return;
  put_error(fmt::format("the {} newest sessions are listed\n", kSessionsListed));
}

int list(const runtime::SessionStore& store, bool as_json) {
  const auto sessions = store.list(kSessionsListed);
  if (!sessions) return complain(sessions.error().message);
  if (as_json) {
    for (const auto& session : *sessions) {
      const nlohmann::json line = {{"id", session.id.value},
                                   {"created_ms", session.created_unix_ms},
                                   {"updated_ms", session.updated_unix_ms},
                                   {"workflow", session.workflow},
                                   {"model", session.model},
                                   {"title", session.title},
                                   {"parent", session.parent},
                                   {"parent_seq", session.parent_seq},
                                   {"sub_agent_of", runtime::parent_of_sub_agent(session.id.value)},
                                   {"events", session.events},
                                   {"last", session.last_type}};
      fmt::print("{}\n", line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
    }
    tell_more(sessions->size());
    return 0;
  }
  if (sessions->empty()) fmt::print("no sessions yet\n");
  for (const auto& session : *sessions) {
    const auto parent = runtime::parent_of_sub_agent(session.id.value);
    const bool is_below =
        !parent.empty() && std::any_of(sessions->begin(), sessions->end(),
                                       [&](const auto& other) { return other.id.value == parent; });
    if (!is_below) print_tree(*sessions, session, 0);
  }
  tell_more(sessions->size());
  return 0;
}

int show(const runtime::SessionStore& store, const runtime::SessionId& id, bool no_color) {
  const auto records = store.load(id);
  if (!records) return complain(records.error().message);
  auto terminal = inspect_stdout(no_color);
  terminal.is_tty = false;  // nothing is live here: no status bar
  Output output;
  LiveView view(terminal, 0, system_clock(), output);
  for (const auto& record : *records) view.on_event(id, record);
  const auto state = runtime::fold(*records);
  if (state.cost_pico() == 0) return 0;
  fmt::print("cost: {} {}", runtime::format_money(state.cost_pico()),
             state.start ? state.start->currency : "");
  if (state.usage_delegated.cost_pico > 0)
    fmt::print(", {} of it by sub-agents", runtime::format_money(state.usage_delegated.cost_pico));
  fmt::print("\n");
  return 0;
}

asio::awaitable<int> go_on_and_close(runtime::Agent& agent, runtime::Workflow& workflow,
                                     bool is_quiet, DeskLines& lines, runtime::Limits limits) {
  co_await asio::this_coro::throw_if_cancelled(false);
  const auto cancellation = co_await asio::this_coro::cancellation_state;
  const Status taken = co_await agent.set_budget(limits);
  if (!taken) co_return complain(taken.error().message);
  if (cancellation.cancelled() != asio::cancellation_type::none) {
    if (!is_quiet) tell_interrupted(agent);
    co_return kInterruptedStatus;
  }
  lines.begin();
  const auto status = co_await go_on(agent, workflow, is_quiet);
  co_await lines.close();
  if (!status) co_return complain(status.error().message);
  co_return *status;
}

int resume(const Environment& environment, const runtime::SessionId& id,
           runtime::SessionStore& store, const SessionsOptions& options) {
  const auto records = store.load(id);
  if (!records) return complain(records.error().message);
  const auto state = runtime::fold(*records);
  if (!state.start) return complain(fmt::format("session {} has no readable beginning", id.value));
  const Status is_own = expect_no_sub_agent(id, state);
  if (!is_own) return complain(is_own.error().message);
  const auto library = library_dir(environment);
  if (!library) return complain(library.error().message);
  auto toolset = toolset_of(environment, options.toolset);
  if (!toolset) return complain(toolset.error().message);
  auto project = project_said(options.project);
  if (!project) return complain(project.error().message);
  runtime::ReopenOptions how;
  how.toolset = std::move(*toolset);
  how.project = std::move(*project);
  if (!options.out.empty()) how.directory = std::filesystem::absolute(options.out);
  const auto workflow = runtime::Workflow::reopen(*library, id, state, store, how);
  if (!workflow) return complain(workflow.error().message);
  if (!has_rest(state, **workflow))
    return complain(
        fmt::format("session {} has no interrupted turn; to say something more: ponder "
                    "chat --session {}",
                    id.value, id.value));
  asio::io_context io(1);
  ModelOptions model_options = options.model;
  if (model_options.model.empty() && environment.model.empty())
    choose_logged_model(state.start->model, model_options);
  const auto model = open_model(environment, model_options);
  if (!model) return complain(model.error().message);
  runtime::AgentParts parts(**model, (*workflow)->registry(), store, system_clock());
  parts.grants = (*workflow)->grants();
  const auto money = money_of(environment, options.money, **model);
  if (!money) return complain(money.error().message);
  parts.prices = money->prices;
  Output output;
  LiveView live(inspect_stdout(environment.no_color || options.json),
                (*model)->tokens_context_max(), system_clock(), output);
  live.know_calls(state);
  JsonView json;
  runtime::EventSink* view = &live;
  if (options.json) view = &json;
  parts.sinks.push_back(view);
  DeskLines lines(io, output, options.json);
  parts.approvals.mode = approval_mode_for(**workflow, options.approve);
  parts.approvals.approver = lines.desk();
  parts.questions.respondent = lines.desk();
  auto agent = runtime::Agent::open(parts, id);
  if (!agent) return complain(agent.error().message);
  const runtime::Limits limits =
      limits_with((*agent)->state().start->limits, options.budget, money->cost_pico_max);
  auto work = go_on_and_close(**agent, **workflow, options.json, lines, limits);
  return run_interruptibly(io, std::move(work));
}

/// What becomes of a call that is open where a session was forked, once the fork goes on.
std::string fate_of(const runtime::CallState& call) {
  using tools::Effect;
  if (!call.effect) return "had not begun, and runs in the fork";
  const bool may_repeat = *call.effect == Effect::pure || *call.effect == Effect::idempotent;
  return may_repeat ? "runs again" : "is reported as interrupted, outcome unknown";
}

void print_fork(const runtime::SessionForked& fork, const runtime::SessionId& id,
                const runtime::SessionState& state) {
  fmt::print("session {}: shares events 1 to {} of {}\n", id.value, fork.parent_seq, fork.parent);
  for (const auto& call : state.calls) {
    if (!call.finished) fmt::print("open call {}: {}\n", printable(call.call.name), fate_of(call));
  }
  fmt::print("to go on: ponder {} {}\n", state.is_turn_open ? "sessions resume" : "chat --session",
             id.value);
}

void print_fork_json(const runtime::SessionForked& fork, const runtime::SessionId& id,
                     const runtime::SessionState& state) {
  nlohmann::json calls = nlohmann::json::array();
  for (const auto& call : state.calls) {
    if (!call.finished) calls.push_back({{"name", call.call.name}, {"fate", fate_of(call)}});
  }
  const nlohmann::json line = {{"id", id.value},
                               {"parent", fork.parent},
                               {"parent_seq", fork.parent_seq},
                               {"turn_open", state.is_turn_open},
                               {"open_calls", std::move(calls)}};
  fmt::print("{}\n", line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

asio::awaitable<int> fork(runtime::SessionStore& store, runtime::SessionId parent,
                          std::optional<std::int64_t> at, bool as_json) {
  const auto id = co_await store.fork(parent, at);
  if (!id) co_return complain(id.error().message);
  const auto records = store.load(*id);
  if (!records) co_return complain(records.error().message);
  const auto state = runtime::fold(*records);
  const auto& forked = std::get<runtime::SessionForked>(records->back().event);
  if (as_json)
    print_fork_json(forked, *id, state);
  else
    print_fork(forked, *id, state);
  co_return 0;
}

/// `places` as people and programs read them.
void print_queue(const std::vector<runtime::QueuedSession>& places, bool as_json) {
  for (const runtime::QueuedSession& place : places) {
    const bool is_given_up = place.takes >= runtime::kTakesMax;
    if (as_json) {
      const nlohmann::json line = {
          {"id", place.session.value}, {"takes", place.takes},
          {"given_up", is_given_up},   {"owner", place.owner},
          {"problem", place.problem},  {"left_silently", place.was_left_silently()}};
      fmt::print("{}\n", line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
      continue;
    }
    const std::string stand = !place.owner.empty() ? "at work in " + printable(place.owner)
                              : is_given_up        ? std::string("given up")
                                                   : std::string("waits");
    fmt::print("{}  taken {:>3} times  {}\n", printable(place.session.value), place.takes, stand);
    const bool is_silent = place.was_left_silently();
    if (is_silent) fmt::print("    the last worker ended and did not say why\n");
    if (place.problem.empty()) continue;
    fmt::print("    {}: {}\n", is_silent ? "one before it left it" : "left",
               printable(place.problem));
  }
}

int list_queue(runtime::SessionStore& store, bool as_json) {
  if (store.queue() == nullptr) return complain(kNoQueue);
  const auto places = store.queue()->list();
  if (!places) return complain(places.error().message);
  if (places->empty() && !as_json) fmt::print("the queue is empty\n");
  print_queue(*places, as_json);
  return 0;
}

int offer(runtime::SessionStore& store, const runtime::SessionId& id) {
  if (store.queue() == nullptr) return complain(kNoQueue);
  const Status put = store.queue()->put(id);
  if (!put) return complain(put.error().message);
  fmt::print("session {} waits for `ponder work`\n", id.value);
  return 0;
}

}  // namespace

int sessions(const Environment& environment, const SessionsOptions& options) {
  if (options.action == "doctor") return sessions_doctor(environment, options);
  const auto store = open_store(environment);
  if (!store) return complain(store.error().message);
  if (options.action == "list") return list(**store, options.json);
  if (options.action == "import") return import_session(**store, options);
  if (options.action == "queue" && options.id.empty()) return list_queue(**store, options.json);
  const auto id = (*store)->resolve(options.id);
  if (!id) return complain(id.error().message);
  if (options.action == "resume") return resume(environment, *id, **store, options);
  if (options.action == "queue") return offer(**store, *id);
  if (options.action == "fork") {
    asio::io_context io(1);
    return run_interruptibly(io, fork(**store, *id, options.at, options.json));
  }
  if (options.action == "show" && !options.json) return show(**store, *id, environment.no_color);
  if (options.action == "diff") return diff_sessions(**store, *id, options);
  if (options.action == "replay") return replay_session(environment, **store, *id, options);
  return export_session(**store, *id, options.format);
}

}  // namespace ponder::cli
