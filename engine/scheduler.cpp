#include "engine/scheduler.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"

namespace ponder::engine {

Request::Request(RequestId id, GenerationRequest spec_in, RequestCallbacks callbacks,
                 std::size_t tokens_max, PagePool& pool)
    : id(id),
      spec(std::move(spec_in)),
      callbacks(std::move(callbacks)),
      tokens_max(tokens_max),
      tokens(spec.prompt),
      table(pool) {
  tokens.reserve(tokens_max);
  stats.tokens_prompt = static_cast<std::uint32_t>(spec.prompt.size());
}

/// The last token is never computed: nothing follows it.
std::size_t Request::num_pages_max() const {
  return (tokens_max - 1 + kPageTokens - 1) / kPageTokens;
}

std::unique_ptr<Request> Scheduler::remove(RequestId id) {
  const auto take_from = [&](auto& list) -> std::unique_ptr<Request> {
    const auto it = std::find_if(list.begin(), list.end(),
                                 [&](const auto& request) { return request->id == id; });
    if (it == list.end()) return nullptr;
    std::unique_ptr<Request> request = std::move(*it);
    list.erase(it);
    return request;
  };
  is_blocked_ = false;
  if (auto request = take_from(waiting_)) return request;
  auto request = take_from(running_);
  if (request != nullptr) {
    cache_->insert(std::span(request->tokens).first(request->num_computed), request->table, true);
    request->table.clear();
  }
  return request;
}

std::vector<Request*> Scheduler::admit(Clock::Instant now) {
  std::vector<Request*> started;
  while (!is_blocked_ && !waiting_.empty() && running_.size() < kRunningMax) {
    Request& request = *waiting_.front();
    if (!try_start(request)) {
      is_blocked_ = true;
      break;
    }
    request.admitted_at = now;
    started.push_back(&request);
    running_.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
  }
  return started;
}

bool Scheduler::try_start(Request& request) {
  // The last token of the prompt is always computed: its logits are wanted.
  const auto reusable = std::span<const TokenId>(request.tokens).first(request.tokens.size() - 1);
  const std::size_t num_cached = cache_->match(reusable, request.table);
  const std::size_t wanted = request.num_pages_max() - request.table.pages().size();
  if (cache_->num_available() < num_reserved() + wanted) {
    request.table.clear();
    return false;
  }
  request.num_computed = num_cached;
  request.stats.tokens_cached = static_cast<std::uint32_t>(num_cached);
  return true;
}

/// Pages that running requests may still ask for.
std::size_t Scheduler::num_reserved() const {
  std::size_t num = 0;
  for (const auto& request : running_) {
    num += request->num_pages_max() - request->table.pages().size();
  }
  return num;
}

void Scheduler::plan(std::size_t rows_max, std::vector<Work>& work,
                     std::vector<BatchSegment>& segments) {
  work.clear();
  segments.clear();
  std::size_t rows_left = rows_max;
  for (const bool decoding : {true, false}) {
    for (const auto& request : running_) {
      if (request->is_decoding() != decoding || rows_left == 0) continue;
      const std::size_t rows = std::min(rows_left, request->num_pending());
      take(*request, rows, work, segments);
      rows_left -= rows;
    }
  }
}

void Scheduler::take(Request& request, std::size_t rows, std::vector<Work>& work,
                     std::vector<BatchSegment>& segments) {
  while (request.table.capacity() < request.num_computed + rows) {
    const auto page = cache_->acquire();
    PONDER_ASSERT(page.has_value());  // reserved when the request was admitted
    request.table.append(*page);
  }
  work.push_back({&request, rows});
  segments.push_back({.table = &request.table,
                      .first_position = request.num_computed,
                      .tokens = std::span(request.tokens).subspan(request.num_computed, rows),
                      .wants_logits = rows == request.num_pending()});
}

void Scheduler::computed(const Work& work) {
  Request& request = *work.request;
  const std::size_t pages_before = request.num_computed / kPageTokens;
  request.num_computed += work.num_rows;
  const std::size_t pages_full = request.num_computed / kPageTokens;
  if (pages_full > pages_before) {
    const auto full = std::span<const TokenId>(request.tokens).first(pages_full * kPageTokens);
    cache_->insert(full, request.table, false);
  }
}

}  // namespace ponder::engine
