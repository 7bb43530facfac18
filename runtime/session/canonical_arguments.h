#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace ponder::runtime {

/// The arguments with sorted keys and no spaces of choice: equal for the same values, different for
/// different ones (integers of any size, `1` and `1.0`). Fails with invalid_argument if they are no
/// JSON object.
Result<std::string> canonical_arguments(std::string_view arguments);

}  // namespace ponder::runtime
