#include "tools/code/try_lines.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "base/assert.h"
#include "base/async/offload.h"
#include "tools/code/line_changes.h"
#include "tools/code/project_runner.h"
#include "tools/code/test_report.h"
#include "tools/detail/native_tool.h"
#include "tools/files/file_tools.h"
#include "tools/files/rooted_folder.h"
#include "tools/files/text_lines.h"

namespace ponder::tools {
namespace {

namespace asio = boost::asio;

constexpr std::uint64_t kFileBytesMax = 16 << 20;
constexpr std::size_t kTextsMax = 40;
constexpr std::size_t kTriesMax = 100;

/// A file of which one line changes. Puts it back as it was, unless a change is kept.
class LineChange {
 public:
  static Result<LineChange> open(const RootedFolder& root, const std::string& path,
                                 std::size_t number) {
    PONDER_TRY(std::string content, root.read(path, kFileBytesMax));
    const auto lines = split_lines(content);
    if (number > lines.size()) {
      return fail(Errc::invalid_argument, fmt::format("{} has {} lines", path, lines.size()));
    }
    const std::string_view text = trimmed(lines[number - 1]);
    const auto from = static_cast<std::size_t>(text.data() - content.data());
    const std::size_t size = text.size();
    return LineChange(root, path, std::move(content), from, size);
  }
  LineChange(LineChange&& other) noexcept
      : root_(other.root_),
        path_(std::move(other.path_)),
        content_(std::move(other.content_)),
        from_(other.from_),
        size_(other.size_),
        is_tried_(std::exchange(other.is_tried_, false)) {}
  LineChange& operator=(LineChange&&) = delete;
  ~LineChange() {
    if (is_tried_) static_cast<void>(root_->write(path_, content_));
  }

  /// The line's text, without indentation and line end.
  std::string_view text() const { return std::string_view(content_).substr(from_, size_); }

  Status write(std::string_view text) {
    std::string changed = content_;
    changed.replace(from_, size_, text);
    is_tried_ = true;
    return root_->write(path_, changed);
  }
  void keep() { is_tried_ = false; }

 private:
  LineChange(const RootedFolder& root, std::string path, std::string content, std::size_t from,
             std::size_t size)
      : root_(&root),
        path_(std::move(path)),
        content_(std::move(content)),
        from_(from),
        size_(size) {}

  const RootedFolder* root_;
  std::string path_;
  std::string content_;  // as it was
  std::size_t from_;     // of the line's text, behind its indentation
  std::size_t size_;
  bool is_tried_ = false;
};

bool passes(const ProcessResult& result) {
  if (result.exit_code != 0) return false;
  const TestReport report =
      read_test_output(result.standard_output.text + "\n" + result.standard_error.text);
  return report.count(TestOutcome::State::failed) == 0 &&
         report.count(TestOutcome::State::passed) > 0;
}

/// How far a call has come with its tries, for the same call once more.
struct Unfinished {
  std::string path;
  std::size_t number = 0;  // of the line
  std::string line;
  std::vector<std::string> tries;
  std::size_t num_tried = 0;

  /// How many of its tries the other call, when it is the same, need not make again.
  std::size_t num_tried_of(const Unfinished& other) const {
    const bool is_same =
        path == other.path && number == other.number && line == other.line && tries == other.tries;
    return is_same ? num_tried : 0;
  }
};

/// What the call wants tried in place of `line`: whole texts first, then changes of it. What is no
/// change of it is left out, for a model that guesses makes slips as well.
std::vector<std::string> tries_of(const Json& arguments, std::string_view line) {
  std::vector<std::string> tries;
  std::size_t num_given = 0;
  const auto add = [&tries, line](std::string text) {
    const bool is_new = text != line && std::find(tries.begin(), tries.end(), text) == tries.end();
    if (is_new && tries.size() < kTriesMax) tries.push_back(std::move(text));
  };
  const std::string texts = arguments.value("texts", "");
  const std::string changes = arguments.value("changes", "");
  for (const std::string_view given : split_lines(texts)) {
    const std::string_view text = trimmed(given);
    if (!text.empty() && ++num_given <= kTextsMax) add(std::string(text));
  }
  for (const std::string_view given : split_lines(changes)) {
    const auto change = parse_text_pair(given);
    if (!change || ++num_given > kTextsMax) continue;
    for (std::string& text : changed_lines(line, *change)) add(std::move(text));
  }
  return tries;
}

ToolCard card() {
  ToolCard out;
  out.spec = {
      "try_lines",
      "Tries other texts for one line of a file: one after the other takes the line's place, "
      "indented as the line is, and the tests run. The first with which they pass stays; when "
      "there is none, the file is as it was. At most 40 lines of texts and changes, 100 tries.",
      R"({"type":"object","properties":{"path":{"type":"string",)"
      R"("description":"default: of the suspicious line that is next"},)"
      R"("line":{"type":"integer","minimum":1,"description":"default: that line"},)"
      R"("changes":{"type":"string","description":"one a line: old => new; tried at each place )"
      R"(of the line where old stands"},)"
      R"("texts":{"type":"string","description":"whole lines, one a line"}},)"
      R"("additionalProperties":false})"};
  out.effect = Effect::compensable;
  out.capabilities = {kReadFiles, kWriteFiles, kRunPrograms};
  return out;
}

class TryLinesTool final : public Tool {
 public:
  TryLinesTool(RootedFolder root, ProjectRunner runner, std::shared_ptr<Suspects> suspects,
               TryTimes times)
      : card_(card()),
        root_(std::move(root)),
        runner_(std::move(runner)),
        suspects_(std::move(suspects)),
        times_(times) {}

  const context::ToolSpec& spec() const override { return card_.spec; }
  Effect effect() const override { return card_.effect; }
  const std::vector<std::string>& capabilities() const override { return card_.capabilities; }
  /// The tests of one call must not see the text that another one tries.
  std::uint32_t concurrency_max() const override { return 1; }
  bool limits_its_time() const override { return true; }

  asio::awaitable<Result<ToolOutput>> invoke(std::string arguments, ToolContext context) override {
    auto parsed = parse_json(arguments);
    if (!parsed) co_return error_output(parsed.error().message);
    auto said = co_await try_all(std::move(*parsed), context);
    co_return output_of(std::move(said), context.output_kept_max);
  }

 private:
  asio::awaitable<Result<std::string>> try_all(Json arguments, ToolContext context) {
    const auto place = place_of(arguments);
    PONDER_CO_CHECK(place);
    const auto& [path, number] = *place;
    auto open = [this, &place] { return LineChange::open(root_, place->path, place->number); };
    auto change = co_await offload(runner_.pool(), open);
    if (!change) co_return tl::unexpected<Error>(change.error());
    const std::vector<std::string> tries = tries_of(arguments, change->text());
    begin_call(*place, change->text(), tries);
    const std::size_t num_before = unfinished_.num_tried;
    const Deadline own = Deadline::after(*context.clock, times_.call_max);
    for (std::size_t i = num_before; i < tries.size(); ++i) {
      // A call that is made again and again comes to its end.
      const Deadline end = i == num_before ? Deadline::never() : own;
      const auto trial = co_await try_one(&*change, tries[i], context, end);
      PONDER_CO_CHECK(trial);
      if (*trial == Trial::no_time) co_return described_rest();
      ++unfinished_.num_tried;
      if (*trial == Trial::fails) continue;
      unfinished_ = {};
      change->keep();
      co_return fmt::format("the tests pass with line {}: {}\n", number, tries[i]);
    }
    unfinished_ = {};
    suspects_->note_tried(path, number);
    if (tries.empty()) {
      co_return fmt::format("nothing of this changes line {}: {}\n{}", number, change->text(),
                            suspects_->next());
    }
    co_return fmt::format("the tests fail with each of {} tries{}\n{}", tries.size(),
                          described_before(num_before), suspects_->next());
  }

  void begin_call(const Suspects::Place& place, std::string_view line,
                  const std::vector<std::string>& tries) {
    Unfinished call{place.path, place.number, std::string(line), tries};
    call.num_tried = unfinished_.num_tried_of(call);
    unfinished_ = std::move(call);
  }
  std::string described_rest() const {
    return fmt::format(
        "the tests fail with each of {} tries, and the time of the call is over: the same call "
        "once more goes on with the other {}\n{}",
        unfinished_.num_tried, unfinished_.tries.size() - unfinished_.num_tried, suspects_->next());
  }
  static std::string described_before(std::size_t num_before) {
    return num_before == 0 ? "" : fmt::format(" ({} of them in calls before)", num_before);
  }

  enum class Trial { passes, fails, no_time };
  asio::awaitable<Result<Trial>> try_one(LineChange* change, std::string text, ToolContext context,
                                         Deadline end) {
    if (end.passed(*context.clock)) co_return Trial::no_time;
    auto write = [change, &text] { return change->write(text); };
    const Status written = co_await offload(runner_.pool(), write);
    PONDER_CO_CHECK(written);
    auto trial = co_await run_tests(context, end);
    co_return trial;
  }

  Result<Suspects::Place> place_of(const Json& arguments) const {
    if (arguments.contains("path") != arguments.contains("line")) {
      return fail(Errc::invalid_argument, "path and line belong together");
    }
    if (arguments.contains("line")) {
      return Suspects::Place{arguments.at("path"), arguments.at("line").get<std::size_t>()};
    }
    auto next = suspects_->next_place();
    if (!next) {
      return fail(Errc::invalid_argument, "no suspicious line is left: give path and line");
    }
    return std::move(*next);
  }

  /// Tests that take too long fail, unless it is `end` that stops them; that the session has no
  /// time left is an error.
  asio::awaitable<Result<Trial>> run_tests(ToolContext context, Deadline end) {
    const Deadline own = Deadline::after(*context.clock, times_.try_max);
    const Deadline deadline = Deadline::earlier(Deadline::earlier(own, end), context.deadline);
    std::vector<std::string> argv = {"/bin/sh", "-c", runner_.project().test_command};
    std::string note;
    auto variables = test_environment();
    const auto result =
        co_await runner_.run(std::move(argv), std::move(variables), deadline, &note);
    if (result) co_return passes(*result) ? Trial::passes : Trial::fails;
    if (result.error().code == Errc::deadline && !context.deadline.passed(*context.clock)) {
      co_return end.at() < own.at() ? Trial::no_time : Trial::fails;
    }
    co_return tl::unexpected<Error>(result.error());
  }

  ToolCard card_;
  RootedFolder root_;
  ProjectRunner runner_;
  std::shared_ptr<Suspects> suspects_;  // shared with whoever shows them first
  TryTimes times_;
  Unfinished unfinished_;  // of the latest call
};

}  // namespace

Status add_try_lines(Registry& registry, const CodeProject& project,
                     std::shared_ptr<Suspects> suspects, asio::any_io_executor pool,
                     TryTimes times) {
  PONDER_ASSERT(!project.test_command.empty() && suspects != nullptr);
  PONDER_TRY(ProjectRunner runner, ProjectRunner::open(project, std::move(pool)));
  PONDER_TRY(RootedFolder root, RootedFolder::open(runner.project().folder));
  return registry.add(std::make_unique<TryLinesTool>(std::move(root), std::move(runner),
                                                     std::move(suspects), times));
}

}  // namespace ponder::tools
