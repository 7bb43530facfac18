#include "tools/tool.h"

#include <fmt/format.h>

namespace ponder::tools {

boost::asio::awaitable<Result<std::vector<ParameterValues>>> Tool::values(ToolContext) {
  co_return fail(Errc::internal, "the tool knows no values");
}

Result<Effect> effect_named(std::string_view name) {
  if (name == "pure") return Effect::pure;
  if (name == "idempotent") return Effect::idempotent;
  if (name == "compensable") return Effect::compensable;
  if (name == "irreversible") return Effect::irreversible;
  return fail(Errc::invalid_argument, fmt::format("'{}' is no effect", name));
}

}  // namespace ponder::tools
