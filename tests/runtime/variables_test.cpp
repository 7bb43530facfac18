#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "runtime/cli/engine_options.h"

namespace ponder::cli {
namespace {

using ::testing::HasSubstr;

Environment with_graphs(const std::string& word) {
  Environment environment;
  environment.variable = [word](const std::string& name) {
    return name == "PONDER_DEVICE_GRAPHS" ? word : std::string();
  };
  return environment;
}

TEST(Variables, GraphsOfADeviceAreOnOrOff) {
  for (const char* word : {"", "on"}) {
    const auto graphs = has_device_graphs(with_graphs(word));
    ASSERT_TRUE(graphs) << word;
    EXPECT_TRUE(*graphs) << word;
  }
  const auto graphs = has_device_graphs(with_graphs("off"));
  ASSERT_TRUE(graphs);
  EXPECT_FALSE(*graphs);
  EXPECT_TRUE(has_device_graphs(Environment()).value_or(false));
}

TEST(Variables, AnotherWordForGraphsIsNamed) {
  for (const char* word : {"0", "OFF", "false", " off"}) {
    const auto graphs = has_device_graphs(with_graphs(word));
    ASSERT_FALSE(graphs) << word;
    EXPECT_EQ(graphs.error().code, Errc::invalid_argument);
    EXPECT_THAT(graphs.error().message,
                HasSubstr("PONDER_DEVICE_GRAPHS is on or off, not \"" + std::string(word) + '"'));
  }
}

TEST(Variables, AnEngineIsOpenedAsOptionsAndVariablesSay) {
  Environment environment = with_graphs("off");
  environment.isa = "scalar";
  ModelOptions options;
  options.num_threads = 3;
  options.num_drafts = 2;
  options.device = "auto";
  options.experts = "host";
  options.cache_dtype = "fp8";
  options.index_keys = "int8";
  options.activations = "bf16";
  options.spill_dir = "/pages";
  options.spill_gib_max = 2;
  const auto how = engine_options(environment, options);
  ASSERT_TRUE(how);
  EXPECT_EQ(how->num_threads, 3U);
  EXPECT_EQ(how->draft_tokens_max, 2U);
  EXPECT_EQ(how->isa, "scalar");
  EXPECT_EQ(how->device, engine::DeviceChoice::automatic);
  EXPECT_EQ(how->experts, engine::ExpertPlacement::host);
  EXPECT_FALSE(how->device_graphs);
  EXPECT_TRUE(how->on_notice);
  EXPECT_EQ(how->cache_dtype, engine::CacheDType::fp8);
  EXPECT_EQ(how->index_keys, engine::IndexKeys::int8);
  EXPECT_EQ(how->activations, engine::Activations::bf16);
  EXPECT_EQ(how->spill_dir, "/pages");
  EXPECT_EQ(how->spill_bytes_max, std::uint64_t{2} << 30);
  EXPECT_FALSE(engine_options(with_graphs("maybe"), options));
}

TEST(Variables, ExpertsArePlacedBesideAGpuAlone) {
  ModelOptions options;
  for (const char* experts : {"host", "device"}) {
    options.experts = experts;
    options.device = "cpu";
    const auto how = engine_options(Environment(), options);
    ASSERT_FALSE(how) << experts;
    EXPECT_EQ(how.error().code, Errc::invalid_argument);
    EXPECT_EQ(how.error().message, "experts: " + std::string(experts) +
                                       " is a placement beside a GPU, and the device is cpu");
    for (const char* device : {"cuda", "auto"}) {
      options.device = device;
      EXPECT_TRUE(engine_options(Environment(), options)) << experts << ", " << device;
    }
  }
  options.experts = "auto";
  options.device = "cpu";
  EXPECT_TRUE(engine_options(Environment(), options));
}

}  // namespace
}  // namespace ponder::cli
