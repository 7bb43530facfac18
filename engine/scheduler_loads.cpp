// Requests whose pages come back from the disk, and those that wait until theirs may.

#include <ranges>
#include <span>
#include <vector>

#include "engine/scheduler.h"

namespace ponder::engine {

/// Once for each time that there is room for the request; `later` does not count.
PrefixCache::LoadStart Scheduler::start_load(Request& request, bool may_begin) {
  if (request.has_loaded) return PrefixCache::LoadStart::nothing;
  const auto tokens = known_tokens(request, request.num_reusable());
  const auto start = cache_->start_load(request.id, tokens, num_spare(), may_begin);
  request.has_loaded = start != PrefixCache::LoadStart::later;
  request.is_loading = start == PrefixCache::LoadStart::begun;
  request.num_loads += request.is_loading ? 1 : 0;
  return start;
}

/// Whether the request, whose turn it is and who fits, has pages on disk and now waits beside the
/// queues. It holds those that are known until then, so that no other page has to go for them.
bool Scheduler::starts_waiting_for_pages(Request& request) {
  // Room on the way back is for those who wait for it: start_delayed_loads() shares it out.
  const auto start = start_load(request, waiting_for_load_.next() == nullptr);
  if (start == PrefixCache::LoadStart::nothing) return false;
  let_go_of_pages(request);
  waiting_.erase(request);
  request.waits_for_load = start == PrefixCache::LoadStart::later;
  if (request.waits_for_load) {
    waiting_for_load_.push_back(request);
    end_idle_load();
  }
  return true;
}

/// Real work does not wait for a prompt that may come; what has come of its pages stays, and the
/// rest is asked for again in idle time. Returns whether there was something to end: `has_loaded`
/// is false already of a load that only waits for what is under way.
bool Scheduler::end_idle_load() {
  if (shadow_.empty()) return false;
  Request& idle = *shadow_.front();
  if (!idle.is_loading || !idle.has_loaded) return false;
  end_load(idle.id);
  idle.has_loaded = false;
  return true;
}

/// Those that found no room for what is on its way, as far as there is some now. Returns whether
/// some need wait no longer, or do not fit any more and wait for that first.
bool Scheduler::start_delayed_loads() {
  std::vector<RequestId> ready;
  while (Request* request = waiting_for_load_.next()) {
    ++counters_.requests_examined;
    const bool fits = take_pages(*request).has_value();
    const auto start = fits ? start_load(*request) : PrefixCache::LoadStart::nothing;
    let_go_of_pages(*request);
    if (start == PrefixCache::LoadStart::later) break;
    waiting_for_load_.erase(*request);
    waiting_for_load_.took_turn(*request);
    request->waits_for_load = false;
    if (start == PrefixCache::LoadStart::nothing) ready.push_back(request->id);
  }
  for (const RequestId id : std::views::reverse(ready)) loaded(id);
  return !ready.empty();
}

/// Of a request, or a prompt for idle time, that is going away.
void Scheduler::end_load(RequestId id) {
  cache_->cancel_load(id);
  blocked_ = nullptr;
}

void Scheduler::take_loaded() {
  const std::vector<RequestId> ready = cache_->take_loaded(num_spare());
  for (const RequestId id : std::views::reverse(ready)) loaded(id);
}

void Scheduler::loaded(RequestId id) {
  blocked_ = nullptr;  // its pages can be had again
  Request* request = find(id);
  if (request != nullptr) {
    std::erase(made_room_for_, request);
    stand_first(*request);
  } else if (!shadow_.empty() && shadow_.front()->id == id) {
    request = shadow_.front().get();
  }
  if (request != nullptr) request->is_loading = false;
}

}  // namespace ponder::engine
