#pragma once

#include <memory>
#include <string>

#include "tools/environment.h"

namespace ponder::tools {

/// Makes calls of an environment's tools one after the other, without a model or a session: as an
/// agent's calls they pass the registry, so that wrong arguments are refused.
///
/// Thread: the caller's, which waits for each call. Lifetime: the environment outlives it.
class Player {
 public:
  static Result<std::unique_ptr<Player>> make(const Environment& environment);

  /// What the model would read. Fails as Tool::invoke does: `deadline` after a minute.
  Result<ToolOutput> call(const context::ToolCall& call, const std::string& idempotency_key);

  const Registry& registry() const { return registry_; }

 private:
  Player() = default;
  Registry registry_;
};

}  // namespace ponder::tools
