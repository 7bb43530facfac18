#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/cache.h"
#include "engine/engine.h"
#include "tests/engine/golden_model.h"

/// What the tests of many requests on one engine share.
namespace ponder::engine {

class ManualClock final : public Clock {
 public:
  Instant now() const override { return now_; }
  std::int64_t unix_ms() const override { return 0; }
  void advance(std::chrono::milliseconds by) { now_ += by; }

 private:
  Instant now_{};
};

struct Outcome {
  std::vector<TokenId> tokens;
  std::vector<std::vector<float>> logits;
  std::optional<FinishReason> reason;
  RequestStats stats;
  std::string error;
  std::vector<std::size_t> truncations;  // what on_truncate said
};

inline RequestCallbacks into(Outcome& outcome) {
  RequestCallbacks callbacks;
  callbacks.on_token = [&outcome](TokenId token) { outcome.tokens.push_back(token); };
  callbacks.on_logits = [&outcome](std::span<const float> logits) {
    outcome.logits.emplace_back(logits.begin(), logits.end());
  };
  callbacks.on_truncate = [&outcome](std::size_t num_tokens) {
    outcome.truncations.push_back(num_tokens);
    outcome.tokens.clear();  // those after the truncation are looked at
    outcome.logits.clear();
  };
  callbacks.on_finish = [&outcome](FinishReason reason, const RequestStats& stats,
                                   const std::string& error) {
    outcome.reason = reason;
    outcome.stats = stats;
    outcome.error = error;
  };
  return callbacks;
}

inline bool same_bits(const std::vector<std::vector<float>>& a,
                      const std::vector<std::vector<float>>& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i].size() != b[i].size()) return false;
    if (std::memcmp(a[i].data(), b[i].data(), a[i].size() * sizeof(float)) != 0) return false;
  }
  return true;
}

class EngineTraffic : public ::testing::Test {
 protected:
  virtual const std::filesystem::path& model_dir() const { return golden_dir(); }

  std::unique_ptr<Engine> open(std::uint64_t num_pages = 400, std::uint32_t rows = 64,
                               EngineOptions options = {}) {
    const bool is_fp8 = options.cache_dtype == CacheDType::fp8;
    const auto config = load_config(model_dir());
    EXPECT_TRUE(config.has_value()) << config.error().message;
    const CacheLayout layout(*config,
                             is_fp8 ? kernels::DType::fp8_e4m3 : kernels::DType::f32,
                             options.draft_tokens_max > 0);
    options.cache_bytes_max = num_pages * layout.page_bytes;
    options.batch_rows_max = rows;
    options.num_threads = 2;
    options.clock = &clock_;
    auto engine = Engine::open(model_dir(), options);
    EXPECT_TRUE(engine.has_value()) << engine.error().message;
    return std::move(*engine);
  }

  static GenerationRequest request(std::vector<TokenId> prompt, std::uint32_t num_tokens,
                                   std::uint64_t seed = 1) {
    GenerationRequest r;
    r.prompt = std::move(prompt);
    r.sampling = {.temperature = 1.0F, .top_p = 0.95F, .seed = seed};
    r.tokens_generated_max = num_tokens;
    r.ends_at_stop = false;
    return r;
  }

  static std::vector<TokenId> prompt(std::size_t length, TokenId first) {
    auto tokens = golden_prompt(length);
    tokens[0] = first;
    return tokens;
  }

  static void run_all(Engine& engine) {
    while (engine.has_work()) engine.step();
  }
  static void run_idle(Engine& engine) {
    while (engine.has_idle_work()) engine.step();
  }
  static Outcome run(Engine& engine, GenerationRequest r) {
    Outcome outcome;
    EXPECT_TRUE(engine.submit(std::move(r), into(outcome)).has_value());
    run_all(engine);
    return outcome;
  }

  ManualClock clock_;
};

}  // namespace ponder::engine
