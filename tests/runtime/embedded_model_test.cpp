#include "runtime/model/embedded_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <thread>

#include "engine/random_weights.h"
#include "runtime/agent/agent.h"
#include "runtime/model/next_turn.h"
#include "runtime/store/sqlite_session_store.h"
#include "tests/runtime/fake_engine.h"
#include "tests/runtime/fake_tools.h"
#include "tests/runtime/support.h"
#include "tests/runtime/tiny_tokenizer.h"

namespace ponder::runtime {
namespace {

namespace asio = boost::asio;
using engine::FinishReason;
using engine::GrammarMatch;
using test::FakeEngine;
using ::testing::HasSubstr;

const std::string kCall =
    "I must look.</think>\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"echo\">\n"
    "<｜DSML｜parameter name=\"x\" string=\"false\">7</｜DSML｜parameter>\n</｜DSML｜invoke>\n"
    "</｜DSML｜function_calls>";

engine::Tokenizer tokenizer() {
  auto parsed = engine::Tokenizer::parse(test::chat_tokenizer_json().dump());
  PONDER_ASSERT(parsed.has_value());
  return std::move(*parsed);
}

class DeltaRecorder final : public EventSink {
 public:
  void on_event(const SessionId&, const Record&) override {}
  void on_delta(const SessionId&, const ModelDelta& delta) override {
    texts[delta.kind] += delta.text;
    if (action) action();
  }
  std::map<ModelDelta::Kind, std::string> texts;
  std::function<void()> action;
};

class EmbeddedModelTest : public ::testing::Test {
 protected:
  EmbeddedModelTest() {
    store_ = std::move(*SqliteSessionStore::open(dir_.path() / "sessions.db", system_clock()));
    PONDER_ASSERT(registry_
                      .add(std::make_unique<test::FakeTool>("echo", tools::Effect::pure, test::echo,
                                                            &journal_))
                      .has_value());
  }

  void use(std::unique_ptr<engine::Engine> engine) {
    model_ = std::make_unique<EmbeddedModel>(std::move(engine), "test model");
  }
  FakeEngine& use_script(std::vector<FakeEngine::Answer> answers) {
    auto engine = std::make_unique<FakeEngine>(tokenizer(), std::move(answers));
    FakeEngine& out = *engine;
    use(std::move(engine));
    return out;
  }

  /// The real engine over a model of random weights.
  void use_random_model() {
    ASSERT_TRUE(engine::write_random_checkpoint(
        engine::testing::tiny_config(), engine::testing::tiny_config_json(), dir_.path(), {}));
    engine::testing::write_file(dir_.path() / "tokenizer.json", test::chat_tokenizer_json().dump());
    engine::EngineOptions options;
    options.num_threads = 2;
    options.cache_bytes_max = std::uint64_t{64} << 20;
    auto opened = EmbeddedModel::open(dir_.path(), options);
    ASSERT_TRUE(opened) << opened.error().message;
    model_ = std::move(*opened);
  }

  void start(Limits limits = {}) {
    AgentParts parts(*model_, registry_, *store_, system_clock());
    parts.sinks = {&recorder_};
    SessionStarted start;
    start.family = model_->family();
    start.instructions = "be brief";
    start.tools = registry_.specs();
    start.limits = limits;
    agent_ = std::move(*test::run(context_, Agent::start(parts, start)));
  }

  TurnEnded turn(const std::string& words) {
    const auto end = test::run(context_, agent_->run_turn(words));
    EXPECT_TRUE(end) << end.error().message;
    return end ? *end : TurnEnded{};
  }

  /// The prompt of every completion in the log, made from nothing but the events before it.
  std::vector<std::vector<context::TokenId>> prompts_from_log() {
    std::vector<std::vector<context::TokenId>> prompts;
    const auto records = store_->load(agent_->id());
    SessionState state;
    std::string asked_hash;
    for (const Record& record : records.value()) {
      apply(state, record);
      if (std::holds_alternative<ModelStarted>(record.event)) {
        const auto rebuilt = prompt_tokens(next_request(state), model_->engine().tokenizer());
        EXPECT_TRUE(rebuilt) << rebuilt.error().message;
        prompts.push_back(rebuilt->ids);
      }
      if (const auto* completed = std::get_if<ModelCompleted>(&record.event)) {
        EXPECT_EQ(completed->prompt_hash, prompt_hash(prompts.back()));
        EXPECT_EQ(completed->usage.tokens_prompt, prompts.back().size());
      }
    }
    return prompts;
  }

  test::TempDir dir_;
  asio::io_context context_;
  std::unique_ptr<SessionStore> store_;
  tools::Registry registry_;
  std::vector<std::string> journal_;
  DeltaRecorder recorder_;
  std::unique_ptr<EmbeddedModel> model_;
  std::unique_ptr<Agent> agent_;
};

TEST_F(EmbeddedModelTest, EveryPromptIsRebuiltToTheTokenFromTheLogAlone) {
  FakeEngine& engine = use_script({{kCall}, {"Seven.</think>It is 7."}, {"</think>Bye."}});
  start();
  EXPECT_EQ(turn("what is x?").reason, TurnEnd::answered);
  EXPECT_EQ(turn("thanks").reason, TurnEnd::answered);
  const auto prompts = prompts_from_log();
  ASSERT_EQ(prompts.size(), 3U);
  ASSERT_EQ(engine.requests.size(), 3U);
  for (std::size_t i = 0; i < prompts.size(); ++i) EXPECT_EQ(prompts[i], engine.requests[i].prompt);
}

TEST_F(EmbeddedModelTest, WhatWasSampledReentersTheNextPromptOfTheTurnAsTheSameTokens) {
  FakeEngine& engine = use_script({{kCall}, {"Seven.</think>It is 7."}});
  start();
  turn("what is x?");
  ASSERT_EQ(engine.requests.size(), 2U);
  std::vector<context::TokenId> expected = engine.requests[0].prompt;
  const auto records = store_->load(agent_->id());
  for (const Record& record : records.value()) {
    const auto* completed = std::get_if<ModelCompleted>(&record.event);
    if (completed == nullptr) continue;
    const auto& sampled = completed->message.sampled;
    expected.insert(expected.end(), sampled.begin(), sampled.end());
    break;
  }
  const auto& second = engine.requests[1].prompt;
  ASSERT_GT(second.size(), expected.size());
  EXPECT_TRUE(std::equal(expected.begin(), expected.end(), second.begin()));
}

TEST_F(EmbeddedModelTest, RoleTokensInAnAnswerAreDroppedByIdAndDoNotComeBack) {
  for (const char* stray : {"<｜User｜>", "<｜Assistant｜>", "<｜begin▁of▁sentence｜>"}) {
    SCOPED_TRACE(stray);
    FakeEngine& engine = use_script({{"</think>left right", FinishReason::stop, false, stray},
                                     {"Yes.</think>I typed <｜User｜>."}});
    start();
    turn("what is x?");
    EXPECT_EQ(agent_->state().last_answer(), "left right");
    EXPECT_EQ(agent_->state().damaged_completions, 1U);
    turn("did you type <｜User｜>?");
    EXPECT_EQ(agent_->state().last_answer(), "I typed <｜User｜>.");  // spelled, it is text
    const auto prompts = prompts_from_log();
    EXPECT_EQ(prompts[1], engine.requests[1].prompt);
    const auto id = *model_->engine().tokenizer().added_token(stray);
    const auto added = std::count(prompts[1].begin(), prompts[1].end(), id) -
                       std::count(prompts[0].begin(), prompts[0].end(), id);
    const bool opens_a_turn = std::string(stray) != "<｜begin▁of▁sentence｜>";
    EXPECT_EQ(added, opens_a_turn ? 1 : 0);  // of the second turn's own
  }
}

TEST_F(EmbeddedModelTest, TheLogSaysWhichRoleTokenWasLeftOutAndWhere) {
  use_script({{"</think>abcd", FinishReason::stop, false, "<｜User｜>"}});
  start();
  turn("what is x?");
  const auto records = store_->load(agent_->id());
  for (const Record& record : records.value()) {
    const auto* completed = std::get_if<ModelCompleted>(&record.event);
    if (completed == nullptr) continue;
    ASSERT_EQ(completed->notes.size(), 1U);
    EXPECT_THAT(completed->notes[0], HasSubstr("<｜User｜>"));
    EXPECT_THAT(completed->notes[0], HasSubstr("left out 1 times, first at token 6"));
    EXPECT_EQ(completed->message.sampled.size(), 13U);  // the text's bytes and the end of turn
  }
}

TEST_F(EmbeddedModelTest, ACompletionIsTakenApartAndShownAsItComes) {
  use_script({{kCall}, {"Seven.</think>It is 7."}});
  start();
  turn("what is x?");
  EXPECT_EQ(journal_.size(), 2U);
  const auto& conversation = agent_->state().conversation;
  ASSERT_EQ(conversation.size(), 5U);
  EXPECT_EQ(conversation[2].reasoning, "I must look.");
  EXPECT_EQ(conversation[2].tool_calls[0].arguments, R"({"x": 7})");
  EXPECT_EQ(conversation[3].content, R"(echo {"x": 7})");
  EXPECT_EQ(conversation[4].content, "It is 7.");
  EXPECT_EQ(recorder_.texts[ModelDelta::Kind::reasoning], "I must look.Seven.");
  EXPECT_EQ(recorder_.texts[ModelDelta::Kind::content], "It is 7.");
  EXPECT_EQ(recorder_.texts[ModelDelta::Kind::call_name], "echo");
}

TEST_F(EmbeddedModelTest, ACallOfAnUnknownToolIsAnsweredAndCountsAsMalformed) {
  std::string unknown = kCall;
  unknown.replace(unknown.find("\"echo\""), 6, "\"ohce\"");
  use_script({{unknown}, {"Hm.</think>Sorry."}});
  start();
  EXPECT_EQ(turn("what is x?").reason, TurnEnd::answered);
  EXPECT_TRUE(journal_.empty());
  EXPECT_THAT(agent_->state().conversation[3].content, HasSubstr("echo"));
  EXPECT_EQ(agent_->state().malformed_calls, 1U);
}

TEST_F(EmbeddedModelTest, CallsInTheTokensOfAnotherFormatFailTheTurnWithTheRemedy) {
  use_script(
      {{"Hm.</think><｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>echo"}});
  start();
  const TurnEnded end = turn("what is x?");
  EXPECT_EQ(end.reason, TurnEnd::model_failed);
  EXPECT_THAT(end.detail, HasSubstr("choose the format that belongs to the checkpoint"));
}

TEST_F(EmbeddedModelTest, CancellingStopsTheEngineAndTheNextTurnWorks) {
  use_script({{"", FinishReason::stop, /*is_endless=*/true}, {"Ok.</think>Fine."}});
  start();
  recorder_.action = [this] {
    recorder_.action = nullptr;
    asio::post(context_, [this] { agent_->cancel(); });
  };
  EXPECT_EQ(turn("go on for ever").reason, TurnEnd::cancelled);
  EXPECT_EQ(turn("now briefly").reason, TurnEnd::answered);
  EXPECT_EQ(agent_->state().last_answer(), "Fine.");
}

TEST_F(EmbeddedModelTest, AnEngineThatFailsEndsTheTurnWithItsWords) {
  use_script({{"", FinishReason::failed}});
  start();
  const TurnEnded end = turn("hello");
  EXPECT_EQ(end.reason, TurnEnd::model_failed);
  EXPECT_THAT(end.detail, HasSubstr("told to fail"));
}

TEST_F(EmbeddedModelTest, NothingRunsOfACompletionThatTheTokenLimitCut) {
  use_script({{kCall.substr(0, kCall.size() - 3), FinishReason::length}});
  start();
  EXPECT_EQ(turn("what is x?").reason, TurnEnd::truncated);
  EXPECT_TRUE(journal_.empty());
}

TEST_F(EmbeddedModelTest, OneGrammarServesAllRequestsWithTheSameTools) {
  FakeEngine& engine = use_script({{kCall}, {"Seven.</think>It is 7."}});
  start();
  turn("what is x?");
  ASSERT_NE(engine.requests[0].grammar, nullptr);
  EXPECT_EQ(engine.requests[0].grammar, engine.requests[1].grammar);
  EXPECT_EQ(engine.requests[0].grammar->match(kCall), GrammarMatch::full);
}

/// The real engine over a model of random weights: what it says means nothing, but every token of
/// it passes through sampling, the log and the next prompt.
TEST_F(EmbeddedModelTest, TheRealEngineContinuesItsOwnTokensFromTheCache) {
  use_random_model();
  Limits limits;
  limits.tokens_step_max = 24;
  start(limits);
  for (const char* words : {"the first question", "the second", "the third"}) turn(words);
  EXPECT_EQ(prompts_from_log().size(), agent_->state().completions);
  EXPECT_GE(agent_->state().completions, 3U);
  EXPECT_GT(agent_->state().usage_total.tokens_cached, 0U);
  EXPECT_GT(agent_->state().usage_total.tokens_generated, 0U);
}

TEST_F(EmbeddedModelTest, ANewUserTurnStartsWithTheStrippedHistoryInTheCache) {
  use_random_model();
  const auto message = [](context::Role role, const std::string& content) {
    context::Message out;
    out.role = role;
    out.content = content;
    return out;
  };
  std::string reasoning;
  for (int i = 0; i < 100; ++i) reasoning += "so many thoughts, ";
  context::Conversation history = {message(context::Role::system, "be brief"),
                                   message(context::Role::user, "what is x?"),
                                   message(context::Role::assistant, "It is seven, I am sure.")};
  history[2].reasoning = reasoning;
  const auto request = [&](context::Conversation conversation) {
    return ModelRequest(std::move(conversation), model_->family(), Sampling(), 4);
  };
  const auto complete = [&](context::Conversation conversation) {
    auto work = model_->complete(request(std::move(conversation)), ModelSink());
    return test::run(context_, std::move(work));
  };
  const auto prefix = next_turn_prefix(request(history), model_->tokenizer());
  ASSERT_TRUE(prefix) << prefix.error().message;
  EXPECT_LT(prefix->size(), reasoning.size() / 2);  // a byte is a token here: none of the reasoning

  model_->expect_user_turn(request(history));
  while (model_->engine().stats().rows_shadow < prefix->size()) std::this_thread::yield();
  for (const std::string words : {"a longer question", "1"}) {
    auto next = history;
    next.push_back(message(context::Role::user, words));
    const auto completion = complete(next);
    ASSERT_TRUE(completion) << completion.error().message;
    EXPECT_EQ(completion->usage.tokens_cached, prefix->size()) << words;
  }
  EXPECT_EQ(model_->engine().stats().shadow_hits, 1U);
  EXPECT_EQ(model_->engine().stats().tokens_shadow_saved, prefix->size());
}

TEST_F(EmbeddedModelTest, AnAgentTellsTheModelWhatTheNextTurnWillBeginWith) {
  FakeEngine& engine = use_script({{"Long thoughts.</think>It is 7."}});
  start();
  turn("what is x?");
  expect_user_turn(*model_, agent_->state());
  while (engine.num_prefills() == 0) std::this_thread::yield();
  const std::string text = model_->engine().tokenizer().decode(engine.prefills[0]);
  EXPECT_THAT(text, HasSubstr("what is x?"));
  EXPECT_THAT(text, ::testing::EndsWith("It is 7.<｜end▁of▁sentence｜><｜User｜>"));
  EXPECT_THAT(text, ::testing::Not(HasSubstr("thoughts")));
}

TEST_F(EmbeddedModelTest, WhatFollowsOnOpenCallsIsCertainUpToTheFirstUnknownResult) {
  use_script({});
  context::Message system;
  system.role = context::Role::system;
  system.tools = registry_.specs();
  context::Message user;
  user.content = "go";
  context::Message calls;
  calls.role = context::Role::assistant;
  calls.reasoning = "I must look.";
  calls.tool_calls = {{"1", "echo", R"({"x":1})"}, {"2", "echo", R"({"x":2})"}};
  context::Message known;
  known.role = context::Role::tool;
  known.content = "the first";
  known.tool_call_id = "1";
  const auto text = [&](context::Conversation conversation) {
    const ModelRequest request(std::move(conversation), model_->family(), Sampling(), 0);
    const auto ids = next_results_prefix(request, model_->tokenizer());
    EXPECT_TRUE(ids) << ids.error().message;
    return model_->engine().tokenizer().decode(*ids);
  };
  const std::string none = text({system, user, calls});
  EXPECT_THAT(none, HasSubstr("I must look."));  // the turn goes on, so its reasoning stays
  EXPECT_THAT(none, HasSubstr(R"(name="x")"));
  EXPECT_THAT(none, ::testing::Not(HasSubstr("the first")));
  const std::string one = text({system, user, calls, known});
  EXPECT_TRUE(one.starts_with(none));
  EXPECT_THAT(one, HasSubstr("the first"));
}

TEST_F(EmbeddedModelTest, WhileAPersonIsAskedTheModelGetsReadyForTheResult) {
  class Slow final : public Approver {
   public:
    asio::awaitable<Result<ApprovalAnswer>> ask(ApprovalQuestion) override {
      while (engine->num_prefills() == 0) {
        co_await asio::post(asio::use_awaitable);
      }
      co_return ApprovalAnswer{};
    }
    FakeEngine* engine = nullptr;
  };
  FakeEngine& engine = use_script({{kCall}, {"hm</think>done"}});
  Slow person;
  person.engine = &engine;
  tools::Registry registry;
  ASSERT_TRUE(registry.add(std::make_unique<test::FakeTool>("echo", tools::Effect::irreversible,
                                                            test::echo, &journal_)));
  AgentParts parts(*model_, registry, *store_, system_clock());
  parts.approvals = {ApprovalMode::ask, &person, 600'000};
  SessionStarted start;
  start.family = model_->family();
  start.tools = registry.specs();
  agent_ = std::move(*test::run(context_, Agent::start(parts, start)));
  EXPECT_EQ(turn("go").reason, TurnEnd::answered);
  const auto& asked = engine.requests.back().prompt;
  const auto& prefill = engine.prefills.at(0);
  ASSERT_LT(prefill.size(), asked.size());
  EXPECT_TRUE(std::equal(prefill.begin(), prefill.end(), asked.begin()));
  // All but the words of the result and what closes it.
  EXPECT_GT(prefill.size(), engine.requests.front().prompt.size() + kCall.size() / 2);
  agent_.reset();
}

TEST_F(EmbeddedModelTest, WordsInMidTurnMakeTheModelReadyForTheResultThatWillCarryThem) {
  FakeEngine& engine = use_script({{kCall}, {"hm</think>done"}});
  tools::Registry registry;
  // The call takes until the words have had their effect.
  const test::FakeTool::Work work = [&](std::string) -> asio::awaitable<Result<tools::ToolOutput>> {
    const Status steered = co_await agent_->steer("hurry");
    EXPECT_TRUE(steered.has_value());
    while (engine.num_prefills() == 0) {
      co_await asio::post(asio::use_awaitable);
    }
    co_return tools::ToolOutput("found", false);
  };
  ASSERT_TRUE(
      registry.add(std::make_unique<test::FakeTool>("echo", tools::Effect::pure, work, &journal_)));
  AgentParts parts(*model_, registry, *store_, system_clock());
  SessionStarted start;
  start.family = model_->family();
  start.tools = registry.specs();
  agent_ = std::move(*test::run(context_, Agent::start(parts, start)));
  EXPECT_EQ(turn("go").reason, TurnEnd::answered);
  const auto& asked = engine.requests.back().prompt;
  const auto& prefill = engine.prefills.at(0);
  EXPECT_THAT(model_->engine().tokenizer().decode(asked), HasSubstr("hurry"));
  EXPECT_TRUE(std::equal(prefill.begin(), prefill.end(), asked.begin()));
  agent_.reset();
}

TEST_F(EmbeddedModelTest, AModelWithoutAChatFormatIsRefusedWithTheKnownOnes) {
  auto json = nlohmann::json::parse(engine::testing::tiny_config_json());
  json["architectures"] = {"GlmMoeDsaForCausalLM"};
  json["num_nextn_predict_layers"] = 0;
  const auto config = engine::parse_config(json.dump());
  ASSERT_TRUE(config) << config.error().message;
  ASSERT_TRUE(engine::write_random_checkpoint(*config, json.dump(), dir_.path(), {}));
  engine::testing::write_file(dir_.path() / "tokenizer.json", test::chat_tokenizer_json().dump());
  const auto opened = EmbeddedModel::open(dir_.path(), {});
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Errc::not_found);
  EXPECT_THAT(opened.error().message, HasSubstr("glm_moe_dsa"));
  EXPECT_THAT(opened.error().message, HasSubstr("dsv32"));
}

TEST_F(EmbeddedModelTest, AMissingModelIsNamed) {
  const auto missing = EmbeddedModel::open(dir_.path() / "nothing", {});
  ASSERT_FALSE(missing);
  EXPECT_THAT(missing.error().message, HasSubstr("nothing"));
}

}  // namespace
}  // namespace ponder::runtime
