#include "tools/tool.h"

namespace ponder::tools {

boost::asio::awaitable<Result<std::vector<ParameterValues>>> Tool::values(ToolContext) {
  co_return fail(Errc::internal, "the tool knows no values");
}

}  // namespace ponder::tools
