#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <utility>

#include "context/message.h"

namespace ponder::context {

/// A conversation whose copies share their messages until one of them changes: a request may hold
/// all of a long history, and making one takes the same time however long it is.
///
/// Invariant: what one copy holds never changes through another.
/// Thread: one at a time for each copy; copies may be on different threads.
class SharedConversation {
 public:
  SharedConversation() : SharedConversation(Conversation()) {}
  SharedConversation(Conversation messages)  // NOLINT(google-explicit-constructor)
      : messages_(std::make_shared<Conversation>(std::move(messages))) {}
  // A moved-from conversation would have no messages to share, so moving copies.
  SharedConversation(const SharedConversation&) = default;
  SharedConversation& operator=(const SharedConversation&) = default;

  // NOLINTNEXTLINE(google-explicit-constructor)
  operator const Conversation&() const { return *messages_; }
  const Conversation& operator*() const { return *messages_; }
  const Message& operator[](std::size_t i) const { return (*messages_)[i]; }
  const Message& front() const { return messages_->front(); }
  const Message& back() const { return messages_->back(); }
  auto begin() const { return messages_->cbegin(); }
  auto end() const { return messages_->cend(); }
  std::size_t size() const { return messages_->size(); }
  bool empty() const { return messages_->empty(); }

  void push_back(Message message) { edit().push_back(std::move(message)); }
  /// To be changed. The messages are copied first if somebody shares them.
  Conversation& edit() {
    if (messages_.use_count() > 1) messages_ = std::make_shared<Conversation>(*messages_);
    // Whoever shared them until now, perhaps on another thread, has read his last.
    std::atomic_thread_fence(std::memory_order_acquire);
    return *messages_;
  }

 private:
  std::shared_ptr<Conversation> messages_;  // shared by copies; changed by a sole holder only
};

}  // namespace ponder::context
