#include "runtime/cli/compose.h"

#include <fmt/core.h>
#include <unistd.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/signal_set.hpp>
#include <charconv>
#include <chrono>
#include <csignal>
#include <exception>

#include "base/assert.h"
#include "runtime/data_dir.h"
#include "runtime/embedded_model.h"
#include "runtime/postgres_session_store.h"
#include "runtime/remote_model.h"
#include "runtime/sqlite_session_store.h"

namespace ponder::cli {

namespace asio = boost::asio;

namespace {

bool is_address(const std::string& model) {
  return model.starts_with("http://") || model.starts_with("https://");
}

Result<std::unique_ptr<runtime::ModelClient>> open_remote(const Environment& environment,
                                                          const std::string& address,
                                                          const ModelOptions& options) {
  runtime::RemoteOptions remote;
  remote.base_url = address;
  remote.model = options.model_name;
  remote.api_key = environment.api_key;
  PONDER_TRY(auto client, runtime::RemoteModel::create(std::move(remote)));
  return client;
}

Result<runtime::Synchronous> synchronous_of(const std::string& word) {
  if (word.empty() || word == "full") return runtime::Synchronous::full;
  if (word == "normal") return runtime::Synchronous::normal;
  return fail(Errc::invalid_argument,
              fmt::format("PONDER_SYNCHRONOUS is full or normal, not \"{}\"", word));
}

/// Whole seconds as words; the default for none.
Result<std::chrono::milliseconds> lease_of(const std::string& words) {
  constexpr int kSecondsMax = 3600;
  if (words.empty()) return runtime::PostgresOptions().lease_ms;
  int seconds = 0;
  const auto [end, error] = std::from_chars(words.data(), words.data() + words.size(), seconds);
  const bool is_number = error == std::errc() && end == words.data() + words.size();
  if (is_number && seconds >= 1 && seconds <= kSecondsMax) return std::chrono::seconds(seconds);
  return fail(Errc::invalid_argument,
              fmt::format("PONDER_LEASE is 1 to {} seconds, not \"{}\"", kSecondsMax, words));
}

}  // namespace

Result<std::filesystem::path> library_dir(const Environment& environment) {
  return runtime::find_library({{}, environment.library, environment.executable});
}

Result<std::unique_ptr<runtime::SessionStore>> open_store(const Environment& environment) {
  PONDER_TRY(const auto synchronous, synchronous_of(environment.synchronous));
  if (runtime::is_postgres_address(environment.sessions)) {
    runtime::PostgresOptions options;
    options.synchronous = synchronous;
    PONDER_TRY(options.lease_ms, lease_of(environment.lease));
    return runtime::open_postgres_store(environment.sessions, system_clock(), options);
  }
  runtime::StoreOptions options;
  options.synchronous = synchronous;
  return runtime::SqliteSessionStore::open(environment.sessions, system_clock(), options);
}

Result<std::unique_ptr<runtime::ModelClient>> open_model(const Environment& environment,
                                                         const ModelOptions& options) {
  const std::string& wanted = options.model.empty() ? environment.model : options.model;
  if (is_address(wanted)) return open_remote(environment, wanted, options);
  PONDER_TRY(auto dir,
             runtime::find_model({options.model, environment.model, environment.executable}));
  engine::EngineOptions engine;
  engine.num_threads = options.num_threads;
  engine.draft_tokens_max = options.num_drafts;
  engine.isa = environment.isa;
  engine.spill_dir = options.spill_dir;
  engine.spill_bytes_max = std::uint64_t{options.spill_gib_max} << 30;
  PONDER_TRY(auto model, runtime::EmbeddedModel::open(dir, engine));
  return model;
}

runtime::Sampling sampling_of(const ModelOptions& options) {
  runtime::Sampling sampling;
  sampling.temperature = options.temperature;
  sampling.top_p = options.top_p;
  sampling.seed = options.seed;
  sampling.has_grammar = !options.no_grammar;
  return sampling;
}

runtime::ContextBudget budget_of(const ContextLimits& limits) {
  return {limits.strategy, limits.limit_percent};
}

runtime::ApprovalMode approval_mode_of(const std::string& name) {
  if (name == "always") return runtime::ApprovalMode::always;
  if (name == "never") return runtime::ApprovalMode::never;
  PONDER_ASSERT(name == "ask");
  return runtime::ApprovalMode::ask;
}

int run_interruptibly(asio::io_context& io, asio::awaitable<int> work,
                      std::function<void()> interrupt) {
  constexpr int kInterrupted = 130;
  int status = 1;
  std::exception_ptr failure;
  asio::signal_set signals(io, SIGINT, SIGTERM);
  asio::cancellation_signal cancellation;
  bool is_interrupted = false;
  std::function<void(const boost::system::error_code&, int)> on_signal =
      [&](const boost::system::error_code& error, int) {
        if (error) return;
        if (is_interrupted) _exit(kInterrupted);
        is_interrupted = true;
        if (interrupt)
          interrupt();
        else
          cancellation.emit(asio::cancellation_type::terminal);
        signals.async_wait(on_signal);
      };
  signals.async_wait(on_signal);
  // This function owns the work and waits for it: io.run() returns when it has ended.
  const auto on_end = [&](std::exception_ptr error, int result) {
    failure = error;
    status = result;
    signals.cancel();
  };
  asio::co_spawn(io, std::move(work), asio::bind_cancellation_slot(cancellation.slot(), on_end));
  io.run();
  if (failure) std::rethrow_exception(failure);
  return status;
}

}  // namespace ponder::cli
