#include <fmt/core.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/clock.h"
#include "engine/engine.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/engine_options.h"
#include "runtime/data_dir.h"

/// `ponder bench engine`: prefill and decode speed, time to the first token, peak memory.
namespace ponder::cli {
namespace {

/// One request, measured from outside the engine.
struct Run {
  double ttft_ms = 0;
  double prefill_tokens_per_s = 0;
  double decode_tokens_per_s = 0;
};

/// A prompt that shares nothing with the others, so that the prefix cache cannot help.
std::vector<engine::TokenId> prompt_of(std::uint32_t tokens, std::uint32_t run_idx,
                                       std::size_t vocab_size) {
  std::vector<engine::TokenId> prompt(tokens);
  std::uint64_t state = 0x9E3779B97F4A7C15ULL * (run_idx + 1);
  for (auto& token : prompt) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    token = static_cast<engine::TokenId>((state >> 33) % vocab_size);
  }
  return prompt;
}

Result<Run> measure(engine::Engine& engine, const BenchOptions& options, std::uint32_t run_idx) {
  engine::GenerationRequest request;
  const std::uint32_t prompt_idx = options.same_prompt ? 0 : run_idx;
  request.prompt = prompt_of(options.tokens_prompt, prompt_idx, engine.config().vocab_size);
  request.sampling.temperature = static_cast<float>(options.model.temperature);
  request.sampling.seed = options.model.seed;
  request.tokens_generated_max = options.tokens_generated;
  request.ends_at_stop = false;  // every run generates as many
  const Clock& clock = system_clock();
  const auto begin = clock.now();
  auto first = begin;
  auto last = begin;
  std::uint32_t tokens = 0;
  std::string failure;
  engine::RequestCallbacks callbacks;
  callbacks.on_token = [&](engine::TokenId) {
    last = clock.now();
    if (tokens++ == 0) first = last;
  };
  callbacks.on_finish = [&](engine::FinishReason reason, const engine::RequestStats&,
                            const std::string& error) {
    if (reason == engine::FinishReason::failed) failure = error;
  };
  PONDER_TRY([[maybe_unused]] const auto id, engine.submit(std::move(request), callbacks));
  while (engine.has_work()) engine.step();
  if (!failure.empty()) return fail(Errc::internal, failure);
  const auto ms = [](auto duration) {
    return std::chrono::duration<double, std::milli>(duration).count();
  };
  Run run;
  run.ttft_ms = ms(first - begin);
  run.prefill_tokens_per_s = options.tokens_prompt / run.ttft_ms * 1000;
  if (tokens > 1) run.decode_tokens_per_s = (tokens - 1) / ms(last - first) * 1000;
  return run;
}

double median(std::vector<Run> runs, double Run::* figure) {
  std::sort(runs.begin(), runs.end(),
            [=](const Run& a, const Run& b) { return a.*figure < b.*figure; });
  return runs[runs.size() / 2].*figure;
}

/// The process's peak resident memory, as the kernel counts it.
double peak_mib() {
  std::ifstream in("/proc/self/status");
  std::string line;
  while (std::getline(in, line))
    if (line.rfind("VmHWM:", 0) == 0) return std::stod(line.substr(6)) / 1024;
  return 0;
}

}  // namespace

int bench_engine(const Environment& environment, const BenchOptions& options) {
  const auto dir =
      runtime::find_model({options.model.model, environment.model, environment.executable});
  if (!dir) return complain(dir.error().message);
  const auto how = engine_options(environment, options.model);
  if (!how) return complain(how.error().message);
  const auto engine = engine::Engine::open(*dir, *how);
  if (!engine) return complain(engine.error().message);
  std::vector<Run> runs;
  // The first run pays for page faults and is not counted.
  for (std::uint32_t i = 0; i <= options.repeats; ++i) {
    const auto run = measure(**engine, options, i);
    if (!run) return complain(run.error().message);
    if (i > 0) runs.push_back(*run);
  }
  if (runs.empty()) return complain("--repeats must be at least 1");
  const double prefill = median(runs, &Run::prefill_tokens_per_s);
  const double decode = median(runs, &Run::decode_tokens_per_s);
  const double ttft = median(runs, &Run::ttft_ms);
  const engine::EngineStats stats = (*engine)->stats();
  if (options.json) {
    nlohmann::json report = {{"model", dir->string()},
                             {"isa", (*engine)->isa_name()},
                             {"tokens_prompt", options.tokens_prompt},
                             {"tokens_generated", options.tokens_generated},
                             {"repeats", options.repeats},
                             {"decode_tokens_per_s", decode},
                             {"ttft_ms", ttft},
                             {"tokens_drafted", stats.tokens_drafted},
                             {"tokens_accepted", stats.tokens_accepted},
                             {"peak_mib", peak_mib()}};
    if (!options.same_prompt) report["prefill_tokens_per_s"] = prefill;
    fmt::print("{}\n", report.dump());
    return 0;
  }
  fmt::print("model            {}\nkernels          {}\n", dir->string(), (*engine)->isa_name());
  fmt::print("prompt           {} tokens, then {} generated; medians of {} runs\n",
             options.tokens_prompt, options.tokens_generated, options.repeats);
  if (!options.same_prompt) fmt::print("prefill          {:.0f} tokens/s\n", prefill);
  fmt::print("first token      {:.1f} ms\n", ttft);
  fmt::print("decode           {:.0f} tokens/s\n", decode);
  if (options.model.num_drafts > 0) {
    fmt::print("drafts           {} of {} right\n", stats.tokens_accepted, stats.tokens_drafted);
  }
  fmt::print("peak memory      {:.0f} MiB\n", peak_mib());
  return 0;
}

}  // namespace ponder::cli
