#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tools/detail/json.h"
#include "tools/detail/regex.h"

namespace ponder::tools {

/// A schema that passed JsonSchema::compile: keywords have the right types, references lead
/// somewhere, patterns are compiled.
struct SchemaDocument {
  Json root;
  std::map<std::string, Regex> patterns;  // by their text
};

/// Where `reference` ("#", "#/$defs/x") leads inside `root`; nullptr when nowhere.
const Json* resolve_reference(const Json& root, const std::string& reference);

/// The place of `key` inside `place`: "a.b", "a[0]"; keys of the top level stand alone.
std::string child_place(const std::string& place, const std::string& key);
std::string child_place(const std::string& place, std::size_t index);

/// One check of one value. Faults are gathered, at most a few; work is bounded.
class SchemaChecker {
 public:
  explicit SchemaChecker(const SchemaDocument& document) : document_(document) {}

  /// Whether `value` fits `schema`. `place` is where the value stands, empty for the whole.
  bool check(const Json& value, const Json& schema, const std::string& place);

  const std::vector<std::string>& faults() const { return faults_; }
  /// The schema was too much work on this value; the answer of check() then means nothing.
  bool is_exhausted() const { return steps_ > kStepsMax || depth_ > kDepthMax; }

 private:
  static constexpr int kStepsMax = 100'000;  // schemas applied to values in one check
  static constexpr int kDepthMax = 200;      // of references and combinations

  bool apply(const Json& value, const Json& schema, const std::string& place);
  bool check_type(const Json& value, const Json& schema, const std::string& place);
  bool check_choice(const Json& value, const Json& schema, const std::string& place);
  bool check_object(const Json& value, const Json& schema, const std::string& place);
  bool check_required(const Json& value, const Json& schema, const std::string& place);
  bool check_properties(const Json& value, const Json& schema, const std::string& place);
  bool check_array(const Json& value, const Json& schema, const std::string& place);
  bool check_contains(const Json& value, const Json& schema, const std::string& place);
  bool check_number(const Json& value, const Json& schema, const std::string& place);
  bool check_string(const Json& value, const Json& schema, const std::string& place);
  bool check_combinations(const Json& value, const Json& schema, const std::string& place);
  bool check_any_of(const Json& value, const Json& options, const std::string& place);
  bool check_one_of(const Json& value, const Json& options, const std::string& place);
  bool matches(const std::string& pattern, const std::string& text, const std::string& place);
  /// The same check without leaving faults behind.
  bool fits_quietly(const Json& value, const Json& schema, const std::string& place);
  bool fault(const std::string& place, const std::string& what);

  const SchemaDocument& document_;
  std::vector<std::string> faults_;
  int steps_ = 0;
  int depth_ = 0;
  std::int64_t match_steps_left_ = 10'000'000;  // of all patterns together
};

}  // namespace ponder::tools
