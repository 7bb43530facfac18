#include <gtest/gtest.h>

#include "context/completion_parser.h"
#include "tests/context/completion_checks.h"
#include "tests/context/completions.h"

/// What models are known to do to their markup, one test or more for each. Every case is also cut
/// at every byte, and checked for text that got lost.
namespace ponder::context {
namespace {

using testing::block;
using testing::checked_summary;
using testing::invoke;
using testing::kClose;
using testing::kEos;
using testing::kOpen;
using testing::param;
using testing::summary;

const std::vector<ToolSpec> kTools = {
    {"f", "", R"({"type":"object","properties":{"a":{"type":"string"},"n":{"type":"integer"},
              "b":{"type":"boolean"},"o":{"type":"object"},"any":{}}})"},
    {"strict", "", R"({"type":"object","properties":{"q":{"type":"string"}},"required":["q"],
              "additionalProperties":false})"}};

std::string parse(const std::string& text, bool starts_in_reasoning = false,
                  const std::vector<ToolSpec>* tools = &kTools) {
  return checked_summary(text, {.starts_in_reasoning = starts_in_reasoning, .tools = tools});
}
std::string parse_thinking(const std::string& text) { return parse(text, true); }
std::string parse_calls(const std::string& body) { return parse(block(body) + kEos); }

const std::string kA = param("a", "x");

// --- Block and wrapper.

TEST(BlockDamage, InvokesWithoutABlockCountIfTheyEndTheTurnAndTheToolIsKnown) {
  EXPECT_EQ(parse("c\n\n" + invoke("f", kA) + kEos),
            R"(repaired c {f {"a": "x"} B} (bare_invoke))");
  EXPECT_EQ(parse("c\n\n" + invoke("f", kA) + "\n" + invoke("f", kA) + kClose + kEos),
            R"(repaired c {f {"a": "x"} B} {f {"a": "x"} B} (bare_invoke))");
}

TEST(BlockDamage, InvokesWithoutABlockStayTextWhereTheyMayBeQuoted) {
  const std::string bare = invoke("f", kA);
  EXPECT_EQ(parse("c\n\n" + bare + " means a call." + kEos),
            "repaired c\n\n" + bare + " means a call. (markup_in_content)");
  EXPECT_EQ(parse("c\n\n" + invoke("other") + kEos),
            "repaired c\n\n" + invoke("other") + " (markup_in_content)");
  EXPECT_EQ(parse("```\n" + bare + "\n```" + kEos),
            "repaired ```\n" + bare + "\n``` (markup_in_fence)");
  EXPECT_EQ(parse("c\n\n" + bare + kEos, false, nullptr),
            "repaired c\n\n" + bare + " (markup_in_content)");
}

TEST(BlockDamage, InvokesWithoutABlockStayTextIfATagIsMissingOrProseFollowsTheBlocksEnd) {
  const std::string prose = invoke("f", kA) + kClose + "\nThat calls f.";
  EXPECT_EQ(parse(prose + kEos), "repaired " + prose + " (markup_in_content)");
  const std::string unclosed = "<｜DSML｜invoke name=\"f\">\n" + kA + "\n" + invoke("f", kA);
  EXPECT_EQ(parse(unclosed + kEos), "repaired " + unclosed + " (markup_in_content)");
}

TEST(BlockDamage, NothingOfATruncatedBlockRuns) {
  EXPECT_EQ(parse("c" + kOpen + invoke("f", kA)),
            R"(truncated c {f {"a": "x"} C} (block_unclosed no_end_of_turn))");
  EXPECT_EQ(parse("c" + kOpen + invoke("f", kA) + "\n<｜DSML｜invoke name=\"f\">\n<｜DSML｜para"),
            R"(truncated c {f {"a": "x"} C} (block_unclosed no_end_of_turn))");
  EXPECT_EQ(parse("c" + block(invoke("f", kA))),
            R"(truncated c {f {"a": "x"} C} (no_end_of_turn))");
  EXPECT_EQ(parse("c" + kOpen + invoke("f", kA) + kEos),
            R"(truncated c {f {"a": "x"} C} (block_unclosed))");
}

TEST(BlockDamage, WhatWasOpenWhenTheTextEndedIsInTheNote) {
  const std::string open =
      "\n<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"a\" string=\"true\">Pa";
  const Completion completion =
      parse_completion(kOpen + invoke("f", kA) + open, {.tools = &kTools}, FinishReason::length);
  ASSERT_FALSE(completion.notes.empty());
  EXPECT_EQ(completion.notes[0].code, "block_unclosed");
  EXPECT_EQ(completion.notes[0].detail, open);
}

TEST(BlockDamage, TheOpeningTagThatEndedAnInvokeIsInTheNoteToo) {
  const std::string open = "<｜DSML｜invoke name=\"g\">\nx";
  const Completion completion = parse_completion(kOpen + "<｜DSML｜invoke name=\"f\">\n" + open,
                                                 {.tools = &kTools}, FinishReason::length);
  EXPECT_EQ(completion.notes[1].code, "block_unclosed");
  EXPECT_EQ(completion.notes[1].detail, open);
}

TEST(BlockDamage, EveryCutInsideABlockIsTruncatedAndRunsNothing) {
  const std::string text = "c" + block(invoke("f", kA + "\n" + param("n", "3", "false"))) + kEos;
  for (std::size_t length = 0; length < text.size(); ++length) {
    const Completion completion =
        parse_completion(text.substr(0, length), {.tools = &kTools}, FinishReason::length);
    EXPECT_EQ(completion.verdict, Verdict::truncated) << length;
    for (const ParsedCall& call : completion.calls) {
      EXPECT_EQ(call.call_class, CallClass::refused) << length;
    }
  }
}

TEST(BlockDamage, ACutMarkerIsNoAnswer) {
  EXPECT_EQ(parse("c\n\n<｜DSML｜function_calls"), "truncated c (block_unclosed no_end_of_turn)");
}

TEST(BlockDamage, ABadInvokeLeavesItsSiblingsAlone) {
  EXPECT_EQ(parse_calls(invoke("f", kA) + "\n" + invoke("f", "oops") + "\n" + invoke("f", kA)),
            R"(repaired {f {"a": "x"} A} {f {} C} {f {"a": "x"} A} (text_in_invoke))");
}

TEST(BlockDamage, BlockNamesOfOtherDialectsAreAccepted) {
  EXPECT_EQ(
      parse("\n\n<｜DSML｜tool_calls>\n" + invoke("f", kA) + "\n</｜DSML｜tool_calls>" + kEos),
      R"(repaired {f {"a": "x"} A} (block_spelling))");
  EXPECT_EQ(
      parse("\n\n<｜DSML｜ calls>\n<｜DSML｜ invoke name=\"f\">\n<｜DSML｜ parameter name=\"a\" "
            "string=\"true\">x</｜DSML｜ parameter>\n</｜DSML｜ invoke>\n</｜DSML｜ calls>" +
            kEos)
          .substr(0, 26),
      R"(repaired {f {"a": "x"} A} )");
}

TEST(BlockDamage, ACorruptedOpenerFollowedByAnInvokeIsABlock) {
  EXPECT_EQ(parse("\n\n<｜DSML｜toolcalls>\n" + invoke("f", kA) + kClose + kEos),
            R"(repaired {f {"a": "x"} B} (block_spelling))");
  EXPECT_EQ(parse("see <｜DSML｜toolcalls> there" + kEos),
            "repaired see <｜DSML｜toolcalls> there (markup_in_content)");
}

TEST(BlockDamage, AMarkerWithOtherBarsIsFolded) {
  for (const char* marker : {"｜｜DSML｜｜", "|DSML|", "||DSML||", "｜ DSML ｜"}) {
    std::string text = block(invoke("f", kA)) + kEos;
    const std::string_view canonical = "｜DSML｜";
    for (std::size_t at = 0; (at = text.find(canonical, at)) != std::string::npos;) {
      text.replace(at, canonical.size(), marker);
      at += std::string_view(marker).size();
    }
    EXPECT_TRUE(parse(text).starts_with(R"(repaired {f {"a": "x"} B} ()")) << parse(text);
  }
}

TEST(BlockDamage, LineBreaksBeforeAndSpaceAfterTheBlockDoNotMatter) {
  const std::string body = "<｜DSML｜function_calls>\n" + invoke("f") + kClose;
  EXPECT_EQ(parse("c" + body + kEos), "repaired c {f {} A} (block_lead)");
  EXPECT_EQ(parse("c\n" + body + kEos), "repaired c {f {} A} (block_lead)");
  EXPECT_EQ(parse("c\n\n" + body + kEos), "ok c {f {} A}");
  EXPECT_EQ(parse("c\n\n\n" + body + kEos), "ok c\n {f {} A}");
  EXPECT_EQ(parse("c\r\n\r\n" + body + kEos), "repaired c {f {} A} (block_lead)");
  EXPECT_EQ(parse("c\n\n" + body + " \n" + kEos), "repaired c {f {} A} (space_after_block)");
}

TEST(BlockDamage, ProseAfterTheBlockIsNoAnswer) {
  EXPECT_EQ(parse("c" + block(invoke("f")) + "\nI called it." + kEos),
            "repaired c {f {} B} ...\nI called it. (text_after_block)");
}

TEST(BlockDamage, CallsOfASecondBlockAreMergedInOrder) {
  EXPECT_EQ(parse(block(invoke("f", kA)) + block(invoke("f")) + kEos),
            R"(repaired {f {"a": "x"} B} {f {} B} (second_block))");
}

TEST(BlockDamage, TextBetweenInvokesIsNoted) {
  EXPECT_EQ(parse_calls(invoke("f") + "\nand then\n" + invoke("f")),
            "repaired {f {} B} {f {} B} (text_in_block)");
}

TEST(BlockDamage, WithToolsSwitchedOffEveryCallIsRefused) {
  const Completion completion = parse_completion(
      block(invoke("f")) + kEos, {.tools = &kTools, .allows_calls = false}, FinishReason::stop);
  EXPECT_EQ(summary(completion), "repaired {f {} C} (calls_not_allowed)");
}

TEST(BlockDamage, ABlockWithoutCallsIsNoted) {
  EXPECT_EQ(parse("c" + block("") + kEos), "repaired c (empty_block)");
  EXPECT_EQ(parse("c\n\n<｜DSML｜function_calls></｜DSML｜function_calls>" + kEos),
            "repaired c (empty_block)");
}

TEST(BlockDamage, AfterTextThatMentionsMarkupTheRestIsStillShown) {
  EXPECT_EQ(parse("The tag </｜DSML｜invoke> ends it.\n\nSo it does." + kEos),
            "repaired The tag </｜DSML｜invoke> ends it.\n\nSo it does. (markup_in_content)");
}

// --- Invokes and parameters.

TEST(InvokeDamage, AMissingParameterCloserEndsAtTheNextTag) {
  EXPECT_EQ(parse_calls(invoke("f", "<｜DSML｜parameter name=\"a\" string=\"true\">Paris\n" +
                                        param("n", "3", "false"))),
            R"(repaired {f {"a": "Paris", "n": 3} B} (parameter_unclosed))");
  EXPECT_EQ(parse_calls(invoke("f", "<｜DSML｜parameter name=\"n\" string=\"false\">3")),
            R"(repaired {f {"n": 3} A} (parameter_unclosed))");
}

TEST(InvokeDamage, ANameThatOnlyResemblesAnElementsIsAMisspelling) {
  EXPECT_EQ(parse_calls("<｜DSML｜invoke name=\"f\">\n\n</｜DSML｜invoparamke>"),
            "repaired {f {} B} (closer_misspelled)");
}

TEST(InvokeDamage, AMisspelledParameterCloserStillCloses) {
  for (const char* closer :
       {"</｜DSML｜paramter>", "</｜DSML｜>", "</｜parameter>", "</｜DSL｜parameter>"}) {
    EXPECT_EQ(
        parse_calls(invoke(
            "f", std::string("<｜DSML｜parameter name=\"a\" string=\"true\">Paris") + closer)),
        R"(repaired {f {"a": "Paris"} B} (closer_misspelled))")
        << closer;
  }
}

TEST(InvokeDamage, AMissingInvokeCloserEndsAtTheNextInvoke) {
  EXPECT_EQ(parse_calls("<｜DSML｜invoke name=\"f\">\n" + kA + "\n" + invoke("f")),
            R"(repaired {f {"a": "x"} B} {f {} A} (invoke_unclosed))");
}

TEST(InvokeDamage, WrappedArgumentsAreUnwrapped) {
  EXPECT_EQ(parse_calls(invoke("f", param("arguments", R"({"a": "x", "n": 3})", "false"))),
            R"(repaired {f {"a": "x", "n": 3} A} (unwrapped))");
  EXPECT_EQ(parse_calls(invoke("f", param("input", R"({"a": "x"})"))),
            R"(repaired {f {"a": "x"} A} (unwrapped))");
  EXPECT_EQ(parse_calls(invoke("strict", param("input", "cats"))),
            R"(repaired {strict {"q": "cats"} B} (unwrapped))");
  EXPECT_EQ(parse_calls(invoke("f", param("arguments", R"({"other": 1})", "false"))),
            R"(ok {f {"arguments": {"other": 1}} A})");
}

TEST(InvokeDamage, AJsonObjectAsTheBodyIsTheArguments) {
  EXPECT_EQ(parse_calls(invoke("f", R"({"a": "x<y", "n": 3})")),
            R"(repaired {f {"a": "x<y", "n": 3} A} (json_body))");
}

TEST(InvokeDamage, ABareWordMarkedAsJsonIsReadByItsSchema) {
  EXPECT_EQ(parse_calls(invoke("f", param("a", "src/main.c", "false"))),
            R"(repaired {f {"a": "src/main.c"} A} (value_taken_as_text))");
  EXPECT_EQ(parse_calls(invoke("f", param("b", "True", "false"))),
            R"(repaired {f {"b": true} B} (value_respelled))");
  EXPECT_EQ(parse_calls(invoke("f", param("n", "+3", "false"))),
            R"(repaired {f {"n": 3} B} (value_respelled))");
  EXPECT_EQ(parse_calls(invoke("f", param("o", "{'k': 1}", "false"))),
            R"(repaired {f {"o": "{'k': 1}"} C} (value_not_json))");
}

TEST(InvokeDamage, TheProblemOfARefusedCallNamesTheParameter) {
  const Completion completion = parse_completion(
      block(invoke("f", param("o", "{'k': 1}", "false"))) + kEos, {.tools = &kTools});
  ASSERT_EQ(completion.calls.size(), 1u);
  EXPECT_EQ(completion.calls[0].problem, "parameter 'o': '{'k': 1}' is not JSON");
}

TEST(InvokeDamage, AStringWhereTheSchemaWantsAnotherTypeIsConvertedIfItParses) {
  EXPECT_EQ(parse_calls(invoke("f", param("n", "3"))),
            R"(repaired {f {"n": 3} B} (string_converted))");
  EXPECT_EQ(parse_calls(invoke("f", param("n", "three"))),
            R"(repaired {f {"n": "three"} C} (argument_type))");
  EXPECT_EQ(parse_calls(invoke("f", param("a", "3"))), R"(ok {f {"a": "3"} A})");
}

TEST(InvokeDamage, ANumberWhereTheSchemaWantsTextIsText) {
  EXPECT_EQ(parse_calls(invoke("f", param("a", "2025", "false"))),
            R"(repaired {f {"a": "2025"} B} (value_taken_as_text))");
}

TEST(InvokeDamage, AValueThatDoesNotFitTheSchemaIsRefusedInWordsThatHelpToMendIt) {
  const std::vector<ToolSpec> tools = {
      {"t", "", R"({"type":"object","properties":{"n":{"type":"integer"},
          "unit":{"type":"string","enum":["C","F"]},
          "list":{"type":"array","items":{"type":"object","properties":{"k":{"type":"string"}},
                  "required":["k"],"additionalProperties":false}},
          "when":{"type":["string","null"]}},"required":["n"]})"}};
  const auto problem = [&](const std::string& params) {
    const Completion completion =
        parse_completion(block(invoke("t", params)) + kEos, {.tools = &tools});
    EXPECT_EQ(completion.calls.size(), 1u);
    EXPECT_EQ(completion.calls[0].problem.empty(),
              completion.calls[0].call_class != CallClass::refused);
    return completion.calls[0].problem;
  };
  const std::string n = param("n", "3", "false") + "\n";
  EXPECT_EQ(problem(n), "");
  EXPECT_EQ(problem(param("n", "3.0", "false")), "");
  EXPECT_EQ(problem(n + param("unit", "C") + "\n" + param("when", "null", "false")), "");
  EXPECT_EQ(problem(param("unit", "C")), "parameter 'n': is missing");
  EXPECT_EQ(problem(param("n", "three")), "parameter 'n': expected an integer, got \"three\"");
  EXPECT_EQ(problem(param("n", "3.5", "false")), "parameter 'n': expected an integer, got 3.5");
  EXPECT_EQ(problem(n + param("unit", "K")),
            "parameter 'unit': expected one of \"C\", \"F\", got \"K\"");
  EXPECT_EQ(problem(n + param("when", "[]", "false")),
            "parameter 'when': expected a string or null, got []");
  EXPECT_EQ(problem(n + param("list", R"([{"k": "x"}, {"k": 1}])", "false")),
            "parameter 'list[1].k': expected a string, got 1");
  EXPECT_EQ(problem(n + param("list", R"([{}])", "false")), "parameter 'list[0].k': is missing");
  EXPECT_EQ(problem(n + param("list", R"([{"k": "x", "l": 1}])", "false")),
            "parameter 'list[0].l': is not known, there are: k");
  EXPECT_EQ(problem(n + param("list", "{}", "false")),
            "parameter 'list': expected an array, got {}");
}

TEST(InvokeDamage, SpaceAndOrderOfAttributesDoNotMatter) {
  EXPECT_EQ(parse_calls(invoke("f",
                               "<｜DSML｜parameter  string = \"true\"  name=\"a\" >x"
                               "</｜DSML｜parameter>")),
            R"(repaired {f {"a": "x"} A} (tag_spelling))");
}

TEST(InvokeDamage, WithoutTheStringAttributeTheSchemaDecides) {
  const auto untyped = [](const std::string& key, const std::string& value) {
    return invoke("f", "<｜DSML｜parameter name=\"" + key + "\">" + value + "</｜DSML｜parameter>");
  };
  EXPECT_EQ(parse_calls(untyped("a", "3")), R"(repaired {f {"a": "3"} B} (string_attribute))");
  EXPECT_EQ(parse_calls(untyped("n", "3")), R"(repaired {f {"n": 3} B} (string_attribute))");
  EXPECT_EQ(parse_calls(untyped("any", "[1]")),
            R"(repaired {f {"any": [1]} B} (string_attribute))");
}

TEST(InvokeDamage, AnotherStringAttributeIsRefused) {
  EXPECT_EQ(parse_calls(invoke("f", param("a", "x", "yes"))),
            R"(repaired {f {"a": "x"} C} (string_attribute))");
}

TEST(InvokeDamage, ValuesAreKeptByteForByte) {
  EXPECT_EQ(parse_calls(invoke("f", param("a", " <b>\"x\"</b>\n&amp; </parameter> 1 < 2\n"))),
            R"(ok {f {"a": " <b>\"x\"</b>\n&amp; </parameter> 1 < 2\n"} A})");
}

TEST(InvokeDamage, AValueThatHoldsItsOwnCloserIsRefused) {
  EXPECT_EQ(parse_calls(invoke("f", param("a", "x</｜DSML｜parameter>y"))).substr(0, 25),
            R"(repaired {f {"a": "x"} C})");
}

TEST(InvokeDamage, AnEmptyArgumentListMayHaveAnyLineBreaks) {
  EXPECT_EQ(parse_calls("<｜DSML｜invoke name=\"f\">\n\n</｜DSML｜invoke>"), "ok {f {} A}");
  EXPECT_EQ(parse_calls("<｜DSML｜invoke name=\"f\">\n</｜DSML｜invoke>"), "ok {f {} A}");
  EXPECT_EQ(parse_calls("<｜DSML｜invoke name=\"f\"></｜DSML｜invoke>"),
            "repaired {f {} A} (spacing)");
  EXPECT_EQ(parse_calls("<｜DSML｜invoke name=\"f\">\n\n\n</｜DSML｜invoke>"),
            "repaired {f {} A} (spacing)");
}

TEST(InvokeDamage, NoArgumentsWhereSomeAreRequiredIsRefused) {
  EXPECT_EQ(parse_calls(invoke("strict")), "repaired {strict {} C} (arguments_missing)");
}

TEST(InvokeDamage, ADuplicateParameterIsFineIfItSaysTheSame) {
  EXPECT_EQ(parse_calls(invoke("f", kA + "\n" + kA)),
            R"(repaired {f {"a": "x"} A} (duplicate_parameter))");
  EXPECT_EQ(parse_calls(invoke("f", kA + "\n" + param("a", "y"))),
            R"(repaired {f {"a": "x"} C} (duplicate_parameter))");
}

TEST(InvokeDamage, IdenticalInvokesKeepBothPositions) {
  EXPECT_EQ(parse_calls(invoke("f", kA) + "\n" + invoke("f", kA)),
            R"(ok {f {"a": "x"} A} {f {"a": "x"} A})");
}

TEST(InvokeDamage, AnUnknownToolIsRefusedWithTheKnownOnes) {
  const Completion completion = parse_completion(block(invoke("g")) + kEos, {.tools = &kTools});
  EXPECT_EQ(summary(completion), "repaired {g {} C} (unknown_tool)");
  EXPECT_EQ(completion.calls[0].problem, "there is no tool 'g'; the tools are: f, strict");
}

TEST(InvokeDamage, ANameThatSwallowedTextIsRefusedButKeepsItsPosition) {
  const Completion completion = parse_completion(
      block("<｜DSML｜invoke name=\"f\n" + kA + "\n</｜DSML｜invoke>\n" + invoke("f")) + kEos,
      {.tools = &kTools});
  ASSERT_EQ(completion.calls.size(), 2u);
  EXPECT_EQ(completion.calls[0].call_class, CallClass::refused);
  EXPECT_EQ(completion.calls[1].call_class, CallClass::lossless);
}

TEST(InvokeDamage, AnUndeclaredParameterPassesOnlyWhereTheSchemaAllowsIt) {
  EXPECT_EQ(parse_calls(invoke("f", param("extra", "x"))), R"(ok {f {"extra": "x"} A})");
  const std::vector<ToolSpec> tools = {
      {"p", "", R"({"patternProperties":{"^x_":{}},"additionalProperties":false})"}};
  EXPECT_EQ(parse(block(invoke("p", param("x_1", "x"))) + kEos, false, &tools),
            R"(ok {p {"x_1": "x"} A})");
  EXPECT_EQ(parse_calls(invoke("strict", param("q", "x") + "\n" + param("extra", "x"))),
            R"(repaired {strict {"q": "x", "extra": "x"} C} (undeclared_parameter))");
}

// --- Reasoning.

TEST(ReasoningDamage, CallsInTheReasoningCountIfTheyEndTheTurn) {
  EXPECT_EQ(parse_thinking("r" + block(invoke("f")) + kEos),
            "repaired [r] {f {} B} (calls_in_reasoning)");
  EXPECT_EQ(parse_thinking("r" + block(invoke("f")) + "</think>" + kEos),
            "repaired [r] {f {} B} (calls_in_reasoning)");
}

TEST(ReasoningDamage, ADraftInTheReasoningStaysReasoning) {
  const std::string draft = block(invoke("f", kA));
  EXPECT_EQ(parse_thinking("r" + draft + "\nno, better not</think>done" + kEos),
            "repaired [r" + draft + "\nno, better not] done (draft_in_reasoning)");
  EXPECT_EQ(parse_thinking("r" + draft + "</think>done" + kEos),
            "repaired [r" + draft + "] done (draft_in_reasoning)");
  EXPECT_EQ(parse_thinking("r" + kOpen + "<｜DSML｜invoke name=\"f\">\nhm</think>done" + kEos),
            "repaired [r" + kOpen + "<｜DSML｜invoke name=\"f\">\nhm] done (draft_in_reasoning)");
  EXPECT_EQ(parse_thinking("r" + draft + "</think>c" + draft + kEos),
            "repaired [r" + draft + "] c {f {\"a\": \"x\"} A} (draft_in_reasoning)");
}

TEST(ReasoningDamage, CallsInATruncatedReasoningAreADraft) {
  EXPECT_EQ(parse_thinking("r" + block(invoke("f"))),
            "truncated [r" + block(invoke("f")) +
                "] (draft_in_reasoning reasoning_unclosed no_end_of_turn)");
}

TEST(ReasoningDamage, AMentionInsideALineIsText) {
  EXPECT_EQ(parse_thinking("the tag <｜DSML｜function_calls> opens</think>c" + kEos),
            "ok [the tag <｜DSML｜function_calls> opens] c");
}

TEST(ReasoningDamage, ReasoningWithoutAnEndIsNeverTheAnswer) {
  EXPECT_EQ(parse_thinking("I think"), "truncated [I think] (reasoning_unclosed no_end_of_turn)");
  EXPECT_EQ(parse_thinking("I think" + kEos), "repaired [I think] (reasoning_unclosed)");
}

TEST(ReasoningDamage, TheStartStateComesFromThePrompt) {
  EXPECT_EQ(parse("hi" + kEos, false), "ok hi");
  EXPECT_EQ(parse("</think>hi" + kEos, true), "ok hi");
}

TEST(ReasoningDamage, ARepeatedOpeningTokenIsDroppedWhenItComesFirst) {
  EXPECT_EQ(parse_thinking("<think>r</think>c" + kEos), "repaired [r] c (extra_think_open)");
  EXPECT_EQ(parse("<think>r</think>c" + kEos), "repaired [r] c (think_in_content)");
}

TEST(ReasoningDamage, ASecondClosingTokenGoesAndItsTextStays) {
  EXPECT_EQ(parse_thinking("r</think>a</think>b" + kEos), "repaired [r] ab (stray_token)");
}

TEST(ReasoningDamage, TheFirstEndOfTurnEndsTheTurn) {
  EXPECT_EQ(parse("a" + kEos + "b" + kEos), "repaired a (text_after_end)");
  EXPECT_EQ(parse("a<｜begin▁of▁sentence｜>b" + kEos), "repaired ab (stray_token)");
}

}  // namespace
}  // namespace ponder::context
