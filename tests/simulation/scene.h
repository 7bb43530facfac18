#pragma once

#include <fmt/format.h>

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "base/async/timer.h"
#include "base/clock.h"
#include "tests/simulation/plan.h"

namespace ponder::simulation {

/// A clock that moves when the simulation says so; its wall clock may jump, the other never.
class SimulatedClock final : public Clock {
 public:
  Instant now() const override { return now_; }
  std::int64_t unix_ms() const override {
    return wall_ms_ +
           std::chrono::duration_cast<std::chrono::milliseconds>(now_.time_since_epoch()).count();
  }
  void advance_to(Instant instant) { now_ = std::max(now_, instant); }
  void jump(std::int64_t ms) { wall_ms_ += ms; }

 private:
  Instant now_ = Instant(std::chrono::hours(1));
  std::int64_t wall_ms_ = 1'760'000'000'000;
};

/// A rule that did not hold.
struct Violation {
  std::string rule;
  std::string what;
};

/// What happened, line by line: printed on demand, and hashed always, so that two runs can be
/// compared. The first rule that did not hold ends the run.
class Story {
 public:
  explicit Story(const SimulatedClock& clock, bool is_told) : clock_(&clock), is_told_(is_told) {}

  template <class... Args>
  void say(fmt::format_string<Args...> format, Args&&... args) {
    line_.clear();
    fmt::format_to(std::back_inserter(line_), format, std::forward<Args>(args)...);
    take_line();
  }
  template <class... Args>
  void violated(const char* rule, fmt::format_string<Args...> format, Args&&... args) {
    if (violation_) return;
    violation_ = Violation{rule, fmt::format(format, std::forward<Args>(args)...)};
    say("VIOLATED {}: {}", violation_->rule, violation_->what);
  }
  const std::optional<Violation>& violation() const { return violation_; }
  std::uint64_t hash() const { return hash_; }

 private:
  void take_line();
  const SimulatedClock* clock_;
  bool is_told_;
  std::string line_;
  std::uint64_t hash_ = 0xCBF29CE484222325U;
  std::optional<Violation> violation_;
};

/// What all parts of a run share: one thread, one clock, one story.
struct Scene {
  Scene(Plan plan, bool is_told)
      : plan(std::move(plan)),
        story(clock, is_told),
        home(1),
        time(boost::asio::make_service<ManualTime>(home)) {}

  /// Waits in simulated time; false when it was cancelled before.
  boost::asio::awaitable<bool> pause(std::chrono::milliseconds how_long);

  const Plan plan;
  SimulatedClock clock;
  Story story;
  boost::asio::io_context home;  // where everything but the writing of the store runs
  ManualTime& time;
  std::chrono::milliseconds disk_busy{0};  // the time that disks took so far, all together
  Clock::Instant disk_free_at;             // when all of them will be done with that
};

/// A text as a careless program or person might hand it over.
std::string foreign_text(Random& random);

}  // namespace ponder::simulation
