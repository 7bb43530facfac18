#include "engine/waiting_queues.h"

namespace ponder::engine {

void WaitingQueues::push_back(Request& request) {
  auto& queue = queues_[class_of(request)];
  request.place = queue.insert(queue.end(), &request);
}

void WaitingQueues::push_front(Request& request) {
  auto& queue = queues_[class_of(request)];
  request.place = queue.insert(queue.begin(), &request);
}

void WaitingQueues::erase(Request& request) { queues_[class_of(request)].erase(request.place); }

bool WaitingQueues::took_turn(const Request& request) {
  const std::size_t own = class_of(request);
  passed_over_[own] = 0;
  bool is_ahead_of_higher = false;
  for (std::size_t c = 0; c < kPriorities; ++c) {
    if (queues_[c].empty()) continue;
    passed_over_[c] += c < own ? 1 : 0;
    is_ahead_of_higher = is_ahead_of_higher || c > own;
  }
  return is_ahead_of_higher;
}

Request* WaitingQueues::next() const {
  Request* next = nullptr;
  for (std::size_t c = 0; c < kPriorities; ++c) {
    if (queues_[c].empty()) continue;
    next = queues_[c].front();
    if (passed_over_[c] >= kPassedOverMax) break;
  }
  return next;
}

Request* WaitingQueues::last() const {
  for (const auto& queue : queues_) {
    if (!queue.empty()) return queue.back();
  }
  return nullptr;
}

}  // namespace ponder::engine
