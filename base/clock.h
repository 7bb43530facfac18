#pragma once

#include <chrono>
#include <cstdint>

namespace ponder {

/// Time as the runtime sees it, so that tests can stand still or jump.
///
/// Thread: implementations are safe to call from any thread.
class Clock {
 public:
  using Instant = std::chrono::steady_clock::time_point;
  virtual ~Clock() = default;
  /// Monotonic time, for deadlines and durations.
  virtual Instant now() const = 0;
  /// Milliseconds since the Unix epoch, for what people read; may jump.
  virtual std::int64_t unix_ms() const = 0;
};

/// The machine's clock. Lives for the whole program.
const Clock& system_clock() noexcept;

/// The instant by which work must have ended. Passed down a call tree unchanged: no inner step
/// waits longer than the outermost one allows.
class Deadline {
 public:
  static Deadline never() { return Deadline(Clock::Instant::max()); }
  static Deadline after(const Clock& clock, std::chrono::milliseconds budget) {
    return Deadline(clock.now() + budget);
  }
  /// The earlier of the two.
  static Deadline earlier(Deadline a, Deadline b) { return a.at_ < b.at_ ? a : b; }
  explicit Deadline(Clock::Instant at) : at_(at) {}
  bool is_never() const { return at_ == Clock::Instant::max(); }
  bool passed(const Clock& clock) const { return !is_never() && clock.now() >= at_; }
  Clock::Instant at() const { return at_; }

 private:
  Clock::Instant at_;
};

}  // namespace ponder
