// ponder_bench_store [--json] [--seconds S] [--bytes N] [--dir DIR]
//
// Times appends to the session store: one event of N bytes (default: 1024) at a time by each of 1
// and of 1000 sessions, with `synchronous` full and normal, for S seconds (default: 3) each. The
// file lies in a new folder of DIR (default: the current directory), whose disk is what counts.

#include <fmt/core.h>
#include <sys/resource.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "base/clock.h"
#include "runtime/store/sqlite_session_store.h"

namespace ponder::bench {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;
using SteadyClock = std::chrono::steady_clock;
using runtime::Synchronous;

struct Options {
  bool json = false;
  double seconds = 3;
  std::size_t num_bytes = 1024;
  fs::path dir = ".";
};

struct Load {
  runtime::SessionStore* store;
  SteadyClock::time_point end;
  std::string text;
  std::vector<double> latencies_us;
  std::string problem;
};

double us_since(SteadyClock::time_point begin) {
  return std::chrono::duration<double, std::micro>(SteadyClock::now() - begin).count();
}

/// The processor time of the whole process so far.
double processor_us() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto us = [](const timeval& t) { return 1e6 * static_cast<double>(t.tv_sec) + t.tv_usec; };
  return us(usage.ru_utime) + us(usage.ru_stime);
}

// NOLINTNEXTLINE(cppcoreguidelines-avoid-reference-coroutine-parameters): the caller waits for it
asio::awaitable<void> run_session(Load& load) {
  const runtime::SessionId id = load.store->new_id();
  std::vector<runtime::Event> events;
  events.emplace_back(runtime::SessionStarted{});
  std::int64_t last_seq = 0;
  while (SteadyClock::now() < load.end) {
    const auto begin = SteadyClock::now();
    const auto written = co_await load.store->append(id, last_seq++, std::move(events));
    if (!written) {
      load.problem = written.error().message;
      co_return;
    }
    load.latencies_us.push_back(us_since(begin));
    events.clear();
    events.emplace_back(runtime::ToolFinished{0, 0, runtime::Outcome::success, load.text, 1});
  }
}

void print_row(const Options& options, int sessions, Synchronous synchronous, const Load& load,
               double seconds, double busy_us) {
  const auto num_events = static_cast<double>(load.latencies_us.size());
  const auto percentile = [&](double part) {
    const auto index = static_cast<std::size_t>(part * (num_events - 1));
    return load.latencies_us[index];
  };
  const char* name = synchronous == Synchronous::full ? "full" : "normal";
  const double per_commit = num_events / static_cast<double>(load.store->commits());
  const char* format = options.json
                           ? "{{\"sessions\":{},\"synchronous\":\"{}\",\"events_per_s\":{:.0f},"
                             "\"events_per_commit\":{:.1f},\"p50_us\":{:.0f},\"p99_us\":{:.0f},"
                             "\"processor_us_per_event\":{:.1f}}}\n"
                           : "{:>8}  {:<11}  {:>8.0f}  {:>16.1f}  {:>8.0f}  {:>8.0f}  {:>12.1f}\n";
  fmt::print(fmt::runtime(format), sessions, name, num_events / seconds, per_commit,
             percentile(0.5), percentile(0.99), busy_us / num_events);
}

bool run_case(const Options& options, const fs::path& file, int sessions, Synchronous synchronous) {
  runtime::StoreOptions how;
  how.synchronous = synchronous;
  auto store = runtime::SqliteSessionStore::open(file, system_clock(), how);
  if (!store) {
    fmt::print(stderr, "{}\n", store.error().message);
    return false;
  }
  Load load{store->get(), {}, std::string(options.num_bytes, 'x'), {}, ""};
  const double busy_before_us = processor_us();
  const auto begin = SteadyClock::now();
  load.end = begin + std::chrono::microseconds(static_cast<std::int64_t>(options.seconds * 1e6));
  asio::io_context context(1);
  std::exception_ptr failure;
  for (int i = 0; i < sessions; ++i) {
    asio::co_spawn(context, run_session(load), [&](std::exception_ptr error) {
      if (error) failure = error;
    });
  }
  context.run();
  const double seconds = us_since(begin) / 1e6;
  if (failure) std::rethrow_exception(failure);
  if (!load.problem.empty()) {
    fmt::print(stderr, "{}\n", load.problem);
    return false;
  }
  std::sort(load.latencies_us.begin(), load.latencies_us.end());
  print_row(options, sessions, synchronous, load, seconds, processor_us() - busy_before_us);
  return true;
}

int run(const Options& options) {
  std::string folder = (options.dir / "ponder-bench-XXXXXX").string();
  if (mkdtemp(folder.data()) == nullptr) {
    fmt::print(stderr, "cannot make a folder in {}\n", options.dir.string());
    return 1;
  }
  if (!options.json) {
    fmt::print("{:>8}  {:<11}  {:>8}  {:>16}  {:>8}  {:>8}  {:>12}\n", "sessions", "synchronous",
               "events/s", "events per commit", "p50 us", "p99 us", "CPU us/event");
  }
  bool is_good = true;
  int file = 0;
  for (const int sessions : {1, 1000}) {
    for (const auto synchronous : {Synchronous::full, Synchronous::normal}) {
      const fs::path path = fs::path(folder) / fmt::format("{}.db", file++);
      is_good = is_good && run_case(options, path, sessions, synchronous);
    }
  }
  std::error_code ignored;
  fs::remove_all(folder, ignored);
  return is_good ? 0 : 1;
}

bool parse(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : nullptr;
    if (name == "--json") {
      options.json = true;
      continue;
    }
    if (value == nullptr) return false;
    ++i;
    if (name == "--seconds") {
      options.seconds = std::atof(value);
    } else if (name == "--bytes") {
      options.num_bytes = static_cast<std::size_t>(std::atoll(value));
    } else if (name == "--dir") {
      options.dir = value;
    } else {
      return false;
    }
  }
  return options.seconds > 0;
}

}  // namespace
}  // namespace ponder::bench

int main(int argc, char** argv) {
  ponder::bench::Options options;
  if (!ponder::bench::parse(argc, argv, options)) {
    fmt::print(stderr, "usage: {} [--json] [--seconds S] [--bytes N] [--dir DIR]\n", argv[0]);
    return 2;
  }
  return ponder::bench::run(options);
}
