#include "runtime/bench/load.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cmath>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "base/assert.h"
#include "base/async/task_group.h"
#include "runtime/agent/agent.h"
#include "runtime/bench/disk_clock.h"
#include "runtime/store/sqlite_session_store.h"

namespace ponder::bench {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;

constexpr const char* kTool = "lookup";
constexpr const char* kReasoning =
    "The question needs two facts that the tools can give; both are asked for at the same time, "
    "and what they say decides the next step. Nothing known so far makes either of them "
    "unnecessary, and neither depends on the other.";
constexpr const char* kFact =
    "The entry was found. It has a name, a place and a date, and three remarks that somebody wrote "
    "by hand; the second remark contradicts the first, the third says why. Whoever reads this "
    "should look at the date before anything else, for the place has changed twice since.";

/// A number that looks random and depends on nothing but its arguments (splitmix64).
std::uint64_t scramble(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

/// In (0, 1].
double uniform(std::uint64_t seed, std::uint64_t a, std::uint64_t b, std::uint64_t c) {
  const std::uint64_t bits = scramble(scramble(scramble(scramble(seed) ^ a) ^ b) ^ c);
  return (static_cast<double>(bits >> 11) + 1) / 9007199254740992.0;
}

SteadyClock::duration ms(double count) {
  return std::chrono::duration_cast<SteadyClock::duration>(
      std::chrono::duration<double, std::milli>(count));
}

double us_between(SteadyClock::time_point from, SteadyClock::time_point to) {
  return std::chrono::duration<double, std::micro>(to - from).count();
}

/// When something of the script was over, and when we came to know.
struct Moment {
  SteadyClock::time_point due;
  SteadyClock::time_point seen;
};

/// The store's clock, which counts the events that get their time from it.
class CountingClock final : public Clock {
 public:
  Instant now() const override { return system_clock().now(); }
  std::int64_t unix_ms() const override {
    const bool is_for_id = std::this_thread::get_id() == home_ && std::exchange(id_due_, false);
    if (!is_for_id) count_stamp();
    return system_clock().unix_ms();
  }
  /// The agents' thread asks next for the time in a new session's id.
  void expect_id() { id_due_ = true; }

 private:
  std::thread::id home_ = std::this_thread::get_id();
  mutable bool id_due_ = false;  // of the agents' thread
};

/// What all sessions of a run share.
struct Run {
  const Workload& work;
  CountingClock clock;
  LoadFigures figures;
  std::uint64_t acknowledged = 0;  // events, in the order in which the store's thread wrote them
  std::string problem;             // the first
};

/// One call of the step under way.
struct CallTimes {
  SteadyClock::time_point begun;
  Moment answered;
  std::uint64_t stamped_intent = 0;
};

/// One session's place in the script, and what its current step has taken.
class Session final : public runtime::ModelClient, public runtime::EventSink {
 public:
  Session(Run& run, std::uint32_t number) : run_(run), number_(number) {
    calls_.resize(run.work.calls);
  }
  std::string description() const override { return "script"; }
  std::string family() const override { return "openai"; }
  std::uint32_t tokens_context_max() const override { return 0; }

  asio::awaitable<Result<runtime::Completion>> complete(runtime::ModelRequest request,
                                                        runtime::ModelSink) override {
    const auto begun = SteadyClock::now();
    if (step_ > 0) {
      note_step(begun);
      check_request(request);
    }
    answered_ = co_await pass(begun, run_.work.model_ms, 0);
    runtime::Completion completion;
    completion.message.role = context::Role::assistant;
    completion.message.reasoning = kReasoning;
    completion.usage.tokens_generated = 50;
    if (step_ == run_.work.steps) {
      completion.message.content = "done";
    } else {
      for (std::uint32_t i = 0; i < run_.work.calls; ++i) {
        completion.message.tool_calls.push_back({"", kTool, load_arguments(number_, step_, i)});
      }
      completion.call_faults.resize(run_.work.calls);
    }
    ++step_;
    co_return completion;
  }

  /// The tool, run for this session.
  asio::awaitable<Result<tools::ToolOutput>> look_up(std::uint32_t call, std::string arguments) {
    const auto begun = SteadyClock::now();
    calls_[call].begun = begun;
    calls_[call].stamped_intent = acknowledged_;
    calls_[call].answered = co_await pass(begun, run_.work.tool_ms, 1 + call);
    co_return tools::ToolOutput(load_answer(arguments), false);
  }

  void on_event(const runtime::SessionId&, const runtime::Record& record) override {
    acknowledged_ = ++run_.acknowledged;
    if (record.seq != ++last_seq_) {
      fail_run(fmt::format("event {} came where {} was due", record.seq, last_seq_));
    }
  }

  void fail_run(const std::string& problem) {
    if (run_.problem.empty()) run_.problem = fmt::format("session {}: {}", number_, problem);
  }

 private:
  /// Lets as much time go by as the script says.
  asio::awaitable<Moment> pass(SteadyClock::time_point begun, double mean_ms, std::uint32_t which) {
    const Workload& work = run_.work;
    const auto executor = co_await asio::this_coro::executor;
    if (work.scale <= 0) {
      co_await asio::post(executor, asio::use_awaitable);
      const auto now = SteadyClock::now();
      co_return Moment{now, now};
    }
    const double drawn = -std::log(uniform(work.seed, number_, step_, which));
    const auto due = begun + ms(drawn * mean_ms / work.scale);
    asio::steady_timer timer(executor, due);
    boost::system::error_code ignored;
    co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    co_return Moment{due, SteadyClock::now()};
  }

  /// A step has ended: the next request begins.
  void note_step(SteadyClock::time_point now) {
    const auto last = std::max_element(
        calls_.begin(), calls_.end(),
        [](const CallTimes& a, const CallTimes& b) { return a.answered.due < b.answered.due; });
    const double all = us_between(answered_.due, last->begun) + us_between(last->answered.due, now);
    const double disk = waited_us(answered_.seen, last->begun, last->stamped_intent) +
                        waited_us(last->answered.seen, now, acknowledged_);
    run_.figures.overhead_us.push_back(all - disk);
    run_.figures.with_sync_us.push_back(all);
  }

  /// The results of the step stand at the end of the prompt, in the order of the calls.
  void check_request(const runtime::ModelRequest& request) {
    const auto& conversation = request.conversation;
    for (std::uint32_t i = 0; i < run_.work.calls; ++i) {
      const auto& message = conversation[conversation.size() - run_.work.calls + i];
      if (message.content != load_answer(load_arguments(number_, step_ - 1, i))) {
        fail_run(fmt::format("result {} of step {} is not in its place", i, step_ - 1));
      }
    }
  }

  Run& run_;
  std::uint32_t number_;
  std::uint32_t step_ = 0;  // completions so far
  std::int64_t last_seq_ = 0;
  std::uint64_t acknowledged_ = 0;  // its latest event, among all
  Moment answered_;                 // the latest completion
  std::vector<CallTimes> calls_;
};

/// The one tool of all sessions: finds the one that calls by its arguments.
class LookupTool final : public tools::Tool {
 public:
  explicit LookupTool(std::vector<std::unique_ptr<Session>>& sessions) : sessions_(sessions) {
    spec_.name = kTool;
    spec_.description = "Looks something up.";
    spec_.parameters =
        R"({"type":"object","properties":{"session":{"type":"integer"},"step":{"type":"integer"},)"
        R"("call":{"type":"integer"}},"required":["session","step","call"]})";
  }
  const context::ToolSpec& spec() const override { return spec_; }
  tools::Effect effect() const override { return tools::Effect::pure; }
  const std::vector<std::string>& capabilities() const override { return none_; }
  asio::awaitable<Result<tools::ToolOutput>> invoke(std::string arguments,
                                                    tools::ToolContext) override {
    unsigned session = 0;
    unsigned step = 0;
    unsigned call = 0;
    const int read = std::sscanf(arguments.c_str(), R"({"session":%u,"step":%u,"call":%u})",
                                 &session, &step, &call);
    if (read != 3 || session >= sessions_.size() || !sessions_[session]) {
      return nobody();
    }
    return sessions_[session]->look_up(call, std::move(arguments));
  }

 private:
  static asio::awaitable<Result<tools::ToolOutput>> nobody() {
    co_return fail(Errc::internal, "no such session");
  }
  std::vector<std::unique_ptr<Session>>& sessions_;
  context::ToolSpec spec_;
  std::vector<std::string> none_;
};

runtime::SessionStarted start_of(const tools::Registry& tools) {
  runtime::SessionStarted start;
  start.model = "script";
  start.family = "openai";
  start.workflow = "load";
  start.instructions = "Look things up until the question is answered.";
  start.tools = tools.specs();
  return start;
}

/// Runs sessions one after another, beside others that do the same.
class Crowd {
 public:
  Crowd(Run& run, runtime::SessionStore& store) : run_(run), store_(store) {
    sessions_.resize(run.work.sessions);
    const Status added = registry_.add(std::make_unique<LookupTool>(sessions_));
    PONDER_ASSERT(added.has_value());
  }

  asio::awaitable<void> run_all() {
    const auto executor = co_await asio::this_coro::executor;
    TaskGroup group(executor);
    for (std::uint32_t i = 0; i < std::min(run_.work.at_once, run_.work.sessions); ++i) {
      group.spawn(run_some(i));
    }
    co_await group.join();
  }

 private:
  asio::awaitable<void> run_some(std::uint32_t number) {
    const Workload& work = run_.work;
    if (work.ramp_ms > 0 && work.at_once > 1) {
      const auto executor = co_await asio::this_coro::executor;
      const double wait_ms = uniform(work.seed, number, ~0ULL, 0) * work.ramp_ms;
      asio::steady_timer timer(executor, SteadyClock::now() + ms(wait_ms));
      boost::system::error_code ignored;
      co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    }
    for (; number < work.sessions && run_.problem.empty(); number += work.at_once) {
      co_await run_one(number);
    }
  }

  asio::awaitable<void> run_one(std::uint32_t number) {
    sessions_[number] = std::make_unique<Session>(run_, number);
    Session& session = *sessions_[number];
    runtime::AgentParts parts(session, registry_, store_, system_clock());
    parts.sinks = {&session};
    auto start = start_of(registry_);
    run_.clock.expect_id();
    auto agent = co_await runtime::Agent::start(std::move(parts), std::move(start));
    if (!agent) {
      session.fail_run(agent.error().message);
      co_return;
    }
    std::string words = fmt::format("question {}", number);
    const auto end = co_await (*agent)->run_turn(std::move(words));
    if (!end) {
      session.fail_run(end.error().message);
    } else if (end->reason != runtime::TurnEnd::answered) {
      session.fail_run(
          fmt::format("ended with {}: {}", runtime::turn_end_name(end->reason), end->detail));
    }
    run_.figures.steps += work_steps();
    agent->reset();
    sessions_[number].reset();
  }
  std::uint64_t work_steps() const { return run_.work.steps; }

  Run& run_;
  runtime::SessionStore& store_;
  std::vector<std::unique_ptr<Session>> sessions_;  // those that run
  tools::Registry registry_;
};

double processor_s() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto s = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return s(usage.ru_utime) + s(usage.ru_stime);
}

double rss_mib_max() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

}  // namespace

std::string load_arguments(std::uint32_t session, std::uint32_t step, std::uint32_t call) {
  return fmt::format(R"({{"session":{},"step":{},"call":{}}})", session, step, call);
}

std::string load_answer(const std::string& arguments) {
  return fmt::format("{} asked for: {}", kFact, arguments);
}

Result<LoadFigures> run_load(const std::filesystem::path& file, const Workload& work,
                             runtime::Synchronous synchronous) {
  Run run{.work = work, .clock = {}, .figures = {}, .acknowledged = 0, .problem = {}};
  runtime::StoreOptions options;
  options.synchronous = synchronous;
  PONDER_TRY(auto store, runtime::SqliteSessionStore::open(file, run.clock, options));
  reset_syncs();
  const double processor_before = processor_s();
  const auto begin = SteadyClock::now();
  asio::io_context context(1);
  Crowd crowd(run, *store);
  TaskGroup group(context.get_executor());
  group.spawn(crowd.run_all());
  context.run();
  LoadFigures& out = run.figures;
  out.wall_s = us_between(begin, SteadyClock::now()) / 1e6;
  out.processor_s = processor_s() - processor_before;
  out.events = run.acknowledged;
  out.commits = store->commits();
  out.syncs = num_syncs();
  out.sync_ms_mean = out.syncs == 0 ? 0 : sync_us() / 1000 / static_cast<double>(out.syncs);
  out.sync_share = sync_us() / 1e6 / out.wall_s;
  out.rss_mib_max = rss_mib_max();
  std::sort(out.overhead_us.begin(), out.overhead_us.end());
  std::sort(out.with_sync_us.begin(), out.with_sync_us.end());
  if (!run.problem.empty()) return fail(Errc::internal, run.problem);
  return std::move(out);
}

}  // namespace ponder::bench
