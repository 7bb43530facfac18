#include "runtime/agent/session_services.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/this_coro.hpp>
#include <cmath>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "runtime/agent/agent.h"
#include "runtime/agent/call_gate.h"
#include "runtime/model/next_turn.h"
#include "runtime/text.h"

namespace ponder::runtime {
namespace asio = boost::asio;
namespace {

Status expect_text(const char* what, std::string_view text, std::size_t bytes_max) {
  if (text.size() > bytes_max) {
    return fail(Errc::invalid_argument,
                fmt::format("{} of {} bytes, of {} at most", what, text.size(), bytes_max));
  }
  if (clean_utf8(text) == text) return {};
  return fail(Errc::invalid_argument, fmt::format("{} is no UTF-8", what));
}

}  // namespace

asio::awaitable<bool> CallPlace::take() {
  if (slots_ == nullptr || lease_) co_return true;
  auto place = co_await slots_->take();
  if (!place) co_return false;
  lease_.emplace(std::move(*place));
  co_return true;
}

SessionServices::SessionServices(Agent& agent, std::uint32_t call_index, CallTime& time,
                                 CallPlace& place)
    : agent_(&agent),
      step_(agent.state_.step - 1),
      call_index_(call_index),
      tool_(agent.state_.calls[call_index].call.name),
      time_(&time),
      place_(&place) {}

asio::awaitable<Status> SessionServices::append(Event event) {
  // What was begun is written, also when the call has been cancelled by now.
  const bool throws_if_cancelled = co_await asio::this_coro::throw_if_cancelled();
  co_await asio::this_coro::throw_if_cancelled(false);
  std::vector<Event> events;
  events.push_back(std::move(event));
  const Status written = co_await agent_->append(std::move(events));
  co_await asio::this_coro::throw_if_cancelled(throws_if_cancelled);
  co_return written;
}

asio::awaitable<Result<std::string>> SessionServices::ask(tools::Question question) {
  const bool throws_if_cancelled = co_await asio::this_coro::throw_if_cancelled();
  co_await asio::this_coro::throw_if_cancelled(false);
  auto answer = co_await put(std::move(question));
  co_await asio::this_coro::throw_if_cancelled(throws_if_cancelled);
  co_return answer;
}

const QuestionAnswered* SessionServices::known_answer(std::uint32_t n,
                                                      const PersonQuestion& question) const {
  const std::vector<QuestionState>& known = agent_->state_.calls[call_index_].questions;
  if (n >= known.size()) return nullptr;
  const std::optional<QuestionAnswered>& answered = known[n].answered;
  if (!answered) return nullptr;
  const bool is_same =
      known[n].asked.text == question.text && known[n].asked.choices == question.choices;
  return is_same ? &*answered : nullptr;
}

asio::awaitable<Result<std::string>> SessionServices::put(tools::Question question) {
  if (num_questions_ >= kQuestionsCallMax) {
    co_return fail(Errc::exhausted, fmt::format("the call has asked {} questions", num_questions_));
  }
  const std::string call = idempotency_key(agent_->id_, agent_->state_.origins.back(), call_index_);
  auto posed = question_of(question, tool_, call);
  PONDER_CO_CHECK(posed);
  const std::uint32_t n = num_questions_++;
  if (const QuestionAnswered* const known = known_answer(n, *posed)) co_return answer_of(*known);
  const QuestionPolicy policy = agent_->parts_.questions;
  if (policy.respondent == nullptr) co_return fail(Errc::unavailable, "nobody is here to be asked");
  if (agent_->state_.task) posed->sub_agent = agent_->id_.value;
  Event asked = QuestionAsked{step_, call_index_, n, posed->text, posed->choices};
  const Status written = co_await append(std::move(asked));
  PONDER_CO_CHECK(written);
  expect_results(*agent_->parts_.model, agent_->state_);

  begin_waiting();
  const std::chrono::milliseconds patience(policy.answer_ms_max);
  const Deadline own = Deadline::after(*time_->clock, patience);
  auto work = policy.respondent->answer(*posed);
  auto words = co_await with_deadline(std::move(work), Deadline::earlier(own, time_->latest));
  const bool was_withdrawn = !words && words.error().code == Errc::cancelled;
  Result<std::string> answer = fail(Errc::cancelled, "the question was withdrawn");
  if (!was_withdrawn) {
    QuestionAnswered ended{step_, call_index_, n, {}, {}};
    ended = answer_event(std::move(ended), *posed, words);
    answer = answer_of(ended);
    Event event = std::move(ended);
    const Status noted = co_await append(std::move(event));
    if (!noted) answer = tl::unexpected<Error>(noted.error());
  }
  const bool goes_on = co_await end_waiting();
  if (!goes_on) co_return fail(Errc::cancelled, "the call was cancelled");
  co_return answer;
}

void SessionServices::begin_waiting() {
  if (num_waiting_++ > 0) return;
  waiting_since_ = time_->clock->now();
  place_->give_back();
  time_->mover.move_to(time_->latest);
}

asio::awaitable<bool> SessionServices::end_waiting() {
  bool has_place = true;
  if (num_waiting_ == 1) {
    has_place = co_await place_->take();
    if (num_waiting_ > 1) place_->give_back();  // another question has come up meanwhile
  }
  if (--num_waiting_ > 0) co_return has_place;
  waited_ += time_->clock->now() - waiting_since_;
  const Deadline own =
      time_->usual.is_never() ? time_->usual : Deadline(time_->usual.at() + waited_);
  time_->mover.move_to(Deadline::earlier(own, time_->latest));
  co_return has_place;
}

Clock::Instant::duration SessionServices::waited() const {
  if (num_waiting_ == 0) return waited_;
  return waited_ + (time_->clock->now() - waiting_since_);
}

void SessionServices::progress(std::string_view text, std::optional<double> share) {
  CallProgress progress;
  progress.call_index = call_index_;
  progress.tool = tool_;
  // A character that the first cut splits lies behind the second.
  const std::string clean = clean_utf8(text.substr(0, kProgressBytesMax + 4));
  progress.text = cut_utf8(clean, kProgressBytesMax);
  if (share && std::isfinite(*share)) progress.share = std::clamp(*share, 0.0, 1.0);
  tell_all(agent_->parts_.sinks, [&](EventSink& sink) { sink.on_progress(agent_->id_, progress); });
}

asio::awaitable<Status> SessionServices::note(tools::Note note) {
  if (num_notes_ >= kNotesCallMax) {
    co_return fail(Errc::exhausted, fmt::format("the call has left {} notes", num_notes_));
  }
  if (note.kind.empty()) co_return fail(Errc::invalid_argument, "a note without a kind");
  PONDER_CO_CHECK(expect_text("a note's kind", note.kind, kNoteKindBytesMax));
  note.content = clean_utf8(note.content);
  PONDER_CO_CHECK(expect_text("a note", note.content, kNoteBytesMax));
  ++num_notes_;
  Event event = ToolNoted{step_, call_index_, std::move(note.kind), std::move(note.content)};
  const Status written = co_await append(std::move(event));
  co_return written;
}

std::optional<std::string> SessionServices::value(std::string_view key) const {
  const auto& kept = agent_->state_.kept_values;
  const auto found = kept.find({tool_, std::string(key)});
  if (found == kept.end()) return std::nullopt;
  return found->second;
}

Status SessionServices::check_value(const std::string& key,
                                    const std::optional<std::string>& value) const {
  if (key.empty()) return fail(Errc::invalid_argument, "a value without a key");
  PONDER_CHECK(expect_text("a key", key, kKeyBytesMax));
  if (!value) return {};
  PONDER_CHECK(expect_text("a value", *value, kValueBytesMax));
  std::size_t keys = 1;
  std::size_t bytes = key.size() + value->size();
  const auto& kept = agent_->state_.kept_values;
  for (auto it = kept.lower_bound({tool_, ""}); it != kept.end() && it->first.first == tool_;
       ++it) {
    if (it->first.second == key) continue;
    ++keys;
    bytes += it->first.second.size() + it->second.size();
  }
  if (keys <= kKeysToolMax && bytes <= kKeptBytesToolMax) return {};
  return fail(Errc::exhausted,
              fmt::format("{} would keep {} values of {} bytes; there is room for {} of {}", tool_,
                          keys, bytes, kKeysToolMax, kKeptBytesToolMax));
}

asio::awaitable<Status> SessionServices::set_value(std::string key,
                                                   std::optional<std::string> value) {
  PONDER_CO_CHECK(check_value(key, value));
  if (this->value(key) == value) co_return Status();
  if (num_values_ >= kValuesCallMax) {
    co_return fail(Errc::exhausted, fmt::format("the call has set {} values", num_values_));
  }
  ++num_values_;
  Event event = ToolValueSet{step_, call_index_, tool_, std::move(key), std::move(value)};
  const Status written = co_await append(std::move(event));
  co_return written;
}

}  // namespace ponder::runtime
