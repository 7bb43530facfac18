#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "tools/process/run_process.h"
#include "tools/registry.h"
#include "tools/script/lua_tools.h"

/// What tools in Lua files cost: ponder_bench_lua_tools [--json]. See scripts/bench/lua_tools.
namespace ponder::tools {
namespace {

namespace asio = boost::asio;
using Instant = std::chrono::steady_clock::time_point;

constexpr int kCalls = 1000;
constexpr int kWaiting = 10'000;
constexpr int kPrograms = 100;
constexpr std::chrono::milliseconds kPause{1};  // a model takes longer between two calls

constexpr const char* kFile = R"(return {
  name = "bench", description = "For the benchmark.", effect = "pure",
  parameters = { type = "object", properties = { seconds = { type = "number" } } },
  run = function(args, ctx)
    if args.seconds then ctx.sleep(args.seconds) end
    return "done"
  end,
})";

double resident_mib() {
  std::ifstream in("/proc/self/statm");
  std::int64_t total = 0, resident = 0;
  in >> total >> resident;
  return static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE)) / (1 << 20);
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<long>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// A file of our own, gone at the end.
class BenchFolder {
 public:
  BenchFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "ponder-bench-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
    std::ofstream(file()) << kFile;
  }
  ~BenchFolder() { std::filesystem::remove_all(path_); }
  BenchFolder(const BenchFolder&) = delete;
  BenchFolder& operator=(const BenchFolder&) = delete;
  std::filesystem::path file() const { return path_ / "bench.lua"; }

 private:
  std::filesystem::path path_;
};

struct Work {
  Registry registry;
  std::vector<double> microseconds;
  int num_done = 0;
  int num_failed = 0;
};

asio::awaitable<void> call_once(Work* work, std::string arguments) {
  const auto begin = std::chrono::steady_clock::now();
  ToolContext context(system_clock(), Deadline::never(), 10'000);
  auto output = co_await work->registry.find("bench")->invoke(std::move(arguments), context);
  const auto end = std::chrono::steady_clock::now();
  work->microseconds.push_back(std::chrono::duration<double, std::micro>(end - begin).count());
  ++work->num_done;
  if (!output || output->content != "done") ++work->num_failed;
}

/// One call after the other, with a pause between them that is not measured.
asio::awaitable<void> call_many(Work* work) {
  asio::steady_timer timer(co_await asio::this_coro::executor);
  for (int i = 0; i < kCalls; ++i) {
    std::string arguments = "{}";
    co_await call_once(work, std::move(arguments));
    timer.expires_after(kPause);
    co_await timer.async_wait(asio::use_awaitable);
  }
}

void rethrow(std::exception_ptr error) {
  if (error) std::rethrow_exception(error);
}

/// Median microseconds of a call that does nothing, or a negative number.
double measure_calls(const BenchFolder& folder, std::size_t warm_states) {
  asio::thread_pool pool(1);
  Work work;
  LuaToolsOptions options;
  options.paths = {folder.file()};
  options.warm_states = warm_states;
  if (!add_lua_tools(work.registry, options, system_clock(), pool.get_executor())) return -1;
  asio::io_context io;
  asio::co_spawn(io, call_many(&work), rethrow);
  io.run();
  pool.join();
  return work.num_failed == 0 ? median(work.microseconds) : -1;
}

struct Waiting {
  double mib = -1;      // more than before, while all wait
  double seconds = -1;  // until the last has ended
  int num_failed = kWaiting;
};

/// Looks when the last call has begun to wait for its 30 seconds, and the first has not ended.
asio::awaitable<void> look_at_memory(const Work* work, double* mib, int* num_waiting) {
  const auto executor = co_await asio::this_coro::executor;
  asio::steady_timer timer(executor, std::chrono::seconds(25));
  co_await timer.async_wait(asio::use_awaitable);
  *mib = resident_mib();
  *num_waiting = kWaiting - work->num_done;
  co_return;
}

/// Many calls on one thread, all of which wait at the same time.
Waiting measure_waiting(const BenchFolder& folder) {
  asio::thread_pool pool(1);
  Work work;
  LuaToolsOptions options;
  options.paths = {folder.file()};
  Waiting out;
  if (!add_lua_tools(work.registry, options, system_clock(), pool.get_executor())) return out;
  asio::io_context io;
  const double before = resident_mib();
  double during = 0;
  const Instant begin = std::chrono::steady_clock::now();
  for (int i = 0; i < kWaiting; ++i) {
    asio::co_spawn(io, call_once(&work, R"({"seconds": 30})"), rethrow);
  }
  int num_waiting = 0;
  asio::co_spawn(io, look_at_memory(&work, &during, &num_waiting), rethrow);
  io.run();
  out.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  pool.join();
  out.mib = during - before;
  out.num_failed = work.num_failed + (kWaiting - num_waiting) + (kWaiting - work.num_done);
  return out;
}

asio::awaitable<void> run_program(std::vector<double>* milliseconds) {
  const auto begin = std::chrono::steady_clock::now();
  ProcessRequest request({"true"});
  SandboxPolicy policy;
  const auto result = co_await run_process(std::move(request), policy, Deadline::never());
  const auto end = std::chrono::steady_clock::now();
  if (!result || result->exit_code != 0) co_return;
  milliseconds->push_back(std::chrono::duration<double, std::milli>(end - begin).count());
}

/// Median milliseconds of a program that does nothing, in the sandbox, from the call to its result;
/// a negative number where there is no sandbox.
double measure_programs() {
  std::vector<double> milliseconds;
  for (int i = 0; i < kPrograms; ++i) {
    asio::io_context io;
    asio::co_spawn(io, run_program(&milliseconds), rethrow);
    io.run();
  }
  return milliseconds.size() == kPrograms ? median(milliseconds) : -1;
}

int run(bool as_json) {
  const BenchFolder folder;
  const Waiting waiting = measure_waiting(folder);
  const double warm = measure_calls(folder, 8);
  const double cold = measure_calls(folder, 0);
  const double program = measure_programs();
  if (as_json) {
    fmt::print(
        "{{\"call_warm_us\": {:.2f}, \"call_cold_us\": {:.2f}, \"waiting\": {}, "
        "\"waiting_mib\": {:.1f}, \"waiting_seconds\": {:.2f}, \"failed\": {}, "
        "\"program_ms\": {:.2f}}}\n",
        warm, cold, kWaiting, waiting.mib, waiting.seconds, waiting.num_failed, program);
  } else {
    fmt::print("{:<46} {:>10.2f} us\n", "a call, median, its state warm", warm);
    fmt::print("{:<46} {:>10.2f} us\n", "a call, median, its state made for it", cold);
    fmt::print("{:<46} {:>10.1f} MiB\n", "10000 calls that wait on one thread", waiting.mib);
    fmt::print("{:<46} {:>10.2f} s\n", "until the last of them (30 s each) has ended",
               waiting.seconds);
    fmt::print("{:<46} {:>10.2f} ms\n", "a program in the sandbox that does nothing, median",
               program);
  }
  return waiting.num_failed == 0 && warm >= 0 && cold >= 0 ? 0 : 1;
}

}  // namespace
}  // namespace ponder::tools

int main(int argc, char** argv) {
  return ponder::tools::run(argc > 1 && std::strcmp(argv[1], "--json") == 0);
}
