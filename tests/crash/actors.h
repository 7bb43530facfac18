#pragma once

#include <boost/asio/awaitable.hpp>
#include <string>
#include <vector>

#include "runtime/agent/agent.h"
#include "runtime/agent/question.h"
#include "runtime/model/model_client.h"
#include "tests/crash/script.h"
#include "tools/tool.h"

/// Whom the worker's agents deal with. What they do to the world they write down outside of the
/// store, and before they answer: a file of effects has the lines
///
///   KEY TOOL ARGUMENTS   a tool took effect; KEY is the call's idempotency key
///   KEY person N DIGEST  a person was asked the call's n-th question
///   KEY heard N ANSWER   the tool was given this answer to it; no two answers are alike
namespace ponder::crash {

/// Time passes, in which a process can be killed.
boost::asio::awaitable<void> pass_time(std::chrono::milliseconds time);

void write_line(int descriptor, const std::string& line);

/// The places of the program where the harness may ask it to die.
class Checkpoints {
 public:
  explicit Checkpoints(long die_at) : die_at_(die_at) {}
  void pass();
  long passed() const { return passed_; }

 private:
  long die_at_;
  long passed_ = 0;
};

class LoggingTool final : public tools::Tool {
 public:
  LoggingTool(const ScriptedTool& about, context::ToolSpec spec, int effects,
              Checkpoints& checkpoints)
      : about_(about), spec_(std::move(spec)), effects_(effects), checkpoints_(checkpoints) {}
  const context::ToolSpec& spec() const override { return spec_; }
  tools::Effect effect() const override { return about_.effect; }
  const std::vector<std::string>& capabilities() const override { return none_; }
  boost::asio::awaitable<Result<tools::ToolOutput>> invoke(std::string arguments,
                                                           tools::ToolContext context) override;

 private:
  boost::asio::awaitable<Status> ask(tools::ToolContext context);

  ScriptedTool about_;
  context::ToolSpec spec_;
  int effects_;
  Checkpoints& checkpoints_;
  std::vector<std::string> none_;
};

class FollowingModel final : public runtime::ModelClient {
 public:
  explicit FollowingModel(Checkpoints& checkpoints) : checkpoints_(checkpoints) {}
  std::string description() const override { return "script"; }
  std::string family() const override { return "dsv32"; }
  std::uint32_t tokens_context_max() const override { return 0; }
  boost::asio::awaitable<Result<runtime::Completion>> complete(runtime::ModelRequest request,
                                                               runtime::ModelSink) override;

 private:
  Checkpoints& checkpoints_;
};

class LoggingPerson final : public runtime::Respondent {
 public:
  LoggingPerson(int effects, Checkpoints& checkpoints)
      : effects_(effects), checkpoints_(checkpoints) {}
  boost::asio::awaitable<Result<std::string>> answer(runtime::PersonQuestion question) override;

 private:
  int effects_;
  Checkpoints& checkpoints_;
  int num_answers_ = 0;
};

/// Says which events the store has said that it keeps, of sub-agents too.
class Acknowledger final : public runtime::EventSink {
 public:
  Acknowledger(int descriptor, Checkpoints& checkpoints)
      : descriptor_(descriptor), checkpoints_(checkpoints) {}
  void on_event(const runtime::SessionId& session, const runtime::Record& record) override;
  void on_sub_agent_event(const runtime::SessionId& session,
                          const runtime::Record& record) override {
    on_event(session, record);
  }

 private:
  int descriptor_;
  Checkpoints& checkpoints_;
};

}  // namespace ponder::crash
