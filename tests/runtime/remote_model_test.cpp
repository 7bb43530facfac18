#include "runtime/model/remote_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/post.hpp>
#include <nlohmann/json.hpp>

#include "tests/runtime/remote_model_fixture.h"

namespace ponder::runtime {
namespace {

namespace asio = boost::asio;
using std::chrono::milliseconds;
using test::event_stream;
using test::Exchange;
using test::whole_answer;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

TEST_F(RemoteModelTest, AnEndpointThatRefusesLiveValuesIsAskedWithoutThemFromThenOn) {
  serve({{whole_answer("400 Bad Request", "", "enum is not supported")},
         {event_stream({kHello})},
         {event_stream({kHello})}});
  auto model = RemoteModel::create(options_);
  ASSERT_TRUE(model.has_value());
  for (int i = 0; i < 2; ++i) {
    ModelRequest request = question();
    request.conversation.edit().front().tools.front().parameters =
        R"({"type": "object", "properties": {"door": {"type": "string"}}})";
    request.live_values = {{"look", "door", {"red"}}};
    auto work = (*model)->complete(std::move(request), ModelSink());
    const auto completion = test::run(context_, std::move(work));
    ASSERT_TRUE(completion) << completion.error().message;
    EXPECT_EQ(completion->message.content, "hello");
  }
  const auto requests = server_->requests();
  ASSERT_EQ(requests.size(), 3U);
  EXPECT_THAT(requests[0], HasSubstr("enum"));
  EXPECT_THAT(requests[1], Not(HasSubstr("enum")));
  EXPECT_THAT(requests[2], Not(HasSubstr("enum")));
}

TEST_F(RemoteModelTest, AStreamedAnswerArrivesWholeWhereverTheBytesAreCut) {
  const std::string body =
      "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"thin\"}}]}\r\n\r\n"
      ": a comment\n\n"
      "data: {\"choices\":[{\"delta\":{\"reasoning\":\"king\"}}]}\n\n"
      "data: {\"choices\":[{\"delta\":{\"content\":\"h\xC3\xA9\"}}]}\n\n"
      "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"c1\","
      "\"function\":{\"name\":\"look\",\"arguments\":\"\"}}]}}]}\n\n"
      "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,"
      "\"function\":{\"arguments\":\"{\\\"x\\\":\"}}]}}]}\n\n"
      "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":1,\"id\":\"c2\","
      "\"function\":{\"name\":\"look\",\"arguments\":\"{}\"}},{\"index\":0,"
      "\"function\":{\"arguments\":\"1}\"}}]}}]}\n\n"
      "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\n"
      "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":7,"
      "\"prompt_tokens_details\":{\"cached_tokens\":5}}}\n\ndata: [DONE]\n\n";
  for (const std::size_t piece_size : {std::size_t{1}, std::size_t{7}, body.size()}) {
    SCOPED_TRACE(piece_size);
    std::vector<std::string> pieces;
    for (std::size_t i = 0; i < body.size(); i += piece_size) {
      pieces.push_back(body.substr(i, piece_size));
    }
    deltas_.clear();
    serve({{event_stream(pieces)}});
    const auto answer = ask();
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->message.reasoning, "thinking");
    EXPECT_EQ(answer->message.content, "h\xC3\xA9");
    ASSERT_EQ(answer->message.tool_calls.size(), 2U);
    EXPECT_EQ(answer->message.tool_calls[0].id, "c1");
    EXPECT_EQ(answer->message.tool_calls[0].arguments, R"({"x":1})");
    EXPECT_EQ(answer->message.tool_calls[1].id, "c2");
    EXPECT_THAT(answer->call_faults, ElementsAre("", ""));
    EXPECT_EQ(answer->usage.tokens_prompt, 11U);
    EXPECT_EQ(answer->usage.tokens_cached, 5U);
    EXPECT_EQ(answer->usage.tokens_generated, 7U);
    EXPECT_EQ(told(ModelDelta::Kind::reasoning), "thinking");
    EXPECT_EQ(told(ModelDelta::Kind::call_name), "looklook");
  }
}

TEST_F(RemoteModelTest, TheRequestHoldsMessagesToolsAndTheKeyAsTheProtocolWantsThem) {
  serve({{event_stream({kHello})}});
  ModelRequest request = question();
  context::Message first;
  first.role = context::Role::assistant;
  first.content = "old answer";
  first.reasoning = "old thoughts";
  context::Message again;
  again.content = "and now?";
  context::Message calling = first;
  calling.content = "";
  calling.reasoning = "new thoughts";
  calling.tool_calls = {{"c9", "look", "{}"}};
  context::Message result;
  result.role = context::Role::tool;
  result.tool_call_id = "c9";
  result.content = "nothing";
  for (const auto& message : {first, again, calling, result}) {
    request.conversation.push_back(message);
  }
  ASSERT_TRUE(ask(request));
  const std::string sent = server_->requests().at(0);
  EXPECT_THAT(sent, HasSubstr("POST /v1/chat/completions HTTP/1.1\r\n"));
  EXPECT_THAT(sent, HasSubstr("Authorization: Bearer secret-key\r\n"));
  const auto body = nlohmann::json::parse(sent.substr(sent.find("\r\n\r\n") + 4));
  EXPECT_EQ(body["model"], "big-model");
  EXPECT_EQ(body["stream"], true);
  EXPECT_EQ(body["max_tokens"], 100);
  EXPECT_EQ(body["tools"][0]["function"]["name"], "look");
  ASSERT_EQ(body["messages"].size(), 6U);
  EXPECT_FALSE(body["messages"][0].contains("tools"));
  EXPECT_FALSE(body["messages"][2].contains("reasoning_content"));  // a turn that is over
  EXPECT_EQ(body["messages"][4]["reasoning_content"], "new thoughts");
  EXPECT_EQ(body["messages"][4]["tool_calls"][0]["id"], "c9");
  EXPECT_EQ(body["messages"][5]["tool_call_id"], "c9");
}

TEST_F(RemoteModelTest, AnEndpointThatDoesNotStreamIsUnderstood) {
  const std::string body =
      R"({"choices":[{"message":{"role":"assistant","content":null,"tool_calls":[{"id":"a",)"
      R"("type":"function","function":{"name":"look","arguments":{"x":2}}}]},)"
      R"("finish_reason":"tool_calls"}],"usage":{"prompt_tokens":3,"completion_tokens":4}})";
  serve({{whole_answer("200 OK", "Content-Type: application/json\r\n", body)}});
  const auto answer = ask();
  ASSERT_TRUE(answer) << answer.error().message;
  ASSERT_EQ(answer->message.tool_calls.size(), 1U);
  EXPECT_EQ(answer->message.tool_calls[0].arguments, R"({"x": 2})");
  EXPECT_EQ(answer->usage.tokens_generated, 4U);
}

TEST_F(RemoteModelTest, TooManyRequestsIsAskedAgainAfterTheTimeTheEndpointNames) {
  serve({{whole_answer("429 Too Many Requests", "Retry-After: 1\r\n", "slow down")},
         {event_stream({kHello})}});
  const auto before = std::chrono::steady_clock::now();
  const auto answer = ask();
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->message.content, "hello");
  EXPECT_GE(std::chrono::steady_clock::now() - before, milliseconds(1000));
  EXPECT_EQ(server_->requests().size(), 2U);
}

TEST_F(RemoteModelTest, ARetryThatWouldComeAfterTheDeadlineIsNotWaitedFor) {
  serve({{whole_answer("429 Too Many Requests", "Retry-After: 3600\r\n", "slow down")}});
  ModelRequest request = question();
  request.deadline = Deadline::after(system_clock(), milliseconds(30'000));
  const auto answer = ask(request);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Errc::unavailable);
  EXPECT_THAT(answer.error().message, HasSubstr("slow down; it asks to wait 3600 s"));
}

TEST_F(RemoteModelTest, ServerErrorsAreTriedAFewTimesAndThenNamed) {
  options_.attempts_max = 3;
  const Exchange broken{whole_answer("503 Service Unavailable", "", "{\"error\":\"loading\"}")};
  serve({broken, broken, broken});
  const auto answer = ask();
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Errc::unavailable);
  EXPECT_THAT(answer.error().message, HasSubstr("answered 503"));
  EXPECT_THAT(answer.error().message, HasSubstr("loading"));
  EXPECT_THAT(answer.error().message, HasSubstr("3 attempts"));
  EXPECT_EQ(server_->requests().size(), 3U);
}

TEST_F(RemoteModelTest, AFieldThatAnEndpointRefusesIsLeftOutFromThenOn) {
  const auto refusal = [](const char* message) {
    return Exchange{whole_answer("400 Bad Request", "Content-Type: application/json\r\n",
                                 R"({"error": {"message": ")" + std::string(message) + "\"}}")};
  };
  serve({refusal("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."),
         refusal("Unsupported value: 'temperature' does not support 0 with this model."),
         {event_stream({kHello})},
         {event_stream({kHello})}});
  auto model = RemoteModel::create(options_);
  ASSERT_TRUE(model.has_value());
  for (int i = 0; i < 2; ++i) {
    auto work = (*model)->complete(question(), ModelSink());
    const auto completion = test::run(context_, std::move(work));
    ASSERT_TRUE(completion) << completion.error().message;
    ASSERT_FALSE(completion->notes.empty());
    EXPECT_THAT(completion->notes[0], HasSubstr("temperature"));
  }
  const auto requests = server_->requests();
  ASSERT_EQ(requests.size(), 4U);
  EXPECT_THAT(requests[0], HasSubstr("\"max_tokens\""));
  for (int i = 2; i < 4; ++i) {
    EXPECT_THAT(requests[i], HasSubstr("\"max_completion_tokens\""));
    EXPECT_THAT(requests[i], Not(HasSubstr("\"temperature\"")));
    EXPECT_THAT(requests[i], HasSubstr("\"top_p\""));
  }
}

TEST_F(RemoteModelTest, ARefusalIsNotRepeatedAndNeverShowsTheKey) {
  serve({{whole_answer("401 Unauthorized", "", "invalid key")}});
  const auto answer = ask();
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Errc::invalid_argument);
  EXPECT_THAT(answer.error().message, HasSubstr("401"));
  EXPECT_THAT(answer.error().message, HasSubstr("PONDER_API_KEY"));
  EXPECT_THAT(answer.error().message, Not(HasSubstr("secret-key")));
  EXPECT_EQ(server_->requests().size(), 1U);
}

TEST_F(RemoteModelTest, AnAddressThatIsNotThereIsNamedWithWhatSaysIt) {
  serve({{whole_answer("404 Not Found", "", "no such model")}});
  const auto answer = ask();
  ASSERT_FALSE(answer);
  EXPECT_THAT(answer.error().message, HasSubstr("(see --model"));
  EXPECT_THAT(answer.error().message, HasSubstr("--model-name"));
}

TEST_F(RemoteModelTest, AnAnswerThatTheEndpointBrokeOffIsAskedForAgain) {
  for (const char* reason : {"insufficient_system_resource", "abort", "error"}) {
    SCOPED_TRACE(reason);
    const std::string broken =
        R"(data: {"choices":[{"delta":{"content":"The answer is"},"finish_reason":")" +
        std::string(reason) + "\"}]}\n\ndata: [DONE]\n\n";
    serve({{event_stream({broken})}, {event_stream({kHello})}});
    const auto answer = ask();
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->message.content, "hello");
    EXPECT_THAT(answer->notes, ElementsAre("asked 2 times"));
  }
}

TEST_F(RemoteModelTest, AnAnswerThatAFilterCutIsNoFinishedOne) {
  serve(
      {{event_stream({"data: {\"choices\":[{\"delta\":{\"content\":\"and\"},"
                      "\"finish_reason\":\"content_filter\"}]}\n\n"})}});
  const auto answer = ask();
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->finish, Finish::length);
  EXPECT_THAT(answer->notes, ElementsAre(HasSubstr("content filter")));
}

TEST_F(RemoteModelTest, AStreamWithNothingInItIsAskedForAgain) {
  serve({{event_stream({"data: [DONE]\n\n"})}, {event_stream({kHello})}});
  const auto answer = ask();
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->message.content, "hello");
}

TEST_F(RemoteModelTest, AConnectionLostBehindTheEndOfTheAnswerCostsNothing) {
  const std::string whole =
      "data: {\"choices\":[{\"delta\":{\"content\":\"hello\"},\"finish_reason\":\"stop\"}]}\n\n";
  const std::string head =
      "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 5000\r\n\r\n";
  serve({{{head + whole}}});
  const auto answer = ask();
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->message.content, "hello");
  EXPECT_EQ(server_->requests().size(), 1U);
}

TEST_F(RemoteModelTest, AHangUpInMidStreamIsAskedAgainAndWhatWasShownIsVoid) {
  serve({{event_stream({"data: {\"choices\":[{\"delta\":{\"content\":\"hal\"}}]}\n\n"})},
         {event_stream({kHello})}});
  const auto answer = ask();
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->message.content, "hello");
  std::vector<ModelDelta::Kind> kinds;
  for (const auto& delta : deltas_) kinds.push_back(delta.kind);
  EXPECT_THAT(kinds, ElementsAre(ModelDelta::Kind::content, ModelDelta::Kind::restarted,
                                 ModelDelta::Kind::content));
}

TEST_F(RemoteModelTest, AnswersThatBrokeOffCountAsFarAsTheirCostIsKnown) {
  const std::string piece = "data: {\"choices\":[{\"delta\":{\"content\":\"hal\"}}]}\n\n";
  const std::string end = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
  const auto usage = [](const char* prompt, const char* completion) {
    return std::string("data: {\"choices\":[],\"usage\":{\"prompt_tokens\":") + prompt +
           ",\"completion_tokens\":" + completion + "}}\n\n";
  };
  serve({{event_stream({piece, piece})},
         {whole_answer("503 Service Unavailable", "", "busy")},
         {event_stream({piece, usage("90", "40")})},
         {event_stream({piece, end, usage("100", "5")})}});
  const auto answer = ask();
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->usage.tokens_prompt, 100U);
  EXPECT_EQ(answer->usage_void.tokens_prompt, 100U + 90U);
  EXPECT_EQ(answer->usage_void.tokens_generated, 2U + 40U);
}

TEST_F(RemoteModelTest, WhatABrokenAnswerCostIsToldAndMayEndTheTries) {
  const Exchange broken{
      event_stream({"data: {\"choices\":[{\"delta\":{\"content\":\"hal\"}}]}\n\n"})};
  serve({broken, broken, broken, broken});
  ModelRequest request = question();
  std::vector<std::uint64_t> told;
  request.on_void = [&told](const Usage& usage) -> Status {
    told.push_back(usage.tokens_generated);
    if (told.size() == 2) return fail(Errc::exhausted, "enough");
    return {};
  };
  const auto answer = ask(request);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().message, "enough");
  EXPECT_THAT(told, ElementsAre(1U, 1U));
  EXPECT_EQ(server_->requests().size(), 2U);
}

TEST_F(RemoteModelTest, MalformedJsonInTheStreamIsNamedWithItsBeginning) {
  options_.attempts_max = 2;
  const Exchange broken{event_stream({"data: {\"choices\":[{\"delta\n\n"})};
  serve({broken, broken});
  const auto answer = ask();
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Errc::unavailable);
  EXPECT_THAT(answer.error().message, HasSubstr("no JSON"));
  EXPECT_THAT(answer.error().message, HasSubstr("{\"choices\""));
  EXPECT_EQ(server_->requests().size(), 2U);
}

TEST_F(RemoteModelTest, AnErrorInsideTheStreamThatIsTheRequestsFaultIsNotRepeated) {
  serve({{event_stream({"data: {\"error\":{\"message\":\"too long\",\"code\":400}}\n\n"})}});
  const auto answer = ask();
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Errc::invalid_argument);
  EXPECT_THAT(answer.error().message, HasSubstr("too long"));
  EXPECT_EQ(server_->requests().size(), 1U);
}

TEST_F(RemoteModelTest, AnErrorInsideTheStreamIsTheEndpointsOwnWords) {
  options_.attempts_max = 1;
  serve({{event_stream({"data: {\"error\":{\"message\":\"out of memory\"}}\n\n"})}});
  const auto answer = ask();
  ASSERT_FALSE(answer);
  EXPECT_THAT(answer.error().message, HasSubstr("out of memory"));
}

TEST_F(RemoteModelTest, ArgumentsThatAreNoObjectMakeThatCallFaulty) {
  serve({{event_stream(
      {"data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"function\":"
       "{\"name\":\"look\",\"arguments\":\"{oops\"}}]},\"finish_reason\":\"stop\"}]}\n\n"})}});
  const auto answer = ask();
  ASSERT_TRUE(answer) << answer.error().message;
  ASSERT_EQ(answer->call_faults.size(), 1U);
  EXPECT_THAT(answer->call_faults[0], HasSubstr("{oops"));
}

TEST_F(RemoteModelTest, AnAnswerCutByItsLengthSaysSo) {
  serve(
      {{event_stream({"data: {\"choices\":[{\"delta\":{\"content\":\"and\"},"
                      "\"finish_reason\":\"length\"}]}\n\n"})}});
  const auto answer = ask();
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->finish, Finish::length);
}

TEST_F(RemoteModelTest, ASilentEndpointIsGivenUpAfterTheIdleTime) {
  options_.attempts_max = 1;
  options_.idle_ms_max = milliseconds(30);
  serve({{event_stream({}), /*stays_open=*/true}});
  const auto answer = ask();
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Errc::unavailable);
  EXPECT_THAT(answer.error().message, HasSubstr("no answer in time"));
}

TEST_F(RemoteModelTest, TheDeadlineEndsARequestThatIsUnderWay) {
  serve({{event_stream({}), /*stays_open=*/true}});
  ModelRequest request = question();
  request.deadline = Deadline::after(system_clock(), milliseconds(40));
  const auto answer = ask(request);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Errc::deadline);
}

asio::awaitable<Result<Completion>> ask_and_cancel(RemoteModel* model, ModelRequest request) {
  co_await asio::this_coro::throw_if_cancelled(false);
  const auto executor = co_await asio::this_coro::executor;
  TaskGroup group(executor);
  ModelSink sink = [&group, executor](const ModelDelta&) {
    asio::post(executor, [&group] { group.cancel(); });
  };
  auto work = model->complete(std::move(request), std::move(sink));
  auto answer = co_await with_deadline(group, std::move(work), Deadline::never());
  co_return answer;
}

TEST_F(RemoteModelTest, CancellingClosesTheConnection) {
  serve({{event_stream({"data: {\"choices\":[{\"delta\":{\"content\":\"hal\"}}]}\n\n"}),
          /*stays_open=*/true}});
  auto model = RemoteModel::create(options_);
  ModelRequest request = question();
  std::uint64_t tokens_void = 0;
  request.on_void = [&tokens_void](const Usage& usage) -> Status {
    tokens_void += usage.tokens_generated;
    return {};
  };
  const auto answer = test::run(context_, ask_and_cancel(model->get(), std::move(request)));
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Errc::cancelled);
  EXPECT_EQ(tokens_void, 1U) << "what had come is paid for";
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!server_->client_left() && std::chrono::steady_clock::now() < give_up) {
    std::this_thread::yield();
  }
  EXPECT_TRUE(server_->client_left());
}

TEST_F(RemoteModelTest, NobodyListeningIsNamedWithTheAddress) {
  options_.attempts_max = 2;
  serve({});
  const std::string address = "127.0.0.1:" + std::to_string(server_->port());
  server_.reset();
  const auto answer = ask();
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Errc::unavailable);
  EXPECT_THAT(answer.error().message, HasSubstr(address));
  EXPECT_THAT(answer.error().message, HasSubstr("2 attempts"));
}

}  // namespace
}  // namespace ponder::runtime
