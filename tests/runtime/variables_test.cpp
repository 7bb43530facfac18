#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "runtime/cli/compose.h"

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

}  // namespace
}  // namespace ponder::cli
