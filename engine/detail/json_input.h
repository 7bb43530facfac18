#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/result.h"

/// JSON that comes from outside: parsed with a bound on its depth, and without exceptions.
namespace ponder::engine::detail {

inline constexpr std::size_t kJsonDepthMax = 64;

/// Fails with corrupt, saying where the text stops being JSON.
Result<nlohmann::json> parse_json(std::string_view text);

/// Fails when arrays and objects nest deeper than kJsonDepthMax.
Status check_json_depth(std::string_view text);

/// The value as compact JSON for a message, at most 60 bytes or so.
std::string brief(const nlohmann::json& value);

}  // namespace ponder::engine::detail
