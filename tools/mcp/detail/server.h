#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/async/slots.h"
#include "base/async/task_group.h"
#include "base/http/http_client.h"
#include "tools/json_schema.h"
#include "tools/mcp/detail/connection.h"
#include "tools/mcp/detail/tool_definition.h"
#include "tools/mcp/mcp_options.h"

namespace ponder::mcp {

/// What an agent's tool does at its server.
struct Action {
  enum class Kind { call_tool, list_resources, read_resource, list_prompts, get_prompt };
  Action() = default;
  Kind kind = Kind::call_tool;
  std::string tool;  // call_tool: its server's name for it
};

/// A configured server: connected when it is needed, and again after it died, a bounded number of
/// times in a row. A call that was under way when the server died is not made again.
///
/// Thread: one executor's. Lifetime: close() has ended before it is destroyed.
class Server {
 public:
  Server(ServerOptions options, const Options& shared, boost::asio::any_io_executor executor);

  /// Connects and learns what the server offers.
  boost::asio::awaitable<Status> start();
  const ServerOptions& options() const { return options_; }
  const ServerIdentity& identity() const { return identity_; }
  /// As they were when it started.
  const std::vector<ToolDefinition>& tools() const { return tools_; }
  /// Tools that it described in a way that cannot be used.
  const std::vector<std::string>& faults() const { return faults_; }
  bool has(const char* capability) const { return identity_.capabilities.contains(capability); }

  /// What goes wrong is output for the model, but for `cancelled`.
  boost::asio::awaitable<Result<tools::ToolOutput>> run(Action action, Json arguments,
                                                        std::shared_ptr<Caller> caller);
  boost::asio::awaitable<void> close();

 private:
  using ConnectionPtr = std::shared_ptr<Connection>;  // shared by the calls under way on it
  boost::asio::awaitable<Result<ConnectionPtr>> ready();
  boost::asio::awaitable<Result<ConnectionPtr>> connect();
  boost::asio::awaitable<Status> learn_tools(ConnectionPtr connection);
  boost::asio::awaitable<void> bury(ConnectionPtr connection);
  boost::asio::awaitable<Result<Json>> perform(ConnectionPtr connection, Action action,
                                               Json arguments, std::shared_ptr<Caller> caller);
  boost::asio::awaitable<Result<Json>> perform_list(ConnectionPtr connection, Action::Kind kind);
  Result<std::unique_ptr<Transport>> dial(Listener& listener);
  /// What differs from the tools as they were when it started, for a person; empty: nothing.
  std::string changes_text() const;
  Status check_definition(const std::string& tool) const;
  tools::ToolOutput render(const Action& action, const Json& result) const;
  tools::ToolOutput failure(const Error& error, const Connection* connection) const;

  ServerOptions options_;
  ConnectionOptions connection_options_;
  std::size_t message_bytes_max_;
  std::vector<std::pair<std::string, std::string>> environment_;
  std::filesystem::path ca_file_;
  boost::asio::any_io_executor executor_;
  std::unique_ptr<http::Client> client_;  // of servers with an address
  ServerIdentity identity_;
  bool has_started_ = false;
  std::vector<ToolDefinition> tools_;
  std::vector<std::string> faults_;
  std::map<std::string, tools::JsonSchema> output_schemas_;
  std::map<std::string, std::string> current_;  // digests of the definitions, as they are now
  ConnectionPtr connection_;
  int failures_ = 0;  // in a row
  Slots connecting_;  // one at a time
  TaskGroup tasks_;
};

}  // namespace ponder::mcp
