// ponder_bench_kernels [--json] [--isa NAME] [--threads N] [--filter TEXT] [--seconds S]
//
// Times every case on every runnable row of the kernel table and prints the median of its runs.
// With one thread the time is that thread's processor time, so that a busy machine shows less.
// Cases that stream from memory alternate with plain reading; "of read" is their share of its
// speed.

#include <time.h>

#include <cstdio>
#include <string>

#include "kernels/bench/cases.h"
#include "kernels/bench/options.h"
#include "kernels/dispatch.h"

namespace ponder::kernels::bench {
namespace {

struct Options {
  bool json = false;
  std::string isa;     // empty: all but scalar
  std::string filter;  // part of a case's name
  unsigned threads = 0;
  double seconds = 0.3;  // per case and row
};

struct Timing {
  double median_us;
  double best_us;
  std::size_t runs;
  double share_of_read =
      0.0;  // of the bandwidth of plain reading, in the same run; 0: not compared
};

double now_us(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) / 1e3;
}

double run_once_us(const Case& bench_case, const Executor& executor) {
  const bool is_alone = executor.pool->num_threads() == 1;
  const clockid_t clock = is_alone ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
  const double begin = now_us(clock);
  bench_case.run(executor);
  return now_us(clock) - begin;
}

Timing time_case(const Case& bench_case, const Case& read, const Executor& executor,
                 double seconds) {
  run_once_us(bench_case, executor);
  std::vector<double> times;
  std::vector<double> read_times;
  double total = 0.0;
  while (times.size() < 5 || total < seconds * 1e6) {
    times.push_back(run_once_us(bench_case, executor));
    total += times.back();
    if (bench_case.streams) read_times.push_back(run_once_us(read, executor));
  }
  Timing timing{median(times), times.front(), times.size()};
  if (bench_case.streams) {
    const double read_speed = read.bytes / median(read_times);
    timing.share_of_read = bench_case.bytes / timing.median_us / read_speed;
  }
  return timing;
}

void print_row(const Options& options, const KernelTable& table, unsigned threads,
               const Case& bench_case, const Timing& timing) {
  const double gflops = bench_case.flops / timing.median_us / 1e3;
  const double gbytes = bench_case.bytes / timing.median_us / 1e3;
  if (options.json) {
    std::printf(
        "{\"case\":\"%s\",\"isa\":\"%s\",\"threads\":%u,\"median_us\":%.2f,\"best_us\":%.2f,"
        "\"runs\":%zu,\"gflops\":%.2f,\"gbytes_per_s\":%.2f,\"share_of_read\":%.3f}\n",
        bench_case.name.c_str(), table.name, threads, timing.median_us, timing.best_us, timing.runs,
        gflops, gbytes, timing.share_of_read);
  } else {
    std::printf("%-52s %-10s %10.1f %10.1f %8.1f %8.2f", bench_case.name.c_str(), table.name,
                timing.median_us, timing.best_us, gflops, gbytes);
    if (bench_case.streams) std::printf(" %7.0f%%", 100.0 * timing.share_of_read);
    std::printf("\n");
  }
  std::fflush(stdout);
}

int run(const Options& options) {
  ThreadPool pool({.num_threads = options.threads});
  if (!options.json) {
    std::printf("%u threads\n%-52s %-10s %10s %10s %8s %8s %8s\n", pool.num_threads(), "case",
                "isa", "median us", "best us", "GF/s", "GB/s", "of read");
  }
  bool is_known = options.isa.empty();
  const Case read = read_case();
  for (const Case& bench_case : make_cases()) {
    if (bench_case.name.find(options.filter) == std::string::npos) continue;
    for (const KernelTable* table : runnable_tables()) {
      if (options.isa.empty() ? table == &scalar_table() : options.isa != table->name) continue;
      is_known = true;
      const Timing timing = time_case(bench_case, read, {table, &pool}, options.seconds);
      print_row(options, *table, pool.num_threads(), bench_case, timing);
    }
  }
  if (!is_known) std::fprintf(stderr, "cannot run kernels named %s here\n", options.isa.c_str());
  return is_known ? 0 : 1;
}

}  // namespace

int main_with(int argc, char** argv) {
  Options options;
  const bool is_understood = parse_options(
      argc, argv,
      {flag("--json", options.json), text("--isa", options.isa), text("--filter", options.filter),
       number("--threads", options.threads), number("--seconds", options.seconds)},
      "ponder_bench_kernels [--json] [--isa NAME] [--threads N] [--filter TEXT] [--seconds S]");
  return is_understood ? run(options) : 2;
}

}  // namespace ponder::kernels::bench

int main(int argc, char** argv) { return ponder::kernels::bench::main_with(argc, argv); }
