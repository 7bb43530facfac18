#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <exception>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "tools/registry.h"

namespace ponder::tests {

/// A call as an agent makes it: through the registry's gate, and a refusal is what the model reads.
inline boost::asio::awaitable<Result<tools::ToolOutput>> call_tool(const tools::Registry& registry,
                                                                   context::ToolCall call,
                                                                   std::vector<std::string> grants,
                                                                   tools::ToolContext context) {
  const auto admitted = registry.admit(call, grants);
  if (const auto* refusal = std::get_if<tools::Refusal>(&admitted)) {
    co_return tools::error_output(refusal->message);
  }
  tools::Tool* tool = std::get<tools::Tool*>(admitted);
  auto output = co_await tool->invoke(std::move(call.arguments), context);
  co_return output;
}

template <class T>
boost::asio::awaitable<void> store_result(boost::asio::awaitable<Result<T>> work,
                                          std::optional<Result<T>>* out) {
  auto result = co_await std::move(work);
  out->emplace(std::move(result));
}

/// Runs a coroutine to its end on an executor of its own.
template <class T>
Result<T> run_sync(boost::asio::awaitable<Result<T>> work) {
  boost::asio::io_context io;
  std::optional<Result<T>> result;
  std::exception_ptr thrown;
  boost::asio::co_spawn(io, store_result<T>(std::move(work), &result),
                        [&thrown](std::exception_ptr error) { thrown = std::move(error); });
  io.run();
  if (thrown) std::rethrow_exception(thrown);
  return std::move(*result);
}

}  // namespace ponder::tests
