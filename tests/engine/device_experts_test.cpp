// A model on a device whose routed experts stay in host memory: the numbers of everything on the
// device, the bits of deterministic mode, the memory that is saved, and what is chosen when memory
// is short. On the emulated device.

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <fstream>

#include "engine/convert_checkpoint.h"
#include "engine/device_model.h"
#include "engine/logits.h"
#include "kernels/cuda/emulator/emulated_device.h"
#include "tests/engine/small_model.h"
#include "tests/engine/traffic.h"

namespace ponder::engine {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr std::size_t kMemory = std::size_t{1} << 30;
constexpr std::size_t kChunk = std::size_t{8} << 20;  // in which the device's memory is taken

/// The smallest memory of which so much may be taken: a 64th is left alone.
std::size_t memory_with(std::size_t bytes) {
  const auto may_be_taken = [](std::size_t memory) { return memory - memory / 64; };
  std::size_t memory = bytes / 63 * 64;
  while (may_be_taken(memory) < bytes) ++memory;
  while (may_be_taken(memory - 1) >= bytes) --memory;
  return memory;
}

/// Widths that every format can store, three layers of experts, and an odd number for a token.
nlohmann::json wide_config_json(std::size_t n_shared_experts) {
  nlohmann::json config = small_config_json();
  config.update({{"hidden_size", 128},
                 {"num_hidden_layers", 4},
                 {"intermediate_size", 128},
                 {"moe_intermediate_size", 128},
                 {"n_routed_experts", 6},
                 {"num_experts_per_tok", 3},
                 {"n_shared_experts", n_shared_experts}});
  return config;
}

/// Such a model as a checkpoint of any format, written once for each test program.
const fs::path& wide_model_dir(const std::string& format, std::size_t n_shared_experts = 1) {
  static std::map<std::string, std::unique_ptr<testing::TempDir>> dirs;
  auto& dir = dirs[format + std::to_string(n_shared_experts)];
  if (dir != nullptr) return dir->path();
  dir = std::make_unique<testing::TempDir>();
  const bool is_converted = format.starts_with("int");
  const std::string text = wide_config_json(n_shared_experts).dump();
  RandomCheckpointOptions options;
  options.dtype = parse_weight_format(is_converted ? "bf16" : format)->dtype;
  const testing::TempDir plain;
  const fs::path& written = is_converted ? plain.path() : dir->path();
  if (!write_random_checkpoint(*parse_config(text), text, written, options)) std::abort();
  testing::write_file(written / "tokenizer.json", testing::small_tokenizer_json().dump());
  if (is_converted && !convert_checkpoint(written, dir->path(), *parse_weight_format(format))) {
    std::abort();
  }
  return dir->path();
}

std::vector<TokenId> prompt_below(std::size_t length, std::size_t vocab_size) {
  std::vector<TokenId> tokens = golden_prompt(length);
  for (TokenId& token : tokens) token %= vocab_size;
  return tokens;
}

class DeviceExperts : public ::testing::Test {
 protected:
  void SetUp() override { kernels::watch_emulated_memory(false); }
  void TearDown() override {
    kernels::watch_emulated_memory(true);
    kernels::lose_emulated_device(false);
    kernels::set_emulated_memory(kMemory);
  }

  static ModelOptions options_for(ExpertPlacement experts, std::uint32_t batch_rows_max = 64) {
    ModelOptions options;
    options.device = &kernels::emulated_device();
    options.experts = experts;
    options.batch_rows_max = batch_rows_max;
    options.num_threads = 2;
    return options;
  }
  static LogitsResult run(const fs::path& dir, const ModelOptions& options,
                          std::span<const TokenId> tokens, const ForcedChoices* forced = nullptr) {
    auto runner = LogitsRunner::open(dir, options);
    EXPECT_TRUE(runner.has_value()) << runner.error().message;
    (*runner)->force(forced);
    auto result = (*runner)->run(tokens, true);
    EXPECT_TRUE(result.has_value()) << result.error().message;
    return std::move(*result);
  }
  static void expect_near(const LogitsResult& got, const LogitsResult& want, float tolerance) {
    ASSERT_EQ(got.logits.size(), want.logits.size());
    for (std::size_t i = 0; i < want.logits.size(); ++i) {
      ASSERT_NEAR(got.logits[i], want.logits[i], tolerance) << i;
    }
  }
  /// The limit at which as many bytes are left as the golden model takes, but for the experts of
  /// about two of its five layers.
  static void leave_room_for_some_experts() {
    const std::size_t before = kernels::emulated_memory_used();
    const auto all = Model::load(golden_dir(), options_for(ExpertPlacement::device));
    ASSERT_TRUE(all.has_value());
    kernels::set_emulated_memory(kernels::emulated_memory_used() - before - 2 * kChunk);
  }
};

double relative_distance(const std::vector<float>& a, const std::vector<float>& b) {
  double squares = 0.0;
  double difference = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    squares += double{b[i]} * b[i];
    difference += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
  }
  return std::sqrt(difference / squares);
}

class DeviceExpertFormats : public DeviceExperts,
                            public ::testing::WithParamInterface<const char*> {};

TEST_P(DeviceExpertFormats, OnTheHostGiveTheNumbersOfTheDeviceAndOfTheCpu) {
  const auto tokens = prompt_below(40, 320);
  const fs::path& dir = wide_model_dir(GetParam());
  ModelOptions options = options_for(ExpertPlacement::host);
  const LogitsResult on_host = run(dir, options, tokens);
  const LogitsResult on_device = run(dir, options_for(ExpertPlacement::device), tokens);
  // The same products of the same inputs, but for the order of sums and the last bit of exp. Where
  // activations become codes, that bit decides about a few of them, each of which is off by one of
  // 127 steps then, and in the attention of a CPU about selections too.
  const bool has_codes = std::string_view(GetParam()).starts_with("int");
  EXPECT_LT(relative_distance(on_host.logits, on_device.logits), has_codes ? 0.05 : 1e-5);
  if (!has_codes) {
    options.device = nullptr;
    EXPECT_LT(relative_distance(on_host.logits, run(dir, options, tokens).logits), 1e-4);
  }
  for (std::size_t layer = 0; layer < on_host.trace.size(); ++layer) {
    EXPECT_EQ(on_host.trace[layer].experts, on_device.trace[layer].experts) << layer;
  }
  // Up to the first experts the device has computed the same, and so has its router.
  EXPECT_EQ(on_host.trace[1].expert_weights, on_device.trace[1].expert_weights);
  EXPECT_FALSE(on_host.trace[1].expert_weights.empty());
}

INSTANTIATE_TEST_SUITE_P(All, DeviceExpertFormats,
                         ::testing::Values("f32", "bf16", "fp8", "int8", "int4-32"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

TEST_F(DeviceExperts, ALayerWithoutSharedExpertsAddsToNothing) {
  const auto tokens = prompt_below(20, 320);
  const fs::path& dir = wide_model_dir("f32", 0);
  expect_near(run(dir, options_for(ExpertPlacement::host), tokens),
              run(dir, options_for(ExpertPlacement::device), tokens), 2e-3F);
}

TEST_F(DeviceExperts, TheGoldenModelAgreesWhereverItsExpertsAre) {
  const LogitsResult on_host =
      run(golden_dir(), options_for(ExpertPlacement::host, 96), golden_prompt());
  EXPECT_EQ(std::ranges::max_element(on_host.logits) - on_host.logits.begin(), 1939);
  EXPECT_NEAR(on_host.logits[1939], 3.5534918F, 1e-4F);
  EXPECT_NEAR(on_host.trace[5].residual_norm, 39.0465413, 1e-4);
  EXPECT_EQ(on_host.trace[5].experts, (std::vector<std::int32_t>{1, 8, 3, 11}));

  leave_room_for_some_experts();
  auto split = LogitsRunner::open(golden_dir(), options_for(ExpertPlacement::automatic, 96));
  ASSERT_TRUE(split.has_value()) << split.error().message;
  EXPECT_THAT((*split)->expert_placement(),
              AllOf(HasSubstr("routed experts of layer"), HasSubstr("on the GPU, of layer"),
                    HasSubstr("in host memory")));
  const auto result = (*split)->run(golden_prompt(), true);
  ASSERT_TRUE(result.has_value());
  EXPECT_NEAR(result->logits[1939], 3.5534918F, 1e-4F);
  EXPECT_NEAR(result->trace[5].residual_norm, 39.0465413, 1e-4);
}

TEST_F(DeviceExperts, ForcedExpertsAreTakenOnTheHostToo) {
  const auto tokens = prompt_below(20, 320);
  const fs::path& dir = wide_model_dir("f32");
  const ForcedChoices forced{
      .selection = {}, .experts = [](std::size_t layer, std::size_t position) {
        const auto first = static_cast<std::int32_t>((layer + position) % 6);
        return std::vector<std::int32_t>{first, (first + 2) % 6, (first + 3) % 6};
      }};
  const LogitsResult plain = run(dir, options_for(ExpertPlacement::host), tokens);
  const LogitsResult on_host = run(dir, options_for(ExpertPlacement::host), tokens, &forced);
  EXPECT_EQ(on_host.trace[1].experts, forced.experts(1, 19));
  EXPECT_NE(on_host.logits, plain.logits);
  expect_near(on_host, run(dir, options_for(ExpertPlacement::device), tokens, &forced), 2e-3F);
}

TEST_F(DeviceExperts, OnTheHostTakeNoDeviceMemory) {
  const std::size_t before = kernels::emulated_memory_used();
  const auto taken = [&](ExpertPlacement experts) {
    const auto model = Model::load(golden_dir(), options_for(experts));
    EXPECT_TRUE(model.has_value());
    return kernels::emulated_memory_used() - before;
  };
  const std::size_t on_device = taken(ExpertPlacement::device);
  const std::size_t on_host = taken(ExpertPlacement::host);
  constexpr std::size_t kExperts = 5 * 16 * 3 * (256 * 128) * sizeof(float);
  EXPECT_GE(on_device - on_host, kExperts - kChunk);
  EXPECT_LE(on_device - on_host, kExperts + kChunk);
  EXPECT_EQ(taken(ExpertPlacement::automatic), on_device);
  EXPECT_EQ(kernels::emulated_memory_used(), before);
}

TEST_F(DeviceExperts, WhatIsPlannedIsWhatIsTaken) {
  // To the byte: with a byte less than is taken in the end, the plan says no.
  for (const auto experts : {ExpertPlacement::device, ExpertPlacement::host}) {
    const std::size_t before = kernels::emulated_memory_used();
    std::size_t taken = 0;
    {
      const auto model = Model::load(golden_dir(), options_for(experts));
      ASSERT_TRUE(model.has_value());
      const auto pool = (*model)->create_pool((*model)->cache_layout().page_bytes);
      taken = kernels::emulated_memory_used() - before;
    }
    kernels::set_emulated_memory(memory_with(before + taken));
    EXPECT_TRUE(Model::load(golden_dir(), options_for(experts)).has_value());
    kernels::set_emulated_memory(memory_with(before + taken) - 1);
    const auto refused = Model::load(golden_dir(), options_for(experts));
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, Errc::exhausted);
    EXPECT_THAT(refused.error().message, HasSubstr("no memory for"));
    kernels::set_emulated_memory(kMemory);
  }
}

TEST_F(DeviceExperts, RoomForTheCacheIsKept) {
  ModelOptions options = options_for(ExpertPlacement::automatic);
  options.cache_bytes = kMemory - 60'000'000;  // with all experts the golden model takes more
  const auto model = Model::load(golden_dir(), options);
  ASSERT_TRUE(model.has_value()) << model.error().message;
  EXPECT_THAT((*model)->expert_placement(), HasSubstr("in host memory"));
  EXPECT_TRUE((*model)->create_pool(options.cache_bytes).has_value());
}

TEST_F(DeviceExperts, TheirProcessorIsOfTheArithmeticsName) {
  ModelOptions options = options_for(ExpertPlacement::host);
  options.isa = "scalar";
  const auto on_host = Model::load(wide_model_dir("f32"), options);
  ASSERT_TRUE(on_host.has_value());
  EXPECT_THAT(
      (*on_host)->arithmetic_name(),
      ::testing::MatchesRegex("emulated 80 version [0-9]+, experts of layers 1..3 on scalar"));
  const auto on_device = Model::load(wide_model_dir("f32"), options_for(ExpertPlacement::device));
  EXPECT_THAT((*on_device)->arithmetic_name(), Not(HasSubstr("experts")));
  EXPECT_EQ((*on_device)->expert_placement(), "");
  options.isa = "none such";
  const auto refused = Model::load(wide_model_dir("f32"), options);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, Errc::invalid_argument);
}

TEST_F(DeviceExperts, ReadInPlaceTheyAreComputedFromTheFileAndItsChangeIsNoticed) {
  const testing::TempDir dir;
  for (const char* file : {"config.json", "model.safetensors"}) {
    fs::copy_file(wide_model_dir("bf16") / file, dir.path() / file);
  }
  const fs::path weights = dir.path() / "model.safetensors";
  fs::last_write_time(weights, fs::file_time_type::clock::now() - std::chrono::hours(1));
  const auto tokens = prompt_below(20, 320);
  const LogitsResult copied = run(dir.path(), options_for(ExpertPlacement::host), tokens);
  ModelOptions options = options_for(ExpertPlacement::host);
  options.copied_bytes_max = 0;
  auto runner = LogitsRunner::open(dir.path(), options);
  ASSERT_TRUE(runner.has_value());
  const auto in_place = (*runner)->run(tokens, false);
  ASSERT_TRUE(in_place.has_value());
  EXPECT_EQ(in_place->logits, copied.logits);
  std::fstream(weights, std::ios::in | std::ios::out | std::ios::binary).put('?');
  const auto changed = (*runner)->run(tokens, false);
  ASSERT_FALSE(changed.has_value());
  EXPECT_EQ(changed.error().code, Errc::corrupt);
}

TEST_F(DeviceExperts, LogitsAreThoseOfARunWhoseCacheLeavesRoomForSomeExperts) {
  std::vector<std::string> notices;
  EngineOptions options;
  options.device = DeviceChoice::cuda;
  options.device_table = &kernels::emulated_device();
  options.batch_rows_max = 96;
  options.cache_bytes_max = kMemory - 60'000'000;
  options.on_notice = [&](const std::string& notice) { notices.push_back(notice); };
  ASSERT_TRUE(Engine::open(golden_dir(), options).has_value());
  ASSERT_THAT(notices, ElementsAre(HasSubstr("in host memory")));
  auto runner = LogitsRunner::open_as_engine(golden_dir(), options);
  ASSERT_TRUE(runner.has_value()) << runner.error().message;
  EXPECT_THAT(notices, ElementsAre(notices[0], notices[0]));
  EXPECT_EQ((*runner)->expert_placement(), notices[0]);
  EXPECT_TRUE((*runner)->run(golden_prompt(70), false).has_value());
}

TEST_F(DeviceExperts, LogitsOfAModelThatNoDeviceHoldsAreTheCpus) {
  std::vector<std::string> notices;
  EngineOptions options;
  options.device = DeviceChoice::automatic;
  options.device_table = &kernels::emulated_device();
  options.on_notice = [&](const std::string& notice) { notices.push_back(notice); };
  kernels::set_emulated_memory(kernels::emulated_memory_used() + kChunk);
  auto runner = LogitsRunner::open_as_engine(golden_dir(), options);
  ASSERT_TRUE(runner.has_value()) << runner.error().message;
  EXPECT_STRNE((*runner)->isa_name(), "emulated");
  EXPECT_THAT(notices, ElementsAre(HasSubstr("the CPU computes: ")));
  options.device = DeviceChoice::cuda;
  EXPECT_FALSE(LogitsRunner::open_as_engine(golden_dir(), options).has_value());
}

/// Chunks and batches, with all experts on the host and with some.
class DeviceExpertBits : public DeviceExperts, public ::testing::WithParamInterface<bool> {
 protected:
  void SetUp() override {
    DeviceExperts::SetUp();
    const bool is_split = GetParam();
    if (is_split) leave_room_for_some_experts();
    auto model = is_split
                     ? Model::load(golden_dir(), options_for(ExpertPlacement::automatic, 96))
                     : Model::load(wide_model_dir("int8"), options_for(ExpertPlacement::host, 96));
    kernels::set_emulated_memory(kMemory);
    ASSERT_TRUE(model.has_value()) << model.error().message;
    model_ = std::move(*model);
    ASSERT_THAT(model_->expert_placement(), HasSubstr("in host memory"));
    auto pool = model_->create_pool(16 * model_->cache_layout().page_bytes);
    ASSERT_TRUE(pool.has_value());
    pool_ = std::make_unique<PagePool>(std::move(*pool));
  }
  std::vector<TokenId> prompt(std::size_t length) const {
    return prompt_below(length, model_->config().vocab_size);
  }
  BlockTable table(std::size_t num_tokens) {
    BlockTable table(*pool_);
    while (table.capacity() < num_tokens) table.append(*pool_->acquire());
    return table;
  }
  std::vector<float> compute(BlockTable& table, std::span<const TokenId> tokens, std::size_t first,
                             std::size_t chunk) {
    std::vector<float> logits;
    for (std::size_t at = first; at < tokens.size(); at += chunk) {
      const BatchSegment segment{.table = &table,
                                 .first_position = at,
                                 .tokens = tokens.subspan(at, std::min(chunk, tokens.size() - at)),
                                 .wants_logits = true};
      const auto out = model_->forward({&segment, 1});
      logits.assign(out.begin(), out.end());
    }
    return logits;
  }

  std::unique_ptr<Model> model_;
  std::unique_ptr<PagePool> pool_;
};

TEST_P(DeviceExpertBits, ChunksAndBatchesChangeNothing) {
  const auto tokens = prompt(70);
  BlockTable whole = table(tokens.size());
  const std::vector<float> want = compute(whole, tokens, 0, tokens.size());
  BlockTable chunked = table(tokens.size());
  EXPECT_EQ(compute(chunked, tokens, 0, 13), want);
  BlockTable stepped = table(tokens.size());
  compute(stepped, std::span(tokens).first(67), 0, 67);
  EXPECT_EQ(compute(stepped, tokens, 67, 1), want);

  const auto other = prompt(30);
  BlockTable mine = table(tokens.size());
  BlockTable theirs = table(other.size());
  compute(mine, std::span(tokens).first(65), 0, 65);
  const BatchSegment segments[] = {
      {.table = &theirs, .first_position = 0, .tokens = other, .wants_logits = true},
      {.table = &mine,
       .first_position = 65,
       .tokens = std::span(tokens).subspan(65),
       .wants_logits = true}};
  const auto both = model_->forward(segments);
  ASSERT_EQ(both.size(), 2 * want.size());
  const auto middle = both.begin() + static_cast<std::ptrdiff_t>(want.size());
  EXPECT_EQ(std::vector<float>(middle, both.end()), want);
  EXPECT_EQ(model_->num_nan_scores(), 0U);
  EXPECT_TRUE(model_->check().has_value());
}

INSTANTIATE_TEST_SUITE_P(Placements, DeviceExpertBits, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "some" : "all"; });

/// The engine: what is chosen and said, drafts, and a device that is lost.
class DeviceExpertEngine : public EngineTraffic {
 protected:
  void SetUp() override { kernels::watch_emulated_memory(false); }
  void TearDown() override {
    kernels::watch_emulated_memory(true);
    kernels::lose_emulated_device(false);
    kernels::set_emulated_memory(kMemory);
  }
  const fs::path& model_dir() const override {
    return is_golden_ ? golden_dir() : wide_model_dir("f32");
  }

  std::unique_ptr<Engine> open_with(ExpertPlacement experts,
                                    DeviceChoice device = DeviceChoice::cuda,
                                    std::uint32_t num_drafts = 0) {
    EngineOptions options;
    options.device = device;
    options.device_table = &kernels::emulated_device();
    options.experts = experts;
    options.draft_tokens_max = num_drafts;
    options.on_notice = [this](const std::string& notice) { notices_.push_back(notice); };
    return open(12, 48, options);
  }
  static std::vector<TokenId> prompt(std::size_t length) { return prompt_below(length, 320); }

  bool is_golden_ = false;  // whose experts fill more than the pieces that memory is taken in
  std::vector<std::string> notices_;
};

TEST_F(DeviceExpertEngine, WhereTheDeviceDoesNotHoldTheExpertsAutoLeavesThemOnTheHostAndSaysSo) {
  is_golden_ = true;
  const std::size_t before = kernels::emulated_memory_used();
  std::size_t taken = 0;
  Outcome on_device;
  {
    const auto engine = open_with(ExpertPlacement::automatic);
    taken = kernels::emulated_memory_used() - before;
    on_device = run(*engine, request(prompt(20), 3));
  }
  EXPECT_THAT(notices_, IsEmpty());
  kernels::set_emulated_memory(before + taken - 1);
  const auto engine = open_with(ExpertPlacement::automatic);
  EXPECT_THAT(notices_, ElementsAre(AllOf(HasSubstr("routed experts of layer"),
                                          HasSubstr("in host memory; on the GPU "),
                                          HasSubstr("cache"), HasSubstr("free on emulated"))));
  EXPECT_STREQ(engine->isa_name(), "emulated");
  const Outcome on_host = run(*engine, request(prompt(20), 3));
  EXPECT_EQ(on_host.tokens, on_device.tokens);
  EXPECT_FALSE(on_host.stats.was_moved);
}

TEST_F(DeviceExpertEngine, DraftsOfALayerWithExpertsOnTheHostChangeNoToken) {
  const Outcome plain = run(*open_with(ExpertPlacement::host), request(prompt(40), 5));
  const auto engine = open_with(ExpertPlacement::host, DeviceChoice::cuda, 2);
  EXPECT_THAT(notices_.back(), HasSubstr("layers 1..4"));  // 4 is the MTP layer
  const Outcome drafted = run(*engine, request(prompt(40), 5));
  EXPECT_GT(drafted.stats.tokens_drafted, 0U);
  EXPECT_EQ(drafted.tokens, plain.tokens);
  EXPECT_TRUE(same_bits(drafted.logits, plain.logits));
}

TEST_F(DeviceExpertEngine, StepsOfDecodingAreNoGraphsForTheHostIsInTheMiddle) {
  // A graph would be tried when its shape comes for the second time, fail, and be complained of.
  const auto engine = open_with(ExpertPlacement::host);
  const auto graphs = kernels::emulated_launches().graphs;
  const Outcome outcome = run(*engine, request(prompt(10), 6));
  EXPECT_EQ(outcome.tokens.size(), 6U);
  EXPECT_EQ(kernels::emulated_launches().graphs, graphs);
  EXPECT_THAT(notices_, ElementsAre(HasSubstr("in host memory")));
}

TEST_F(DeviceExpertEngine, WhereOnlyTheDraftsLayerHasExpertsOnTheHostTheOthersAreGraphs) {
  is_golden_ = true;
  const std::size_t before = kernels::emulated_memory_used();
  std::size_t taken = 0;
  Outcome on_device;
  const auto sampled = [](Engine& engine) {
    Outcome outcome;
    RequestCallbacks callbacks = into(outcome);
    callbacks.on_logits = {};
    EXPECT_TRUE(engine.submit(request(prompt(20), 16), std::move(callbacks)).has_value());
    run_all(engine);
    return outcome;
  };
  {
    const auto engine = open_with(ExpertPlacement::device, DeviceChoice::cuda, 1);
    taken = kernels::emulated_memory_used() - before;
    on_device = sampled(*engine);
  }
  kernels::set_emulated_memory(before + taken - 1'000'000);
  const auto engine = open_with(ExpertPlacement::automatic, DeviceChoice::cuda, 1);
  ASSERT_THAT(notices_, ElementsAre(HasSubstr("on the GPU, of layer 6 (8.4 MB) in host memory")));
  const auto graphs = kernels::emulated_launches().graphs;
  const Outcome outcome = sampled(*engine);
  EXPECT_GT(kernels::emulated_launches().graphs, graphs);  // in the pauses between drafts
  EXPECT_GT(outcome.stats.tokens_drafted, 0U);
  EXPECT_EQ(outcome.tokens, on_device.tokens);
  EXPECT_EQ(notices_.size(), 1U);
}

TEST_F(DeviceExpertEngine, WhenTheDeviceIsLostTheCpuGoesOn) {
  const auto engine = open_with(ExpertPlacement::host, DeviceChoice::automatic);
  Outcome outcome;
  RequestCallbacks callbacks = into(outcome);
  callbacks.on_token = [&outcome](TokenId token) {
    outcome.tokens.push_back(token);
    if (outcome.tokens.size() == 3) kernels::lose_emulated_device(true);
  };
  ASSERT_TRUE(engine->submit(request(prompt(30), 8), std::move(callbacks)).has_value());
  run_all(*engine);
  EXPECT_EQ(outcome.reason, FinishReason::length);
  EXPECT_TRUE(outcome.stats.was_moved);
  EXPECT_EQ(engine->stats().device_losses, 1U);
  EXPECT_THAT(notices_, ElementsAre(HasSubstr("in host memory"), HasSubstr("the CPU goes on")));
  auto continued = prompt(30);
  continued.insert(continued.end(), outcome.tokens.begin(), outcome.tokens.begin() + 3);
  const Outcome on_cpu =
      run(*open_with(ExpertPlacement::host, DeviceChoice::cpu), request(continued, 5));
  EXPECT_EQ(std::vector<TokenId>(outcome.tokens.begin() + 3, outcome.tokens.end()), on_cpu.tokens);
}

TEST_F(DeviceExpertEngine, WhatALostDevicesExpertsHoldIsFreeBeforeTheCpuLoadsItsOwn) {
  // Where it cannot load them, what was let go of stays gone.
  const testing::TempDir dir;
  for (const char* file : {"config.json", "model.safetensors", "tokenizer.json"}) {
    fs::copy_file(wide_model_dir("bf16") / file, dir.path() / file);
  }
  const fs::path weights = dir.path() / "model.safetensors";
  const auto is_mapped = [&] {
    return testing::read_file("/proc/self/maps").find(weights.string()) != std::string::npos;
  };
  EngineOptions options;
  options.device = DeviceChoice::automatic;
  options.device_table = &kernels::emulated_device();
  options.experts = ExpertPlacement::host;
  options.copied_bytes_max = 0;  // experts are read where they are
  options.num_threads = 2;
  options.cache_bytes_max = 1 << 20;
  const auto engine = Engine::open(dir.path(), options);
  ASSERT_TRUE(engine.has_value()) << engine.error().message;
  ASSERT_TRUE(is_mapped());
  Outcome lost;
  RequestCallbacks callbacks = into(lost);
  callbacks.on_token = [&](TokenId) {
    kernels::lose_emulated_device(true);
    fs::remove(weights);
  };
  ASSERT_TRUE((*engine)->submit(request(prompt(30), 8), std::move(callbacks)).has_value());
  run_all(**engine);
  EXPECT_EQ(lost.reason, FinishReason::failed);
  EXPECT_THAT(lost.error, HasSubstr("the CPU cannot go on"));
  EXPECT_FALSE(is_mapped());
  const Outcome later = run(**engine, request(prompt(20), 2));
  EXPECT_EQ(later.reason, FinishReason::failed);
  EXPECT_THAT(later.error, HasSubstr("device"));
}

TEST_F(DeviceExpertEngine, OnTheCpuThePlacementSaysNothing) {
  const auto engine = open_with(ExpertPlacement::device, DeviceChoice::cpu);
  EXPECT_THAT(notices_, IsEmpty());
  EXPECT_EQ(run(*engine, request(prompt(10), 2)).tokens.size(), 2U);
}

}  // namespace
}  // namespace ponder::engine
