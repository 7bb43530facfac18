#include "tools/code/try_lines.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "base/assert.h"
#include "base/async/offload.h"
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
constexpr std::chrono::seconds kSecondsOfTry{60};

std::string_view without_indent(std::string_view text) {
  const auto at = text.find_first_not_of(" \t");
  return at == std::string_view::npos ? std::string_view() : text.substr(at);
}

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
    const std::string_view line = lines[number - 1];
    const auto from = static_cast<std::size_t>(line.data() - content.data());
    const std::size_t indent = line.size() - without_indent(line).size();
    const auto end = line.find_last_not_of("\r\n");
    const std::size_t size = end == std::string_view::npos ? 0 : end + 1;
    const std::size_t kept = std::min(indent, size);
    return LineChange(root, path, std::move(content), from + kept, size - kept);
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
      : root_(&root), path_(std::move(path)), content_(std::move(content)), from_(from),
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

std::vector<std::string> texts_of(const std::string& lines) {
  std::vector<std::string> texts;
  for (std::string_view line : split_lines(lines)) {
    line = without_indent(line.substr(0, line.find_last_not_of("\r\n") + 1));
    if (!line.empty()) texts.emplace_back(line);
  }
  return texts;
}

ToolCard card() {
  ToolCard out;
  out.spec = {
      "try_lines",
      "Tries other texts for one line of a file: one after the other takes the line's place, "
      "indented as the line is, and the tests run. The first with which they pass stays; when "
      "there is none, the file is as it was.",
      R"({"type":"object","properties":{"path":{"type":"string"},)"
      R"("line":{"type":"integer","minimum":1},)"
      R"("texts":{"type":"string","description":"one a line, at most 40"}},)"
      R"("required":["path","line","texts"],"additionalProperties":false})"};
  out.effect = Effect::compensable;
  out.capabilities = {kReadFiles, kWriteFiles, kRunPrograms};
  return out;
}

class TryLinesTool final : public Tool {
 public:
  TryLinesTool(RootedFolder root, ProjectRunner runner, std::shared_ptr<Suspects> suspects)
      : card_(card()),
        root_(std::move(root)),
        runner_(std::move(runner)),
        suspects_(std::move(suspects)) {}

  const context::ToolSpec& spec() const override { return card_.spec; }
  Effect effect() const override { return card_.effect; }
  const std::vector<std::string>& capabilities() const override { return card_.capabilities; }

  asio::awaitable<Result<ToolOutput>> invoke(std::string arguments, ToolContext context) override {
    const auto parsed = parse_json(arguments);
    if (!parsed) co_return error_output(parsed.error().message);
    auto said = co_await try_all(*parsed, context);
    co_return output_of(std::move(said), context.output_bytes_max);
  }

 private:
  asio::awaitable<Result<std::string>> try_all(const Json& arguments, const ToolContext& context) {
    const std::string path = arguments.at("path");
    const auto number = arguments.at("line").get<std::size_t>();
    const auto texts = texts_of(arguments.at("texts"));
    if (texts.empty() || texts.size() > kTextsMax) {
      co_return fail(Errc::invalid_argument, fmt::format("texts: 1 to {} lines", kTextsMax));
    }
    auto open = [this, &path, number] { return LineChange::open(root_, path, number); };
    auto change = co_await offload(runner_.pool(), open);
    if (!change) co_return tl::unexpected<Error>(change.error());
    for (std::size_t i = 0; i < texts.size(); ++i) {
      auto write = [&change, &texts, i] { return change->write(texts[i]); };
      const Status written = co_await offload(runner_.pool(), write);
      PONDER_CO_CHECK(written);
      const auto good = co_await run_tests(context);
      PONDER_CO_CHECK(good);
      if (!*good) continue;
      change->keep();
      co_return fmt::format("the tests pass with text {} in line {}: {}\n", i + 1, number,
                            texts[i]);
    }
    suspects_->note_tried(path, number);
    co_return fmt::format("the tests fail with each of the {} texts\n{}", texts.size(),
                          suspects_->next());
  }

  /// Tests that take too long fail; only the call's own end is an error.
  asio::awaitable<Result<bool>> run_tests(const ToolContext& context) {
    const Deadline own = Deadline::after(*context.clock, kSecondsOfTry);
    const Deadline deadline = Deadline::earlier(own, context.deadline);
    std::vector<std::string> argv = {"/bin/sh", "-c", runner_.project().test_command};
    std::string note;
    const auto result = co_await runner_.run(std::move(argv), deadline, &note);
    if (result) co_return passes(*result);
    if (result.error().code == Errc::deadline && !context.deadline.passed(*context.clock)) {
      co_return false;
    }
    co_return tl::unexpected<Error>(result.error());
  }

  ToolCard card_;
  RootedFolder root_;
  ProjectRunner runner_;
  std::shared_ptr<Suspects> suspects_;  // shared with whoever shows them first
};

}  // namespace

Status add_try_lines(Registry& registry, const CodeProject& project,
                     std::shared_ptr<Suspects> suspects, asio::any_io_executor pool) {
  PONDER_ASSERT(!project.test_command.empty() && suspects != nullptr);
  PONDER_TRY(ProjectRunner runner, ProjectRunner::open(project, std::move(pool)));
  PONDER_TRY(RootedFolder root, RootedFolder::open(runner.project().folder));
  return registry.add(std::make_unique<TryLinesTool>(std::move(root), std::move(runner),
                                                     std::move(suspects)));
}

}  // namespace ponder::tools
