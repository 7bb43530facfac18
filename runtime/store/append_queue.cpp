#include "runtime/store/append_queue.h"

#include <algorithm>
#include <utility>
#include <variant>

namespace ponder::runtime {
namespace {

constexpr std::size_t kGroupAppendsMax = 512;  // that share a transaction

/// An effect that must not happen unless its intent is on the disk.
bool is_intent_of_effect(const Record& record) {
  const auto* intent = std::get_if<ToolIntended>(&record.event);
  return intent != nullptr && intent->effect != tools::Effect::pure;
}

}  // namespace

bool has_intent_of_effect(const PendingAppend& append) {
  return std::any_of(append.records.begin(), append.records.end(), is_intent_of_effect);
}

bool has_outcome(const PendingAppend& append) {
  return std::ranges::any_of(append.records, [](const Record& record) {
    return std::holds_alternative<ToolFinished>(record.event);
  });
}

void AppendQueue::push(std::shared_ptr<PendingAppend> append) {
  const std::lock_guard lock(mutex_);
  waiting_.push_back(std::move(append));
}

bool AppendQueue::is_empty() const {
  const std::lock_guard lock(mutex_);
  return waiting_.empty();
}

std::vector<std::shared_ptr<PendingAppend>> AppendQueue::next_group() {
  const std::lock_guard lock(mutex_);
  const auto count = std::min(waiting_.size(), kGroupAppendsMax);
  const auto end = waiting_.begin() + static_cast<std::ptrdiff_t>(count);
  std::vector<std::shared_ptr<PendingAppend>> group(waiting_.begin(), end);
  waiting_.erase(waiting_.begin(), end);
  return group;
}

void AppendQueue::write_until_done(PendingAppend& append, const Write& write) {
  while (!append.status) {
    const auto group = next_group();
    std::vector<PendingAppend*> appends;
    appends.reserve(group.size());
    for (const auto& member : group) appends.push_back(member.get());
    write(appends);
  }
}

}  // namespace ponder::runtime
