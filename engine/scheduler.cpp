#include "engine/scheduler.h"

#include <algorithm>
#include <functional>
#include <ranges>
#include <tuple>
#include <utility>

#include "base/assert.h"

namespace ponder::engine {
namespace {

std::span<const TokenId> computed_tokens(const Request& request) {
  return std::span(request.tokens).first(request.num_computed);
}

/// A preempted request that has to compute its answer again is like a prompt.
bool is_answering(const Request& request) {
  return request.is_decoding() && request.num_pending() <= Scheduler::kAnswerRowsMax;
}

bool begins_with(const std::vector<TokenId>& tokens, const std::vector<TokenId>& beginning) {
  return tokens.size() >= beginning.size() &&
         std::equal(beginning.begin(), beginning.end(), tokens.begin());
}

}  // namespace

Request::Request(RequestId id, GenerationRequest spec_in, RequestCallbacks callbacks,
                 std::size_t tokens_max, PagePool& pool)
    : id(id),
      spec(std::move(spec_in)),
      callbacks(std::move(callbacks)),
      tokens_max(tokens_max),
      tokens(std::move(spec.prompt)),
      num_prompt(tokens.size()),
      table(pool) {
  stats.tokens_prompt = static_cast<std::uint32_t>(tokens.size());
}

/// The last token of a prompt is always computed: its logits are wanted.
std::size_t Request::num_reusable() const { return tokens.size() - (is_shadow ? 0 : 1); }

/// The last token of an answer is never computed: nothing follows it.
std::size_t Request::num_pages_max() const { return pages_for(tokens_max - (is_shadow ? 0 : 1)); }

void Scheduler::add(std::unique_ptr<Request> request) {
  waiting_.push_back(*request);
  if (!request->spec.deadline.is_never()) {
    deadlines_.emplace_back(request->spec.deadline.at(), request->id);
    std::push_heap(deadlines_.begin(), deadlines_.end(), std::greater<>());
  }
  if (!shadow_.empty()) {
    park_shadow();
    std::erase_if(shadow_, [&](const auto& shadow) {
      const bool is_covered = begins_with(request->tokens, shadow->tokens);
      if (is_covered) end_load(shadow->id);
      return is_covered;
    });
  }
  const RequestId id = request->id;
  requests_.emplace(id, std::move(request));
}

void Scheduler::add_shadow(std::unique_ptr<Request> request) {
  PONDER_ASSERT(request->is_shadow);
  shadow_.push_back(std::move(request));
  if (shadow_.size() > kShadowMax) {
    end_load(shadow_.front()->id);
    drop_shadow();
  }
  ++counters_.shadow_prefills;
}

Request* Scheduler::find(RequestId id) {
  const auto it = requests_.find(id);
  return it == requests_.end() ? nullptr : it->second.get();
}

std::unique_ptr<Request> Scheduler::remove(RequestId id) {
  const auto it = requests_.find(id);
  if (it == requests_.end()) return nullptr;
  ++counters_.requests_examined;
  std::unique_ptr<Request> request = std::move(it->second);
  requests_.erase(it);
  if (request->is_running) {
    counters_.requests_examined += running_.size();
    std::erase(running_, request.get());
    give_up_pages(*request);
  } else if (request->is_loading) {
    end_load(id);
  } else {
    (request->waits_for_load ? waiting_for_load_ : waiting_).erase(*request);
  }
  std::erase(made_room_for_, request.get());
  blocked_ = nullptr;
  forget_deadlines();
  return request;
}

/// Of requests that have ended, once they are most. Each call examines nothing or as many as have
/// been added and removed since the last one that did.
void Scheduler::forget_deadlines() {
  if (deadlines_.size() <= 2 * requests_.size() + kDeadlinesEndedMin) return;
  counters_.requests_examined += deadlines_.size();
  std::erase_if(deadlines_, [&](const auto& entry) { return !requests_.contains(entry.second); });
  std::make_heap(deadlines_.begin(), deadlines_.end(), std::greater<>());
}

std::vector<RequestId> Scheduler::expired(Clock::Instant now) {
  std::vector<RequestId> ids;
  while (!deadlines_.empty() && deadlines_.front().first <= now) {
    ++counters_.requests_examined;
    std::pop_heap(deadlines_.begin(), deadlines_.end(), std::greater<>());
    if (requests_.contains(deadlines_.back().second)) ids.push_back(deadlines_.back().second);
    deadlines_.pop_back();
  }
  return ids;
}

Request* Scheduler::next_waiting() {
  Request* next = waiting_.next();
  counters_.requests_examined += next != nullptr ? 1 : 0;
  return next;
}

std::vector<Request*> Scheduler::admit(Clock::Instant now) {
  std::vector<Request*> admitted;
  do {
    start_waiting(now, admitted);
    // Not before: what has come for those that start is theirs now, and not to be evicted.
  } while (start_delayed_loads());
  return admitted;
}

void Scheduler::start_waiting(Clock::Instant now, std::vector<Request*>& admitted) {
  while (true) {
    Request* request = next_waiting();
    if (request == nullptr || request == blocked_) break;
    const auto match = find_room(*request);
    if (!match) {
      // What it has on disk is asked for when there is room; perhaps of what has come some is there
      // again by then.
      request->has_loaded = request->num_loads >= kLoadsMax;
      blocked_ = request;
      break;
    }
    if (starts_waiting_for_pages(*request)) continue;
    start(*request, *match);
    started(*request, now);
    admitted.push_back(request);
  }
}

/// At the head of its queue.
void Scheduler::stand_first(Request& request) {
  waiting_.push_front(request);
  blocked_ = nullptr;  // it goes first, and may fit
}

void Scheduler::started(Request& request, Clock::Instant now) {
  waiting_.erase(request);
  std::erase(made_room_for_, &request);
  if (waiting_.took_turn(request)) request.is_secured = true;
  if (request.num_preempted == 0) request.admitted_at = now;
  request.is_running = true;
  request.admission = ++num_admissions_;
  running_.push_back(&request);
}

/// Gives the request the pages that are known already, if those it may still want are certain.
std::optional<PrefixCache::Match> Scheduler::take_pages(Request& request) {
  PrefixCache::Match match = find_pages(request, PrefixCache::LastPage::partly);
  if (!is_certain(request)) {
    // Perhaps only the copy of a last page that is used in part does not fit.
    request.table.clear();
    match = find_pages(request, PrefixCache::LastPage::whole);
  }
  if (is_certain(request)) return match;
  let_go_of_pages(request);
  return std::nullopt;
}

void Scheduler::let_go_of_pages(Request& request) {
  request.table.clear();
  request.num_computed = 0;
}

/// With the pages of take_pages(), the latest match.
void Scheduler::start(Request& request, const PrefixCache::Match& match) {
  request.branch.reset();
  cache_->claim();
  request.tokens.reserve(request.tokens_max);
  if (request.num_preempted > 0) return;
  request.stats.tokens_cached =
      std::min(static_cast<std::uint32_t>(request.num_computed), request.stats.tokens_prompt);
  request.stats.tokens_shadow = static_cast<std::uint32_t>(match.num_shadow);
  counters_.shadow_hits += match.num_shadow > 0 ? 1 : 0;
  counters_.tokens_shadow_saved += match.num_shadow;
}

/// Fills the request's table with the pages that are known already: those of the tree, or of a
/// forked request's parent where the tree does not know as many tokens.
PrefixCache::Match Scheduler::find_pages(Request& request, PrefixCache::LastPage last_page) {
  const auto tokens = std::span(request.tokens).first(request.num_reusable());
  const PrefixCache::Match match =
      cache_->match(known_tokens(request, tokens.size()), request.table, last_page);
  request.num_computed = match.num_tokens;
  if (!request.branch) return match;
  const Request* parent = find(request.branch->parent);
  if (parent == nullptr || !parent->is_running) return match;
  // Since the fork the parent may have been set back, and have gone on with other tokens.
  std::size_t in_common =
      std::min({request.branch->num_tokens, tokens.size(), parent->num_computed});
  in_common = static_cast<std::size_t>(
      std::ranges::mismatch(tokens.first(in_common), computed_tokens(*parent)).in1 -
      tokens.begin());
  const std::size_t own = num_prompt_rows(request);
  const std::size_t theirs = num_prompt_rows(*parent);
  if (own != theirs) in_common = std::min({in_common, own, theirs});
  if (last_page == PrefixCache::LastPage::whole) in_common -= in_common % kPageTokens;
  if (in_common <= match.num_tokens) return match;
  request.table.clear();
  request.table.share_from(parent->table, pages_for(in_common));
  request.num_computed = in_common;
  return match;
}

/// How many leading rows have the bits that they have in a prompt, where these are others.
std::size_t Scheduler::num_prompt_rows(const Request& request) const {
  return std::min(request.num_prompt, prompt_form_end_);
}

/// Of the first `num_tokens` tokens those that the tree may know: rows behind them have the bits of
/// generated ones, and what follows on such, where a prompt would have given others.
std::span<const TokenId> Scheduler::known_tokens(const Request& request,
                                                 std::size_t num_tokens) const {
  const std::size_t in_prompt = num_prompt_rows(request);
  if (in_prompt < prompt_form_end_) num_tokens = std::min(num_tokens, in_prompt);
  return std::span(request.tokens).first(num_tokens);
}

void Scheduler::truncate(Request& request, std::size_t num_tokens) {
  PONDER_ASSERT(num_tokens > 0 && num_tokens < request.tokens.size());
  request.tokens.resize(num_tokens);
  request.num_prompt = std::min(request.num_prompt, num_tokens);
  if (request.branch) {
    request.branch->num_tokens = std::min(request.branch->num_tokens, num_tokens);
  }
  if (!request.is_running) return;
  // The logits of the last token are wanted again.
  request.num_computed = std::min(request.num_computed, num_tokens - 1);
  request.table.truncate(pages_for(request.num_computed));
  blocked_ = nullptr;
  // Pages that it let go of may have other holders, and its last page other readers.
  if (cache_->num_available() < num_reserved()) wait_again(request);
}

void Scheduler::give_up_pages(Request& request) {
  const auto origin =
      request.is_shadow ? PrefixCache::Origin::shadow : PrefixCache::Origin::request;
  cache_->insert(known_tokens(request, request.num_computed), request.table, true, origin);
  request.table.clear();
  request.num_computed = 0;
}

/// Real work comes first: what idle time has computed so far stays in the tree.
void Scheduler::park_shadow() {
  if (shadow_.empty() || !shadow_.front()->is_running) return;
  give_up_pages(*shadow_.front());
  shadow_.front()->is_running = false;
}

void Scheduler::drop_shadow() {
  park_shadow();
  shadow_.pop_front();
}

std::vector<Request*> Scheduler::start_over() {
  // Those that ran stand before those that only waited for pages, and these before those that
  // waited for room.
  while (Request* request = waiting_for_load_.last()) {
    waiting_for_load_.erase(*request);
    request->waits_for_load = false;
    stand_first(*request);
  }
  const std::vector<RequestId> ended = cache_->end_loads();
  for (const RequestId id : std::views::reverse(ended)) loaded(id);
  const std::vector<Request*> stopped = running_;
  for (auto request = stopped.rbegin(); request != stopped.rend(); ++request) {
    ++(*request)->num_preempted;
    wait_again(**request);
  }
  park_shadow();
  cache_->clear();
  made_room_for_.clear();
  // What is on disk is another now.
  for (const auto& [id, request] : requests_) {
    request->has_loaded = false;
    request->num_loads = 0;
  }
  for (const auto& shadow : shadow_) shadow->has_loaded = false;
  blocked_ = nullptr;
  return stopped;
}

void Scheduler::plan(std::size_t rows_max, std::vector<Work>& work,
                     std::vector<BatchSegment>& segments) {
  work.clear();
  segments.clear();
  if (requests_.empty()) {
    plan_shadow(rows_max, work);
  } else {
    const std::size_t rows_used = plan_answers(rows_max, work);
    plan_prompts(rows_max - rows_used, work);
  }
  for (const Work& item : work) take(item, segments);
}

/// Returns the rows given away.
std::size_t Scheduler::plan_answers(std::size_t rows_max, std::vector<Work>& work) {
  candidates_.clear();
  counters_.requests_examined += running_.size();
  for (Request* request : running_) {
    if (is_answering(*request)) candidates_.push_back(request);
  }
  const bool has_prompts = candidates_.size() < running_.size();
  const std::size_t rows_prompts = rows_max > 1 ? std::max<std::size_t>(rows_max / 4, 1) : 0;
  const std::size_t rows_answers = rows_max - (has_prompts ? rows_prompts : 0);
  std::size_t rows_left = rows_answers;
  std::sort(candidates_.begin(), candidates_.end(),
            [](const Request* a, const Request* b) { return a->last_turn < b->last_turn; });
  for (Request* request : candidates_) {
    const std::size_t rows = std::min(rows_left, request->num_pending());
    if (rows == 0) break;
    work.push_back({request, rows});
    rows_left -= rows;
  }
  return rows_answers - rows_left;
}

void Scheduler::plan_prompts(std::size_t rows_left, std::vector<Work>& work) {
  candidates_.clear();
  counters_.requests_examined += running_.size();
  for (Request* request : running_) {
    if (!is_answering(*request)) candidates_.push_back(request);
  }
  if (candidates_.empty() || rows_left == 0) return;
  const Request* oldest = candidates_.front();
  const std::size_t secured =
      std::min(oldest->num_pending(), std::max<std::size_t>(rows_left / 4, 1));
  rows_left -= secured;
  std::sort(candidates_.begin(), candidates_.end(), [](const Request* a, const Request* b) {
    return std::tuple(class_of(*b), a->num_pending(), a->admission) <
           std::tuple(class_of(*a), b->num_pending(), b->admission);
  });
  for (Request* request : candidates_) {
    const std::size_t own = request == oldest ? secured : 0;
    const std::size_t more = std::min(rows_left, request->num_pending() - own);
    if (own + more > 0) work.push_back({request, own + more});
    rows_left -= more;
  }
}

void Scheduler::plan_shadow(std::size_t rows_max, std::vector<Work>& work) {
  while (!shadow_.empty()) {
    Request& request = *shadow_.front();
    if (request.is_loading) return;
    if (start_load(request) != PrefixCache::LoadStart::nothing) return;
    if (!request.is_running) request.is_running = take_pages(request).has_value();
    if (request.is_running && request.num_pending() > 0) {
      work.push_back({&request, std::min({rows_max, kShadowRowsMax, request.num_pending()})});
      return;
    }
    request.table.clear();
    shadow_.pop_front();
  }
}

void Scheduler::take(const Work& work, std::vector<BatchSegment>& segments) {
  Request& request = *work.request;
  cache_->make_writable(request.table, request.num_computed);
  while (request.table.capacity() < request.num_computed + work.num_rows) {
    const auto page = cache_->acquire();
    PONDER_ASSERT(page.has_value());  // reserved when the request was admitted
    request.table.append(*page);
  }
  request.last_turn = ++num_turns_;
  const bool is_last = work.num_rows == request.num_pending();
  segments.push_back(
      {.table = &request.table,
       .first_position = request.num_computed,
       .tokens = std::span(request.tokens).subspan(request.num_computed, work.num_rows),
       .wants_logits = is_last && !request.is_shadow,
       .prompt_end = request.num_prompt});
}

void Scheduler::computed(const Work& work) {
  Request& request = *work.request;
  const std::size_t pages_before = request.num_computed / kPageTokens;
  request.num_computed += work.num_rows;
  const std::size_t num_known = known_tokens(request, request.num_computed).size();
  const std::size_t pages_full = num_known / kPageTokens;
  if (pages_full > pages_before) {
    const auto full = computed_tokens(request).first(pages_full * kPageTokens);
    const auto origin =
        request.is_shadow ? PrefixCache::Origin::shadow : PrefixCache::Origin::request;
    const std::size_t available = cache_->num_available();
    cache_->insert(full, request.table, false, origin);
    if (cache_->num_available() > available) blocked_ = nullptr;  // the page was known already
  }
  if (!request.is_shadow || request.num_pending() > 0) return;
  give_up_pages(request);
  shadow_.pop_front();
}

}  // namespace ponder::engine
