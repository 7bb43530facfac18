#include "tools/mcp/detail/connection.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

#include "tools/mcp/detail/protocol.h"

namespace ponder::mcp {
namespace {

namespace asio = boost::asio;

constexpr int kRoundsMax = 16;  // of questions within one request
constexpr std::size_t kPagesMax = 200;
constexpr std::size_t kEntriesMax = 10'000;
constexpr std::size_t kListBytesMax = 16 << 20;  // of all pages
constexpr std::size_t kAnsweringMax = 16;        // requests of the server's at the same time
constexpr std::size_t kTextBytesMax = 2000;
constexpr int kListenFailuresMax = 5;
constexpr std::chrono::milliseconds kListenPause{1000};
constexpr const char* kMetaPrefix = "io.modelcontextprotocol/";

std::string meta_key(const char* name) { return std::string(kMetaPrefix) + name; }

Error error_of(const Message& answer) {
  std::string text = one_line(answer.text, kTextBytesMax);
  if (answer.code != 0) text += fmt::format(" (code {})", answer.code);
  return Error(Errc::internal, std::move(text));
}

/// Keeps a caller reachable while its request is under way.
class Registration {
 public:
  Registration(std::map<std::int64_t, std::shared_ptr<Caller>>& callers, std::int64_t id,
               std::shared_ptr<Caller> caller)
      : callers_(&callers), id_(id) {
    if (caller != nullptr) callers_->emplace(id, std::move(caller));
  }
  ~Registration() { callers_->erase(id_); }
  Registration(const Registration&) = delete;
  Registration& operator=(const Registration&) = delete;

 private:
  std::map<std::int64_t, std::shared_ptr<Caller>>* callers_;
  std::int64_t id_;
};

}  // namespace

Connection::Connection(ConnectionOptions options, Dial dial, asio::any_io_executor executor)
    : options_(std::move(options)),
      dial_(std::move(dial)),
      executor_(executor),
      tasks_(std::move(executor)) {}

Json Connection::parameters(Json params, std::int64_t id, const Caller* caller) const {
  Json& meta = params["_meta"];
  if (caller != nullptr) meta["progressToken"] = id;
  if (identity_.era == Era::legacy && !identity_.protocol_version.empty()) {
    if (meta.is_null()) params.erase("_meta");
    return params;
  }
  const bool can_be_asked = caller != nullptr && caller->can_be_asked();
  meta[meta_key("protocolVersion")] = kModernVersion;
  meta[meta_key("clientInfo")] = client_info(options_.client_version);
  meta[meta_key("clientCapabilities")] = client_capabilities(can_be_asked, !options_.roots.empty());
  if (caller != nullptr) meta[meta_key("logLevel")] = "info";
  return params;
}

Headers Connection::headers_of(const std::string& method, const Json& params) const {
  Headers headers;
  if (!transport_->has_headers()) return headers;
  headers.emplace_back("Mcp-Method", method);
  const char* source = method == "resources/read" ? "uri" : "name";
  const bool has_name =
      method == "tools/call" || method == "prompts/get" || method == "resources/read";
  if (has_name) headers.emplace_back("Mcp-Name", header_value(string_field(params, source)));
  return headers;
}

asio::awaitable<Result<Message>> Connection::ask(std::string method, Json params,
                                                 std::shared_ptr<Caller> caller, Headers headers) {
  const std::int64_t id = next_id_++;
  const Json whole = parameters(std::move(params), id, caller.get());
  Outgoing request(request_text(id, method, whole));
  request.id = id;
  request.headers = headers_of(method, whole);
  request.headers.insert(request.headers.end(), headers.begin(), headers.end());
  request.method = std::move(method);
  const Registration registration(callers_, id, std::move(caller));
  auto answer = co_await transport_->exchange(std::move(request));
  const bool is_cancelled = !answer && answer.error().code == Errc::cancelled;
  if (is_cancelled && !transport_->cancels_by_closing() && !is_closing_) {
    tasks_.spawn(tell_cancelled(id));
  }
  co_return answer;
}

asio::awaitable<void> Connection::tell_cancelled(std::int64_t id) {
  Outgoing notice(notification_text("notifications/cancelled",
                                    {{"requestId", id}, {"reason", "the call was cancelled"}}));
  const Status ignored = co_await transport_->send(std::move(notice));
  (void)ignored;  // a server that cannot be told has stopped anyway
}

asio::awaitable<Result<Json>> Connection::request(std::string method, Json params,
                                                  std::shared_ptr<Caller> caller, Headers headers) {
  for (int round = 0; round < kRoundsMax; ++round) {
    auto answer = co_await ask(method, params, caller, headers);
    if (!answer) co_return tl::unexpected<Error>(answer.error());
    if (answer->kind == Message::Kind::error) co_return tl::unexpected<Error>(error_of(*answer));
    Json& result = answer->result;
    const std::string type = string_field(result, "resultType", "complete");
    if (type == "complete") co_return std::move(result);
    if (type != "input_required" || identity_.era != Era::modern) {
      co_return fail(Errc::internal,
                     fmt::format("a result of the unknown type '{}'", one_line(type, 40)));
    }
    // Specification 2026-07-28, basic/patterns/mrtr: the same request again, with the answers.
    auto answers = co_await answers_to(object_field(result, "inputRequests"), caller);
    PONDER_CO_CHECK(answers);
    params["inputResponses"] = std::move(*answers);
    params.erase("requestState");
    if (result.contains("requestState")) params["requestState"] = result["requestState"];
  }
  co_return fail(Errc::internal, fmt::format("the server asked {} times in a row", kRoundsMax));
}

asio::awaitable<Result<Json>> Connection::answers_to(Json requests,
                                                     std::shared_ptr<Caller> caller) {
  Json answers = Json::object();
  for (const auto& [key, request] : requests.items()) {
    const std::string method = request.is_object() ? string_field(request, "method") : "";
    if (method == "roots/list" && !options_.roots.empty()) {
      answers[key] = roots_result(options_.roots);
    } else if (method == "elicitation/create" && caller != nullptr && caller->can_be_asked()) {
      Json params = object_field(request, "params");
      Json answer = co_await caller->elicit(std::move(params));
      answers[key] = std::move(answer);
    } else {
      co_return fail(Errc::internal, fmt::format("the server asks for '{}', which was not offered",
                                                 one_line(method, 60)));
    }
  }
  co_return answers;
}

asio::awaitable<Result<std::vector<Json>>> Connection::list(std::string method, std::string field) {
  std::vector<Json> entries;
  std::size_t bytes = 0;
  std::string cursor;
  for (std::size_t page = 0; page < kPagesMax; ++page) {
    Json params = Json::object();
    if (!cursor.empty()) params["cursor"] = cursor;
    const auto result = co_await request(method, std::move(params), nullptr, Headers());
    if (!result) co_return tl::unexpected<Error>(result.error());
    for (const Json& entry : array_field(*result, field.c_str())) {
      if (!entry.is_object()) continue;
      bytes += dump_json(entry).size();
      entries.push_back(entry);
    }
    if (bytes > kListBytesMax) {
      co_return fail(Errc::exhausted,
                     fmt::format("{} is over {} MiB long", method, kListBytesMax >> 20));
    }
    std::string next = string_field(*result, "nextCursor");
    if (next.empty()) co_return entries;
    if (next == cursor || entries.size() > kEntriesMax) break;
    cursor = std::move(next);
  }
  co_return fail(Errc::exhausted, fmt::format("{} has no end", method));
}

/// Waits for changes of a modern server's tools (specification 2026-07-28,
/// basic/patterns/subscriptions); a legacy one tells of them unasked.
asio::awaitable<void> Connection::subscribe() {
  const Json& tools = object_field(identity_.capabilities, "tools");
  if (!bool_field(tools, "listChanged", false)) co_return;
  for (int failures = 0; failures < kListenFailuresMax && !is_closed(); ++failures) {
    Json params = {{"notifications", {{"toolsListChanged", true}}}};
    const auto end = co_await ask("subscriptions/listen", std::move(params), nullptr, Headers());
    if (is_closing_ || (!end && end.error().code == Errc::cancelled)) co_return;
    if (end && end->kind == Message::Kind::error) co_return;
    boost::system::error_code error;
    asio::steady_timer pause(executor_, kListenPause);
    co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return;
  }
}

asio::awaitable<void> Connection::close() {
  is_closing_ = true;
  tasks_.cancel();
  if (transport_ != nullptr) {
    co_await transport_->close();
  }
  co_await tasks_.join();
}

std::string Connection::last_words() const {
  constexpr std::size_t kBytesMax = 300;
  if (transport_ == nullptr) return {};
  const std::string words = transport_->last_words();
  const std::size_t begin = words.size() > kBytesMax ? words.size() - kBytesMax : 0;
  return one_line(std::string_view(words).substr(begin), kBytesMax);
}

std::shared_ptr<Caller> Connection::caller_of(std::int64_t owner) const {
  if (owner != 0) {
    const auto it = callers_.find(owner);
    return it == callers_.end() ? nullptr : it->second;
  }
  // One stream carries everything and does not say for whom: with two calls under way, nobody but
  // the server knows whose person it asks.
  return callers_.size() == 1 ? callers_.begin()->second : nullptr;
}

void Connection::on_message(Message message, std::int64_t owner) {
  if (message.kind == Message::Kind::request) {
    if (identity_.era == Era::legacy && !is_closing_) {
      tasks_.spawn(answer(std::move(message), owner));
    }
    return;  // a modern server may not ask in this way, and may not be answered
  }
  if (message.method == "notifications/progress") return on_progress(message.params);
  if (message.method == "notifications/message") return on_log(message.params, owner);
  if (message.method == "notifications/tools/list_changed") has_tool_change_ = true;
}

void Connection::on_garbage(const std::string& what) {
  ++garbage_lines_;
  last_garbage_ = one_line(what, kTextBytesMax);
  const std::shared_ptr<Caller> caller = caller_of(0);
  if (caller != nullptr) caller->on_log("the server said something that is no message: " + what);
}

std::string Connection::garbage() const {
  if (garbage_lines_ == 0) return {};
  if (garbage_lines_ == 1) return fmt::format("it sent what is no message: {}", last_garbage_);
  return fmt::format("it sent {} lines that are no messages, the last: {}", garbage_lines_,
                     last_garbage_);
}

void Connection::on_progress(const Json& params) {
  const auto token = params.find("progressToken");
  if (token == params.end() || !token->is_number_integer()) return;
  const auto it = callers_.find(token->get<std::int64_t>());
  if (it == callers_.end()) return;
  const auto number = [&params](const char* name) {
    const auto field = params.find(name);
    return field != params.end() && field->is_number() ? field->get<double>() : 0.0;
  };
  std::optional<double> share;
  if (number("total") > 0) share = std::clamp(number("progress") / number("total"), 0.0, 1.0);
  it->second->on_progress(one_line(string_field(params, "message"), kTextBytesMax), share);
}

void Connection::on_log(const Json& params, std::int64_t owner) {
  const std::shared_ptr<Caller> caller = caller_of(owner);
  if (caller == nullptr) return;
  const auto data = params.find("data");
  std::string text;
  if (data != params.end()) text = data->is_string() ? data->get<std::string>() : dump_json(*data);
  caller->on_log(fmt::format("{}: {}", one_line(string_field(params, "level", "info"), 20),
                             one_line(text, kTextBytesMax)));
}

asio::awaitable<void> Connection::answer(Message request, std::int64_t owner) {
  std::string text;
  if (num_answering_ < kAnsweringMax) {
    ++num_answering_;
    text = co_await answer_text(std::move(request), owner);
    --num_answering_;
  } else {
    text = error_text(request.id, -32603, "too many requests at the same time");
  }
  Outgoing message(std::move(text));
  const Status ignored = co_await transport_->send(std::move(message));
  (void)ignored;  // a server that has gone needs no answer
}

asio::awaitable<std::string> Connection::answer_text(Message request, std::int64_t owner) {
  if (request.method == "ping") co_return result_text(request.id, Json::object());
  if (request.method == "roots/list" && !options_.roots.empty()) {
    co_return result_text(request.id, roots_result(options_.roots));
  }
  if (request.method == "elicitation/create") {
    const std::shared_ptr<Caller> caller = caller_of(owner);
    Json result = {{"action", "cancel"}};
    if (caller != nullptr && caller->can_be_asked()) {
      result = co_await caller->elicit(std::move(request.params));
    }
    co_return result_text(request.id, result);
  }
  co_return error_text(request.id, kMethodNotFound,
                       fmt::format("ponder does not offer '{}'", one_line(request.method, 60)));
}

}  // namespace ponder::mcp
