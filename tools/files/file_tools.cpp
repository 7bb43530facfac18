#include "tools/files/file_tools.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "tools/detail/native_tool.h"
#include "tools/detail/regex.h"
#include "tools/files/file_tree.h"
#include "tools/files/glob.h"
#include "tools/files/rooted_folder.h"
#include "tools/files/text_edit.h"
#include "tools/files/text_lines.h"
#include "tools/files/unified_patch.h"

namespace ponder::tools {
namespace {

using Root = std::shared_ptr<const RootedFolder>;  // shared by the tools of one folder

constexpr std::uint64_t kFileBytesMax = 16 << 20;
constexpr std::size_t kLinesDefault = 400;
constexpr std::size_t kLineBytesMax = 2000;
constexpr std::size_t kMatchesMax = 200;
constexpr std::size_t kEntriesShownMax = 1000;

/// Whether the work is to end, as the error that says why.
Status keep_going(const ToolContext& context, const std::atomic<bool>& stop) {
  if (stop) return fail(Errc::cancelled, "cancelled");
  if (context.deadline.passed(*context.clock)) return fail(Errc::deadline, "the deadline passed");
  return {};
}

/// A line without its end, and without what would fill the prompt.
std::string shown(std::string_view line) {
  while (line.ends_with('\n') || line.ends_with('\r')) line.remove_suffix(1);
  if (line.size() <= kLineBytesMax) return std::string(line);
  return fmt::format("{} [{} more bytes]", line.substr(0, kLineBytesMax),
                     line.size() - kLineBytesMax);
}

bool is_binary(std::string_view content) {
  constexpr std::size_t kLooked = 8192;
  return content.substr(0, kLooked).find('\0') != std::string_view::npos;
}

/// "./src/" and "src" are the same folder; "" is the root.
std::string plain_path(std::string path) {
  while (path.starts_with("./")) path.erase(0, 2);
  while (path.ends_with('/')) path.pop_back();
  return path == "." ? "" : path;
}

Result<std::string> read_text(const RootedFolder& root, const std::string& path) {
  PONDER_TRY(std::string content, root.read(path, kFileBytesMax));
  if (is_binary(content)) {
    return fail(Errc::invalid_argument,
                fmt::format("{}: is no text ({} bytes)", path, content.size()));
  }
  return content;
}

Result<std::string> read_file(const RootedFolder& root, const Json& arguments) {
  const std::string path = arguments.at("path");
  PONDER_TRY(const std::string content, read_text(root, path));
  const auto lines = split_lines(content);
  const auto first = arguments.value("first_line", std::size_t{1});
  const auto count = arguments.value("lines", kLinesDefault);
  if (lines.empty()) return fmt::format("{} is empty", path);
  if (first > lines.size()) {
    return fail(Errc::invalid_argument, fmt::format("{} has {} lines", path, lines.size()));
  }
  const std::size_t last = std::min(lines.size(), first - 1 + count);
  std::string out;
  for (std::size_t i = first - 1; i < last; ++i) {
    out += fmt::format("{:>6}\t{}\n", i + 1, shown(lines[i]));
  }
  if (first > 1 || last < lines.size()) {
    out += fmt::format("[lines {} to {} of {}]\n", first, last, lines.size());
  }
  return out;
}

/// The limits of a walk that ends when the call must, and then leaves the reason in `status`.
WalkLimits limits_of(const ToolContext& context, const std::atomic<bool>& stop, Status& status) {
  WalkLimits limits;
  limits.keep_going = [&] {
    status = keep_going(context, stop);
    return status.has_value();
  };
  return limits;
}

Result<std::string> list_folder(const RootedFolder& root, const Json& arguments,
                                const ToolContext& context, const std::atomic<bool>& stop) {
  const std::string folder = plain_path(arguments.value("path", ""));
  Status status;
  WalkLimits limits = limits_of(context, stop, status);
  limits.depth_max = arguments.value("depth", std::size_t{1});
  std::string out;
  std::size_t count = 0;
  PONDER_TRY(const bool is_complete,
             walk_tree(root, folder, limits, [&](const std::string& path, const FileEntry& entry) {
               if (++count > kEntriesShownMax) return false;
               out += path;
               if (entry.kind == FileEntry::Kind::folder) out += '/';
               if (entry.kind == FileEntry::Kind::link) out += " (link)";
               if (entry.kind == FileEntry::Kind::file) out += fmt::format("  {}", entry.bytes);
               out += '\n';
               return true;
             }));
  PONDER_CHECK(status);
  if (count == 0) return std::string("nothing that git does not ignore\n");
  if (count > kEntriesShownMax) {
    out += fmt::format("[only the first {}: name a folder further down]\n", kEntriesShownMax);
  } else if (!is_complete && limits.depth_max > 1) {
    out += "[what lies deeper is not shown]\n";
  }
  return out;
}

/// What a search looks for, and what it has found.
struct Search {
  Regex pattern;
  std::string glob;
  std::string out;
  std::size_t num_matches = 0;
  Status status;

  bool wants(const std::string& path, const FileEntry& entry) const {
    if (entry.kind != FileEntry::Kind::file) return false;
    return glob.empty() ||
           glob_matches(glob.find('/') == std::string::npos ? "**/" + glob : glob, path);
  }
  /// False when the search is over.
  bool look_into(const std::string& path, std::string_view content, const ToolContext& context,
                 const std::atomic<bool>& stop) {
    std::size_t number = 0;
    for (const std::string_view line : split_lines(content)) {
      ++number;
      status = keep_going(context, stop);
      if (!status) return false;
      const auto found = pattern.search(line.substr(0, line.find_last_not_of("\r\n") + 1));
      if (!found) {
        status =
            fail(found.error().code, fmt::format("{}:{}: {}", path, number, found.error().message));
        return false;
      }
      if (!*found) continue;
      if (++num_matches > kMatchesMax) return false;
      out += fmt::format("{}:{}: {}\n", path, number, shown(line));
    }
    return true;
  }
};

Result<std::string> search_tree(const RootedFolder& root, const Json& arguments,
                                const ToolContext& context, const std::atomic<bool>& stop) {
  PONDER_TRY(Regex pattern, Regex::compile(arguments.at("pattern")));
  if (arguments.value("files", "").size() > kGlobBytesMax) {
    return fail(Errc::invalid_argument,
                fmt::format("'files' is over {} bytes long", kGlobBytesMax));
  }
  Search search{std::move(pattern), arguments.value("files", ""), {}, 0, {}};
  const std::string folder = plain_path(arguments.value("path", ""));
  Status stopped;
  const WalkLimits limits = limits_of(context, stop, stopped);
  PONDER_TRY(const bool is_complete,
             walk_tree(root, folder, limits, [&](const std::string& path, const FileEntry& entry) {
               if (!search.wants(path, entry)) return true;
               const auto content = root.read(path, kFileBytesMax);
               return !content || is_binary(*content) ||
                      search.look_into(path, *content, context, stop);
             }));
  PONDER_CHECK(stopped);
  PONDER_CHECK(search.status);
  if (search.num_matches > kMatchesMax) {
    search.out += fmt::format("[only the first {} lines: search for less]\n", kMatchesMax);
  }
  if (!is_complete) search.out += "[not everything was looked at: name a folder]\n";
  if (search.num_matches == 0) return "no line matches\n" + search.out;
  return std::move(search.out);
}

Result<std::string> write_file(const RootedFolder& root, const Json& arguments) {
  const std::string path = arguments.at("path");
  const std::string content = arguments.at("content");
  const auto before = root.read(path, kFileBytesMax);
  if (!before && before.error().code != Errc::not_found) return tl::unexpected(before.error());
  PONDER_CHECK(root.write(path, content));
  const std::size_t lines = split_lines(content).size();
  if (!before) return fmt::format("{}: made, {} lines\n", path, lines);
  if (*before == content) return fmt::format("{}: is as it was, {} lines\n", path, lines);
  return fmt::format("{}: {} lines now\n{}", path, lines, diff_of(*before, content));
}

Result<std::string> edit_file(const RootedFolder& root, const Json& arguments) {
  const std::string path = arguments.at("path");
  PONDER_TRY(const std::string before, read_text(root, path));
  auto edit = replace_only(before, arguments.at("old").get<std::string>(),
                           arguments.at("new").get<std::string>());
  if (!edit) return fail_in(path, edit.error());
  PONDER_CHECK(root.write(path, edit->text));
  return fmt::format("{}\n{}", path, edit->diff);
}

/// A file as a patch leaves it.
struct PatchedFile {
  std::string path;
  std::string content;
  bool is_deletion = false;
};

Result<PatchedFile> patched(const RootedFolder& root, const FilePatch& patch) {
  PatchedFile out{patch.path, {}, patch.is_deletion};
  if (patch.is_creation) {
    if (root.exists(patch.path)) {
      return fail(Errc::invalid_argument, fmt::format("{}: is there already", patch.path));
    }
    for (const PatchHunk& hunk : patch.hunks) {
      for (const std::string& line : hunk.after) out.content += line;
    }
    return out;
  }
  PONDER_TRY(const std::string before, read_text(root, patch.path));
  auto after = apply_hunks(before, patch.hunks);
  if (!after) return fail_in(patch.path, after.error());
  if (patch.is_deletion && !after->empty()) {
    return fail(Errc::invalid_argument,
                fmt::format("{}: the patch removes the file but not all of its lines", patch.path));
  }
  out.content = std::move(*after);
  return out;
}

/// All files are tried before the first is written.
Result<std::string> apply_patch(const RootedFolder& root, const Json& arguments) {
  PONDER_TRY(const auto patches, parse_patch(arguments.at("patch").get<std::string>()));
  std::vector<PatchedFile> files;
  for (const FilePatch& patch : patches) {
    const bool is_named_twice =
        std::any_of(files.begin(), files.end(),
                    [&patch](const PatchedFile& file) { return file.path == patch.path; });
    if (is_named_twice) {
      return fail(Errc::invalid_argument, fmt::format("{}: is in the patch twice", patch.path));
    }
    PONDER_TRY(auto file, patched(root, patch));
    files.push_back(std::move(file));
  }
  std::string out;
  for (const PatchedFile& file : files) {
    const Status done =
        file.is_deletion ? root.remove(file.path) : root.write(file.path, file.content);
    if (!done)
      return fail_in(out.empty() ? "nothing was changed" : "done so far: " + out, done.error());
    out += fmt::format("{}: {}\n", file.path, file.is_deletion ? "removed" : "patched");
  }
  return out;
}

ToolCard card(const char* name, const char* description, const char* parameters, Effect effect) {
  ToolCard out;
  out.spec = {name, description, parameters};
  out.effect = effect;
  out.capabilities = {effect == Effect::pure ? kReadFiles : kWriteFiles};
  return out;
}

ToolCard read_card() {
  return card(
      "read", "Reads a text file; gives its lines with their numbers.",
      R"({"type":"object","properties":{)"
      R"("path":{"type":"string","description":"relative to the project's folder"},)"
      R"("first_line":{"type":"integer","minimum":1,"maximum":1000000000,)"
      R"("description":"default 1"},)"
      R"("lines":{"type":"integer","minimum":1,"maximum":5000,"description":"default 400"}},)"
      R"("required":["path"],"additionalProperties":false})",
      Effect::pure);
}

ToolCard list_card() {
  return card("list",
              "Lists what a folder holds, with sizes in bytes, leaving out what git ignores.",
              R"({"type":"object","properties":{)"
              R"("path":{"type":"string","description":"default: the project's folder"},)"
              R"("depth":{"type":"integer","minimum":1,"maximum":16,"description":"default 1"}},)"
              R"("additionalProperties":false})",
              Effect::pure);
}

ToolCard search_card() {
  return card(
      "search",
      "Finds the lines that match a regular expression, in all files that git does not "
      "ignore.",
      R"({"type":"object","properties":{)"
      R"("pattern":{"type":"string","description":"Perl-compatible"},)"
      R"("path":{"type":"string","description":"a folder; default: everywhere"},)"
      R"("files":{"type":"string","description":"only files like this: *.py, src/**/*.h"}},)"
      R"("required":["pattern"],"additionalProperties":false})",
      Effect::pure);
}

ToolCard write_card() {
  return card("write", "Writes a whole file, in place of what it held.",
              R"({"type":"object","properties":{"path":{"type":"string"},)"
              R"("content":{"type":"string"}},"required":["path","content"],)"
              R"("additionalProperties":false})",
              Effect::idempotent);
}

ToolCard edit_card() {
  return card("edit",
              "Replaces a piece of a file; gives the change. The old text must be there exactly "
              "once, blanks and line ends included.",
              R"({"type":"object","properties":{"path":{"type":"string"},)"
              R"("old":{"type":"string"},"new":{"type":"string"}},)"
              R"("required":["path","old","new"],"additionalProperties":false})",
              Effect::compensable);
}

ToolCard patch_card() {
  return card("apply_patch",
              "Applies a unified diff to one or more files, if all of it fits: context lines "
              "must be as in the file.",
              R"({"type":"object","properties":{"patch":{"type":"string"}},)"
              R"("required":["patch"],"additionalProperties":false})",
              Effect::compensable);
}

}  // namespace

Status add_file_tools(Registry& registry, const std::filesystem::path& folder,
                      boost::asio::any_io_executor pool) {
  PONDER_TRY(RootedFolder opened, RootedFolder::open(folder));
  const Root root = std::make_shared<const RootedFolder>(std::move(opened));
  const auto add = [&](ToolCard card,
                       Result<std::string> (*work)(const RootedFolder&, const Json&)) {
    return registry.add(std::make_unique<NativeTool>(
        std::move(card), pool,
        [root, work](const Json& arguments, const ToolContext&, const std::atomic<bool>&) {
          return work(*root, arguments);
        }));
  };
  PONDER_CHECK(add(read_card(), read_file));
  const auto add_walk = [&](ToolCard card, auto* work) {
    return registry.add(
        std::make_unique<NativeTool>(std::move(card), pool,
                                     [root, work](const Json& arguments, const ToolContext& context,
                                                  const std::atomic<bool>& stop) {
                                       return work(*root, arguments, context, stop);
                                     }));
  };
  PONDER_CHECK(add_walk(list_card(), list_folder));
  PONDER_CHECK(add_walk(search_card(), search_tree));
  PONDER_CHECK(add(write_card(), write_file));
  PONDER_CHECK(add(edit_card(), edit_file));
  return add(patch_card(), apply_patch);
}

}  // namespace ponder::tools
