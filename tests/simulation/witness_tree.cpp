#include <algorithm>
#include <map>
#include <utility>

#include "runtime/session/event_json.h"
#include "tests/simulation/witness.h"

/// What the witness knows of sub-agents.
namespace ponder::simulation {

using namespace runtime;

namespace {

/// Where the latest turn of a log begins.
std::size_t latest_turn(const std::vector<Record>& log) {
  for (std::size_t i = log.size(); i > 0; --i) {
    if (std::holds_alternative<UserMessage>(log[i - 1].event)) return i - 1;
  }
  return 0;
}

}  // namespace

SessionFacts& Witness::begin_sub_agent(SessionFacts& root, const SessionId& id, std::int64_t seq,
                                       std::vector<Record> stored) {
  SessionFacts* known = find(id.value);
  if (known == nullptr) {
    known = &begin(id);
    known->root = &root;
    known->turns = 0;
    scene_->story.say("s{} has the sub-agent s{}, {}", root.number, known->number, id.value);
  }
  // What this event is about to change is told by its acknowledgement.
  const auto before = static_cast<std::size_t>(seq - 1);
  const bool is_unread = known->power_was_cut || known->log.size() < before;
  if (is_unread) {
    if (stored.size() > before) stored.erase(stored.begin() + seq - 1, stored.end());
    const bool power_was_cut = std::exchange(known->power_was_cut, false);
    if (power_was_cut) {
      // It may have begun anew since, with events that nobody was told of.
      auto& log = known->log;
      const std::size_t common = std::min(log.size(), stored.size());
      std::size_t same = std::min(known->num_durable, common);
      while (same < common && record_line(id, log[same]) == record_line(id, stored[same])) ++same;
      log.resize(std::max(same, std::min(log.size(), known->num_durable)));
    }
    const std::size_t survived = known->log.size();
    reread(*known, std::move(stored), power_was_cut);
    if (power_was_cut) known->num_durable = std::min(known->num_durable, survived);
  }
  return *known;
}

std::vector<SessionFacts*> Witness::tree_of(SessionFacts& root) const {
  std::vector<SessionFacts*> out;
  for (const auto& session : sessions_) {
    if (session.get() == &root || session->root == &root) out.push_back(session.get());
  }
  return out;
}

void Witness::check_tree(SessionFacts& root) {
  std::uint32_t steps = root.state.step;
  std::vector<const SessionFacts*> above = {&root};
  while (!above.empty()) {
    const SessionFacts& parent = *above.back();
    above.pop_back();
    std::map<std::string, int> open;  // sub-agents that began in this turn -> ends to come
    for (std::size_t i = latest_turn(parent.log); i < parent.log.size(); ++i) {
      const Event& event = parent.log[i].event;
      const auto* begun = std::get_if<SubAgentStarted>(&event);
      const auto* ended = std::get_if<SubAgentFinished>(&event);
      if (begun == nullptr && ended == nullptr) continue;
      const std::string& child = begun != nullptr ? begun->child : ended->child;
      // What a fork shares names those of the session it was forked from.
      if (!child.starts_with(parent.id.value + ".")) continue;
      open[child] += begun != nullptr ? 1 : -1;
    }
    for (const auto& [id, ends] : open) {
      const SessionFacts* child = find(id);
      const bool is_over = child == nullptr || child->power_was_cut || !child->state.is_turn_open;
      if (ends != 0 || !is_over) {
        scene_->story.violated("tree", "session {}: its turn is over, and {} {}", root.number, id,
                               is_over ? "has not ended once" : "goes on");
      }
      if (child == nullptr) continue;
      steps += child->state.step;
      above.push_back(child);
    }
  }
  if (steps > scene_->plan.limits.steps_max) {
    scene_->story.violated("budget", "session {}: {} steps in its tree", root.number, steps);
  }
}

}  // namespace ponder::simulation
