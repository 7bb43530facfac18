// Who may share whose rows where a prompt's rows have bits of their own: random traffic of requests
// that begin alike, branches, truncations, preemptions and idle prefill, with a model that only
// remembers. A row holds a digest of the row before it, its token and the form it was computed in.

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <random>

#include "engine/scheduler.h"
#include "tests/engine/support.h"

namespace ponder::engine {
namespace {

constexpr std::size_t kFormEnd = 150;
using Tokens = std::vector<TokenId>;

std::uint32_t digest(std::uint32_t before, TokenId token, bool is_prompt) {
  return (before * 2654435761U + token) * 40503U + (is_prompt ? 7U : 3U);
}

class SchedulerForms : public ::testing::Test {
 protected:
  SchedulerForms() {
    const CacheLayout layout(testing::tiny_config(), kernels::DType::bf16);
    pool_ = std::make_unique<PagePool>(*PagePool::create(layout, 20 * layout.page_bytes));
    cache_ = std::make_unique<PrefixCache>(*pool_);
    scheduler_ = std::make_unique<Scheduler>(*cache_, kFormEnd);
  }
  ~SchedulerForms() override {
    scheduler_.reset();
    cache_.reset();
  }

  std::unique_ptr<Request> make(Tokens prompt, std::uint32_t num_answer, Priority priority) {
    GenerationRequest spec;
    spec.tokens_generated_max = num_answer;
    spec.priority = priority;
    const std::size_t tokens_max = prompt.size() + num_answer;
    spec.prompt = std::move(prompt);
    return std::make_unique<Request>(RequestId{++last_id_}, std::move(spec), RequestCallbacks{},
                                     tokens_max, *pool_);
  }
  void add(Tokens prompt, std::uint32_t num_answer, Priority priority = Priority::normal) {
    auto request = make(std::move(prompt), num_answer, priority);
    given_[request->id] = request->tokens.size();
    scheduler_->add(std::move(request));
  }
  /// As the engine does.
  void fork(const Request& parent, std::size_t num_tokens, std::uint32_t num_answer) {
    Tokens tokens(parent.tokens.begin(),
                  parent.tokens.begin() + static_cast<std::ptrdiff_t>(num_tokens));
    tokens.push_back(5);
    auto request = make(std::move(tokens), num_answer, Priority::normal);
    request->branch = Request::Branch{parent.id, num_tokens};
    given_[request->id] =
        num_tokens <= given_[parent.id] ? request->tokens.size() : given_[parent.id];
    request->num_prompt = given_[request->id];
    scheduler_->add(std::move(request));
  }
  void set_back(Request& request, std::size_t num_tokens) {
    scheduler_->truncate(request, num_tokens);
    given_[request.id] = std::min(given_[request.id], num_tokens);
    request.stats.tokens_prompt =
        std::min(request.stats.tokens_prompt, static_cast<std::uint32_t>(num_tokens));
    request.stats.tokens_generated =
        static_cast<std::uint32_t>(num_tokens) - request.stats.tokens_prompt;
  }
  void add_shadow(Tokens tokens) {
    auto request = make(std::move(tokens), 0, Priority::normal);
    request->is_shadow = true;
    scheduler_->add_shadow(std::move(request));
  }

  std::vector<Request*> step(std::size_t rows_max) {
    scheduler_->admit(Clock::Instant());
    scheduler_->plan(rows_max, work_, segments_);
    std::vector<Request*> running;
    for (std::size_t i = 0; i < work_.size(); ++i) {
      Request& request = *work_[i].request;
      const bool is_shadow = request.is_shadow;
      write_rows(segments_[i]);
      scheduler_->computed(work_[i]);
      if (is_shadow) continue;
      if (!segments_[i].wants_logits || answer(request)) running.push_back(&request);
    }
    return running;
  }

  static std::uint32_t* row(BlockTable& table, std::size_t position) {
    return reinterpret_cast<std::uint32_t*>(table.latent_row(5, position));
  }
  static void write_rows(const BatchSegment& segment) {
    for (std::size_t i = 0; i < segment.tokens.size(); ++i) {
      const std::size_t position = segment.first_position + i;
      const std::uint32_t before = position == 0 ? 0 : *row(*segment.table, position - 1);
      const bool is_prompt = position < std::min(segment.prompt_end, kFormEnd);
      *row(*segment.table, position) = digest(before, segment.tokens[i], is_prompt);
    }
  }
  /// False when the request has ended.
  bool answer(Request& request) {
    std::uint32_t want = 0;
    for (std::size_t i = 0; i < request.num_computed; ++i) {
      want = digest(want, request.tokens[i], i < std::min(given_[request.id], kFormEnd));
      EXPECT_EQ(*row(request.table, i), want)
          << "row " << i << " of " << request.tokens.size() << ", given " << given_[request.id];
    }
    ++num_answers_;
    // Few different tokens: what one request generates is another one's prompt.
    request.tokens.push_back(static_cast<TokenId>(1 + request.tokens.size() % 2));
    ++request.stats.tokens_generated;
    if (request.tokens.size() < request.tokens_max) return true;
    given_.erase(request.id);
    scheduler_->remove(request.id);
    return false;
  }

  std::unique_ptr<PagePool> pool_;
  std::unique_ptr<PrefixCache> cache_;
  std::unique_ptr<Scheduler> scheduler_;
  std::vector<Scheduler::Work> work_;
  std::vector<BatchSegment> segments_;
  std::map<RequestId, std::size_t> given_;  // leading tokens that are a prompt's
  std::uint64_t last_id_ = 0;
  std::uint64_t num_answers_ = 0;
};

/// The text that all requests of a family agree in, generated or not.
Tokens text(std::size_t length) {
  Tokens tokens(length);
  for (std::size_t i = 0; i < length; ++i) tokens[i] = static_cast<TokenId>(1 + i % 2);
  return tokens;
}

TEST_F(SchedulerForms, RowsAreSharedOnlyByRequestsThatComputeThemInTheSameForm) {
  const auto seed = testing::test_seed();
  SCOPED_TRACE(::testing::Message() << "PONDER_TEST_SEED=" << seed);
  std::mt19937_64 rng(seed);
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(rng() % n); };
  for (int round = 0; round < 20'000 && !HasFailure(); ++round) {
    if (scheduler_->num_waiting() + scheduler_->num_running() < 6) {
      const auto priority = static_cast<Priority>(below(3));
      add(text(1 + below(260)), static_cast<std::uint32_t>(1 + below(120)), priority);
    }
    if (below(20) == 0) add_shadow(text(1 + below(200)));
    const std::vector<Request*> running = step(1 + below(120));
    if (running.empty()) continue;
    Request& request = *running[below(running.size())];
    if (!request.is_decoding()) continue;
    if (below(6) == 0) fork(request, 1 + below(request.tokens.size()), 20);
    if (below(12) == 0) set_back(request, 1 + below(request.tokens.size() - 1));
  }
  EXPECT_GT(num_answers_, 1000U);
  EXPECT_GT(scheduler_->counters().preemptions, 10U);
}

/// What both forms agree in is shared, so that nothing is computed without need.
TEST_F(SchedulerForms, PromptsAndWhatFollowsLongOnesAreFound) {
  const auto tokens_cached = [&](Tokens prompt, std::uint32_t num_answer) {
    std::size_t cached = 0;
    auto request = make(std::move(prompt), num_answer, Priority::normal);
    const RequestId id = request->id;
    given_[id] = request->tokens.size();
    scheduler_->add(std::move(request));
    while (const Request* live = scheduler_->find(id)) {
      cached = live->stats.tokens_cached;
      step(64);
    }
    return cached;
  };
  EXPECT_EQ(tokens_cached(text(100), 20), 0U);
  EXPECT_EQ(tokens_cached(text(140), 50), 100U);  // what the first generated is not taken
  EXPECT_EQ(tokens_cached(text(200), 50), 140U);
  EXPECT_EQ(tokens_cached(text(240), 5), 239U);  // but behind a prompt of 200 it is
}

}  // namespace
}  // namespace ponder::engine
