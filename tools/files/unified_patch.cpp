#include "tools/files/unified_patch.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "tools/files/text_lines.h"

namespace ponder::tools {
namespace {

/// "old" of "--- a/old\t2024-01-01\n"; empty for /dev/null.
std::string path_of(std::string_view header) {
  header.remove_prefix(4);
  header = header.substr(0, header.find_first_of("\t\r\n"));
  if (header == "/dev/null") return {};
  if (header.starts_with("a/") || header.starts_with("b/")) header.remove_prefix(2);
  return std::string(header);
}

struct HunkHeader {
  std::size_t line = 0;
  std::size_t num_before = 1;
  std::size_t num_after = 1;
};

constexpr std::size_t kLineMax = 1'000'000'000;  // so that sums of them are numbers, too

/// Reads "12" or "12,3" off the front.
bool read_range(std::string_view& text, std::size_t* line, std::size_t* count) {
  auto result = std::from_chars(text.data(), text.data() + text.size(), *line);
  if (result.ec != std::errc() || *line > kLineMax) return false;
  text.remove_prefix(static_cast<std::size_t>(result.ptr - text.data()));
  if (!text.starts_with(',')) return true;
  text.remove_prefix(1);
  result = std::from_chars(text.data(), text.data() + text.size(), *count);
  if (result.ec != std::errc() || *count > kLineMax) return false;
  text.remove_prefix(static_cast<std::size_t>(result.ptr - text.data()));
  return true;
}

std::optional<HunkHeader> read_hunk_header(std::string_view text) {
  constexpr std::string_view kBegin = "@@ -";
  HunkHeader header;
  std::size_t line_after = 0;
  if (!text.starts_with(kBegin)) return std::nullopt;
  text.remove_prefix(kBegin.size());
  if (!read_range(text, &header.line, &header.num_before) || !text.starts_with(" +")) {
    return std::nullopt;
  }
  text.remove_prefix(2);
  if (!read_range(text, &line_after, &header.num_after) || !text.starts_with(" @@")) {
    return std::nullopt;
  }
  return header;
}

class PatchReader {
 public:
  explicit PatchReader(std::string_view patch) : lines_(split_lines(patch)) {}

  Result<std::vector<FilePatch>> read() {
    std::vector<FilePatch> files;
    bool is_header =
        true;  // of git: what its lines say is no sentence of a letter around the patch
    while (at_ < lines_.size()) {
      const std::string_view line = lines_[at_];
      if (begins_file()) {
        PONDER_TRY(auto file, read_file());
        files.push_back(std::move(file));
        is_header = false;
        continue;
      }
      is_header = is_header || line.starts_with("diff --git ");
      if (is_header && (line.starts_with("rename ") || line.starts_with("GIT binary") ||
                        line.starts_with("new mode"))) {
        return at_line("renames, modes and binary files are not done by this");
      }
      if (line.starts_with("@@ -")) return at_line("a hunk that belongs to no file");
      ++at_;
    }
    if (files.empty()) {
      return fail(Errc::invalid_argument,
                  "no file in the patch: each begins with '--- a/NAME' and '+++ b/NAME'");
    }
    return files;
  }

 private:
  tl::unexpected<Error> at_line(std::string_view what) const {
    return fail(Errc::invalid_argument, fmt::format("line {} of the patch: {}", at_ + 1, what));
  }

  bool begins_file() const {
    return at_ + 1 < lines_.size() && lines_[at_].starts_with("--- ") &&
           lines_[at_ + 1].starts_with("+++ ");
  }

  /// Goes to the next hunk, over empty lines; stays at other lines that end the file. What looks
  /// like a line of a hunk is one that a header did not count, and must not be lost.
  Status find_next_hunk() {
    const std::size_t behind = at_;
    while (at_ < lines_.size() && lines_[at_].find_first_not_of("\r\n") == std::string_view::npos) {
      ++at_;
    }
    if (at_ >= lines_.size() || lines_[at_].starts_with("@@") || begins_file()) return {};
    const std::string_view line = lines_[at_];
    const bool is_signature = line.starts_with("-- ") || line == "--\n";  // of git format-patch
    const char mark = line.front();
    if ((mark == '+' || mark == '-' || mark == ' ') && !is_signature) {
      return at_line("a line of a hunk that its header does not count");
    }
    at_ = behind;
    return {};
  }

  Result<FilePatch> read_file() {
    FilePatch file;
    const std::string old_path = path_of(lines_[at_]);
    const std::string new_path = path_of(lines_[at_ + 1]);
    at_ += 2;
    file.is_creation = old_path.empty();
    file.is_deletion = new_path.empty();
    file.path = file.is_deletion ? old_path : new_path;
    if (file.path.empty()) return at_line("a file without a name");
    if (!file.is_creation && !file.is_deletion && old_path != new_path) {
      return at_line("renames, modes and binary files are not done by this");
    }
    while (at_ < lines_.size() && lines_[at_].starts_with("@@")) {
      PONDER_TRY(auto hunk, read_hunk());
      file.hunks.push_back(std::move(hunk));
      PONDER_CHECK(find_next_hunk());
    }
    if (file.hunks.empty()) return at_line("a file without '@@ -LINE,COUNT +LINE,COUNT @@'");
    return file;
  }

  Result<PatchHunk> read_hunk() {
    const auto header = read_hunk_header(lines_[at_]);
    if (!header) return at_line("not of the form '@@ -LINE,COUNT +LINE,COUNT @@'");
    ++at_;
    PatchHunk hunk;
    hunk.line = header->line;
    while (hunk.before.size() < header->num_before || hunk.after.size() < header->num_after) {
      if (at_ >= lines_.size()) return at_line("the hunk is shorter than its header says");
      PONDER_CHECK(read_line(hunk));
    }
    if (hunk.before.size() != header->num_before || hunk.after.size() != header->num_after) {
      return at_line("the hunk's lines are not as many as its header says");
    }
    take_missing_newline(hunk);
    return hunk;
  }

  Status read_line(PatchHunk& hunk) {
    const std::string_view line = lines_[at_];
    const char mark = line.front();
    // Editors and models strip the blank of an empty context line.
    const std::string text(mark == '\n' ? line : line.substr(1));
    if (mark == '\\') {
      take_missing_newline(hunk);
      return {};
    }
    if (mark != ' ' && mark != '\n' && mark != '-' && mark != '+') {
      return at_line("a line of a hunk begins with ' ', '-' or '+'");
    }
    if (mark != '+') hunk.before.push_back(text);
    if (mark != '-') hunk.after.push_back(text);
    last_mark_ = mark;
    ++at_;
    return {};
  }

  /// "\ No newline at end of file" is about the line before.
  void take_missing_newline(PatchHunk& hunk) {
    if (at_ >= lines_.size() || !lines_[at_].starts_with('\\')) return;
    const auto strip = [](std::vector<std::string>& lines) {
      if (!lines.empty() && lines.back().ends_with('\n')) lines.back().pop_back();
    };
    if (last_mark_ != '+') strip(hunk.before);
    if (last_mark_ != '-') strip(hunk.after);
    ++at_;
  }

  std::vector<std::string_view> lines_;
  std::size_t at_ = 0;
  char last_mark_ = ' ';
};

bool stands_at(const std::vector<std::string_view>& lines, std::size_t at,
               const std::vector<std::string>& wanted) {
  return at + wanted.size() <= lines.size() &&
         std::equal(wanted.begin(), wanted.end(), lines.begin() + static_cast<std::ptrdiff_t>(at));
}

/// The place nearest to `hint`, not before `first`, where the lines stand.
std::optional<std::size_t> find_lines(const std::vector<std::string_view>& lines, std::size_t first,
                                      std::size_t hint, const std::vector<std::string>& wanted) {
  for (std::size_t distance = 0; distance <= lines.size(); ++distance) {
    if (hint >= first + distance && stands_at(lines, hint - distance, wanted)) {
      return hint - distance;
    }
    if (hint + distance >= first && stands_at(lines, hint + distance, wanted)) {
      return hint + distance;
    }
  }
  return std::nullopt;
}

}  // namespace

Result<std::vector<FilePatch>> parse_patch(std::string_view patch) {
  return PatchReader(patch).read();
}

Result<std::string> apply_hunks(std::string_view text, const std::vector<PatchHunk>& hunks) {
  const auto lines = split_lines(text);
  std::string out;
  std::size_t done = 0;  // lines of the old text that are in `out`, or were replaced
  std::ptrdiff_t shift = 0;
  for (std::size_t i = 0; i < hunks.size(); ++i) {
    const PatchHunk& hunk = hunks[i];
    const auto given = static_cast<std::ptrdiff_t>(hunk.line) - (hunk.before.empty() ? 0 : 1);
    const auto hint = static_cast<std::size_t>(std::max<std::ptrdiff_t>(given + shift, 0));
    const auto at = find_lines(lines, done, std::min(hint, lines.size()), hunk.before);
    if (!at) {
      return fail(Errc::invalid_argument,
                  fmt::format("hunk {} (line {}): its lines are not in the file; read it again",
                              i + 1, hunk.line));
    }
    shift = static_cast<std::ptrdiff_t>(*at) - given;
    for (; done < *at; ++done) out += lines[done];
    for (const std::string& line : hunk.after) out += line;
    done += hunk.before.size();
  }
  for (; done < lines.size(); ++done) out += lines[done];
  return out;
}

}  // namespace ponder::tools
