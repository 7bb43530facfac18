#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <variant>
#include <vector>

#include "base/result.h"
#include "engine/engine.h"
#include "engine/request.h"

namespace ponder::engine {

/// What an engine is asked for, until its thread takes it; and what it says about itself.
///
/// Thread: any; take() and publish() belong to the engine's.
class Inbox {
 public:
  explicit Inbox(std::size_t requests_waiting_max) : requests_waiting_max_(requests_waiting_max) {}

  struct Truncation {
    RequestId id;
    std::size_t num_tokens;
    std::uint64_t seed;
  };
  struct Cancellation {
    RequestId id;
  };
  using Message = std::variant<std::unique_ptr<Request>, Truncation, Cancellation>;
  struct Contents {
    std::vector<Message> messages;  // in the order in which they came
    std::vector<std::unique_ptr<Request>> shadows;
  };

  /// Gives the request its id. Fails (exhausted) when too many wait.
  Result<RequestId> submit(std::unique_ptr<Request> request);
  /// Of too many the oldest is forgotten.
  void submit_shadow(std::unique_ptr<Request> request);
  void send(Message message);

  Contents take();

  /// As of the end of a step; `num_shadow` prompts for idle time are the scheduler's.
  void publish(const EngineStats& stats, std::size_t num_shadow);
  EngineStats stats() const;
  bool has_shadow() const { return num_shadow_.load(std::memory_order_acquire) > 0; }

 private:
  const std::size_t requests_waiting_max_;
  mutable std::mutex mutex_;  // guards what follows
  Contents contents_;
  std::size_t num_submitted_ = 0;     // requests among the messages
  std::size_t num_taken_ = 0;         // since the last publish(), whose numbers lack them
  std::size_t num_shadow_taken_ = 0;  // that the scheduler has
  std::uint64_t next_id_ = 1;
  EngineStats published_;
  std::atomic<std::size_t> num_shadow_{0};  // here and there
};

}  // namespace ponder::engine
