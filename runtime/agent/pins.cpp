#include "runtime/agent/pins.h"

#include <fmt/format.h>

#include "context/budget.h"

namespace ponder::runtime {
namespace {

bool can_be_pinned(const context::Message& message) {
  if (message.role == context::Role::tool) return message.tool_call_id != context::kSummaryCall;
  return message.role == context::Role::assistant && !message.content.empty();
}

Result<PinChoice> choose(const SessionState& state, std::string_view words, bool is_pinned) {
  for (std::size_t i = state.conversation.size(); i-- > 0;) {
    const context::Message& message = state.conversation[i];
    const std::int64_t seq = state.origins[i];
    if (!can_be_pinned(message) || state.pinned.contains(seq) != is_pinned) continue;
    if (message.content.find(words) != std::string::npos) return PinChoice{seq, message.content};
  }
  return fail(Errc::not_found,
              fmt::format("no {} answer or result{}", is_pinned ? "pinned" : "unpinned",
                          words.empty() ? "" : fmt::format(" holds '{}'", words)));
}

}  // namespace

std::vector<std::size_t> pinned_places(const SessionState& state) {
  std::vector<std::size_t> out;
  for (std::size_t i = 0; i < state.conversation.size(); ++i) {
    if (state.pinned.contains(state.origins[i])) out.push_back(i);
  }
  return out;
}

Result<PinChoice> choose_pin(const SessionState& state, std::string_view words) {
  return choose(state, words, false);
}

Result<PinChoice> choose_unpin(const SessionState& state, std::string_view words) {
  return choose(state, words, true);
}

}  // namespace ponder::runtime
