#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "context/message.h"
#include "tools/detail/json.h"

namespace ponder::tools {

/// Numbers from a seed, the same everywhere (SplitMix64).
class RandomNumbers {
 public:
  explicit RandomNumbers(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next();
  /// 0 <= result < count. Requires: count > 0.
  std::size_t below(std::size_t count) { return static_cast<std::size_t>(next() % count); }
  bool chance(unsigned percent) { return next() % 100 < percent; }

 private:
  std::uint64_t state_;
};

/// `value` with one of its leaves changed, or an item of a list left out; equal to `value` only
/// where there is nothing to change.
Json mutated(const Json& value, RandomNumbers& random);

/// An agent without sense: calls that fit the tools' schemas, of words that it has read.
class RandomAgent {
 public:
  RandomAgent(const std::vector<context::ToolSpec>& tools, std::uint64_t seed)
      : tools_(&tools), random_(seed) {}

  /// Remembers the words of a text.
  void read(std::string_view text);
  /// Requires: there are tools.
  context::ToolCall next_call();

 private:
  static constexpr std::size_t kWordsMax = 400;
  Json value_for(const Json& schema, int depth);
  Json object_for(const Json& schema, int depth);
  std::int64_t integer_for(const Json& schema);

  const std::vector<context::ToolSpec>* tools_;
  RandomNumbers random_;
  std::vector<std::string> words_;
};

}  // namespace ponder::tools
