#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime/agent/sub_agents.h"
#include "tests/runtime/agent_fixture.h"
#include "tests/runtime/book_model.h"

namespace ponder::runtime::test {

/// A call of the tool `agent`, for says(). `more` continues the arguments.
inline std::pair<std::string, std::string> task(const std::string& words,
                                                const std::string& more = "") {
  return {"agent", R"({"task":")" + words + "\"" + more + "}"};
}

/// Notes what every session does, and does something about it.
class TreeRecorder final : public EventSink {
 public:
  void on_event(const SessionId& id, const Record& record) override {
    order.emplace_back(id, record);
    if (event_type(record.event) == trigger && action) action();
    if (on_any) on_any();
  }
  void on_sub_agent_event(const SessionId& id, const Record& record) override {
    order.emplace_back(id, record);
    sub_agent_types.push_back(event_type(record.event));
    if (on_sub_agent) on_sub_agent(id, record);
    if (on_any) on_any();
  }
  std::vector<std::pair<SessionId, Record>> order;  // of all sessions
  std::vector<std::string> sub_agent_types;
  std::string trigger;  // of the parent's events
  std::function<void()> action;
  std::function<void(const SessionId&, const Record&)> on_sub_agent;
  std::function<void()> on_any;
};

/// Allows everything and notes what it was asked.
class NotingApprover final : public Approver {
 public:
  boost::asio::awaitable<Result<ApprovalAnswer>> ask(ApprovalQuestion question) override {
    asked.push_back(question.tool + " for " + question.sub_agent);
    ApprovalAnswer answer;
    answer.decision = ApprovalDecision::allow_once;
    co_return answer;
  }
  std::vector<std::string> asked;
};

/// An agent that may have sub-agents, and a model that answers each of them by the book.
class SubAgentsFixture : public AgentFixture {
 protected:
  SubAgentsFixture() { limits_.agent_depth_max = 1; }

  AgentParts book_parts() {
    AgentParts parts(*book_, registry_, *store_, clock_);
    parts.approvals = approvals_;
    parts.questions = questions_;
    parts.prices = prices_;
    parts.sinks = {&recorder_};
    return parts;
  }

  void begin(BookModel::Book book) {
    book_ = std::make_unique<BookModel>(std::move(book));
    recorder_.order.clear();
    SessionStarted start;
    start.model = "book";
    start.family = book_->family();
    start.instructions = "be brief";
    start.tools = registry_.specs();
    start.limits = limits_;
    auto agent = run(context_, Agent::start(book_parts(), start));
    PONDER_ASSERT(agent.has_value());
    agent_ = std::move(*agent);
  }

  TurnEnded turn_of(const std::string& words) { return turn(words); }

  SessionState folded(const std::string& id) const {
    return fold(store_->load(SessionId{id}).value());
  }
  std::uint32_t depth_of(const SessionId& id) const {
    const auto task = folded(id.value).task;
    return task ? task->depth : 0;
  }
  std::string types(const std::string& id) const {
    std::string out;
    const auto records = store_->load(SessionId{id});
    for (const Record& record : *records) out += event_type(record.event) + " ";
    return out;
  }
  /// The sub-agents of all sessions, as they began.
  std::vector<std::string> children() const {
    std::vector<std::string> out;
    for (const auto& [id, record] : recorder_.order) {
      const auto* started = std::get_if<SubAgentStarted>(&record.event);
      if (started != nullptr) out.push_back(started->child);
    }
    return out;
  }
  /// What the parent's model reads as the n-th tool result of the session.
  std::string result(std::size_t n) const {
    for (const context::Message& message : agent_->state().conversation) {
      if (message.role == context::Role::tool && n-- == 0) return message.content;
    }
    ADD_FAILURE() << "there are fewer results";
    return {};
  }
  /// Events in the database that are the session's own.
  std::size_t own_rows(const std::string& id) const {
    const std::string count =
        place_.value("(SELECT count(*) FROM events WHERE session = '" + id + "')");
    return static_cast<std::size_t>(std::stoul(count));
  }

  TreeRecorder recorder_;  // instead of the other
  std::unique_ptr<BookModel> book_;
};

}  // namespace ponder::runtime::test
