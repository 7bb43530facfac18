#pragma once

#include <atomic>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/engine.h"

namespace ponder::runtime::test {

/// An engine that writes what a script says, one byte a token, so that re-tokenising its text would
/// not give the same ids. It keeps what it was asked.
class FakeEngine final : public engine::Engine {
 public:
  struct Answer {
    std::string text;
    engine::FinishReason finish = engine::FinishReason::stop;
    bool is_endless = false;  // until cancelled
    std::string stray = {};   // an added token that stands behind the text's first half
  };

  FakeEngine(engine::Tokenizer tokenizer, std::vector<Answer> answers)
      : tokenizer_(std::move(tokenizer)), answers_(answers.begin(), answers.end()) {
    config_.max_position_embeddings = 4096;
  }

  const engine::ModelConfig& config() const override { return config_; }
  const engine::Tokenizer& tokenizer() const override { return tokenizer_; }
  const char* isa_name() const override { return "fake"; }
  engine::EngineStats stats() const override { return {}; }
  bool has_work() const override { return has_work_; }

  Result<engine::RequestId> submit(engine::GenerationRequest request,
                                   engine::RequestCallbacks callbacks) override {
    const std::lock_guard lock(mutex_);
    requests.push_back(request);
    callbacks_ = std::move(callbacks);
    is_cancelled_ = false;
    has_work_ = true;
    return engine::RequestId{requests.size()};
  }
  Result<engine::RequestId> fork(engine::RequestId, std::size_t, engine::GenerationRequest,
                                 engine::RequestCallbacks) override {
    return fail(Errc::invalid_argument, "the fake engine does not fork");
  }
  Status truncate(engine::RequestId, std::size_t, std::uint64_t) override {
    return fail(Errc::invalid_argument, "the fake engine does not truncate");
  }
  Status prefill_when_idle(std::vector<engine::TokenId> prompt) override {
    const std::lock_guard lock(mutex_);
    prefills.push_back(std::move(prompt));
    return {};
  }
  bool has_idle_work() const override { return false; }
  void cancel(engine::RequestId) override { is_cancelled_ = true; }

  void step() override {
    const std::lock_guard lock(mutex_);
    const Answer answer = answers_.front();
    if (answer.is_endless && !is_cancelled_) {
      callbacks_.on_token(byte_token('x'));
      return;
    }
    answers_.pop_front();
    has_work_ = false;
    engine::RequestStats stats;
    stats.tokens_prompt = static_cast<std::uint32_t>(requests.back().prompt.size());
    const auto finish = is_cancelled_ ? engine::FinishReason::cancelled : answer.finish;
    if (finish == engine::FinishReason::stop || finish == engine::FinishReason::length) {
      for (std::size_t i = 0; i < answer.text.size(); ++i) {
        const bool is_middle = !answer.stray.empty() && i == answer.text.size() / 2;
        if (is_middle) callbacks_.on_token(*tokenizer_.added_token(answer.stray));
        callbacks_.on_token(byte_token(answer.text[i]));
      }
      stats.tokens_generated = static_cast<std::uint32_t>(answer.text.size());
    }
    if (finish == engine::FinishReason::stop) callbacks_.on_token(kEndOfTurn);
    const engine::RequestCallbacks callbacks = std::exchange(callbacks_, {});
    callbacks.on_finish(finish, stats, "the fake engine was told to fail");
  }

  std::size_t num_prefills() {
    const std::lock_guard lock(mutex_);
    return prefills.size();
  }

  static constexpr engine::TokenId kEndOfTurn = 1;
  std::vector<engine::GenerationRequest> requests;
  std::vector<std::vector<engine::TokenId>> prefills;

 private:
  /// Ids 3 to 258 of the tokenizer are the bytes, but in an order of their own.
  engine::TokenId byte_token(char c) const {
    const auto ids = tokenizer_.encode(std::string_view(&c, 1), false);
    return ids.front();
  }

  engine::ModelConfig config_;
  engine::Tokenizer tokenizer_;
  std::mutex mutex_;
  std::deque<Answer> answers_;
  engine::RequestCallbacks callbacks_;
  std::atomic<bool> has_work_ = false;
  std::atomic<bool> is_cancelled_ = false;
};

}  // namespace ponder::runtime::test
