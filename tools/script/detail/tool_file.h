#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tools/detail/json.h"
#include "tools/tool.h"

namespace ponder::tools {

/// What a tool's file says of the tool.
struct ScriptDeclaration {
  context::ToolSpec spec;
  Effect effect = Effect::irreversible;
  std::vector<std::string> capabilities;
  Json examples = Json::array();  // {args, expect or expect_error, answers}; for ponder tool test

  /// Whether a session can go on with `other` in this one's place: it has told the model these
  /// things, and people have allowed them.
  bool is_same_tool(const ScriptDeclaration& other) const;
};

/// Something wrong with a file; line 0: the file as a whole.
struct FileFault {
  int line = 0;
  std::string message;
};

/// A file as it was read: what it declares, unless there are faults.
struct ScriptFile {
  std::optional<ScriptDeclaration> declaration;
  std::vector<FileFault> faults;  // all of them, by line
};

/// Runs the text of a tool and looks at what it returns. `file_name` is how faults name it.
ScriptFile read_script(const std::string& text, const std::string& file_name, const Clock& clock);

/// "weather.lua:3: message", a line for each.
std::string describe_faults(const std::vector<FileFault>& faults, const std::string& file_name);

inline constexpr std::size_t kScriptBytesMax = 1 << 20;

}  // namespace ponder::tools
