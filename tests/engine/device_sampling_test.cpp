// Tokens that are sampled beside the logits are those that are sampled from them, whatever is in a
// batch, and little comes back from the device for them. On the emulated device, or a GPU.

#include <gtest/gtest.h>

#include "engine/grammar.h"
#include "tests/engine/device_of_test.h"
#include "tests/engine/small_model.h"
#include "tests/engine/traffic.h"

namespace ponder::engine {
namespace {

constexpr std::size_t kVocab = 8192;                             // several parts of a row
constexpr std::size_t kBestBytes = 512 * 8 + kVocab / 4096 * 8;  // of one row, at a temperature
constexpr std::size_t kNanBytes = 4;                             // of one row of a step

/// The small model with a vocabulary of which the best are a part.
const std::filesystem::path& wide_model_dir() {
  static const testing::TempDir dir;
  static const bool is_written = [] {
    nlohmann::json json = small_config_json();
    json["vocab_size"] = kVocab;
    const auto config = parse_config(json.dump());
    RandomCheckpointOptions options;
    options.dtype = WeightDType::f32;
    if (!config || !write_random_checkpoint(*config, json.dump(), dir.path(), options))
      std::abort();
    testing::write_file(dir.path() / "tokenizer.json", testing::small_tokenizer_json().dump());
    return true;
  }();
  EXPECT_TRUE(is_written);
  return dir.path();
}

class DeviceSampling : public EngineTraffic, protected DeviceOfTest {
 protected:
  void SetUp() override {
    if (!take_device()) GTEST_SKIP() << no_device();
  }
  void TearDown() override { mend_emulator(); }
  const std::filesystem::path& model_dir() const override { return wide_model_dir(); }

  std::unique_ptr<Engine> open_on_device(DeviceChoice choice = DeviceChoice::cuda,
                                         std::uint32_t num_drafts = 0) {
    EngineOptions options;
    options.device = choice;
    options.device_table = device_table();
    options.draft_tokens_max = num_drafts;
    return open(24, 64, options);
  }

  /// Nobody listens to the logits, so they may stay where they are.
  static RequestCallbacks tokens_into(Outcome& outcome) {
    RequestCallbacks callbacks = into(outcome);
    callbacks.on_logits = {};
    return callbacks;
  }
  static Outcome run_beside(Engine& engine, GenerationRequest r) {
    Outcome outcome;
    EXPECT_TRUE(engine.submit(std::move(r), tokens_into(outcome)).has_value());
    run_all(engine);
    return outcome;
  }

  static GenerationRequest sampled(TokenId first, float temperature, float top_p,
                                   std::uint32_t num_tokens = 4) {
    auto tokens = prompt(20, first);
    for (TokenId& token : tokens) token %= 320;
    GenerationRequest r = request(tokens, num_tokens, first);
    r.sampling.temperature = temperature;
    r.sampling.top_p = top_p;
    return r;
  }
  static std::shared_ptr<const Grammar> some_grammar() {
    GrammarBuilder b;
    const RuleId item =
        b.sequence({b.one_of({"left", "right"}), b.literal("="), b.json_value(JsonType::boolean)});
    auto grammar = b.compile("", b.repeat(item, b.literal(" the "), 2, 5));
    EXPECT_TRUE(grammar.has_value());
    return *grammar;
  }
  /// With a grammar that few tokens follow, and one that most do.
  static std::vector<GenerationRequest> every_kind() {
    std::vector<GenerationRequest> requests;
    TokenId first = 3;
    for (const float temperature : {0.0F, 0.02F, 1.0F}) {
      for (const float top_p : {0.3F, 0.95F, 1.0F}) {
        requests.push_back(sampled(first++, temperature, top_p));
      }
      requests.push_back(sampled(first++, temperature, 0.9F, 20));
      requests.back().grammar = some_grammar();
      for (const float top_p : {0.9F, 1.0F}) {
        requests.push_back(sampled(first++, temperature, top_p, 8));
        GrammarBuilder b;
        requests.back().grammar = *b.compile("", b.text_until("the"));
      }
    }
    for (const float top_p : {0.5F, 0.999F, 1.0F}) {  // the best, the whole row, parts of it
      requests.push_back(sampled(first++, top_p, top_p, 12));
      requests.back().sampling.repetition_penalty = 1.3F;
      requests.back().sampling.presence_penalty = 2.0F;
    }
    requests.push_back(sampled(first++, 0.0F, 1.0F, 12));
    requests.back().sampling.frequency_penalty = 0.7F;
    requests.back().grammar = some_grammar();
    return requests;
  }
};

TEST_F(DeviceSampling, TheTokensAreThoseThatAreSampledFromTheLogits) {
  const auto engine = open_on_device();
  for (const GenerationRequest& r : every_kind()) {
    const Outcome from_logits = run(*engine, r);
    const Outcome beside = run_beside(*engine, r);
    EXPECT_FALSE(from_logits.logits.empty());
    EXPECT_EQ(beside.tokens, from_logits.tokens)
        << r.sampling.temperature << " " << r.sampling.top_p << " " << (r.grammar != nullptr);
    EXPECT_EQ(beside.reason, from_logits.reason);
    EXPECT_EQ(beside.error, from_logits.error);
  }
}

TEST_F(DeviceSampling, ABatchOfEveryKindGivesEachTheTokensThatItHasAlone) {
  const auto engine = open_on_device();
  std::vector<Outcome> alone;
  for (const GenerationRequest& r : every_kind()) alone.push_back(run_beside(*engine, r));
  std::vector<Outcome> together(alone.size());
  std::size_t i = 0;
  for (const GenerationRequest& r : every_kind()) {
    // To some of them somebody listens.
    auto callbacks = i % 4 == 3 ? into(together[i]) : tokens_into(together[i]);
    ASSERT_TRUE(engine->submit(r, std::move(callbacks)).has_value());
    ++i;
  }
  run_all(*engine);
  for (i = 0; i < alone.size(); ++i) {
    EXPECT_EQ(together[i].tokens, alone[i].tokens) << i;
    EXPECT_EQ(together[i].logits.empty(), i % 4 != 3) << i;
  }
}

TEST_F(DeviceSampling, DraftsChangeNoTokenHere) {
  std::vector<GenerationRequest> requests = every_kind();
  for (GenerationRequest& r : requests) r.tokens_generated_max = 16;
  std::vector<std::vector<TokenId>> plain;
  {
    const auto engine = open_on_device();
    for (const GenerationRequest& r : requests) plain.push_back(run_beside(*engine, r).tokens);
  }
  const auto drafting = open_on_device(DeviceChoice::cuda, 2);
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const GenerationRequest& r = requests[i];
    const Outcome drafted = run_beside(*drafting, r);
    EXPECT_EQ(drafted.tokens, plain[i]) << i;
    // Also the drafts are those that are taken from logits on the host.
    const Outcome heard = run(*drafting, r);
    EXPECT_EQ(drafted.stats.tokens_drafted, heard.stats.tokens_drafted);
    EXPECT_EQ(drafted.stats.tokens_accepted, heard.stats.tokens_accepted);
  }
}

TEST_F(DeviceSampling, WhatComesBackOfAStepIsCountedInBytes) {
  use_emulator();
  const auto engine = open_on_device();
  /// After the prompt, for each token.
  const auto bytes_per_token = [&](GenerationRequest r) {
    constexpr std::size_t kTokens = 5;
    r.tokens_generated_max = kTokens + 1;
    Outcome outcome;
    EXPECT_TRUE(engine->submit(std::move(r), tokens_into(outcome)).has_value());
    while (outcome.tokens.empty()) engine->step();
    const std::size_t before = kernels::emulated_bytes_downloaded();
    run_all(*engine);
    EXPECT_EQ(outcome.tokens.size(), kTokens + 1);
    return (kernels::emulated_bytes_downloaded() - before) / kTokens;
  };
  constexpr std::size_t kRow = kVocab * sizeof(float);
  EXPECT_EQ(bytes_per_token(sampled(5, 0.0F, 1.0F)), kNanBytes + 8);  // an id and its logit
  EXPECT_EQ(bytes_per_token(sampled(5, 0.02F, 0.95F)), kNanBytes + kBestBytes);
  EXPECT_LT(kBestBytes, kRow / 4);
  // Without top_p a part of the row comes too, and where the best are not enough the whole.
  EXPECT_EQ(bytes_per_token(sampled(5, 0.1F, 1.0F)), kNanBytes + kBestBytes + kRow / 2);
  EXPECT_EQ(bytes_per_token(sampled(5, 1.0F, 0.999F)), kNanBytes + kBestBytes + kRow);
  // Penalties are taken off there.
  GenerationRequest penalized = sampled(5, 0.02F, 0.95F);
  penalized.sampling.frequency_penalty = 0.5F;
  penalized.sampling.repetition_penalty = 1.2F;
  EXPECT_EQ(bytes_per_token(penalized), kNanBytes + kBestBytes);
}

TEST_F(DeviceSampling, OfDraftsAndRowsThatVerifyThemNoRowComesBack) {
  use_emulator();
  const auto drafting = open_on_device(DeviceChoice::cuda, 2);
  for (const float temperature : {0.0F, 0.02F}) {
    GenerationRequest r = sampled(7, temperature, 0.9F, 8);
    r.sampling.presence_penalty = 0.1F;
    Outcome outcome;
    ASSERT_TRUE(drafting->submit(std::move(r), tokens_into(outcome)).has_value());
    drafting->step();
    const std::size_t before = kernels::emulated_bytes_downloaded();
    run_all(*drafting);
    EXPECT_EQ(outcome.tokens.size(), 8U);
    EXPECT_GT(outcome.stats.tokens_drafted, 0U);
    // Beside hidden states, 256 bytes for a row and a draft, less than a row in all steps.
    EXPECT_LT(kernels::emulated_bytes_downloaded() - before,
              temperature == 0.0F ? kVocab * sizeof(float) / 2 : 30 * (kBestBytes + 300));
  }
}

/// With so few tokens that penalties of several requests are more than the device takes of a step.
class DeviceSamplingOfFewTokens : public DeviceSampling {
 protected:
  const std::filesystem::path& model_dir() const override { return small_model_dir(); }
};

TEST_F(DeviceSamplingOfFewTokens, WhosePenaltiesAreTooManyIsSampledOnTheHost) {
  const auto engine = open_on_device();
  std::vector<GenerationRequest> requests;
  for (TokenId first = 3; first < 7; ++first) {
    GenerationRequest r = sampled(first, 1.0F, 0.9F, 6);
    for (TokenId token = 0; token < 200; ++token) r.prompt.push_back(token);
    r.sampling.repetition_penalty = 1.5F;
    requests.push_back(r);
  }
  std::vector<Outcome> alone;
  for (const auto& r : requests) alone.push_back(run(*engine, r));
  std::vector<Outcome> together(requests.size());
  for (std::size_t i = 0; i < requests.size(); ++i) {
    ASSERT_TRUE(engine->submit(requests[i], tokens_into(together[i])).has_value());
  }
  run_all(*engine);
  for (std::size_t i = 0; i < alone.size(); ++i) EXPECT_EQ(together[i].tokens, alone[i].tokens);
}

TEST_F(DeviceSampling, NoTokenOfAStepIsDeliveredInWhichTheDeviceWasLost) {
  use_emulator();
  const Outcome undisturbed = run_beside(*open_on_device(), sampled(9, 0.02F, 0.9F, 8));
  const auto engine = open_on_device(DeviceChoice::automatic);
  Outcome outcome;
  RequestCallbacks callbacks = tokens_into(outcome);
  callbacks.on_token = [&](TokenId token) {
    outcome.tokens.push_back(token);
    if (outcome.tokens.size() == 3) kernels::lose_emulated_device(true);
  };
  ASSERT_TRUE(engine->submit(sampled(9, 0.02F, 0.9F, 8), std::move(callbacks)).has_value());
  run_all(*engine);
  EXPECT_EQ(outcome.reason, FinishReason::length);
  EXPECT_EQ(engine->stats().device_losses, 1U);
  ASSERT_EQ(outcome.tokens.size(), 8U);
  const auto before = std::span(undisturbed.tokens).first(3);
  EXPECT_TRUE(std::ranges::equal(before, std::span(outcome.tokens).first(3)));
}

}  // namespace
}  // namespace ponder::engine
