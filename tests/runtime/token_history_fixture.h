#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "runtime/agent/agent.h"
#include "runtime/model/embedded_model.h"
#include "runtime/store/sqlite_session_store.h"
#include "runtime/workflow/workflow.h"
#include "tests/runtime/support.h"

/// The shipped model at work, and its log: what was sampled comes back as the same ids, and every
/// prompt follows from the log to the token. What the model decides is its own affair.
namespace ponder::runtime::test {

inline constexpr const char* kModel = "engine/models/mini";
inline constexpr const char* kLibrary = "tools/library";
inline constexpr const char* kRequest =
    "Plan a one-day trip to Suzhou. Hotels must cost at most 600 CNY per night.";

using Ids = std::vector<context::TokenId>;

class TokenHistoryTest : public ::testing::Test {
 protected:
  TokenHistoryTest() {
    store_ = std::move(*SqliteSessionStore::open(dir_.path() / "sessions.db", system_clock()));
    WorkflowOptions how;
    how.name = "travel";
    how.library = kLibrary;
    how.request = kRequest;
    auto workflow = Workflow::open(how);
    PONDER_ASSERT(workflow.has_value());
    workflow_ = std::move(*workflow);
    load_model();
  }

  void load_model() {
    engine::EngineOptions options;
    options.num_threads = 2;
    options.cache_bytes_max = std::uint64_t{256} << 20;
    auto model = EmbeddedModel::open(kModel, options);
    PONDER_ASSERT(model.has_value());
    model_ = std::move(*model);
  }

  AgentParts parts() {
    AgentParts parts(*model_, workflow_->registry(), *store_, system_clock());
    parts.grants = workflow_->grants();
    parts.sinks = sinks_;
    return parts;
  }

  void start(std::uint32_t limit_percent = 80) {
    SessionStarted start = workflow_->session_start();
    start.model = model_->description();
    start.family = model_->family();
    start.sampling.seed = 7;  // and temperature 1: any text may come
    start.limits.steps_max = 6;
    start.limits.tokens_step_max = 300;
    start.context.limit_percent = limit_percent;
    agent_ = std::move(*test::run(context_, Agent::start(parts(), start)));
  }

  /// The turn that begins with `words` will outgrow its window and be cut.
  void start_with_room_for_little_more_than(const std::string& words) {
    start();
    SessionState begun = agent_->state();
    apply(begun, Record{2, 0, UserMessage{words}});
    const std::size_t tokens = prompt_of(begun).size();
    const std::size_t window = model_->tokens_context_max();
    // Room for the first prompt and not much more.
    const std::size_t limit = (tokens + 300 + 250) * 100 / window + 1;
    start(static_cast<std::uint32_t>(limit));
  }

  void turn(const std::string& words) {
    ASSERT_TRUE(workflow_->hear(words));
    const auto end = test::run(context_, agent_->run_turn(words));
    ASSERT_TRUE(end) << end.error().message;
  }

  /// Everything of the process but the log goes, and comes again.
  void restart() {
    const SessionId id = agent_->id();
    agent_.reset();
    model_.reset();
    load_model();
    agent_ = std::move(*Agent::open(parts(), id));
  }

  /// Goes on with a session of the log, in the world that it left.
  void open(const SessionId& id) {
    auto workflow = Workflow::reopen(kLibrary, id, fold(*store_->load(id)), *store_);
    ASSERT_TRUE(workflow) << workflow.error().message;
    agent_.reset();
    workflow_ = std::move(*workflow);
    agent_ = std::move(*Agent::open(parts(), id));
  }

  std::vector<Record> records() const { return *store_->load(agent_->id()); }

  Ids prompt_of(const SessionState& state) const {
    const auto tokens = prompt_tokens(next_request(state), model_->engine().tokenizer());
    EXPECT_TRUE(tokens) << tokens.error().message;
    return tokens ? tokens->ids : Ids();
  }

  /// Each completion's prompt, made again from the events before it, is the one that was computed;
  /// and while a turn runs uncut, each prompt begins with the one before and what was sampled.
  void expect_every_prompt_follows_from_the_log() {
    SessionState state;
    Ids prompt;
    Ids path;  // the prompt before and its completion, while the next one must begin with them
    for (const Record& record : records()) {
      apply(state, record);
      const bool is_new_path = std::holds_alternative<UserMessage>(record.event) ||
                               std::holds_alternative<ContextReduced>(record.event) ||
                               std::holds_alternative<ModelRetried>(record.event);
      if (is_new_path) path.clear();
      if (std::holds_alternative<ModelStarted>(record.event)) {
        prompt = prompt_of(state);
        ASSERT_GE(prompt.size(), path.size());
        EXPECT_TRUE(std::equal(path.begin(), path.end(), prompt.begin())) << record.seq;
        prompts_ += 1;
        longest_path_ = std::max(longest_path_, path.size());
      }
      const auto* completed = std::get_if<ModelCompleted>(&record.event);
      if (completed == nullptr) continue;
      EXPECT_EQ(completed->prompt_hash, prompt_hash(prompt)) << record.seq;
      EXPECT_EQ(completed->usage.tokens_prompt, prompt.size());
      path = prompt;
      const Ids& sampled = completed->message.sampled;
      path.insert(path.end(), sampled.begin(), sampled.end());
      if (completed->finish == Finish::length) path.clear();  // enters as text
    }
  }

  test::TempDir dir_;
  boost::asio::io_context context_;
  std::unique_ptr<SessionStore> store_;
  std::unique_ptr<Workflow> workflow_;
  std::unique_ptr<EmbeddedModel> model_;
  std::vector<EventSink*> sinks_;  // of the agents to come
  std::unique_ptr<Agent> agent_;
  std::size_t prompts_ = 0;
  std::size_t longest_path_ = 0;
};

}  // namespace ponder::runtime::test
