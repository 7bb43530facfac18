#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "tools/script/detail/script_call.h"
#include "tools/script/detail/tool_file.h"
#include "tools/tool.h"

namespace ponder::tools {

/// One version of a tool's text, and states in which it has been run already.
///
/// Thread: any. Held by the tool and by the calls that began with it.
class ScriptVersion : public std::enable_shared_from_this<ScriptVersion> {
 public:
  ScriptVersion(std::string text, ScriptResources resources, std::size_t warm_states)
      : text_(std::move(text)), resources_(std::move(resources)), warm_states_(warm_states) {}

  const std::string& text() const { return text_; }
  const ScriptResources& resources() const { return resources_; }
  /// A state for one call: a warm one, or one that the pool makes now.
  boost::asio::awaitable<Result<std::unique_ptr<ScriptCall>>> take();
  /// Makes the pool throw the state away and warm others.
  void give_back(std::unique_ptr<ScriptCall> call);
  /// Makes the warm states, here and now.
  Status warm();

 private:
  const std::string text_;
  const ScriptResources resources_;
  const std::size_t warm_states_;
  std::unique_ptr<ScriptCall> take_warm();  // null: there is none

  std::mutex mutex_;
  std::vector<std::unique_ptr<ScriptCall>> warm_;
};

/// A tool in a Lua file. Its calls run on the session's executor, in slices, and block nothing.
class ScriptTool final : public Tool {
 public:
  using Tell = std::function<void(const std::string& line)>;

  /// What stat() says of the file: another value, another content.
  struct Stamp {
    std::int64_t seconds = 0;
    std::int64_t nanoseconds = 0;
    std::uint64_t bytes = 0;
    std::uint64_t inode = 0;
    bool operator==(const Stamp&) const = default;
  };

  /// `path` may be empty: a text without a file never changes.
  ScriptTool(std::filesystem::path path, Stamp stamp, ScriptDeclaration declaration,
             std::shared_ptr<ScriptVersion> version, std::size_t warm_states, Tell tell)
      : path_(std::move(path)),
        stamp_(stamp),
        declaration_(std::move(declaration)),
        version_(std::move(version)),
        warm_states_(warm_states),
        tell_(std::move(tell)) {}

  const context::ToolSpec& spec() const override { return declaration_.spec; }
  Effect effect() const override { return declaration_.effect; }
  const std::vector<std::string>& capabilities() const override {
    return declaration_.capabilities;
  }
  /// LuaToolsOptions::time_max; where it waits for a person or an agent, theirs.
  bool limits_its_time() const override { return true; }
  boost::asio::awaitable<Result<ToolOutput>> invoke(std::string arguments,
                                                    ToolContext context) override;

 private:
  /// What the file holds now. Without a version nothing new is to be run.
  struct Reading {
    std::shared_ptr<ScriptVersion> version;
    std::string fault;
  };
  /// Lets the next one read who comes after the file has changed once more.
  class ReadingEnds {
   public:
    explicit ReadingEnds(ScriptTool& tool) : tool_(&tool) {}
    ReadingEnds(const ReadingEnds&) = delete;
    ReadingEnds& operator=(const ReadingEnds&) = delete;
    ~ReadingEnds() {
      const std::lock_guard lock(tool_->mutex_);
      tool_->is_reading_ = false;
    }

   private:
    ScriptTool* tool_;
  };

  std::shared_ptr<ScriptVersion> version();
  /// The version that a call which begins now is to run. The first call after the file has changed
  /// waits until the pool has read it; those that come meanwhile run the version before.
  boost::asio::awaitable<std::shared_ptr<ScriptVersion>> current_version();
  /// Whether the file has changed and the caller is the one to read it.
  bool begin_reading();
  /// Runs the file for what it returns, which may take its time: on the pool.
  Reading read_anew(const ScriptVersion& before) const;
  void tell(const std::string& line) const {
    if (tell_) tell_(line);
  }

  const std::filesystem::path path_;
  std::mutex mutex_;  // sessions on several threads may share the tool
  Stamp stamp_;
  bool is_reading_ = false;
  const ScriptDeclaration declaration_;
  std::shared_ptr<ScriptVersion> version_;  // guarded as the two are
  const std::size_t warm_states_;
  const Tell tell_;
};

/// `not_found` when there is no such file.
Result<ScriptTool::Stamp> stamp_of(const std::filesystem::path& path);
Result<std::string> read_script_text(const std::filesystem::path& path);

/// Runs one call to its end.
boost::asio::awaitable<Result<ToolOutput>> run_script(ScriptCall* call, Json arguments,
                                                      ToolContext context);

}  // namespace ponder::tools
