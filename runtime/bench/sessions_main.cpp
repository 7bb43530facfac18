// ponder_bench_sessions [--json] [--sessions N] [--at-once N] [--steps N] [--scale X] [--seed N]
//                       [--synchronous full|normal] [--dir DIR]
//
// Runs sessions side by side in this process (runtime/bench/load.h) on a store in a new folder of
// DIR (default: the current directory), then audits every log. Exit status 1: something was lost,
// doubled or out of order.

#include <fmt/core.h>

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "runtime/bench/load.h"

namespace ponder::bench {
namespace {

namespace fs = std::filesystem;
using runtime::Synchronous;

struct Options {
  bool json = false;
  Workload work;
  std::optional<std::uint32_t> at_once;
  Synchronous synchronous = Synchronous::full;
  fs::path dir = ".";
};

double percentile(const std::vector<double>& sorted, double part) {
  if (sorted.empty()) return 0;
  return sorted[static_cast<std::size_t>(part * static_cast<double>(sorted.size() - 1))];
}

void print_line(const Options& options, const LoadFigures& f) {
  const auto steps = static_cast<double>(f.steps);
  const auto events = static_cast<double>(f.events);
  const char* format =
      options.json
          ? "{{\"sessions\":{},\"at_once\":{},\"synchronous\":\"{}\",\"wall_s\":{:.2f},"
            "\"steps\":{},\"steps_per_s\":{:.0f},\"events_per_s\":{:.0f},"
            "\"events_per_commit\":{:.1f},\"sync_ms\":{:.3f},\"sync_share\":{:.2f},"
            "\"overhead_p50_us\":{:.0f},\"overhead_p99_us\":{:.0f},\"with_sync_p50_us\":{:.0f},"
            "\"with_sync_p99_us\":{:.0f},\"processor_us_per_step\":{:.0f},\"rss_mib_max\":{:.0f},"
            "\"events_audited\":{}}}\n"
          : "{} sessions, {} at once, synchronous {}: {:.2f} s\n"
            "  {} steps: {:.0f}/s; {:.0f} events/s, {:.1f} in a commit; a sync takes {:.3f} ms, "
            "one is under way {:.2f} of the time\n"
            "  overhead of a step without waits for the disk: p50 {:.0f} us, p99 {:.0f} us; with "
            "them: p50 {:.0f} us, p99 {:.0f} us\n"
            "  {:.0f} us of processor time a step; at most {:.0f} MiB\n"
            "  {} events audited: none lost, doubled or out of order\n";
  fmt::print(fmt::runtime(format), options.work.sessions, options.work.at_once,
             options.synchronous == Synchronous::full ? "full" : "normal", f.wall_s, f.steps,
             steps / f.wall_s, events / f.wall_s, events / static_cast<double>(f.commits),
             f.sync_ms_mean, f.sync_share, percentile(f.overhead_us, 0.5),
             percentile(f.overhead_us, 0.99), percentile(f.with_sync_us, 0.5),
             percentile(f.with_sync_us, 0.99), f.processor_s * 1e6 / steps, f.rss_mib_max,
             f.events);
}

int run(const Options& options) {
  std::string folder = (options.dir / "ponder-bench-XXXXXX").string();
  if (mkdtemp(folder.data()) == nullptr) {
    fmt::print(stderr, "cannot make a folder in {}\n", options.dir.string());
    return 1;
  }
  const fs::path file = fs::path(folder) / "sessions.db";
  const auto figures = run_load(file, options.work, options.synchronous);
  std::string problem;
  if (!figures) {
    problem = figures.error().message;
  } else if (const auto audited = check_load(file, options.work); !audited) {
    problem = audited.error().message;
  } else if (*audited != figures->events) {
    problem = fmt::format("{} events were acknowledged, the log has {}", figures->events, *audited);
  }
  std::error_code ignored;
  fs::remove_all(folder, ignored);
  if (!problem.empty()) {
    fmt::print(stderr, "{}\n", problem);
    return 1;
  }
  print_line(options, *figures);
  return 0;
}

bool parse_one(const std::string& name, const std::string& value, Options& options) {
  const auto number = static_cast<std::uint32_t>(std::strtoul(value.c_str(), nullptr, 10));
  if (name == "--sessions") {
    options.work.sessions = number;
  } else if (name == "--at-once") {
    options.at_once = number;
  } else if (name == "--steps") {
    options.work.steps = number;
  } else if (name == "--scale") {
    options.work.scale = std::atof(value.c_str());
  } else if (name == "--seed") {
    options.work.seed = number;
  } else if (name == "--dir") {
    options.dir = value;
  } else if (name == "--synchronous" && (value == "full" || value == "normal")) {
    options.synchronous = value == "full" ? Synchronous::full : Synchronous::normal;
  } else {
    return false;
  }
  return true;
}

bool parse(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--json") {
      options.json = true;
      continue;
    }
    ++i;
    if (i == argc || !parse_one(name, argv[i], options)) return false;
  }
  Workload& work = options.work;
  work.at_once = options.at_once.value_or(work.sessions);
  work.ramp_ms = work.scale > 0 ? work.ramp_ms / work.scale : 0;
  return work.sessions > 0 && work.at_once > 0 && work.steps > 0;
}

}  // namespace
}  // namespace ponder::bench

int main(int argc, char** argv) {
  ponder::bench::Options options;
  if (!ponder::bench::parse(argc, argv, options)) {
    fmt::print(stderr,
               "usage: {} [--json] [--sessions N] [--at-once N] [--steps N] [--scale X] "
               "[--seed N] [--synchronous full|normal] [--dir DIR]\n",
               argv[0]);
    return 2;
  }
  return ponder::bench::run(options);
}
