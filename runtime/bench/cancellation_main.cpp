// ponder_bench_cancellation [--json] [--repeats N] [--model DIR]
//
// How long a cancelled turn goes on: N times (default: 100) an agent is cancelled up to 20 ms after
// it began to wait for something, and two times are taken: until that has let go, and until the
// turn's end is in the log. The store is a new file of the temporary folder, written in full.

#include <fmt/core.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/http/http_client.h"
#include "runtime/agent/agent.h"
#include "runtime/agent/agent_tool.h"
#include "runtime/model/embedded_model.h"
#include "runtime/model/remote_model.h"
#include "runtime/model/scripted_model.h"
#include "runtime/store/sqlite_session_store.h"
#include "tools/code/code_tools.h"
#include "tools/environment.h"
#include "tools/script/lua_tools.h"

namespace ponder::bench {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;
using runtime::ScriptedStep;
using std::chrono::steady_clock;

constexpr const char* kSpinner = R"lua(
local function tool(name)
  return { name = name, description = "Takes for ever.", effect = "irreversible",
    capabilities = {}, parameters = '{"type": "object"}', run = function() while true do end end }
end
return { name = "spinner", instructions = "", tools = { tool("spin"), tool("spin_too") },
  build = function() end }
)lua";

/// A tool that asks a server.
constexpr const char* kAsker = R"lua(
return { name = "ask", description = "Asks a server.", effect = "pure",
  capabilities = { "http:127.0.0.1" },
  parameters = { type = "object", properties = { url = { type = "string" } } },
  run = function(args, ctx)
    local response, problem = ctx.http.get(args.url)
    if not response then return nil, problem end
    return response.body
  end }
)lua";

struct Options {
  bool json = false;
  int repeats = 100;
  std::string model = "engine/models/mini";
};

/// A folder that is gone at the end.
struct TempDir {
  TempDir() {
    std::string name = (fs::temp_directory_path() / "ponder-cancel-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) std::abort();
    path = name;
  }
  ~TempDir() { fs::remove_all(path); }
  fs::path path;
};

/// A socket that takes connections and never says anything.
class SilentServer {
 public:
  SilentServer() : listener_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    const bool is_up = bind(listener_, generic, length) == 0 && listen(listener_, 4096) == 0 &&
                       getsockname(listener_, generic, &length) == 0;
    if (!is_up) std::abort();
    port_ = ntohs(address.sin_port);
  }
  ~SilentServer() { close(listener_); }
  std::string url() const { return fmt::format("http://127.0.0.1:{}/v1", port_); }

 private:
  int listener_;  // its backlog takes the connections
  std::uint16_t port_ = 0;
};

/// Name servers that answer to the cancelled only: the look-ups end with the program.
Result<http::Addresses> look_up_for_ever(const std::string&) {
  std::promise<void> never;
  never.get_future().wait();
  return fail(Errc::unavailable, "");
}

/// One cancelled turn.
struct Turn {
  explicit Turn(asio::io_context& io) : timer(io) {}
  void began() {
    if (is_armed) return;
    is_armed = true;
    timer.expires_after(delay);
    timer.async_wait([this](boost::system::error_code error) {
      if (!error) cancel();
    });
  }
  void cancel() {
    cancelled_at = steady_clock::now();
    agent->cancel();
  }
  asio::steady_timer timer;
  std::chrono::microseconds delay{0};
  runtime::Agent* agent = nullptr;
  bool is_armed = false;
  steady_clock::time_point cancelled_at;
  steady_clock::time_point let_go_at;
};

/// Says when a request begins and when it has ended.
class WatchedModel final : public runtime::ModelClient {
 public:
  explicit WatchedModel(runtime::ModelClient& model) : model_(&model) {}
  std::string description() const override { return model_->description(); }
  std::string family() const override { return model_->family(); }
  std::uint32_t tokens_context_max() const override { return model_->tokens_context_max(); }
  std::string vocabulary() const override { return model_->vocabulary(); }
  context::TokenizeFn tokenizer() const override { return model_->tokenizer(); }
  asio::awaitable<Result<runtime::Completion>> complete(runtime::ModelRequest request,
                                                        runtime::ModelSink sink) override {
    if (turn != nullptr) turn->began();
    auto result = co_await model_->complete(std::move(request), std::move(sink));
    if (turn != nullptr) turn->let_go_at = steady_clock::now();
    co_return result;
  }
  Turn* turn = nullptr;

 private:
  runtime::ModelClient* model_;
};

/// The same, of a tool's calls.
class WatchedTool final : public tools::Tool {
 public:
  WatchedTool(tools::Tool& tool, Turn** turn) : tool_(&tool), turn_(turn) {}
  const context::ToolSpec& spec() const override { return tool_->spec(); }
  tools::Effect effect() const override { return tool_->effect(); }
  const std::vector<std::string>& capabilities() const override { return tool_->capabilities(); }
  asio::awaitable<Result<tools::ToolOutput>> invoke(std::string arguments,
                                                    tools::ToolContext context) override {
    (*turn_)->began();
    auto result = co_await tool_->invoke(std::move(arguments), context);
    (*turn_)->let_go_at = steady_clock::now();
    co_return result;
  }

 private:
  tools::Tool* tool_;
  Turn** turn_;
};

/// Nobody ever answers.
class SilentPerson final : public runtime::Approver {
 public:
  explicit SilentPerson(Turn** turn) : turn_(turn) {}
  asio::awaitable<Result<runtime::ApprovalAnswer>> ask(runtime::ApprovalQuestion) override {
    co_await asio::this_coro::throw_if_cancelled(false);
    const auto executor = co_await asio::this_coro::executor;
    (*turn_)->began();
    asio::steady_timer timer(executor, steady_clock::time_point::max());
    boost::system::error_code ignored;
    co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    (*turn_)->let_go_at = steady_clock::now();
    co_return fail(Errc::cancelled, "");
  }

 private:
  Turn** turn_;
};

/// Cancels while the append that follows an event is under way.
class CancelAt final : public runtime::EventSink {
 public:
  explicit CancelAt(Turn** turn) : turn_(turn) {}
  void on_event(const runtime::SessionId&, const runtime::Record& record) override {
    const bool is_begun = std::holds_alternative<runtime::UserMessage>(record.event);
    if (is_begun) (*turn_)->began();
  }

 private:
  Turn** turn_;
};

struct Case {
  std::string name;
  runtime::ModelClient* model = nullptr;
  std::vector<std::string> calls;  // of the script's first step, where the model is the script
  runtime::ApprovalMode approvals = runtime::ApprovalMode::always;
  bool watches_model = false;
  bool watches_log = false;
  std::uint32_t agent_depth_max = 0;
  std::string arguments = "{}";  // of the calls
};

double ms(steady_clock::duration d) { return std::chrono::duration<double, std::milli>(d).count(); }

struct Times {
  std::vector<double> let_go_ms;
  std::vector<double> in_log_ms;
};

double percentile(std::vector<double> values, double part) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(part * static_cast<double>(values.size() - 1))];
}

/// What all cases work with.
class Bench {
 public:
  explicit Bench(Options options) : options_(std::move(options)) {
    auto store = runtime::SqliteSessionStore::open(dir_.path / "sessions.db", system_clock());
    if (!store) fail_with(store.error());
    store_ = std::move(*store);
    std::ofstream(dir_.path / "spinner.lua") << kSpinner;
    tools::WorldOptions world;
    world.library = dir_.path;
    world.name = "spinner";
    auto environment = tools::Environment::open(world, pool_.get_executor());
    if (!environment) fail_with(environment.error());
    environment_ = std::move(*environment);
    if (!environment_->add_tools(tools_)) std::abort();
    std::ofstream(dir_.path / "ask.lua") << kAsker;
    tools::LuaToolsOptions lua;
    lua.paths = {dir_.path / "ask.lua"};
    lua.grants = {"http:127.0.0.1"};
    const auto pool = pool_.get_executor();
    const Status has_asker = tools::add_lua_tools(tools_, lua, system_clock(), pool);
    if (!has_asker) fail_with(has_asker.error());
    tools::CodeProject project;
    project.folder = dir_.path / "project";
    fs::create_directory(project.folder);
    const Status has_shell = tools::add_code_tools(tools_, project, pool);
    if (!has_shell) fmt::print(stderr, "no child processes: {}\n", has_shell.error().message);
    for (const context::ToolSpec& spec : tools_.specs()) {
      auto watched = std::make_unique<WatchedTool>(*tools_.find(spec.name), &turn_);
      if (!registry_.add(std::move(watched))) std::abort();
    }
  }

  int run() {
    SilentServer server;
    runtime::RemoteOptions remote_options;
    remote_options.base_url = server.url();
    remote_options.model = "silent";
    auto remote = runtime::RemoteModel::create(std::move(remote_options));
    if (!remote) fail_with(remote.error());
    http::Resolver resolver(look_up_for_ever, {.threads_max = 1});
    http::ClientOptions nameless;
    nameless.resolver = &resolver;
    auto client = http::Client::create(nameless);
    if (!client) fail_with(client.error());
    runtime::RemoteOptions unknown_options;
    unknown_options.base_url = "http://model.example/v1";
    unknown_options.model = "unknown";
    auto unknown = runtime::RemoteModel::create(std::move(unknown_options), std::move(*client));
    if (!unknown) fail_with(unknown.error());
    const std::string ask = fmt::format(R"({{"url":"{}"}})", server.url());
    engine::EngineOptions engine_options;
    auto embedded = runtime::EmbeddedModel::open(options_.model, engine_options);
    if (!embedded) fail_with(embedded.error());
    using Mode = runtime::ApprovalMode;
    std::vector<Case> cases = {
        {"model, remote", remote->get(), {}, Mode::always, true, false, 0},
        {"a name in DNS", unknown->get(), {}, Mode::always, true, false, 0},
        {"model, embedded", embedded->get(), {}, Mode::always, true, false, 0},
        {"a tool's socket", nullptr, {"ask"}, Mode::always, false, false, 0, ask},
        {"Lua, in a loop", nullptr, {"spin"}, Mode::always, false, false, 0},
        {"Lua, waiting for another", nullptr, {"spin", "spin_too"}, Mode::always, false, false, 0},
        {"sub-agents, three deep", nullptr, {"spin"}, Mode::always, false, false, 3},
        {"approval", nullptr, {"spin"}, Mode::ask, false, false, 0},
        {"append", nullptr, {}, Mode::always, false, true, 0}};
    if (tools_.find("shell") != nullptr) {
      const std::string sleep = R"({"command":"sleep 1000"})";
      cases.push_back(
          {"a child process", nullptr, {"shell"}, Mode::always, false, false, 0, sleep});
    }
    if (!options_.json)
      fmt::print("{:<26} {:>28} {:>28}\n", "cancelled while it waits for",
                 "let go after ms p50 p99 max", "in the log p50 p99 max");
    for (const Case& one : cases) measure(one);
    return 0;
  }

 private:
  [[noreturn]] static void fail_with(const Error& error) {
    fmt::print(stderr, "ponder_bench_cancellation: {}\n", error.message);
    std::exit(1);
  }

  static ScriptedStep calling(const std::vector<std::string>& names, const std::string& arguments) {
    runtime::Completion completion;
    for (const std::string& name : names) {
      completion.message.tool_calls.push_back({"", name, arguments});
    }
    completion.call_faults.resize(names.size());
    return ScriptedStep(std::move(completion));
  }

  static std::vector<ScriptedStep> script_of(const Case& one) {
    std::vector<ScriptedStep> script;
    script.reserve(std::size_t{one.agent_depth_max} + 1);
    for (std::uint32_t depth = 0; depth < one.agent_depth_max; ++depth) {
      script.push_back(calling({runtime::kAgentTool}, R"({"task": "spin"})"));
    }
    script.push_back(one.calls.empty() ? ScriptedStep::hang() : calling(one.calls, one.arguments));
    return script;
  }

  void measure(const Case& one) {
    Times times;
    for (int i = 0; i < options_.repeats; ++i) cancel_once(one, times);
    const auto row = [](const std::vector<double>& values) {
      return fmt::format("{:>10.2f} {:>8.2f} {:>8.2f}", percentile(values, 0.5),
                         percentile(values, 0.99), percentile(values, 1.0));
    };
    if (options_.json) {
      fmt::print(
          "{{\"case\":\"{}\",\"let_go_p50_ms\":{:.3f},\"let_go_p99_ms\":{:.3f},"
          "\"in_log_p50_ms\":{:.3f},\"in_log_p99_ms\":{:.3f}}}\n",
          one.name, percentile(times.let_go_ms, 0.5), percentile(times.let_go_ms, 0.99),
          percentile(times.in_log_ms, 0.5), percentile(times.in_log_ms, 0.99));
    } else {
      fmt::print("{:<26} {:>28} {:>28}\n", one.name,
                 times.let_go_ms.empty() ? "-" : row(times.let_go_ms), row(times.in_log_ms));
      std::fflush(stdout);
    }
  }

  void cancel_once(const Case& one, Times& times) {
    asio::io_context io(1);
    Turn turn(io);
    turn_ = &turn;
    turn.delay = std::chrono::microseconds(one.watches_log ? 0 : random_() % 20'000);
    runtime::ScriptedModel script(script_of(one));
    WatchedModel model(one.model == nullptr ? script : *one.model);
    if (one.watches_model) model.turn = &turn;
    SilentPerson person(&turn_);
    CancelAt at(&turn_);
    runtime::AgentParts parts(model, registry_, *store_, system_clock());
    parts.grants = {"http:127.0.0.1", tools::kRunPrograms};
    parts.approvals = {one.approvals, &person, 600'000};
    if (one.watches_log) parts.sinks.push_back(&at);
    runtime::SessionStarted start;
    start.model = model.description();
    start.family = model.family();
    start.tools = registry_.specs();
    start.limits.agent_depth_max = one.agent_depth_max;
    auto work = run_turn(std::move(parts), std::move(start), &turn);
    asio::co_spawn(io, std::move(work), [](std::exception_ptr error) {
      if (error) std::rethrow_exception(error);
    });
    io.run();
    const auto end = steady_clock::now();
    if (turn.let_go_at > turn.cancelled_at) {
      times.let_go_ms.push_back(ms(turn.let_go_at - turn.cancelled_at));
    }
    times.in_log_ms.push_back(ms(end - turn.cancelled_at));
  }

  static asio::awaitable<void> run_turn(runtime::AgentParts parts, runtime::SessionStarted start,
                                        Turn* turn) {
    auto agent = co_await runtime::Agent::start(std::move(parts), std::move(start));
    if (!agent) fail_with(agent.error());
    turn->agent = agent->get();
    const auto end = co_await (*agent)->run_turn("Plan a one-day trip to Suzhou.");
    if (!end) fail_with(end.error());
    const bool was_cancelled = end->reason == runtime::TurnEnd::cancelled;
    if (!was_cancelled) fail_with(Error(Errc::internal, "a turn ended before it was cancelled"));
  }

  Options options_;
  TempDir dir_;
  asio::thread_pool pool_{2};
  std::mt19937 random_{1};
  std::unique_ptr<runtime::SessionStore> store_;
  std::unique_ptr<tools::Environment> environment_;
  tools::Registry tools_;  // not watched
  tools::Registry registry_;
  Turn* turn_ = nullptr;
};

Options read_options(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--json") {
      options.json = true;
    } else if (word == "--repeats" && i + 1 < argc) {
      options.repeats = std::atoi(argv[++i]);
    } else if (word == "--model" && i + 1 < argc) {
      options.model = argv[++i];
    } else {
      fmt::print(stderr, "ponder_bench_cancellation [--json] [--repeats N] [--model DIR]\n");
      std::exit(2);
    }
  }
  return options;
}

}  // namespace
}  // namespace ponder::bench

int main(int argc, char** argv) {
  return ponder::bench::Bench(ponder::bench::read_options(argc, argv)).run();
}
