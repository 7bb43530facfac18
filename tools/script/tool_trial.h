#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "tools/tool.h"

/// A look at a tool's file, and a trial of it without the world: what `ponder tool check` and
/// `ponder tool test` show.
namespace ponder::tools {

/// What a file declares.
struct ToolCardFromFile {
  context::ToolSpec spec;
  Effect effect = Effect::irreversible;
  std::vector<std::string> capabilities;
  std::size_t num_examples = 0;
};

struct ToolFileCheck {
  std::optional<ToolCardFromFile> card;  // none when there are faults
  std::vector<std::string> faults;       // "file:line: message", all of them
};

/// Fails only when the file cannot be read.
Result<ToolFileCheck> check_tool_file(const std::filesystem::path& file, const Clock& clock);

/// One call of a trial.
struct TrialCase {
  enum class Kind {
    example,    // of the file's own
    generated,  // arguments made from the schema, at its boundaries too
    hostile,    // what the tool asks the world fails, or is garbage
  };
  Kind kind = Kind::example;
  std::string title;  // "example 1", "city = \"\"", "http.get fails"
  std::string arguments;
  ToolOutput output{"", false};  // what the model reads
  std::string fault;             // what is wrong; empty: nothing
};

struct TrialReport {
  std::vector<TrialCase> cases;
  std::size_t num_refused = 0;  // generated arguments that the schema keeps away from the tool
};

/// Runs the file's examples, and calls with generated arguments and with hostile answers.
///
/// Nothing outside is touched: what the tool asks is answered by the example's `answers`, by
/// "no answer" or by the trial. An example is at fault when its expectation is not met, another
/// case when the tool breaks (an error of Lua, a limit, a result that is none); an error in the
/// tool's own words is an answer. `invalid_argument` when the file has faults.
/// Thread: the caller's executor. Lifetime: `pool` outlives the coroutine.
boost::asio::awaitable<Result<TrialReport>> try_tool(std::filesystem::path file, const Clock& clock,
                                                     boost::asio::any_io_executor pool);

}  // namespace ponder::tools
