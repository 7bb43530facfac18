#include <fcntl.h>
#include <fmt/core.h>
#include <fmt/format.h>
#include <poll.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <list>
#include <memory>
#include <string>
#include <string_view>

#include "base/assert.h"
#include "runtime/agent/agent.h"
#include "runtime/session/work_queue.h"
#include "runtime/store/postgres_session_store.h"
#include "runtime/store/sqlite_session_store.h"
#include "tests/crash/actors.h"
#include "tests/crash/script.h"

/// A program to be killed: brings every session of its owner in a store to the end, and begins new
/// ones until there are enough. It is the product's agent and store with a model that follows a
/// script and tools that write down what they did to the world.
///
/// usage: ponder_crash_worker STORE EFFECTS OWNER SESSIONS ACKS DIE_AT [LEASE_MS]
///   STORE    an SQLite file; or postgresql://..., where the program instead takes the sessions
///   that
///            wait in the queue, a few at a time, until the queue is empty
///   EFFECTS  file that gets a line for each effect, on the disk before the tool answers (actors.h)
///   ACKS     descriptor that gets each event as soon as the store has said that it is kept
///   DIE_AT   kills itself at this checkpoint (from 1); 0: never
///   LEASE_MS how long a shared session stays a program's that gives no sign of life
/// PONDER_SYNCHRONOUS is what it is to ponder.
/// Prints the number of checkpoints. Exit status 3: the store failed, and said so.
namespace ponder::crash {
namespace {

namespace asio = boost::asio;
constexpr std::chrono::milliseconds kPollTime{20};
constexpr std::chrono::milliseconds kLeaseTime{15'000};
constexpr int kTriesToOpen = 500;
constexpr int kStoreFailed = 3;
constexpr std::uint32_t kSessionsMax = 1000;

/// One session at work.
asio::awaitable<Status> finish(runtime::Agent* agent) {
  while (agent->state().is_turn_open || agent->state().turns < user_texts().size()) {
    std::optional<Result<runtime::TurnEnded>> end;
    if (agent->state().is_turn_open) {
      auto resumed = co_await agent->resume();
      end.emplace(std::move(resumed));
    } else {
      std::string text = user_texts()[agent->state().turns];
      auto answered = co_await agent->run_turn(std::move(text));
      end.emplace(std::move(answered));
    }
    PONDER_CO_CHECK(*end);
    PONDER_ASSERT((*end)->reason == runtime::TurnEnd::answered);
  }
  co_return Status();
}

asio::awaitable<Status> open_and_finish(runtime::AgentParts parts, runtime::SessionId id) {
  auto agent = runtime::Agent::open(std::move(parts), id);
  if (!agent) co_return tl::unexpected<Error>(agent.error());
  auto status = co_await finish(agent->get());
  co_return status;
}

asio::awaitable<Status> start_and_finish(runtime::AgentParts parts, std::string owner) {
  auto agent = co_await runtime::Agent::start(std::move(parts), scripted_start(owner));
  if (!agent) co_return tl::unexpected<Error>(agent.error());
  auto status = co_await finish(agent->get());
  co_return status;
}

struct Options {
  const char* store;
  const char* effects;
  std::string owner;
  std::size_t sessions;
  int acks;
  long die_at;
  std::chrono::milliseconds lease_ms;
};

/// The sessions' coroutines, and the first thing that went wrong in them.
struct Sessions {
  asio::io_context io{1};
  std::optional<Error> error;
  std::exception_ptr thrown;

  void spawn(asio::awaitable<Status> work) {
    asio::co_spawn(io, std::move(work), [this](std::exception_ptr e, Status status) {
      if (e) thrown = e;
      if (!e && !status && !error) error = status.error();
    });
  }
};

Result<std::unique_ptr<runtime::SessionStore>> open_store(const Options& options) {
  const char* word = std::getenv("PONDER_SYNCHRONOUS");
  const bool is_normal = word != nullptr && std::string_view(word) == "normal";
  const auto synchronous = is_normal ? runtime::Synchronous::normal : runtime::Synchronous::full;
  if (!runtime::is_postgres_address(options.store)) {
    runtime::StoreOptions how;
    how.synchronous = synchronous;
    return runtime::SqliteSessionStore::open(options.store, system_clock(), how);
  }
  runtime::PostgresOptions how;
  how.synchronous = synchronous;
  how.lease_ms = options.lease_ms;
  auto store = runtime::open_postgres_store(options.store, system_clock(), how);
  // The server may be down: whoever starts a program that ended for that starts it again.
  for (int tries = 0; !store && tries < kTriesToOpen; ++tries) {
    poll(nullptr, 0, static_cast<int>(kPollTime.count()));
    store = runtime::open_postgres_store(options.store, system_clock(), how);
  }
  return store;
}

/// Brings a session that was taken to its end. One that became another program's is left to it.
asio::awaitable<Status> finish_taken(runtime::AgentParts parts, runtime::SessionId id,
                                     std::size_t* active) {
  runtime::WorkQueue* queue = parts.store->queue();
  auto finished = co_await open_and_finish(std::move(parts), id);
  --*active;
  if (!finished) {
    fmt::print(stderr, "{}: {}\n", id.value, finished.error().message);
    const bool is_anothers = finished.error().message.find("took the session") != std::string::npos;
    co_return is_anothers ? Status() : std::move(finished);
  }
  co_return queue->remove(id);
}

/// Takes sessions while there are any.
asio::awaitable<Status> share(runtime::AgentParts parts, Sessions* sessions) {
  constexpr std::size_t kActiveMax = 2;  // so that there is something left for others
  std::size_t active = 0;
  while (true) {
    std::optional<runtime::SessionId> next;
    if (active < kActiveMax) {
      PONDER_CO_TRY(next, parts.store->queue()->take());
    }
    if (next) {
      ++active;
      sessions->spawn(finish_taken(parts, *next, &active));
      continue;
    }
    PONDER_CO_TRY(const std::uint64_t left, parts.store->queue()->size());
    if (left == 0 && active == 0) co_return Status();
    co_await pass_time(kPollTime);
  }
}

/// The sessions of this owner, and new ones until there are enough.
Status spawn_own(const runtime::AgentParts& parts, const Options& options, Sessions& sessions) {
  std::size_t count = 0;
  PONDER_TRY(const auto known, parts.store->list(kSessionsMax));
  for (const runtime::SessionSummary& session : known) {
    if (session.workflow != options.owner || is_sub_agent(session.id)) continue;
    sessions.spawn(open_and_finish(parts, session.id));
    ++count;
  }
  for (; count < options.sessions; ++count) {
    sessions.spawn(start_and_finish(parts, options.owner));
  }
  return {};
}

Status run(const Options& options, Checkpoints& checkpoints) {
  PONDER_TRY(auto store, open_store(options));
  const int effects = ::open(options.effects, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  PONDER_ASSERT(effects >= 0);
  tools::Registry registry;
  const auto specs = scripted_start("").tools;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    PONDER_CHECK(registry.add(
        std::make_unique<LoggingTool>(scripted_tools()[i], specs[i], effects, checkpoints)));
  }
  FollowingModel model(checkpoints);
  Acknowledger acknowledger(options.acks, checkpoints);
  LoggingPerson person(effects, checkpoints);
  runtime::AgentParts parts(model, registry, *store, system_clock());
  parts.approvals.mode = runtime::ApprovalMode::always;
  parts.questions.respondent = &person;
  parts.sinks = {&acknowledger};

  Sessions sessions;
  if (store->queue() != nullptr) {
    sessions.spawn(share(parts, &sessions));
  } else {
    PONDER_CHECK(spawn_own(parts, options, sessions));
  }
  sessions.io.run();
  if (sessions.thrown) std::rethrow_exception(sessions.thrown);
  if (sessions.error) return tl::unexpected<Error>(*sessions.error);
  return {};
}

}  // namespace
}  // namespace ponder::crash

int main(int argc, char** argv) {
  if (argc != 7 && argc != 8) {
    fmt::print(stderr, "usage: {} STORE EFFECTS OWNER SESSIONS ACKS DIE_AT [LEASE_MS]\n", argv[0]);
    return 2;
  }
  const ponder::crash::Options options{
      argv[1],
      argv[2],
      argv[3],
      static_cast<std::size_t>(std::atol(argv[4])),
      std::atoi(argv[5]),
      std::atol(argv[6]),
      argc == 8 ? std::chrono::milliseconds(std::atol(argv[7])) : ponder::crash::kLeaseTime};
  ponder::crash::Checkpoints checkpoints(options.die_at);
  const ponder::Status status = ponder::crash::run(options, checkpoints);
  if (!status) {
    fmt::print(stderr, "{}\n", status.error().message);
    return ponder::crash::kStoreFailed;
  }
  fmt::print("{}\n", checkpoints.passed());
  return 0;
}
