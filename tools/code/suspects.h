#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "tools/files/rooted_folder.h"

namespace ponder::tools {

/// The lines that are likeliest to be wrong: those of the functions that failing tests are named
/// after (test_mean_2, "mean 2", mean_of_nothing: mean). Made from the program's text alone, for
/// languages that write a name before a parenthesis and indent what belongs to it.
///
/// Keeps count of the lines that have been tried, so that one after the other comes up, and each
/// twice. Thread: one at a time.
class Suspects {
 public:
  /// `is_source` says which files are looked at, by their paths. Bounds: 2,000 files of 256 KiB,
  /// 60 lines.
  static Result<Suspects> find(const RootedFolder& root, const std::vector<std::string>& failing,
                               const std::function<bool(std::string_view)>& is_source);

  /// The lines for the model, a row each ("12: text"), and which is next. Empty when there are
  /// none.
  std::string view() const;
  /// "next: path 12: text", or "next, tried once: ..", and below it the names that its function
  /// uses, if any: "names: a, b". Empty when all have been tried twice.
  std::string next() const;
  struct Place {
    std::string path;
    std::size_t number = 0;  // from 1
  };
  /// The same as a place.
  std::optional<Place> next_place() const;
  void note_tried(std::string_view path, std::size_t number);

 private:
  struct Line {
    std::string path;
    std::size_t number = 0;  // from 1
    std::string text;        // without its indentation
    std::string names;       // that its function uses, with commas between
    bool is_candidate = false;
    unsigned tries = 0;
  };
  const Line* next_line() const;
  explicit Suspects(std::vector<Line> lines) : lines_(std::move(lines)) {}

  std::vector<Line> lines_;
};

}  // namespace ponder::tools
