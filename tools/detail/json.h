#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/result.h"

namespace ponder::tools {

using Json = nlohmann::json;

/// nlohmann's dump() recurses without a bound of its own, so nothing deeper gets in.
inline constexpr int kJsonDepthMax = 128;

/// `invalid_argument` when `text` is no JSON, or deeper than kJsonDepthMax.
Result<Json> parse_json(std::string_view text);

/// Bytes that are no UTF-8 become replacement characters.
std::string dump_json(const Json& value);

/// The same, cut to what fits into an error message.
std::string dump_json_short(const Json& value);

}  // namespace ponder::tools
