#include "tools/script/detail/script_tool.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <utility>

#include "base/async/offload.h"
#include "base/async/with_deadline.h"
#include "tools/lua/tool_output.h"
#include "tools/registry.h"

namespace ponder::tools {
namespace {

namespace asio = boost::asio;
using Progress = lua::State::Progress;

/// What a call that failed gives: data for the model, unless it is not the tool's doing.
Result<ToolOutput> failed(const ScriptCall& call, const Error& error) {
  if (error.code == Errc::cancelled || error.code == Errc::deadline) return tl::unexpected(error);
  const std::string message = call.redacted(error.message);
  return error_output(lua::with_clean_utf8(message));
}

bool ends_call(const Answer& answer) {
  return !answer &&
         (answer.error().code == Errc::cancelled || answer.error().code == Errc::deadline);
}

}  // namespace

std::unique_ptr<ScriptCall> ScriptVersion::take_warm() {
  const std::lock_guard lock(mutex_);
  if (warm_.empty()) return nullptr;
  auto call = std::move(warm_.back());
  warm_.pop_back();
  return call;
}

asio::awaitable<Result<std::unique_ptr<ScriptCall>>> ScriptVersion::take() {
  auto warm = take_warm();
  if (warm) co_return Result<std::unique_ptr<ScriptCall>>(std::move(warm));
  auto prepare = [self = shared_from_this()] {
    return ScriptCall::prepare(self->resources_, self->text_);
  };
  auto call = co_await offload(resources_.pool, std::move(prepare));
  co_return call;
}

Status ScriptVersion::warm() {
  for (;;) {
    {
      const std::lock_guard lock(mutex_);
      if (warm_.size() >= warm_states_) return {};
    }
    PONDER_TRY(auto call, ScriptCall::prepare(resources_, text_));
    const std::lock_guard lock(mutex_);
    warm_.push_back(std::move(call));
  }
}

void ScriptVersion::give_back(std::unique_ptr<ScriptCall> call) {
  // std::function copies what it holds, and the executor may use one.
  auto used = std::make_shared<std::unique_ptr<ScriptCall>>(std::move(call));
  asio::post(resources_.pool, [self = shared_from_this(), used = std::move(used)] {
    used->reset();
    // A state that cannot be made is made again by the call that needs it, and fails there.
    (void)self->warm();
  });
}

Result<ScriptTool::Stamp> stamp_of(const std::filesystem::path& path) {
  struct stat found{};
  if (stat(path.c_str(), &found) != 0) {
    return fail(Errc::not_found, fmt::format("{}: {}", path.string(), std::strerror(errno)));
  }
  if (!S_ISREG(found.st_mode)) {
    return fail(Errc::invalid_argument, fmt::format("{}: is no file", path.string()));
  }
  return ScriptTool::Stamp{found.st_mtim.tv_sec, found.st_mtim.tv_nsec,
                           static_cast<std::uint64_t>(found.st_size), found.st_ino};
}

Result<std::string> read_script_text(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::string text(kScriptBytesMax + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (in.bad() || !in.is_open()) {
    return fail(Errc::unavailable, fmt::format("{}: cannot be read", path.string()));
  }
  text.resize(static_cast<std::size_t>(in.gcount()));
  return text;
}

bool ScriptTool::begin_reading() {
  std::string gone;
  {
    const std::lock_guard lock(mutex_);
    if (path_.empty() || is_reading_) return false;
    const auto stamp = stamp_of(path_);
    if (stamp) {
      is_reading_ = *stamp != stamp_;
      stamp_ = *stamp;
      return is_reading_;
    }
    if (stamp_ == Stamp()) return false;
    stamp_ = Stamp();
    gone = stamp.error().message;
  }
  tell(fmt::format("tool {}: {}; the version before goes on", declaration_.spec.name, gone));
  return false;
}

ScriptTool::Reading ScriptTool::read_anew(const ScriptVersion& before) const {
  Reading out;
  auto text = read_script_text(path_);
  if (!text) {
    out.fault = text.error().message;
    return out;
  }
  if (*text == before.text()) return out;
  const ScriptResources& resources = before.resources();
  const ScriptFile file = read_script(*text, resources.file_name, *resources.clock);
  out.fault = describe_faults(file.faults, resources.file_name);
  if (file.declaration && !file.declaration->is_same_tool(declaration_)) {
    out.fault =
        "its name, description, parameters, effect or capabilities changed: a new session "
        "is needed for that";
  }
  if (out.fault.empty()) {
    out.version = std::make_shared<ScriptVersion>(std::move(*text), resources, warm_states_);
  }
  return out;
}

std::shared_ptr<ScriptVersion> ScriptTool::version() {
  const std::lock_guard lock(mutex_);
  return version_;
}

asio::awaitable<std::shared_ptr<ScriptVersion>> ScriptTool::current_version() {
  auto before = version();
  const bool is_reader = begin_reading();
  if (!is_reader) co_return before;
  const ReadingEnds ends(*this);
  auto read = [this, before] { return read_anew(*before); };
  Reading reading = co_await offload(before->resources().pool, std::move(read));
  const std::string& name = declaration_.spec.name;
  if (!reading.fault.empty()) {
    tell(fmt::format("tool {}: the new version is not used, the one before goes on:\n{}", name,
                     reading.fault));
  }
  if (!reading.version) co_return before;
  {
    const std::lock_guard lock(mutex_);
    version_ = reading.version;
  }
  tell(fmt::format("tool {}: reloaded", name));
  co_return reading.version;
}

asio::awaitable<Result<ToolOutput>> run_script(ScriptCall* call, Json arguments,
                                               ToolContext context) {
  const auto executor = co_await asio::this_coro::executor;
  const auto cancellation = co_await asio::this_coro::cancellation_state;
  const Status started = call->start(arguments, context);
  if (!started) co_return failed(*call, started.error());
  for (;;) {
    if (cancellation.cancelled() != asio::cancellation_type::none) {
      co_return fail(Errc::cancelled, "cancelled");
    }
    const auto progress = call->run();
    if (!progress) co_return failed(*call, progress.error());
    if (*progress == Progress::finished) co_return call->output();
    if (*progress == Progress::paused) {
      co_await asio::post(executor, asio::use_awaitable);
      continue;
    }
    auto work = call->take_work();
    auto answer = co_await with_deadline(std::move(work), call->deadline());
    if (ends_call(answer)) co_return failed(*call, answer.error());
    call->take_answer(std::move(answer));
  }
}

asio::awaitable<Result<ToolOutput>> ScriptTool::invoke(std::string arguments, ToolContext context) {
  auto parsed = parse_json(arguments);
  if (!parsed) co_return error_output(parsed.error().message);
  const bool throws_if_cancelled = co_await asio::this_coro::throw_if_cancelled();
  co_await asio::this_coro::throw_if_cancelled(false);
  const auto version = co_await current_version();
  auto call = co_await version->take();
  if (!call) {
    co_await asio::this_coro::throw_if_cancelled(throws_if_cancelled);
    co_return error_output(call.error().message);
  }
  auto output = co_await run_script(call->get(), std::move(*parsed), std::move(context));
  co_await asio::this_coro::throw_if_cancelled(throws_if_cancelled);
  version->give_back(std::move(*call));
  co_return output;
}

}  // namespace ponder::tools
