#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/clock.h"
#include "engine/cache.h"
#include "engine/engine.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/engine_options.h"
#include "runtime/data_dir.h"

/// `ponder bench loop`: an agent's turn of many tool calls, and the user's next turn after it.
namespace ponder::cli {
namespace {

using Tokens = std::vector<engine::TokenId>;

/// Tokens that no other conversation has.
class RandomTokens {
 public:
  RandomTokens(std::uint64_t seed, std::size_t vocab_size) : state_(seed), size_(vocab_size) {}
  void append(Tokens& to, std::size_t count) {
    for (; count > 0; --count) {
      state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
      to.push_back(static_cast<engine::TokenId>((state_ >> 33) % size_));
    }
  }

 private:
  std::uint64_t state_;
  std::size_t size_;
};

struct Step {
  Tokens generated;
  engine::RequestStats stats;
  double ttft_ms = 0;
};

Result<Step> run_step(engine::Engine& engine, const Tokens& prompt, std::uint32_t tokens_max) {
  const Clock& clock = system_clock();
  Step step;
  std::string failure;
  engine::GenerationRequest request;
  request.prompt = prompt;
  request.sampling.temperature = 0.0F;
  request.tokens_generated_max = tokens_max;
  request.ends_at_stop = false;
  const auto begin = clock.now();
  engine::RequestCallbacks callbacks;
  callbacks.on_token = [&](engine::TokenId token) {
    if (step.generated.empty()) {
      step.ttft_ms = std::chrono::duration<double, std::milli>(clock.now() - begin).count();
    }
    step.generated.push_back(token);
  };
  callbacks.on_finish = [&](engine::FinishReason reason, const engine::RequestStats& stats,
                            const std::string& error) {
    if (reason == engine::FinishReason::failed) failure = error;
    step.stats = stats;
  };
  PONDER_TRY([[maybe_unused]] const auto id, engine.submit(std::move(request), callbacks));
  while (engine.has_work()) engine.step();
  if (!failure.empty()) return fail(Errc::internal, failure);
  return step;
}

/// One conversation, measured.
struct LoopRun {
  double tokens_prompt = 0;  // over all steps of the loop
  double tokens_cached = 0;
  double step_ttft_ms = 0;  // median of the steps after the first
  double turn_ttft_ms = 0;  // of the user turn after the loop
  double turn_cached = 0;
};

/// Tokens of a conversation at the end of its loop.
std::size_t loop_tokens(const LoopOptions& options) {
  return options.tokens_system + options.steps * (options.tokens_answer + options.tokens_result);
}

/// A loop of tool calls, then a user turn for which the first half of every answer, its reasoning,
/// is dropped.
Result<LoopRun> run_loop(engine::Engine& engine, const LoopOptions& options, std::uint64_t seed,
                         bool has_shadow) {
  RandomTokens random(seed, engine.config().vocab_size);
  Tokens prompt;
  random.append(prompt, options.tokens_system);
  Tokens stripped = prompt;
  LoopRun run;
  std::vector<double> ttfts;
  for (std::uint32_t i = 0; i < options.steps; ++i) {
    PONDER_TRY(const Step step, run_step(engine, prompt, options.tokens_answer));
    run.tokens_prompt += step.stats.tokens_prompt;
    run.tokens_cached += step.stats.tokens_cached;
    if (i > 0) ttfts.push_back(step.ttft_ms);
    const auto kept = static_cast<std::ptrdiff_t>(step.generated.size() / 2);
    prompt.insert(prompt.end(), step.generated.begin(), step.generated.end());
    stripped.insert(stripped.end(), step.generated.begin() + kept, step.generated.end());
    const std::size_t before = prompt.size();
    random.append(prompt, options.tokens_result);
    stripped.insert(stripped.end(), prompt.begin() + static_cast<std::ptrdiff_t>(before),
                    prompt.end());
  }
  if (has_shadow) {
    PONDER_CHECK(engine.prefill_when_idle(stripped));
    while (engine.has_idle_work()) engine.step();
  }
  random.append(stripped, options.tokens_user);
  PONDER_TRY(const Step turn, run_step(engine, stripped, 1));
  run.turn_ttft_ms = turn.ttft_ms;
  run.turn_cached = turn.stats.tokens_cached;
  std::sort(ttfts.begin(), ttfts.end());
  if (!ttfts.empty()) run.step_ttft_ms = ttfts[ttfts.size() / 2];
  return run;
}

/// The same user turn with nothing in the cache.
Result<double> run_cold(engine::Engine& engine, const LoopOptions& options, std::uint64_t seed) {
  Tokens prompt;
  const std::size_t per_step =
      options.tokens_answer - options.tokens_answer / 2 + options.tokens_result;
  RandomTokens(seed, engine.config().vocab_size)
      .append(prompt, options.tokens_system + options.steps * per_step + options.tokens_user);
  PONDER_TRY(const Step step, run_step(engine, prompt, 1));
  return step.ttft_ms;
}

/// A turn that waits for a person after its tool calls, while another conversation takes the pages:
/// the time to the first token once the result is there.
Result<double> run_wait(engine::Engine& engine, const LoopOptions& options, std::uint64_t seed,
                        bool has_shadow) {
  RandomTokens random(seed, engine.config().vocab_size);
  const std::size_t length = loop_tokens(options);
  Tokens prompt;
  random.append(prompt, length);
  PONDER_TRY(const Step asked, run_step(engine, prompt, options.tokens_answer));
  prompt.insert(prompt.end(), asked.generated.begin(), asked.generated.end());
  Tokens other;
  random.append(other, length);
  PONDER_TRY([[maybe_unused]] const Step disturbed, run_step(engine, other, 1));
  if (has_shadow) {
    PONDER_CHECK(engine.prefill_when_idle(prompt));
    while (engine.has_idle_work()) engine.step();
  }
  random.append(prompt, options.tokens_result);
  PONDER_TRY(const Step answered, run_step(engine, prompt, 1));
  return answered.ttft_ms;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// What the runs come to, in milliseconds, and the last of them.
struct Figures {
  std::vector<double> cold;
  std::vector<double> plain;
  std::vector<double> shadow;
  std::vector<double> step_ttft;
  std::vector<double> wait;
  std::vector<double> wait_shadow;
  LoopRun last;
};

/// The ways take turns, so that a busy machine slows all alike; the first round warms up.
Status measure_loops(engine::Engine& engine, const LoopOptions& options, Figures& figures) {
  for (std::uint64_t i = 0; i <= options.repeats; ++i) {
    PONDER_TRY(const double cold, run_cold(engine, options, 3 * i + 1));
    PONDER_TRY(const LoopRun without, run_loop(engine, options, 3 * i + 2, false));
    PONDER_TRY(figures.last, run_loop(engine, options, 3 * i + 3, true));
    if (i == 0) continue;
    figures.cold.push_back(cold);
    figures.plain.push_back(without.turn_ttft_ms);
    figures.shadow.push_back(figures.last.turn_ttft_ms);
    figures.step_ttft.push_back(figures.last.step_ttft_ms);
  }
  return {};
}

/// Likewise. `crowded` has a cache for a conversation and a half.
Status measure_waits(engine::Engine& crowded, const LoopOptions& options, Figures& figures) {
  for (std::uint64_t i = 0; i <= options.repeats; ++i) {
    PONDER_TRY(const double waited, run_wait(crowded, options, 2 * i + 1, false));
    PONDER_TRY(const double warmed, run_wait(crowded, options, 2 * i + 2, true));
    if (i == 0) continue;
    figures.wait.push_back(waited);
    figures.wait_shadow.push_back(warmed);
  }
  return {};
}

nlohmann::json as_json(const Figures& figures, const engine::EngineStats& stats,
                       const LoopOptions& options) {
  const LoopRun& last = figures.last;
  return {{"steps", options.steps},
          {"cached_share", last.tokens_cached / last.tokens_prompt},
          {"step_ttft_ms", median(figures.step_ttft)},
          {"turn_cold_ttft_ms", median(figures.cold)},
          {"turn_ttft_ms", median(figures.plain)},
          {"turn_shadow_ttft_ms", median(figures.shadow)},
          {"turn_shadow_share_of_cold", median(figures.shadow) / median(figures.cold)},
          {"turn_cached", last.turn_cached},
          {"wait_ttft_ms", median(figures.wait)},
          {"wait_shadow_ttft_ms", median(figures.wait_shadow)},
          {"wait_shadow_share", median(figures.wait_shadow) / median(figures.wait)},
          {"shadow_prefills", stats.shadow_prefills},
          {"shadow_hits", stats.shadow_hits},
          {"tokens_shadow_saved", stats.tokens_shadow_saved}};
}

void print(const Figures& figures, const engine::EngineStats& stats, const LoopOptions& options) {
  const LoopRun& last = figures.last;
  const double shadow = median(figures.shadow);
  const double wait_shadow = median(figures.wait_shadow);
  fmt::print("tool loop        {} steps: {:.1f}% of {:.0f} prompt tokens from the cache\n",
             options.steps, 100 * last.tokens_cached / last.tokens_prompt, last.tokens_prompt);
  fmt::print("first token      {:.1f} ms for a step's {} new tokens\n", median(figures.step_ttft),
             options.tokens_result + 1);
  fmt::print(
      "next user turn   {:.1f} ms cold, {:.1f} ms after the loop, {:.1f} ms after shadow "
      "prefill: {:.0f}% of the cold\n",
      median(figures.cold), median(figures.plain), shadow, 100 * shadow / median(figures.cold));
  fmt::print(
      "after a wait     {:.1f} ms when others took its pages, {:.1f} ms after shadow prefill: "
      "{:.0f}%\n",
      median(figures.wait), wait_shadow, 100 * wait_shadow / median(figures.wait));
  fmt::print("shadow prefill   {} of {} used, {} tokens saved\n", stats.shadow_hits,
             stats.shadow_prefills, stats.tokens_shadow_saved);
}

}  // namespace

int bench_loop(const Environment& environment, const LoopOptions& options) {
  const auto dir =
      runtime::find_model({options.model.model, environment.model, environment.executable});
  if (!dir) return complain(dir.error().message);
  auto how = engine_options(environment, options.model);
  if (!how) return complain(how.error().message);
  how->spill_dir.clear();  // the pages of an earlier run would not be computed
  if (options.repeats == 0 || options.steps == 0) {
    return complain("--repeats and --steps: 1 or more");
  }
  auto engine = engine::Engine::open(*dir, *how);
  if (!engine) return complain(engine.error().message);
  Figures figures;
  const Status looped = measure_loops(**engine, options, figures);
  if (!looped) return complain(looped.error().message);
  const engine::EngineStats stats = (*engine)->stats();
  // One model at a time may use a device.
  engine->reset();
  how->cache_bytes_max =
      (loop_tokens(options) * 3 / 2 / engine::kPageTokens + 2) * stats.cache_page_bytes;
  engine = engine::Engine::open(*dir, *how);
  if (!engine) return complain(engine.error().message);
  const Status waited = measure_waits(**engine, options, figures);
  if (!waited) return complain(waited.error().message);
  if (options.json) {
    nlohmann::json report = as_json(figures, stats, options);
    report["model"] = dir->string();
    fmt::print("{}\n", report.dump());
    return 0;
  }
  fmt::print("model            {}\n", dir->string());
  print(figures, stats, options);
  return 0;
}

}  // namespace ponder::cli
