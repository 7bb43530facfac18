#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"
#include "runtime/session/session_store.h"

/// Many sessions at once in one process: real agents over a real store, with a model and tools that
/// take as long as a script says. What is measured is everything else.
namespace ponder::bench {

/// Delays are drawn from exponential distributions, by the seed and the place in the work alone.
struct Workload {
  std::uint32_t sessions = 10'000;
  std::uint32_t at_once = 10'000;  // of them; another begins when one has ended
  std::uint32_t steps = 20;        // completions with calls in the one turn of each session
  std::uint32_t calls = 2;         // of each completion, run side by side
  double model_ms = 2000;          // mean
  double tool_ms = 500;            // mean
  double scale = 1;                // delays are divided by this; 0: there are none
  double ramp_ms = 5000;           // within this the first sessions begin, evenly drawn
  std::uint64_t seed = 1;
};

/// What a run took. A step is a completion, its calls, and all that happens until the next request.
///
/// The overhead of a step is the time on its critical path that is neither the model's, nor the
/// tool's that ended last, nor a wait of this session for the disk: from the moment that the answer
/// was due to the beginning of that tool, and from the moment that the tool's result was due to the
/// next request. A timer that fires late, a wait for the processor, for the store's thread, and for
/// the writing of pages all count. The wait for the disk is the time that the store's thread spends
/// in fdatasync() between an append and its acknowledgement.
struct LoadFigures {
  double wall_s = 0;
  double processor_s = 0;  // of all threads; the script's timers included
  std::uint64_t steps = 0;
  std::uint64_t events = 0;
  std::uint64_t commits = 0;
  std::uint64_t syncs = 0;
  double sync_ms_mean = 0;
  double sync_share = 0;             // of the wall time with a sync under way
  std::vector<double> overhead_us;   // of each step, sorted
  std::vector<double> with_sync_us;  // the same with the waits for the disk, sorted
  double rss_mib_max = 0;            // of the process, since its beginning
};

/// Runs it on a new store in `file`. Fails when a session does not end as its script does.
Result<LoadFigures> run_load(const std::filesystem::path& file, const Workload& work,
                             runtime::Synchronous synchronous);

/// What a tool answers to these arguments.
std::string load_answer(const std::string& arguments);
/// The arguments of a call.
std::string load_arguments(std::uint32_t session, std::uint32_t step, std::uint32_t call);

/// Audits what a run has left: that each log is whole, in order and what the script says, and that
/// the store is sound. Gives the number of events; fails with the first thing that is wrong.
Result<std::uint64_t> check_load(const std::filesystem::path& file, const Workload& work);

}  // namespace ponder::bench
