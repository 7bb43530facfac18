#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/async/slots.h"
#include "base/async/with_deadline.h"
#include "base/clock.h"
#include "base/result.h"
#include "runtime/agent/question.h"
#include "runtime/session/event.h"
#include "tools/tool.h"

namespace ponder::runtime {

class Agent;

inline constexpr std::uint32_t kQuestionsCallMax = 100;
inline constexpr std::uint32_t kNotesCallMax = 1000;
inline constexpr std::size_t kNoteKindBytesMax = 64;
inline constexpr std::size_t kNoteBytesMax = std::size_t{16} << 10;
inline constexpr std::size_t kProgressBytesMax = 200;  // what is longer is cut
inline constexpr std::uint32_t kValuesCallMax = 1000;  // that one call sets
inline constexpr std::size_t kKeyBytesMax = 256;
inline constexpr std::size_t kValueBytesMax = std::size_t{64} << 10;
inline constexpr std::size_t kKeysToolMax = 1000;  // that a tool has in a session
inline constexpr std::size_t kKeptBytesToolMax = std::size_t{1} << 20;  // keys and values

/// Where a call runs among those of its tool.
class CallPlace {
 public:
  /// `slots` is nullptr when any number may run; otherwise it outlives this.
  explicit CallPlace(Slots* slots) : slots_(slots) {}
  /// Waits for the place; false when the coroutine is cancelled. Nothing when it is there.
  /// Requires: the caller has called throw_if_cancelled(false).
  boost::asio::awaitable<bool> take();
  void give_back() { lease_.reset(); }

 private:
  Slots* slots_;
  std::optional<Slots::Lease> lease_;
};

/// When a call must have ended. While a person is waited for only `latest` counts, and afterwards
/// `usual` is as much later.
struct CallTime {
  CallTime(const Clock& clock, Deadline usual, Deadline latest)
      : clock(&clock), usual(usual), latest(latest) {}
  const Clock* clock;
  Deadline usual;
  Deadline latest;
  DeadlineMover mover;
};

/// What a session does for one call: events of its log, and questions to the person of its agent.
///
/// Thread: the agent's executor. Lifetime: the call; the others outlive it.
class SessionServices final : public tools::CallServices {
 public:
  /// Requires: the call is open.
  SessionServices(Agent& agent, std::uint32_t call_index, CallTime& time, CallPlace& place);

  boost::asio::awaitable<Result<std::string>> ask(tools::Question question) override;
  Clock::Instant::duration waited() const override;
  void progress(std::string_view text, std::optional<double> share) override;
  boost::asio::awaitable<Status> note(tools::Note note) override;
  std::optional<std::string> value(std::string_view key) const override;
  boost::asio::awaitable<Status> set_value(std::string key,
                                           std::optional<std::string> value) override;

 private:
  boost::asio::awaitable<Result<std::string>> put(tools::Question question);
  /// What the log says about the call's n-th question, if it was this one.
  const QuestionAnswered* known_answer(std::uint32_t n, const PersonQuestion& question) const;
  /// From here on the call has neither time nor a place that it could use up.
  void begin_waiting();
  /// False when the call was cancelled.
  boost::asio::awaitable<bool> end_waiting();
  Status check_value(const std::string& key, const std::optional<std::string>& value) const;
  boost::asio::awaitable<Status> append(Event event);

  Agent* agent_;
  std::uint32_t step_;
  std::uint32_t call_index_;
  std::string tool_;
  CallTime* time_;
  CallPlace* place_;
  std::uint32_t num_questions_ = 0;
  std::uint32_t num_notes_ = 0;
  std::uint32_t num_values_ = 0;
  std::uint32_t num_waiting_ = 0;  // questions that are open now
  Clock::Instant waiting_since_;
  Clock::Instant::duration waited_{};
};

}  // namespace ponder::runtime
