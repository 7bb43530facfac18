#include "engine/inbox.h"

#include <fmt/format.h>

#include <utility>

#include "engine/scheduler.h"

namespace ponder::engine {

Result<RequestId> Inbox::submit(std::unique_ptr<Request> request) {
  const std::lock_guard lock(mutex_);
  const std::size_t num_waiting = published_.requests_waiting + num_taken_ + num_submitted_;
  if (num_waiting >= requests_waiting_max_) {
    return fail(Errc::exhausted, fmt::format("{} requests wait already, the limit is {}",
                                             num_waiting, requests_waiting_max_));
  }
  request->id = RequestId{next_id_++};
  const RequestId id = request->id;
  contents_.messages.emplace_back(std::move(request));
  ++num_submitted_;
  return id;
}

void Inbox::submit_shadow(std::unique_ptr<Request> request) {
  const std::lock_guard lock(mutex_);
  request->id = RequestId{next_id_++};
  auto& shadows = contents_.shadows;
  shadows.push_back(std::move(request));
  if (shadows.size() > Scheduler::kShadowMax) shadows.erase(shadows.begin());
  num_shadow_.store(shadows.size() + num_shadow_taken_, std::memory_order_release);
}

void Inbox::send(Message message) {
  const std::lock_guard lock(mutex_);
  contents_.messages.push_back(std::move(message));
}

Inbox::Contents Inbox::take() {
  const std::lock_guard lock(mutex_);
  num_taken_ += std::exchange(num_submitted_, 0);
  return std::exchange(contents_, Contents());
}

void Inbox::publish(const EngineStats& stats, std::size_t num_shadow) {
  const std::lock_guard lock(mutex_);
  num_shadow_taken_ = num_shadow;
  num_shadow_.store(contents_.shadows.size() + num_shadow, std::memory_order_release);
  published_ = stats;
  num_taken_ = 0;
}

EngineStats Inbox::stats() const {
  const std::lock_guard lock(mutex_);
  return published_;
}

}  // namespace ponder::engine
