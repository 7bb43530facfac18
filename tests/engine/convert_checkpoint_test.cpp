#include "engine/convert_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <thread>

#include "engine/checkpoint.h"
#include "engine/load_plan.h"
#include "engine/logits.h"
#include "engine/model_weights.h"
#include "kernels/dispatch.h"
#include "tests/engine/golden_model.h"

namespace ponder::engine {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using testing::TempDir;

WeightFormat format_of(const char* name) { return parse_weight_format(name).value(); }

ConvertReport convert(const fs::path& in, const fs::path& out, const char* to) {
  const auto report = convert_checkpoint(in, out, format_of(to));
  EXPECT_TRUE(report) << report.error().message;
  return report ? *report : ConvertReport{};
}

LogitsResult run(const fs::path& dir, const std::vector<TokenId>& tokens, ModelOptions options) {
  options.num_threads = 2;
  auto runner = LogitsRunner::open(dir, options);
  EXPECT_TRUE(runner) << runner.error().message;
  auto result = (*runner)->run(tokens, true);
  EXPECT_TRUE(result);
  return std::move(*result);
}

LogitsResult run(const fs::path& dir, const std::vector<TokenId>& tokens,
                 const std::string& isa = "") {
  ModelOptions options;
  options.isa = isa;
  return run(dir, tokens, options);
}

/// How well two sets of logits, and the selections behind them, agree.
struct Agreement {
  double relative_error = 0.0;  // root mean square, against the spread of the original logits
  double overlap = 1.0;         // the smallest share of a layer's selection that both have
  bool is_same_best = false;    // the token with the largest logit
};

Agreement agreement(const LogitsResult& got, const LogitsResult& want) {
  const std::size_t n = want.logits.size();
  double mean = 0.0;
  for (const float logit : want.logits) mean += logit / static_cast<double>(n);
  double error = 0.0;
  double spread = 0.0;
  for (std::size_t i = 0; i < n; ++i) {
    error += std::pow(got.logits[i] - want.logits[i], 2.0);
    spread += std::pow(want.logits[i] - mean, 2.0);
  }
  const auto best = [](const std::vector<float>& logits) {
    return std::ranges::max_element(logits) - logits.begin();
  };
  Agreement result{std::sqrt(error / spread), 1.0, best(got.logits) == best(want.logits)};
  for (std::size_t layer = 0; layer < want.trace.size(); ++layer) {
    const auto& a = got.trace[layer].selection;
    const auto& b = want.trace[layer].selection;
    std::vector<std::int32_t> both;
    std::ranges::set_intersection(a, b, std::back_inserter(both));
    const double share = static_cast<double>(both.size()) / static_cast<double>(b.size());
    result.overlap = std::min(result.overlap, share);
  }
  return result;
}

struct Expectation {
  const char* format;
  double relative_error;
  double overlap;
};

void expect_agreement(const fs::path& original, const std::vector<TokenId>& prompt,
                      const Expectation& expected) {
  SCOPED_TRACE(expected.format);
  const TempDir out;
  convert(original, out.path(), expected.format);
  const Agreement got = agreement(run(out.path(), prompt), run(original, prompt));
  EXPECT_LE(got.relative_error, expected.relative_error);
  EXPECT_GE(got.overlap, expected.overlap);
  EXPECT_TRUE(got.is_same_best);
}

bool packs_codes(const fs::path& dir, const ModelOptions& options) {
  const ModelConfig config = load_config(dir).value();
  const auto checkpoint = Checkpoint::open(dir);
  const auto weights = load_weights(
      *checkpoint, config,
      {.memory_bytes_max = options.memory_bytes_max, .copied_bytes_max = options.copied_bytes_max});
  EXPECT_TRUE(weights) << weights.error().message;
  EXPECT_GT(weights->layers[0].o.group, 0U);
  return weights->layers[0].o.is_packed;
}

TEST(ConvertCheckpoint, CodesReadInPlaceGiveTheBitsOfPackedOnes) {
  const std::vector<TokenId> tokens(40, 7);
  for (const char* format : {"int8", "int4-32"}) {
    const TempDir out;
    convert(golden_dir(WeightDType::bf16), out.path(), format);
    ModelOptions in_place;
    in_place.copied_bytes_max = 1;
    ModelOptions short_of_memory = in_place;
    const auto checkpoint = Checkpoint::open(out.path());
    short_of_memory.memory_bytes_max = plan_load(load_config(out.path()).value(), &*checkpoint,
                                                 {.copied_bytes_max = in_place.copied_bytes_max})
                                           .needed_bytes();
    EXPECT_TRUE(packs_codes(out.path(), {}));
    EXPECT_TRUE(packs_codes(out.path(), in_place));
    EXPECT_FALSE(packs_codes(out.path(), short_of_memory));
    const std::vector<float> want = run(out.path(), tokens).logits;
    EXPECT_EQ(run(out.path(), tokens, in_place).logits, want);
    EXPECT_EQ(run(out.path(), tokens, short_of_memory).logits, want);
  }
}

// Random weights choose experts by a hair, and a changed choice changes everything after it. So the
// random model is asked for the second of two tokens, where the choices last; the bounds are what
// was measured, and a quarter more.
TEST(ConvertCheckpoint, TheGoldenModelAgreesAsStated) {
  for (const Expectation& expected : {Expectation{"fp8", 0.10, 1.0},
                                      {"int8", 0.035, 1.0},
                                      {"int4-32", 0.40, 1.0},
                                      {"int4-64", 0.41, 1.0},
                                      {"int4-128", 0.43, 1.0}}) {
    expect_agreement(golden_dir(WeightDType::f32), golden_prompt(2), expected);
  }
}

std::vector<TokenId> mini_prompt() {
  const auto data = nlohmann::json::parse(testing::read_file("tests/engine/data/mini_parity.json"));
  return data.at("prompts").at(0).at("tokens");
}

// A trained model, and a prompt of more than three times index_topk.
TEST(ConvertCheckpoint, ThePonderMiniModelAgreesAsStated) {
  for (const Expectation& expected : {Expectation{"fp8", 0.062, 0.96},
                                      {"int8", 0.034, 0.97},
                                      {"int4-32", 0.17, 0.94},
                                      {"int4-64", 0.25, 0.93},
                                      {"int4-128", 0.54, 0.92}}) {
    expect_agreement("engine/models/mini", mini_prompt(), expected);
  }
}

// An input is off by up to 2^-9 of itself, an int8 weight by 2^-8 of its group's largest: the
// bounds are tighter than int8's above.
TEST(ConvertCheckpoint, RoundedActivationsChangeLittleAndOnlyWhereTheProcessorRoundsThem) {
  ModelOptions rounded;
  rounded.activations = Activations::bf16;
  for (const kernels::KernelTable* table : kernels::runnable_tables()) {
    if (table == &kernels::scalar_table()) continue;
    SCOPED_TRACE(table->name);
    rounded.isa = table->name;
    const fs::path mini = "engine/models/mini";
    const LogitsResult want = run(mini, mini_prompt(), table->name);
    const LogitsResult got = run(mini, mini_prompt(), rounded);
    const bool rounds = rounded.isa == "avx512bf16" || rounded.isa == "amx";
    EXPECT_EQ(got.logits == want.logits, !rounds);
    const Agreement agreed = agreement(got, want);
    EXPECT_LE(agreed.relative_error, 0.02);
    EXPECT_GE(agreed.overlap, 0.97);
    EXPECT_TRUE(agreed.is_same_best);
  }
}

TEST(ConvertCheckpoint, EveryRowOfTheKernelTableRunsAQuantisedModel) {
  // Its matrix products have the same bits in each row, the rest rounds differently.
  const TempDir out;
  convert(golden_dir(WeightDType::f32), out.path(), "int8");
  const LogitsResult scalar = run(out.path(), golden_prompt(2), "scalar");
  for (const auto* table : kernels::runnable_tables()) {
    const Agreement got = agreement(run(out.path(), golden_prompt(2), table->name), scalar);
    EXPECT_LE(got.relative_error, 0.02) << table->name;
  }
}

TEST(ConvertCheckpoint, KeepsWhatMustStayAndDeclaresTheFormat) {
  const TempDir out;
  const ConvertReport report = convert(golden_dir(WeightDType::bf16), out.path(), "int4-64");
  const auto checkpoint = Checkpoint::open(out.path());
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  const std::string layer = "model.layers.1.";
  const auto dtype = [&](const std::string& name) {
    const TensorView* tensor = checkpoint->find(name);
    return tensor == nullptr ? std::string("none") : std::string(dtype_name(tensor->dtype));
  };
  for (const char* name : {"mlp.gate.weight", "self_attn.indexer.weights_proj.weight",
                           "self_attn.kv_b_proj.weight", "input_layernorm.weight"}) {
    EXPECT_EQ(dtype(layer + name), "BF16") << name;
  }
  EXPECT_EQ(dtype(layer + "mlp.gate.e_score_correction_bias"), "F32");
  EXPECT_EQ(dtype("model.embed_tokens.weight"), "BF16");
  EXPECT_EQ(dtype("model.layers.6.eh_proj.weight"), "BF16");
  EXPECT_EQ(dtype("model.layers.6.embed_tokens.weight"), "none");
  for (const char* name : {"self_attn.indexer.wq_b.weight", "self_attn.indexer.wk.weight"}) {
    EXPECT_EQ(dtype(layer + name), "I8") << name;
  }
  EXPECT_EQ(dtype("lm_head.weight"), "I8");
  EXPECT_EQ(dtype(layer + "mlp.experts.3.up_proj.weight_packed"), "I32");
  EXPECT_EQ(checkpoint->find(layer + "mlp.experts.3.up_proj.weight_scale")->shape,
            (std::vector<std::size_t>{128, 4}));
  EXPECT_EQ(dtype(layer + "mlp.experts.3.up_proj.weight"), "none");

  const auto config = nlohmann::json::parse(testing::read_file(out.path() / "config.json"));
  const auto& declared = config.at("quantization_config");
  EXPECT_EQ(declared.at("quant_method"), "compressed-tensors");
  EXPECT_EQ(declared.at("config_groups").at("group_0").at("weights").at("group_size"), 64);
  EXPECT_TRUE(fs::exists(out.path() / "tokenizer.json"));
  EXPECT_GT(report.matrices_converted, 300U);
  EXPECT_LT(report.bytes_after, report.bytes_before / 2);
}

TEST(ConvertCheckpoint, WhatIsWrittenIsTheEncodingOfWhatWasRead) {
  const TempDir out;
  convert(golden_dir(WeightDType::bf16), out.path(), "int4-32");
  const auto before = Checkpoint::open(golden_dir(WeightDType::bf16));
  const auto after = Checkpoint::open(out.path());
  const std::string name = "model.layers.2.self_attn.kv_a_proj_with_mqa.weight";  // 160 rows
  const auto values = before->load_f32(name, {160, 256});
  const auto got = after->load_f32(name, {160, 256});
  ASSERT_TRUE(got) << got.error().message;
  for (std::size_t begin = 0; begin < values->size(); begin += 32) {
    float largest = 0.0F;
    for (std::size_t i = begin; i < begin + 32; ++i) {
      largest = std::max(largest, std::fabs((*values)[i]));
    }
    for (std::size_t i = begin; i < begin + 32; ++i) {
      ASSERT_NEAR((*got)[i], (*values)[i], largest / 7 * 0.504F) << i;
    }
  }
}

TEST(ConvertCheckpoint, AnFp8CheckpointKeepsItsEightBitTensorsByteForByte) {
  const TempDir out;
  convert(golden_dir(WeightDType::fp8), out.path(), "int4-128");
  const auto before = Checkpoint::open(golden_dir(WeightDType::fp8));
  const auto after = Checkpoint::open(out.path());
  for (const char* name : {"model.layers.0.self_attn.indexer.wk.weight",
                           "model.layers.0.self_attn.kv_b_proj.weight_scale_inv",
                           "model.layers.0.self_attn.kv_b_proj.weight"}) {
    const TensorView* a = before->find(name);
    const TensorView* b = after->find(name);
    ASSERT_NE(b, nullptr) << name;
    EXPECT_TRUE(std::equal(a->data, a->data + a->num_bytes, b->data, b->data + b->num_bytes));
  }
  EXPECT_EQ(run(out.path(), golden_prompt(70)).logits.size(), 4096U);
}

TEST(ConvertCheckpoint, ShardsHoldTheSameAsOneFile) {
  const TempDir whole;
  const TempDir split;
  convert(golden_dir(WeightDType::bf16), whole.path(), "int8");
  const auto report = convert_checkpoint(golden_dir(WeightDType::bf16), split.path(),
                                         format_of("int8"), std::size_t{1} << 20);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_TRUE(fs::exists(split.path() / "model.safetensors.index.json"));
  const auto a = Checkpoint::open(whole.path());
  const auto b = Checkpoint::open(split.path());
  ASSERT_TRUE(b) << b.error().message;
  ASSERT_EQ(a->tensors().size(), b->tensors().size());
  for (std::size_t i = 0; i < a->tensors().size(); ++i) {
    const TensorView& x = a->tensors()[i];
    const TensorView& y = b->tensors()[i];
    ASSERT_EQ(x.name, y.name);
    ASSERT_TRUE(std::equal(x.data, x.data + x.num_bytes, y.data, y.data + y.num_bytes)) << x.name;
  }
}

TEST(ConvertCheckpoint, ABrokenWeightIsNamedAndNothingStays) {
  const TempDir in;
  fs::copy(golden_dir(WeightDType::bf16), in.path(), fs::copy_options::recursive);
  const auto checkpoint = Checkpoint::open(in.path());
  const TensorView* tensor = checkpoint->find("model.layers.3.mlp.experts.5.down_proj.weight");
  const std::string file = testing::read_file(in.path() / "model.safetensors");
  std::uint64_t header = 0;
  std::memcpy(&header, file.data(), sizeof header);
  const auto first = *std::ranges::min_element(checkpoint->tensors(), {}, &TensorView::data);
  const std::size_t element = 128 * 9 + 4;
  const auto at = 8 + header + static_cast<std::size_t>(tensor->data - first.data) + 2 * element;
  std::string broken = file;
  broken[at] = '\xFF';
  broken[at + 1] = '\x7F';
  testing::write_file(in.path() / "model.safetensors", broken);
  const TempDir out;
  const auto report = convert_checkpoint(in.path(), out.path(), format_of("int8"));
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, Errc::corrupt);
  EXPECT_THAT(report.error().message, HasSubstr("5.down_proj.weight in "));
  EXPECT_THAT(report.error().message, HasSubstr("row 9, column 4 is nan"));
  EXPECT_TRUE(fs::is_empty(out.path()));
}

/// A copy of the golden model that a test may change.
std::unique_ptr<TempDir> golden_copy() {
  auto dir = std::make_unique<TempDir>();
  fs::copy(golden_dir(WeightDType::bf16), dir->path(), fs::copy_options::recursive);
  return dir;
}

// Somebody else changes the source as soon as the first shard appears. Should the conversion be
// over by then it has succeeded rightly, and another one is begun.
TEST(ConvertCheckpoint, NothingStaysOfASourceThatChangedMeanwhile) {
  const auto in = golden_copy();
  const fs::path weights = in->path() / "model.safetensors";
  for (int attempt = 1;; ++attempt) {
    ASSERT_LE(attempt, 100);
    const TempDir parent;
    const fs::path out = parent.path() / "new" / "model";
    std::jthread changer([&](const std::stop_token& stop) {
      std::error_code missing;
      const auto has_begun = [&] { return !fs::is_empty(out, missing) && !missing; };
      while (!stop.stop_requested() && !has_begun()) std::this_thread::yield();
      fs::last_write_time(weights, fs::file_time_type::clock::now() + std::chrono::hours(attempt));
    });
    const auto report = convert_checkpoint(in->path(), out, format_of("int8"));
    changer.request_stop();
    changer.join();
    if (report) continue;
    EXPECT_EQ(report.error().code, Errc::corrupt);
    EXPECT_THAT(report.error().message, HasSubstr("modified while in use"));
    EXPECT_TRUE(fs::is_empty(parent.path()));
    return;
  }
}

TEST(ConvertCheckpoint, NothingStaysWhenASideFileCannotBeCopiedButWhatWasThere) {
  const auto in = golden_copy();
  fs::create_directory(in->path() / "LICENSE");
  const TempDir out;
  testing::write_file(out.path() / "notes.txt", "mine");
  const auto report = convert_checkpoint(in->path(), out.path(), format_of("int8"));
  ASSERT_FALSE(report);
  EXPECT_THAT(report.error().message, HasSubstr("LICENSE: cannot copy"));
  EXPECT_EQ(std::distance(fs::directory_iterator(out.path()), fs::directory_iterator()), 1);
  EXPECT_EQ(testing::read_file(out.path() / "notes.txt"), "mine");
}

TEST(ConvertCheckpoint, FilesThatAreThereAreNeitherReplacedNorRemoved) {
  for (const char* name : {"tokenizer.json", "model.safetensors", "config.json"}) {
    const TempDir out;
    testing::write_file(out.path() / name, "mine");
    const auto report = convert_checkpoint(golden_dir(), out.path(), format_of("int8"));
    ASSERT_FALSE(report) << name;
    EXPECT_EQ(report.error().code, Errc::invalid_argument);
    EXPECT_THAT(report.error().message, HasSubstr(std::string("already holds ") + name));
    EXPECT_EQ(testing::read_file(out.path() / name), "mine");
  }
}

TEST(ConvertCheckpoint, RefusesFormatsThatRestoreNothingAndFullDirectories) {
  const TempDir out;
  const auto wider = convert_checkpoint(golden_dir(), out.path(), format_of("bf16"));
  EXPECT_THAT(wider.error().message, HasSubstr("cannot convert to bf16"));
  testing::write_file(out.path() / "config.json", "mine");
  const auto full = convert_checkpoint(golden_dir(), out.path(), format_of("int8"));
  EXPECT_THAT(full.error().message, HasSubstr("already holds config.json"));
  EXPECT_EQ(testing::read_file(out.path() / "config.json"), "mine");
}

}  // namespace
}  // namespace ponder::engine
