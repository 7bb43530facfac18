#include "runtime/session/money.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

namespace ponder::runtime {
namespace {

using ::testing::HasSubstr;

constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();

TEST(Money, AmountsAreReadAndPrintedExactly) {
  EXPECT_EQ(parse_money("0.1").value() * 3, parse_money("0.3").value());
  EXPECT_EQ(parse_money("3").value(), 3 * kPicoPerUnit);
  EXPECT_EQ(parse_money("0.000000000001").value(), 1);
  EXPECT_EQ(parse_money("9223372.036854775807").value(), kMax);
  for (const char* text : {"0.00", "0.01", "12.50", "0.000000000001", "1.234567", "9223372.00"}) {
    EXPECT_EQ(format_money(parse_money(text).value()), text);
  }
}

TEST(Money, WhatIsNoAmountIsRefused) {
  for (const char* text : {"", ".", ".5", "5.", "-1", "+1", "1e3", "1,5", "0.1 ", "1.2.3", "$1",
                           "0.0000000000001", "9223372.036854775808", "99999999999999999999"}) {
    EXPECT_FALSE(parse_money(text)) << text;
  }
}

TEST(Money, ACompletionCostsItsTokensTimesTheirPrices) {
  Usage usage;
  usage.tokens_prompt = 1000;
  usage.tokens_cached = 600;
  usage.tokens_generated = 50;
  const Prices prices = {280'000, 28'000, 420'000, true};  // 0.28, 0.028 and 0.42 for a million
  EXPECT_EQ(cost_of(usage, prices), 400 * 280'000 + 600 * 28'000 + 50 * 420'000);
  usage.tokens_cached = 2000;  // an endpoint that counts wrongly
  EXPECT_EQ(cost_of(usage, prices), 1000 * 28'000 + 50 * 420'000);
  EXPECT_EQ(cost_of(usage, Prices()), 0);
}

TEST(Money, SumsAndProductsStopAtTheLargestAmount) {
  EXPECT_EQ(sum_of(kMax - 1, 1), kMax);
  EXPECT_EQ(sum_of(kMax, kMax), kMax);
  Usage usage;
  usage.tokens_prompt = std::numeric_limits<std::uint32_t>::max();
  EXPECT_EQ(cost_of(usage, {kMax, kMax, kMax, true}), kMax);
}

constexpr const char* kList = R"({"currency": "USD", "models": {
  "deepseek-chat": {"prompt": "0.28", "cached": "0.028", "completion": "0.42"},
  "vendor/large": {"prompt": "3", "cached": "0", "completion": "15"},
  "mini": {"prompt": "0", "cached": "0", "completion": "0.000001"}}})";

TEST(PriceList, FindsAModelByTheNameAnEndpointKnowsItByOrByItsFolder) {
  const auto list = PriceList::parse(kList);
  ASSERT_TRUE(list) << list.error().message;
  EXPECT_EQ(list->currency(), "USD");
  EXPECT_EQ(list->find("http://host/v1 deepseek-chat").cached_pico, 28'000);
  EXPECT_EQ(list->find("http://host/v1 vendor/large").prompt_pico, 3'000'000);
  EXPECT_EQ(list->find("/models/mini/").completion_pico, 1);
  EXPECT_TRUE(list->find("/models/mini/").are_known);
  EXPECT_FALSE(list->find("http://host/v1 other").are_known);
}

TEST(PriceList, SaysWhatIsWrongWithIt) {
  const auto problem = [](const char* text) {
    const auto list = PriceList::parse(text);
    return list ? std::string("nothing") : list.error().message;
  };
  EXPECT_THAT(problem("[]"), HasSubstr("JSON object"));
  EXPECT_THAT(problem(R"({"models": {"m": {"prompt": "1"}}})"), HasSubstr("m: no cached price"));
  EXPECT_THAT(problem(R"({"models": {"m": {"prompt": 0.28, "cached": "0", "completion": "0"}}})"),
              HasSubstr("is a text"));
  EXPECT_THAT(
      problem(R"({"models": {"m": {"prompt": "0.0000001", "cached": "0", "completion": "0"}}})"),
      HasSubstr("six decimals"));
}

}  // namespace
}  // namespace ponder::runtime
