#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <boost/asio/this_coro.hpp>

#include "base/async/with_deadline.h"
#include "tools/mcp/detail/connection.h"
#include "tools/mcp/detail/protocol.h"

/// How a connection begins: specification 2026-07-28, basic/versioning, basic/transports/stdio and
/// basic/transports/streamable-http (each "Backward Compatibility"); 2025-11-25, basic/lifecycle.
namespace ponder::mcp {
namespace {

namespace asio = boost::asio;

std::vector<std::string> strings_of(const Json& array) {
  std::vector<std::string> out;
  for (const Json& entry : array) {
    if (entry.is_string()) out.push_back(entry.get<std::string>());
  }
  return out;
}

}  // namespace

asio::awaitable<Status> Connection::open() {
  co_await asio::this_coro::throw_if_cancelled(false);
  const Status dialled = co_await dial();
  PONDER_CO_CHECK(dialled);
  Status opened;
  if (!options_.era) {
    opened = co_await find_out_era();
  } else if (*options_.era == Era::legacy) {
    std::string version = kLegacyVersions.front();
    opened = co_await initialize(std::move(version));
  } else {
    const auto found = co_await discover(std::chrono::milliseconds::max());
    if (!found) opened = tl::unexpected<Error>(found.error());
    if (found && found->era == Era::legacy) {
      opened =
          fail(Errc::invalid_argument, "the server does not speak " + std::string(kModernVersion));
    }
  }
  PONDER_CO_CHECK(opened);
  if (identity_.era == Era::legacy) {
    tasks_.spawn(transport_->listen());
  } else {
    tasks_.spawn(subscribe());
  }
  co_return Status();
}

asio::awaitable<Status> Connection::dial() {
  if (transport_ != nullptr) {
    co_await transport_->close();
  }
  auto transport = dial_(*this);
  if (!transport) co_return tl::unexpected<Error>(transport.error());
  transport_ = std::move(*transport);
  co_return Status();
}

asio::awaitable<Status> Connection::find_out_era() {
  const auto found = co_await discover(options_.probe_ms_max);
  if (found && found->era == Era::modern) co_return Status();
  const bool is_late = !found && found.error().code == Errc::deadline;
  // A legacy server may take a request before `initialize` so ill that it ends.
  const bool has_died = !found && transport_->is_closed();
  if (!found && !is_late && !has_died) co_return tl::unexpected<Error>(found.error());
  if (has_died) {
    const Status dialled = co_await dial();
    PONDER_CO_CHECK(dialled);
  }
  // Named before: g++ 12 frees the result of a conditional argument twice.
  std::string version = kLegacyVersions.front();
  if (found) version = found->version;
  const Status initialized = co_await initialize(std::move(version));
  if (initialized || !is_late || transport_->is_closed()) co_return initialized;
  // It was not legacy but slow: by now it has started.
  const auto again = co_await discover(options_.probe_ms_max);
  if (again && again->era == Era::modern) co_return Status();
  co_return initialized;
}

asio::awaitable<Result<Connection::Probe>> Connection::discover(std::chrono::milliseconds ms_max) {
  transport_->agree(Era::modern, kModernVersion);
  const bool is_bounded = ms_max != std::chrono::milliseconds::max();
  const Deadline deadline =
      is_bounded ? Deadline::after(system_clock(), ms_max) : Deadline::never();
  auto work = probe();
  const auto answer = co_await with_deadline(std::move(work), deadline);
  if (!answer) co_return tl::unexpected<Error>(answer.error());
  Result<Probe> found = probe_of(*answer);
  co_return found;
}

asio::awaitable<Result<Message>> Connection::probe() {
  co_await asio::this_coro::throw_if_cancelled(false);
  const std::int64_t id = next_id_++;
  const Json params = parameters(Json::object(), id, nullptr);
  Outgoing request(request_text(id, "server/discover", params));
  request.id = id;
  request.method = "server/discover";
  request.headers = headers_of(request.method, params);
  // Not ask(): a legacy server that is left waiting must not hear of a cancellation it cannot know.
  auto answer = co_await transport_->exchange(std::move(request));
  co_return answer;
}

Result<Connection::Probe> Connection::probe_of(const Message& answer) {
  Probe found;
  found.version = kLegacyVersions.front();
  std::vector<std::string> supported;
  if (answer.kind == Message::Kind::result) {
    supported = strings_of(array_field(answer.result, "supportedVersions"));
  } else if (answer.code == kUnsupportedVersion && answer.data.is_object()) {
    supported = strings_of(array_field(answer.data, "supported"));
  } else if (answer.code == kHeaderMismatch || answer.code == kMissingCapability) {
    return fail(Errc::invalid_argument, fmt::format("{} ({})", answer.text, answer.code));
  }
  if (supported.empty()) return found;  // it does not know the question
  for (const std::string& version : supported) {
    if (version != kModernVersion || answer.kind != Message::Kind::result) continue;
    take_identity(answer.result, Era::modern, kModernVersion);
    found.era = Era::modern;
    found.version = kModernVersion;
    return found;
  }
  for (const char* version : kLegacyVersions) {
    if (std::find(supported.begin(), supported.end(), version) == supported.end()) continue;
    found.version = version;
    return found;
  }
  return fail(Errc::invalid_argument, fmt::format("the server speaks MCP {}; ponder speaks {}",
                                                  fmt::join(supported, ", "), spoken_versions()));
}

asio::awaitable<Status> Connection::initialize(std::string version) {
  transport_->agree(Era::legacy, "");
  Json params = {{"protocolVersion", version},
                 {"capabilities", client_capabilities(true, !options_.roots.empty())},
                 {"clientInfo", client_info(options_.client_version)}};
  const std::int64_t id = next_id_++;
  Outgoing request(request_text(id, "initialize", params));
  request.id = id;
  request.method = "initialize";
  const auto answer = co_await transport_->exchange(std::move(request));
  if (!answer) co_return tl::unexpected<Error>(answer.error());
  if (answer->kind == Message::Kind::error) {
    co_return fail(Errc::invalid_argument,
                   fmt::format("the server refuses to begin: {}; ponder speaks MCP {}",
                               one_line(answer->text, 300), spoken_versions()));
  }
  const std::string agreed = string_field(answer->result, "protocolVersion");
  if (!is_legacy_version(agreed)) {
    co_return fail(Errc::invalid_argument,
                   fmt::format("the server speaks MCP '{}'; ponder speaks {}", one_line(agreed, 40),
                               spoken_versions()));
  }
  take_identity(answer->result, Era::legacy, agreed);
  transport_->agree(Era::legacy, agreed);
  Outgoing initialized(notification_text("notifications/initialized", Json::object()));
  const Status sent = co_await transport_->send(std::move(initialized));
  co_return sent;
}

void Connection::take_identity(const Json& result, Era era, const std::string& version) {
  const Json& meta = object_field(result, "_meta");
  const Json& info = era == Era::legacy ? object_field(result, "serverInfo")
                                        : object_field(meta, "io.modelcontextprotocol/serverInfo");
  identity_.era = era;
  identity_.protocol_version = version;
  identity_.name = one_line(string_field(info, "name"), 100);
  identity_.version = one_line(string_field(info, "version"), 100);
  identity_.instructions = string_field(result, "instructions");
  identity_.capabilities = object_field(result, "capabilities");
}

}  // namespace ponder::mcp
