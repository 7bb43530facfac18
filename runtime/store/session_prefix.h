#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/result.h"

namespace ponder::runtime {

/// How many ids a store looks up to say what a prefix may mean: one more than are named.
inline constexpr std::size_t kPrefixMatchesMax = 4;

/// `ids`: of sessions that begin with `prefix`, at least two.
inline tl::unexpected<Error> ambiguous_prefix(const std::string& prefix,
                                              std::vector<std::string> ids) {
  const bool has_more = ids.size() >= kPrefixMatchesMax;
  ids.resize(std::min(ids.size(), kPrefixMatchesMax - 1));
  return fail(Errc::invalid_argument,
              fmt::format("several sessions begin with \"{}\": {}{}", prefix, fmt::join(ids, ", "),
                          has_more ? ", ..." : ""));
}

}  // namespace ponder::runtime
