#include "tools/process/sandbox_policy.h"

#include <fmt/format.h>

namespace ponder::tools {

std::string_view isolation_name(Isolation isolation) {
  return isolation == Isolation::isolated ? "isolated" : "confined";
}

Result<Isolation> parse_isolation(std::string_view name) {
  for (const Isolation isolation : {Isolation::isolated, Isolation::confined}) {
    if (name == isolation_name(isolation)) return isolation;
  }
  return fail(Errc::invalid_argument,
              fmt::format("'{}' is no isolation: isolated or confined", name));
}

}  // namespace ponder::tools
