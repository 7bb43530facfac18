#pragma once

#include <cstddef>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/result.h"

/// JSON that comes from outside: parsed with a bound on its depth, and without exceptions.
namespace ponder::engine::detail {

inline constexpr std::size_t kJsonDepthMax = 64;

enum class JsonEvent { key, value, array_start, array_end, object_start, object_end };

/// Sees each item as it is parsed, `depth` containers deep (for *_start and *_end: not counting
/// itself), and may take it; false drops it from the result. Dropping is for keys, and for
/// elements of arrays.
using JsonFilter = std::function<bool(std::size_t depth, JsonEvent event, nlohmann::json& item)>;

/// Fails with corrupt, saying where the text stops being JSON. The filter may be empty.
Result<nlohmann::json> parse_json(std::string_view text, const JsonFilter& filter = {});

/// Fails when arrays and objects nest deeper than kJsonDepthMax.
Status check_json_depth(std::string_view text);

/// The value as compact JSON for a message, at most 60 bytes or so.
std::string brief(const nlohmann::json& value);

}  // namespace ponder::engine::detail
