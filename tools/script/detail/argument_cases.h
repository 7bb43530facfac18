#pragma once

#include <string>
#include <vector>

#include "tools/detail/json.h"

namespace ponder::tools {

/// Arguments for a tool, and what is special about them.
struct ArgumentCase {
  std::string title;
  Json arguments;
};

/// Arguments made from a schema: the fewest, all, and every parameter at the ends of what its
/// type can be while the others are as in `base`. They need not fit the schema: what does not is
/// for the caller to tell. Bounded in number.
std::vector<ArgumentCase> argument_cases(const Json& schema, const Json& base);

/// A value that a person might give, as far as the schema shows one.
Json typical_value(const Json& schema, int depth = 0);

}  // namespace ponder::tools
