#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/model/model_client.h"
#include "runtime/session/session_state.h"
#include "tests/simulation/scene.h"

namespace ponder::simulation {

/// What happened to one session outside of the program, whatever becomes of its processes.
struct SessionFacts {
  runtime::SessionId id;
  std::size_t number = 0;
  std::uint32_t turns = 1;  // that it is to have
  std::uint32_t turns_done = 0;
  bool is_fork = false;
  /// Of a sub-agent's session: the one at the root of its tree. Nobody drives it but its parent.
  SessionFacts* root = nullptr;
  bool power_was_cut = false;        // since somebody read it
  std::vector<runtime::Record> log;  // acknowledged; a fork's begins with what it shares
  std::size_t num_durable = 0;       // of these, what a power failure must leave
  runtime::SessionState state;       // the fold of the log
  /// By process: the request that its latest model_started announced and nobody has made yet.
  std::map<std::size_t, std::string> expected;
  std::map<std::int64_t, std::string> requests;  // made so far, by their model_started
  /// By process: the latest; at the root of a tree all, for whoever of it they were.
  std::map<std::size_t, std::set<std::string>> summary_requests;
  std::map<std::string, std::uint32_t> fired;  // idempotency key -> times
  std::set<std::string> allowed;               // digests that the person said yes to
  std::set<std::string> said;                  // answers that the person gave

  /// It was lost before it was to last: it begins anew, a fork not at all.
  void forget();
};

/// A call, as its idempotency key names it.
struct CallKey {
  std::string session;
  std::int64_t completion_seq = 0;
  std::uint32_t index = 0;
};

/// Sees everything that leaves the program and holds the invariants against it.
///
/// The log must hold what was acknowledged; each prompt and each effect must follow from it. Breaks
/// of a rule go to the scene's story.
class Witness {
 public:
  explicit Witness(Scene& scene) : scene_(&scene) {}

  SessionFacts& begin(runtime::SessionId id);
  /// A sub-agent's session of which an event was acknowledged, before that event is. `stored` is
  /// what the store has of it.
  SessionFacts& begin_sub_agent(SessionFacts& root, const runtime::SessionId& id, std::int64_t seq,
                                std::vector<runtime::Record> stored);
  /// A session and all sub-agents below it.
  std::vector<SessionFacts*> tree_of(SessionFacts& root) const;
  SessionFacts* find(std::string_view id);
  const std::vector<std::unique_ptr<SessionFacts>>& sessions() const { return sessions_; }

  /// An event was acknowledged to a process that lives.
  void acknowledged(SessionFacts& session, std::size_t process, const runtime::Record& record);
  /// A model is asked by a session of the tree. Whose request it is; nullptr: a summary's.
  SessionFacts* asked(SessionFacts& root, std::size_t process,
                      const runtime::ModelRequest& request);
  /// The turn of the session at the root has ended.
  void check_tree(SessionFacts& root);
  /// A tool is called with this key.
  void called(const std::string& key, const std::string& tool, const std::string& arguments);
  /// It takes effect in the world.
  void fired(const std::string& key, tools::Effect effect);
  /// A tool was told that this is the person's answer to the n-th question of its call.
  void answered(const std::string& key, std::uint32_t n, const std::string& words);

  /// What the store holds. Unless the power was cut it must be all that was acknowledged; from now
  /// on it is what counts.
  void reread(SessionFacts& session, std::vector<runtime::Record> stored, bool power_was_cut);
  /// At the end: the whole log once more, as it is on the disk.
  void audit(const SessionFacts& session, const std::vector<runtime::Record>& stored,
             const runtime::SessionStore& store);

 private:
  void check_bounds(const SessionFacts& session, const runtime::Event& event);
  void check_summary(const SessionFacts& session, std::size_t process,
                     const runtime::ContextReduced& cut);
  void check_approval(const SessionFacts& session, const CallKey& key,
                      const context::ToolCall& call);
  void audit_outcomes(const SessionFacts& session, const std::vector<runtime::Record>& stored);
  void audit_words(const SessionFacts& session, const std::vector<runtime::Record>& stored);
  void audit_texts(const SessionFacts& session, const std::vector<runtime::Record>& stored,
                   const runtime::SessionStore& store);

  Scene* scene_;
  std::vector<std::unique_ptr<SessionFacts>> sessions_;
};

}  // namespace ponder::simulation
