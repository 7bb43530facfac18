#include "tests/simulation/user.h"

#include <boost/asio/this_coro.hpp>
#include <exception>
#include <utility>

#include "runtime/session/event_json.h"
#include "tests/simulation/dump.h"

namespace ponder::simulation {
namespace asio = boost::asio;
using namespace runtime;
using std::chrono::milliseconds;

namespace {

constexpr std::uint32_t kFailuresMax = 300;
constexpr std::size_t kForksMax = 3;

}  // namespace

User::User(Scene& scene, Witness& witness, ProcessFacts& process, SessionFacts& session,
           UserPowers powers, std::uint64_t seed)
    : run_(scene, witness, process, session, Random(seed, "user", session.number)),
      powers_(std::move(powers)),
      person_(run_),
      has_rival_(scene.plan.has(Fault::rival)),
      may_be_refused_(has_rival_ || scene.plan.has(Fault::full_disk) ||
                      scene.plan.has(Fault::failing_writes) ||
                      scene.plan.has(Fault::failing_syncs)) {
  add_tools(registry_, run_);
}

bool User::is_over() const {
  return run_.is_dead() || run_.scene->story.violation() ||
         run_.session->turns_done >= run_.session->turns;
}

std::string User::words(const char* what) {
  std::string out = fmt::format("{} {}", what, run_.random.below(1'000'000));
  if (run_.strikes(Fault::foreign_bytes)) out += foreign_text(run_.random);
  return out;
}

void User::on_event(const SessionId& id, const Record& record) {
  if (run_.is_dead()) return;
  SessionFacts& session = *run_.session;
  if (session.id.value.empty()) {
    session.id = id;
    session.power_was_cut = false;  // it has only just begun
  }
  model_->saw(session, record.event);
  run_.witness->acknowledged(session, run_.process->number, record);
}

void User::on_sub_agent_event(const SessionId& id, const Record& record) {
  if (run_.is_dead()) return;
  auto stored = powers_.store->load(id);
  if (!stored) {
    return run_.scene->story.violated("loss", "{} has event {} and is not there: {}", id.value,
                                      record.seq, stored.error().message);
  }
  SessionFacts& session =
      run_.witness->begin_sub_agent(*run_.session, id, record.seq, std::move(*stored));
  model_->saw(session, record.event);
  run_.witness->acknowledged(session, run_.process->number, record);
}

asio::awaitable<void> User::drive() {
  co_await asio::this_coro::throw_if_cancelled(false);
  while (!is_over()) {
    const bool is_well = co_await go_on();
    if (is_well) {
      failures_ = 0;
      continue;
    }
    agent_.reset();
    if (++failures_ > kFailuresMax) {
      run_.scene->story.violated("liveness", "session {} fails again and again",
                                 run_.session->number);
    }
    // Rivals that come back at once would only fight.
    const milliseconds longest(has_rival_ ? 60'000 : 5000);
    co_await run_.scene->pause(run_.random.time_to(longest));
  }
  agent_.reset();
}

asio::awaitable<bool> User::go_on() {
  if (!agent_) {
    const bool is_open = co_await open();
    if (!is_open) co_return false;
  }
  const bool is_well = co_await take_turn();
  co_return is_well;
}

void User::take_model() {
  static const std::vector<SimulatedModel::Kind> kinds = {
      SimulatedModel::Kind::plain, SimulatedModel::Kind::dsv32, SimulatedModel::Kind::dsv4,
      SimulatedModel::Kind::remote};
  const std::size_t usual = run_.session->number + run_.scene->plan.seed;
  const bool changes = run_.strikes(Fault::other_model);
  const std::size_t index = changes ? run_.random.below(kinds.size()) : usual % kinds.size();
  model_ = std::make_unique<SimulatedModel>(run_, kinds[index]);
}

AgentParts User::parts() {
  AgentParts parts(*model_, registry_, *powers_.store, run_.scene->clock);
  parts.approvals.mode = run_.scene->plan.approval;
  parts.approvals.approver = &person_;
  parts.approvals.answer_ms_max = run_.scene->plan.answer_ms_max;
  parts.questions = {&person_, run_.scene->plan.answer_ms_max};
  parts.sinks = {this};
  return parts;
}

asio::awaitable<bool> User::open() {
  take_model();
  const bool is_new = run_.session->id.value.empty();
  if (!is_new) co_return reopen();
  if (run_.process->number > 0 && has_rival_) co_return false;  // the other one begins it
  const bool is_open = co_await start();
  co_return is_open;
}

asio::awaitable<bool> User::start() {
  const Plan& plan = run_.scene->plan;
  SessionStarted start;
  start.model = model_->description();
  start.family = model_->family();
  start.instructions = run_.random.chance(70) ? "be brief" : "";
  if (run_.random.chance(90)) start.tools = registry_.specs();
  start.limits = plan.limits;
  start.context = plan.budget;
  start.sampling.is_thinking = run_.random.chance(80);
  AgentParts parts = this->parts();
  auto agent = co_await Agent::start(std::move(parts), std::move(start));
  if (!agent) check_error(agent.error());
  if (agent) agent_ = std::move(*agent);
  // A process that died here may have left a session that nobody knows.
  if (run_.is_dead()) agent_.reset();
  co_return agent_ != nullptr;
}

bool User::reopen() {
  SessionFacts& session = *run_.session;
  auto stored = powers_.store->load(session.id);
  const bool may_be_gone = session.power_was_cut && session.num_durable == 0;
  if (!stored && stored.error().code == Errc::not_found && may_be_gone) {
    run_.scene->story.say("s{} was lost with the power, before it was to last", session.number);
    session.forget();
    return false;
  }
  if (!stored) {
    check_error(stored.error());
    return false;
  }
  run_.witness->reread(session, std::move(*stored), std::exchange(session.power_was_cut, false));
  for (SessionFacts* one : run_.witness->tree_of(session))
    one->expected.erase(run_.process->number);
  auto agent = Agent::open(parts(), session.id);
  if (!agent) {
    check_error(agent.error());
    return false;
  }
  agent_ = std::move(*agent);
  check_live_state();
  return true;
}

asio::awaitable<bool> User::take_turn() {
  run_.insisted = milliseconds(0);
  cancelled_.reset();
  began_ = run_.scene->clock.now();
  const auto still_busy = std::chrono::duration_cast<milliseconds>(
      std::max(run_.scene->disk_free_at - began_, Clock::Instant::duration(0)));
  disk_before_ = run_.scene->disk_busy - still_busy;
  const std::uint32_t turns = agent_->state().turns;
  Ending ending;
  TaskGroup turn(run_.scene->home.get_executor());
  TaskGroup meddlers(run_.scene->home.get_executor());
  turn.spawn(run_agent(&ending, &meddlers));
  meddlers.spawn(meddle(&turn));
  co_await turn.join();
  meddlers.cancel();
  co_await meddlers.join();
  if (run_.is_dead() || !ending) co_return false;
  if (!*ending) check_error(ending->error());
  if (!*ending) co_return false;
  check_ending(**ending, agent_->state().turns - turns);
  ++run_.session->turns_done;
  // At times the program is started anew between two turns.
  const bool goes_on = run_.random.chance(90);
  if (!goes_on) agent_.reset();
  co_return true;
}

asio::awaitable<void> User::run_agent(Ending* out, TaskGroup* meddlers) {
  const bool resumes = agent_->state().wants_resume() && run_.random.chance(75);
  const std::string text = words("please");
  try {
    if (resumes) {
      auto end = co_await agent_->resume();
      out->emplace(std::move(end));
    } else {
      auto end = co_await agent_->run_turn(text);
      out->emplace(std::move(end));
    }
  } catch (const std::exception& e) {
    const bool has_begun = run_.scene->clock.now() > began_ || agent_->state().is_turn_open;
    if (!run_.is_dead() && has_begun) {
      run_.scene->story.violated("turn", "session {}: it ended with an exception: {}",
                                 run_.session->number, e.what());
    }
  }
  meddlers->cancel();
}

asio::awaitable<void> User::meddle(TaskGroup* turn) {
  co_await asio::this_coro::throw_if_cancelled(false);
  while (!is_over()) {
    const bool goes_on = co_await run_.scene->pause(run_.random.time_to(milliseconds(4000)));
    if (!goes_on) co_return;
    co_await meddle_once(turn);
  }
}

asio::awaitable<void> User::meddle_once(TaskGroup* turn) {
  Story& story = run_.scene->story;
  const std::size_t number = run_.session->number;
  if (run_.strikes(Fault::cancel)) {
    const bool is_from_outside = run_.random.chance(50);
    story.say("s{} is cancelled{}", number, is_from_outside ? " from outside" : "");
    if (!cancelled_) cancelled_ = run_.scene->clock.now();
    if (is_from_outside) turn->cancel();
    if (!is_from_outside) agent_->cancel();
  }
  const bool steers = run_.strikes(Fault::steer);
  if (steers) {
    const std::string text = words("steer");
    const auto status = co_await agent_->steer(text);
    story.say("s{} steer: {}", number, status ? "taken" : status.error().message);
  }
  const bool sends = run_.strikes(Fault::send);
  if (sends) {
    const std::string text = words("send");
    const auto status = co_await agent_->send(text);
    story.say("s{} send: {}", number, status ? "taken" : status.error().message);
  }
  const bool pins = run_.strikes(Fault::pin) && !agent_->state().origins.empty();
  if (pins) {
    const std::int64_t seq = run_.random.pick(agent_->state().origins);
    const bool is_pinned = run_.random.chance(70);
    const auto status = co_await agent_->pin(seq, is_pinned);
    story.say("s{} pin: {}", number, status ? "taken" : status.error().message);
  }
  const std::size_t sessions_max = run_.scene->plan.num_sessions + kForksMax;
  const bool forks = run_.strikes(Fault::fork) && run_.witness->sessions().size() < sessions_max;
  if (forks) {
    co_await fork();
  }
}

asio::awaitable<void> User::fork() {
  const SessionFacts& parent = *run_.session;
  if (parent.log.empty()) co_return;
  const std::size_t at = 1 + run_.random.below(parent.log.size());
  const std::vector<Record> shared(parent.log.begin(),
                                   parent.log.begin() + static_cast<std::ptrdiff_t>(at));
  auto id = co_await powers_.store->fork(parent.id, static_cast<std::int64_t>(at));
  if (!id) check_error(id.error());
  if (!id || run_.is_dead()) co_return;
  SessionFacts& fork = run_.witness->begin(*id);
  run_.scene->story.say("s{} is forked at {} as s{}", parent.number, at, fork.number);
  fork.log = shared;
  fork.state = fold(fork.log);
  fork.turns = 1;
  fork.is_fork = true;
  if (run_.scene->plan.synchronous == Synchronous::full) fork.num_durable = at + 1;
  powers_.adopt(fork);
}

void User::check_error(const Error& error) {
  if (run_.is_dead()) return;
  run_.scene->story.say("s{} error: {} {}", run_.session->number, errc_name(error.code),
                        error.message);
  if (may_be_refused_ && (error.code == Errc::unavailable || error.code == Errc::exhausted)) return;
  run_.scene->story.violated("errors", "session {}: {} without a reason: {}", run_.session->number,
                             errc_name(error.code), error.message);
}

void User::check_live_state() {
  if (run_.is_dead() || run_.scene->story.violation()) return;
  const std::string live = dump(agent_->state());
  const SessionFacts& session = *run_.session;
  const auto last_seq = static_cast<std::size_t>(agent_->state().last_seq);
  const std::span<const Record> known(session.log);
  const std::string folded = dump(fold(known.first(std::min(last_seq, known.size()))));
  if (live == folded) return;
  run_.scene->story.violated("fold", "session {}: the live state is not the log's: {}",
                             session.number, difference(live, folded));
}

/// A sub-agent's last events may have been written by a process that died before it heard of them;
/// whoever goes on finds them in the store, and has nothing to tell.
void User::reread_sub_agents() {
  for (SessionFacts* session : run_.witness->tree_of(*run_.session)) {
    if (session == run_.session || session->power_was_cut) continue;
    auto stored = powers_.store->load(session->id);
    if (!stored || stored->size() <= session->log.size()) continue;
    run_.witness->reread(*session, std::move(*stored), false);
  }
}

void User::check_ending(const TurnEnded& end, std::uint32_t turns) {
  Story& story = run_.scene->story;
  const std::size_t number = run_.session->number;
  story.say("s{} turn ended: {} {}", number, turn_end_name(end.reason), end.detail);
  const SessionState& state = agent_->state();
  const bool is_closed = !state.is_turn_open && !state.has_open_calls() && state.last_end &&
                         state.last_end->reason == end.reason;
  if (!is_closed) story.violated("turn", "session {}: the ended turn is open", number);
  if (run_.num_live() > 0) {
    story.violated("structure", "session {}: {} calls, {} requests and {} questions after the turn",
                   number, run_.live_calls, run_.live_requests, run_.live_questions);
  }
  // An agent whose append was refused is of no more use, and its state holds what was refused.
  if (!may_be_refused_) check_live_state();
  if (!has_rival_) {
    reread_sub_agents();
    run_.witness->check_tree(*run_.session);
  }
  const auto now = run_.scene->clock.now();
  const milliseconds slack = run_.scene->disk_busy - disk_before_ + run_.insisted;
  const milliseconds limit(run_.scene->plan.limits.turn_ms_max);
  if (now - began_ > (turns + 1) * limit + slack) {
    story.violated("deadline", "session {}: {} turns took {} ms", number, turns + 1,
                   std::chrono::duration_cast<milliseconds>(now - began_).count());
  }
  if (cancelled_ && now - *cancelled_ > slack) {
    story.violated("cancel", "session {}: it went on for {} ms", number,
                   std::chrono::duration_cast<milliseconds>(now - *cancelled_).count());
  }
}

}  // namespace ponder::simulation
