#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <list>

#include "engine/request.h"

namespace ponder::engine {

/// Requests that wait for the same thing, and whose turn it is: the first of the highest priority,
/// unless kPassedOverMax of higher priorities went ahead of a lower one's first.
///
/// A request stands in one of these at a time (Request::place). Thread: none; the engine's thread.
/// Cost: every call takes constant time.
class WaitingQueues {
 public:
  static constexpr std::uint32_t kPassedOverMax = 8;

  void push_back(Request& request);
  void push_front(Request& request);
  /// It waits no longer, or its turn has come. Requires: it stands here.
  void erase(Request& request);
  /// The turn of this one has come, and it was erased: others were passed over. Returns whether
  /// some of higher priority wait still, so that it had been passed over for long.
  bool took_turn(const Request& request);

  /// Whose turn it is; null: nobody waits.
  Request* next() const;
  /// The last of the lowest priority; null: nobody waits.
  Request* last() const;

  /// Of a request's priority, the lowest first.
  static std::size_t class_of(const Request& request) {
    return static_cast<std::size_t>(request.spec.priority);
  }

 private:
  static constexpr std::size_t kPriorities = 3;
  std::array<std::list<Request*>, kPriorities> queues_;
  std::array<std::uint32_t, kPriorities> passed_over_{};  // turns ahead of each queue's first
};

}  // namespace ponder::engine
