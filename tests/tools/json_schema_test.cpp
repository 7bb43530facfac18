#include "tools/json_schema.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string>

#include "tools/schema_faults.h"

namespace ponder::tools {
namespace {

using ::testing::HasSubstr;

JsonSchema compiled(const std::string& text) {
  auto schema = JsonSchema::compile(text);
  EXPECT_TRUE(schema) << text << ": " << schema.error().message;
  return std::move(*schema);
}

/// What a model is told about `value`; "" when it fits.
std::string fault(const JsonSchema& schema, const std::string& value) {
  const Status status = schema.check(value);
  return status ? "" : status.error().message;
}

std::string fault(const std::string& schema, const std::string& value) {
  return fault(compiled(schema), value);
}

TEST(JsonSchemaFaults, SayWhereTheValueStandsWhatWasExpectedAndWhatCame) {
  const JsonSchema schema = compiled(R"({
    "type": "object",
    "properties": {
      "city": {"type": "string", "minLength": 1},
      "days": {"type": "integer", "minimum": 1, "maximum": 3},
      "size": {"enum": ["S", "M", "L"]},
      "date": {"type": "string", "pattern": "^\\d{4}-\\d\\d-\\d\\d$"},
      "stops": {"type": "array", "items": {"type": "object",
        "properties": {"name": {"type": "string"}}, "required": ["name"]}}
    },
    "required": ["city"],
    "additionalProperties": false
  })");
  EXPECT_EQ(fault(schema, R"({"city": "Hangzhou", "days": 3, "size": "S"})"), "");
  EXPECT_EQ(fault(schema, R"({"city": 3})"), "parameter 'city': expected a string, got 3");
  EXPECT_EQ(fault(schema, "{}"), "parameter 'city': is missing");
  EXPECT_EQ(fault(schema, R"({"city": "A", "days": 4})"),
            "parameter 'days': must be at most 3, got 4");
  EXPECT_EQ(fault(schema, R"({"city": "A", "days": 1.5})"),
            "parameter 'days': expected an integer, got 1.5");
  EXPECT_EQ(fault(schema, R"({"city": "A", "size": "XL"})"),
            R"(parameter 'size': expected one of "S", "M", "L", got "XL")");
  EXPECT_EQ(fault(schema, R"({"city": "A", "date": "1 May"})"),
            R"(parameter 'date': must match the pattern "^\\d{4}-\\d\\d-\\d\\d$", got "1 May")");
  EXPECT_EQ(fault(schema, R"({"city": "A", "stops": [{"name": "x"}, {}]})"),
            "parameter 'stops[1].name': is missing");
  EXPECT_EQ(fault(schema, R"({"city": "A", "town": "B"})"),
            "parameter 'town': is not known, there are: city, date, days, size, stops");
  EXPECT_EQ(fault(schema, "[1]"), "arguments: expected an object, got [1]");
}

TEST(JsonSchemaFaults, SeveralAreListedButNotAllOfThem) {
  const JsonSchema schema = compiled(
      R"({"properties": {"a": {"type": "string"}, "b": {"type": "null"}}, "required": ["c"]})");
  EXPECT_EQ(fault(schema, R"({"a": 1, "b": 2})"),
            "parameter 'c': is missing; parameter 'a': expected a string, got 1; "
            "parameter 'b': expected null, got 2");
  const JsonSchema many = compiled(R"({"additionalProperties": {"type": "string"}})");
  const std::string message = fault(many, R"({"a": 1, "b": 2, "c": 3, "d": 4})");
  EXPECT_THAT(message, HasSubstr("'c'"));
  EXPECT_THAT(message, Not(HasSubstr("'d'")));
}

TEST(JsonSchemaFaults, ALongValueIsShortenedBetweenCharacters) {
  std::string text;
  for (int i = 0; i < 100; ++i) text += "\xe6\x9d\xad";  // a character of three bytes
  const std::string message = fault(R"({"type": "integer"})", "\"" + text + "\"");
  EXPECT_LT(message.size(), 140u);
  EXPECT_TRUE(message.ends_with("\xe6\x9d\xad...")) << message;
}

TEST(JsonSchemaFaults, TextThatIsNoJsonIsSaidToBeNone) {
  EXPECT_THAT(fault("{}", R"({"city": )"),
              HasSubstr("arguments are not JSON: the JSON ends at byte 10: expected "));
  EXPECT_THAT(fault("{}", ""), HasSubstr("arguments are not JSON"));
  EXPECT_THAT(fault("{}", "{\"a\": \"\xff\"}"), HasSubstr("ill-formed UTF-8"));
}

TEST(JsonSchemaFaults, CombinationsAreNamedShortly) {
  EXPECT_EQ(fault(R"({"anyOf": [{"type": "string"}, {"type": "null"}]})", "3"),
            "arguments: 3 fits none of the 2 forms that are allowed");
  EXPECT_EQ(fault(R"({"oneOf": [{"type": "number"}, {"type": "integer"}]})", "3"),
            "arguments: 3 fits 2 forms where exactly one is allowed");
  EXPECT_EQ(fault(R"({"not": {"type": "null"}})", "null"), "arguments: null is not allowed");
  EXPECT_EQ(fault(R"({"type": ["string", "integer"]})", "null"),
            "arguments: expected a string or an integer, got null");
}

TEST(JsonSchemaBounds, DeepValuesAndEndlessReferencesEndInAnError) {
  const std::string deep = std::string(200'000, '[') + std::string(200'000, ']');
  EXPECT_THAT(fault("{}", deep), HasSubstr("nested deeper than 128 levels"));
  EXPECT_FALSE(JsonSchema::compile(deep));
  const JsonSchema endless = compiled(R"({"$ref": "#"})");
  EXPECT_EQ(fault(endless, "1"), "arguments: too large for their schema");
  const JsonSchema doubling = compiled(
      R"({"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}, {"$ref": "#/$defs/b"}]},
                    "b": {"anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}]}},
          "$ref": "#/$defs/a"})");
  EXPECT_EQ(fault(doubling, "1"), "arguments: too large for their schema");
}

TEST(JsonSchemaBounds, APatternThatExplodesIsCutShortAndLetsNothingThrough) {
  const std::string text = std::string(60, 'a') + "!";
  EXPECT_EQ(fault(R"({"pattern": "^(a+)+$"})", "\"" + std::string(60, 'a') + "\""), "");
  EXPECT_EQ(fault(R"({"pattern": "^(a+)+$"})", "\"" + text + "\""),
            "arguments: too large for their schema");
  EXPECT_EQ(
      fault(R"({"patternProperties": {"^(a+)+$": {"type": "null"}}})", "{\"" + text + "\": 1}"),
      "arguments: too large for their schema");
}

TEST(JsonSchemaCompile, EveryFaultIsNamedOnceWithItsPlace) {
  const char* text = R"({
    "$defs": {"day": {"type": "date"}},
    "properties": {"a": {"minimum": "1"}, "b": {"$ref": "#/$defs/day"}, "c": {"$ref": "#/$defs/x"}},
    "required": "a"})";
  std::vector<std::string> paths;
  for (const SchemaFault& fault : schema_faults(text)) paths.push_back(fault.path);
  EXPECT_THAT(paths, testing::UnorderedElementsAre("#/$defs/day/type", "#/properties/a/minimum",
                                                   "#/properties/c/$ref", "#/required"));
  const std::string message = JsonSchema::compile(text).error().message;
  for (const std::string& path : paths) EXPECT_THAT(message, HasSubstr("schema at " + path + ": "));
}

TEST(JsonSchemaCompile, AFaultySchemaIsRefusedWithItsPlace) {
  const auto refusal = [](const std::string& text) {
    auto schema = JsonSchema::compile(text);
    return schema ? std::string() : schema.error().message;
  };
  EXPECT_EQ(refusal(R"({"properties": {"city": {"type": "text"}}})"),
            "schema at #/properties/city/type: expected the name of a type or a list of them");
  EXPECT_THAT(refusal(R"({"pattern": "("})"), HasSubstr("schema at #/pattern: pattern '('"));
  EXPECT_EQ(refusal(R"({"$ref": "#/$defs/x"})"),
            "schema at #/$ref: '#/$defs/x' leads nowhere inside this schema");
  EXPECT_THAT(refusal(R"({"$ref": "http://example.com/s.json"})"), HasSubstr("leads nowhere"));
  EXPECT_EQ(refusal(R"({"unevaluatedProperties": false})"),
            "schema at #/unevaluatedProperties: this keyword is not supported");
  EXPECT_EQ(refusal("3"), "schema at #: a schema is an object, true or false");
  for (const char* text :
       {"", "{", R"({"required": "a"})", R"({"enum": 1})", R"({"minLength": -1})",
        R"({"multipleOf": 0})", R"({"anyOf": []})", R"({"items": [{}]})", R"({"minimum": "1"})",
        R"({"dependentRequired": {"a": [1]}})", R"({"uniqueItems": 1})"}) {
    EXPECT_NE(refusal(text), "") << text;
  }
}

TEST(JsonSchemaNumbers, KeepSixtyFourBits) {
  const JsonSchema schema = compiled(R"({"maximum": 9007199254740992})");
  EXPECT_EQ(fault(schema, "9007199254740992"), "");
  EXPECT_NE(fault(schema, "9007199254740993"), "");
  EXPECT_EQ(fault(R"({"type": "integer"})", "4.0"), "");
  EXPECT_EQ(fault(R"({"multipleOf": 18446744073709551615})", "-9223372036854775808"),
            "arguments: must be a multiple of 18446744073709551615, got -9223372036854775808");
}

// What draft 2020-12 says by other means, beside the suite's cases.
TEST(JsonSchemaDialect, PrefixItemsAndDependentRequired) {
  const JsonSchema pair =
      compiled(R"({"prefixItems": [{"type": "string"}, {"type": "integer"}], "items": false})");
  EXPECT_EQ(fault(pair, R"(["a", 1])"), "");
  EXPECT_EQ(fault(pair, R"(["a"])"), "");
  EXPECT_EQ(fault(pair, R"([1])"), "parameter '[0]': expected a string, got 1");
  EXPECT_EQ(fault(pair, R"(["a", 1, 2])"), "parameter '[2]': is not allowed");
  const JsonSchema card = compiled(R"({"dependentRequired": {"card": ["name"]}})");
  EXPECT_EQ(fault(card, "{}"), "");
  EXPECT_EQ(fault(card, R"({"card": 1})"), "parameter 'name': is missing (needed with 'card')");
  const JsonSchema some =
      compiled(R"({"contains": {"const": 1}, "minContains": 2, "maxContains": 3})");
  EXPECT_NE(fault(some, "[1]"), "");
  EXPECT_EQ(fault(some, "[1, 0, 1]"), "");
  EXPECT_NE(fault(some, "[1, 1, 1, 1]"), "");
}

TEST(JsonSchemaDialect, AReferenceStandsBesideOtherKeywords) {
  const JsonSchema schema =
      compiled(R"({"$defs": {"s": {"type": "string"}}, "$ref": "#/$defs/s", "maxLength": 2})");
  EXPECT_EQ(fault(schema, R"("ab")"), "");
  EXPECT_NE(fault(schema, R"("abc")"), "");
  EXPECT_NE(fault(schema, "1"), "");
}

/// Groups of the draft 7 suite that mean something else in draft 2020-12, or lie outside the
/// dialect.
bool is_outside_the_dialect(const std::string& group) {
  static const std::set<std::string> groups = {
      // Lists under items became prefixItems.
      "an array of schemas for items",
      "items and subitems",
      "nested items with items as an array",
      "items with boolean schemas",
      "relative pointer ref to array",
      // Keywords beside a $ref count since 2019-09.
      "ref overrides any sibling keywords",
      // References stay inside the document and are pointers.
      "remote ref, containing refs itself",
      "Recursive references between schemas",
      "Location-independent identifier",
      "Location-independent identifier with absolute URI",
      "Location-independent identifier with base URI change in subschema",
  };
  return groups.contains(group);
}

nlohmann::json read_json(const std::filesystem::path& path) {
  std::ifstream in(path);
  EXPECT_TRUE(in.good()) << path;
  return nlohmann::json::parse(in);
}

TEST(JsonSchema, PatternsTogetherHaveABoundHoweverManyTextsThereAre) {
  const auto schema = JsonSchema::compile(R"({"items":{"pattern":"a*a*a*[bd]"}})");
  ASSERT_TRUE(schema) << schema.error().message;
  const std::string text = '"' + std::string(60, 'a') + '"';
  std::string list = "[" + text;
  EXPECT_THAT(schema->check(list + "]").error().message, ::testing::HasSubstr("must match"));
  for (int i = 0; i < 2000; ++i) list += "," + text;
  EXPECT_EQ(schema->check(list + "]").error().message, "arguments: too large for their schema");
}

TEST(JsonSchema, AChainOfReferencesIsFollowedHoweverLongItIs) {
  constexpr int kLinks = 30'000;
  const auto chain = [&](const std::string& end) {
    std::string text = R"({"$ref":"#/s0")";
    for (int i = 0; i < kLinks; ++i) {
      text += fmt::format(R"(,"s{}":{{"$ref":"#/s{}"}})", i, i + 1);
    }
    return text + fmt::format(R"(,"s{}":{}}})", kLinks, end);
  };
  const auto schema = JsonSchema::compile(chain(R"({"type":"object"})"));
  ASSERT_TRUE(schema) << schema.error().message;
  EXPECT_EQ(schema->check("{}").error().message, "arguments: too large for their schema");
  EXPECT_EQ(JsonSchema::compile(chain(R"({"type":"thing"})")).error().message,
            "schema at #/s30000/type: expected the name of a type or a list of them");
}

class SuiteFile : public ::testing::TestWithParam<const char*> {};

TEST_P(SuiteFile, EveryCaseOfDraft7ThatMeansTheSameIsAnsweredTheSame) {
  const auto path =
      std::filesystem::path(PONDER_JSON_SCHEMA_SUITE) / (std::string(GetParam()) + ".json");
  int cases = 0;
  for (const auto& group : read_json(path)) {
    const std::string name = group.at("description");
    if (is_outside_the_dialect(name)) continue;
    SCOPED_TRACE(name);
    auto schema = JsonSchema::compile(group.at("schema").dump());
    ASSERT_TRUE(schema) << schema.error().message << " in " << group.at("schema");
    for (const auto& each : group.at("tests")) {
      const Status status = schema->check(each.at("data").dump());
      const bool is_valid = each.at("valid");
      EXPECT_EQ(status.has_value(), is_valid)
          << each.at("description") << ": " << each.at("data") << " against " << group.at("schema");
      ++cases;
    }
  }
  EXPECT_GT(cases, 0);
}

INSTANTIATE_TEST_SUITE_P(Draft7, SuiteFile,
                         ::testing::Values("additionalProperties", "allOf", "anyOf",
                                           "boolean_schema", "const", "contains", "default", "enum",
                                           "exclusiveMaximum", "exclusiveMinimum", "if-then-else",
                                           "items", "maxItems", "maxLength", "maxProperties",
                                           "maximum", "minItems", "minLength", "minProperties",
                                           "minimum", "multipleOf", "not", "oneOf", "pattern",
                                           "patternProperties", "properties", "propertyNames",
                                           "ref", "required", "type", "uniqueItems"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace ponder::tools
