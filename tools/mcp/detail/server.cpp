#include "tools/mcp/detail/server.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "base/async/with_deadline.h"
#include "tools/mcp/detail/content.h"
#include "tools/mcp/detail/http_transport.h"
#include "tools/mcp/detail/stdio_transport.h"
#include "tools/registry.h"

namespace ponder::mcp {
namespace {

namespace asio = boost::asio;

constexpr int kFailuresMax = 5;  // in a row; then the server is left alone
constexpr int kLearningsMax = 3;
constexpr std::chrono::milliseconds kBackoff{200};  // doubles with each failure

std::optional<Era> era_of(const std::string& name) {
  if (name == "modern") return Era::modern;
  if (name == "legacy") return Era::legacy;
  return std::nullopt;
}

ConnectionOptions connection_options(const ServerOptions& options, const Options& shared) {
  ConnectionOptions out;
  out.era = era_of(options.era);
  out.probe_ms_max = options.probe_ms_max;
  out.roots = shared.roots;
  out.client_version = shared.client_version;
  return out;
}

}  // namespace

Server::Server(ServerOptions options, const Options& shared, asio::any_io_executor executor)
    : options_(std::move(options)),
      connection_options_(connection_options(options_, shared)),
      message_bytes_max_(shared.message_bytes_max),
      environment_(shared.environment),
      ca_file_(shared.ca_file),
      executor_(executor),
      connecting_(executor, 1),
      tasks_(std::move(executor)) {
  environment_.insert(environment_.end(), options_.environment.begin(), options_.environment.end());
}

asio::awaitable<Status> Server::start() {
  const auto connection = co_await ready();
  if (!connection) co_return tl::unexpected<Error>(connection.error());
  has_started_ = true;
  co_return Status();
}

Result<std::unique_ptr<Transport>> Server::dial(Listener& listener) {
  if (!options_.command.empty()) {
    ServerCommand command;
    command.argv = options_.command;
    command.working_folder = options_.working_folder;
    command.environment = environment_;
    TransportLimits limits;
    limits.message_bytes_max = message_bytes_max_;
    return StdioTransport::start(command, limits, executor_, listener);
  }
  if (client_ == nullptr) {
    http::ClientOptions client_options;
    client_options.ca_file = ca_file_;
    PONDER_TRY(client_, http::Client::create(std::move(client_options)));
  }
  PONDER_TRY(http::Url url, http::parse_url(options_.url));
  HttpPlace place(std::move(url));
  place.bearer_token = options_.bearer_token;
  place.headers = options_.headers;
  place.message_bytes_max = message_bytes_max_;
  return std::make_unique<HttpTransport>(std::move(place), *client_, executor_, listener);
}

asio::awaitable<Result<Server::ConnectionPtr>> Server::ready() {
  const auto lease = co_await connecting_.take();
  if (!lease) co_return fail(Errc::cancelled, "the call was cancelled");
  if (connection_ != nullptr && !connection_->is_closed()) co_return connection_;
  if (connection_ != nullptr) {
    ++failures_;  // it died since
    tasks_.spawn(bury(std::exchange(connection_, nullptr)));
  }
  if (failures_ >= kFailuresMax) {
    co_return fail(Errc::unavailable,
                   fmt::format("it failed {} times in a row and is left alone", failures_));
  }
  if (failures_ > 0) {
    boost::system::error_code error;
    asio::steady_timer pause(executor_, kBackoff * (1 << (failures_ - 1)));
    co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return fail(Errc::cancelled, "the call was cancelled");
  }
  auto connected = co_await connect();
  if (!connected && connected.error().code != Errc::cancelled) ++failures_;
  co_return connected;
}

asio::awaitable<Result<Server::ConnectionPtr>> Server::connect() {
  auto dial_server = [this](Listener& listener) { return dial(listener); };
  auto connection =
      std::make_shared<Connection>(connection_options_, std::move(dial_server), executor_);
  const Deadline deadline = Deadline::after(system_clock(), options_.connect_ms_max);
  auto opening = connection->open();
  Status opened = co_await with_deadline(std::move(opening), deadline);
  bool is_known = false;
  // Some servers change their tools while they start.
  for (int i = 0; opened && !is_known && i < kLearningsMax; ++i) {
    auto learning = learn_tools(connection);
    opened = co_await with_deadline(std::move(learning), deadline);
    is_known = !connection->take_tool_change();
  }
  if (!opened) {
    Error error = opened.error();
    if (error.code == Errc::deadline) {
      error = Error(Errc::unavailable,
                    fmt::format("it did not answer within {} ms", options_.connect_ms_max.count()));
      const std::string garbage = connection->garbage();
      if (!garbage.empty()) error.message += "; " + garbage;
    }
    const std::string words = connection->last_words();
    if (!words.empty()) error.message += fmt::format("; it wrote: {}", words);
    tasks_.spawn(bury(std::move(connection)));
    co_return tl::unexpected<Error>(std::move(error));
  }
  connection_options_.era = connection->identity().era;  // a server keeps to its era
  identity_ = connection->identity();
  connection_ = connection;
  co_return connection;
}

asio::awaitable<Status> Server::learn_tools(ConnectionPtr connection) {
  co_await asio::this_coro::throw_if_cancelled(false);
  if (!connection->identity().capabilities.contains("tools")) co_return Status();
  const auto entries = co_await connection->list("tools/list", "tools");
  if (!entries) co_return tl::unexpected<Error>(entries.error());
  const bool is_first = !has_started_;
  current_.clear();
  if (is_first) {
    tools_.clear();
    faults_.clear();
    output_schemas_.clear();
  }
  for (const Json& entry : *entries) {
    auto tool = read_tool(entry);
    if (tool && connection->has_headers()) {
      if (const std::optional<std::string>& fault = tool->header_fault) {
        tool = fail(Errc::invalid_argument, fmt::format("tool '{}': {}", tool->name, *fault));
      }
    }
    if (!tool) {
      if (is_first) faults_.push_back(tool.error().message);
      continue;
    }
    current_.emplace(tool->name, tool->definition.hash);  // of two with one name the first is used
    if (!is_first) continue;
    if (!tool->output_schema.empty()) {
      auto schema = tools::JsonSchema::compile(tool->output_schema);
      if (schema) output_schemas_.emplace(tool->name, std::move(*schema));
    }
    tools_.push_back(std::move(*tool));
  }
  co_return Status();
}

asio::awaitable<void> Server::bury(ConnectionPtr connection) {
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  co_await connection->close();
}

std::string Server::changes_text() const {
  std::vector<std::string> changes;
  std::size_t num_known = 0;
  for (const ToolDefinition& tool : tools_) {
    const auto now = current_.find(tool.name);
    if (now == current_.end()) {
      changes.push_back(tool.name + " is gone");
      continue;
    }
    ++num_known;
    if (now->second != tool.definition.hash) changes.push_back(tool.name + " is another");
  }
  if (num_known < current_.size()) {
    changes.push_back(fmt::format("{} are new", current_.size() - num_known));
  }
  if (changes.empty()) return {};
  return fmt::format("the server's tools have changed: {}; the model's list stays as it was",
                     fmt::join(changes, ", "));
}

Status Server::check_definition(const std::string& tool) const {
  const auto is_it = [&tool](const ToolDefinition& known) { return known.name == tool; };
  const auto known = std::find_if(tools_.begin(), tools_.end(), is_it);
  const auto now = current_.find(tool);
  if (now == current_.end() || known == tools_.end()) {
    return fail(Errc::not_found, fmt::format("it no longer offers the tool '{}'", tool));
  }
  if (now->second == known->definition.hash) return {};
  return fail(Errc::invalid_argument,
              fmt::format("it has changed the tool '{}' since that was approved: it is refused "
                          "until a person approves it and a new session begins",
                          tool));
}

asio::awaitable<Result<tools::ToolOutput>> Server::run(Action action, Json arguments,
                                                       std::shared_ptr<Caller> caller) {
  for (int attempt = 0;; ++attempt) {
    auto connection = co_await ready();
    if (!connection && connection.error().code == Errc::cancelled) {
      co_return tl::unexpected<Error>(connection.error());
    }
    if (!connection) co_return failure(connection.error(), nullptr);
    if ((*connection)->take_tool_change()) {
      const Status learnt = co_await learn_tools(*connection);
      if (!learnt) co_return failure(learnt.error(), connection->get());
      const std::string changes = changes_text();
      if (!changes.empty()) caller->on_log(changes);
    }
    if (action.kind == Action::Kind::call_tool) {
      const Status known = check_definition(action.tool);
      if (!known) co_return failure(known.error(), nullptr);
    }
    const auto result = co_await perform(*connection, action, arguments, caller);
    if (result) {
      failures_ = 0;
      co_return render(action, *result);
    }
    const Errc code = result.error().code;
    if (code == Errc::cancelled) co_return tl::unexpected<Error>(result.error());
    // The server forgot the session, so the call cannot have been made.
    if (code == Errc::not_found && attempt == 0) continue;
    if (code == Errc::internal) failures_ = 0;  // it answered
    co_return failure(result.error(), connection->get());
  }
}

asio::awaitable<Result<Json>> Server::perform(ConnectionPtr connection, Action action,
                                              Json arguments, std::shared_ptr<Caller> caller) {
  std::string method;
  Json params = std::move(arguments);
  Headers headers;
  switch (action.kind) {
    case Action::Kind::list_resources:
    case Action::Kind::list_prompts: {
      auto listed = co_await perform_list(std::move(connection), action.kind);
      co_return listed;
    }
    case Action::Kind::read_resource:
      method = "resources/read";
      break;
    case Action::Kind::get_prompt:
      method = "prompts/get";
      break;
    case Action::Kind::call_tool: {
      method = "tools/call";
      const auto is_it = [&action](const ToolDefinition& tool) { return tool.name == action.tool; };
      const auto tool = std::find_if(tools_.begin(), tools_.end(), is_it);
      if (connection->has_headers()) headers = parameter_headers(*tool, params);
      params = {{"name", action.tool}, {"arguments", std::move(params)}};
      break;
    }
  }
  auto result = co_await connection->request(std::move(method), std::move(params),
                                             std::move(caller), std::move(headers));
  co_return result;
}

asio::awaitable<Result<Json>> Server::perform_list(ConnectionPtr connection, Action::Kind kind) {
  if (kind == Action::Kind::list_prompts) {
    const auto prompts = co_await connection->list("prompts/list", "prompts");
    if (!prompts) co_return tl::unexpected<Error>(prompts.error());
    co_return Json(list_text(*prompts, {"name", "description", "arguments"}));
  }
  const auto resources = co_await connection->list("resources/list", "resources");
  if (!resources) co_return tl::unexpected<Error>(resources.error());
  std::string text = list_text(*resources, {"uri", "name", "description", "mimeType", "size"});
  // Not every server with resources knows templates.
  const auto templates = co_await connection->list("resources/templates/list", "resourceTemplates");
  if (templates && !templates->empty()) {
    text += (text.empty() ? "" : "\n");
    text += list_text(*templates, {"uriTemplate", "name", "description", "mimeType"});
  }
  co_return Json(text);
}

tools::ToolOutput Server::render(const Action& action, const Json& result) const {
  switch (action.kind) {
    case Action::Kind::list_resources:
    case Action::Kind::list_prompts: {
      const std::string text = result.get<std::string>();
      return tools::ToolOutput(text.empty() ? "(there are none)" : text, false);
    }
    case Action::Kind::read_resource:
      return resource_output(result);
    case Action::Kind::get_prompt:
      return prompt_output(result);
    case Action::Kind::call_tool:
      break;
  }
  const auto schema = output_schemas_.find(action.tool);
  return tool_output(result, schema == output_schemas_.end() ? nullptr : &schema->second);
}

tools::ToolOutput Server::failure(const Error& error, const Connection* connection) const {
  std::string text = fmt::format("server '{}': {}", options_.name, error.message);
  const bool has_died = error.code == Errc::unavailable && connection != nullptr;
  const std::string words = has_died ? connection->last_words() : std::string();
  if (!words.empty()) text += fmt::format("; it wrote: {}", words);
  return tools::error_output(text);
}

asio::awaitable<void> Server::close() {
  tasks_.cancel();
  if (connection_ != nullptr) {
    co_await connection_->close();
  }
  co_await tasks_.join();
}

}  // namespace ponder::mcp
