#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/http/http_client.h"
#include "tools/detail/json.h"
#include "tools/files/rooted_folder.h"
#include "tools/lua/state.h"
#include "tools/process/sandbox_policy.h"
#include "tools/script/grants.h"
#include "tools/tool.h"

namespace ponder::tools {

class ToolDatabase;

/// What a function of ctx gives: a value, or why there is none, which a script gets as
/// `nil, message`. `cancelled` and `deadline` end the call instead.
using Answer = Result<Json>;

/// Answers in the place of what lies outside, for tests of a tool: `function` is a name such as
/// "http.get". None: the real thing answers.
using AnswerSource = std::function<std::optional<Answer>(std::string_view function)>;

/// The value of a secret.
using SecretSource = std::function<Result<std::string>(const std::string& name)>;

/// What all calls of one tool share.
struct ScriptResources {
  explicit ScriptResources(boost::asio::any_io_executor pool) : pool(std::move(pool)) {}
  std::string file_name;  // how errors call the script
  const Clock* clock = nullptr;
  std::size_t memory_bytes_max = 0;  // of one call's state
  std::int64_t instructions_max = 0;
  std::chrono::milliseconds time_max{0};
  LuaGrants grants;                       // of the tool: granted and declared
  std::vector<std::string> capabilities;  // declared
  boost::asio::any_io_executor pool;      // for what blocks
  std::shared_ptr<http::Client> client;   // keeps the grants' address policy
  std::shared_ptr<const RootedFolder> folder;
  std::shared_ptr<ToolDatabase> database;
  Isolation isolation = Isolation::isolated;
  SecretSource secrets;
  AnswerSource answers;

  /// Whether calls may wait for people or other agents.
  bool waits_for_others() const { return grants.has_ask || grants.has_agent; }
};

/// One call of a tool: a Lua state of its own, in which the script has been run and its `run` waits
/// to be called. States are made before they are needed, used for one call, and thrown away, so
/// that nothing of one call is seen by another.
///
/// Thread: one at a time. Lifetime: not longer than its resources.
class ScriptCall {
 public:
  /// Runs the script. Errors: those of lua::State::call; `invalid_argument` when it returns no
  /// table with a function `run`.
  static Result<std::unique_ptr<ScriptCall>> prepare(const ScriptResources& resources,
                                                     const std::string& text);
  class Key {  // only prepare() makes calls
    friend class ScriptCall;
    Key() = default;
  };
  ScriptCall(Key, const ScriptResources& resources, std::unique_ptr<lua::State> state)
      : resources_(resources), state_(std::move(state)) {
    state_->set_owner(this);
  }
  ScriptCall(const ScriptCall&) = delete;
  ScriptCall& operator=(const ScriptCall&) = delete;

  /// Puts the call together. `context` must live until the call has ended. Once, before run().
  Status start(const Json& arguments, const ToolContext& context);
  /// Runs until the script ends, waits or has had its slice of time. Errors: those of
  /// lua::State::resume.
  Result<lua::State::Progress> run();
  /// What the script waits for; its result goes into take_answer(). Requires: run() gave waiting.
  boost::asio::awaitable<Answer> take_work();
  void take_answer(Answer answer) { answer_.emplace(std::move(answer)); }
  /// What the model reads. Requires: run() gave finished.
  ToolOutput output() const;
  /// `text` without the values of secrets that this call has asked for.
  std::string redacted(std::string text) const;
  /// Whether a function of ctx was called as it cannot be: not declared, wrong arguments, a place
  /// where nothing can wait. Such a call raises.
  bool was_misused() const { return was_misused_; }
  void note_misuse() { was_misused_ = true; }
  /// The instant by which the call must have ended.
  Deadline deadline() const { return deadline_; }
  std::size_t memory_bytes() const { return state_->memory_bytes(); }

  // For the functions of ctx:
  static ScriptCall& of(lua_State* L) {
    return *static_cast<ScriptCall*>(lua::State::of(L).owner());
  }
  const ScriptResources& resources() const { return resources_; }
  const ToolContext& context() const { return *context_; }
  /// From now on redacted() takes `value` out, as it is and as JSON writes it.
  void keep_secret(const std::string& value);
  /// Counts a line for the session's log; `exhausted` when the call has had its share.
  Status count_note(std::size_t bytes);
  /// Whether progress is shown now: not more often than people can read.
  bool is_progress_due();

  /// What the entry from Lua (context_functions.cpp) needs.
  enum class Entered { raise, answered, waits };
  Entered enter(lua_State* L, std::size_t function) noexcept;
  const char* message() const { return message_.c_str(); }
  /// Pushes the answer, and gives the number of values. May raise; the answer stays then.
  int push_answer(lua_State* L);

 private:
  /// So that a secret inside another one does not break the other up.
  struct LongestFirst {
    bool operator()(const std::string& a, const std::string& b) const {
      return a.size() != b.size() ? a.size() > b.size() : a < b;
    }
  };
  Status find_answer(lua_State* L, std::size_t function);

  const ScriptResources& resources_;
  const ToolContext* context_ = nullptr;
  Deadline deadline_ = Deadline::never();
  lua_State* coroutine_ = nullptr;  // in which `run` runs; the state's
  std::optional<boost::asio::awaitable<Answer>> work_;
  std::optional<Answer> answer_;
  std::string message_;
  std::set<std::string, LongestFirst> secrets_;
  bool was_misused_ = false;
  std::uint32_t notes_ = 0;
  std::size_t note_bytes_ = 0;
  std::optional<Clock::Instant> shown_at_;
  std::unique_ptr<lua::State> state_;  // last: closing it may look at the others
};

}  // namespace ponder::tools
