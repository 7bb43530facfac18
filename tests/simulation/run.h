#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstddef>
#include <set>

#include "base/async/timer.h"
#include "tests/simulation/scene.h"
#include "tests/simulation/witness.h"

namespace ponder::simulation {

/// A simulated process, as those who work in it see it.
struct ProcessFacts {
  std::size_t number = 0;
  bool is_dead = false;  // what it does from now on reaches nobody
  std::set<Timer*> stubborn;  // waits that no cancellation ends; death does
};

/// One process at work on one session: what its tools, its model and its person share.
struct Run {
  Run(Scene& scene, Witness& witness, ProcessFacts& process, SessionFacts& session, Random random)
      : scene(&scene), witness(&witness), process(&process), session(&session), random(random) {}

  bool strikes(Fault fault) { return scene->plan.strikes(fault, random); }
  bool is_dead() const { return process->is_dead; }
  int num_live() const { return live_calls + live_requests + live_questions; }

  /// Waits whatever happens, short of the death of the process. Requires: a coroutine of its own.
  boost::asio::awaitable<void> insist(std::chrono::milliseconds how_long);
  /// Who waits for something with a deadline is cancelled in time.
  void expect_in_time(Deadline deadline, Clock::Instant began, const char* who);

  static constexpr std::chrono::milliseconds kStubbornMax{3000};

  Scene* scene;
  Witness* witness;
  ProcessFacts* process;
  SessionFacts* session;
  Random random;
  int live_calls = 0;
  int live_requests = 0;
  int live_questions = 0;
  std::chrono::milliseconds insisted{0};  // all together, in the turn that runs
};

/// Counts who is inside while it lives.
class Inside {
 public:
  explicit Inside(int& count) : count_(&count) { ++*count_; }
  ~Inside() { --*count_; }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;

 private:
  int* count_;
};

}  // namespace ponder::simulation
