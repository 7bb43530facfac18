#include "runtime/model/remote_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/this_coro.hpp>
#include <charconv>
#include <utility>

#include "base/async/timer.h"
#include "base/http/sse.h"
#include "runtime/model/chat_answer.h"
#include "runtime/session/session_state.h"

namespace ponder::runtime {
namespace asio = boost::asio;
using std::chrono::milliseconds;
namespace {

constexpr std::size_t kEventBytesMax = 8 * 1024 * 1024;
constexpr std::size_t kWholeBytesMax = 64 * 1024 * 1024;
constexpr milliseconds kRetryAfterMax{120'000};  // longer is no pause but a refusal

/// Reads the body of a 2xx response, streamed or whole.
class AnswerReader {
 public:
  AnswerReader(const ModelSink* sink, const Clock& clock)
      : answer_(sink), events_(kEventBytesMax), clock_(&clock), begun_at_(clock.now()) {}

  Status take(const http::Response& head, std::string_view piece) {
    const auto type = head.headers.find("content-type");
    is_whole_ = type != head.headers.end() && type->second.starts_with("application/json");
    if (is_whole_) {
      if (whole_.size() + piece.size() > kWholeBytesMax) {
        return fail(Errc::exhausted, "the endpoint's answer is too long");
      }
      whole_ += piece;
      return {};
    }
    const Status status =
        events_.feed(piece, [this](std::string_view data) { return answer_.take_chunk(data); });
    if (answer_.has_begun() && !first_at_) first_at_ = clock_->now();
    return status;
  }

  Result<Completion> finish() {
    if (is_whole_) {
      PONDER_CHECK(answer_.take_whole(whole_));
    }
    PONDER_TRY(Completion completion, answer_.finish());
    const auto now = clock_->now();
    const auto first = first_at_.value_or(now);
    completion.usage.prefill_ms =
        std::chrono::duration<double, std::milli>(first - begun_at_).count();
    completion.usage.decode_ms = std::chrono::duration<double, std::milli>(now - first).count();
    return completion;
  }
  bool has_begun() const { return answer_.has_begun(); }
  Usage usage_so_far() const { return answer_.usage_so_far(); }
  bool has_ended() const { return answer_.has_ended(); }

 private:
  ChatAnswer answer_;
  http::SseReader events_;
  std::string whole_;
  bool is_whole_ = false;
  const Clock* clock_;
  Clock::Instant begun_at_;
  std::optional<Clock::Instant> first_at_;
};

std::optional<milliseconds> retry_after_of(const http::Response& response) {
  const auto found = response.headers.find("retry-after");
  if (found == response.headers.end()) return std::nullopt;
  const std::string& text = found->second;
  std::uint32_t seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return std::chrono::seconds(seconds);
}

/// The log says what an answer was had without, and that others were paid for and void.
void add_notes(const RequestForm& form, std::uint32_t num_attempts, Completion& completion) {
  std::string left_out = omissions(form);
  if (!left_out.empty()) completion.notes.push_back(std::move(left_out));
  if (num_attempts > 1) completion.notes.push_back(fmt::format("asked {} times", num_attempts));
}

/// Answers that broke off and were void, but were paid for.
class VoidAnswers {
 public:
  void add(const Usage& usage) {
    add_usage(usage_, usage);
    if (usage.tokens_prompt == 0) ++num_without_prompt_;
  }
  /// In all, where the same prompt had this answer in the end.
  Usage usage(const Usage& answered) const {
    Usage out = usage_;
    out.tokens_prompt += num_without_prompt_ * answered.tokens_prompt;
    return out;
  }

 private:
  Usage usage_;
  std::uint64_t num_without_prompt_ = 0;
};

bool is_passing(int status) { return status == 408 || status == 429 || status >= 500; }

}  // namespace

Result<std::unique_ptr<RemoteModel>> RemoteModel::create(RemoteOptions options,
                                                         std::unique_ptr<http::Client> client) {
  std::string address = options.base_url;
  while (address.ends_with('/')) address.pop_back();
  PONDER_TRY(http::Url url, http::parse_url(address + "/chat/completions"));
  return std::unique_ptr<RemoteModel>(
      new RemoteModel(std::move(options), std::move(url), std::move(client)));
}

Result<std::unique_ptr<RemoteModel>> RemoteModel::create(RemoteOptions options) {
  http::ClientOptions client_options;
  client_options.connect_ms_max = options.connect_ms_max;
  client_options.idle_ms_max = options.idle_ms_max;
  client_options.ca_file = options.ca_file;
  PONDER_TRY(auto client, http::Client::create(std::move(client_options)));
  return create(std::move(options), std::move(client));
}

RemoteModel::RemoteModel(RemoteOptions options, http::Url url, std::unique_ptr<http::Client> client)
    : options_(std::move(options)),
      url_(std::move(url)),
      client_(std::move(client)),
      jitter_(options_.jitter_seed ? *options_.jitter_seed : std::random_device{}()) {}

std::string RemoteModel::description() const {
  if (options_.model.empty()) return options_.base_url;
  return fmt::format("{} {}", options_.base_url, options_.model);
}

RemoteModel::Attempt RemoteModel::judge(const http::Response& response) const {
  Attempt out;
  std::string words = error_words(response.body);
  if (words.empty()) words = "no explanation";
  out.may_repeat = is_passing(response.status);
  out.is_form_refused = response.status == 400 || response.status == 422;
  out.retry_after = retry_after_of(response);
  std::string_view advice;
  if (response.status == 401 || response.status == 403) advice = " (see PONDER_API_KEY)";
  if (response.status == 404)
    advice = " (see --model, an address like http://host/v1, and --model-name)";
  out.error =
      Error(out.may_repeat ? Errc::unavailable : Errc::invalid_argument,
            fmt::format("{} answered {}{}: {}", options_.base_url, response.status, advice, words));
  return out;
}

asio::awaitable<RemoteModel::Attempt> RemoteModel::attempt(std::string body,
                                                           const ModelSink* sink) {
  http::Request request("POST", url_);
  request.headers.emplace_back("Content-Type", "application/json");
  request.headers.emplace_back("Accept", "text/event-stream, application/json");
  if (!options_.api_key.empty()) {
    request.headers.emplace_back("Authorization", "Bearer " + options_.api_key);
  }
  request.body = std::move(body);
  AnswerReader reader(sink, *options_.clock);
  http::BodySink take = [&reader](const http::Response& head, std::string_view piece) {
    return reader.take(head, piece);
  };
  const auto response = co_await client_->send(std::move(request), std::move(take));
  Attempt out;
  if (response && (response->status < 200 || response->status >= 300)) co_return judge(*response);
  const bool is_lost = !response && response.error().code == Errc::unavailable;
  if (response || (is_lost && reader.has_ended())) {  // whatever was lost behind the end
    auto completion = reader.finish();
    if (completion) {
      out.completion = std::move(*completion);
      co_return out;
    }
    out.error = completion.error();
  } else {
    out.error = response.error();
  }
  out.is_form_refused = out.error.code == Errc::invalid_argument && response.has_value();
  if (out.error.message.find(url_.host) == std::string::npos) {
    out.error.message = options_.base_url + ": " + out.error.message;
  }
  out.has_begun = reader.has_begun();
  out.usage = reader.usage_so_far();
  out.may_repeat = out.error.code == Errc::unavailable;
  co_return out;
}

milliseconds RemoteModel::pause_before(std::uint32_t attempt, const Attempt& failed) {
  if (failed.retry_after) {
    return std::max(*failed.retry_after, options_.backoff_ms_min);
  }
  const std::uint32_t doublings = std::min(attempt, 20U);
  const milliseconds longest =
      std::min(options_.backoff_ms_max, options_.backoff_ms_min * (1U << doublings));
  std::uniform_int_distribution<std::int64_t> spread(longest.count() / 2, longest.count());
  return milliseconds(spread(jitter_));
}

asio::awaitable<Result<Completion>> RemoteModel::complete(ModelRequest request, ModelSink sink) {
  const auto executor = co_await asio::this_coro::executor;
  RequestForm form = form_;
  VoidAnswers void_answers;
  for (std::uint32_t number = 1;; ++number) {
    auto body = chat_request_body(request, options_.model, form);
    PONDER_CO_CHECK(body);
    Attempt result = co_await attempt(std::move(*body), &sink);
    if (result.completion) {
      form_ = form;
      add_notes(form, number, *result.completion);
      result.completion->usage_void = void_answers.usage(result.completion->usage);
      co_return std::move(*result.completion);
    }
    if (result.has_begun) {
      void_answers.add(result.usage);
      const Status goes_on = request.on_void ? request.on_void(result.usage) : Status();
      if (!goes_on && result.error.code == Errc::unavailable) {
        co_return tl::unexpected<Error>(goes_on.error());
      }
    }
    if (result.is_form_refused) {
      if (auto milder = milder_form(form, request, result.error.message)) {
        form = std::move(*milder);
        continue;
      }
    }
    const milliseconds pause = pause_before(number - 1, result);
    const bool is_in_time =
        pause <= kRetryAfterMax && options_.clock->now() + pause < request.deadline.at();
    if (!result.may_repeat || number >= options_.attempts_max || !is_in_time) {
      if (result.may_repeat && pause > kRetryAfterMax) {
        const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(pause);
        result.error.message += fmt::format("; it asks to wait {} s", seconds.count());
      }
      if (number > 1) result.error.message += fmt::format(" ({} attempts)", number);
      co_return tl::unexpected<Error>(std::move(result.error));
    }
    if (result.has_begun && sink)
      sink(ModelDelta{ModelDelta::Kind::restarted, result.error.message});
    Timer timer(executor, options_.clock->now() + pause);
    const bool has_come = co_await timer.wait();
    if (!has_come) co_return fail(Errc::cancelled, "the request was cancelled");
  }
}

}  // namespace ponder::runtime
