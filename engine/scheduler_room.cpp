// Whether a request fits, and who gives up pages for it.

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "engine/scheduler.h"

namespace ponder::engine {

/// As take_pages(). Idle time gives way before anybody who runs does.
std::optional<PrefixCache::Match> Scheduler::find_room(Request& request) {
  const auto has_turn = [&] { return num_running_for(request) < kRunningMax; };
  auto match = has_turn() ? take_pages(request) : std::nullopt;
  if (!match && end_idle_load() && has_turn()) match = take_pages(request);
  if (match || !make_room(request)) return match;
  match = take_pages(request);
  if (match && std::ranges::find(made_room_for_, &request) == made_room_for_.end()) {
    made_room_for_.push_back(&request);
  }
  return match;
}

/// Pages that the request may still ask for: new ones, and a copy of one that others read as well.
std::size_t Scheduler::num_wanted(const Request& request) {
  return request.num_pages_max() - request.table.pages().size() +
         (request.table.is_writable_at(request.num_computed) ? 0 : 1);
}

/// Whether the pages that this request may still ask for are certain beside those of the running
/// ones.
bool Scheduler::is_certain(const Request& request) {
  return cache_->num_available() >=
         num_reserved() + num_pages_kept_from(request) + num_wanted(request);
}

/// Others made room for `owner`, which waits for its pages: nobody of its priority takes it.
bool Scheduler::is_kept_from(const Request& owner, const Request& request) const {
  return &owner != &request && class_of(owner) >= class_of(request);
}

/// Too many by those that have come already, for as long as the others are on their way.
std::size_t Scheduler::num_pages_kept_from(const Request& request) const {
  std::size_t num = 0;
  for (const Request* owner : made_room_for_) {
    num += is_kept_from(*owner, request) ? owner->num_pages_max() : 0;
  }
  return num;
}

/// Those that run, and those whose places among them are kept.
std::size_t Scheduler::num_running_for(const Request& request) const {
  return running_.size() +
         static_cast<std::size_t>(std::ranges::count_if(
             made_room_for_, [&](const Request* owner) { return is_kept_from(*owner, request); }));
}

/// Pages that nobody who runs may still ask for.
std::size_t Scheduler::num_spare() {
  const std::size_t num_available = cache_->num_available();
  return num_available - std::min(num_available, num_reserved());
}

/// Pages that running requests, or the prompt of idle time, may still ask for.
std::size_t Scheduler::num_reserved() {
  std::size_t num = 0;
  counters_.requests_examined += running_.size();
  for (const Request* request : running_) num += num_wanted(*request);
  if (!shadow_.empty() && shadow_.front()->is_running) num += num_wanted(*shadow_.front());
  return num;
}

/// Preempts requests of lower priority until this one fits; none if that is not enough.
bool Scheduler::make_room(const Request& request) {
  std::vector<Request*> victims;  // the lowest priority first, of equals the latest
  for (Request* running : running_) {
    const bool is_lower = class_of(*running) < class_of(request);
    const bool is_secured = running->is_secured || running->num_preempted >= kPreemptedMax;
    if (is_lower && !is_secured) victims.push_back(running);
  }
  counters_.requests_examined += running_.size();
  std::sort(victims.begin(), victims.end(), [](const Request* a, const Request* b) {
    return std::pair(class_of(*a), b->admission) < std::pair(class_of(*b), a->admission);
  });
  const std::size_t wanted =
      num_reserved() + num_pages_kept_from(request) + request.num_pages_max();
  std::size_t available = cache_->num_available();
  std::size_t num_victims = 0;
  const auto fits = [&] {
    return available >= wanted && num_running_for(request) - num_victims < kRunningMax;
  };
  while (!fits() && num_victims < victims.size()) {
    const Request& victim = *victims[num_victims++];
    available += num_wanted(victim);
    for (const PageId page : victim.table.pages()) {
      available += cache_->pool().num_holders(page) == 1 ? 1 : 0;
    }
  }
  if (!fits()) return false;
  for (std::size_t i = 0; i < num_victims; ++i) preempt(*victims[i]);
  return true;
}

void Scheduler::preempt(Request& request) {
  ++request.num_preempted;
  ++counters_.preemptions;
  wait_again(request);
}

void Scheduler::wait_again(Request& request) {
  give_up_pages(request);
  std::erase(running_, &request);
  request.is_running = false;
  request.has_loaded = false;
  request.num_loads = 0;
  stand_first(request);
}

}  // namespace ponder::engine
