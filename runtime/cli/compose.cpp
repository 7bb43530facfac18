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
#include <fstream>
#include <iterator>
#include <limits>
#include <string_view>
#include <utility>

#include "base/assert.h"
#include "runtime/cli/engine_options.h"
#include "runtime/cli/terminal.h"
#include "runtime/data_dir.h"
#include "runtime/model/embedded_model.h"
#include "runtime/model/remote_model.h"
#include "runtime/model/scripted_model.h"
#include "runtime/store/postgres_session_store.h"
#include "runtime/store/sqlite_session_store.h"

namespace ponder::cli {

namespace asio = boost::asio;

namespace {

bool is_address(const std::string& model) {
  return model.starts_with("http://") || model.starts_with("https://");
}

/// Whether somebody meant an endpoint: "localhost:8000/v1", "ftp://host". Not a folder of that
/// name.
bool is_nearly_address(const std::string& model) {
  std::error_code unreadable;
  if (model.empty() || std::filesystem::exists(model, unreadable)) return false;
  if (model.find("://") != std::string::npos) return true;
  const std::size_t colon = model.find(':');
  return colon != std::string::npos && colon + 1 < model.size() && colon < model.find('/') &&
         std::isdigit(static_cast<unsigned char>(model[colon + 1])) != 0;
}

Result<std::unique_ptr<runtime::ModelClient>> open_remote(const Environment& environment,
                                                          const std::string& address,
                                                          const ModelOptions& options) {
  runtime::RemoteOptions remote;
  if (options.is_from_log && !environment.api_key.empty()) {
    return fail(Errc::invalid_argument,
                fmt::format("the session's log names {}: your API key goes only where you say; "
                            "give the address with --model",
                            address));
  }
  remote.base_url = address;
  remote.model = options.model_name;
  if (options.is_patient) remote.attempts_max = std::numeric_limits<std::uint32_t>::max();
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

constexpr std::string_view kScript = "script:";

/// `script:FILE`: a demonstration without a model.
Result<std::unique_ptr<runtime::ModelClient>> open_script(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) return fail(Errc::not_found, fmt::format("cannot read {}", file));
  const std::string text(std::istreambuf_iterator<char>(in), {});
  auto steps = runtime::ScriptedModel::read_script(text);
  if (!steps) return fail_in(file, steps.error());
  return std::make_unique<runtime::ScriptedModel>(std::move(*steps));
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
                                                         const ModelOptions& options,
                                                         const std::string& shipped) {
  const std::string& wanted = options.model.empty() ? environment.model : options.model;
  if (is_address(wanted)) return open_remote(environment, wanted, options);
  if (wanted.starts_with(kScript)) return open_script(wanted.substr(kScript.size()));
  if (is_nearly_address(wanted)) {
    return fail(Errc::invalid_argument,
                fmt::format("{}: an endpoint begins with http:// or https://, as in "
                            "http://localhost:8000/v1",
                            wanted));
  }
  PONDER_TRY(auto dir, runtime::find_model(
                           {options.model, environment.model, environment.executable}, shipped));
  PONDER_TRY(const auto engine, engine_options(environment, options));
  PONDER_TRY(auto model, runtime::EmbeddedModel::open(dir, engine));
  return model;
}

void warn_of_unlearned(const Environment& environment, const ModelOptions& options,
                       const std::string& workflow, const std::string& shipped) {
  const bool is_named = !options.model.empty() || !environment.model.empty();
  if (is_named || shipped != "mini" || workflow == "travel") return;
  put_error(fmt::format(
      "ponder: note: the shipped model knows the workflow travel only, not {}; --model names a "
      "capable one\n",
      printable(workflow)));
}

runtime::Sampling sampling_of(const ModelOptions& options) {
  runtime::Sampling sampling;
  sampling.temperature = options.temperature;
  sampling.top_p = options.top_p;
  sampling.repetition_penalty = options.repetition_penalty;
  sampling.frequency_penalty = options.frequency_penalty;
  sampling.presence_penalty = options.presence_penalty;
  sampling.seed = options.seed;
  sampling.has_grammar = !options.no_grammar;
  return sampling;
}

runtime::ContextBudget budget_of(const ContextLimits& limits) {
  return {limits.strategy, limits.limit_percent};
}

Result<Money> money_of(const Environment& environment, const MoneyOptions& options,
                       const runtime::ModelClient& model) {
  Money out;
  std::filesystem::path file = options.prices;
  if (file.empty()) file = environment.prices;
  if (!file.empty()) {
    PONDER_TRY(const auto list, runtime::PriceList::load(file));
    out.prices = list.find(model.description());
    out.currency = list.currency();
  }
  if (options.budget.empty()) return out;
  auto amount = runtime::parse_money(options.budget);
  if (!amount) return fail_in("--budget-money", amount.error());
  if (*amount == 0) {
    return fail(Errc::invalid_argument,
                "--budget-money: with nothing to spend nothing can be done");
  }
  out.cost_pico_max = *amount;
  if (!out.prices.are_known) {
    return fail(Errc::invalid_argument,
                fmt::format("--budget-money needs the price of {}, which {}", model.description(),
                            file.empty() ? "--prices or PONDER_PRICES can give"
                                         : "is not in " + file.string()));
  }
  return out;
}

runtime::Limits limits_with(runtime::Limits limits, const BudgetOptions& budget,
                            std::optional<std::int64_t> cost_pico_max) {
  constexpr std::int64_t kMsPerSecond = 1000;
  limits.steps_max = budget.steps_max.value_or(limits.steps_max);
  limits.tokens_turn_max = budget.tokens_max.value_or(limits.tokens_turn_max);
  if (budget.seconds_max) limits.turn_ms_max = *budget.seconds_max * kMsPerSecond;
  limits.cost_pico_max = cost_pico_max.value_or(limits.cost_pico_max);
  return limits;
}

tools::CodeProject project_of(const ProjectOptions& options) {
  tools::CodeProject project;
  project.folder = std::filesystem::absolute(options.folder);
  project.test_command = options.test_command;
  project.test_reports = options.test_reports;
  const auto isolation = tools::parse_isolation(options.sandbox);
  PONDER_ASSERT(isolation.has_value());
  project.isolation = *isolation;
  for (const auto& path : options.readable) {
    project.readable.push_back(std::filesystem::absolute(path));
  }
  return project;
}

Result<std::optional<tools::CodeProject>> project_said(const ProjectOptions& options) {
  if (options.has_folder) return std::optional(project_of(options));
  if (options.test_command.empty()) return std::optional<tools::CodeProject>();
  return fail(Errc::invalid_argument, "for a session that goes on, --test goes with --folder");
}

Status check_project(const std::string& workflow, const ProjectOptions& options) {
  const char* given = options.has_folder              ? "--folder"
                      : !options.test_command.empty() ? "--test"
                      : !options.test_reports.empty() ? "--test-reports"
                                                      : nullptr;
  if (given == nullptr || workflow == "code" || workflow == "fix") return {};
  return fail(Errc::invalid_argument,
              fmt::format("{} is for the workflow code, which works on a project; {} has none",
                          given, workflow));
}

runtime::ApprovalMode approval_mode_of(const std::string& name) {
  if (name == "always") return runtime::ApprovalMode::always;
  if (name == "never") return runtime::ApprovalMode::never;
  PONDER_ASSERT(name == "ask");
  return runtime::ApprovalMode::ask;
}

runtime::ApprovalMode approval_mode_for(const runtime::Workflow& workflow,
                                        const std::string& name) {
  return workflow.is_contained() ? runtime::ApprovalMode::always : approval_mode_of(name);
}

Status expect_no_sub_agent(const runtime::SessionId& id, const runtime::SessionState& state) {
  if (!state.task || state.task->parent.empty()) return {};
  return fail(Errc::invalid_argument,
              fmt::format("session {} works for a call of session {} and goes on with that one "
                          "(ponder sessions resume {}); to talk to it: ponder sessions fork {}",
                          id.value, state.task->parent, state.task->parent, id.value));
}

int run_interruptibly(asio::io_context& io, asio::awaitable<int> work,
                      std::function<void()> interrupt) {
  int status = 1;
  std::exception_ptr failure;
  asio::signal_set signals(io, SIGINT, SIGTERM);
  asio::cancellation_signal cancellation;
  bool is_interrupted = false;
  std::function<void(const boost::system::error_code&, int)> on_signal =
      [&](const boost::system::error_code& error, int) {
        if (error) return;
        if (is_interrupted) _exit(kInterruptedStatus);
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
