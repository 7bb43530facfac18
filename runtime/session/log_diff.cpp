#include "runtime/session/log_diff.h"

#include <algorithm>
#include <vector>

#include "runtime/session/event_json.h"

namespace ponder::runtime {
namespace {

/// The event without what a run on another day has otherwise.
Event timeless(const Event& event) {
  Event out = event;
  const auto forget = [](Usage& usage) {
    usage.prefill_ms = 0;
    usage.decode_ms = 0;
    usage.tokens_cached = 0;
  };
  if (auto* e = std::get_if<ModelCompleted>(&out)) forget(e->usage);
  if (auto* e = std::get_if<ContextReduced>(&out)) forget(e->summary_usage);
  if (auto* e = std::get_if<ToolFinished>(&out)) e->elapsed_ms = 0;
  return out;
}

bool is_same(const Record& a, const Record& b) {
  return event_type(a.event) == event_type(b.event) &&
         event_payload(timeless(a.event)) == event_payload(timeless(b.event));
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
  while (i < size && is_same(*a[i], *b[i])) ++i;
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
