#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace ponder::tools {

/// Checks JSON against a schema, and says what is wrong in words that a model can act on:
/// "parameter 'city': expected a string, got 3".
///
/// The dialect is the part of draft 2020-12 that tools use: type, enum, const; properties,
/// required, additionalProperties, patternProperties, propertyNames, minProperties, maxProperties,
/// dependentRequired; items, prefixItems, contains, minItems, maxItems, uniqueItems; minimum,
/// maximum, exclusiveMinimum, exclusiveMaximum, multipleOf; minLength, maxLength, pattern; allOf,
/// anyOf, oneOf, not, if/then/else; $ref inside the document, $defs and definitions. Keywords that
/// only describe are ignored; a keyword that would restrict and is not known is refused, so that
/// nothing is let through by misunderstanding.
///
/// Thread: any number of readers. Bounds: nesting, the work of one check, and what a pattern may
/// do.
class JsonSchema {
 public:
  /// `invalid_argument` names the place: "schema at /properties/city/type: ...".
  static Result<JsonSchema> compile(std::string_view schema_text);

  JsonSchema(JsonSchema&&) noexcept;
  JsonSchema& operator=(JsonSchema&&) noexcept;
  ~JsonSchema();

  /// `invalid_argument` with what is wrong, the first few faults separated by "; ".
  Status check(std::string_view json_text) const;

 private:
  struct Compiled;
  explicit JsonSchema(std::unique_ptr<const Compiled> compiled);
  std::unique_ptr<const Compiled> compiled_;
};

}  // namespace ponder::tools
