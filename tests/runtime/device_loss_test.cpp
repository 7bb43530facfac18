// A session whose device is lost in the middle of an answer: the log says what happened, holds
// nothing of the step that met it, and the session goes on. On the emulated device.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/cuda/emulator/emulated_device.h"
#include "runtime/agent/agent.h"
#include "runtime/model/embedded_model.h"
#include "runtime/store/sqlite_session_store.h"
#include "tests/engine/small_model.h"
#include "tests/runtime/support.h"
#include "tests/runtime/tiny_tokenizer.h"

namespace ponder::runtime {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::uint32_t kTokensMax = 60;  // of a step: the loss comes at the first of them

/// Loses the device when the model's first words of a step come by.
class LosingSink final : public EventSink {
 public:
  void on_event(const SessionId&, const Record&) override {}
  void on_delta(const SessionId&, const ModelDelta& delta) override {
    if (is_armed && delta.kind == ModelDelta::Kind::reasoning) kernels::lose_emulated_device(true);
  }
  bool is_armed = false;
};

class DeviceLoss : public ::testing::Test {
 protected:
  DeviceLoss() {
    kernels::watch_emulated_memory(false);
    const std::string text = engine::small_config_json().dump();
    PONDER_ASSERT(engine::write_random_checkpoint(*engine::parse_config(text), text, model_dir_,
                                                  {.dtype = engine::WeightDType::bf16})
                      .has_value());
    engine::testing::write_file(model_dir_ / "tokenizer.json", test::chat_tokenizer_json().dump());
  }
  ~DeviceLoss() override {
    kernels::lose_emulated_device(false);
    kernels::watch_emulated_memory(true);
  }

  /// As a new process does: the store from its file, the model from its directory.
  void begin_process(engine::DeviceChoice choice) {
    end_process();
    store_ = std::move(*SqliteSessionStore::open(dir_.path() / "sessions.db", system_clock()));
    engine::EngineOptions options;
    options.device = choice;
    options.device_table = &kernels::emulated_device();
    options.cache_bytes_max = std::uint64_t{4} << 20;
    options.num_threads = 1;
    auto model = EmbeddedModel::open(model_dir_, options);
    ASSERT_TRUE(model) << model.error().message;
    model_ = std::move(*model);
  }
  void end_process() {
    agent_.reset();
    model_.reset();
    store_.reset();
  }
  AgentParts parts() {
    AgentParts parts(*model_, registry_, *store_, system_clock());
    parts.sinks = {&sink_};
    return parts;
  }
  void start() {
    SessionStarted start;
    start.family = model_->family();
    start.instructions = "be brief";
    start.limits.tokens_step_max = kTokensMax;
    agent_ = std::move(*test::run(context_, Agent::start(parts(), start)));
    id_ = agent_->id();
  }
  TurnEnded turn(const std::string& words) {
    const auto end = test::run(context_, agent_->run_turn(words));
    EXPECT_TRUE(end) << end.error().message;
    return end ? *end : TurnEnded{};
  }
  TurnEnded losing_turn(const std::string& words) {
    sink_.is_armed = true;
    const TurnEnded end = turn(words);
    sink_.is_armed = false;
    return end;
  }

  /// The completions of the log, of which every prompt follows from the events before it; events
  /// are numbered without a gap.
  std::vector<ModelCompleted> completions() {
    std::vector<ModelCompleted> out;
    SessionState state;
    std::int64_t last_seq = 0;
    std::string asked_hash;
    const auto records = store_->load(id_);
    EXPECT_TRUE(records.has_value());
    for (const Record& record : *records) {
      if (last_seq != 0) {
        EXPECT_EQ(record.seq, last_seq + 1);
      }
      last_seq = record.seq;
      apply(state, record);
      if (std::holds_alternative<ModelStarted>(record.event)) {
        const auto prompt = prompt_tokens(next_request(state), model_->engine().tokenizer());
        EXPECT_TRUE(prompt.has_value());
        asked_hash = prompt_hash(prompt->ids);
      }
      if (const auto* completed = std::get_if<ModelCompleted>(&record.event)) {
        EXPECT_EQ(completed->prompt_hash, asked_hash);
        out.push_back(*completed);
      }
    }
    EXPECT_FALSE(state.is_turn_open);
    return out;
  }

  engine::testing::TempDir dir_;
  std::filesystem::path model_dir_ = dir_.path() / "model";
  boost::asio::io_context context_;
  tools::Registry registry_;
  LosingSink sink_;
  std::unique_ptr<SessionStore> store_;
  std::unique_ptr<EmbeddedModel> model_;
  std::unique_ptr<Agent> agent_;
  SessionId id_;
};

TEST_F(DeviceLoss, WithAutoTheTurnIsAnsweredByTheCpuAndTheLogSaysSo) {
  ASSERT_NO_FATAL_FAILURE(begin_process(engine::DeviceChoice::automatic));
  start();
  turn("the first question");
  const std::size_t before = completions().size();
  EXPECT_NE(losing_turn("the second").reason, TurnEnd::model_failed);
  const auto during = completions();
  ASSERT_GT(during.size(), before);
  for (std::size_t i = 0; i < before; ++i)
    EXPECT_THAT(during[i].notes, Not(Contains(HasSubstr("device_lost"))));
  EXPECT_THAT(during[before].notes, Contains(HasSubstr("device_lost")));
  // Nothing is lost or counted twice; a token that ends the answer is no part of what it says.
  const std::size_t num_sampled = during[before].message.sampled.size();
  EXPECT_GE(during[before].usage.tokens_generated, num_sampled);
  EXPECT_LE(during[before].usage.tokens_generated, num_sampled + 1);

  EXPECT_NE(turn("the third").reason, TurnEnd::model_failed);
  EXPECT_THAT(completions().back().notes, Not(Contains(HasSubstr("device_lost"))));
}

TEST_F(DeviceLoss, WithCudaTheTurnFailsWithTheDevicesErrorAndAnotherProcessGoesOn) {
  ASSERT_NO_FATAL_FAILURE(begin_process(engine::DeviceChoice::cuda));
  start();
  turn("the first question");
  const std::size_t before = completions().size();
  const TurnEnded end = losing_turn("the second");
  EXPECT_EQ(end.reason, TurnEnd::model_failed);
  EXPECT_THAT(end.detail, HasSubstr("device lost"));
  EXPECT_EQ(completions().size(), before);

  kernels::lose_emulated_device(false);
  EXPECT_EQ(turn("with the same process").reason, TurnEnd::model_failed);

  ASSERT_NO_FATAL_FAILURE(begin_process(engine::DeviceChoice::cuda));
  auto reopened = Agent::open(parts(), id_);
  ASSERT_TRUE(reopened) << reopened.error().message;
  agent_ = std::move(*reopened);
  EXPECT_NE(turn("with another").reason, TurnEnd::model_failed);
  const auto after = completions();
  ASSERT_GT(after.size(), before);
  EXPECT_THAT(after.back().notes, Not(Contains(HasSubstr("device_lost"))));
}

}  // namespace
}  // namespace ponder::runtime
