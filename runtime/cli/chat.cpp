#include <fmt/core.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <csignal>
#include <cstdint>
#include <optional>
#include <utility>

#include "base/async/task_group.h"
#include "runtime/agent/agent.h"
#include "runtime/agent/call_gate.h"
#include "runtime/agent/pins.h"
#include "runtime/cli/chat_line.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/compose.h"
#include "runtime/cli/desk.h"
#include "runtime/cli/desk_lines.h"
#include "runtime/cli/line_source.h"
#include "runtime/cli/live_view.h"
#include "runtime/cli/toolset_flags.h"
#include "runtime/model/next_turn.h"
#include "runtime/workflow/workflow.h"

/// `ponder chat`: several turns with one agent, to which its user can speak while it works.
namespace ponder::cli {
namespace {

namespace asio = boost::asio;

constexpr std::size_t kPinColumns = 90;

/// Tells the workflow what its user said, whichever way it became a message.
class Hearing final : public runtime::EventSink {
 public:
  explicit Hearing(runtime::Workflow& workflow) : workflow_(&workflow) {}
  void on_event(const runtime::SessionId&, const runtime::Record& record) override {
    const auto* message = std::get_if<runtime::UserMessage>(&record.event);
    if (message == nullptr) return;
    const Status heard = workflow_->hear(message->content);
    if (!heard) problem_ = heard.error().message;
  }
  const std::string& problem() const { return problem_; }

 private:
  runtime::Workflow* workflow_;
  std::string problem_;
};

/// What a chat works with; all outlive it.
struct ChatParts {
  runtime::AgentParts agent;
  runtime::SessionStarted start;
  const Hearing* hearing;
  Desk* desk;
  Output* output;
  BudgetOptions budget;
  std::optional<std::int64_t> cost_pico_max;
  bool is_terminal = false;  // lines are edited, and a plain one steers the turn that runs
  bool is_json;              // nothing but events is printed
};

/// Reads lines and keeps at most one turn running, which the lines that come meanwhile steer.
/// Thread: that of `io`.
class Chat {
 public:
  Chat(asio::io_context& io, ChatParts parts, std::unique_ptr<runtime::Agent> agent)
      : parts_(std::move(parts)),
        agent_(std::move(agent)),
        turn_over_(io, asio::steady_timer::time_point::max()),
        signals_(io, SIGINT, SIGTERM),
        turns_(io.get_executor()),
        lines_(io.get_executor(), *parts_.output, parts_.is_terminal) {}

  /// Until the input ends; gives the exit status.
  asio::awaitable<int> converse() {
    turns_.spawn(watch_signals());
    bool goes_on = true;
    while (goes_on) {
      auto line = co_await lines_.next();
      if (!line) break;
      ChatLine said = read_chat_line(*line);
      goes_on = co_await take(std::move(said));
    }
    co_await wait_for_turn();
    signals_.cancel();
    co_await turns_.join();
    if (!problem_.empty()) co_return complain(problem_);
    co_return is_interrupted_ ? kInterruptedStatus : 0;
  }

  const runtime::Agent* agent() const { return agent_.get(); }

 private:
  /// False when the chat is to end.
  asio::awaitable<bool> take(ChatLine line) {
    using Kind = ChatLine::Kind;
    // From a pipe what is meant for the next turn, or looks at this one's answer, waits.
    const bool acts_at_once =
        line.kind == Kind::steer || line.kind == Kind::send || line.kind == Kind::cancel;
    if (!parts_.is_terminal && !acts_at_once) {
      co_await wait_for_turn();
    }
    if (line.kind == Kind::quit) {
      interrupt_turn();
      co_return false;
    }
    if (line.kind == Kind::words || line.kind == Kind::steer || line.kind == Kind::send) {
      co_await say(std::move(line.text), line.kind == Kind::send);
    }
    if (line.kind == Kind::cancel && line.text.empty()) interrupt_turn();
    if (line.kind == Kind::cancel && !line.text.empty()) report(cancel_call(line.text));
    if (line.kind == Kind::pin || line.kind == Kind::unpin) {
      co_await pin(std::move(line.text), line.kind == Kind::pin);
    }
    if (line.kind == Kind::allow) report(parts_.desk->allow(line.text));
    if (line.kind == Kind::deny) report(parts_.desk->deny(line.text));
    if (line.kind == Kind::answer) report(parts_.desk->reply(line.text));
    if (line.kind == Kind::help && !parts_.is_json) tell(kChatHelp);
    if (line.kind == Kind::unknown) {
      complain(line.text + ": no such command, or it needs words; /help lists them");
    }
    co_return problem_.empty();
  }

  /// To the turn that runs; without one the words begin one.
  asio::awaitable<void> say(std::string words, bool ends_turn) {
    if (is_turn_running_) {
      Status taken;
      if (ends_turn) {
        taken = co_await agent_->send(words);
      } else {
        taken = co_await agent_->steer(words);
      }
      if (taken) co_return;
      if (taken.error().code != Errc::invalid_argument) {
        problem_ = taken.error().message;
        co_return;
      }
      co_await wait_for_turn();  // it was about to end
    }
    const bool is_ready = co_await open_agent();
    if (!is_ready) co_return;
    is_turn_running_ = true;
    is_turn_cancelled_ = false;
    lines_.set_at_work(true);
    turns_.spawn(run_turn(std::move(words)));
  }

  /// The agent of this chat; one that goes on may cost what was said now.
  asio::awaitable<bool> open_agent() {
    if (agent_) {
      const runtime::Limits limits =
          limits_with(agent_->state().start->limits, parts_.budget, parts_.cost_pico_max);
      const Status taken = co_await agent_->set_budget(limits);
      if (!taken) problem_ = taken.error().message;
      co_return taken.has_value();
    }
    auto agent = co_await runtime::Agent::start(parts_.agent, parts_.start);
    if (agent) {
      agent_ = std::move(*agent);
    } else {
      problem_ = agent.error().message;
    }
    co_return agent_ != nullptr;
  }

  /// By its tool's name, or by its place in the latest completion.
  Status cancel_call(const std::string& which) {
    if (!agent_) return fail(Errc::not_found, "nothing has been said yet");
    PONDER_TRY(const std::uint32_t call, runtime::choose_call(agent_->state(), which));
    return agent_->cancel_call(call);
  }

  asio::awaitable<void> run_turn(std::string words) {
    const auto end = co_await agent_->run_turn(std::move(words));
    if (!end) problem_ = end.error().message;
    if (end) runtime::expect_user_turn(*parts_.agent.model, agent_->state());
    if (problem_.empty()) problem_ = parts_.hearing->problem();
    if (!problem_.empty()) lines_.close();
    if (!parts_.is_json && !agent_->state().interjected.empty())
      tell("   your words wait and go with your next line\n");
    is_turn_running_ = false;
    lines_.set_at_work(false);
    turn_over_.cancel();
  }

  asio::awaitable<void> wait_for_turn() {
    while (is_turn_running_) {
      boost::system::error_code ignored;
      co_await turn_over_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    }
  }

  asio::awaitable<void> pin(std::string words, bool is_pinned) {
    if (!agent_) {
      complain("nothing has been said yet");
      co_return;
    }
    const auto chosen = is_pinned ? runtime::choose_pin(agent_->state(), words)
                                  : runtime::choose_unpin(agent_->state(), words);
    if (!chosen) {
      complain(chosen.error().message);
      co_return;
    }
    const Status written = co_await agent_->pin(chosen->seq, is_pinned);
    if (!written) problem_ = written.error().message;
    if (!parts_.is_json) tell(fmt::format("   {}\n", one_line(chosen->text, kPinColumns)));
  }

  /// The first Ctrl-C ends the turn, the second the program; without a turn the first does.
  asio::awaitable<void> watch_signals() {
    while (true) {
      boost::system::error_code error;
      const int signal =
          co_await signals_.async_wait(asio::redirect_error(asio::use_awaitable, error));
      if (error) co_return;
      if (is_turn_running_ && is_turn_cancelled_) {
        lines_.restore_terminal();
        _exit(kInterruptedStatus);
      }
      if (!is_turn_running_ || signal == SIGTERM) {
        is_interrupted_ = true;
        lines_.close();
      }
      interrupt_turn();
    }
  }

  void interrupt_turn() {
    if (!is_turn_running_) return;
    is_turn_cancelled_ = true;
    lines_.drop_line();
    agent_->cancel();
  }

  static void report(const Status& status) {
    if (!status) complain(status.error().message);
  }
  void tell(std::string_view text) {
    parts_.output->write(text);
    parts_.output->flush();
  }

  ChatParts parts_;
  std::unique_ptr<runtime::Agent> agent_;  // none until the first words
  bool is_turn_running_ = false;
  bool is_turn_cancelled_ = false;
  bool is_interrupted_ = false;
  std::string problem_;           // ends the chat
  asio::steady_timer turn_over_;  // never expires; cancelled when a turn has ended
  asio::signal_set signals_;
  TaskGroup turns_;
  LineSource lines_;  // its thread ends first
};

int converse(asio::io_context& io, ChatParts parts, std::unique_ptr<runtime::Agent> agent,
             bool is_tty) {
  Chat chat(io, std::move(parts), std::move(agent));
  int status = 1;
  std::exception_ptr failure;
  // This function owns the work and waits for it: io.run() returns when it has ended.
  asio::co_spawn(io, chat.converse(), [&](std::exception_ptr error, int result) {
    failure = error;
    status = result;
  });
  io.run();
  if (failure) std::rethrow_exception(failure);
  if (is_tty && chat.agent() != nullptr) {
    const std::string& id = chat.agent()->id().value;
    fmt::print("\nsession {} (ponder chat --session {})\n", id, id);
  }
  return status;
}

/// A session keeps its workflow. Files may be named in several ways.
Status expect_workflow(const std::string& wanted, const runtime::SessionStarted& start) {
  const std::filesystem::path has = start.workflow;
  if (has == wanted || has.filename() == std::filesystem::path(wanted).filename()) return {};
  return fail(Errc::invalid_argument,
              fmt::format("the session has the workflow {}, not {}", start.workflow, wanted));
}

/// The workflow of a new chat, or of the session that goes on.
Result<std::unique_ptr<runtime::Workflow>> open_workflow(const Environment& environment,
                                                         const std::filesystem::path& library,
                                                         const ChatOptions& options,
                                                         const runtime::SessionStore& store,
                                                         const runtime::SessionId& id) {
  PONDER_TRY(auto toolset, toolset_of(environment, options.toolset));
  if (options.session.empty()) {
    PONDER_CHECK(check_project(options.workflow, options.project));
    warn_of_unlearned(environment, options.model, options.workflow, "mini");
    runtime::WorkflowOptions how;
    how.toolset = std::move(toolset);
    how.name = options.workflow;
    how.library = library;
    how.world_seed = options.world_seed;
    how.size = options.size;
    how.project = project_of(options.project);
    how.has_person = DeskLines::is_person_there() && !options.json;
    return runtime::Workflow::open(how);
  }
  PONDER_TRY(const auto records, store.load(id));
  const auto state = runtime::fold(records);
  if (!state.start)
    return fail(Errc::corrupt, fmt::format("session {} has no readable beginning", id.value));
  PONDER_CHECK(expect_no_sub_agent(id, state));
  if (options.is_workflow_named) {
    PONDER_CHECK(expect_workflow(options.workflow, *state.start));
  }
  runtime::ReopenOptions how;
  how.toolset = std::move(toolset);
  PONDER_TRY(how.project, project_said(options.project));
  return runtime::Workflow::reopen(library, id, state, store, how);
}

}  // namespace

int chat(const Environment& environment, const ChatOptions& options) {
  const auto library = library_dir(environment);
  if (!library) return complain(library.error().message);
  const auto store = open_store(environment);
  if (!store) return complain(store.error().message);
  runtime::SessionId id;
  if (!options.session.empty()) {
    const auto resolved = (*store)->resolve(options.session);
    if (!resolved) return complain(resolved.error().message);
    id = *resolved;
  }
  const auto workflow = open_workflow(environment, *library, options, **store, id);
  if (!workflow) return complain(workflow.error().message);
  asio::io_context io(1);
  const auto model = open_model(environment, options.model);
  if (!model) return complain(model.error().message);
  const auto money = money_of(environment, options.money, **model);
  if (!money) return complain(money.error().message);

  ChatParts parts{
      .agent = runtime::AgentParts(**model, (*workflow)->registry(), **store, system_clock()),
      .start = (*workflow)->session_start(),
      .hearing = nullptr,
      .desk = nullptr,
      .output = nullptr,
      .budget = options.budget,
      .cost_pico_max = money->cost_pico_max,
      .is_json = options.json};
  parts.start.model = (*model)->description();
  parts.start.family = (*model)->family();
  parts.start.sampling = sampling_of(options.model);
  parts.start.context = budget_of(options.context);
  parts.start.limits.agent_depth_max = options.agent_depth_max;
  parts.start.limits = limits_with(parts.start.limits, options.budget, money->cost_pico_max);
  parts.start.currency = money->currency;
  parts.agent.prices = money->prices;
  parts.agent.grants = (*workflow)->grants();
  auto terminal = inspect_stdout(environment.no_color);
  parts.is_terminal = DeskLines::is_person_there() && !options.json;
  const bool is_tty = terminal.is_tty && !options.json;
  terminal.is_tty = false;  // the line editor owns the bottom of the screen
  Output output;
  parts.output = &output;
  LiveView live(terminal, (*model)->tokens_context_max(), system_clock(), output);
  JsonView json;
  runtime::EventSink* view = &live;
  if (options.json) view = &json;
  Desk desk([&output](const std::string& text) {
    output.write(text);
    output.flush();
  });
  parts.desk = &desk;
  parts.agent.approvals.mode = approval_mode_for(**workflow, options.approve);
  if (parts.is_terminal) parts.agent.approvals.approver = &desk;
  if (parts.is_terminal) parts.agent.questions.respondent = &desk;
  Hearing hearing(**workflow);
  parts.hearing = &hearing;
  parts.agent.sinks = {view, &hearing};
  std::unique_ptr<runtime::Agent> agent;
  if (!options.session.empty()) {
    auto opened = runtime::Agent::open(parts.agent, id);
    if (!opened) return complain(opened.error().message);
    agent = std::move(*opened);
    runtime::expect_user_turn(**model, agent->state());
  }
  if (is_tty)
    fmt::print("{}: say what you want; /help lists the commands, /quit or Ctrl-D ends\n",
               (*model)->description());
  return converse(io, std::move(parts), std::move(agent), is_tty);
}

}  // namespace ponder::cli
