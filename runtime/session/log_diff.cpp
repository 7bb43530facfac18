#include "runtime/session/log_diff.h"

#include <algorithm>
#include <string>
#include <vector>

#include "runtime/session/event_json.h"

namespace ponder::runtime {
namespace {

/// Of a sub-agent's id what its place in the tree says, without the session at the root.
void keep_place(std::string& id) {
  const std::size_t dot = id.find('.');
  id.erase(0, dot == std::string::npos ? id.size() : dot);
}

/// The event without what a run on another day, or of another session, has otherwise.
/// A sub-agent also has no more time than its parent had left.
Event timeless(const Event& event, bool is_sub_agent) {
  Event out = event;
  const auto forget = [](Usage& usage) {
    usage.prefill_ms = 0;
    usage.decode_ms = 0;
    usage.tokens_cached = 0;
  };
  if (auto* e = std::get_if<ModelCompleted>(&out)) {
    forget(e->usage);
    forget(e->usage_void);
  }
  if (auto* e = std::get_if<SessionStarted>(&out); e != nullptr && is_sub_agent) {
    e->limits.turn_ms_max = 0;
  }
  if (auto* e = std::get_if<ContextReduced>(&out)) forget(e->summary_usage);
  if (auto* e = std::get_if<TurnEnded>(&out)) forget(e->usage_void);
  if (auto* e = std::get_if<ToolFinished>(&out)) e->elapsed_ms = 0;
  if (auto* e = std::get_if<SubAgentStarted>(&out)) {
    keep_place(e->child);
    e->budget.ms_max = 0;
  }
  if (auto* e = std::get_if<SubAgentFinished>(&out)) {
    keep_place(e->child);
    forget(e->usage);
  }
  if (auto* e = std::get_if<TaskAssigned>(&out)) {
    keep_place(e->parent);
    e->limits.turn_ms_max = 0;
  }
  return out;
}

bool is_same(const Record& a, const Record& b, bool are_sub_agents) {
  return event_type(a.event) == event_type(b.event) &&
         event_payload(timeless(a.event, are_sub_agents)) ==
             event_payload(timeless(b.event, are_sub_agents));
}

bool is_sub_agent(std::span<const Record> records) {
  return std::any_of(records.begin(), records.end(), [](const Record& record) {
    return std::holds_alternative<TaskAssigned>(record.event);
  });
}

/// Without the marks of where copies began.
std::vector<const Record*> without_origins(std::span<const Record> records) {
  std::vector<const Record*> out;
  for (const Record& record : records) {
    const bool is_mark = std::holds_alternative<SessionForked>(record.event) ||
                         std::holds_alternative<SessionImported>(record.event);
    if (!is_mark) out.push_back(&record);
  }
  return out;
}

}  // namespace

std::size_t first_difference(std::span<const std::uint32_t> a, std::span<const std::uint32_t> b) {
  const std::size_t size = std::min(a.size(), b.size());
  std::size_t i = 0;
  while (i < size && a[i] == b[i]) ++i;
  return i;
}

LogDifference diff_logs(std::span<const Record> left, std::span<const Record> right) {
  const auto a = without_origins(left);
  const auto b = without_origins(right);
  const std::size_t size = std::min(a.size(), b.size());
  std::size_t i = 0;
  const bool are_sub_agents = is_sub_agent(left) && is_sub_agent(right);
  while (i < size && is_same(*a[i], *b[i], are_sub_agents)) ++i;
  LogDifference out;
  out.events_equal = i;
  out.left_more = a.size() - i;
  out.right_more = b.size() - i;
  out.is_equal = out.left_more == 0 && out.right_more == 0;
  if (i < a.size()) out.left = *a[i];
  if (i < b.size()) out.right = *b[i];
  if (!out.left || !out.right) return out;
  const auto* left_completed = std::get_if<ModelCompleted>(&out.left->event);
  const auto* right_completed = std::get_if<ModelCompleted>(&out.right->event);
  if (left_completed != nullptr && right_completed != nullptr) {
    out.token = first_difference(left_completed->message.sampled, right_completed->message.sampled);
  }
  return out;
}

}  // namespace ponder::runtime
