#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "engine/model.h"
#include "engine/prefix_cache.h"
#include "engine/request.h"
#include "engine/waiting_queues.h"

namespace ponder::engine {

/// Decides which rows the next step computes, and who holds which pages.
///
/// Admission. A request starts once the pages it may need at most are certain; so a running request
/// never runs out of cache. Higher priorities start first, equal ones in order of arrival; after
/// kPassedOverMax starts ahead of it, the first of a lower priority has its turn, and is left alone
/// then. One that does not fit holds back those behind it: a large one does not starve either.
///
/// Preemption. For a higher priority a running request gives up its pages and waits again, at the
/// head of its queue. What it had computed stays in the prefix tree for as long as there is room,
/// and is computed again otherwise: its tokens are the same. After kPreemptedMax times it stays.
///
/// Steps. Every running request that is answering gets its row; in turns, if they are more than
/// three quarters of the batch while prompts wait. The remaining rows go to prompts: a quarter to
/// the one that runs for longest, so that none starves, then to the highest priority and among
/// equals to the shortest remainder. So nobody's token waits for more than the one batch under way,
/// and a short prompt not for a long one.
///
/// Forks and truncation. A branch holds its parent's pages, its last one too, and a request that is
/// set back lets go of pages; neither touches a row. Who writes next to a page that others read
/// takes a copy first, for which a page is kept certain like any other that may be needed.
///
/// Pages on disk. Whose turn it is, who fits and who has pages there waits for them beside the
/// queues, while others start and go on; then it is at the head of its queue. Others may have taken
/// the room, and its pages, meanwhile: then it waits for room and loads again, kLoadsMax times at
/// most, so that it does not let others pass for ever. Room that was made by preemption is kept
/// from lower and equal priorities. Where the way back has no room for
/// more pages (PrefixCache::LoadStart) it waits for that first, in queues like those; who comes
/// while others wait there stands behind them, whether there is room by then or not.
///
/// Two forms. Where a prompt's rows have bits of their own up to some position (prompt_form_end),
/// the tree knows only rows that a prompt gives as well: of a request that generates before that
/// position what it had before, and a branch shares what both have computed in the same form.
///
/// Shadow prefill. When nothing runs and nothing waits, prompts that may come are computed in small
/// batches. Real work takes their pages away at once, and resumes them when it has ended; those
/// that come back from disk for them may go on coming until somebody needs the room.
///
/// Thread: none; the engine's thread. Lifetime: the cache must outlive it.
/// Cost: nothing grows with the number of waiting requests, but for logarithms in the deadlines.
class Scheduler {
 public:
  static constexpr std::uint32_t kRunningMax = 64;
  static constexpr std::size_t kAnswerRowsMax = 32;  // more pending rows are a prompt's
  static constexpr std::uint32_t kPassedOverMax = WaitingQueues::kPassedOverMax;
  static constexpr std::uint32_t kPreemptedMax = 3;
  static constexpr std::uint32_t kLoadsMax = 3;
  static constexpr std::size_t kDeadlinesEndedMin = 64;  // so many are not worth forgetting
  static constexpr std::size_t kShadowMax = 16;          // the oldest is forgotten first
  static constexpr std::size_t kShadowRowsMax = 128;

  /// `prompt_form_end` as Model has it.
  explicit Scheduler(PrefixCache& cache, std::size_t prompt_form_end = 0)
      : cache_(&cache), prompt_form_end_(prompt_form_end) {}
  /// Another model computes from now on. Requires: nothing is known.
  void set_prompt_form_end(std::size_t end) { prompt_form_end_ = end; }

  void add(std::unique_ptr<Request> request);
  /// A prompt that may come; forgotten when a request that begins with it is added.
  void add_shadow(std::unique_ptr<Request> request);
  /// Null when it is not here.
  Request* find(RequestId id);
  /// Takes the request out, wherever it is; null when it is not here. Its pages stay known.
  std::unique_ptr<Request> remove(RequestId id);
  /// Sets the request back to its first `num_tokens` tokens, at least 1 and less than it has. If it
  /// runs it goes on, or waits again when its pages are no longer certain.
  void truncate(Request& request, std::size_t num_tokens);
  /// Takes what has come from the disk.
  void take_loaded();
  /// Requests whose deadline has passed, each reported once.
  std::vector<RequestId> expired(Clock::Instant now);
  /// Moves requests from waiting to running while there is room. Returns those moved.
  std::vector<Request*> admit(Clock::Instant now);

  struct Work {
    Request* request;
    std::size_t num_rows;
  };
  /// The rows of the next step; `segments` refer to the requests' tokens and tables.
  void plan(std::size_t rows_max, std::vector<Work>& work, std::vector<BatchSegment>& segments);
  /// The rows planned for this request are computed. A shadow request may end by this.
  void computed(const Work& work);
  /// All that run wait again, in their order, for what was computed is lost; loads end. Returns
  /// those that ran. Nothing is known any more.
  std::vector<Request*> start_over();
  /// Ends the shadow request that has planned rows; what it had computed before stays known.
  void drop_shadow();

  std::size_t num_running() const { return running_.size(); }
  std::size_t num_waiting() const { return requests_.size() - running_.size(); }
  std::size_t num_shadow() const { return shadow_.size(); }
  /// Of requests that are here and of some that have ended: at most twice as many as are here, and
  /// kDeadlinesEndedMin.
  std::size_t num_deadlines() const { return deadlines_.size(); }

  struct Counters {
    std::uint64_t preemptions = 0;
    std::uint64_t shadow_prefills = 0;      // prompts accepted for idle time
    std::uint64_t shadow_hits = 0;          // requests that found tokens computed in idle time
    std::uint64_t tokens_shadow_saved = 0;  // how many they found
    std::uint64_t requests_examined = 0;    // by all of the above: the work of scheduling
  };
  const Counters& counters() const { return counters_; }

 private:
  static std::size_t class_of(const Request& request) { return WaitingQueues::class_of(request); }
  Request* next_waiting();
  void started(Request& request, Clock::Instant now);
  std::optional<PrefixCache::Match> take_pages(Request& request);
  static void let_go_of_pages(Request& request);
  void start(Request& request, const PrefixCache::Match& match);
  PrefixCache::Match find_pages(Request& request, PrefixCache::LastPage last_page);
  std::size_t num_prompt_rows(const Request& request) const;
  std::span<const TokenId> known_tokens(const Request& request, std::size_t num_tokens) const;
  static std::size_t num_wanted(const Request& request);
  bool is_certain(const Request& request);
  bool is_kept_from(const Request& owner, const Request& request) const;
  std::size_t num_pages_kept_from(const Request& request) const;
  std::size_t num_running_for(const Request& request) const;
  PrefixCache::LoadStart start_load(Request& request, bool may_begin = true);
  bool starts_waiting_for_pages(Request& request);
  bool start_delayed_loads();
  bool end_idle_load();
  std::optional<PrefixCache::Match> find_room(Request& request);
  void start_waiting(Clock::Instant now, std::vector<Request*>& admitted);
  void loaded(RequestId id);
  void stand_first(Request& request);
  void end_load(RequestId id);
  std::size_t num_spare();
  std::size_t num_reserved();
  bool make_room(const Request& request);
  void preempt(Request& request);
  void wait_again(Request& request);
  void give_up_pages(Request& request);
  void forget_deadlines();
  void park_shadow();
  std::size_t plan_answers(std::size_t rows_max, std::vector<Work>& work);
  void plan_prompts(std::size_t rows_left, std::vector<Work>& work);
  void plan_shadow(std::size_t rows_max, std::vector<Work>& work);
  void take(const Work& work, std::vector<BatchSegment>& segments);

  PrefixCache* cache_;
  std::size_t prompt_form_end_;
  std::unordered_map<RequestId, std::unique_ptr<Request>> requests_;  // waiting and running
  WaitingQueues waiting_;                                             // to start
  WaitingQueues waiting_for_load_;               // until there is room on the way back from disk
  std::vector<Request*> running_;                // in order of admission
  std::deque<std::unique_ptr<Request>> shadow_;  // only the first may hold pages
  std::vector<std::pair<Clock::Instant, RequestId>> deadlines_;  // a heap, the earliest on top
  std::vector<Request*> candidates_;                             // scratch of plan()
  std::vector<const Request*> made_room_for_;  // by preemption, and their pages are on the way
  const Request* blocked_ = nullptr;  // waits, and does not fit until somebody lets go of pages
  std::uint64_t num_turns_ = 0;
  std::uint64_t num_admissions_ = 0;
  Counters counters_;
};

}  // namespace ponder::engine
