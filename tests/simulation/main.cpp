#include <fmt/core.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <string>
#include <vector>

#include "base/assert.h"
#include "tests/runtime/support.h"
#include "tests/simulation/world.h"

/// Runs simulations by their seeds; docs/simulation.md says what is in them.
namespace ponder::simulation {
namespace {

constexpr std::uint64_t kBatch = 500;      // seeds that share a child process
constexpr std::uint64_t kReport = 10'000;  // seeds between two words on how far it is

struct Options {
  std::uint64_t seed = 0;
  std::uint64_t from = 1;
  std::uint64_t seeds = 0;
  std::uint64_t jobs = 1;
  bool trace = false;
  bool shrink = false;
  bool keep_going = false;
  std::vector<std::string> without;
};

/// What children tell their parent; it outlives them, whatever ends them.
struct Shared {
  std::uint64_t seed;  // under way
  std::uint64_t steps;
  std::uint64_t events;
};

Plan plan_of(std::uint64_t seed, const std::vector<std::string>& without) {
  Plan plan(seed);
  for (const std::string& name : without) {
    const auto fault = fault_of(name);
    if (!fault) throw CLI::ValidationError("--without", fault.error().message);
    plan.faults[static_cast<std::size_t>(*fault)] = false;
  }
  return plan;
}

bool is_clean(const Plan& plan, const Outcome& outcome) {
  if (!outcome.violation) return true;
  fmt::print("seed {}: {}: {}\n", plan.seed, outcome.violation->rule, outcome.violation->what);
  std::fflush(stdout);
  return false;
}

/// Whether `work` ends well in a process of its own, which may leak and die.
template <class Work>
bool succeeds_apart(Work work) {
  std::fflush(stdout);
  const pid_t child = fork();
  PONDER_ASSERT(child >= 0);
  if (child == 0) {
    const bool is_well = work();
    std::fflush(stdout);
    _exit(is_well ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) fmt::print("killed by signal {}\n", WTERMSIG(status));
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int run_one(const Options& options, const std::filesystem::path& folder) {
  const Plan plan = plan_of(options.seed, options.without);
  const Outcome outcome = simulate(plan, folder, options.trace);
  if (!is_clean(plan, outcome)) return 1;
  fmt::print("seed {}: {} steps, {} events, story {:016x}\n", plan.seed, outcome.steps,
             outcome.events, outcome.hash);
  return 0;
}

/// Leaves out one fault after the other, for as long as the run still fails.
int shrink(const Options& options, const std::filesystem::path& folder) {
  std::vector<std::string> without = options.without;
  const auto fails = [&](const std::vector<std::string>& names) {
    return !succeeds_apart([&] {
      const Plan plan = plan_of(options.seed, names);
      return is_clean(plan, simulate(plan, folder));
    });
  };
  if (!fails(without)) return 0;
  for (std::size_t i = 0; i < kNumFaults; ++i) {
    const auto fault = static_cast<Fault>(i);
    if (!plan_of(options.seed, without).has(fault)) continue;
    without.emplace_back(fault_name(fault));
    if (!fails(without)) without.pop_back();
  }
  std::string line = fmt::format("--seed {} --trace", options.seed);
  for (const std::string& name : without) line += " --without " + name;
  fmt::print("still fails: {}\nwhat is left: {}\n", line,
             plan_of(options.seed, without).describe());
  return 1;
}

bool run_batch(std::uint64_t first, std::uint64_t last, const Options& options,
               const std::filesystem::path& folder, Shared* shared) {
  bool is_well = true;
  for (std::uint64_t seed = first; seed < last; ++seed) {
    shared->seed = seed;
    const Plan plan = plan_of(seed, options.without);
    const Outcome outcome = simulate(plan, folder);
    shared->steps += outcome.steps;
    shared->events += outcome.events;
    is_well = is_clean(plan, outcome) && is_well;
    if (!is_well && !options.keep_going) break;
  }
  return is_well;
}

int run_range(const Options& options, const std::filesystem::path& folder) {
  void* memory =
      mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  PONDER_ASSERT(memory != MAP_FAILED);
  auto* shared = static_cast<Shared*>(memory);
  const auto begin = std::chrono::steady_clock::now();
  const std::uint64_t end = options.from + options.seeds;
  bool is_well = true;
  std::uint64_t first = options.from;
  while (first < end && (is_well || options.keep_going)) {
    const std::uint64_t last = std::min(end, first + kBatch);
    const bool batch_is_well =
        succeeds_apart([&] { return run_batch(first, last, options, folder, shared); });
    if (!batch_is_well) fmt::print("the last one was seed {}\n", shared->seed);
    is_well = is_well && batch_is_well;
    const std::uint64_t before = first - options.from;
    first = std::max(shared->seed + 1, first + 1);
    const std::uint64_t so_far = first - options.from;
    if (so_far / kReport != before / kReport && first < end) {
      fmt::print(stderr, "{} of {} seeds from {}\n", so_far, options.seeds, options.from);
    }
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  const std::uint64_t done = shared->seed + 1 - options.from;
  fmt::print("{} seeds from {}: {} events, {} steps, {:.1f} s ({:.0f} seeds/s): {}\n", done,
             options.from, shared->events, shared->steps, took.count(),
             static_cast<double>(done) / took.count(), is_well ? "all well" : "FAILED");
  return is_well ? 0 : 1;
}

/// A share of the seeds for each of --jobs processes, which print their own lines.
int run_many(const Options& options) {
  std::vector<pid_t> children;
  for (std::uint64_t i = 0; i < options.jobs; ++i) {
    Options share = options;
    share.from = options.from + options.seeds * i / options.jobs;
    share.seeds = options.from + options.seeds * (i + 1) / options.jobs - share.from;
    if (share.seeds == 0) continue;
    const std::string folder = fmt::format("job{}", i);
    std::filesystem::create_directory(folder);
    const pid_t child = fork();
    PONDER_ASSERT(child >= 0);
    if (child == 0) {
      std::filesystem::current_path(folder);
      const int code = run_range(share, ".");
      std::fflush(stdout);
      _exit(code);
    }
    children.push_back(child);
  }
  int code = 0;
  for (const pid_t child : children) {
    int status = 0;
    waitpid(child, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) code = 1;
  }
  return code;
}

int run(int argc, char** argv) {
  Options options;
  CLI::App app{"Simulates ponder's runtime, with everything that can go wrong, from a seed."};
  app.add_option("--seed", options.seed, "run this one");
  app.add_flag("--trace", options.trace, "tell the story of --seed");
  app.add_flag("--shrink", options.shrink, "find out which faults --seed needs to fail");
  app.add_option("--seeds", options.seeds, "run so many");
  app.add_option("--from", options.from, "the first of --seeds");
  app.add_option("--jobs", options.jobs, "processes that share --seeds")
      ->check(CLI::Range(1, 1024));
  app.add_flag("--keep-going", options.keep_going, "after a failure as well");
  app.add_option("--without", options.without, "leave a fault out (may be repeated)");
  CLI11_PARSE(app, argc, argv);
  const runtime::test::TempDir folder;
  // Names in the story are the same wherever it lies.
  std::filesystem::current_path(folder.path());
  if (options.shrink) return shrink(options, ".");
  if (options.seeds > 0) return run_many(options);
  return run_one(options, ".");
}

}  // namespace
}  // namespace ponder::simulation

int main(int argc, char** argv) { return ponder::simulation::run(argc, argv); }
