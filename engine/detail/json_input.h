#pragma once

#include <cstddef>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

/// JSON that comes from outside: parsed with a bound on its depth, and without exceptions.
namespace ponder::engine::detail {

inline constexpr std::size_t kJsonDepthMax = 64;
/// Ten times the longest that a model comes with: a file of holes may say that it has any length.
inline constexpr std::size_t kJsonBytesMax = std::size_t{256} << 20;

enum class JsonEvent { key, value, array_start, array_end, object_start, object_end };

/// Sees each item as it is parsed, `depth` containers deep (for *_start and *_end: not counting
/// itself), and may take it; false drops it from the result. Dropping is for keys, and for
/// elements of arrays.
using JsonFilter = std::function<bool(std::size_t depth, JsonEvent event, nlohmann::json& item)>;

/// Fails with corrupt, saying where the text stops being JSON, and before it reads any when there
/// are more than kJsonBytesMax bytes. The filter may be empty.
Result<nlohmann::json> parse_json(std::string_view text, const JsonFilter& filter = {});

/// A key that stands twice in the outermost object, of which parse_json() keeps the last value.
/// Requires: parse_json() accepts the text.
std::optional<std::string> repeated_key(std::string_view text);

/// Fails when arrays and objects nest deeper than kJsonDepthMax.
Status check_json_depth(std::string_view text);

/// The value as compact JSON for a message, at most 60 bytes or so.
std::string brief(const nlohmann::json& value);

}  // namespace ponder::engine::detail
