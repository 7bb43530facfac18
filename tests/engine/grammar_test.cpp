#include "engine/grammar.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "engine/grammar_matcher.h"
#include "engine/grammar_rules.h"

namespace ponder::engine {
namespace {

using Shared = std::shared_ptr<const Grammar>;

template <class Build>
Shared grammar(Build build, std::string trigger = "") {
  GrammarBuilder builder;
  const RuleId root = build(builder);
  auto compiled = builder.compile(std::move(trigger), root);
  EXPECT_TRUE(compiled.has_value());
  return compiled ? *compiled : nullptr;
}

Shared json(JsonType type, std::vector<std::string> forbidden = {}) {
  return grammar([&](GrammarBuilder& b) { return b.json_value(type, forbidden); });
}

/// The shape of a tool call block: two tools, one with an enumeration and a JSON value.
constexpr std::string_view kTrigger = "\n\n<|D|calls>";
constexpr std::string_view kParamEnd = "</|D|parameter>";
RuleId string_param(GrammarBuilder& b, const std::string& name, RuleId value) {
  return b.sequence({b.literal("<|D|parameter name=\"" + name + "\" string=\"true\">"), value});
}
RuleId invoke(GrammarBuilder& b, const std::string& name,
              std::vector<GrammarBuilder::Member> params) {
  return b.sequence({b.literal("<|D|invoke name=\"" + name + "\">\n"),
                     b.each_once(std::move(params), b.literal("\n")),
                     b.literal("\n</|D|invoke>")});
}
Shared tool_calls() {
  return grammar(
      [](GrammarBuilder& b) {
        const RuleId text = b.text_until(std::string(kParamEnd), {"|D|"});
        const RuleId kind = b.sequence(
            {b.one_of({"inn", "inns", "hotel"}), b.literal(std::string(kParamEnd))});
        const RuleId limit = b.sequence(
            {b.literal("<|D|parameter name=\"limit\" string=\"false\">"),
             b.json_value(JsonType::integer), b.literal(std::string(kParamEnd))});
        const RuleId search = invoke(b, "search",
                                     {{string_param(b, "city", text), true},
                                      {string_param(b, "kind", kind), false},
                                      {limit, false}});
        const RuleId submit = invoke(b, "submit", {{string_param(b, "plan", text), false}});
        const RuleId calls = b.repeat(b.choice({search, submit}), b.literal("\n"), 1);
        return b.sequence({b.literal("\n"), calls, b.literal("\n</|D|calls>")});
      },
      std::string(kTrigger));
}
const std::string kGoodCall =
    "I look.\n\n<|D|calls>\n<|D|invoke name=\"search\">\n"
    "<|D|parameter name=\"limit\" string=\"false\">5</|D|parameter>\n"
    "<|D|parameter name=\"city\" string=\"true\">a <b> c</d></|D|parameter>\n"
    "<|D|parameter name=\"kind\" string=\"true\">inns</|D|parameter>\n</|D|invoke>\n"
    "<|D|invoke name=\"submit\">\n\n</|D|invoke>\n</|D|calls>";

TEST(Grammar, FreeTextMayEndAnywhere) {
  const Shared g = tool_calls();
  EXPECT_EQ(g->match(""), GrammarMatch::full);
  EXPECT_EQ(g->match("hello \xff\xfe world"), GrammarMatch::full);
  EXPECT_EQ(g->match("\n\n<|D|call"), GrammarMatch::full);
  EXPECT_EQ(g->match(std::string(kTrigger)), GrammarMatch::prefix);
}

TEST(Grammar, ToolCallsAreFollowedToTheirEndAndNothingFollows) {
  const Shared g = tool_calls();
  EXPECT_EQ(g->match(kGoodCall), GrammarMatch::full);
  EXPECT_EQ(g->match(kGoodCall + "x"), GrammarMatch::none);
  EXPECT_EQ(g->match(kGoodCall + "\n"), GrammarMatch::none);
  for (std::size_t n = kGoodCall.find("calls>") + 6; n < kGoodCall.size(); ++n) {
    EXPECT_EQ(g->match(kGoodCall.substr(0, n)), GrammarMatch::prefix) << n;
  }
}

TEST(Grammar, OnlyListedNamesAndValuesFit) {
  const Shared g = tool_calls();
  const std::string head = "\n\n<|D|calls>\n<|D|invoke name=\"";
  EXPECT_EQ(g->match(head + "sea"), GrammarMatch::prefix);
  EXPECT_EQ(g->match(head + "x"), GrammarMatch::none);
  EXPECT_EQ(g->match(head + "search2"), GrammarMatch::none);
  const std::string search = head + "search\">\n<|D|parameter name=\"";
  EXPECT_EQ(g->match(search + "kind\" string=\"true\">inn</"), GrammarMatch::prefix);
  EXPECT_EQ(g->match(search + "kind\" string=\"true\">inns</"), GrammarMatch::prefix);
  EXPECT_EQ(g->match(search + "kind\" string=\"true\">innx"), GrammarMatch::none);
  EXPECT_EQ(g->match(search + "plan"), GrammarMatch::none);
  EXPECT_EQ(g->match(search + "limit\" string=\"false\">5.0"), GrammarMatch::none);
}

TEST(Grammar, RequiredMembersMustComeAndNoneTwice) {
  const Shared g = grammar([](GrammarBuilder& b) {
    return b.sequence({b.each_once({{b.literal("a"), true}, {b.literal("b")}, {b.literal("ab")}},
                                   b.literal(",")),
                       b.literal(";")});
  });
  for (const char* good : {"a;", "a,b;", "b,a;", "ab,a;", "a,ab,b;", "b,ab,a;"}) {
    EXPECT_EQ(g->match(good), GrammarMatch::full) << good;
  }
  for (const char* bad : {";", "b;", "ab;", "a,a;", "b,b", "a,;", "ab,b;", "a,b,ab,"}) {
    EXPECT_EQ(g->match(bad), GrammarMatch::none) << bad;
  }
}

TEST(Grammar, RepeatCountsItemsBetweenSeparators) {
  const auto repeat = [](std::uint32_t min, std::uint32_t max) {
    return grammar([=](GrammarBuilder& b) {
      return b.sequence({b.repeat(b.literal("x"), b.literal("+"), min, max), b.literal(".")});
    });
  };
  EXPECT_EQ(repeat(0, 0)->match("."), GrammarMatch::full);
  EXPECT_EQ(repeat(0, 2)->match("."), GrammarMatch::full);
  EXPECT_EQ(repeat(2, 3)->match("x."), GrammarMatch::none);
  EXPECT_EQ(repeat(2, 3)->match("x+x."), GrammarMatch::full);
  EXPECT_EQ(repeat(2, 3)->match("x+x+x."), GrammarMatch::full);
  EXPECT_EQ(repeat(2, 3)->match("x+x+x+"), GrammarMatch::none);
  EXPECT_EQ(repeat(1, GrammarBuilder::kUnbounded)->match("x+x+x+x+x."), GrammarMatch::full);
  EXPECT_EQ(repeat(1, GrammarBuilder::kUnbounded)->match("x+."), GrammarMatch::none);
}

TEST(Grammar, TextEndsAtTheFirstTerminatorHoweverItOverlaps) {
  const Shared g = grammar([](GrammarBuilder& b) {
    return b.sequence({b.text_until("aab"), b.literal("!")});
  });
  EXPECT_EQ(g->match("aab!"), GrammarMatch::full);
  EXPECT_EQ(g->match("aaaaab!"), GrammarMatch::full);
  EXPECT_EQ(g->match("xaaxab\xc3\xa4"
                     "aab!"),
            GrammarMatch::full);
  EXPECT_EQ(g->match("aabx"), GrammarMatch::none);
}

TEST(Grammar, ForbiddenStringsMayOnlyBePartOfTheTerminator) {
  const Shared g = grammar([](GrammarBuilder& b) {
    return b.text_until("</|D|p>", {"|D|", "zz"});
  });
  EXPECT_EQ(g->match("a</|Dx</|D|p>"), GrammarMatch::full);
  EXPECT_EQ(g->match("a|D|"), GrammarMatch::none);
  EXPECT_EQ(g->match("a</|D|"), GrammarMatch::prefix);
  EXPECT_EQ(g->match("a</|D|x"), GrammarMatch::none);
  EXPECT_EQ(g->match("a</|D|</|D|p>"), GrammarMatch::none);
  EXPECT_EQ(g->match("zzz"), GrammarMatch::none);
}

TEST(Grammar, TextIsValidUtf8) {
  const Shared g = grammar([](GrammarBuilder& b) { return b.text_until("."); });
  for (const char* good : {"\xc2\xa9.", "\xe0\xa0\x80.", "\xed\x9f\xbf.", "\xf0\x90\x80\x80.",
                           "\xf4\x8f\xbf\xbf.", "\xef\xbd\x9c."}) {
    EXPECT_EQ(g->match(good), GrammarMatch::full) << good;
  }
  for (const char* bad : {"\x80", "\xc1", "\xc2.", "\xe0\x9f", "\xed\xa0", "\xf0\x8f", "\xf4\x90",
                          "\xf5", "\xe2\x82."}) {
    EXPECT_EQ(g->match(bad), GrammarMatch::none) << bad;
  }
}

struct JsonCase {
  JsonType type;
  std::string text;
  GrammarMatch want;
};

TEST(Grammar, JsonValuesAreOfTheirTypeAndWellFormed) {
  constexpr auto full = GrammarMatch::full;
  constexpr auto none = GrammarMatch::none;
  constexpr auto prefix = GrammarMatch::prefix;
  const std::vector<JsonCase> cases = {
      {JsonType::any, R"({"a": [1, 2.5, {"b":null}], "c": "x\n\u00e9"})", full},
      {JsonType::any, "[]", full},
      {JsonType::any, "{}", full},
      {JsonType::any, "[1,]", none},
      {JsonType::any, "{\"a\":1,}", none},
      {JsonType::any, "[1 ,2]", none},
      {JsonType::any, "[1,  2]", none},
      {JsonType::any, "[1}", none},
      {JsonType::any, "{\"a\" :1}", none},
      {JsonType::any, "{1:2}", none},
      {JsonType::any, "tru", prefix},
      {JsonType::any, "truE", none},
      {JsonType::any, "[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]", full},
      {JsonType::any, "[[[[[[[[[[[[[[[[[", none},
      {JsonType::object, "{\"a\": -0.5e+10}", full},
      {JsonType::object, "[", none},
      {JsonType::array, "[{}, [], \"\", 0]", full},
      {JsonType::array, "{", none},
      {JsonType::number, "-12.50e-3", full},
      {JsonType::number, "01", none},
      {JsonType::number, "-", prefix},
      {JsonType::number, "1.", prefix},
      {JsonType::number, "1.e", none},
      {JsonType::number, "1e+", prefix},
      {JsonType::number, "-1.5e-99", full},
      {JsonType::number, "1e100", none},
      {JsonType::any, "[1e+123]", none},
      {JsonType::number, std::string(100, '9') + ".5E99", full},
      {JsonType::number, std::string(101, '9'), none},
      {JsonType::integer, "-" + std::string(100, '9'), full},
      {JsonType::any, "[-1" + std::string(100, '0'), none},
      {JsonType::integer, "-120", full},
      {JsonType::integer, "1.", none},
      {JsonType::integer, "1e", none},
      {JsonType::boolean, "false", full},
      {JsonType::boolean, "n", none},
      {JsonType::null, "null", full},
      {JsonType::null, "true", none},
      {JsonType::string, "\"a\\\"b\"", full},
      {JsonType::string, "\"\\ud7ff\"", full},
      {JsonType::string, "\"\\ud8", none},
      {JsonType::string, "\"\\x", none},
      {JsonType::string, "\"a\nb", none},
      {JsonType::string, "\"\x80", none},
      {JsonType::string, "\"a\"b", none},
  };
  for (const JsonCase& c : cases) EXPECT_EQ(json(c.type)->match(c.text), c.want) << c.text;
}

TEST(Grammar, ForbiddenStringsMayNotStandRawInJsonStrings) {
  const Shared g = json(JsonType::any, {"|D|"});
  EXPECT_EQ(g->match("[\"|D\", \"|\"]"), GrammarMatch::full);
  EXPECT_EQ(g->match("[\"x|D|"), GrammarMatch::none);
  EXPECT_EQ(g->match("{\"x|D|"), GrammarMatch::none);
  EXPECT_EQ(g->match("\"|D\\u007c\""), GrammarMatch::full);
}

TEST(Grammar, BuildingMistakesAreNamed) {
  const auto fault = [](auto build) {
    GrammarBuilder b;
    const RuleId root = build(b);
    const auto compiled = b.compile("", root);
    return compiled ? std::string("none") : compiled.error().message;
  };
  EXPECT_EQ(fault([](GrammarBuilder& b) { return b.choice({}); }),
            "grammar: a choice without options");
  EXPECT_EQ(fault([](GrammarBuilder& b) { return b.text_until(""); }),
            "grammar: text without a terminator");
  EXPECT_EQ(fault([](GrammarBuilder& b) { return b.text_until("x", {""}); }),
            "grammar: an empty forbidden string");
  EXPECT_EQ(fault([](GrammarBuilder& b) {
              return b.repeat(b.optional(b.literal("x")), b.literal(","), 0);
            }),
            "grammar: a repeat over nothing");
  EXPECT_EQ(fault([](GrammarBuilder& b) {
              return b.repeat(b.literal("x"), b.literal(","), 3, 2);
            }),
            "grammar: a repeat of at least 3, at most 2");
}

/// All single bytes, random pieces of a tool call, and two special tokens at the end.
GrammarVocabulary vocabulary(std::mt19937& rng) {
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
  for (int i = 0; i < 1500; ++i) {
    const std::size_t at = rng() % kGoodCall.size();
    tokens.push_back(kGoodCall.substr(at, 1 + rng() % 12));
  }
  tokens.insert(tokens.end(), {"\xe2\x82", "\xe2\x82\xac", "\xac|", "", ""});
  return GrammarVocabulary(std::move(tokens));
}
TokenId eos(const GrammarVocabulary& v) { return static_cast<TokenId>(v.size() - 1); }
TokenId special(const GrammarVocabulary& v) { return static_cast<TokenId>(v.size() - 2); }

TokenId pick(std::span<const std::uint64_t> mask, std::size_t size, std::mt19937& rng) {
  std::vector<TokenId> ids;
  for (TokenId id = 0; id < size; ++id) {
    if (mask_has(mask, id)) ids.push_back(id);
  }
  EXPECT_FALSE(ids.empty());
  return ids[rng() % ids.size()];
}

/// Compares the masks along a text of the grammar with trying every token by itself.
void expect_right_masks(const Shared& g, std::string_view text, const GrammarVocabulary& v) {
  GrammarMasks masks(g, v);
  auto& automaton = masks.automaton();
  auto state = automaton.start();
  for (std::size_t at = 0; at <= text.size(); ++at) {
    const auto mask = masks.allowed(state);
    for (TokenId id = 0; id < v.size(); ++id) {
      auto after = state;
      for (const char c : v.bytes(id)) after = automaton.step(after, static_cast<std::uint8_t>(c));
      const bool want = v.bytes(id).empty() ? automaton.is_free(state)
                                            : after != GrammarAutomaton::kDead;
      ASSERT_EQ(mask_has(mask, id), want) << "after " << at << " bytes, token " << id;
    }
    if (at == text.size()) break;
    state = automaton.step(state, static_cast<std::uint8_t>(text[at]));
    ASSERT_NE(state, GrammarAutomaton::kDead) << "after " << at << " bytes";
  }
}

TEST(GrammarMatcher, MasksEqualTryingEveryTokenByItself) {
  std::mt19937 rng(7);
  expect_right_masks(tool_calls(), kGoodCall, vocabulary(rng));
}

TEST(GrammarMatcher, MasksInsideTextAndStringsEqualTryingEveryTokenByItself) {
  const Shared g = grammar([](GrammarBuilder& b) {
    const RuleId json = b.json_value(JsonType::any, {"<|D|", "<end>"});
    const RuleId text = b.text_until("</|D|p>", {"<|D|", "|D|", "<end>"});
    const RuleId either = b.choice({text, b.sequence({json, b.literal("</|D|p>")})});
    return b.sequence({text, b.literal("\n"), either, b.literal("\n"), text});
  });
  const std::string text =
      "a < b, </ |D <en caf\xc3\xa9 \xe6\x9d\xad \xf0\x9f\x8d\x9c</|D|p>\n"
      R"({"k<": ["x\n\u12aF</|D", 12.5e-3, {"": true, "y\"": null}], "é": "a<|D"})"
      "</|D|p>\n</|D</|D|p>";
  std::mt19937 rng(13);
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
  for (int i = 0; i < 2500; ++i) {
    // Pieces of the text, and pieces of it put together.
    const auto piece = [&] { return text.substr(rng() % text.size(), 1 + rng() % 6); };
    tokens.push_back(rng() % 2 == 0 ? piece() : piece() + piece());
  }
  tokens.emplace_back();
  expect_right_masks(g, text, GrammarVocabulary(std::move(tokens)));
}

TEST(GrammarMatcher, RandomWalksAlwaysGiveTextOfTheGrammar) {
  std::mt19937 rng(11);
  const GrammarVocabulary v = vocabulary(rng);
  const Shared g = tool_calls();
  const auto masks = std::make_shared<GrammarMasks>(g, v);
  int num_complete = 0;
  for (int walk = 0; walk < 200; ++walk) {
    GrammarMatcher matcher(masks, {eos(v)});
    std::string text(kTrigger);
    for (const char c : kTrigger) matcher.accept(static_cast<std::uint8_t>(c));
    EXPECT_TRUE(matcher.is_constrained());
    for (int step = 0; step < 300; ++step) {
      const auto mask = matcher.allowed();
      // Without a preference for closing, random text would hardly ever reach a terminator.
      TokenId id = pick(mask, v.size(), rng);
      if (mask_has(mask, '<')) id = '<';
      if (text.ends_with("<") && mask_has(mask, '/')) id = '/';
      matcher.accept(id);
      if (id == eos(v)) break;
      text += v.bytes(id);
    }
    ASSERT_NE(g->match(text), GrammarMatch::none) << text;
    num_complete += g->match(text) == GrammarMatch::full;
  }
  EXPECT_GT(num_complete, 20);
}

TEST(GrammarMatcher, TheTriggerAndTheTerminatorsCountHoweverTokensSplitThem) {
  std::mt19937 rng(3);
  const GrammarVocabulary v = vocabulary(rng);
  const auto masks = std::make_shared<GrammarMasks>(tool_calls(), v);
  for (int round = 0; round < 300; ++round) {
    GrammarMatcher matcher(masks, {eos(v)});
    std::size_t at = 0;
    while (at < kGoodCall.size()) {
      std::vector<TokenId> fitting;
      for (TokenId id = 0; id < v.size(); ++id) {
        const auto bytes = v.bytes(id);
        if (!bytes.empty() && kGoodCall.compare(at, bytes.size(), bytes) == 0) {
          fitting.push_back(id);
        }
      }
      const TokenId id = fitting[rng() % fitting.size()];
      ASSERT_TRUE(mask_has(matcher.allowed(), id)) << "at byte " << at;
      matcher.accept(id);
      at += v.bytes(id).size();
    }
    ASSERT_TRUE(matcher.may_end());
    const auto mask = matcher.allowed();
    for (TokenId id = 0; id < v.size(); ++id) ASSERT_EQ(mask_has(mask, id), id == eos(v));
  }
}

TEST(GrammarMatcher, SpecialTokensAreFreeTextAndInterruptTheTrigger) {
  std::mt19937 rng(5);
  const GrammarVocabulary v = vocabulary(rng);
  const auto masks = std::make_shared<GrammarMasks>(tool_calls(), v);
  GrammarMatcher matcher(masks, {eos(v)});
  EXPECT_TRUE(mask_has(matcher.allowed(), special(v)));
  for (const char c : kTrigger.substr(0, 5)) matcher.accept(static_cast<std::uint8_t>(c));
  matcher.accept(special(v));
  for (const char c : kTrigger.substr(5)) matcher.accept(static_cast<std::uint8_t>(c));
  EXPECT_FALSE(matcher.is_constrained());
  for (const char c : kTrigger) matcher.accept(static_cast<std::uint8_t>(c));
  EXPECT_TRUE(matcher.is_constrained());
  EXPECT_FALSE(mask_has(matcher.allowed(), special(v)));
  EXPECT_FALSE(mask_has(matcher.allowed(), eos(v)));
}

}  // namespace
}  // namespace ponder::engine
