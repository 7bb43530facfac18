#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ponder::engine {

/// A rule inside one GrammarBuilder.
enum class RuleId : std::uint32_t {};

/// Which JSON values a json_value rule takes. `number` includes integers.
enum class JsonType { any, object, array, number, integer, boolean, null, string };

/// How far a text agrees with a grammar.
enum class GrammarMatch {
  none,    // the text breaks the grammar, whatever follows
  prefix,  // so far so good, but generation may not end here
  full,    // generation may end here
};

struct GrammarRules;  // the compiled form; private to the engine

/// What a model may write, byte by byte: free text until a trigger has been written, then a rule
/// that must be followed to its end, then nothing but a stop token of the request.
///
/// It knows bytes, never tokens or any particular format: the trigger and every literal may be
/// split over tokens at any point, and one token may span several rules. Special tokens (those
/// without bytes) are allowed in free text and never inside the rule. Text inside text_until and
/// JSON strings is valid UTF-8.
///
/// Immutable and safe to share between threads and requests; sharing one object also shares the
/// masks computed for it, so build a grammar once for a set of tools, not once for each request.
class Grammar {
 public:
  explicit Grammar(std::unique_ptr<const GrammarRules> rules);
  ~Grammar();

  /// For tests and diagnostics: matches a whole completion (without its stop token).
  GrammarMatch match(std::string_view text) const;

  const GrammarRules& rules() const { return *rules_; }

 private:
  std::unique_ptr<const GrammarRules> rules_;
};

/// Builds a grammar bottom-up; a rule can only refer to rules made before it, so there is no
/// recursion outside JSON values. Where several continuations fit (a literal that is a prefix of
/// another, a separator that begins like what follows), all are followed in parallel.
///
/// Mistakes (empty alternatives, a repeat over nothing, ...) are reported by compile().
class GrammarBuilder {
 public:
  /// One entry of each_once.
  struct Member {
    RuleId rule;
    bool is_required = false;
  };
  static constexpr std::uint32_t kUnbounded = 0xFFFFFFFF;

  GrammarBuilder();
  ~GrammarBuilder();
  GrammarBuilder(const GrammarBuilder&) = delete;
  GrammarBuilder& operator=(const GrammarBuilder&) = delete;

  /// Exactly these bytes; may be empty.
  RuleId literal(std::string bytes);
  /// All items, in order; no items match the empty text.
  RuleId sequence(const std::vector<RuleId>& items);
  /// Any one of the options; at least one.
  RuleId choice(const std::vector<RuleId>& options);
  /// Any one of these strings; at least one.
  RuleId one_of(std::vector<std::string> strings);
  /// The item or nothing.
  RuleId optional(RuleId item);
  /// From `min` to `max` items with the separator between them. The item may not match nothing.
  RuleId repeat(RuleId item, RuleId separator, std::uint32_t min, std::uint32_t max = kUnbounded);
  /// Members in any order, none twice, every required one present, the separator between them.
  /// At most 63 members, none of which may match nothing.
  RuleId each_once(std::vector<Member> members, RuleId separator);
  /// Any text (also none) up to and including the first occurrence of the terminator. Forbidden
  /// strings may not appear in it, except as parts of the terminator itself.
  RuleId text_until(std::string terminator, std::vector<std::string> forbidden = {});
  /// A JSON value as Python's json.dumps writes it: at most one space, after ',' and ':'; nesting
  /// up to 16; no escaped surrogates; at most 100 digits before a point and two in an exponent, so
  /// that every number fits a double. Forbidden strings may not appear raw inside its strings.
  RuleId json_value(JsonType type, std::vector<std::string> forbidden = {});

  /// Free text up to `trigger`, then `rule`; an empty trigger starts in the rule. Ends the builder.
  /// Fails with invalid_argument, naming the fault.
  Result<std::shared_ptr<const Grammar>> compile(std::string trigger, RuleId rule);

 private:
  std::unique_ptr<GrammarRules> rules_;
};

}  // namespace ponder::engine
