#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <random>
#include <string>

#include "base/clock.h"
#include "base/http/http_client.h"
#include "runtime/model/chat_request.h"
#include "runtime/model/model_client.h"

namespace ponder::runtime {

struct RemoteOptions {
  std::string base_url;  // such as http://localhost:8000/v1
  std::string model;     // the name to ask for
  std::string api_key;   // empty: none is sent
  std::filesystem::path ca_file;
  std::uint32_t attempts_max = 5;
  std::chrono::milliseconds backoff_ms_min{500};  // doubles with each attempt, with jitter
  std::chrono::milliseconds backoff_ms_max{20'000};
  std::chrono::milliseconds connect_ms_max{15'000};
  std::chrono::milliseconds idle_ms_max{300'000};
  const Clock* clock = &system_clock();
  std::optional<std::uint64_t> jitter_seed;  // for runs that can be repeated
};

/// Any endpoint that speaks OpenAI's chat completions: vLLM, SGLang, llama.cpp's server, hosted
/// ones.
///
/// Asks again, with back-off and jitter, after 408, 429, 5xx, failed connections and answers that
/// break off, as long as the deadline allows; a Retry-After of up to two minutes is respected, a
/// longer one ends the request. What was streamed before is then void
/// (ModelDelta::Kind::restarted); what it cost, as far as is known, is Completion::usage_void, and
/// a note on the completion says how often was asked. Where no answer comes at all, its cost is not
/// counted. Other refusals are invalid_argument with the endpoint's own words. A request
/// that is refused as malformed is made again without the optional field that the refusal names, at
/// last without live values; what helped is done from then on and noted. The key never appears in a
/// message.
class RemoteModel final : public ModelClient {
 public:
  /// `invalid_argument` for an address that is none.
  static Result<std::unique_ptr<RemoteModel>> create(RemoteOptions options);
  /// Over a connection of the caller's.
  static Result<std::unique_ptr<RemoteModel>> create(RemoteOptions options,
                                                     std::unique_ptr<http::Client> client);

  std::string description() const override;
  std::string family() const override { return "openai"; }
  std::uint32_t tokens_context_max() const override { return 0; }
  boost::asio::awaitable<Result<Completion>> complete(ModelRequest request,
                                                      ModelSink sink) override;

 private:
  /// One attempt: the completion, or why there is none and whether another attempt makes sense.
  struct Attempt {
    std::optional<Completion> completion;
    Error error{Errc::internal, ""};
    bool may_repeat = false;
    bool is_form_refused = false;  // with less in it the request may be taken
    std::optional<std::chrono::milliseconds> retry_after;
    bool has_begun = false;
    Usage usage;  // of an answer that broke off, as far as is known
  };
  RemoteModel(RemoteOptions options, http::Url url, std::unique_ptr<http::Client> client);
  boost::asio::awaitable<Attempt> attempt(std::string body, const ModelSink* sink);
  Attempt judge(const http::Response& response) const;
  std::chrono::milliseconds pause_before(std::uint32_t attempt, const Attempt& failed);

  RemoteOptions options_;
  http::Url url_;
  std::unique_ptr<http::Client> client_;
  std::mt19937_64 jitter_;
  RequestForm form_;  // what the endpoint takes, as far as is known
};

}  // namespace ponder::runtime
