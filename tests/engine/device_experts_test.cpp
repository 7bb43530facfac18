// A model on a device whose routed experts stay in host memory: the numbers of everything on the
// device, the bits of deterministic mode, and the memory that is saved. On the emulated device, or
// a GPU. tests/engine/device_expert_engine_test.cpp has the engine on it.

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <fstream>

#include "engine/device_model.h"
#include "engine/logits.h"
#include "tests/engine/device_of_test.h"
#include "tests/engine/stepped_model.h"
#include "tests/engine/wide_model.h"

namespace ponder::engine {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::size_t kChunk = std::size_t{8} << 20;  // in which the device's memory is taken

/// The smallest memory of which so much may be taken: a 64th is left alone.
std::size_t memory_with(std::size_t bytes) {
  const auto may_be_taken = [](std::size_t memory) { return memory - memory / 64; };
  std::size_t memory = bytes / 63 * 64;
  while (may_be_taken(memory) < bytes) ++memory;
  while (may_be_taken(memory - 1) >= bytes) --memory;
  return memory;
}

class DeviceExperts : public ::testing::Test, protected DeviceOfTest {
 protected:
  void SetUp() override {
    if (!take_device()) GTEST_SKIP() << no_device();
  }
  void TearDown() override { mend_emulator(); }

  ModelOptions options_for(ExpertPlacement experts, std::uint32_t batch_rows_max = 64) {
    ModelOptions options;
    options.device = device_table();
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
  void leave_room_for_some_experts() {
    use_emulator();
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

/// Of the rows that a layer's first projections read, a feed-forward's first products, those of
/// routed experts, and the head. SwiGLU rounds what it computes itself. Narrower matrices are no
/// codes.
TEST_F(DeviceExperts, CodesOfRowsAreMadeOnce) {
  use_emulator();
  const auto launches_with = [this](const std::string& format) {
    const std::uint64_t before = kernels::emulated_launches().operations;
    run(wide_model_dir(format), options_for(ExpertPlacement::device), prompt_below(5, 320));
    return kernels::emulated_launches().operations - before;
  };
  const std::uint64_t num_layers = 4;
  const std::uint64_t num_moe_layers = 3;
  EXPECT_EQ(launches_with("int8") - launches_with("bf16"), 2 * num_layers + num_moe_layers + 1);
}

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
  use_emulator();
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
  use_emulator();
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
    kernels::set_emulated_memory(kEmulatedMemory);
  }
}

TEST_F(DeviceExperts, RoomForTheCacheIsKept) {
  use_emulator();
  ModelOptions options = options_for(ExpertPlacement::automatic);
  options.cache_bytes =
      kEmulatedMemory - 60'000'000;  // with all experts the golden model takes more
  const auto model = Model::load(golden_dir(), options);
  ASSERT_TRUE(model.has_value()) << model.error().message;
  EXPECT_THAT((*model)->expert_placement(), HasSubstr("in host memory"));
  EXPECT_TRUE((*model)->create_pool(options.cache_bytes).has_value());
}

TEST_F(DeviceExperts, TheirProcessorIsOfTheArithmeticsName) {
  use_emulator();
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
  use_emulator();
  std::vector<std::string> notices;
  EngineOptions options;
  options.device = DeviceChoice::cuda;
  options.device_table = device_table();
  options.batch_rows_max = 96;
  options.cache_bytes_max = kEmulatedMemory - 60'000'000;
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
  use_emulator();
  std::vector<std::string> notices;
  EngineOptions options;
  options.device = DeviceChoice::automatic;
  options.device_table = device_table();
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
class DeviceExpertBits : public DeviceExperts,
                         protected SteppedModel,
                         public ::testing::WithParamInterface<bool> {
 protected:
  void SetUp() override {
    DeviceExperts::SetUp();
    if (IsSkipped()) return;
    const bool is_split = GetParam();
    if (is_split) leave_room_for_some_experts();
    auto model = is_split
                     ? Model::load(golden_dir(), options_for(ExpertPlacement::automatic, 96))
                     : Model::load(wide_model_dir("int8"), options_for(ExpertPlacement::host, 96));
    kernels::set_emulated_memory(kEmulatedMemory);
    ASSERT_TRUE(model.has_value()) << model.error().message;
    take_model(std::move(*model), 16);
    ASSERT_THAT(model_->expert_placement(), HasSubstr("in host memory"));
  }
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

}  // namespace
}  // namespace ponder::engine
