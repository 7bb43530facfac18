#include "tools/player.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <optional>
#include <utility>
#include <variant>

namespace ponder::tools {
namespace {

namespace asio = boost::asio;

constexpr std::chrono::seconds kCallTime{60};
constexpr std::size_t kOutputBytesMax = 1 << 20;

asio::awaitable<void> run_into(std::optional<Result<ToolOutput>>* out, Tool* tool,
                               std::string arguments, ToolContext context) {
  auto result = co_await tool->invoke(std::move(arguments), context);
  out->emplace(std::move(result));
}

}  // namespace

Result<std::unique_ptr<Player>> Player::make(const Environment& environment) {
  std::unique_ptr<Player> player(new Player);
  PONDER_CHECK(environment.add_tools(player->registry_));
  return player;
}

Result<ToolOutput> Player::call(const context::ToolCall& call, const std::string& idempotency_key) {
  const auto admitted = registry_.admit(call, Environment::grants());
  if (const auto* refused = std::get_if<Refusal>(&admitted)) return error_output(refused->message);
  const Clock& clock = system_clock();
  ToolContext context(clock, Deadline::after(clock, kCallTime), kOutputBytesMax);
  context.idempotency_key = idempotency_key;
  asio::io_context io;
  std::optional<Result<ToolOutput>> result;
  std::exception_ptr thrown;
  asio::co_spawn(io,
                 run_into(&result, std::get<Tool*>(admitted), call.arguments, std::move(context)),
                 [&thrown](std::exception_ptr error) { thrown = std::move(error); });
  io.run();
  if (thrown || !result) return fail(Errc::internal, call.name + " did not end");
  return std::move(*result);
}

}  // namespace ponder::tools
