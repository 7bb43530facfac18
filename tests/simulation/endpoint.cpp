#include "tests/simulation/endpoint.h"

#include <boost/asio/this_coro.hpp>
#include <nlohmann/json.hpp>
#include <utility>

#include "tests/simulation/draft.h"

namespace ponder::simulation {
namespace asio = boost::asio;
using http::Response;
using std::chrono::milliseconds;

namespace {

std::string event_of(const nlohmann::json& data) {
  return "data: " + data.dump(-1, ' ', false, nlohmann::json::error_handler_t::ignore) + "\n\n";
}

std::string delta(nlohmann::json fields) {
  nlohmann::json choice;
  choice["delta"] = std::move(fields);
  nlohmann::json chunk;
  chunk["choices"] = nlohmann::json::array({choice});
  return event_of(chunk);
}

/// A piece of the stream goes missing, or is something else.
void damage(std::string& stream, Random& random) {
  const std::size_t at = random.below(stream.size() + 1);
  switch (random.below(4)) {
    case 0:
      stream.resize(at);
      break;
    case 1:
      stream.insert(at, foreign_text(random));
      break;
    case 2:
      stream.insert(at, "data: {\"error\": {\"message\": \"overloaded\"}}\n\n");
      break;
    default:
      stream.erase(at, 1 + random.below(30));
      break;
  }
}

}  // namespace

std::vector<std::string> SimulatedEndpoint::pieces() {
  Random& random = run_->random;
  const Draft draft = make_draft(*run_);
  std::string stream = ": hello\n\n";
  if (!draft.reasoning.empty()) stream += delta({{"reasoning_content", draft.reasoning}});
  if (!draft.content.empty()) stream += delta({{"content", draft.content}});
  for (std::size_t i = 0; i < draft.calls.size(); ++i) {
    nlohmann::json function = {{"name", draft.calls[i].first},
                               {"arguments", draft.calls[i].second}};
    nlohmann::json call = {{"index", i}, {"id", fmt::format("c{}", i)}, {"function", function}};
    nlohmann::json calls = nlohmann::json::array({call});
    stream += delta({{"tool_calls", calls}});
  }
  nlohmann::json last;
  last["choices"] = nlohmann::json::array();
  nlohmann::json choice;
  choice["delta"] = nlohmann::json::object();
  choice["finish_reason"] = draft.is_cut ? "length" : draft.calls.empty() ? "stop" : "tool_calls";
  last["choices"].push_back(choice);
  last["usage"] = {{"prompt_tokens", 100}, {"completion_tokens", random.below(200)}};
  stream += event_of(last) + "data: [DONE]\n\n";
  if (run_->strikes(Fault::network)) damage(stream, random);
  std::vector<std::string> out;
  while (!stream.empty()) {
    const std::size_t size = std::min<std::size_t>(stream.size(), 1 + random.below(400));
    out.push_back(stream.substr(0, size));
    stream.erase(0, size);
  }
  return out;
}

asio::awaitable<Result<Response>> SimulatedEndpoint::send(http::Request request,
                                                          http::BodySink sink) {
  co_await asio::this_coro::throw_if_cancelled(false);
  Random& random = run_->random;
  const auto cancelled = [] { return fail(Errc::cancelled, "the request was cancelled"); };
  run_->scene->story.say("s{} endpoint is asked, {} bytes", run_->session->number,
                         request.body.size());
  const bool is_reached = co_await run_->scene->pause(random.time_to(milliseconds(1000)));
  if (!is_reached) co_return cancelled();
  if (run_->strikes(Fault::network)) co_return fail(Errc::unavailable, "connection refused");
  Response response;
  response.status = 200;
  response.headers["content-type"] = "text/event-stream";
  if (run_->strikes(Fault::network)) {
    response.status = random.pick<int>({400, 401, 408, 429, 500, 503});
    response.body = foreign_text(random);
    if (random.chance(50)) response.headers["retry-after"] = fmt::format("{}", random.below(90));
    co_return response;
  }
  const std::vector<std::string> stream = pieces();
  for (const std::string& piece : stream) {
    const bool is_silent = run_->strikes(Fault::network) && random.chance(20);
    const milliseconds wait = is_silent ? kIdleMax : random.time_to(milliseconds(100));
    const bool has_come = co_await run_->scene->pause(wait);
    if (!has_come) co_return cancelled();
    if (is_silent) co_return fail(Errc::unavailable, "no answer in time");
    const Status taken = sink(response, piece);
    PONDER_CO_CHECK(taken);
  }
  co_return response;
}

}  // namespace ponder::simulation
